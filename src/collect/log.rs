//! The log of one venue as the collector's tasks share it.
//!
//! One std mutex around the writer, held for one append (some 100 ns) and never across an await. The receive
//! time is the caller's, taken when the bytes came out of the socket, before the lock. There is no queue: an
//! append that waits (slow disk) makes its own socket wait, and the kernel's receive buffer holds the difference.
//! The first append that fails stops the venue: its sockets close, nothing is dropped silently. When the log takes
//! records again ([`SharedLog::resume`]) recording goes on, with a gap. A task that panics inside the writer leaves it in
//! a state nobody can vouch for: it is dropped, and the log is opened again, as after a kill.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tracing::{error, warn};
use wal_format::{
    Append, AppendError, Duty, Kind, LogOptions, LogWriter, Notifier, Repairs, Seq, SyncError, SyncHandle, SyncPolicy,
    error_chain,
};

use super::error::CollectError;
use super::latency;
use super::metrics::VenueMetrics;
use model::record::{self, Event};
use model::{RestMeta, VenueId};
use ops::clock::{self, Stamp};
use ops::health::Reason;
use ops::log_repairs;
use ops::shutdown::Shutdown;
use ops::supervise::Task;
use ops::telemetry::RateLimited;

/// A trouble that lasts is reported again after this.
const REPORT_AGAIN: Duration = Duration::from_secs(600);

static TOO_LARGE: RateLimited = RateLimited::new(Duration::from_secs(60));

/// The log does not take records any more; the reason was logged and counted where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log does not take records any more")]
pub struct LogStopped;

/// A [`LogWriter`] shared by the tasks of one venue.
pub(crate) struct SharedLog {
    venue: VenueId,
    dir: PathBuf,
    options: LogOptions,
    /// `None` once closed or given up. Poisoned: a task panicked inside of it.
    writer: Mutex<Option<LogWriter>>,
    /// Of the present run.
    handles: RwLock<Handles>,
    /// The run was given up.
    broken: AtomicBool,
    failed: AtomicBool,
    /// When that was, ns since epoch.
    failed_ns: AtomicU64,
    metrics: Arc<VenueMetrics>,
    /// Stops the venue when the log fails; another one after each resumption.
    stop: Mutex<Shutdown>,
    /// Troubles of the writer that were reported, and when last.
    reported: Mutex<Vec<(Duty, Instant)>>,
}

/// What is used without waiting for an append.
struct Handles {
    notifier: Notifier,
    /// Only with `sync = "every"`.
    durable: Option<SyncHandle>,
    /// How the tails of earlier runs are repaired, and the number of the attempt that was reported last.
    repairs: Option<Arc<Repairs>>,
    repairs_reported: AtomicU64,
}

impl Handles {
    fn of(writer: &LogWriter, sync: SyncPolicy) -> Handles {
        let durable = matches!(sync, SyncPolicy::Every).then(|| writer.sync_handle());
        Handles { notifier: writer.notifier(), durable, repairs: writer.repairs(), repairs_reported: AtomicU64::new(0) }
    }
}

impl SharedLog {
    /// Shares `writer`, which was opened with `options`; `stop` is triggered when an append fails.
    pub fn new(
        venue: VenueId,
        writer: LogWriter,
        options: LogOptions,
        metrics: Arc<VenueMetrics>,
        stop: Shutdown,
    ) -> Self {
        metrics.writer(writer.stats());
        Self {
            venue,
            dir: writer.dir().to_owned(),
            handles: RwLock::new(Handles::of(&writer, options.sync)),
            options,
            writer: Mutex::new(Some(writer)),
            broken: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            failed_ns: AtomicU64::new(0),
            metrics,
            stop: Mutex::new(stop),
            reported: Mutex::new(Vec::new()),
        }
    }

