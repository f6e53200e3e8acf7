//! Who may change or judge published files, and when: one lock per lake, between processes, and between hosts where
//! the file system's flock reaches them (NFSv4, most cluster file systems).
//!
//! ```text
//!  lake/.lock           exclusive   files appear, change or go: a publish's renames, a removal by retention, the
//!                                   swap of a rewrite, a repaired manifest. Short: nothing is computed meanwhile
//!                       shared      verification looks again at what seemed wrong during writes
//!  lake/.rewrite.lock   exclusive   a rewrite, from its first reading to its last swap
//! ```
//!
//! The kernel drops a lock when its holder dies, so there is no time-out and nothing to clear away; lock files are
//! never removed. Their content (pid, host, purpose) is that of the process that took it last, and only for messages.
//! Readers of the lake take no lock.
//!
//! Of a lake in an object store the lock lies in the local directory in which it is worked on, and says nothing to other
//! machines. Between those a store gives only conditional writes: put-if-absent for new files, compare-and-swap on the
//! version for manifests; and reading an object that was replaced is an error.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wal_format::{durable, regular};

use ops::host;

/// In the lake's directory.
const LAKE: &str = ".lock";
/// Beside it.
const REWRITE: &str = ".rewrite.lock";
/// How long a change of the lake waits for others: a publish of many files on a slow disk takes seconds, a holder that
/// was stopped takes for ever.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(10);
/// A wait this long is worth a line.
const WARN_AFTER: Duration = Duration::from_secs(5);
/// A note is never longer.
const NOTE_BYTES_MAX: usize = 256;

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LakeLockError {
    /// Another process has it.
    #[error(
        "the lake is in use by {holder}\n  where: {path}\n  fix:   wait for it or stop it; interrupted work is retried", path = path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who took it last, for what.
        holder: String,
    },
    /// The lock file cannot be made or locked.
    #[error("cannot lock {path}: {source}", path = path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Shared,
    Exclusive,
}

/// A lock of a lake, until it is dropped.
#[derive(Debug)]
pub struct LakeLock {
    /// Closing it gives the lock back.
    _file: File,
}

impl LakeLock {
    /// The right to change published files of the lake, for `purpose`.
    ///
    /// # Errors
    /// When another process has the lake for longer than `patience`, or the lock file cannot be used.
    pub fn exclusive(lake: &Path, purpose: &str, patience: Duration) -> Result<LakeLock, LakeLockError> {
        durable::create_dir_all(lake).map_err(|source| LakeLockError::Io { path: lake.to_owned(), source })?;
        take(&lake.join(LAKE), Kind::Exclusive, purpose, patience)
    }

    /// Published files do not change while it is held. `None` where the lake can only be read and nobody ever locked
    /// it: no process that could change it is known.
    ///
    /// # Errors
    /// As [`LakeLock::exclusive`].
    pub fn shared(lake: &Path, purpose: &str, patience: Duration) -> Result<Option<LakeLock>, LakeLockError> {
        match take(&lake.join(LAKE), Kind::Shared, purpose, patience) {
            Err(LakeLockError::Io { source, .. }) if cannot_be_made(&source) => Ok(None),
            taken => taken.map(Some),
        }
    }

    /// The right to rewrite parts of the lake; held from the first reading to the last swap.
    ///
    /// # Errors
    /// When another rewrite runs for longer than `patience`, or the lock file cannot be used.
    pub fn rewrite(lake: &Path, purpose: &str, patience: Duration) -> Result<LakeLock, LakeLockError> {
        take(&lake.join(REWRITE), Kind::Exclusive, purpose, patience)
    }

    /// Who rewrites parts of the lake just now, if anybody does. Takes no lock that outlives the call.
    ///
    /// # Errors
    /// When the lock file is there and cannot be locked.
    pub fn rewriter(lake: &Path) -> Result<Option<String>, LakeLockError> {
        let path = lake.join(REWRITE);
        let file = match regular::open(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|source| LakeLockError::Io { path: path.clone(), source })?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(read_note(&file))),
            Err(TryLockError::Error(source)) => Err(LakeLockError::Io { path, source }),
        }
    }

    /// Locks a file that belongs to one piece of work; `None` while another process has it.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub fn of_work(path: &Path, purpose: &str) -> Result<Option<LakeLock>, LakeLockError> {
        match take(path, Kind::Exclusive, purpose, Duration::ZERO) {
            Err(LakeLockError::Held { .. }) => Ok(None),
            taken => taken.map(Some),
        }
    }
}

