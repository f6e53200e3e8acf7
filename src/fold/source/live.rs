//! The log as its consumers read it while it is written: a reader that is never passed over damage it could wait for.
//!
//! [`LiveLog`] owns the reader and the rules for the quiet states. At the end of the log it waits for the writer's bell. In
//! front of an unrepaired crash tail it repairs the log itself when no writer lives, and else waits for the writer's own
//! repair: visible in the status at once, warned about after 30 s.
//!
//! ```text
//!  crash tail --lock is free--> repair --ok--> read on
//!      |                          | fails: reported, red, tried again after 1 s, 2 s ... 60 s; the lock is not held meanwhile
//!      | lock is held             v
//!      +--for 5 s--> is anything lost there? --no--> read on after it, still red
//!                                            +-yes-> wait
//! ```
//!
//! Nothing a repair says is dropped: failures, quarantined files and records lost below the durable position are each
//! reported once, and again every ten minutes while they last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wal_format::lock::{LogLock, Role};
use wal_format::{
    Advance, Incarnation, LogReader, Position, ReadError, ReaderOptions, RepairError, SegmentDirs, SegmentId, Waiter,
    error_chain,
};

use super::seam::{PassedBy, RecordSource, Settled, SourceError, Step};
use ops::clock;
use ops::log_repairs;

/// From here on a wait for a repair is a warning, ns; a drain ends with an error then.
const REPAIR_WARN_NS: u64 = 30_000_000_000;
/// A writer that lives has had this long to repair the tail before it is looked at whether anything is lost there, ns.
const REPAIR_PATIENCE_NS: u64 = 5_000_000_000;
/// Between two attempts to repair, ns: taking the lock costs system calls. Doubled up to [`REPAIR_RETRY_MAX_NS`] while
/// they fail.
const REPAIR_RETRY_NS: u64 = 1_000_000_000;
/// Longest pause between two attempts, ns.
const REPAIR_RETRY_MAX_NS: u64 = 60_000_000_000;

/// The reader of one log with its pauses.
pub struct LiveLog {
    reader: LogReader,
    dir: PathBuf,
    waiter: Waiter,
    waiting: Option<Waiting>,
    retry: Retry,
    /// Why the log as a whole could not be repaired when that was tried last.
    refused: Option<String>,
    /// Segments that could not be repaired and that a reader needs, and why.
    failures: BTreeMap<SegmentId, String>,
    /// Tails that were stepped over unrepaired, and why they were not repaired.
    passed: BTreeMap<SegmentId, String>,
}

#[derive(Clone, Copy)]
struct Waiting {
    segment: SegmentId,
    since_ns: u64,
    warned: bool,
}

/// Where a reader in front of a crash tail is.
enum Wait {
    /// Reading can go on.
    Over,
    /// Another process will repair it; what to show meanwhile.
    Going(String),
    /// It cannot be repaired at present, or was not in time; why.
    Stuck(String),
}

impl RecordSource for LiveLog {
    fn next(&mut self) -> Result<Step<'_>, SourceError> {
        let found = loop {
            match self.reader.advance()? {
                Advance::AwaitRepair(segment) => match self.await_repair(segment)? {
                    Wait::Over => {}
                    Wait::Going(why) => return Ok(Step::Blocked { why, stuck: false }),
                    Wait::Stuck(why) => return Ok(Step::Blocked { why, stuck: true }),
                },
                found => break found,
            }
        };
        Ok(match self.reader.lend(&found) {
            wal_format::Step::Record(record) => Step::Record(record),
            wal_format::Step::Lost(lost) => Step::Lost(lost),
            wal_format::Step::Tail | wal_format::Step::AwaitRepair { .. } => Step::Tail,
        })
    }

    fn position(&self) -> Position {
        self.reader.position()
    }

    fn incarnation_of(&self, epoch: u32) -> Incarnation {
        self.reader.incarnation_of(epoch)
    }

    /// By the writer's bell.
    fn wait(&mut self, most: Duration) {
        self.waiter.pause(most);
    }

    #[inline]
    fn progressed(&mut self) {
        self.waiter.progressed();
        self.waiting = None;
    }

    fn committed(&self) -> Option<Position> {
        wal_format::control::read(&self.dir).map(|control| control.committed)
    }

    /// Repairs the log when no writer holds it and the last failure is long enough ago.
    fn settle(&mut self) -> Settled {
        let now = clock::now().mono_ns;
        if self.retry.due(now) { self.repair(now) } else { Settled::Failed }
    }

    /// It stays so until the repair succeeds, which is tried again when it is time to.
    fn unrepaired(&mut self) -> Option<String> {
        let now = clock::now().mono_ns;
        if self.why().is_some() && self.retry.due(now) {
            self.repair(now);
        }
        self.why().cloned()
    }

    fn take_passed_by(&mut self) -> Vec<PassedBy> {
        let found = self.reader.take_foreign();
        found
            .into_iter()
            .map(|(path, why)| PassedBy { what: path.display().to_string(), why: why.to_string() })
            .collect()
    }
}

impl LiveLog {
    /// Opens the log in `dir`, which need not exist yet, at `from`.
    ///
    /// # Errors
    /// When the directory is not one.
    pub fn open(dir: &Path, from: Position) -> Result<Self, SourceError> {
        let open = LogReader::open(dir, from, ReaderOptions::default());
        let reader = open.map_err(|source| SourceError::Open { dir: dir.to_owned(), source })?;
        Ok(Self {
            reader,
            dir: dir.to_owned(),
            waiter: Waiter::new(dir),
            waiting: None,
            retry: Retry::default(),
            refused: None,
            failures: BTreeMap::new(),
            passed: BTreeMap::new(),
        })
    }

