//! Segments on another disk: what is written when the log's own has no room for one more, or stopped keeping promises.
//!
//! ```text
//!  <log>/<id>.wal  --symbolic link-->  <spill dir>/<name of the log>/<8 hex digits of its uuid>/<id>.wal
//! ```
//!
//! The file over there is whole and durable before the link gives it its name in the log, so readers, repair, archiving
//! and tools find it where they look anyway. Deleting goes the other way round: first the name, durably, then the file
//! ([`crate::durable::remove_segment`]). A link that leads nowhere therefore never means "deleted": its disk is not
//! there, and readers say so instead of passing it by.
//!
//! A crash between two steps leaves a file that no name leads to. One that was never written is removed by the next
//! writer; any other is only reported, because nothing proves here that it may go.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::directory::names;
use crate::header::SegmentHeader;
use crate::layout::{QUARANTINE_DIR, SEGMENT_SUFFIX};
use crate::segment::{self, Segment};
use crate::storage::Storage;

/// Where the segments of the log in `dir` lie below a spill directory.
#[must_use]
pub fn place(spill_dir: &Path, dir: &Path, log_uuid: &[u8; 16]) -> PathBuf {
    let name: String = log_uuid.iter().take(4).map(|b| format!("{b:02x}")).collect();
    spill_dir.join(dir.file_name().unwrap_or_default()).join(name)
}

/// The file on another disk that a segment's name leads to; `None` for one that lies in the log itself.
#[must_use]
pub fn target(path: &Path) -> Option<PathBuf> {
    std::fs::read_link(path).ok()
}

/// Creates the segment that `header` describes in `spill_dir`, and its name in `dir`.
///
/// # Errors
/// What the storage reports. What stays then is taken over or removed by the next attempt or the next start.
pub(crate) fn create(
    storage: &dyn Storage,
    dir: &Path,
    spill_dir: &Path,
    header: SegmentHeader,
) -> io::Result<Segment> {
    let place = place(spill_dir, dir, &header.log_uuid);
    let id = header.segment;
    storage.create_dir_all(&place)?;
    let segment = segment::create(storage, &place, header, None)?;
    let (file, tmp) = (segment::path(&place, id), segment::tmp_path(dir, id));
    storage.remove(&tmp)?;
    if let Err(error) = storage.link(&file, &tmp) {
        // The error that matters is this one; the next start removes what stays.
        let _ = storage.remove(&file);
        return Err(error);
    }
    if let Err(error) = storage.rename(&tmp, &segment::path(dir, id)) {
        // As above.
        let _ = storage.remove(&tmp);
        return Err(error);
    }
    storage.sync_dir(dir)?;
    Ok(segment)
}

/// Removes files of the log in `dir` below `spill_dirs` that no name leads to and that were never written, and names
/// the written ones.
pub(crate) fn tidy(
    storage: &dyn Storage,
    dir: &Path,
    spill_dirs: &[PathBuf],
    log_uuid: &[u8; 16],
    segment_bytes: u64,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let known: BTreeSet<PathBuf> = [dir.to_path_buf(), dir.join(QUARANTINE_DIR)]
        .iter()
        .flat_map(|dir| names(dir).unwrap_or_default().into_iter().map(|name| dir.join(name)))
        .filter_map(|path| target(&path))
        .collect();
    for spill_dir in spill_dirs {
        let place = place(spill_dir, dir, log_uuid);
        // Links hold the whole path.
        let place = std::fs::canonicalize(&place).unwrap_or(place);
        let found = match names(&place) {
            Ok(found) => found,
            Err(error) => {
                warnings.push(format!("cannot look into {}: {error}", place.display()));
                continue;
            }
        };
        for path in found.iter().map(|name| place.join(name)).filter(|path| !known.contains(path)) {
            let unfinished = !path.to_string_lossy().ends_with(SEGMENT_SUFFIX);
            let unused = || storage.open(&path).and_then(|f| segment::is_unused(&*f, segment_bytes)).unwrap_or(false);
            if unfinished || unused() {
                // What cannot be removed takes room and no more; the next start tries again.
                let _ = storage.remove(&path);
            } else {
                warnings.push(format!(
                    "{} is a segment that no name in {} leads to: an interrupted deletion, or a lost link; wal-dump reads it; delete it when it is not wanted",
                    path.display(),
                    dir.display()
                ));
            }
        }
    }
    warnings
}
