//! Where parts are made again for a comparison: a directory below `.staging`, hidden from readers and gone with its
//! process.
//!
//! Each has a locked file beside it, so that what a killed comparison left is distinguished from what another one, on
//! whatever machine, is working in.

use std::path::{Path, PathBuf};

use wal_format::durable;

use crate::error::CompactError;
use lake::LakeLock;
use lake::work::list;

const PREFIX: &str = "replay-";

pub(super) struct Scratch {
    dir: PathBuf,
    lock: PathBuf,
    _lock: LakeLock,
}

impl Scratch {
    /// A fresh one in the lake. Removes those of processes that are gone.
    ///
    /// # Errors
    /// When a file cannot be made, locked or removed.
    pub fn new(lake: &Path) -> Result<Scratch, CompactError> {
        let staging = lake.join(".staging");
        durable::create_dir_all(&staging).map_err(CompactError::file("create", &staging))?;
        for dir in list(&staging)?.into_iter().filter(|path| path.is_dir() && is_scratch(path)) {
            let lock = lock_of(&dir);
            if LakeLock::of_work(&lock, "clears away a comparison")?.is_some() {
                remove(&dir, &lock)?;
            }
        }
        let dir = staging.join(format!("{PREFIX}{:016x}", rand::random::<u64>()));
        let lock = lock_of(&dir);
        // Locked before there is anything to be cleared away.
        let held = LakeLock::of_work(&lock, "replay")?.ok_or_else(|| CompactError::Taken { lock: lock.clone() })?;
        std::fs::create_dir(&dir).map_err(CompactError::file("create", &dir))?;
        Ok(Scratch { dir, lock, _lock: held })
    }

    /// The directory, empty.
    ///
    /// # Errors
    /// When it cannot be emptied.
    pub fn empty(&self) -> Result<&Path, CompactError> {
        for path in list(&self.dir)? {
            let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            gone.map_err(CompactError::file("remove", &path))?;
        }
        Ok(&self.dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is cleared away by the next comparison.
        let _ = remove(&self.dir, &self.lock);
    }
}

fn is_scratch(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
}

fn lock_of(dir: &Path) -> PathBuf {
    dir.with_extension("lock")
}

/// The directory, then what says that it may go.
fn remove(dir: &Path, lock: &Path) -> Result<(), CompactError> {
    std::fs::remove_dir_all(dir).map_err(CompactError::file("remove", dir))?;
    durable::remove_file(lock).map_err(CompactError::file("remove", lock))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_comparison_leaves_others_alone_and_clears_away_what_killed_ones_left() {
        let lake = tempfile::tempdir().unwrap();
        let left = lake.path().join(".staging/replay-binance-spot-17/rebuilt");
        std::fs::create_dir_all(&left).unwrap();
        let a = Scratch::new(lake.path()).unwrap();
        std::fs::create_dir(a.dir.join("rebuilt")).unwrap();
        let b = Scratch::new(lake.path()).unwrap();
        assert!(!left.exists() && a.dir.join("rebuilt").exists() && a.dir != b.dir);
        assert!(a.empty().unwrap().exists() && !a.dir.join("rebuilt").exists());
        drop((a, b));
        assert_eq!(list(&lake.path().join(".staging")).unwrap(), Vec::<PathBuf>::new());
    }
}
