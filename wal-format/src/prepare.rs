//! The preparer: segments allocated ahead of need, pages faulted in ahead of the tail.
//!
//! ```text
//!  preparer thread                                   appending thread
//!    allocate, header, fdatasync, rename --> ready (at most `ready_segments`) --> take at a roll
//!    MADV_POPULATE_WRITE a few MiB ahead <-- unpark, about once per MiB appended
//! ```
//!
//! Ids are handed out here alone, in order, so segments are used in the order of their ids. Ready
//! segments are also the ballast: with a full disk they are what can still be written. When none
//! is ready the appending thread waits for the one in the making (a roll stall, counted) and gets
//! an error only if that one fails.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crate::background::Duty;
use crate::epoch::{EpochFile, EpochState};
use crate::header::SegmentHeader;
use crate::incarnation::Run;
use crate::layout::DATA_START;
use crate::options::LogOptions;
use crate::positions::Live;
use crate::record::SegmentId;
use crate::segment::{self, Segment};
use crate::spill;
use crate::stats::WriterStats;

/// Between two attempts to allocate on a full disk.
const RETRY: Duration = Duration::from_millis(250);
/// The longest sleep; the preparer is unparked when there is work.
const IDLE: Duration = Duration::from_millis(1000);
/// Pages are faulted in by steps of this many bytes, so that each call is short.
const PREFAULT_STEP_BYTES: u64 = 512 * 1024;

/// Makes segments: owns ids, the EPOCH file and files left over by earlier runs.
pub(crate) struct Maker {
    pub dir: PathBuf,
    pub options: LogOptions,
    pub epoch_file: EpochFile,
    pub state: EpochState,
    /// The state on disk may already name a later `next_segment`: an id whose segment could not
    /// be made is tried again without another store.
    pub stored_next: SegmentId,
    pub boot_id: [u8; 16],
    /// Unused files of earlier runs, to be taken over.
    pub donors: VecDeque<PathBuf>,
    pub stats: Arc<WriterStats>,
}

impl Maker {
    /// The next segment, freshly allocated or, with `reuse`, taken over from an earlier run.
    pub fn make(&mut self, reuse: bool) -> io::Result<Segment> {
        while self.occupied(self.state.next_segment) {
            self.state.next_segment.0 = self.state.next_segment.0.saturating_add(1);
        }
        let id = self.state.next_segment;
        let after = SegmentId(id.0.saturating_add(1));
        // Whatever becomes of the file, no later run gives this id to another one.
        if self.stored_next < after {
            let state = EpochState { next_segment: after, ..self.state.clone() };
            self.epoch_file.store(&state).map_err(|error| error.into_io())?;
            self.stored_next = after;
        }
        let segment = self.make_file(id, reuse)?;
        self.state.next_segment = after;
        Ok(segment)
    }

    /// Whether a file that is not of this run has the name of this segment: somebody put it there while the log is
    /// open. A new segment would replace it.
    fn occupied(&self, id: SegmentId) -> bool {
        let path = segment::path(&self.dir, id);
        let Ok(file) = self.options.storage.open(&path) else { return false };
        let mut block = vec![0; DATA_START as usize];
        let header = file.read_exact_at(&mut block, 0).ok().and_then(|()| SegmentHeader::decode(&block).ok());
        let own = Run { epoch: self.state.epoch, incarnation: self.state.incarnation() };
        header.is_none_or(|header| header.log_uuid != self.state.log_uuid || header.run() != own)
    }

    fn make_file(&mut self, id: SegmentId, reuse: bool) -> io::Result<Segment> {
        let header = SegmentHeader {
            log_uuid: self.state.log_uuid,
            segment: id,
            epoch: self.state.epoch,
            incarnation: self.state.incarnation(),
            salt: (self.options.entropy)(),
            segment_bytes: self.options.segment_bytes,
            created: (self.options.clock)(),
            boot_id: self.boot_id,
            writer_version: self.options.writer_version.clone(),
        };
        // A disk that could not keep what it was given is the last choice.
        let made = if self.stats.sync_errors.get() > 0 {
            self.make_elsewhere(&header, None)
                .or_else(|error| self.make_here(&header, reuse).map_err(|here| joined(&here, &error)))
        } else {
            self.make_here(&header, reuse).or_else(|error| self.make_elsewhere(&header, Some(error)))
        };
        match &made {
            Ok(_) => self.stats.prepared.add(1),
            Err(_) => self.stats.prepare_errors.add(1),
        }
        made
    }

    /// As [`Maker::make`], reporting the outcome to the owner of the writer.
    fn make_and_report(&mut self) -> io::Result<Segment> {
        let made = self.make(true);
        match &made {
            Ok(_) => {
                self.stats.duties().works(Duty::Prepare);
            }
            Err(error) => {
                self.stats.duties().failed(Duty::Prepare, (self.options.clock)().wall_ns, error.to_string());
            }
        }
        made
    }

