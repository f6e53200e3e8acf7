//! The local directory in which a lake's files are made ([`crate::Lake::work`]).

use std::path::{Path, PathBuf};

use super::LakeError;

/// Entries of the local directory `dir` in name order; none when it does not exist.
///
/// # Errors
/// When it cannot be listed.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>, LakeError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(LakeError::io("list", dir)(err)),
    };
    let mut paths =
        entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(LakeError::io("list", dir))?;
    paths.sort();
    Ok(paths)
}
