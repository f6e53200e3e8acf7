//! The bytes of one segment, however they are reached: a read buffer over the file for anything
//! that is finished or damaged, the mapping for the live tail.
//!
//! Sealed segments are read through `pread`, so an I/O error is a value and not a signal, and the
//! page cache is the only other copy. The mapping is used for exactly one thing: to see a commit
//! word the moment it is stored and to lend out the published bytes after it.
//!
//! Owns the file handle, the mapping and the buffer of one segment; knows nothing of the log
//! around it. Never writes.

mod admit;
mod check;
mod identity;

use std::path::{Path, PathBuf};

pub(crate) use self::check::{Check, RecordInfo};
use self::identity::Identity;
pub(crate) use self::identity::{Admission, Proof};
use crate::archive::ArchiveFault;
use crate::body::Body;
use crate::footer::FooterSummary;
use crate::header::SegmentHeader;
use crate::read_error::ReadError;
use crate::record::SegmentId;
use crate::segment;
use crate::sys::ReadMap;

pub(crate) struct Source {
    id: SegmentId,
    path: PathBuf,
    body: Body,
    file_bytes: u64,
    chunk_bytes: usize,
    buffer: Vec<u8>,
    buffer_at: u64,
    buffer_len: usize,
    map: Option<ReadMap>,
    identity: Option<Identity>,
    header: Option<SegmentHeader>,
    footer: Option<FooterSummary>,
    false_bytes: u64,
}

impl Source {
    /// Opens the file of segment `id` in `dir`; `None` if there is none.
    pub fn open(dir: &Path, id: SegmentId, chunk_bytes: usize) -> Result<Option<Source>, ReadError> {
        Self::open_path(&segment::path(dir, id), id, chunk_bytes)
    }

    /// Opens a segment file wherever it lies.
    pub fn open_path(path: &Path, id: SegmentId, chunk_bytes: usize) -> Result<Option<Source>, ReadError> {
        let Some(body) = Body::open(path)? else {
            return Ok(None);
        };
        let mut source = Source {
            id,
            path: path.to_path_buf(),
            body,
            file_bytes: 0,
            chunk_bytes: chunk_bytes.max(4096),
            buffer: Vec::new(),
            buffer_at: 0,
            buffer_len: 0,
            map: None,
            identity: None,
            header: None,
            footer: None,
            false_bytes: 0,
        };
        source.measure()?;
        Ok(Some(source))
    }

    fn measure(&mut self) -> Result<(), ReadError> {
        self.file_bytes = self.body.len()?;
        Ok(())
    }

    /// Whether it is an archived segment: finished, and never to be mapped or waited for.
    pub fn is_archived(&self) -> bool {
        self.body.archive().is_some()
    }

    /// Length of the file on disk: of the archive, where it is one.
    pub fn stored_bytes(&self) -> u64 {
        self.body.stored_bytes()
    }

    /// Every fault of an archive, in order; inflates all of it.
    pub fn archive_faults(&self) -> Result<Vec<ArchiveFault>, ReadError> {
        self.body.faults()
    }

    /// From now on damaged frames of an archive read as zeros.
    pub fn read_damage_as_zeros(&mut self) {
        if let Some(archive) = self.body.archive() {
            archive.read_damage_as_zeros();
        }
        self.forget();
    }

    /// Frames inflated and archive bytes read so far.
    pub fn cost(&self) -> (u64, u64) {
        self.body.archive().map_or((0, 0), |archive| (archive.cost().frames, archive.cost().bytes))
    }