    /// Appends one record and returns its number.
    ///
    /// # Errors
    /// [`LogStopped`] when this or an earlier append failed, or after [`SharedLog::close`].
    #[inline]
    pub fn append(&self, stamp: Stamp, conn: u32, kind: Kind, flags: u8, payload: &[u8]) -> Result<Seq, LogStopped> {
        self.with(stamp, conn, |w| w.append(&Append { ts_recv_ns: stamp.0, conn, kind, flags, payload }))
    }

    /// Appends an Event record of `conn` (0 = of no connection).
    ///
    /// # Errors
    /// As [`SharedLog::append`].
    pub fn event(&self, conn: u32, kind: &str, detail: serde_json::Value) -> Result<Seq, LogStopped> {
        self.append(Stamp::now(), conn, Kind::Event, 0, &record::to_json(&Event { kind, detail }))
    }

    /// [`SharedLog::event`] where nobody waits for it: a log that takes no records has said so itself.
    pub fn note(&self, conn: u32, kind: &str, detail: serde_json::Value) {
        // Reported where it failed.
        let _ = self.event(conn, kind, detail);
    }

    /// Appends a REST body.
    ///
    /// # Errors
    /// As [`SharedLog::append`].
    pub fn rest(&self, stamp: Stamp, conn: u32, meta: &RestMeta, body: &[u8]) -> Result<Seq, LogStopped> {
        let meta = record::to_json(meta);
        let seq = self.with(stamp, conn, |w| w.append_rest(stamp.0, conn, &meta, body))?;
        self.metrics.frames.add(1);
        self.metrics.bytes.add(body.len() as u64);
        Ok(seq)
    }

    /// Keeps the clock records coming when no frame does; about once a second.
    ///
    /// # Errors
    /// As [`SharedLog::append`].
    pub fn tick(&self) -> Result<(), LogStopped> {
        self.look_at_repairs();
        let mut writer = self.writer()?;
        let run = writer.as_mut().ok_or(LogStopped)?;
        if let Some(thread) = run.lost_thread() {
            let what = format!("the thread {thread} of the log's writer panicked");
            self.metrics.supervisor().report(Task::Writer, self.venue.as_str(), &what);
            return Err(self.give_up(writer, &what));
        }
        let done = run.tick();
        drop(writer);
        self.report_troubles();
        done.map_err(|err| self.fail(&err.to_string()))
    }

    /// Reports what the last attempt to repair the tails of earlier runs could not do: it lasts until it can.
    fn look_at_repairs(&self) {
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        let reported = &handles.repairs_reported;
        let Some((attempt, outcome)) = handles.repairs.as_ref().and_then(|repairs| repairs.last()) else { return };
        if reported.swap(attempt, Ordering::Relaxed) == attempt {
            return;
        }
        let failed = match outcome.as_ref() {
            Ok(report) => {
                log_repairs::report_repair(&self.dir, report);
                report.needed().next().map(ToString::to_string)
            }
            Err(err) => {
                let why = format!("the tails of earlier runs cannot be repaired: {}", error_chain(err));
                log_repairs::error(&self.dir, &why);
                Some(why)
            }
        };
        self.metrics.conditions().set(Reason::RepairFailing, self.venue.as_str(), failed);
    }

    /// Wakes readers that wait at the tail; once per burst of appends, because waking is a system call.
    #[inline]
    pub fn notify(&self) {
        self.handles.read().unwrap_or_else(PoisonError::into_inner).notifier.notify();
    }

    /// With `sync = "every"`: returns when `seq` is on disk; otherwise at once. Blocks the thread.
    ///
    /// # Errors
    /// [`LogStopped`] when the log cannot be forced to disk.
    pub fn wait_durable(&self, seq: Seq) -> Result<(), LogStopped> {
        let handle = self.handles.read().unwrap_or_else(PoisonError::into_inner).durable.clone();
        let Some(handle) = handle else { return Ok(()) };
        let multi_thread = tokio::runtime::Handle::try_current()
            .is_ok_and(|h| h.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread);
        let waited = if multi_thread {
            tokio::task::block_in_place(|| handle.wait_durable(seq))
        } else {
            handle.wait_durable(seq)
        };
        match waited {
            // What was appended is kept, except over a power cut: the tick reports it, and recording goes on.
            Ok(()) | Err(SyncError::Frozen { .. }) => Ok(()),
            Err(err) => Err(self.fail(&err.to_string())),
        }
    }

