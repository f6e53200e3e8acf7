//! Reading again what may be deleted: segments stay until the reader is past them.

use std::path::Path;

use wal_format::{Hold, SegmentId};

use crate::stored_logs::StoredLogsError;

/// Keeps the segments of the log in `dir`, live and archived (in the folder of its name in `archive_root`), from being deleted until a second reader is past
/// them.
///
/// # Errors
/// When that cannot be written down, as in a log that can only be read.
pub fn hold(archive_root: &Path, dir: &Path, purpose: &str) -> Result<Vec<Hold>, StoredLogsError> {
    let archive = archive_root.join(dir.file_name().unwrap_or_default());
    let there = [dir, archive.as_path()].into_iter().filter(|dir| dir.is_dir());
    let take = |dir: &Path| {
        let name = format!("replay-{:016x}", rand::random::<u64>());
        Hold::take(dir, &name, SegmentId(0), purpose)
            .map_err(|source| StoredLogsError::Hold { dir: dir.to_owned(), source })
    };
    there.map(take).collect()
}
