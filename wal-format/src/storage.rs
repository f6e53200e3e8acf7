//! The narrow seam over segment memory and directory operations: real files, or a simulation
//! that keeps a live and a durable image and can crash at every step.
//!
//! The append path does not pass through here: a [`StorageFile`] hands out a [`Window`] once, and
//! records are stored straight into it. What passes through is everything that decides about
//! durability: create, allocate, rename, sync.

mod os;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use self::os::OsStorage;
use crate::error::LockError;
use crate::record::ClockPair;
use crate::sys::Window;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// File name; names that are not UTF-8 are given with replacement characters.
    pub name: String,
    /// Length in bytes; 0 for directories.
    pub bytes: u64,
    /// It is a directory.
    pub is_dir: bool,
}

/// Directory operations.
pub trait Storage: Send + Sync {
    /// Creates `dir` and its parents; durable on return.
    ///
    /// # Errors
    /// As the file system reports.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names in `dir`, sorted.
    ///
    /// # Errors
    /// As the file system reports.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// As the file system reports.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;

    /// Opens a file for reading and writing, creating it (empty) if there is none.
    ///
    /// # Errors
    /// As the file system reports.
    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;

    /// Renames, replacing `to`. Durable only after [`Storage::sync_dir`].
    ///
    /// # Errors
    /// As the file system reports.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives `file` the name `name`, in another directory on another disk perhaps. Durable only after
    /// [`Storage::sync_dir`].
    ///
    /// # Errors
    /// As the file system reports; also when the name is taken.
    fn link(&self, file: &Path, name: &Path) -> io::Result<()>;

    /// Unlinks, and what the name leads to on another disk too; a file that is not there is no error. Durable only
    /// after [`Storage::sync_dir`].
    ///
    /// # Errors
    /// As the file system reports.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in `dir` durable.
    ///
    /// # Errors
    /// As the file system reports.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that this user may still allocate, if known.
    fn available_bytes(&self, dir: &Path) -> Option<u64>;

    /// Takes the writer's exclusive lock of the log in `dir`; it lasts until the guard is
    /// dropped or the process dies.
    ///
    /// # Errors
    /// [`LockError::Held`] if someone has it.
    fn lock(&self, dir: &Path, now: ClockPair) -> Result<Box<dyn Send>, LockError>;

    /// Keeps repairs by other processes out of the log in `dir` until the guard is dropped.
    ///
    /// # Errors
    /// [`LockError::Held`] while one is at work.
    fn lock_repairs(&self, _dir: &Path) -> Result<Box<dyn Send>, LockError> {
        Ok(Box::new(()))
    }

    /// Why this place is risky for a log, in sentences for a person; empty if it is not.
    fn warnings(&self, _dir: &Path) -> Vec<String> {
        Vec::new()
    }
}

/// One open file.
pub trait StorageFile: Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// As the file system reports.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// As the file system reports.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads exactly `out.len()` bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file is shorter.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all bytes; visible to mappings of the file at once.
    ///
    /// # Errors
    /// As the file system reports.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file at least `len` bytes long with space that really exists; new bytes are 0.
    ///
    /// # Errors
    /// `StorageFull` if the disk cannot hold it.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Waits until data and what is needed to read it are on disk.
    ///
    /// # Errors
    /// As the file system reports.
    fn sync_data(&self) -> io::Result<()>;

    /// As [`StorageFile::sync_data`], metadata too.
    ///
    /// # Errors
    /// As the file system reports.
    fn sync_all(&self) -> io::Result<()>;

    /// The shared memory of the file's first `len` bytes.
    ///
    /// # Errors
    /// If the file is shorter or cannot be mapped.
    fn map(&self, len: u64) -> io::Result<Arc<Window>>;

    /// Waits until bytes `from..to` stored through `window` (or written) are on disk.
    ///
    /// # Errors
    /// As the file system reports.
    fn sync_range(&self, window: &Window, from: u64, to: u64) -> io::Result<()>;

    /// Whether every byte of `from..to` is zero.
    ///
    /// # Errors
    /// As the file system reports; also when the file is shorter.
    fn is_zero(&self, from: u64, to: u64) -> io::Result<bool> {
        is_zero_by_reading(self, from, to)
    }

    /// Starts writing bytes `from..to` to disk; promises nothing.
    fn start_writeback(&self, _from: u64, _to: u64) {}

    /// Makes stores to `from..to` of `window` free of page faults, as far as possible.
    fn populate(&self, window: &Window, from: u64, to: u64) -> bool {
        window.populate(from, to)
    }
}

fn is_zero_by_reading<F: StorageFile + ?Sized>(file: &F, from: u64, to: u64) -> io::Result<bool> {
    let mut chunk = vec![0; 256 * 1024];
    let mut at = from;
    while at < to {
        let step = (to - at).min(chunk.len() as u64);
        let part = &mut chunk[..usize::try_from(step).unwrap_or(0)];
        file.read_exact_at(part, at)?;
        if part.iter().any(|b| *b != 0) {
            return Ok(false);
        }
        at += step;
    }
    Ok(true)
}