    /// What keeps failing in the writer's background: an error line when it begins and every ten minutes, `/health` is
    /// red meanwhile, a line when it is over.
    fn report_troubles(&self) {
        let troubles = self.metrics.writer_stats().map(|stats| stats.background_errors()).unwrap_or_default();
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        for trouble in &troubles {
            let (what, why) = (trouble.duty.as_str(), trouble.message.as_str());
            let known = reported.iter_mut().find(|(duty, _)| *duty == trouble.duty);
            if known.as_ref().is_none_or(|(_, at)| at.elapsed() >= REPORT_AGAIN) {
                error!(venue = %self.venue, failures = trouble.failures, error = why, "the log cannot {what}");
            } else {
                continue;
            }
            match known {
                Some((_, at)) => *at = Instant::now(),
                None => reported.push((trouble.duty, Instant::now())),
            }
        }
        reported.retain(|(duty, _)| {
            let on = troubles.iter().any(|trouble| trouble.duty == *duty);
            if !on {
                warn!(venue = %self.venue, "the log can {} again", duty.as_str());
            }
            on
        });
        let text = troubles.iter().map(|t| format!("the log cannot {}: {}", t.duty.as_str(), t.message));
        let text = text.collect::<Vec<_>>().join("; ");
        self.metrics.conditions().set(Reason::SyncFailing, self.venue.as_str(), (!text.is_empty()).then_some(text));
    }

    /// True when a waiter must follow each append ([`SharedLog::wait_durable`] does something).
    pub fn waits(&self) -> bool {
        matches!(self.options.sync, SyncPolicy::Every)
    }

