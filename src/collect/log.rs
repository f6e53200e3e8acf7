//! The log of one venue as the collector's tasks share it.
//!
//! One std mutex around the writer, held for one append (some 100 ns) and never across an await. The receive
//! time is the caller's, taken when the bytes came out of the socket, before the lock. There is no queue: an
//! append that waits (slow disk) makes its own socket wait, and the kernel's receive buffer holds the difference.
//! The first append that fails stops the venue: its sockets close, nothing is dropped silently. When the log takes
//! records again ([`SharedLog::resume`]) recording goes on, with a gap.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::error;
use wal_format::{Append, AppendError, Kind, LogWriter, Ringer, Seq, SyncHandle, SyncPolicy};

use super::latency;
use super::metrics::VenueMetrics;
use super::record::{self, Event};
use crate::clock;
use crate::shutdown::Shutdown;
use crate::telemetry::RateLimited;
use crate::venue::{RestMeta, VenueId};

static TOO_LARGE: RateLimited = RateLimited::new(Duration::from_secs(60));

/// Receive time, ns since epoch: [`clock::receive_ns`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Now. Taken before anything else is done with what arrived.
    #[inline]
    pub fn now() -> Stamp {
        Stamp(clock::receive_ns())
    }
}

/// The log does not take records any more; the reason was logged and counted where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log does not take records any more")]
pub struct LogStopped;

/// A [`LogWriter`] shared by the tasks of one venue.
pub struct SharedLog {
    venue: VenueId,
    /// `None` once closed.
    ringer: Ringer,
    writer: Mutex<Option<LogWriter>>,
    /// Only with `sync = "every"`.
    durable: Option<SyncHandle>,
    failed: AtomicBool,
    /// When that was, ns since epoch.
    failed_ns: AtomicU64,
    metrics: Arc<VenueMetrics>,
    /// Stops the venue when the log fails; another one after each resumption.
    stop: Mutex<Shutdown>,
}

impl SharedLog {
    /// Shares `writer`; `stop` is triggered when an append fails.
    pub fn new(
        venue: VenueId,
        writer: LogWriter,
        sync: SyncPolicy,
        metrics: Arc<VenueMetrics>,
        stop: Shutdown,
    ) -> Self {
        metrics.writer(writer.stats());
        let ringer = writer.ringer();
        let durable = matches!(sync, SyncPolicy::Every).then(|| writer.sync_handle());
        Self {
            venue,
            writer: Mutex::new(Some(writer)),
            ringer,
            durable,
            failed: AtomicBool::new(false),
            failed_ns: AtomicU64::new(0),
            metrics,
            stop: Mutex::new(stop),
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
        self.append(Stamp::now(), conn, Kind::Event, 0, &record::json(&Event { kind, detail }))
    }

    /// Appends a REST body.
    ///
    /// # Errors
    /// As [`SharedLog::append`].
    pub fn rest(&self, stamp: Stamp, conn: u32, meta: &RestMeta, body: &[u8]) -> Result<Seq, LogStopped> {
        let meta = record::json(meta);
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
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let done = writer.as_mut().ok_or(LogStopped)?.tick();
        drop(writer);
        done.map_err(|err| self.fail(&err.to_string()))
    }

    /// Wakes readers that wait at the tail; once per burst of appends, because waking is a system call.
    #[inline]
    pub fn ring(&self) {
        self.ringer.ring();
    }

    /// With `sync = "every"`: returns when `seq` is on disk; otherwise at once. Blocks the thread.
    ///
    /// # Errors
    /// [`LogStopped`] when the log cannot be forced to disk.
    pub fn wait_durable(&self, seq: Seq) -> Result<(), LogStopped> {
        let Some(handle) = &self.durable else { return Ok(()) };
        let multi_thread = tokio::runtime::Handle::try_current()
            .is_ok_and(|h| h.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread);
        let waited = if multi_thread {
            tokio::task::block_in_place(|| handle.wait_durable(seq))
        } else {
            handle.wait_durable(seq)
        };
        waited.map_err(|err| self.fail(&err.to_string()))
    }

    /// True when a waiter must follow each append ([`SharedLog::wait_durable`] does something).
    pub fn waits(&self) -> bool {
        self.durable.is_some()
    }

    /// Tries whether the log takes records again; from then on failures trigger `stop`. Returns since when it
    /// took none, ns since epoch; `None` = still none.
    pub fn resume(&self, stop: &Shutdown) -> Option<u64> {
        let since_ns = self.failed_ns.swap(0, Ordering::Relaxed);
        let event = Event {
            kind: "log_resumed",
            detail: serde_json::json!({ "since_ns": since_ns, "error": self.metrics.failed() }),
        };
        let payload = record::json(&event);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Seals and closes the log; later appends fail. Blocks on the disk.
    ///
    /// # Errors
    /// The writer's, as text.
    pub fn close(&self) -> anyhow::Result<()> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match writer {
            Some(w) => w.close().map_err(|err| anyhow::anyhow!("close the log of {}: {err}", self.venue)),
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
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = match writer.as_mut() {
            Some(w) if !self.failed.load(Ordering::Relaxed) => w,
            _ => return Err(LogStopped),
        };
        match append(writer) {
            Ok(seq) => {
                if let Some(started) = started {
                    self.metrics.appends.took(clock::now().mono_ns.saturating_sub(started.mono_ns));
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
        let payload = record::json(&event);
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
