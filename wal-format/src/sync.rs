//! The syncer: forces the written range to disk, moves the durable position, closes segments.
//!
//! ```text
//!  appending thread -- sealed, bytes, wait_durable --> unpark
//!  syncer:  sample committed -> msync(written range) -> durable = sample -> SYNC record, by the
//!                                                                           next append
//!  per sealed segment: data on disk -> footer -> footer on disk      (in log order)
//! ```
//!
//! One sync is in flight per log, and it covers whatever was appended meanwhile: group commit.
//! Only the written range is synced, on the writer's own mapping (errors are reported per open
//! file): syncing the file would write the pages that were faulted in ahead, too.
//!
//! After a failed sync the kernel may have dropped the pages' dirty state, so trying again proves
//! nothing. The segment is frozen: no footer, never durable; the writer rolls and goes on. How often, while syncs go on
//! to fail: `failing`. The owner is notified through [`WriterStats::background_errors`].

mod failing;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use self::failing::Failing;
use crate::background::Duty;
use crate::checksum;
use crate::control::Control;
use crate::error::SyncError;
use crate::footer::{FooterBuilder, FooterFacts, SealedBy};
use crate::layout::{BLOCK_BYTES, DATA_START};
use crate::options::{Clock, SyncPolicy};
use crate::positions::Live;
use crate::record::{Position, Seal, SegmentId, Seq};
use crate::stats::WriterStats;

/// Sign of life in CONTROL, and the longest sleep.
const HEARTBEAT: Duration = Duration::from_millis(1000);
/// Without regular syncs, writeback is started every so many bytes, so that dirty pages do not
/// pile up to a cliff.
const PACE_BYTES: u64 = 4 * 1024 * 1024;
/// ... but no more often than this: each start write-protects the pages of the mapping, which
/// interrupts the appending thread.
const PACE_EVERY: Duration = Duration::from_millis(50);

/// What the writer knows of a segment when it has sealed it.
pub(crate) struct SealedSegment {
    pub live: Arc<Live>,
    pub seal: Seal,
    pub end: u64,
    pub records: FooterBuilder,
}

/// A range that will never be claimed durable.
#[derive(Clone, Debug)]
struct Frozen {
    segment: SegmentId,
    from: Seq,
    /// Last seq of the segment; `None` while it is open.
    to: Option<Seq>,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    /// As a kill would: nothing more is synced.
    Kill,
    /// Everything is synced first.
    Close,
}

struct Inbox {
    /// Segments in log order; the last one may still be open.
    segments: VecDeque<(Arc<Live>, Option<SealedSegment>)>,
    stop: Stop,
    frozen: Vec<Frozen>,
    /// The last record of a segment that was left without a sync, as the policy wants it: neither it nor anything
    /// after it is claimed durable.
    unsynced: Option<Seq>,
    gone: bool,
}

/// State shared by the syncer, the appending thread and those who wait.
pub(crate) struct SyncShared {
    inbox: Mutex<Inbox>,
    progress: Condvar,
    /// Every record up to here is on disk, without a frozen range in between.
    durable: AtomicU64,
    /// The newest record that is on disk, frozen ranges before it or not.
    synced: AtomicU64,
    /// Somebody waits for this seq.
    wanted: AtomicU64,
    /// Counts what the appending thread should look at: durable moved, a sync was made, roll.
    pub signals: AtomicU64,
    /// The active segment is frozen: roll at the next append.
    pub roll: AtomicBool,
}

impl SyncShared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        // Short sections of plain moves: a panic in one leaves nothing half done.
        self.inbox.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn durable(&self) -> Seq {
        Seq(self.durable.load(Ordering::Acquire))
    }
}

/// Waits for durability; clone it freely. Outlives the writer.
#[derive(Clone)]
pub struct SyncHandle {
    shared: Arc<SyncShared>,
    thread: Thread,
}