    /// The writer, for as long as one append takes. Not one that a task panicked inside of: what it has in memory may
    /// not be what is in the file, and only a new run is sure of it.
    fn writer(&self) -> Result<MutexGuard<'_, Option<LogWriter>>, LogStopped> {
        self.writer.lock().map_err(|poisoned| {
            let stopped = self.give_up(poisoned.into_inner(), "a task panicked inside the log's writer");
            self.writer.clear_poison();
            stopped
        })
    }

    /// Ends this run of the writer as a kill would; [`SharedLog::resume`] begins another one.
    #[cold]
    fn give_up(&self, mut writer: MutexGuard<'_, Option<LogWriter>>, why: &str) -> LogStopped {
        self.broken.store(true, Ordering::Release);
        // With it goes its lock on the log.
        drop(writer.take());
        drop(writer);
        self.fail(&format!("{why}; the log is opened again"))
    }

    /// Opens the log as a new run where the last one was given up; `None` = not yet.
    fn open_anew(&self) -> Option<()> {
        if !self.broken.load(Ordering::Acquire) {
            return Some(());
        }
        match LogWriter::open(&self.dir, self.options.clone()) {
            Ok(fresh) => {
                self.metrics.writer(fresh.stats());
                let handles = Handles::of(&fresh, self.options.sync);
                *self.handles.write().unwrap_or_else(PoisonError::into_inner) = handles;
                *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
                self.broken.store(false, Ordering::Release);
                self.metrics.supervisor().again(Task::Writer, self.venue.as_str());
                Some(())
            }
            Err(err) => {
                warn!(venue = %self.venue, error = %err, "the log cannot be opened again yet");
                None
            }
        }
    }

    /// Tries whether the log takes records again; from then on failures trigger `stop`. Returns since when it
    /// took none, ns since epoch; `None` = still none. Blocks on the disk where the log has to be opened again.
    pub fn resume(&self, stop: &Shutdown) -> Option<u64> {
        self.open_anew()?;
        let since_ns = self.failed_ns.swap(0, Ordering::Relaxed);
        let event = Event {
            kind: "log_resumed",
            detail: serde_json::json!({ "since_ns": since_ns, "error": self.metrics.failed() }),
        };
        let payload = record::to_json(&event);
        let mut writer = self.writer().ok()?;
        let append = Append { ts_recv_ns: Stamp::now().0, conn: 0, kind: Kind::Event, flags: 0, payload: &payload };
        if writer.as_mut()?.append(&append).is_err() {
            self.failed_ns.store(since_ns, Ordering::Relaxed);
            return None;
        }
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = stop.clone();
        self.failed.store(false, Ordering::Release);
        self.metrics.resumed();
        Some(since_ns)
    }

    /// Seals and closes the log; later appends fail. Blocks on the disk. One that a task panicked inside of is left as a
    /// kill leaves it.
    ///
    /// # Errors
    /// The writer's, as text.
    pub fn close(&self) -> Result<(), CollectError> {
        let Ok(writer) = self.writer().map(|mut w| w.take()) else { return Ok(()) };
        match writer {
            Some(w) => w.close().map_err(|error| CollectError::Close { venue: self.venue, error }),
            None => Ok(()),
        }
    }

    #[inline]
    fn with(
        &self,
        stamp: Stamp,
        conn: u32,
        append: impl FnOnce(&mut LogWriter) -> Result<Seq, AppendError>,
    ) -> Result<Seq, LogStopped> {
        let started = (self.metrics.frames.get().is_multiple_of(latency::ONE_IN)).then(clock::now);
        let mut writer = self.writer()?;
        let writer = match writer.as_mut() {
            Some(w) if !self.failed.load(Ordering::Relaxed) => w,
            _ => return Err(LogStopped),
        };
        match append(writer) {
            Ok(seq) => {
                if let Some(started) = started {
                    self.metrics.appends.record(clock::now().mono_ns.saturating_sub(started.mono_ns), 1);
                }
                Ok(seq)
            }
            Err(AppendError::TooLarge { bytes, max }) => self.too_large(writer, stamp, conn, bytes, max),
            Err(err) => Err(self.fail(&err.to_string())),
        }
    }

    /// What does not fit into a record leaves an event in its place: the log says what it does not hold.
    #[cold]
    fn too_large(
        &self,
        writer: &mut LogWriter,
        stamp: Stamp,
        conn: u32,
        bytes: usize,
        max: usize,
    ) -> Result<Seq, LogStopped> {
        self.metrics.too_large.add(1);
        if let Some(suppressed) = TOO_LARGE.allow() {
            error!(venue = %self.venue, conn, bytes, max, suppressed,
                "a frame is larger than a record may be and is not in the log; raise wal.segment_mib");
        }
        let event = Event { kind: "too_large", detail: serde_json::json!({ "bytes": bytes, "max": max }) };
        let payload = record::to_json(&event);
        writer
            .append(&Append { ts_recv_ns: stamp.0, conn, kind: Kind::Event, flags: 0, payload: &payload })
            .map_err(|err| self.fail(&err.to_string()))
    }

    /// Takes no record any more until [`SharedLog::resume`], and stops the venue.
    #[cold]
    pub(super) fn fail(&self, why: &str) -> LogStopped {
        self.metrics.log_errors.add(1);
        if !self.failed.swap(true, Ordering::AcqRel) {
            self.failed_ns.store(Stamp::now().0, Ordering::Relaxed);
            self.metrics.fail(why);
            error!(venue = %self.venue, error = why, "the log cannot be written; closing the sockets of this venue");
            self.stop.lock().unwrap_or_else(PoisonError::into_inner).trigger();
        }
        LogStopped
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::path::Path;

    use wal_format::{LogReader, Position, ReaderOptions, Step};

    use super::*;
    use ops::supervise;

    /// Epochs and texts of all data records; nothing is lost.
    fn read(dir: &Path) -> Vec<(u32, String)> {
        let mut reader = LogReader::open(dir, Position::START, ReaderOptions::default()).unwrap();
        let mut all = Vec::new();
        loop {
            match reader.next().unwrap() {
                Step::Record(r) if r.kind() == Some(Kind::Data) => {
                    all.push((r.seq.epoch(), String::from_utf8(r.payload.to_vec()).unwrap()));
                }
                Step::Record(_) => {}
                Step::Tail => return all,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_thread_of_the_writer_that_panics_ends_its_run_and_the_log_goes_on_in_a_new_one() {
        static PANICS: AtomicBool = AtomicBool::new(true);
        fn clock() -> wal_format::ClockPair {
            let is_sync = std::thread::current().name() == Some("wal-sync");
            assert!(!is_sync || !PANICS.load(Ordering::Relaxed), "as a test");
            ops::clock::now()
        }
        let dir = tempfile::tempdir().unwrap();
        let mut options = LogOptions::new(Arc::new(ops::clock::now));
        (options.segment_bytes, options.ready_segments, options.clock) = (1 << 20, 1, Arc::new(clock));
        let writer = LogWriter::open(dir.path(), options.clone()).unwrap();
        let metrics = Arc::<VenueMetrics>::default();
        let log = SharedLog::new(VenueId::GateSpot, writer, options, metrics.clone(), Shutdown::new());
        log.append(Stamp::now(), 1, Kind::Data, 0, b"before").unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
        while log.tick().is_ok() {
            assert!(std::time::Instant::now() < end, "ten minutes later still: log.tick().is_ok()");
            std::thread::sleep(Duration::from_millis(5));
        }
        let problems = metrics.conditions().problems().join("\n");
        assert!(problems.contains("task venue.writer of gate-spot: panicked at"), "{problems}");
        assert!(problems.contains("the thread wal-sync of the log's writer panicked"), "{problems}");
        PANICS.store(false, Ordering::Relaxed);
        assert!(log.resume(&Shutdown::new()).is_some());
        log.append(Stamp::now(), 1, Kind::Data, 0, b"after").unwrap();
        log.tick().unwrap();
        log.close().unwrap();
        let texts: Vec<String> = read(dir.path()).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["before", "after"]);
    }

    #[test]
    fn a_panic_inside_the_writer_ends_its_run_and_the_log_goes_on_in_a_new_one_with_all_that_was_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = LogOptions::new(Arc::new(ops::clock::now));
        (options.segment_bytes, options.ready_segments) = (1 << 20, 1);
        let writer = LogWriter::open(dir.path(), options.clone()).unwrap();
        let stop = Shutdown::new();
        let log = SharedLog::new(VenueId::GateSpot, writer, options, Arc::default(), stop.clone());
        let data = |log: &SharedLog, text: &str| log.append(Stamp::now(), 1, Kind::Data, 0, text.as_bytes());
        data(&log, "before").unwrap();
        let inside = || {
            let _writer = log.writer.lock().unwrap();
            panic!("in the middle of an append");
        };
        assert!(supervise::catch(inside).is_err());
        assert_eq!(data(&log, "not taken"), Err(LogStopped));
        assert!(stop.requested(), "the venue stops");
        assert!(log.metrics.failed().is_some_and(|why| why.contains("panicked")), "and says why");
        assert_eq!(log.tick(), Err(LogStopped));

        let stop = Shutdown::new();
        assert!(log.resume(&stop).is_some());
        data(&log, "after").unwrap();
        log.tick().unwrap();
        log.notify();
        assert_eq!((log.metrics.failed(), stop.requested()), (None, false));
        log.close().unwrap();
        let records = read(dir.path());
        assert_eq!(records.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["before", "after"]);
        assert_eq!(records.iter().map(|(epoch, _)| epoch).collect::<BTreeSet<_>>().len(), 2, "two runs");
    }
}