fn cannot_be_made(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn take(path: &Path, kind: Kind, purpose: &str, patience: Duration) -> Result<LakeLock, LakeLockError> {
    let io = |source| LakeLockError::Io { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    let open = regular::open_as(options.read(true).write(true).create(true).truncate(false), path);
    // A shared lock needs no right to write.
    let mut file = match open {
        Err(err) if kind == Kind::Shared && cannot_be_made(&err) => regular::open(path).map_err(io)?,
        open => open.map_err(io)?,
    };
    let mut waited = Duration::ZERO;
    loop {
        let tried = match kind {
            Kind::Shared => file.try_lock_shared(),
            Kind::Exclusive => file.try_lock(),
        };
        match tried {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(io(source)),
            Err(TryLockError::WouldBlock) if waited >= patience => {
                return Err(LakeLockError::Held { path: path.to_owned(), holder: read_note(&file) });
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if waited == WARN_AFTER {
            tracing::warn!(path = %path.display(), holder = %read_note(&file), purpose, "waiting for the lock of the lake");
        }
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
    // A note that cannot be written (full disk, no right to write) costs a better message, not the lock.
    let _ = write_note(&mut file, purpose);
    Ok(LakeLock { _file: file })
}

fn write_note(file: &mut File, purpose: &str) -> io::Result<()> {
    let note = format!("pid {} on {} ({purpose})\n", std::process::id(), host::name());
    let note = note.as_bytes().get(..NOTE_BYTES_MAX).unwrap_or(note.as_bytes());
    file.write_all_at(note, 0)?;
    file.set_len(note.len() as u64)
}

fn read_note(file: &File) -> String {
    let mut note = [0; NOTE_BYTES_MAX];
    let read = file.read_at(&mut note, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(note.get(..read).unwrap_or_default());
    // One line: whoever writes just now may have left the end of a longer one.
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() { "another process".to_owned() } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn whoever_changes_the_lake_has_it_alone_and_is_named_to_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let lake = dir.path().join("deep/lake");
        let held = LakeLock::exclusive(&lake, "publish 2024-08-09T00 of binance-spot", NOW).unwrap();
        let refused = LakeLock::shared(&lake, "verify", NOW).unwrap_err().to_string();
        assert!(refused.contains(&format!("pid {} on ", std::process::id())), "{refused}");
        assert!(refused.contains("publish 2024-08-09T00 of binance-spot"), "{refused}");
        assert!(LakeLock::exclusive(&lake, "retention", NOW).is_err());
        drop(held);
        let (a, b) = (LakeLock::shared(&lake, "verify", NOW).unwrap(), LakeLock::shared(&lake, "verify", NOW).unwrap());
        assert!(a.is_some() && b.is_some() && LakeLock::exclusive(&lake, "retention", NOW).is_err());
        // A rewrite has a lock of its own: it publishes and verifies under the other one meanwhile.
        let rewrite = LakeLock::rewrite(&lake, "rewrite", NOW).unwrap();
        assert!(LakeLock::rewrite(&lake, "rewrite", NOW).is_err());
        assert!(LakeLock::rewriter(&lake).unwrap().unwrap().ends_with("(rewrite)"));
        drop((a, b, rewrite));
        assert_eq!(LakeLock::rewriter(&lake).unwrap(), None);
        LakeLock::exclusive(&lake, "retention", NOW).unwrap();
    }

    #[test]
    fn a_wait_ends_when_the_holder_does() {
        let dir = tempfile::tempdir().unwrap();
        let held = LakeLock::exclusive(dir.path(), "publish", NOW).unwrap();
        std::thread::scope(|s| {
            let waiting = s.spawn(|| LakeLock::shared(dir.path(), "verify", Duration::from_secs(60)).unwrap());
            std::thread::sleep(Duration::from_millis(30));
            assert!(!waiting.is_finished());
            drop(held);
            assert!(waiting.join().unwrap().is_some());
        });
    }

    #[test]
    fn a_lake_that_is_not_there_is_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        assert!(LakeLock::shared(&dir.path().join("none"), "verify", NOW).unwrap().is_none());
        assert!(!dir.path().join("none").exists());
    }
}
