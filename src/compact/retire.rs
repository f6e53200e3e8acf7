//! Deleting segments, or archiving them first: the compactor is the only one who does, and [`retire`] is the only way.
//!
//! ```text
//!  a segment goes when   every required reader has durably passed it           wal_format::retire
//!                  and   its retention is over
//!                  and   manifests on disk, read at this very moment, cover it  evidence::Coverage
//! ```
//!
//! What is only staged lets nothing go. So the log always holds everything behind the newest manifest, and pieces and
//! states are a cache: whatever becomes of them, the log tells the same again.

use std::path::Path;

use anyhow::Context;
use wal_format::{Evidence, SegmentInfo, list_segments};

use super::archive::{Archiver, Job, archive_one};
use super::evidence::Coverage;
use super::stage::Place;
use config::Config;
use fold::Mode;
use lake::Hour;
use model::VenueId;
use ops::clock;

/// What [`retire`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Segments that are gone; those that are left to an [`Archiver`] are not.
    pub segments: usize,
    /// Segments that every reader has passed and that stay because no manifest covers them.
    pub held: usize,
    /// Why, in plain words.
    pub reason: Option<String>,
}

/// Deletes what may go of all logs, once more when everything has stopped: the reader that finished last may have
/// let segments go that the other one could not delete. A service that was asked to stop leaves what would have to
/// be archived to its next start.
pub fn retire_all(cfg: &Config, mode: Mode) {
    if cfg.wal.archive.is_some() && mode == Mode::Follow {
        return;
    }
    for id in cfg.venues.keys().copied() {
        for dir in [cfg.wal_dir(id), cfg.repair_dir(id)] {
            if dir.is_dir()
                && let Err(err) = retire(cfg, id, &dir, None)
            {
                tracing::warn!(venue = %id, error = %format!("{err:#}"), "segments stay until the next run");
            }
        }
    }
}

/// Deletes what may go of the log in `dir`, as configured archived before; it is left to `archiver` if there is one.
///
/// # Errors
/// When the log or the lake cannot be listed, an ack is missing or unreadable, or an archive or unlink fails; nothing
/// or a prefix of what may go is gone then, which is as good as not having tried.
pub fn retire(cfg: &Config, id: VenueId, dir: &Path, archiver: Option<&Archiver>) -> anyhow::Result<Retired> {
    let asked = Asked { cfg, id, dir };
    let (keep, candidates, coverage) = asked.look()?;
    let covered = candidates.iter().take_while(|s| covers(&coverage, s)).count();
    let mut retired = Retired { held: candidates.len() - covered, ..Retired::default() };
    retired.reason = candidates.get(covered).map(|s| {
        let why = match coverage.unusable.as_slice() {
            [] => "no manifest in the lake covers it".to_owned(),
            [first, ..] => format!("a manifest is no evidence: {first}"),
        };
        format!("segment {} stays although every reader has passed it: {why}", s.id)
    });
    if covered == 0 {
        return Ok(retired);
    }
    let Some(level) = cfg.wal.archive else {
        retired.segments = asked.unlink(keep, &coverage, None)?;
        return Ok(retired);
    };
    let log = dir.file_name().unwrap_or_default().to_string_lossy();
    let jobs = candidates.iter().take(covered).map(|s| {
        let uuid = s.log_uuid.with_context(|| format!("{} does not say which log it belongs to", s.path.display()))?;
        let to = fold::shelves::archive_dir(&cfg.archive_root(), dir, &uuid);
        Ok(Job { venue: id, log: log.to_string(), segment: s.path.clone(), to, level })
    });
    let jobs = jobs.collect::<anyhow::Result<Vec<Job>>>()?;
    match archiver {
        Some(archiver) => archiver.push(jobs),
        None => {
            jobs.iter().try_for_each(|job| archive_one(cfg, job).map(drop))?;
            retired.segments = jobs.len();
        }
    }
    Ok(retired)
}

/// Deletes this one segment, if it may still go.
///
/// # Errors
/// As [`retire`]; and when it may not go any more.
pub fn retire_one(cfg: &Config, id: VenueId, segment: &Path) -> anyhow::Result<()> {
    let dir = segment.parent().with_context(|| format!("{} lies in no log", segment.display()))?;
    let asked = Asked { cfg, id, dir };
    let (keep, _, coverage) = asked.look()?;
    let gone = asked.unlink(keep, &coverage, Some(segment))?;
    anyhow::ensure!(gone == 1, "{} may not go now: no manifest covers it, or a reader needs it", segment.display());
    Ok(())
}

