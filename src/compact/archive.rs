//! Segments that no consumer needs any more, compressed instead of deleted (`[wal] archive = "zstd"`).
//!
//! [`archive_one`] is the whole promise: the archive is written, read back, compared and named before the segment is
//! unlinked ([`wal_format::archive::pack`]). Whatever instruction the process dies at, the segment or its archive is
//! whole; the next run finds both, proves the archive and unlinks. Which segments may go is decided by
//! [`super::retirable`] alone, once before a segment is queued and once more when it is unlinked: the queue may be hours
//! long, and a manifest can be damaged or gone by then.
//!
//! While following, the work is done by one [`Archiver`] thread at the lowest priority, so that no log is read
//! later because another is being compressed. Never touches a segment that was not handed to it.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use wal_format::archive::{PackStep, Packed, clean, pack};
use wal_format::error_chain;

use super::error::CompactError;
use super::retirable::retire_one;
use crate::failpoint;
use crate::settings::Config;
use fold::stored_logs::archive_dir;
use lake::Lake;
use model::VenueId;
use ops::clock;
use ops::compactor::CompactorStatus;

/// One segment to be archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveJob {
    /// Whose log it is of.
    pub venue: VenueId,
    /// The log's name in the status.
    pub log: String,
    /// The segment.
    pub segment: PathBuf,
    /// The directory its archive goes to.
    pub to: PathBuf,
    /// zstd level.
    pub level: i32,
}

/// Archives one segment and unlinks it.
///
/// # Errors
/// When the archive cannot be written or does not read back, or the segment may not go any more; it is then untouched.
pub(crate) fn archive_one(cfg: &Config, lake: &Lake, job: &ArchiveJob) -> Result<Packed, CompactError> {
    failpoint::hit("archive.before_pack");
    let packed = pack(&job.segment, &job.to, job.level, &mut |step| match step {
        PackStep::Frame(_) => {
            failpoint::hit("archive.after_frame");
        }
        PackStep::Synced => {
            failpoint::hit("archive.after_sync");
        }
        PackStep::Proven => {
            failpoint::hit("archive.after_proof");
        }
        PackStep::Published => {
            failpoint::hit("archive.after_publish");
        }
    })
    .map_err(CompactError::at("archive", &job.segment))?;
    retire_one(cfg, lake, job.venue, &job.segment)?;
    failpoint::hit("archive.after_unlink");
    tracing::info!(
        log = %job.log, segment = %job.segment.display(), archive = %packed.path.display(),
        bytes = packed.segment_bytes, archive_bytes = packed.archive_bytes,
        "archived and deleted: every reader has passed it"
    );
    Ok(packed)
}

/// Removes temporary archives that a killed process left for this log. The caller holds the log's ack, so nobody
/// else archives it.
pub(crate) fn clean_up(cfg: &Config, log_dir: &Path, log_uuid: &[u8; 16]) {
    let dir = archive_dir(&cfg.capture.archive_root(), log_dir, log_uuid);
    match clean(&dir) {
        Ok(0) => {}
        Ok(n) => tracing::info!(dir = %dir.display(), files = n, "removed archives that were not finished"),
        Err(err) => tracing::warn!(dir = %dir.display(), error = %err, "cannot look for unfinished archives"),
    }
}

/// A queue of segments and the thread that works it off, in order; one for all logs.
pub struct Archiver {
    queue: Mutex<Queue>,
    bell: Condvar,
    cfg: Arc<Config>,
    lake: Lake,
    status: Arc<CompactorStatus>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<ArchiveJob>,
    /// Waiting or in work.
    known: HashSet<PathBuf>,
    closed: bool,
}

impl Archiver {
    /// An empty queue of segments that `lake` covers, which reports to `status`.
    pub fn new(cfg: Arc<Config>, lake: Lake, status: Arc<CompactorStatus>) -> Self {
        Self { queue: Mutex::default(), bell: Condvar::new(), cfg, lake, status }
    }

    /// Adds what is not known yet.
    pub fn push(&self, jobs: Vec<ArchiveJob>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for job in jobs {
            if !queue.closed && queue.known.insert(job.segment.clone()) {
                queue.jobs.push_back(job);
            }
        }
        self.bell.notify_all();
    }

    /// Lets [`Archiver::run`] end after the segment in work; what waits stays as it is until the next start.
    pub fn close(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        queue.jobs.clear();
        self.bell.notify_all();
    }

    /// The segment that a panic left in work may be handed in again.
    fn forget_what_panicked(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting: HashSet<PathBuf> = queue.jobs.iter().map(|j| j.segment.clone()).collect();
        queue.known = waiting;
    }

    fn next(&self) -> Option<ArchiveJob> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Archives what comes until [`Archiver::close`]. A segment that fails holds back the later ones of its log, so
    /// that a log never has an inner gap; all of them are offered again with the next ack.
    pub fn run(&self) {
        // A refusal costs nothing but politeness.
        let _ = rustix::process::setpriority_process(None, 19);
        self.forget_what_panicked();
        while let Some(job) = self.next() {
            let began = clock::now().mono_ns;
            let result = archive_one(&self.cfg, &self.lake, &job);
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.known.remove(&job.segment);
            match result {
                Ok(packed) => self.status.update(&job.log, |s| {
                    s.segments_retired += 1;
                    s.segments_archived += 1;
                    s.archive_bytes += packed.archive_bytes;
                    s.archive_ms += clock::now().mono_ns.saturating_sub(began) / 1_000_000;
                }),
                Err(err) => {
                    let dir = job.segment.parent();
                    queue.jobs.retain(|other| other.segment.parent() != dir);
                    let waiting: HashSet<PathBuf> = queue.jobs.iter().map(|j| j.segment.clone()).collect();
                    queue.known = waiting;
                    tracing::warn!(log = %job.log, error = %error_chain(&err), "the segment stays and is tried again");
                }
            }
        }
    }
}
