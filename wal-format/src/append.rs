//! The writer: append, roll, seal, and the log's own records (CLOCK, SYNC).
//!
//! ```text
//!  append -> housekeeping due? -> room? -- no -> roll: SEAL here, next segment, CLOCK there
//!                (rare)             +- yes -> payload, header, checksum -> commit word (release)
//! ```
//!
//! The common path makes no system call, takes no lock, allocates nothing and reads no clock,
//! except for a stall measurement at each new page. Room for SEAL is reserved in every segment,
//! so a roll can always close it. A record is visible to readers, and safe from anything that
//! kills this process, when `append` returns.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::control::Control;
use crate::error::AppendError;
use crate::footer::FooterBuilder;
use crate::incarnation::Incarnation;
use crate::layout::{
    BLOCK_BYTES, CLOCK_PAYLOAD_BYTES, DATA_START, RECORD_HEADER_BYTES, SEAL_BYTES, SYNC_PAYLOAD_BYTES, record_bytes,
};
use crate::options::{LogOptions, SyncPolicy};
use crate::positions::Live;
use crate::prepare::{Failure, Preparer};
use crate::record::{ClockPair, Kind, Position, RecordHeader, Seal, SegmentId, Seq, flags};
use crate::repair::{RepairThread, Repairs};
use crate::segment::Segment;
use crate::stats::WriterStats;
use crate::sync::{SealedSegment, SyncHandle, Syncer};
use crate::sys::Appender;

/// Receive time between two CLOCK records.
pub(crate) const CLOCK_EVERY_NS: u64 = 10_000_000_000;
/// A wall clock that moved by more than this against the monotonic one is recorded at once.
const CLOCK_STEP_NS: u64 = 50_000_000;
/// The preparer is notified of the tail at least this often.
const NUDGE_BYTES: u64 = 1024 * 1024;

/// One record to append.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// Receive time, ns since 1970-01-01 UTC. Raised to the record before if it is earlier.
    pub ts_recv_ns: u64,
    /// Connection ordinal, unique within the epoch; 0 for none.
    pub conn: u32,
    /// What it is. The log writes CLOCK, EPOCH_START, SYNC, HOLE and SEAL itself.
    pub kind: Kind,
    /// Bits of [`crate::flags`].
    pub flags: u8,
    /// Byte for byte.
    pub payload: &'a [u8],
}

/// The segment being appended to.
pub(crate) struct Active {
    pub live: Arc<Live>,
    pub appender: Appender,
    pub records: FooterBuilder,
    pub crc_initial: u32,
    /// Next byte to be written.
    pub tail: u64,
    /// Records other than SEAL end at or before this.
    pub limit: u64,
}

impl Active {
    /// `first` is the number that the segment's first record will have.
    pub fn new(segment: Segment, first: Seq) -> io::Result<Self> {
        let appender =
            segment.window.appender().ok_or_else(|| io::Error::other("the segment already has an appender"))?;
        let header = &segment.header;
        Ok(Active {
            appender,
            records: FooterBuilder::new(header.segment_bytes),
            crc_initial: header.crc_initial(),
            tail: DATA_START,
            limit: header.data_limit() - SEAL_BYTES,
            live: Arc::new(Live::new(segment, first)),
        })
    }
}

