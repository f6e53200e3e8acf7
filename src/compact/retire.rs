//! Deleting segments, or archiving them first: the compactor is the only one who does, and [`retire`] is the only way.
//!
//! Which may go is [`super::retirable`]'s to say, at this very moment. What is only staged lets nothing go. So the log always holds everything after the newest manifest, and pieces and
//! states are a cache: whatever becomes of them, the log gives the same again.

use std::path::Path;

use wal_format::error_chain;

use super::archive::{ArchiveJob, Archiver, archive_one};
use super::error::CompactError;
use super::retirable::{Asked, covers};
use crate::settings::Config;
use fold::Mode;
use lake::Lake;
use model::VenueId;

/// What [`retire`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Segments that are gone; those that are left to an [`Archiver`] are not.
    pub segments: usize,
    /// Segments that every reader has passed and that stay because no manifest covers them.
    pub held: usize,
    /// Why, as text.
    pub reason: Option<String>,
}

/// Deletes what may go of all logs, once more when everything has stopped: the reader that finished last may have
/// let segments go that the other one could not delete. A service that was asked to stop leaves what would have to
/// be archived to its next start.
pub fn retire_all(cfg: &Config, lake: &Lake, mode: Mode) {
    if cfg.capture.wal.archive_level().is_some() && mode == Mode::Follow {
        return;
    }
    for id in cfg.capture.venues.keys().copied() {
        for dir in [cfg.capture.wal_dir(id), cfg.capture.repair_dir(id)] {
            if dir.is_dir()
                && let Err(err) = retire(cfg, lake, id, &dir, None)
            {
                tracing::warn!(venue = %id, error = %error_chain(&err), "segments stay until the next run");
            }
        }
    }
}

/// Deletes what may go of the log in `dir`, as configured archived before; it is left to `archiver` if there is one.
///
/// # Errors
/// When the log or the lake cannot be listed, an ack is missing or unreadable, or an archive or unlink fails; nothing
/// or a prefix of what may go is gone then, which is as good as not having tried.
pub fn retire(
    cfg: &Config,
    lake: &Lake,
    id: VenueId,
    dir: &Path,
    archiver: Option<&Archiver>,
) -> Result<Retired, CompactError> {
    let asked = Asked { cfg, lake, id, dir };
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
    let Some(level) = cfg.capture.wal.archive_level() else {
        retired.segments = asked.unlink(keep, &coverage, None)?;
        return Ok(retired);
    };
    let log = dir.file_name().unwrap_or_default().to_string_lossy();
    let jobs = candidates.iter().take(covered).map(|s| {
        let uuid = s.log_uuid.ok_or_else(|| CompactError::Nobodys { segment: s.path.clone() })?;
        let to = fold::stored_logs::archive_dir(&cfg.capture.archive_root(), dir, &uuid);
        Ok(ArchiveJob { venue: id, log: log.to_string(), segment: s.path.clone(), to, level })
    });
    let jobs = jobs.collect::<Result<Vec<ArchiveJob>, CompactError>>()?;
    match archiver {
        Some(archiver) => archiver.push(jobs),
        None => {
            jobs.iter().try_for_each(|job| archive_one(cfg, lake, job).map(drop))?;
            retired.segments = jobs.len();
        }
    }
    Ok(retired)
}
