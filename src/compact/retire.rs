//! Deleting segments, or archiving them first: the compactor is the only one who does.
//!
//! A segment goes when every consumer has durably passed it, its retention is over, and no part still open has a
//! loss to report from it. The rule itself is [`wal_format::may_retire`]; here are only the reasons to keep more.

use std::path::Path;

use anyhow::Context;
use wal_format::{SegmentId, SegmentInfo};

use super::Mode;
use super::archive::{self, Archiver, Job, archive_one};
use crate::clock;
use crate::config::Config;

/// Deletes what may go of all logs, once more when everything has stopped: the reader that finished last may have
/// let segments go that the other one could not delete. A service that was asked to stop leaves what would have to
/// be archived to its next start.
pub fn retire_all(cfg: &Config, mode: Mode) {
    if cfg.wal.archive.is_some() && mode == Mode::Follow {
        return;
    }
    for id in cfg.venues.keys().copied() {
        for dir in [cfg.wal_dir(id), cfg.repair_dir(id)] {
            let keep = Keep { retention_hours: cfg.wal.retention_hours, now_ns: clock::now().wall_ns, lost_from: None };
            if dir.is_dir()
                && let Err(err) = retire(cfg, &dir, cfg.readers(id), keep, None)
            {
                tracing::warn!(venue = %id, error = %format!("{err:#}"), "segments stay until the next run");
            }
        }
    }
}

/// Why a segment is kept although every consumer has passed it. Pure.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// Hours a segment stays after its last record.
    pub retention_hours: u64,
    /// The wall clock, ns since 1970-01-01 UTC.
    pub now_ns: u64,
    /// First segment with a loss that no manifest tells yet.
    pub lost_from: Option<SegmentId>,
}

impl Keep {
    /// True when the segment with this id and last receive time stays.
    pub fn keeps(&self, id: SegmentId, last_ts_recv_ns: Option<u64>) -> bool {
        if self.lost_from.is_some_and(|from| id >= from) {
            return true;
        }
        let retention_ns = self.retention_hours.saturating_mul(3_600_000_000_000);
        match last_ts_recv_ns {
            Some(last) => last.saturating_add(retention_ns) > self.now_ns && retention_ns > 0,
            // A segment without records has nothing to retain.
            None => false,
        }
    }
}

/// Deletes what may go of the log in `dir`, as configured archived before, and returns how many segments that were;
/// 0 when they are left to `archiver`.
///
/// # Errors
/// When the log cannot be listed, an ack is missing or unreadable, or an archive or unlink fails; nothing or a
/// prefix of what may go is gone then, which is as good as not having tried.
pub fn retire(
    cfg: &Config,
    dir: &Path,
    required: &[&str],
    keep: Keep,
    archiver: Option<&Archiver>,
) -> anyhow::Result<usize> {
    let keeps = |s: &SegmentInfo| keep.keeps(s.id, last_ts(s));
    let what = || format!("retire segments of {}", dir.display());
    let Some(level) = cfg.wal.archive else {
        return Ok(wal_format::retire(dir, required, &keeps).with_context(what)?.len());
    };
    let going = wal_format::retirable(dir, required, &keeps).with_context(what)?;
    let log = dir.file_name().unwrap_or_default().to_string_lossy();
    let jobs = going.iter().map(|s| {
        let uuid = s.log_uuid.with_context(|| format!("{} does not say which log it belongs to", s.path.display()))?;
        Ok(Job { log: log.to_string(), segment: s.path.clone(), to: archive::dir_of(cfg, dir, &uuid), level })
    });
    let jobs = jobs.collect::<anyhow::Result<Vec<Job>>>()?;
    if let Some(archiver) = archiver {
        archiver.push(jobs);
        return Ok(0);
    }
    jobs.iter().try_for_each(|job| archive_one(job).map(drop))?;
    Ok(jobs.len())
}

fn last_ts(s: &SegmentInfo) -> Option<u64> {
    s.footer.as_ref().filter(|f| f.records > 0).map(|f| f.last_ts_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    #[test]
    fn without_retention_nothing_is_kept() {
        let keep = Keep { now_ns: 10 * HOUR, ..Keep::default() };
        assert!(!keep.keeps(SegmentId(1), Some(10 * HOUR)));
    }

    #[test]
    fn retention_counts_from_the_last_record_of_a_segment() {
        let keep = Keep { retention_hours: 2, now_ns: 10 * HOUR, lost_from: None };
        assert!(keep.keeps(SegmentId(1), Some(8 * HOUR + 1)));
        assert!(!keep.keeps(SegmentId(1), Some(8 * HOUR)));
        assert!(!keep.keeps(SegmentId(1), None));
    }

    #[test]
    fn a_loss_that_no_manifest_tells_yet_keeps_its_segment_and_the_later_ones() {
        let keep = Keep { lost_from: Some(SegmentId(4)), ..Keep::default() };
        assert!(!keep.keeps(SegmentId(3), Some(0)));
        assert!(keep.keeps(SegmentId(4), Some(0)) && keep.keeps(SegmentId(5), Some(0)));
    }
}