/// Appends to one log. Send, one owner; several connections share it behind a mutex.
///
/// Dropping it without [`LogWriter::close`] is like killing the process: nothing appended is
/// lost, the next start says "unclean".
pub struct LogWriter {
    pub(crate) active: Active,
    pub(crate) next_seq: Seq,
    pub(crate) last_ts_ns: u64,
    payload_max: usize,
    /// Housekeeping is due at this receive time ...
    clock_due_ns: u64,
    /// ... or when the syncer's signals differ from this.
    signals_seen: u64,
    /// The next append touches memory that a sync write-protected.
    after_sync: bool,
    /// Notify the background threads when the tail passes this.
    nudge_at: u64,
    nudge_bytes: u64,
    every: bool,
    last_clock: ClockPair,
    /// The durable seq that the last SYNC record named.
    sync_noted: Seq,
    /// The last record that is not a SYNC record.
    last_real: Seq,
    pub(crate) stats: Arc<WriterStats>,
    pub(crate) control: Arc<Control>,
    pub(crate) syncer: Syncer,
    pub(crate) preparer: Preparer,
    pub(crate) repair: Option<RepairThread>,
    pub(crate) options: LogOptions,
    pub(crate) dir: PathBuf,
    pub(crate) log_uuid: [u8; 16],
    pub(crate) epoch: u32,
    pub(crate) incarnation: Incarnation,
    pub(crate) warnings: Vec<String>,
    /// Last field: released after the threads have ended.
    pub(crate) lock: Box<dyn Send>,
}

/// What `open` hands over; see `open.rs`.
pub(crate) struct Parts {
    pub active: Active,
    pub stats: Arc<WriterStats>,
    pub control: Arc<Control>,
    pub syncer: Syncer,
    pub preparer: Preparer,
    pub repair: Option<RepairThread>,
    pub options: LogOptions,
    pub dir: PathBuf,
    pub log_uuid: [u8; 16],
    pub epoch: u32,
    pub incarnation: Incarnation,
    pub warnings: Vec<String>,
    pub lock: Box<dyn Send>,
}

impl LogWriter {
    pub(crate) fn assemble(parts: Parts) -> Self {
        let (nudge_bytes, every) = match parts.options.sync {
            SyncPolicy::Interval { bytes, .. } => (bytes.min(NUDGE_BYTES), false),
            SyncPolicy::Every => (NUDGE_BYTES, true),
            _ => (NUDGE_BYTES, false),
        };
        let epoch = parts.epoch;
        LogWriter {
            nudge_at: parts.active.tail + nudge_bytes,
            active: parts.active,
            next_seq: Seq::new(epoch, 0),
            last_ts_ns: 0,
            payload_max: parts.options.payload_bytes_max(),
            clock_due_ns: u64::MAX,
            signals_seen: 0,
            after_sync: false,
            nudge_bytes,
            every,
            last_clock: ClockPair::default(),
            sync_noted: Seq(0),
            last_real: Seq(0),
            stats: parts.stats,
            control: parts.control,
            syncer: parts.syncer,
            preparer: parts.preparer,
            repair: parts.repair,
            options: parts.options,
            dir: parts.dir,
            log_uuid: parts.log_uuid,
            epoch,
            incarnation: parts.incarnation,
            warnings: parts.warnings,
            lock: parts.lock,
        }
    }

    /// Appends one record. On return it is published: readers see it and no kill can take it.
    /// Under [`SyncPolicy::Every`], wait for [`SyncHandle::wait_durable`] before relying on the
    /// disk.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was written, and the log stays healthy.
    #[inline]
    pub fn append(&mut self, record: &Append<'_>) -> Result<Seq, AppendError> {
        if record.payload.len() > self.payload_max {
            return Err(self.too_large(record.payload.len()));
        }
        let signals = self.syncer.shared.signals.load(Ordering::Relaxed);
        if record.ts_recv_ns >= self.clock_due_ns || signals != self.signals_seen {
            self.housekeeping(record.ts_recv_ns, signals);
        }
        let total = record_bytes(record.payload.len()) as u64;
        if self.active.tail + total > self.active.limit {
            self.roll(record.ts_recv_ns)?;
        }
        if self.next_seq.counter() == Seq::COUNTER_MAX {
            return Err(AppendError::SeqUsedUp { last: Seq(self.next_seq.get() - 1) });
        }
        let crosses = (self.active.tail ^ (self.active.tail + total)) >= BLOCK_BYTES;
        let seq = if crosses || self.after_sync {
            let started = Instant::now();
            let seq = self.put(record.ts_recv_ns, record.conn, record.kind, record.flags, record.payload);
            self.after_sync = false;
            self.stats.stall(started.elapsed());
            seq
        } else {
            self.put(record.ts_recv_ns, record.conn, record.kind, record.flags, record.payload)
        };
        self.last_real = seq;
        if self.active.tail >= self.nudge_at {
            self.nudge();
        } else if self.every {
            self.syncer.nudge();
        }
        Ok(seq)
    }

