//! Which segments of a log may go, and their unlink:
//!
//! ```text
//!  a segment goes when   every required reader has durably passed it           wal_format::retire
//!                  and   its retention is over
//!                  and   manifests on disk, read at this very moment, cover it  evidence::Coverage
//! ```

use std::path::Path;

use wal_format::{Evidence, Retention, SegmentInfo};

use super::error::CompactError;
use super::evidence::Coverage;
use super::place::Place;
use crate::settings::Config;
use lake::{Hour, Lake};
use model::VenueId;
use ops::clock;

/// Deletes this one segment, if it may still go.
///
/// # Errors
/// When the log or the lake cannot be read, or the unlink fails; and when it may not go any more.
pub fn retire_one(cfg: &Config, lake: &Lake, id: VenueId, segment: &Path) -> Result<(), CompactError> {
    let dir = segment.parent().ok_or_else(|| CompactError::Nowhere { segment: segment.to_owned() })?;
    let asked = Asked { cfg, lake, id, dir };
    let (keep, _, coverage) = asked.look()?;
    let gone = asked.unlink(keep, &coverage, Some(segment))?;
    if gone == 1 { Ok(()) } else { Err(CompactError::Needed { segment: segment.to_owned() }) }
}

/// One log of which segments may go.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) cfg: &'a Config,
    pub(super) lake: &'a Lake,
    pub(super) id: VenueId,
    pub(super) dir: &'a Path,
}

impl Asked<'_> {
    /// Of something that failed on the way.
    fn failed<E: Into<CompactError>>(&self) -> impl FnOnce(E) -> CompactError {
        CompactError::at("retire segments of", self.dir)
    }

    /// What the disk says now: retention, what it and the readers let go, oldest first, and what manifests cover of it.
    pub(super) fn look(&self) -> Result<(Retention, Vec<SegmentInfo>, Coverage), CompactError> {
        let keep = self.keep()?;
        let candidates = self.candidates(keep)?;
        let coverage = self.coverage(&candidates)?;
        Ok((keep, candidates, coverage))
    }

    fn candidates(&self, keep: Retention) -> Result<Vec<SegmentInfo>, CompactError> {
        let keeps = |s: &SegmentInfo| keep.keeps(s);
        let evidence = Evidence { readers: self.cfg.capture.readers(self.id), covered: &|_| true, keep: &keeps };
        wal_format::retirable(self.dir, &evidence).map_err(self.failed())
    }

    fn keep(&self) -> Result<Retention, CompactError> {
        let hours = self.cfg.capture.wal.retention_hours;
        Retention::of(self.dir, hours, clock::wall_ns()).map_err(self.failed())
    }

    /// What the lake says about `segments`.
    fn coverage(&self, segments: &[SegmentInfo]) -> Result<Coverage, CompactError> {
        let last = segments.iter().filter_map(SegmentInfo::last_seq).max();
        let first_ts_ns = segments.iter().filter_map(|s| s.footer.as_ref()).map(|f| f.first_ts_ns).min();
        let (Some(last), Some(ts_ns)) = (last, first_ts_ns) else { return Ok(Coverage::default()) };
        let Some(lineage) = wal_format::lineage(self.dir).map_err(self.failed())? else {
            return Ok(Coverage::default());
        };
        let place = Place::new(self.lake, self.id.as_str(), lineage);
        Coverage::load(&place, Hour::of_ns(ts_ns), last.get()).map_err(self.failed())
    }

    /// Unlinks all that may go, or `only` this one. A segment that became a candidate meanwhile is not covered, and stays.
    pub(super) fn unlink(
        &self,
        keep: Retention,
        coverage: &Coverage,
        only: Option<&Path>,
    ) -> Result<usize, CompactError> {
        let keeps = |s: &SegmentInfo| only.is_some_and(|path| path != s.path) || keep.keeps(s);
        let covered = |s: &SegmentInfo| covers(coverage, s);
        let evidence = Evidence { readers: self.cfg.capture.readers(self.id), covered: &covered, keep: &keeps };
        Ok(wal_format::retire(self.dir, &evidence).map_err(self.failed())?.len())
    }
}

/// A segment without any record has nothing that could be missing from the lake.
pub(super) fn covers(coverage: &Coverage, s: &SegmentInfo) -> bool {
    s.last_seq().is_none_or(|last| coverage.covers(s.first_seq().unwrap_or(last).get(), last.get()))
}
