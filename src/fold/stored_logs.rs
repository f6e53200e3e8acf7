//! The logs that were ever in a directory: the live one with its archived segments, and those only the archive has.

use std::io;
use std::path::{Path, PathBuf};

use lake::hash::hex;
use wal_format::{LineageError, Position, ReadError, SegmentDirs, SegmentInfo};

/// The logs of a venue cannot be found, or not be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoredLogsError {
    /// Segments cannot be listed.
    #[error("list {}", dir.display())]
    Segments {
        /// Where they lie.
        dir: PathBuf,
        /// Why not.
        source: ReadError,
    },
    /// The archive cannot be listed.
    #[error("list {}", dir.display())]
    Archive {
        /// The archive of one venue.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log cannot be identified.
    #[error("look at {}", dir.display())]
    Lineage {
        /// Where it lies.
        dir: PathBuf,
        /// Why not.
        source: LineageError,
    },
    /// That segments are still to be read cannot be written down, as in a log that can only be read.
    #[error("keep the segments of {} from being deleted", dir.display())]
    Hold {
        /// Where they lie.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The logs that were ever in `dir`, by uuid: the one that is there now, with its archived segments, and earlier
/// ones of which only the archive is left. With each where its segments lie and the first of them.
///
/// # Errors
/// When a directory or a segment cannot be read.
pub fn stored_logs(archive_root: &Path, dir: &Path) -> Result<Vec<([u8; 16], SegmentDirs, u64)>, StoredLogsError> {
    let mut found = Vec::new();
    let mut add = |stored: SegmentDirs| -> Result<(), StoredLogsError> {
        let lineage = stored.lineage().map_err(|err| segments_of(&stored, err.into()))?;
        let Some(lineage) = lineage else { return Ok(()) };
        let segments = stored.list().map_err(|err| segments_of(&stored, err))?;
        let first = segments.iter().find(|s| s.foreign.is_none()).map_or(0, |s| s.id.0);
        found.push((lineage.log_uuid(), stored, first));
        Ok(())
    };
    let live = wal_format::lineage(dir).map_err(|source| StoredLogsError::Lineage { dir: dir.to_owned(), source })?;
    let archive = live.map(|lineage| archive_dir(archive_root, dir, &lineage.log_uuid()));
    add(SegmentDirs::with_archive(dir, archive.as_deref()))?;
    let root = archive_root.join(dir.file_name().unwrap_or_default());
    let mut others: Vec<PathBuf> = match std::fs::read_dir(&root) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Vec::new(),
        entries => entries
            .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>())
            .map_err(|source| StoredLogsError::Archive { dir: root, source })?,
    };
    others.retain(|path| path.is_dir() && Some(path) != archive.as_ref());
    others.sort();
    for path in others {
        add(SegmentDirs::new(&path))?;
    }
    Ok(found)
}

fn segments_of(stored: &SegmentDirs, source: ReadError) -> StoredLogsError {
    StoredLogsError::Segments { dir: stored.dir().to_owned(), source }
}

/// The logs that were ever in `dir`, oldest first, each with where reading has to begin so that nothing received from
/// `from_ns` on is missed.
///
/// # Errors
/// When a directory or a segment cannot be read.
pub fn logs_from(
    archive_root: &Path,
    dir: &Path,
    from_ns: u64,
) -> Result<Vec<(SegmentDirs, Position)>, StoredLogsError> {
    let mut found = Vec::new();
    for (_, stored, _) in stored_logs(archive_root, dir)? {
        let mut segments = stored.list().map_err(|err| segments_of(&stored, err))?;
        segments.retain(|s| s.foreign.is_none());
        let ends_before = |s: &SegmentInfo| s.footer.as_ref().is_some_and(|f| f.last_ts_ns < from_ns);
        let skipped = segments.iter().take_while(|s| ends_before(s)).count();
        let Some(first) = segments.get(skipped) else { continue };
        let start = if skipped == 0 { Position::START } else { Position { segment: first.id, ..Position::START } };
        // A segment without a footer is of the run that writes just now, or of one that was killed.
        found.push((first.footer.as_ref().map_or(u64::MAX, |f| f.first_ts_ns), stored, start));
    }
    found.sort_by_key(|(begins, ..)| *begins);
    Ok(found.into_iter().map(|(_, stored, start)| (stored, start)).collect())
}

/// Where archived segments of one log go: below `archive_root` by the log's directory and the first eight
/// digits of its uuid, as in names of the lake. Two logs of one venue never meet there.
pub fn archive_dir(archive_root: &Path, log_dir: &Path, log_uuid: &[u8; 16]) -> PathBuf {
    let name = hex(log_uuid);
    let log8 = name.get(..8).unwrap_or(&name);
    archive_root.join(log_dir.file_name().unwrap_or_default()).join(log8)
}