    /// Appends a REST response: `meta_json` describes the request, `body` is kept byte for byte.
    ///
    /// # Errors
    /// As [`LogWriter::append`].
    pub fn append_rest(
        &mut self,
        ts_recv_ns: u64,
        conn: u32,
        meta_json: &[u8],
        body: &[u8],
    ) -> Result<Seq, AppendError> {
        let bytes = 4 + meta_json.len() + body.len();
        let Ok(meta_len) = u32::try_from(meta_json.len()) else {
            return Err(self.too_large(bytes));
        };
        if bytes > self.payload_max {
            return Err(self.too_large(bytes));
        }
        let mut payload = Vec::with_capacity(bytes);
        payload.extend_from_slice(&meta_len.to_le_bytes());
        payload.extend_from_slice(meta_json);
        payload.extend_from_slice(body);
        self.append(&Append { ts_recv_ns, conn, kind: Kind::Rest, flags: 0, payload: &payload })
    }

    /// To be called about once a second: appends the CLOCK record that is due although no frame
    /// arrives, notes clock steps, and records what became durable.
    ///
    /// # Errors
    /// As [`LogWriter::append`]; the record is tried again at the next call.
    pub fn tick(&mut self) -> Result<(), AppendError> {
        let (now, ts) = self.now();
        let signals = self.syncer.shared.signals.load(Ordering::Relaxed);
        self.note_signals(signals);
        // Without another segment the one that the disk refused goes on being filled: the owner's append decides.
        let _ = self.roll_if_asked(ts);
        let stepped = clock_step(self.last_clock, now) > CLOCK_STEP_NS;
        let due = ts.max(self.last_ts_ns) >= self.clock_due_ns
            || now.mono_ns.saturating_sub(self.last_clock.mono_ns) >= CLOCK_EVERY_NS;
        if stepped || due {
            self.reserve(CLOCK_PAYLOAD_BYTES, ts)?;
            self.put_clock(ts, now);
        }
        self.note_durable(ts)?;
        self.nudge();
        self.notifier().notify();
        Ok(())
    }