    pub fn id(&self) -> SegmentId {
        self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Where records must end: the data area, or the file if that was truncated.
    pub fn data_end(&self) -> u64 {
        self.identity.as_ref().map_or(0, |identity| identity.data_limit.min(self.file_bytes))
    }

    /// Whether the file is shorter than its header says.
    pub fn is_cut(&self) -> bool {
        self.header.as_ref().is_some_and(|header| self.file_bytes < header.segment_bytes)
    }

    pub fn epoch(&self) -> Option<u32> {
        self.identity.as_ref().and_then(|identity| identity.epoch)
    }

    /// Drops what was buffered, and looks at the file's length again.
    pub fn forget(&mut self) {
        self.buffer_len = 0;
        // A failed stat leaves the old length: the next read reports the real trouble.
        let _ = self.measure();
    }

    /// Goes on by `pread` only.
    pub fn unmap(&mut self) {
        self.map = None;
    }

    /// Maps the file read-only, to see new records without system calls. An archive grows no more and is not mapped.
    pub fn map_live(&mut self) -> Result<(), ReadError> {
        if self.is_archived() {
            return Ok(());
        }
        let map = ReadMap::new(self.body.file(), self.data_end()).map_err(|source| ReadError::Io {
            path: self.path.clone(),
            offset: 0,
            source,
        })?;
        self.map = Some(map);
        Ok(())
    }

    /// Makes `offset .. offset + len` available in the buffer. False if the file ends before.
    fn load(&mut self, offset: u64, len: usize) -> Result<bool, ReadError> {
        let end = offset.saturating_add(len as u64);
        if offset >= self.buffer_at && end <= self.buffer_at + self.buffer_len as u64 {
            return Ok(true);
        }
        if end > self.file_bytes {
            return Ok(false);
        }
        let want = usize::try_from(self.file_bytes - offset).unwrap_or(usize::MAX).min(len.max(self.chunk_bytes));
        if self.buffer.len() < want {
            self.buffer.resize(want, 0);
        }
        self.buffer_len = 0;
        self.buffer_at = offset;
        while self.buffer_len < want {
            let at = offset + self.buffer_len as u64;
            let Some(space) = self.buffer.get_mut(self.buffer_len..want) else {
                break;
            };
            match self.body.read_at(space, at) {
                Ok(0) => break,
                Ok(n) => self.buffer_len += n,
                // What was wanted is there; the trouble lies in the read-ahead.
                Err(_) if self.buffer_len >= len => break,
                Err(err) => return Err(err),
            }
            // One frame at a time: what lies after it may never be needed.
            if self.buffer_len >= len && self.body.archive().is_some() {
                break;
            }
        }
        Ok(self.buffer_len >= len)
    }

    /// The buffered bytes from `offset` on, at most `len`.
    fn buffered(&self, offset: u64, len: usize) -> &[u8] {
        let start = offset.checked_sub(self.buffer_at).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        self.buffer
            .get(..self.buffer_len)
            .and_then(|bytes| bytes.get(start..))
            .map_or(&[], |bytes| bytes.get(..len).unwrap_or(bytes))
    }

    /// The commit word at `offset`, as it is now: never a buffered zero. 0 past the end.
    pub fn commit_word(&mut self, offset: u64) -> Result<u32, ReadError> {
        if let Some(map) = &self.map {
            return Ok(map.commit_word(offset).unwrap_or(0));
        }
        if let Some(word) = self.buffered(offset, 4).first_chunk::<4>() {
            let word = u32::from_le_bytes(*word);
            if word != 0 {
                return Ok(word);
            }
        }
        let mut word = [0_u8; 4];
        if !self.body.read_exact_at(&mut word, offset)? {
            return Ok(0);
        }
        let word = u32::from_le_bytes(word);
        if word != 0 {
            // The buffer is older than this word.
            self.buffer_len = 0;
        }
        Ok(word)
    }

    /// The ranges of `from..to` that may hold anything but zeros, ascending.
    pub fn data_ranges(&self, from: u64, to: u64) -> Result<Vec<(u64, u64)>, ReadError> {
        self.body.data_ranges(from, to)
    }

    /// Fills `out` from the file. False if the file ends before.
    pub fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<bool, ReadError> {
        self.body.read_exact_at(out, offset)
    }
}
