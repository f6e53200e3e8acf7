//! Mapped memory: the writer's window with its commit word, the reader's map, shared words.
//!
//! ```text
//!  Window (one per open segment, shared by threads)      ReadMap (readers, read-only)
//!    +-- Appender: the one holder of the right to store     commit_word: acquire load
//!    +-- sync, populate: any thread                         published: bytes after a commit word
//!    +-- words: atomics of the CONTROL page
//! ```
//!
//! The publication protocol: the appender stores payload and header bytes 4.., then the commit
//! word with release order. A reader that loads a commit word other than 0 with acquire order
//! therefore sees every byte of that record. Never truncates, never grows: the file was really
//! allocated in its full length before it was mapped.

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::checksum;
use crate::layout::{RECORD_ALIGN, RECORD_CRC_OFFSET, RECORD_HEADER_BYTES, RECORD_SEQ_OFFSET, align_record};

/// Order of the store that publishes: everything stored before it is seen by whoever loads it
/// with [`OBSERVE`]. `tests/loom.rs` shows what breaks with less.
pub const PUBLISH: Ordering = Ordering::Release;
/// Order of the load that looks for something published.
pub const OBSERVE: Ordering = Ordering::Acquire;

/// A page of memory that belongs to no file, for simulated storage.
#[repr(C, align(4096))]
#[derive(Clone, Copy)]
struct Page([u8; 4096]);

enum Backing {
    File(MmapRaw),
    /// Keeps the pages alive; reached only through `Window::base`.
    Memory(#[allow(dead_code)] Box<[std::cell::UnsafeCell<Page>]>),
}

/// Writable shared memory of a fixed length that starts on a page.
pub struct Window {
    base: NonNull<u8>,
    len: usize,
    backing: Backing,
    /// An [`Appender`] exists or existed.
    claimed: AtomicBool,
}

// SAFETY:
// - the memory is owned (mapping or boxed pages) and freed only by `drop`;
// - every access goes through atomics, or through the one `Appender` (guarded by `claimed`), or
//   reads bytes that the appender published and will not store to again.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    /// Maps the first `len` bytes of `file` for reading and writing.
    ///
    /// # Errors
    /// When the file is shorter than `len` (a store beyond its end would raise SIGBUS), empty, or
    /// cannot be mapped.
    pub fn map(file: &File, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        if len == 0 || file.metadata()?.len() < len as u64 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file is shorter than the range to be mapped",
            ));
        }
        let map = MmapOptions::new().len(len).map_raw(file)?;
        let base = NonNull::new(map.as_mut_ptr()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Window { base, len, backing: Backing::File(map), claimed: AtomicBool::new(false) })
    }

    /// Zeroed memory of our own, `len` rounded up to whole pages.
    #[must_use]
    pub fn memory(len: u64) -> Self {
        let pages = usize::try_from(len.div_ceil(4096)).unwrap_or(0).max(1);
        let pages: Box<[std::cell::UnsafeCell<Page>]> =
            (0..pages).map(|_| std::cell::UnsafeCell::new(Page([0; 4096]))).collect();
        let base = NonNull::from(&pages[..]).cast::<u8>();
        Window { base, len: pages.len() * 4096, backing: Backing::Memory(pages), claimed: AtomicBool::new(false) }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a window has at least one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The one right to append to this window; `None` if it was handed out before.
    #[must_use]
    pub fn appender(self: &Arc<Self>) -> Option<Appender> {
        self.claimed.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        Some(Appender { window: Arc::clone(self) })
    }

    /// The commit word at `offset`, loaded with acquire order; `None` if no word fits there.
    #[must_use]
    pub fn commit_word(&self, offset: u64) -> Option<u32> {
        commit_word(self.base, self.len, offset)
    }

    /// A word of a shared status page; `None` if `offset` is not inside or not a multiple of 8.
    ///
    /// Words of a page must not be mixed with appended records: the caller uses a window either
    /// as a segment or as a page of words.
    #[must_use]
    #[inline]
    pub fn word(&self, offset: usize) -> Option<&AtomicU64> {
        if !offset.is_multiple_of(8) || offset.checked_add(8)? > self.len {
            return None;
        }
        // SAFETY:
        // - in bounds and aligned: checked above, and the base starts on a page;
        // - alive: the borrow of `self` keeps the memory;
        // - no race: every process touches these words only as atomics.
        Some(unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) })
    }

    /// A 4-byte word of a shared status page, for futex calls; `None` if `offset` is not inside or not a multiple
    /// of 4. The word must never be used through [`Window::word`].
    #[must_use]
    pub fn half_word(&self, offset: usize) -> Option<&AtomicU32> {
        if !offset.is_multiple_of(4) || offset.checked_add(4)? > self.len {
            return None;
        }
        // SAFETY:
        // - in bounds and aligned: checked above, and the base starts on a page;
        // - alive: the borrow of `self` keeps the memory;
        // - no race: every process touches these words only as 4-byte atomics.
        Some(unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(offset).cast()) })
    }

    /// Copies bytes out of memory that someone may be storing to; the copy may be torn, so it
    /// proves nothing without a checksum. False if the range is not inside.
    #[must_use]
    pub fn copy_out(&self, offset: u64, out: &mut [u8]) -> bool {
        copy_out(self.base, self.len, offset, out)
    }

    /// Bytes of records that are published: immutable from then on.
    ///
    /// `None` if the range is not inside. The caller has seen, with acquire order, that the whole
    /// range was committed.
    #[must_use]
    pub fn published(&self, offset: u64, len: usize) -> Option<&[u8]> {
        published(self.base, self.len, offset, len)
    }

    /// Waits until the pages of this byte range are on disk (msync with MS_SYNC). Memory windows
    /// have nothing to sync.
    ///
    /// # Errors
    /// As msync reports it: the first error of a writeback of this file since it was opened.
    pub fn sync_range(&self, from: u64, to: u64) -> io::Result<()> {
        let Some((from, len)) = clip(self.len, from, to) else {
            return Ok(());
        };
        match &self.backing {
            // memmap2 widens the range to whole pages.
            Backing::File(map) => map.flush_range(from, len),
            Backing::Memory(_) => Ok(()),
        }
    }

    /// Faults the pages of this byte range in, writable, so that stores to them do not.
    /// Returns false where the kernel does not know how (before 5.14).
    pub fn populate(&self, from: u64, to: u64) -> bool {
        let Some((from, len)) = clip(self.len, from, to) else {
            return true;
        };
        match &self.backing {
            Backing::File(map) => map.advise_range(Advice::PopulateWrite, from, len).is_ok(),
            Backing::Memory(_) => true,
        }
    }
}