impl SyncHandle {
    /// Waits until the record with this seq is on disk, asking for a sync if none is due. Many
    /// callers share one sync. Call it without holding the writer's lock.
    ///
    /// # Errors
    /// [`SyncError::Frozen`] if the record lies in a segment that the disk refused,
    /// [`SyncError::Closed`] if the writer went away without syncing.
    pub fn wait_durable(&self, seq: Seq) -> Result<(), SyncError> {
        let reached = || Seq(self.shared.synced.load(Ordering::Acquire)) >= seq;
        if !reached() {
            self.shared.wanted.fetch_max(seq.get(), Ordering::AcqRel);
            self.thread.unpark();
        }
        let mut inbox = self.shared.lock();
        loop {
            let hit = inbox.frozen.iter().find(|f| f.from <= seq && f.to.is_none_or(|to| seq <= to));
            if let Some(frozen) = hit {
                return Err(SyncError::Frozen { from: frozen.from, message: frozen.message.clone() });
            }
            if let Some(to) = inbox.unsynced.filter(|to| seq <= *to) {
                let message = format!("segments up to {to} were left without a sync");
                return Err(SyncError::Frozen { from: Seq::new(seq.epoch(), 0), message });
            }
            if reached() {
                return Ok(());
            }
            if inbox.gone {
                return Err(SyncError::Closed);
            }
            // Whatever changes the answer is stored before this lock is taken and notified after it. The bound is for
            // a notification that no proof thought of: then the syncer is asked once more.
            let (again, waited) =
                self.shared.progress.wait_timeout(inbox, HEARTBEAT).unwrap_or_else(|e| e.into_inner());
            if waited.timed_out() {
                self.thread.unpark();
            }
            inbox = again;
        }
    }

    /// Every record up to this one is on disk; `Seq(0)` if none of this epoch is.
    #[must_use]
    pub fn durable(&self) -> Seq {
        self.shared.durable()
    }
}

/// The appending thread's handle on the syncer.
pub(crate) struct Syncer {
    pub shared: Arc<SyncShared>,
    thread: Thread,
    join: Option<JoinHandle<()>>,
}

/// What the syncer needs to know.
pub(crate) struct SyncerSetup {
    pub policy: SyncPolicy,
    pub clock: Clock,
    pub control: Arc<Control>,
    pub stats: Arc<WriterStats>,
    pub boot_id: [u8; 16],
    pub first: Arc<Live>,
}

