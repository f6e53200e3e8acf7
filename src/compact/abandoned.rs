//! Rows that were staged here of a log that is not here any more.
//!
//! Several collectors may share a lake, so what another log staged is nothing unusual: it waits for its own compactor.
//! But a state says where its log lay (machine and directory). When that is the very directory that is worked on now,
//! and another log, an older copy of it or none is in it, its rows wait for nobody: the log's disk is not mounted, its folder
//! was replaced or restored.
//! That is reported, red, until the log is back or the loss is accepted; nothing of it is touched meanwhile.

use std::path::{Path, PathBuf};

use wal_format::regular;

use super::error::CompactError;
use super::missing::EvidenceMissing;
use super::place::{Here, Place};
use super::quarantine::quarantine_files;
use super::stage::{PartState, is_state};
use lake::path::parse_staging_dir;
use lake::work::list;
use lake::{LakeError, Part};

/// Staging directories of logs that lay in `dir` and are not the one at `log` (`None` = there is no log), or of runs that
/// it never had, with the log that each is of.
///
/// # Errors
/// When the staging directories cannot be listed.
pub fn find(lake: &Path, venue: &str, dir: &Path, log: Option<&Place>) -> Result<Vec<(String, PathBuf)>, LakeError> {
    let here = Here::of(lake, dir);
    let mut found = Vec::new();
    for staged in list(&lake.join(".staging"))? {
        // What is this log's own, [`super::resume`] reads; a restored log does not own what runs staged that it never had.
        let other = |part: &Part| part.venue == venue && !log.is_some_and(|place| place.owns(part));
        let Some(part) = parse_staging_dir(&staged).filter(other) else { continue };
        // All states of a part are of one log. One that cannot be read says nothing; its own log, once it is here again,
        // reports it.
        let read = |path: &PathBuf| PartState::parse(&regular::read(path, regular::LARGE_BYTES_MAX).ok()?).ok();
        let states = list(&staged)?;
        let Some(state) = states.iter().filter(|path| is_state(path)).find_map(read) else { continue };
        // What its directory's name does not fit is damage, and the business of the log that the name is of.
        if state.log.starts_with(&part.log8) && state.wal.as_deref().is_some_and(|wal| here.is(wal)) {
            found.push((state.log, staged));
        }
    }
    Ok(found)
}

/// What to report of the first of `found`.
pub fn missing(found: &[(String, PathBuf)], dir: &Path, name: &str) -> Option<EvidenceMissing> {
    let (log, staged) = found.first()?;
    Some(EvidenceMissing::Abandoned {
        log: log.clone(),
        staged: staged.display().to_string(),
        dir: dir.display().to_string(),
        name: name.to_owned(),
    })
}

/// Quarantines all of `found`: the loss is accepted.
///
/// # Errors
/// When something cannot be moved.
pub fn give_up(lake: &Path, found: &[(String, PathBuf)]) -> Result<(), CompactError> {
    for (log, staged) in found {
        let name = staged.file_name().and_then(|n| n.to_str()).unwrap_or("staged").to_owned();
        let to = quarantine_files(lake, &name, &list(staged)?)?;
        tracing::warn!(log = %log, to = %to.display(), "quarantined rows that were staged of a log that is gone");
    }
    Ok(())
}