    /// The name of a background thread that ended by a panic. Records are still taken, but nothing forces them to disk
    /// (`wal-sync`), or no further segment is made (`wal-prepare`): the log should be opened again. To be checked about
    /// once a second.
    #[must_use]
    pub fn lost_thread(&self) -> Option<&'static str> {
        match (self.syncer.is_gone(), self.preparer.is_gone()) {
            (true, _) => Some("wal-sync"),
            (false, true) => Some("wal-prepare"),
            (false, false) => None,
        }
    }

    /// A handle to wait for durability with; clone-able, usable from any thread.
    #[must_use]
    pub fn sync_handle(&self) -> SyncHandle {
        self.syncer.handle()
    }

    /// What wakes the readers that sleep at the tail; to be rung after a burst of appends. [`LogWriter::tick`]
    /// rings too.
    #[must_use]
    pub fn notifier(&self) -> crate::bell::Notifier {
        crate::bell::Notifier::new(self.control.window())
    }

    /// How the repair of the tails of earlier runs goes; `None` when it was not requested.
    #[must_use]
    pub fn repairs(&self) -> Option<Arc<Repairs>> {
        self.repair.as_ref().map(RepairThread::repairs)
    }

    /// Live statistics.
    #[must_use]
    pub fn stats(&self) -> Arc<WriterStats> {
        Arc::clone(&self.stats)
    }

    /// Identity of the log.
    #[must_use]
    pub fn log_uuid(&self) -> [u8; 16] {
        self.log_uuid
    }

    /// This run's number.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What distinguishes this run from one with the same number in another copy of the log.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The log's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was found risky at open, in sentences for a person.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The segment being appended to.
    #[must_use]
    pub fn segment(&self) -> SegmentId {
        self.active.live.segment.id
    }

    /// Number of the last record.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        Seq(self.next_seq.get().saturating_sub(1))
    }

    /// Stores a record for which room was checked, and notifies everyone.
    #[inline]
    pub(crate) fn put(&mut self, ts_recv_ns: u64, conn: u32, kind: Kind, mut record_flags: u8, payload: &[u8]) -> Seq {
        let mut ts = ts_recv_ns;
        if ts < self.last_ts_ns {
            ts = self.last_ts_ns;
            record_flags |= flags::CLAMPED;
            self.stats.clamped.add(1);
        }
        let seq = self.next_seq;
        let header = RecordHeader::new(seq, ts, conn, kind, record_flags, payload.len())
            .expect("payloads are capped below the format's limit");
        let active = &mut self.active;
        let offset = active.tail;
        let total = active
            .appender
            .publish(offset, header.commit, header.tail_words(), payload, active.crc_initial)
            .expect("room was checked before");
        active.tail = offset + total as u64;
        active.records.record(offset, seq, ts, kind as u8, payload.len() as u64);
        active.live.commit(active.tail, seq);
        self.control.committed(Position { segment: active.live.segment.id, offset: active.tail, seq }, ts);
        self.last_ts_ns = ts;
        self.next_seq = seq.next();
        self.stats.records.add(1);
        self.stats.bytes.add(total as u64);
        seq
    }

    /// What both clocks show, and the receive time of what the log itself appends now.
    pub(crate) fn now(&self) -> (ClockPair, u64) {
        let now = (self.options.clock)();
        let ts = self.options.receive.as_ref().map_or(now.wall_ns, |receive| {
            receive.observe(now);
            receive.at(now.mono_ns)
        });
        (now, ts)
    }

    pub(crate) fn put_clock(&mut self, ts_recv_ns: u64, now: ClockPair) {
        self.last_real = self.put(ts_recv_ns, 0, Kind::Clock, 0, &now.encode());
        self.last_clock = now;
        self.clock_due_ns = self.last_ts_ns.saturating_add(CLOCK_EVERY_NS);
    }

    #[cold]
    fn too_large(&self, bytes: usize) -> AppendError {
        AppendError::TooLarge { bytes, max: self.payload_max }
    }

    /// Notifies the background threads where the tail is.
    #[cold]
    fn nudge(&mut self) {
        self.nudge_at = self.active.tail + self.nudge_bytes;
        self.preparer.nudge();
        self.syncer.nudge();
    }

    fn note_signals(&mut self, signals: u64) {
        if signals != self.signals_seen {
            self.signals_seen = signals;
            self.after_sync = true;
        }
    }

    /// The log's own records before the next one of the owner. What does not fit now waits: the
    /// owner's record decides whether the log is out of space.
    #[cold]
    fn housekeeping(&mut self, ts_recv_ns: u64, signals: u64) {
        self.note_signals(signals);
        // A failure of these shows again in the owner's own append, or at the next tick.
        let _ = self.roll_if_asked(ts_recv_ns);
        let _ = self.note_durable(ts_recv_ns);
        if ts_recv_ns >= self.clock_due_ns {
            if self.reserve(CLOCK_PAYLOAD_BYTES, ts_recv_ns).is_ok() {
                let (now, _) = self.now();
                self.put_clock(ts_recv_ns, now);
            }
            self.clock_due_ns = ts_recv_ns.saturating_add(CLOCK_EVERY_NS);
        }
    }

    /// Leaves a segment that the disk refused.
    fn roll_if_asked(&mut self, ts_recv_ns: u64) -> Result<(), AppendError> {
        if self.syncer.shared.roll.load(Ordering::Acquire) {
            self.roll(ts_recv_ns)?;
            self.syncer.shared.roll.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Appends a SYNC record if the durable position moved past a record worth reporting. SYNC
    /// records alone do not count, or an idle log would sync its own SYNC records for ever.
    fn note_durable(&mut self, ts_recv_ns: u64) -> Result<(), AppendError> {
        let durable = self.syncer.shared.durable();
        if durable <= self.sync_noted || self.sync_noted >= self.last_real {
            return Ok(());
        }
        self.reserve(SYNC_PAYLOAD_BYTES, ts_recv_ns)?;
        self.put(ts_recv_ns, 0, Kind::Sync, 0, &durable.get().to_le_bytes());
        self.sync_noted = durable;
        Ok(())
    }

    /// Room for a record of the log's own.
    fn reserve(&mut self, payload_bytes: usize, ts_recv_ns: u64) -> Result<(), AppendError> {
        let total = record_bytes(payload_bytes) as u64;
        if self.active.tail + total > self.active.limit {
            self.roll(ts_recv_ns)?;
        }
        Ok(())
    }

    /// Seals the active segment and goes on in the next one.
    #[cold]
    pub(crate) fn roll(&mut self, ts_recv_ns: u64) -> Result<(), AppendError> {
        let started = Instant::now();
        let next = self.preparer.take().map_err(|f| self.no_segment(f))?;
        let id = next.id;
        // SEAL takes the number that is next here.
        let next = Active::new(next, self.next_seq.next())
            .map_err(|e| AppendError::NoSegment { path: self.dir.clone(), message: e.to_string() })?;
        let live = Arc::clone(&next.live);
        let sealed = self.seal(ts_recv_ns, id, false);
        self.active = next;
        self.control.roll_stalls(self.stats.roll_stalls.get());
        // Readers stop at the SEAL until this record is there.
        let (now, _) = self.now();
        self.put_clock(ts_recv_ns, now);
        self.preparer.set_active(&live);
        self.syncer.sealed(sealed, Some(live));
        self.nudge();
        self.stats.rolls.add(1);
        self.stats.stall(started.elapsed());
        Ok(())
    }

    /// Appends SEAL into the room that is reserved for it.
    pub(crate) fn seal(&mut self, ts_recv_ns: u64, next: SegmentId, clean: bool) -> SealedSegment {
        let seal = Seal {
            next,
            footer_offset: self.active.live.segment.header.data_limit(),
            by_recovery: false,
            clean_end: clean,
            below_durable: false,
        };
        self.put(ts_recv_ns, 0, Kind::Seal, 0, &seal.encode());
        SealedSegment {
            live: Arc::clone(&self.active.live),
            seal,
            end: self.active.tail,
            records: std::mem::replace(&mut self.active.records, FooterBuilder::new(0)),
        }
    }

    #[cold]
    fn no_segment(&self, failure: Failure) -> AppendError {
        self.stats.out_of_space.add(1);
        if failure.no_space {
            AppendError::OutOfSpace {
                path: self.dir.clone(),
                needed: self.options.segment_bytes,
                available: failure.available,
            }
        } else {
            AppendError::NoSegment { path: self.dir.clone(), message: failure.message }
        }
    }
}

/// By how much the wall clock moved against the monotonic one between two readings.
fn clock_step(before: ClockPair, now: ClockPair) -> u64 {
    let wall = i128::from(now.wall_ns) - i128::from(before.wall_ns);
    let mono = i128::from(now.mono_ns) - i128::from(before.mono_ns);
    u64::try_from((wall - mono).unsigned_abs()).unwrap_or(u64::MAX)
}

const _: () = assert!(RECORD_HEADER_BYTES < BLOCK_BYTES as usize);
