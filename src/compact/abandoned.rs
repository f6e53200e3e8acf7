//! Rows that were staged here of a log that is not here any more.
//!
//! Several collectors may share a lake, so what another log staged is nothing unusual: it waits for its own compactor.
//! But a state says where its log lay (machine and directory). When that is the very directory that is worked on now,
//! and another log, an older copy of it or none is in it, its rows wait for nobody: the log's disk is not mounted, its folder
//! was replaced or restored.
//! That is told, red, until the log is back or the loss is accepted; nothing of it is touched meanwhile.

use std::path::{Component, Path, PathBuf};

use wal_format::regular;

use super::aside::set_aside;
use super::resume::EvidenceMissing;
use super::stage::{PartState, Place, is_state};
use lake::Part;
use lake::find::list;
use lake::path::parse_staging_dir;
use ops::host;

/// Where a log lies, as a state writes it: the machine, and the way there from the lake, so that a data directory that is
/// moved as a whole takes its logs along. A lake that shares nothing but the root with it is named by the log's full path.
pub fn place_of(lake: &Path, dir: &Path) -> String {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (lake, dir) = (whole(lake), whole(dir));
    let shared = lake.components().zip(dir.components()).take_while(|(a, b)| a == b).count();
    let way = match shared {
        0 | 1 => dir,
        _ => {
            let up = lake.components().skip(shared).map(|_| Component::ParentDir);
            up.chain(dir.components().skip(shared)).collect()
        }
    };
    format!("{}:{}", host::name(), way.display())
}

/// Staging directories of logs that lay in `dir` and are not the one at `log` (`None` = there is no log), or of runs that
/// it never had, with the log that each is of.
///
/// # Errors
/// When the staging directories cannot be listed.
pub fn find(lake: &Path, venue: &str, dir: &Path, log: Option<&Place>) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let here = place_of(lake, dir);
    let mut found = Vec::new();
    for staged in list(&lake.join(".staging"))? {
        // What is this log's own, [`super::resume`] reads; a restored log does not own what runs staged that it never had.
        let other = |part: &Part| part.venue == venue && !log.is_some_and(|place| place.owns(part));
        let Some(part) = parse_staging_dir(&staged).filter(other) else { continue };
        // All states of a part are of one log. One that cannot be read says nothing; its own log, once it is here again,
        // tells of it.
        let read = |path: &PathBuf| PartState::parse(&regular::read(path, regular::LARGE_BYTES_MAX).ok()?).ok();
        let states = list(&staged)?;
        let Some(state) = states.iter().filter(|path| is_state(path)).find_map(read) else { continue };
        // What its directory's name does not fit is damage, and the business of the log that the name is of.
        if state.log.starts_with(&part.log8) && state.wal.as_ref() == Some(&here) {
            found.push((state.log, staged));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_data_directory_that_moves_takes_its_logs_along_and_two_logs_have_two_places() {
        let root = tempfile::tempdir().unwrap();
        let made = |data: &str, log: &str| {
            let (lake, dir) = (root.path().join(data).join("lake"), root.path().join(data).join("wal").join(log));
            std::fs::create_dir_all(&lake).unwrap();
            std::fs::create_dir_all(&dir).unwrap();
            place_of(&lake, &dir)
        };
        assert_eq!(made("here", "gate-spot"), made("there", "gate-spot"));
        assert_ne!(made("here", "gate-spot"), made("here", "gate-spot.repair"));
        let apart = place_of(Path::new("/srv/lake"), Path::new("/var/wal/gate-spot"));
        assert!(apart.ends_with(":/var/wal/gate-spot"), "{apart}");
    }
}
