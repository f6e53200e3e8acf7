//! Rows that were staged here of a log that is not here any more.
//!
//! Several collectors may share a lake, so what another log staged is nothing unusual: it waits for its own compactor.
//! But a state says where its log lay (machine and directory). When that is the very directory that is worked on now,
//! and another log or none is in it, its rows wait for nobody: the log's disk is not mounted, or its folder was replaced.
//! That is told, red, until the log is back or the loss is accepted; nothing of it is touched meanwhile.

use std::path::{Path, PathBuf};

use wal_format::regular;

use super::aside::set_aside;
use super::resume::EvidenceMissing;
use super::stage::{PartState, is_state, list};
use crate::host;
use crate::lake::path::parse_staging_dir;

/// Where a log lies, as a state writes it: no two directories of all machines have the same.
pub fn place_of(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    format!("{}:{}", host::name(), dir.display())
}

/// Staging directories of logs that lay in `dir` and are not `log` (32 hex digits; `None` = there is no log), with the
/// log that each is of.
///
/// # Errors
/// When the staging directories cannot be listed.
pub fn find(lake: &Path, venue: &str, dir: &Path, log: Option<&str>) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let here = place_of(dir);
    let mut found = Vec::new();
    for staged in list(&lake.join(".staging"))? {
        let Some(part) = parse_staging_dir(&staged).filter(|part| part.venue == venue) else { continue };
        for path in list(&staged)?.into_iter().filter(|path| is_state(path)) {
            // One that cannot be read says nothing; its own log, once it is here again, tells of it.
            let Ok(bytes) = regular::read(&path, regular::LARGE_BYTES_MAX) else { continue };
            let Ok(state) = PartState::parse(&bytes) else { continue };
            // What its directory's name does not fit is damage, and the business of the log that the name is of.
            let fits = state.log.starts_with(&part.log8);
            if fits && state.wal.as_ref() == Some(&here) && log != Some(state.log.as_str()) {
                found.push((state.log, staged));
                break;
            }
        }
    }
    Ok(found)
}

/// What to tell of the first of `found`.
pub fn told(found: &[(String, PathBuf)], dir: &Path, name: &str) -> Option<EvidenceMissing> {
    let (log, staged) = found.first()?;
    Some(EvidenceMissing::Abandoned {
        log: log.clone(),
        staged: staged.display().to_string(),
        dir: dir.display().to_string(),
        name: name.to_owned(),
    })
}

/// Sets all of `found` aside: the loss is accepted.
///
/// # Errors
/// When something cannot be moved.
pub fn give_up(lake: &Path, found: &[(String, PathBuf)]) -> anyhow::Result<()> {
    for (log, staged) in found {
        let name = staged.file_name().and_then(|n| n.to_str()).unwrap_or("staged").to_owned();
        let to = set_aside(lake, &name, &list(staged)?)?;
        tracing::warn!(log = %log, to = %to.display(), "rows that were staged of a log that is gone were set aside");
    }
    Ok(())
}
