//! What keeps failing in the background threads of a writer, for its owner to report: they have no caller to return an
//! error to.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// Forcing the log to disk. Nothing after the first failure is known to survive a power cut.
    Sync,
    /// Writing the footer of a sealed segment. Its records are on disk, only the proof is not; the next start repairs it.
    Footer,
    /// Making segments ahead of need. Recording goes on as long as prepared ones last.
    Prepare,
}

impl Duty {
    /// In a sentence: "cannot ...".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Duty::Sync => "force the log to disk",
            Duty::Footer => "write the footer of a segment",
            Duty::Prepare => "make the next segment",
        }
    }
}

/// One duty that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackgroundError {
    /// Which.
    pub duty: Duty,
    /// Since when, ns since 1970-01-01 UTC.
    pub since_wall_ns: u64,
    /// How often it failed since then.
    pub failures: u64,
    /// What the system said last.
    pub message: String,
}

/// All of a writer.
#[derive(Debug, Default)]
pub(crate) struct BackgroundErrors(Mutex<Vec<BackgroundError>>);

impl BackgroundErrors {
    fn lock(&self) -> MutexGuard<'_, Vec<BackgroundError>> {
        // Short sections of plain moves: a panic in one leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It failed once more. Returns since when it does.
    pub fn failed(&self, duty: Duty, wall_ns: u64, message: String) -> u64 {
        let mut all = self.lock();
        match all.iter_mut().find(|trouble| trouble.duty == duty) {
            Some(trouble) => {
                trouble.failures += 1;
                trouble.message = message;
                trouble.since_wall_ns
            }
            None => {
                all.push(BackgroundError { duty, since_wall_ns: wall_ns, failures: 1, message });
                wall_ns
            }
        }
    }

    /// It works, again or still. Returns whether it had failed.
    pub fn works(&self, duty: Duty) -> bool {
        let mut all = self.lock();
        let before = all.len();
        all.retain(|trouble| trouble.duty != duty);
        all.len() < before
    }

    pub fn list(&self) -> Vec<BackgroundError> {
        self.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_keeps_its_beginning_until_it_is_over() {
        let troubles = BackgroundErrors::default();
        assert_eq!(troubles.failed(Duty::Sync, 5, "first".to_owned()), 5);
        assert_eq!(troubles.failed(Duty::Sync, 9, "second".to_owned()), 5);
        troubles.failed(Duty::Prepare, 7, "full".to_owned());
        let all = troubles.list();
        assert_eq!((all[0].since_wall_ns, all[0].failures, all[0].message.as_str()), (5, 2, "second"));
        assert!(troubles.works(Duty::Sync) && !troubles.works(Duty::Sync));
        assert_eq!(troubles.list().len(), 1);
    }
}