/// The one holder of the right to store records into a [`Window`].
pub struct Appender {
    window: Arc<Window>,
}

impl Appender {
    /// The window.
    #[must_use]
    pub fn window(&self) -> &Arc<Window> {
        &self.window
    }

    /// Stores one record and publishes it: header bytes 8..32 from `tail`, payload, zero padding,
    /// checksum, and last the commit word with release order. `commit` must announce header and
    /// payload. Returns the bytes taken, or `None` (nothing stored) if they do not fit.
    #[inline]
    pub fn publish(
        &mut self,
        offset: u64,
        commit: u32,
        tail: [u64; 3],
        payload: &[u8],
        crc_initial: u32,
    ) -> Option<usize> {
        let total = align_record(RECORD_HEADER_BYTES + payload.len());
        let at = usize::try_from(offset).ok()?;
        if !at.is_multiple_of(RECORD_ALIGN) || at > self.window.len {
            return None;
        }
        if total > self.window.len - at {
            return None;
        }
        // SAFETY:
        // - in bounds: `at + total <= len`, checked above;
        // - aligned: the base starts on a page and `at` is a multiple of 8;
        // - alive: the window is owned through the Arc;
        // - exclusive: `&mut self` of the only Appender of this window in this process, and the
        //   log's LOCK keeps other processes from writing; readers do not touch bytes after a
        //   commit word of 0;
        // - the slice for the checksum covers only bytes stored just above, and ends before the
        //   commit word (bytes 0..4) begins the atomic story of this record.
        // Not about soundness: the range was allocated, not only sized, so a full disk cannot
        // raise SIGBUS here.
        unsafe {
            let base = self.window.base.as_ptr().add(at);
            // Zero padding first: the payload then overwrites its part of the last word.
            base.add(total - 8).cast::<u64>().write(0);
            base.add(RECORD_SEQ_OFFSET).cast::<u64>().write(tail[0].to_le());
            base.add(RECORD_SEQ_OFFSET + 8).cast::<u64>().write(tail[1].to_le());
            base.add(RECORD_SEQ_OFFSET + 16).cast::<u64>().write(tail[2].to_le());
            std::ptr::copy_nonoverlapping(payload.as_ptr(), base.add(RECORD_HEADER_BYTES), payload.len());
            // The commit value is in the checksum's own place while the checksum is taken:
            // one pass over [commit value, bytes 8..] without a second buffer.
            let crc_word = base.add(RECORD_CRC_OFFSET).cast::<u32>();
            crc_word.write(commit.to_le());
            let covered = std::slice::from_raw_parts(base.add(RECORD_CRC_OFFSET), total - RECORD_CRC_OFFSET);
            let crc = checksum::covered(crc_initial, covered);
            crc_word.write(crc.to_le());
            AtomicU32::from_ptr(base.cast()).store(commit.to_le(), PUBLISH);
        }
        Some(total)
    }
}

