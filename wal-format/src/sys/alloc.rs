//! Real allocation and ranged writeback: the system calls that std does not offer.
//!
//! `set_len` alone is never used on a file that will be mapped: a sparse file turns a full disk
//! into SIGBUS at some later store. Owns no state.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Zeros written per call where the file system cannot allocate: 1 MiB.
const FILL_BYTES: usize = 1024 * 1024;

/// How space was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// By fallocate.
    Reserved,
    /// By writing zeros, because the file system cannot do it otherwise.
    Filled,
}

/// Gives `file` at least `len` bytes that really exist on disk. Bytes that are there already
/// are kept; new ones read as zero.
///
/// # Errors
/// `StorageFull` when the disk cannot hold it, and what the file system reports.
pub fn allocate(file: &File, len: u64) -> io::Result<Allocation> {
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, len) {
            Ok(()) => return Ok(Allocation::Reserved),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                fill(file, len)?;
                return Ok(Allocation::Filled);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reserves the place of the first `len` bytes without changing the file's length, where the file system can; where it
/// cannot, nothing happens. Space after the file's end is [`allocate`]'s to take.
///
/// # Errors
/// `StorageFull` when the disk cannot hold it, and what the file system reports.
pub fn reserve(file: &File, len: u64) -> io::Result<()> {
    loop {
        match fallocate(file, FallocateFlags::KEEP_SIZE, 0, len) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes zeros from the file's end to `len`. Bytes before it were written, not only sized, by an
/// earlier call or by another program; holes in them cannot be seen and would not be filled.
fn fill(file: &File, len: u64) -> io::Result<()> {
    let zeros = vec![0; FILL_BYTES];
    let mut at = file.metadata()?.len();
    while at < len {
        let step = (len - at).min(FILL_BYTES as u64);
        let step_bytes = usize::try_from(step).unwrap_or(FILL_BYTES);
        file.write_all_at(&zeros[..step_bytes], at)?;
        at += step;
    }
    Ok(())
}

/// Reads of this open file fetch what is requested and no more. A hint: failure changes nothing.
pub fn no_read_ahead(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random);
}

/// Lets the kernel drop what it has cached of this file and what is on disk already, so that the next read asks the
/// disk. A hint: failure changes nothing.
pub fn drop_cached(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

/// The next range within `from..to` that may hold anything but zeros; `None` if there is none.
/// Where the file system does not know, all of it may.
///
/// # Errors
/// As the file system reports.
fn next_data(file: &File, from: u64, to: u64) -> io::Result<Option<(u64, u64)>> {
    use rustix::fs::{SeekFrom, seek};
    if from >= to {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((from, to))),
        Err(error) => return Err(error.into()),
    };
    if start >= to {
        return Ok(None);
    }
    let end = seek(file, SeekFrom::Hole(start))?;
    Ok(Some((start, end.clamp(start + 1, to))))
}

/// All ranges within `from..to` that may hold anything but zeros, ascending.
///
/// # Errors
/// As the file system reports.
pub fn data_ranges(file: &File, from: u64, to: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut ranges = Vec::new();
    let mut at = from;
    while let Some((start, end)) = next_data(file, at, to)? {
        ranges.push((start, end));
        at = end;
    }
    Ok(ranges)
}

/// Starts writing the dirty pages of this range to disk without waiting for them. Promises
/// nothing: it only keeps a later sync short.
pub fn start_writeback(file: &File, from: u64, to: u64) {
    let (Ok(offset), Ok(bytes)) = (libc::off64_t::try_from(from), libc::off64_t::try_from(to.saturating_sub(from)))
    else {
        return;
    };
    if bytes == 0 {
        return;
    }
    // SAFETY:
    // - the descriptor is open for the whole call: `file` is borrowed;
    // - the call takes no pointers. Its result is a hint that nothing depends on.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, bytes, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn allocated_files_have_blocks_for_every_byte() {
        let file = tempfile::tempfile().unwrap();
        allocate(&file, 1 << 20).unwrap();
        let meta = file.metadata().unwrap();
        assert_eq!(meta.len(), 1 << 20);
        assert!(meta.blocks() * 512 >= 1 << 20);
        start_writeback(&file, 0, 1 << 20);
    }

    #[test]
    fn written_ranges_of_an_allocated_file_are_found() {
        let file = tempfile::tempfile().unwrap();
        allocate(&file, 1 << 20).unwrap();
        file.write_all_at(b"x", 500_000).unwrap();
        let mut at = 0;
        let mut found = false;
        while let Some((start, end)) = next_data(&file, at, 1 << 20).unwrap() {
            assert!(start >= at && end > start && end <= 1 << 20);
            found |= (start..end).contains(&500_000);
            at = end;
        }
        assert!(found);
        assert_eq!(next_data(&file, 1 << 20, 1 << 20).unwrap(), None);
    }

    #[test]
    fn filling_by_hand_reaches_the_same_length() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"kept", 0).unwrap();
        fill(&file, (1 << 20) + 5).unwrap();
        assert_eq!(file.metadata().unwrap().len(), (1 << 20) + 5);
        let mut head = [0; 4];
        file.read_exact_at(&mut head, 0).unwrap();
        assert_eq!(&head, b"kept");
    }
}
