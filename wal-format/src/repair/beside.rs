//! Repairing the tails of earlier runs beside a running writer: a thread that tries until all of them are whole.
//!
//! ```text
//!  attempt --some segment failed--> pause 1 s, 2 s, ... 60 s --> attempt ... --none failed--> the thread ends
//!     |                                                    stop --------------------------------^
//!     +--> Repairs: what the last attempt did, for whoever owns the writer to report
//! ```
//!
//! Nothing of it is dropped: a segment that cannot be repaired, a directory that cannot be listed, a panic and a thread
//! that cannot be started are all an answer of [`Repairs::last`].

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Mode, RepairReport, repair_tails};
use crate::read_error::RepairError;
use crate::record::SegmentId;

/// Pause after the first attempt that failed; doubled up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Between two looks whether another process has finished its repair.
const OTHERS_PAUSE: Duration = Duration::from_millis(50);

/// What one attempt did, or why it could not begin.
pub type Attempt = Result<RepairReport, RepairError>;

/// How the repair of earlier tails goes, shared between its thread and the owner of the writer.
#[derive(Debug, Default)]
pub struct Repairs {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    attempts: u64,
    last: Option<Arc<Attempt>>,
    stop: bool,
}

impl Repairs {
    /// Number of the last attempt, from 1, and what it did; `None` before the first one has ended.
    #[must_use]
    pub fn last(&self) -> Option<(u64, Arc<Attempt>)> {
        let state = self.lock();
        state.last.as_ref().map(|last| (state.attempts, Arc::clone(last)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, attempt: Attempt) {
        let mut state = self.lock();
        state.attempts += 1;
        state.last = Some(Arc::new(attempt));
    }

    /// Waits; false when the writer is closed meanwhile.
    fn pause(&self, most: Duration) -> bool {
        let state = self.lock();
        let (state, _) =
            self.changed.wait_timeout_while(state, most, |s| !s.stop).unwrap_or_else(PoisonError::into_inner);
        !state.stop
    }

    /// Attempts until nothing fails any more that anybody needs.
    fn run(&self, dir: &Path, before: SegmentId) {
        let mut pause = PAUSE_FIRST;
        loop {
            let attempt = catch_unwind(AssertUnwindSafe(|| repair_tails(dir, Some(before), Mode::Salvage)))
                .unwrap_or_else(|_| {
                    Err(RepairError::Io { path: dir.to_path_buf(), source: io::Error::other("the repair panicked") })
                });
            if matches!(attempt, Err(RepairError::LockHeld { .. })) {
                // Another process is at it: what that one leaves is looked at then.
                if !self.pause(OTHERS_PAUSE) {
                    return;
                }
                continue;
            }
            let done = attempt.as_ref().is_ok_and(|report| report.needed().next().is_none());
            self.note(attempt);
            if done || !self.pause(pause) {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// The thread. Joined when dropped, so that nothing of this writer touches the log after its lock is gone.
pub(crate) struct RepairThread {
    repairs: Arc<Repairs>,
    thread: Option<JoinHandle<()>>,
}

impl RepairThread {
    /// Starts repairing the segments of `dir` below `before`.
    pub fn start(dir: &Path, before: SegmentId) -> RepairThread {
        let repairs = Arc::new(Repairs::default());
        let path: PathBuf = dir.to_path_buf();
        let thread = std::thread::Builder::new().name("wal-repair".to_owned()).spawn({
            let repairs = Arc::clone(&repairs);
            move || repairs.run(&path, before)
        });
        // Without the thread old tails wait for the next start; appending must not.
        let thread =
            thread.map_err(|source| repairs.note(Err(RepairError::Io { path: dir.to_path_buf(), source }))).ok();
        RepairThread { repairs, thread }
    }

    /// How it goes.
    pub fn repairs(&self) -> Arc<Repairs> {
        Arc::clone(&self.repairs)
    }
}

impl Drop for RepairThread {
    fn drop(&mut self) {
        self.repairs.lock().stop = true;
        self.repairs.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It catches its own panics, so there is nothing to hear from it.
            let _ = thread.join();
        }
    }
}
