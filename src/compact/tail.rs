//! The log as the compactor reads it: one reader that is never passed over damage it could wait for.
//!
//! [`Tail`] owns the reader and the rules for the two quiet states. At the end of the log it waits for
//! the writer's bell. In front of an unrepaired crash tail it repairs the log itself when no writer lives, and else waits for
//! the writer's own repair: visible in the status at once, warned about after 30 s, never passed silently.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use wal_format::lock::{LogLock, Role};
use wal_format::{LogReader, Position, ReaderOptions, RepairError, SegmentId, Waiter};

use crate::clock;

/// From here on a wait for a repair is a warning, ns.
const REPAIR_WARN_NS: u64 = 30_000_000_000;
/// Between two attempts to repair, ns: taking the lock costs system calls.
const REPAIR_RETRY_NS: u64 = 1_000_000_000;

/// The reader of one log with its pauses.
pub struct Tail {
    /// The reader itself; steps borrow it.
    pub reader: LogReader,
    dir: PathBuf,
    waiter: Waiter,
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy)]
struct Waiting {
    segment: SegmentId,
    since_ns: u64,
    tried_ns: u64,
    warned: bool,
}

impl Tail {
    /// Opens the log at `from`.
    ///
    /// # Errors
    /// When the directory is not one.
    pub fn open(dir: &Path, from: Position) -> anyhow::Result<Self> {
        let reader = LogReader::open(dir, from, ReaderOptions::default())
            .with_context(|| format!("open the log {}", dir.display()))?;
        Ok(Self { reader, dir: dir.to_owned(), waiter: Waiter::new(dir), waiting: None })
    }

    /// Something was read: the next pause is short again.
    #[inline]
    pub fn progressed(&mut self) {
        self.waiter.progressed();
        self.waiting = None;
    }

    /// Names the files in the log's directory that are not the log's and were passed by, each once.
    pub fn tell_foreign(&mut self) {
        for (path, why) in self.reader.take_foreign() {
            tracing::warn!(
                log = %self.dir.display(), file = %path.display(), why = %why,
                "a segment in the log's directory is not of this log: it is not read and not deleted; the next start of the collector moves it to quarantine/"
            );
        }
    }

    /// Waits at the end of the log for the writer's bell, at most `most`.
    pub fn pause(&mut self, most: Duration) {
        self.tell_foreign();
        self.waiter.pause(most);
    }

    /// Stands before an unrepaired crash tail in `segment`: repairs it when no writer lives. Returns what to show
    /// as the reason for waiting, or `None` when it was repaired and reading can go on.
    ///
    /// # Errors
    /// When the repair itself failed (never when a writer lives).
    pub fn await_repair(&mut self, segment: SegmentId) -> anyhow::Result<Option<String>> {
        let now = clock::now().mono_ns;
        let waiting = match self.waiting {
            Some(w) if w.segment == segment => w,
            _ => Waiting { segment, since_ns: now, tried_ns: 0, warned: false },
        };
        let mut waiting = waiting;
        if waiting.tried_ns == 0 || now.saturating_sub(waiting.tried_ns) >= REPAIR_RETRY_NS {
            waiting.tried_ns = now;
            if repair_if_free(&self.dir)? {
                self.progressed();
                return Ok(None);
            }
        }
        let waited_ns = now.saturating_sub(waiting.since_ns);
        if waited_ns >= REPAIR_WARN_NS && !waiting.warned {
            waiting.warned = true;
            tracing::warn!(
                log = %self.dir.display(), segment = segment.0, waited_s = waited_ns / 1_000_000_000,
                "waiting for the collector to repair the crash tail of an earlier run"
            );
        }
        self.waiting = Some(waiting);
        Ok(Some(format!(
            "segment {segment} ends in a crash tail that the running collector is still repairing ({} s)",
            waited_ns / 1_000_000_000
        )))
    }
}

/// Repairs the log when no writer holds it. Returns false when one does.
///
/// # Errors
/// When the repair failed.
pub fn repair_if_free(dir: &Path) -> anyhow::Result<bool> {
    match wal_format::repair(dir) {
        // A writer may have come meanwhile: repairs make none wait.
        Ok(_) => Ok(LogLock::holder(dir).is_none_or(|holder| holder.role != Role::Writer)),
        Err(RepairError::LockHeld { .. }) => Ok(false),
        Err(err) => Err(err).with_context(|| format!("repair the log {}", dir.display())),
    }
}
