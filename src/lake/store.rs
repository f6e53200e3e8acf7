//! Where published files live. The one place that makes a file of the lake visible.
//!
//! Local: write, fsync, rename, fsync of the directory, all of it in [`wal_format::durable`]. An object store
//! takes the same three calls later.

use std::io;
use std::path::{Path, PathBuf};

use wal_format::durable;

use super::LakeError;

/// A place for published files. Paths are either absolute below the lake or relative to it.
pub trait LakeStore: Send + Sync {
    /// Makes the complete file `tmp` visible at `dest`; parents are created. On return it survives a power cut.
    /// A file already at `dest` is replaced in one step, so publishing again after a crash is safe.
    ///
    /// # Errors
    /// When any step failed; `dest` then holds nothing or the whole file.
    fn publish(&self, tmp: &Path, dest: &Path) -> Result<(), LakeError>;

    /// Makes `bytes` visible at `dest`, with the same promise.
    ///
    /// # Errors
    /// As [`LakeStore::publish`].
    fn publish_bytes(&self, bytes: &[u8], dest: &Path) -> Result<(), LakeError>;

    /// Whether `dest` is there.
    ///
    /// # Errors
    /// When that cannot be told.
    fn exists(&self, dest: &Path) -> Result<bool, LakeError>;

    /// Size of `dest` in bytes, `None` when it is not there.
    ///
    /// # Errors
    /// When that cannot be told.
    fn size(&self, dest: &Path) -> Result<Option<u64>, LakeError>;

    /// Removes `dest`; fine when it is not there.
    ///
    /// # Errors
    /// When it is still there.
    fn remove(&self, dest: &Path) -> Result<(), LakeError>;
}

/// A lake in a local directory.
#[derive(Clone, Debug)]
pub struct LocalStore {
    root: PathBuf,
}

impl LocalStore {
    /// The lake below `root`; the directory is created when first published to.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The lake's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn parent(&self, dest: &Path) -> Result<PathBuf, LakeError> {
        let dest = self.root.join(dest);
        if let Some(dir) = dest.parent() {
            durable::create_dir_all(dir).map_err(LakeError::io("create", dir))?;
        }
        Ok(dest)
    }
}

impl LakeStore for LocalStore {
    fn publish(&self, tmp: &Path, dest: &Path) -> Result<(), LakeError> {
        let dest = self.parent(dest)?;
        durable::publish_file(tmp, &dest).map_err(LakeError::io("publish", &dest))
    }

    fn publish_bytes(&self, bytes: &[u8], dest: &Path) -> Result<(), LakeError> {
        let dest = self.parent(dest)?;
        durable::write_file(&dest, bytes).map_err(LakeError::io("publish", &dest))
    }

    fn exists(&self, dest: &Path) -> Result<bool, LakeError> {
        Ok(self.size(dest)?.is_some())
    }

    fn size(&self, dest: &Path) -> Result<Option<u64>, LakeError> {
        let dest = self.root.join(dest);
        match std::fs::metadata(&dest) {
            Ok(m) => Ok(Some(m.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(LakeError::io("look at", &dest)(e)),
        }
    }

    fn remove(&self, dest: &Path) -> Result<(), LakeError> {
        let dest = self.root.join(dest);
        durable::remove_file(&dest).map_err(LakeError::io("remove", &dest))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn publishing_moves_the_file_creates_parents_and_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::new(dir.path().join("lake"));
        let dest = Path::new("trades/exchange=x/date=2024-08-09/hour=00/a.parquet");
        for content in ["one", "two"] {
            let tmp = dir.path().join("tmp");
            std::fs::write(&tmp, content).unwrap();
            store.publish(&tmp, dest).unwrap();
            assert!(!tmp.exists());
            assert_eq!(std::fs::read_to_string(store.root().join(dest)).unwrap(), content);
        }
        assert_eq!(store.size(dest).unwrap(), Some(3));
        store.remove(dest).unwrap();
        store.remove(dest).unwrap();
        assert!(!store.exists(dest).unwrap());
    }

    #[test]
    fn publishing_a_missing_file_names_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::new(dir.path());
        let e = store.publish(&dir.path().join("none"), Path::new("a/b")).unwrap_err();
        assert!(e.to_string().starts_with("cannot publish "), "{e}");
    }
}
