//! The logs that ever stood in a directory: the live one with its archived segments, and those only the archive has.

use std::path::{Path, PathBuf};

use anyhow::Context;
use lake::hash::hex;
use wal_format::{Position, SegmentInfo, Shelf};

/// The logs that ever stood in `dir`, by uuid: the one that stands there now, with its archived segments, and earlier
/// ones of which only the archive is left. With each where its segments lie and the first of them.
pub fn shelves(archive_root: &Path, dir: &Path) -> anyhow::Result<Vec<([u8; 16], Shelf, u64)>> {
    let mut found = Vec::new();
    let mut add = |shelf: Shelf| -> anyhow::Result<Option<[u8; 16]>> {
        let what = || format!("list {}", shelf.dir().display());
        let Some(lineage) = shelf.lineage().with_context(what)? else { return Ok(None) };
        let uuid = lineage.log_uuid();
        let segments = shelf.list().with_context(what)?;
        let first = segments.iter().find(|s| s.foreign.is_none()).map_or(0, |s| s.id.0);
        found.push((uuid, shelf, first));
        Ok(Some(uuid))
    };
    let live = wal_format::lineage(dir).with_context(|| format!("look at {}", dir.display()))?;
    let archive = live.map(|lineage| archive_dir(archive_root, dir, &lineage.log_uuid()));
    add(Shelf::with_archive(dir, archive.as_deref()))?;
    let root = archive_root.join(dir.file_name().unwrap_or_default());
    let mut others: Vec<PathBuf> = match std::fs::read_dir(&root) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        entries => entries
            .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>())
            .with_context(|| format!("list {}", root.display()))?,
    };
    others.retain(|path| path.is_dir() && Some(path) != archive.as_ref());
    others.sort();
    for path in others {
        add(Shelf::new(&path))?;
    }
    Ok(found)
}

/// The logs that ever stood in `dir`, oldest first, each with where reading has to begin so that nothing received from
/// `from_ns` on is missed.
///
/// # Errors
/// When a directory or a segment cannot be read.
pub fn tapes(archive_root: &Path, dir: &Path, from_ns: u64) -> anyhow::Result<Vec<(Shelf, Position)>> {
    let mut found = Vec::new();
    for (_, shelf, _) in shelves(archive_root, dir)? {
        let mut segments = shelf.list().with_context(|| format!("list {}", shelf.dir().display()))?;
        segments.retain(|s| s.foreign.is_none());
        let ends_before = |s: &SegmentInfo| s.footer.as_ref().is_some_and(|f| f.last_ts_ns < from_ns);
        let skipped = segments.iter().take_while(|s| ends_before(s)).count();
        let Some(first) = segments.get(skipped) else { continue };
        let start = if skipped == 0 { Position::START } else { Position { segment: first.id, ..Position::START } };
        // A segment without a footer is of the run that writes just now, or of one that was killed.
        found.push((first.footer.as_ref().map_or(u64::MAX, |f| f.first_ts_ns), shelf, start));
    }
    found.sort_by_key(|(begins, ..)| *begins);
    Ok(found.into_iter().map(|(_, shelf, start)| (shelf, start)).collect())
}

/// Where archived segments of one log go: below `archive_root` by the log's directory and the first eight
/// digits of its uuid, as in names of the lake. Two logs of one venue never meet there.
pub fn archive_dir(archive_root: &Path, log_dir: &Path, log_uuid: &[u8; 16]) -> PathBuf {
    let name = hex(log_uuid);
    let log8 = name.get(..8).unwrap_or(&name);
    archive_root.join(log_dir.file_name().unwrap_or_default()).join(log8)
}
