//! Names in the directories of a log.

use std::io;
use std::path::Path;

use crate::layout::QUARANTINE_DIR;
use crate::read_error::StateError;
use crate::record::SegmentId;
use crate::segment;

pub(crate) fn io_error(path: &Path, source: io::Error) -> StateError {
    StateError::Io { path: path.to_path_buf(), offset: 0, source }
}

/// Names in a directory, sorted; none if it does not exist.
pub(crate) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Ids of the segment files in `dir`, ascending. None if the directory does not exist.
pub(crate) fn segment_files(dir: &Path) -> Result<Vec<SegmentId>, StateError> {
    let mut ids: Vec<SegmentId> =
        names(dir).map_err(|e| io_error(dir, e))?.iter().filter_map(|name| segment::parse_file_name(name)).collect();
    ids.sort();
    Ok(ids)
}

/// Ids of the segments that recovery quarantined, ascending.
pub(crate) fn quarantined(dir: &Path) -> Result<Vec<SegmentId>, StateError> {
    segment_files(&dir.join(QUARANTINE_DIR))
}