/// A read-only map of a segment that another process may be writing.
pub struct ReadMap {
    map: MmapRaw,
    base: NonNull<u8>,
}

// SAFETY:
// - the mapping is owned and read-only; unmapped only by `drop`;
// - control words are loaded as atomics, record bytes only once published (immutable).
unsafe impl Send for ReadMap {}
// SAFETY: as above.
unsafe impl Sync for ReadMap {}

impl ReadMap {
    /// Maps the first `len` bytes of `file`. `len` must not exceed the file's length: loads
    /// beyond it would raise SIGBUS.
    ///
    /// # Errors
    /// When the file is shorter, empty, or cannot be mapped.
    pub fn new(file: &File, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        if len == 0 || file.metadata()?.len() < len as u64 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file is shorter than the range to be mapped",
            ));
        }
        let map = MmapOptions::new().len(len).map_raw_read_only(file)?;
        let base = NonNull::new(map.as_mut_ptr()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(ReadMap { map, base })
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Never: a map has at least one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The commit word at `offset`, loaded with acquire order; `None` if no word fits there.
    #[must_use]
    pub fn commit_word(&self, offset: u64) -> Option<u32> {
        commit_word(self.base, self.map.len(), offset)
    }

    /// Bytes after a commit word that was loaded with [`ReadMap::commit_word`] and is not 0:
    /// immutable by the format. `None` if the range is not inside the map.
    #[must_use]
    pub fn published(&self, offset: u64, len: usize) -> Option<&[u8]> {
        published(self.base, self.map.len(), offset, len)
    }

    /// Copies bytes out of memory that someone may be storing to; see [`Window::copy_out`].
    #[must_use]
    pub fn copy_out(&self, offset: u64, out: &mut [u8]) -> bool {
        copy_out(self.base, self.map.len(), offset, out)
    }

    /// Loads a word of a shared status page; `None` if it is not inside or not aligned.
    #[must_use]
    pub fn load_word(&self, offset: usize, order: Ordering) -> Option<u64> {
        if !offset.is_multiple_of(8) || offset.checked_add(8)? > self.map.len() {
            return None;
        }
        // SAFETY:
        // - in bounds and aligned: checked above;
        // - read-only: the pointer comes from a read-only map and is only loaded from, which needs
        //   no write permission at eight bytes;
        // - no race: every process touches these words only as atomics.
        let word = unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) };
        Some(u64::from_le(word.load(order)))
    }
}

fn range(total: usize, offset: u64, len: usize) -> Option<usize> {
    let at = usize::try_from(offset).ok()?;
    (at <= total && len <= total - at).then_some(at)
}

fn clip(total: usize, from: u64, to: u64) -> Option<(usize, usize)> {
    let from = usize::try_from(from).ok()?;
    let to = usize::try_from(to).unwrap_or(usize::MAX).min(total);
    (from < to).then(|| (from, to - from))
}

#[inline]
fn commit_word(base: NonNull<u8>, total: usize, offset: u64) -> Option<u32> {
    let at = range(total, offset, 4)?;
    if !at.is_multiple_of(4) {
        return None;
    }
    // SAFETY:
    // - in bounds and aligned: checked above, and the base starts on a page;
    // - alive: callers hold the mapping that `base` belongs to;
    // - no race: commit words are stored and loaded only as `AtomicU32`; a load needs no write
    //   permission.
    let word = unsafe { AtomicU32::from_ptr(base.as_ptr().add(at).cast()) };
    Some(u32::from_le(word.load(OBSERVE)))
}