impl Syncer {
    /// Starts the thread.
    pub fn start(setup: SyncerSetup) -> io::Result<Self> {
        let shared = Arc::new(SyncShared {
            inbox: Mutex::new(Inbox {
                segments: VecDeque::from([(Arc::clone(&setup.first), None)]),
                stop: Stop::No,
                frozen: Vec::new(),
                unsynced: None,
                gone: false,
            }),
            progress: Condvar::new(),
            durable: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            signals: AtomicU64::new(0),
            roll: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let join = std::thread::Builder::new()
            .name("wal-sync".to_owned())
            .spawn(move || SyncWorker::new(setup, theirs).run())?;
        Ok(Syncer { shared, thread: join.thread().clone(), join: Some(join) })
    }

    pub fn handle(&self) -> SyncHandle {
        SyncHandle { shared: Arc::clone(&self.shared), thread: self.thread.clone() }
    }

    /// The thread ended although nobody stopped it.
    pub fn is_gone(&self) -> bool {
        self.join.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Enough was appended for a sync, or every record wants one.
    pub fn nudge(&self) {
        self.thread.unpark();
    }

    /// `sealed` is complete; `next` is being appended to, if the log goes on.
    pub fn sealed(&self, sealed: SealedSegment, next: Option<Arc<Live>>) {
        let mut inbox = self.shared.lock();
        let end = sealed.live.committed();
        // Records after the seal lie in a healthy segment again, whoever asks from now on.
        for frozen in inbox.frozen.iter_mut().filter(|f| f.segment == end.segment) {
            frozen.to = Some(end.seq);
        }
        if let Some((_, slot)) = inbox.segments.back_mut() {
            *slot = Some(sealed);
        }
        if let Some(next) = next {
            inbox.segments.push_back((next, None));
        }
        drop(inbox);
        self.thread.unpark();
    }

    /// Syncs what was appended, writes the footers, ends the thread.
    ///
    /// # Errors
    /// [`SyncError::Frozen`] if any segment of this run was refused by the disk.
    pub fn close(mut self) -> Result<(), SyncError> {
        self.end(Stop::Close);
        let inbox = self.shared.lock();
        match inbox.frozen.first() {
            Some(frozen) => Err(SyncError::Frozen { from: frozen.from, message: frozen.message.clone() }),
            None => Ok(()),
        }
    }

    fn end(&mut self, stop: Stop) {
        self.shared.lock().stop = stop;
        self.thread.unpark();
        if let Some(join) = self.join.take() {
            // A panic of the syncer shows in `gone` and in what stays unsynced.
            let _ = join.join();
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        if self.join.is_some() {
            self.end(Stop::Kill);
        }
    }
}

/// Marks the thread as gone however it ends, so that nobody waits for it.
struct Gone(Arc<SyncShared>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.lock().gone = true;
        self.0.progress.notify_all();
    }
}

struct SyncWorker {
    setup: SyncerSetup,
    shared: Arc<SyncShared>,
    /// In the front segment: bytes before this are on disk.
    synced_to: u64,
    /// In the front segment: writeback was started for bytes before this.
    paced_to: u64,
    /// The front segment was refused by the disk.
    front_frozen: bool,
    failing: Failing,
    last_sync: Instant,
    last_pace: Instant,
    last_beat: Instant,
}

impl SyncWorker {
    fn new(setup: SyncerSetup, shared: Arc<SyncShared>) -> Self {
        SyncWorker {
            setup,
            shared,
            synced_to: DATA_START,
            paced_to: DATA_START,
            front_frozen: false,
            failing: Failing::new(Instant::now()),
            last_sync: Instant::now(),
            last_pace: Instant::now(),
            last_beat: Instant::now(),
        }
    }

    fn run(mut self) {
        let _gone = Gone(Arc::clone(&self.shared));
        loop {
            let stop = self.shared.lock().stop;
            if stop == Stop::Kill {
                return;
            }
            while self.step(stop == Stop::Close) {}
            if stop == Stop::Close {
                return;
            }
            if self.last_beat.elapsed() >= HEARTBEAT {
                self.last_beat = Instant::now();
                self.setup.control.heartbeat((self.setup.clock)());
            }
            let pause = match self.setup.policy {
                SyncPolicy::Interval { interval_ms, .. } => {
                    Duration::from_millis(interval_ms).saturating_sub(self.last_sync.elapsed())
                }
                _ => HEARTBEAT,
            };
            // Never zero: an interval that is over with nothing to sync must not spin.
            let pause = pause.clamp(Duration::from_millis(1), HEARTBEAT);
            std::thread::park_timeout(pause);
        }
    }

    /// Works on the front segment; true if it is done with and another one waits.
    fn step(&mut self, close: bool) -> bool {
        let (live, sealed, last) = {
            let mut inbox = self.shared.lock();
            let last = inbox.segments.len() == 1;
            let Some((live, sealed)) = inbox.segments.front_mut() else {
                return false;
            };
            // A sealed segment's facts are taken out; the entry goes when all is done.
            (Arc::clone(live), sealed.take(), last)
        };
        let at = live.committed();
        // Sealed with none after it: the log is being closed, whether this thread was notified already or not.
        let due = self.due(&at, sealed.is_some(), close || (last && sealed.is_some()));
        let mut clean = !self.front_frozen;
        if due && at.offset == self.synced_to {
            // Nothing to sync counts as synced: the next interval starts now.
            self.last_sync = Instant::now();
        } else if due && clean {
            clean = self.sync(&live, &at, sealed.is_some());
        } else if due && sealed.is_none() {
            self.probe(&live, &at);
        } else if !due {
            self.pace(&live, at.offset);
        }
        let Some(sealed) = sealed else {
            return false;
        };
        if self.front_frozen {
            if let Some(frozen) = self.shared.lock().frozen.last_mut() {
                frozen.to = Some(at.seq);
            }
        } else {
            if !due {
                self.shared.lock().unsynced = Some(at.seq);
            }
            self.footer(sealed, due && clean);
        }
        let more = {
            let mut inbox = self.shared.lock();
            inbox.segments.pop_front();
            !inbox.segments.is_empty()
        };
        self.shared.progress.notify_all();
        self.synced_to = DATA_START;
        self.paced_to = DATA_START;
        self.front_frozen = false;
        more
    }

    fn due(&self, at: &Position, sealed: bool, close: bool) -> bool {
        if close || self.shared.wanted.load(Ordering::Acquire) > self.synced().get() {
            return true;
        }
        match self.setup.policy {
            SyncPolicy::Never => false,
            SyncPolicy::Roll => sealed,
            SyncPolicy::Every => true,
            SyncPolicy::Interval { interval_ms, bytes } => {
                sealed
                    || at.offset.saturating_sub(self.synced_to) >= bytes
                    || self.last_sync.elapsed() >= Duration::from_millis(interval_ms)
            }
        }
    }

    fn synced(&self) -> Seq {
        Seq(self.shared.synced.load(Ordering::Relaxed))
    }

    /// Forces the front segment to disk up to `at`, which was sampled before.
    fn sync(&mut self, live: &Live, at: &Position, sealed: bool) -> bool {
        let segment = &live.segment;
        let started = Instant::now();
        let result = segment.file.sync_range(&segment.window, self.synced_to, at.offset);
        let took = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let stats = &self.setup.stats;
        stats.sync_total_ns.add(took);
        stats.sync_longest_ns.raise(took);
        self.last_sync = started;
        match result {
            Ok(()) => {
                stats.syncs.add(1);
                self.failing.worked(started);
                if stats.duties().works(Duty::Sync) {
                    self.setup.control.sync_failing(None);
                }
                self.synced_to = at.offset;
                // Under the lock of those who wait: whoever was answered sees the durable position everywhere.
                let inbox = self.shared.lock();
                if inbox.frozen.is_empty() && inbox.unsynced.is_none() {
                    self.shared.durable.store(at.seq.get(), Ordering::Release);
                    stats.set_durable(at.seq);
                    self.setup.control.durable(*at);
                }
                self.shared.synced.store(at.seq.get(), Ordering::Release);
            }
            Err(error) => {
                self.front_frozen = true;
                self.report(&error);
                // The first record that is not known to be on disk: the one after the last synced,
                // wherever that lies.
                let from = match self.synced() {
                    Seq(0) => Seq::new(at.seq.epoch(), 0),
                    synced => synced.next(),
                };
                // An open segment ends where the writer will seal it; see `Syncer::sealed`.
                let to = sealed.then_some(at.seq);
                self.shared.lock().frozen.push(Frozen { segment: at.segment, from, to, message: error.to_string() });
                // From here on this is what was tried.
                self.synced_to = at.offset;
                if self.failing.failed(Instant::now()) {
                    self.shared.roll.store(true, Ordering::Release);
                }
            }
        }
        self.shared.signals.fetch_add(1, Ordering::Release);
        self.shared.progress.notify_all();
        !self.front_frozen
    }

    /// A sync was refused: counted, and reported by whoever owns the writer.
    fn report(&self, error: &io::Error) {
        let stats = &self.setup.stats;
        stats.sync_errors.add(1);
        self.setup.control.sync_errors(stats.sync_errors.get());
        let since = stats.duties().failed(Duty::Sync, (self.setup.clock)().wall_ns, error.to_string());
        self.setup.control.sync_failing(Some(since));
    }

    /// Tries the disk with what came into the frozen front segment since the last try. Claims nothing: only whether it
    /// is worth a fresh segment.
    fn probe(&mut self, live: &Live, at: &Position) {
        if at.offset == self.synced_to || !self.failing.probe(Instant::now()) {
            return;
        }
        let segment = &live.segment;
        let result = segment.file.sync_range(&segment.window, self.synced_to, at.offset);
        self.synced_to = at.offset;
        if let Err(error) = &result {
            self.report(error);
        }
        if self.failing.probed(result.is_ok(), Instant::now()) {
            self.shared.roll.store(true, Ordering::Release);
            self.shared.signals.fetch_add(1, Ordering::Release);
        }
    }

    fn pace(&mut self, live: &Live, end: u64) {
        let whole = end / BLOCK_BYTES * BLOCK_BYTES;
        if whole >= self.paced_to + PACE_BYTES && self.last_pace.elapsed() >= PACE_EVERY {
            self.last_pace = Instant::now();
            live.segment.file.start_writeback(self.paced_to, whole);
            self.paced_to = whole;
        }
    }

    /// Closes a segment whose data is on disk (`synced`), or whose policy does not ask for it.
    fn footer(&mut self, sealed: SealedSegment, synced: bool) {
        let segment = &sealed.live.segment;
        let header = &segment.header;
        let data =
            usize::try_from(sealed.end - DATA_START).ok().and_then(|len| segment.window.published(DATA_START, len));
        let footer = sealed.records.finish(&FooterFacts {
            log_uuid: header.log_uuid,
            boot_id: self.setup.boot_id,
            segment: segment.id,
            next: sealed.seal.next,
            epoch: header.epoch,
            end_offset: sealed.end,
            crc_initial: header.crc_initial(),
            data_crc: checksum::plain(&[data.unwrap_or(&[])]),
            sealed_by: SealedBy::Writer,
            synced,
            clean_end: sealed.seal.clean_end,
        });
        let Some(bytes) = footer.encode(header.segment_bytes) else {
            // Recovery rebuilds a footer that is not there.
            return;
        };
        let at = header.data_limit();
        let written = segment.file.write_all_at(&bytes, at).and_then(|()| {
            if synced {
                let end = at + bytes.len() as u64;
                segment.file.sync_range(&segment.window, at, end)
            } else {
                Ok(())
            }
        });
        match written {
            Ok(()) => {
                self.setup.stats.footers.add(1);
                self.setup.stats.duties().works(Duty::Footer);
            }
            // The data is on disk; only the proof is not.
            Err(error) => {
                self.setup.stats.sync_errors.add(1);
                self.setup.stats.duties().failed(Duty::Footer, (self.setup.clock)().wall_ns, error.to_string());
            }
        }
    }
}