    /// As [`LiveLog::open`], but repairs nothing: at a crash tail it is [`Step::Blocked`].
    ///
    /// # Errors
    /// As [`LiveLog::open`].
    pub fn only_reading(dir: &Path, from: Position) -> Result<Self, SourceError> {
        Ok(Self { retry: Retry { next_ns: u64::MAX, ..Retry::default() }, ..Self::open(dir, from)? })
    }

    /// In front of an unrepaired crash tail in `segment`: repairs it when no writer lives.
    fn await_repair(&mut self, segment: SegmentId) -> Result<Wait, ReadError> {
        let now = clock::now().mono_ns;
        let mut waiting = match self.waiting {
            Some(waiting) if waiting.segment == segment => waiting,
            _ => Waiting { segment, since_ns: now, warned: false },
        };
        let waited_ns = now.saturating_sub(waiting.since_ns);
        if self.retry.due(now) && self.repair(now) == Settled::Done && !self.failures.contains_key(&segment) {
            self.progressed();
            return Ok(Wait::Over);
        }
        let failed = self.failures.get(&segment).or(self.refused.as_ref()).cloned();
        if (failed.is_some() || waited_ns >= REPAIR_PATIENCE_NS) && self.reader.pass_whole_tail()? {
            let why = failed.unwrap_or_else(|| {
                format!("segment {segment} ends in a crash tail that the running collector has not repaired")
            });
            log_repairs::warn(&self.dir, &format!("{why}; nothing is lost by it, reading goes on after it"));
            self.passed.insert(segment, why);
            self.progressed();
            return Ok(Wait::Over);
        }
        if waited_ns >= REPAIR_WARN_NS && !waiting.warned {
            waiting.warned = true;
            tracing::warn!(
                log = %self.dir.display(), segment = segment.0, waited_s = waited_ns / 1_000_000_000,
                "waiting for the crash tail of an earlier run to be repaired"
            );
        }
        self.waiting = Some(waiting);
        Ok(match failed {
            Some(why) => Wait::Stuck(why),
            None => {
                let why = format!(
                    "segment {segment} ends in a crash tail that the running collector is still repairing ({} s)",
                    waited_ns / 1_000_000_000
                );
                if waited_ns >= REPAIR_WARN_NS { Wait::Stuck(why) } else { Wait::Going(why) }
            }
        })
    }

    fn why(&self) -> Option<&String> {
        self.refused.as_ref().or_else(|| self.failures.values().chain(self.passed.values()).next())
    }

    fn repair(&mut self, now: u64) -> Settled {
        self.refused = None;
        let attempt = match wal_format::repair(&self.dir) {
            Ok(report) => {
                log_repairs::report_repair(&self.dir, &report);
                // What every reader has passed is only reported: nobody waits for it.
                self.failures = report.needed().map(|f| (f.segment, f.to_string())).collect();
                self.passed.retain(|id, _| report.failure_of(*id).is_some());
                // A writer may have come meanwhile: repairs make none wait.
                match LogLock::holder(&self.dir).map(|holder| holder.role) {
                    Some(Role::Writer) => Settled::Written,
                    _ => Settled::Done,
                }
            }
            Err(RepairError::LockHeld { .. }) => {
                self.forget_what_others_repaired();
                Settled::Written
            }
            Err(err) => {
                let why = format!("the log cannot be repaired: {}", error_chain(&err));
                log_repairs::error(&self.dir, &why);
                self.refused = Some(why);
                Settled::Failed
            }
        };
        self.retry.tried(now, self.refused.is_some() || !self.failures.is_empty());
        attempt
    }

    /// Whoever holds the lock may have done it.
    fn forget_what_others_repaired(&mut self) {
        if self.failures.is_empty() && self.passed.is_empty() {
            return;
        }
        // What cannot be listed stays as it was known.
        let Ok(segments) = SegmentDirs::new(&self.dir).list() else { return };
        let open = |id: &SegmentId| segments.iter().any(|s| s.id == *id && !s.sealed);
        self.failures.retain(|id, _| open(id));
        self.passed.retain(|id, _| open(id));
    }
}

/// When to try again: soon after the first failure, later after each one that follows.
#[derive(Default)]
struct Retry {
    next_ns: u64,
    pause_ns: u64,
}

impl Retry {
    fn due(&self, now_ns: u64) -> bool {
        now_ns >= self.next_ns
    }

    fn tried(&mut self, now_ns: u64, failed: bool) {
        self.pause_ns = match (failed, self.pause_ns) {
            (true, pause) if pause > 0 => (pause * 2).min(REPAIR_RETRY_MAX_NS),
            _ => REPAIR_RETRY_NS,
        };
        self.next_ns = now_ns.saturating_add(self.pause_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_repair_that_fails_is_tried_again_later_and_later_and_soon_again_once_it_did_not() {
        let mut retry = Retry::default();
        let mut at = 0;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert!(retry.due(at));
            retry.tried(at, true);
            assert!(!retry.due(at));
            pauses.push((retry.next_ns - at) / S);
            at = retry.next_ns;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        retry.tried(at, false);
        assert_eq!(retry.next_ns - at, S);
    }
}