fn published<'a>(base: NonNull<u8>, total: usize, offset: u64, len: usize) -> Option<&'a [u8]> {
    let at = range(total, offset, len)?;
    // SAFETY:
    // - in bounds: checked above;
    // - alive: both callers give the result the lifetime of the borrow of the map;
    // - immutable: the caller saw a commit word after these bytes; the writer stores to no byte
    //   below its tail, and nobody truncates a published file.
    Some(unsafe { std::slice::from_raw_parts(base.as_ptr().add(at), len) })
}

fn copy_out(base: NonNull<u8>, total: usize, offset: u64, out: &mut [u8]) -> bool {
    let Some(at) = range(total, offset, out.len()) else {
        return false;
    };
    // SAFETY:
    // - in bounds: checked above; the two ranges cannot overlap, one being ours alone;
    // - a concurrent store may tear the copy, which callers must expect; no reference to the
    //   shared bytes is made.
    unsafe {
        std::ptr::copy_nonoverlapping(base.as_ptr().add(at), out.as_mut_ptr(), out.len());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{self, Kind, RecordHeader, Seq};

    #[test]
    fn a_published_record_is_valid_and_the_next_commit_word_is_zero() {
        let window = Arc::new(Window::memory(64 * 1024));
        let mut appender = window.appender().unwrap();
        let mut at = 4096;
        for len in [0_usize, 1, 7, 8, 300] {
            let payload = vec![0xEE; len];
            let header = RecordHeader::new(Seq::new(1, 2), 3, 4, Kind::Data, 1, len).unwrap();
            let total = appender.publish(at, header.commit, header.tail_words(), &payload, 5).unwrap();
            let bytes = window.published(at, total).unwrap();
            let read = record::check(bytes, 5).unwrap();
            assert_eq!((read.seq, read.payload_bytes()), (Seq::new(1, 2), len));
            let mut encoded = Vec::new();
            assert!(record::encode_into(&mut encoded, 5, header, &payload));
            assert_eq!(bytes, encoded);
            at += total as u64;
            assert_eq!(window.commit_word(at), Some(0));
        }
    }

    #[test]
    fn nothing_is_stored_when_a_record_does_not_fit() {
        let window = Arc::new(Window::memory(4096));
        let mut appender = window.appender().unwrap();
        assert_eq!(appender.publish(4096 - 32, 1, [9; 3], b"x", 0), None);
        assert_eq!(appender.publish(4, 1, [9; 3], b"", 0), None);
        assert_eq!(appender.publish(1 << 40, 1, [9; 3], b"", 0), None);
        assert!(window.published(0, 4096).unwrap().iter().all(|b| *b == 0));
        assert_eq!(window.commit_word(4094), None);
        assert_eq!(window.published(4090, 7), None);
    }

    #[test]
    fn there_is_one_appender_per_window() {
        let window = Arc::new(Window::memory(4096));
        let first = window.appender();
        assert!(first.is_some());
        assert!(window.appender().is_none());
        drop(first);
        assert!(window.appender().is_none());
    }

    #[test]
    fn a_reader_sees_what_a_window_of_the_same_file_stores() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let window = Arc::new(Window::map(&file, 8192).unwrap());
        let map = ReadMap::new(&file, 8192).unwrap();
        assert_eq!(map.commit_word(0), Some(0));
        let header = RecordHeader::new(Seq(1), 2, 3, Kind::Data, 0, 3).unwrap();
        let mut appender = window.appender().unwrap();
        appender.publish(0, header.commit, header.tail_words(), b"abc", 1);
        assert_eq!(map.commit_word(0), Some(header.commit));
        assert_eq!(&map.published(0, 40).unwrap()[32..35], b"abc");
        assert!(window.populate(0, 8192));
        window.sync_range(0, 4096).unwrap();
        assert!(Window::map(&file, 8193).is_err());
        assert!(ReadMap::new(&file, 8193).is_err());
    }

    #[test]
    fn words_of_a_page_are_shared() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let window = Window::map(&file, 4096).unwrap();
        let map = ReadMap::new(&file, 4096).unwrap();
        window.word(16).unwrap().store(77, Ordering::Relaxed);
        assert_eq!(map.load_word(16, Ordering::Relaxed), Some(77));
        assert!(window.word(4).is_none() && window.word(4096).is_none());
        assert!(map.load_word(4090, Ordering::Relaxed).is_none());
    }
}