/// One log of which segments may go.
#[derive(Clone, Copy)]
struct Asked<'a> {
    cfg: &'a Config,
    id: VenueId,
    dir: &'a Path,
}

impl Asked<'_> {
    fn what(&self) -> String {
        format!("retire segments of {}", self.dir.display())
    }

    /// What the disk says now: retention, what it and the readers let go, oldest first, and what manifests cover of it.
    fn look(&self) -> anyhow::Result<(Keep, Vec<SegmentInfo>, Coverage)> {
        let keep = self.keep()?;
        let candidates = self.candidates(keep)?;
        let coverage = self.coverage(&candidates)?;
        Ok((keep, candidates, coverage))
    }

    fn candidates(&self, keep: Keep) -> anyhow::Result<Vec<SegmentInfo>> {
        let keeps = |s: &SegmentInfo| keep.keeps(last_ts(s));
        let evidence = Evidence { readers: self.cfg.readers(self.id), covered: &|_| true, keep: &keeps };
        wal_format::retirable(self.dir, &evidence).with_context(|| self.what())
    }

    fn keep(&self) -> anyhow::Result<Keep> {
        let retention_hours = self.cfg.wal.retention_hours;
        // Without retention nobody asks for the time.
        let newest_ns = match retention_hours {
            0 => 0,
            _ => {
                let segments = list_segments(self.dir).with_context(|| self.what())?;
                segments.iter().filter(|s| s.foreign.is_none()).filter_map(last_ts).max().unwrap_or(0)
            }
        };
        Ok(Keep { retention_hours, now_ns: clock::wall_ns().min(newest_ns) })
    }

    /// What the lake says about `segments`.
    fn coverage(&self, segments: &[SegmentInfo]) -> anyhow::Result<Coverage> {
        let last = segments.iter().filter_map(SegmentInfo::last_seq).max();
        let first_ts_ns = segments.iter().filter_map(|s| s.footer.as_ref()).map(|f| f.first_ts_ns).min();
        let (Some(last), Some(ts_ns)) = (last, first_ts_ns) else { return Ok(Coverage::default()) };
        let Some(lineage) = wal_format::lineage(self.dir).with_context(|| self.what())? else {
            return Ok(Coverage::default());
        };
        let place = Place::new(&self.cfg.lake.dir, self.id.as_str(), lineage);
        Coverage::load(&place, Hour::of_ns(ts_ns), last.get()).with_context(|| self.what())
    }

    /// Unlinks all that may go, or `only` this one. A segment that became a candidate meanwhile is not covered, and stays.
    fn unlink(&self, keep: Keep, coverage: &Coverage, only: Option<&Path>) -> anyhow::Result<usize> {
        let keeps = |s: &SegmentInfo| only.is_some_and(|path| path != s.path) || keep.keeps(last_ts(s));
        let covered = |s: &SegmentInfo| covers(coverage, s);
        let evidence = Evidence { readers: self.cfg.readers(self.id), covered: &covered, keep: &keeps };
        Ok(wal_format::retire(self.dir, &evidence).with_context(|| self.what())?.len())
    }
}

/// A segment without any record has nothing that could be missing from the lake.
fn covers(coverage: &Coverage, s: &SegmentInfo) -> bool {
    s.last_seq().is_none_or(|last| coverage.covers(s.first_seq().unwrap_or(last).get(), last.get()))
}

/// Why a segment is kept although every consumer has passed it. Pure.
#[derive(Clone, Copy, Debug, Default)]
struct Keep {
    /// Hours a segment stays after its last record.
    retention_hours: u64,
    /// The wall clock, but at most the newest sealed record, ns since 1970-01-01 UTC: a clock that is ahead lets
    /// nothing go early.
    now_ns: u64,
}

impl Keep {
    /// True when the segment with this last receive time stays.
    fn keeps(&self, last_ts_recv_ns: Option<u64>) -> bool {
        let retention_ns = self.retention_hours.saturating_mul(3_600_000_000_000);
        match last_ts_recv_ns {
            Some(last) => last.saturating_add(retention_ns) > self.now_ns && retention_ns > 0,
            // A segment without records has nothing to retain.
            None => false,
        }
    }
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
        assert!(!keep.keeps(Some(10 * HOUR)));
    }

    #[test]
    fn retention_counts_from_the_last_record_of_a_segment() {
        let keep = Keep { retention_hours: 2, now_ns: 10 * HOUR };
        assert!(keep.keeps(Some(8 * HOUR + 1)));
        assert!(!keep.keeps(Some(8 * HOUR)));
        assert!(!keep.keeps(None));
    }
}