    /// In the log's own directory.
    fn make_here(&mut self, header: &SegmentHeader, reuse: bool) -> io::Result<Segment> {
        let storage = Arc::clone(&self.options.storage);
        while let Some(donor) = reuse.then(|| self.donors.pop_front()).flatten() {
            if let Ok(segment) = segment::create(&*storage, &self.dir, header.clone(), Some(&donor)) {
                self.stats.reused.add(1);
                return Ok(segment);
            }
        }
        // Trying takes the last room from those who could make some: the compactor publishes to this disk.
        let room = self.available().unwrap_or(u64::MAX);
        if !self.options.spill_dirs.is_empty() && room < header.segment_bytes {
            return Err(io::Error::new(io::ErrorKind::StorageFull, format!("{room} bytes are free")));
        }
        segment::create(&*storage, &self.dir, header.clone(), None)
    }

    /// In the first spill directory that takes it. `here` is why it is not in the log's own.
    fn make_elsewhere(&self, header: &SegmentHeader, here: Option<io::Error>) -> io::Result<Segment> {
        let mut error = here.unwrap_or_else(|| io::Error::other("an earlier sync failed"));
        for spill_dir in &self.options.spill_dirs {
            match spill::create(&*self.options.storage, &self.dir, spill_dir, header.clone()) {
                Ok(segment) => {
                    self.stats.spilled.add(1);
                    return Ok(segment);
                }
                Err(there) => {
                    let there = io::Error::new(there.kind(), format!("{}: {there}", spill_dir.display()));
                    error = joined(&error, &there);
                }
            }
        }
        Err(error)
    }

    /// Bytes free for this user.
    pub fn available(&self) -> Option<u64> {
        self.options.storage.available_bytes(&self.dir)
    }
}

/// Two errors as one; what it is called decides the first.
fn joined(first: &io::Error, second: &io::Error) -> io::Error {
    io::Error::new(first.kind(), format!("{first}; {second}"))
}

/// Why no segment could be made.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub no_space: bool,
    pub message: String,
    pub available: Option<u64>,
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Segment>,
    /// The last attempt failed, and none has succeeded since.
    failure: Option<Failure>,
    /// Attempts finished, failed ones included.
    attempts: u64,
    /// The segment being appended to, for prefaulting.
    active: Option<Arc<Live>>,
    /// The thread is gone.
    gone: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    stop: AtomicBool,
    stats: Arc<WriterStats>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Short sections of plain moves: a panic in one leaves nothing half done.
        self.queue.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The appending thread's handle on the preparer.
pub(crate) struct Preparer {
    shared: Arc<Shared>,
    thread: Thread,
    join: Option<JoinHandle<Maker>>,
}

impl Preparer {
    /// Starts the thread. `active` is the segment being appended to.
    pub fn start(maker: Maker, active: Arc<Live>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { active: Some(active), ..Queue::default() }),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            stats: Arc::clone(&maker.stats),
        });
        let theirs = Arc::clone(&shared);
        let join = std::thread::Builder::new().name("wal-prepare".to_owned()).spawn(move || run(maker, &theirs))?;
        Ok(Preparer { shared, thread: join.thread().clone(), join: Some(join) })
    }

    /// The thread ended although nobody stopped it.
    pub fn is_gone(&self) -> bool {
        self.join.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Something was appended: look whether pages must be faulted in.
    pub fn nudge(&self) {
        self.thread.unpark();
    }

    /// Takes the next segment, waiting for one that is being made.
    pub fn take(&self) -> Result<Segment, Failure> {
        let mut queue = self.shared.lock();
        let mut seen = None;
        loop {
            if let Some(segment) = queue.ready.pop_front() {
                self.shared.stats.ready.set(queue.ready.len() as u64);
                drop(queue);
                self.thread.unpark();
                return Ok(segment);
            }
            if let Some(failure) = &queue.failure {
                // The thread tries again by itself; an append must not wait for a full disk.
                return Err(failure.clone());
            }
            if queue.gone || self.join.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err(Failure {
                    no_space: false,
                    message: "the thread that prepares segments is gone".to_owned(),
                    available: None,
                });
            }
            if seen.is_none() {
                seen = Some(queue.attempts);
                self.shared.stats.roll_stalls.add(1);
            }
            self.thread.unpark();
            queue = self.shared.changed.wait_timeout(queue, IDLE).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// The writer moved on to this segment.
    pub fn set_active(&self, live: &Arc<Live>) {
        self.shared.lock().active = Some(Arc::clone(live));
    }

    /// Stops the thread and returns what it owned; `None` if it panicked.
    pub fn stop(mut self) -> Option<Maker> {
        self.stop_thread()
    }

    fn stop_thread(&mut self) -> Option<Maker> {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.unpark();
        self.join.take()?.join().ok()
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.stop_thread();
    }
}

/// Marks the thread as gone however it ends, so that nobody waits for it.
struct Gone<'a>(&'a Shared);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.lock().gone = true;
        self.0.changed.notify_all();
    }
}

