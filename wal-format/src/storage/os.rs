//! The operating system's files and directories, and what is known of the file systems they lie on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use super::{Entry, Storage, StorageFile, is_zero_by_reading};
use crate::durable;
use crate::error::LockError;
use crate::lock::LogLock;
use crate::record::ClockPair;
use crate::regular;
use crate::sys::{Window, alloc};

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsStorage;

struct OsFile(File);

impl Storage for OsStorage {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        durable::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            // A name that vanishes between listing and stat is no longer in the directory.
            let Ok(meta) = entry.metadata() else { continue };
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                bytes: if meta.is_dir() { 0 } else { meta.len() },
                is_dir: meta.is_dir(),
            });
        }
        entries.sort();
        Ok(entries)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let file = regular::open_as(OpenOptions::new().read(true).write(true), path)?;
        Ok(Arc::new(OsFile(file)))
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let file = regular::open_as(OpenOptions::new().read(true).write(true).create(true).truncate(false), path)?;
        Ok(Arc::new(OsFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        durable::rename(from, to)
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        durable::link(file, name)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        durable::remove_segment(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        durable::sync_dir(dir)
    }

    fn available_bytes(&self, dir: &Path) -> Option<u64> {
        let stat = rustix::fs::statvfs(dir).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, dir: &Path, now: ClockPair) -> Result<Box<dyn Send>, LockError> {
        Ok(Box::new(LogLock::take_noting(dir, Some(now))?))
    }

    fn lock_repairs(&self, dir: &Path) -> Result<Box<dyn Send>, LockError> {
        Ok(Box::new(LogLock::take_beside_writer(dir)?))
    }

    fn warnings(&self, dir: &Path) -> Vec<String> {
        file_system_warning(dir).into_iter().collect()
    }
}

impl StorageFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        alloc::allocate(&self.0, len).map(|_| ())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn map(&self, len: u64) -> io::Result<Arc<Window>> {
        Ok(Arc::new(Window::map(&self.0, len)?))
    }

    fn sync_range(&self, window: &Window, from: u64, to: u64) -> io::Result<()> {
        window.sync_range(from, to)?;
        // The disk takes the pages of a file that nobody can ever open again, and says nothing. No segment is retired
        // before its footer, which is written after this.
        if self.0.metadata()?.nlink() == 0 {
            return Err(io::Error::other("the segment was deleted while it was written"));
        }
        Ok(())
    }

    fn is_zero(&self, from: u64, to: u64) -> io::Result<bool> {
        // Allocated and never written ranges count as holes, so an unused segment of 128 MiB costs
        // a few system calls instead of reading it. Pages in the cache count as data: ranges are
        // collected before anything is read, and reading ahead is turned off.
        alloc::no_read_ahead(&self.0);
        for (start, end) in alloc::data_ranges(&self.0, from, to)? {
            if !is_zero_by_reading(self, start, end)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn start_writeback(&self, from: u64, to: u64) {
        alloc::start_writeback(&self.0, from, to);
    }
}

/// Magic numbers of statfs, from the kernel's `linux/magic.h`.
mod magic {
    pub const EXT4: u64 = 0xEF53;
    pub const XFS: u64 = 0x5846_5342;
    pub const TMPFS: u64 = 0x0102_1994;
    pub const F2FS: u64 = 0xF2F5_2010;
    pub const BTRFS: u64 = 0x9123_683E;
    pub const ZFS: u64 = 0x2FC1_2FC1;
    pub const OVERLAY: u64 = 0x794C_7630;
    pub const NFS: u64 = 0x6969;
    pub const SMB2: u64 = 0xFE53_4D42;
    pub const CIFS: u64 = 0xFF53_4D42;
    pub const FUSE: u64 = 0x6573_5546;
    pub const V9FS: u64 = 0x0102_1997;
}

fn file_system_warning(dir: &Path) -> Option<String> {
    // The type of the field differs between targets; its low 32 bits are the magic everywhere.
    #[allow(clippy::unnecessary_cast)]
    let kind = (rustix::fs::statfs(dir).ok()?.f_type as u64) & 0xFFFF_FFFF;
    let dir = dir.display();
    match kind {
        magic::EXT4 | magic::XFS | magic::F2FS | magic::OVERLAY => None,
        magic::TMPFS => Some(format!("{dir} is in memory (tmpfs): the log does not survive a restart of the machine")),
        magic::BTRFS | magic::ZFS => {
            Some(format!("{dir} is on a copy-on-write file system: allocated segments can still run out of space"))
        }
        magic::NFS | magic::SMB2 | magic::CIFS | magic::V9FS => Some(format!(
            "{dir} is on a network file system: readers on other machines are not supported and \
             locks may not hold"
        )),
        magic::FUSE => Some(format!("{dir} is on a FUSE file system: shared mappings and syncs depend on its driver")),
        other => Some(format!("{dir} is on a file system of unknown type {other:#x}: the log was not tried on it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_in_order_and_lengths_are_real() {
        let dir = tempfile::tempdir().unwrap();
        let storage = OsStorage;
        storage.create_dir_all(&dir.path().join("b/c")).unwrap();
        let file = storage.open_or_create(&dir.path().join("a")).unwrap();
        assert!(file.is_empty().unwrap());
        file.allocate(8192).unwrap();
        let entries = storage.list(dir.path()).unwrap();
        let seen: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.bytes, e.is_dir)).collect();
        assert_eq!(seen, [("a", 8192, false), ("b", 0, true)]);
        assert!(storage.available_bytes(dir.path()).is_some());
    }

    #[test]
    fn writes_show_in_windows_of_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = OsStorage.open_or_create(&dir.path().join("a")).unwrap();
        file.allocate(4096).unwrap();
        let window = file.map(4096).unwrap();
        file.write_all_at(b"seen", 100).unwrap();
        assert_eq!(window.published(100, 4), Some(&b"seen"[..]));
        file.sync_range(&window, 0, 4096).unwrap();
        let mut back = [0; 4];
        file.read_exact_at(&mut back, 100).unwrap();
        assert_eq!(&back, b"seen");
    }
}
