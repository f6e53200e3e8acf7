//! `quarantine/`: where files are moved that block a log's names. Nothing there is ever replaced or deleted.
//!
//! ```text
//!  <20 digits>.wal                              a segment of the log that nobody can read: readers report the lost range
//!  foreign-<20 digits>-<log8>-<incarnation4>.wal  a segment of another log or another copy: nothing of this one is lost
//! ```
//!
//! A name that is taken gets `.1`, `.2`, ... after it.

use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::identity::hex;
use crate::layout::QUARANTINE_DIR;
use crate::lineage::Foreign;
use crate::record::SegmentId;
use crate::segment;
use crate::storage::Storage;

/// The name of a segment that is not the log's. It is not that of a segment: nothing takes it for a lost one.
pub(crate) fn foreign_name(id: SegmentId, why: &Foreign) -> String {
    let whose = match why {
        Foreign::Log { uuid } => hex(uuid).get(..8).unwrap_or_default().to_owned(),
        Foreign::Run { run, .. } | Foreign::Later { run, .. } => {
            format!("run{}-{}", run.epoch, run.incarnation.short())
        }
        Foreign::Name { segment } => format!("segment{segment}"),
    };
    format!("foreign-{}-{whose}.wal", segment::file_name(id).trim_end_matches(".wal"))
}

/// A path in the quarantine of `dir` that nothing has yet.
pub(crate) fn free_path(dir: &Path, name: &str, taken: &dyn Fn(&Path) -> bool) -> PathBuf {
    let path = |n: u32| {
        let name = if n == 0 { name.to_owned() } else { format!("{name}.{n}") };
        dir.join(QUARANTINE_DIR).join(name)
    };
    (0..u32::MAX).map(path).find(|path| !taken(path)).unwrap_or_else(|| path(u32::MAX))
}

/// Moves a segment that is not the log's there, durably. The writer's way, under its lock.
pub(crate) fn move_in(
    storage: &dyn Storage,
    dir: &Path,
    path: &Path,
    id: SegmentId,
    why: &Foreign,
) -> Result<PathBuf, OpenError> {
    let quarantine = dir.join(QUARANTINE_DIR);
    let io = |action| {
        let path = path.to_path_buf();
        move |source| OpenError::Io { action, path, source }
    };
    storage.create_dir_all(&quarantine).map_err(io("make the quarantine for"))?;
    let there = storage.list(&quarantine).map_err(io("list the quarantine for"))?;
    let taken = |path: &Path| there.iter().any(|entry| path.file_name().is_some_and(|name| *name == *entry.name));
    let to = free_path(dir, &foreign_name(id, why), &taken);
    storage.rename(path, &to).map_err(io("move to quarantine"))?;
    // The new name first: between the two a power cut leaves the file under both, never under none.
    storage.sync_dir(&quarantine).map_err(io("move to quarantine"))?;
    storage.sync_dir(dir).map_err(io("move to quarantine"))?;
    Ok(to)
}