fn run(mut maker: Maker, shared: &Shared) -> Maker {
    let _gone = Gone(shared);
    let mut ahead = Ahead::default();
    let mut retry_at = None;
    while !shared.stop.load(Ordering::Acquire) {
        let (active, next, missing) = {
            let queue = shared.lock();
            let next = queue.ready.front().cloned();
            let missing = queue.ready.len() < maker.options.ready_segments;
            (queue.active.clone(), next, missing)
        };
        if let Some(live) = active {
            let far = ahead.run(&maker.options, &live, next);
            shared.stats.prefaulted_bytes.add(far);
        }
        let due = retry_at.is_none_or(|at| std::time::Instant::now() >= at);
        if missing && due {
            let made = maker.make_and_report();
            retry_at = made.is_err().then(|| std::time::Instant::now() + RETRY);
            let mut queue = shared.lock();
            queue.attempts += 1;
            match made {
                Ok(segment) => {
                    queue.failure = None;
                    queue.ready.push_back(segment);
                    shared.stats.ready.set(queue.ready.len() as u64);
                }
                Err(error) => {
                    queue.failure = Some(Failure {
                        no_space: is_no_space(&error),
                        message: error.to_string(),
                        available: maker.available(),
                    });
                }
            }
            drop(queue);
            shared.changed.notify_all();
            continue;
        }
        let pause = if missing { RETRY } else { IDLE };
        std::thread::park_timeout(pause);
    }
    maker
}

/// Whether the disk, the quota or the inode table is full.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// How far pages are faulted in: in the active segment, and at the start of the next one.
#[derive(Default)]
struct Ahead {
    active: Option<SegmentId>,
    done: u64,
    next: Option<SegmentId>,
    next_done: u64,
    off: bool,
}

impl Ahead {
    /// Faults in what is missing up to the configured distance; returns how many bytes.
    fn run(&mut self, options: &LogOptions, live: &Live, next: Option<Segment>) -> u64 {
        if options.prefault_bytes == 0 || self.off {
            return 0;
        }
        let segment = &live.segment;
        if self.active != Some(segment.id) {
            self.done = if self.next == Some(segment.id) { self.next_done } else { 0 };
            self.active = Some(segment.id);
        }
        let mut total = 0;
        loop {
            let tail = live.committed().offset;
            let limit = segment.header.data_limit();
            let want = tail.saturating_add(options.prefault_bytes).min(limit);
            // Pages after the tail are there already.
            let from = self.done.max(tail);
            if from >= want {
                break;
            }
            // Less than a step from the goal is not worth a call, except at the segment's end.
            if want - from < PREFAULT_STEP_BYTES.min(options.prefault_bytes / 2) && want < limit {
                break;
            }
            let to = want.min(from.saturating_add(PREFAULT_STEP_BYTES));
            if !segment.file.populate(&segment.window, from, to) {
                self.off = true;
                return total;
            }
            total += to - from;
            self.done = to;
        }
        // The tail nears the end: the first pages of the next segment.
        let left = segment.header.data_limit().saturating_sub(live.committed().offset);
        if let Some(next) = next
            && left <= options.prefault_bytes.saturating_mul(2)
        {
            if self.next != Some(next.id) {
                self.next = Some(next.id);
                self.next_done = 0;
            }
            let want = (DATA_START + options.prefault_bytes).min(next.header.data_limit());
            while self.next_done < want {
                let to = want.min(self.next_done + PREFAULT_STEP_BYTES);
                if !next.file.populate(&next.window, self.next_done, to) {
                    self.off = true;
                    return total;
                }
                total += to - self.next_done;
                self.next_done = to;
            }
        }
        total
    }
}

/// Files of earlier runs that were allocated and never used: prepared segments above the last
/// used one, and segments still in preparation. They are renamed to their temporary names.
/// Temporary files that cannot be used are removed. Not `alone`, beside another process that repairs, segments stay
/// what they are: it may be about to write into one.
pub(crate) fn collect_donors(
    options: &LogOptions,
    dir: &Path,
    names: &[String],
    alone: bool,
) -> io::Result<VecDeque<PathBuf>> {
    let storage = &*options.storage;
    let mut donors = VecDeque::new();
    for name in names {
        if segment::parse_tmp_name(name).is_none() {
            continue;
        }
        let path = dir.join(name);
        let usable =
            storage.open(&path).and_then(|file| segment::is_unused(&*file, options.segment_bytes)).unwrap_or(false);
        if usable {
            donors.push_back(path);
        } else {
            storage.remove(&path)?;
        }
    }
    let mut segments: Vec<SegmentId> =
        names.iter().filter(|_| alone).filter_map(|name| segment::parse_file_name(name)).collect();
    segments.sort_unstable();
    // Ids are used in order: the first used segment from the top ends the search.
    while let Some(id) = segments.pop() {
        let path = segment::path(dir, id);
        // One without a valid header may be anybody's: recovery judges it.
        let unused = storage
            .open(&path)
            .and_then(|file| Ok(segment::is_unused(&*file, options.segment_bytes)? && segment::has_header(&*file)?))
            .unwrap_or(false);
        if !unused {
            break;
        }
        let tmp = segment::tmp_path(dir, id);
        storage.rename(&path, &tmp)?;
        donors.push_front(tmp);
    }
    Ok(donors)
}
