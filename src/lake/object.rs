//! An open object of the lake: the bytes that were under its key when it was opened, whatever is there by now.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};
use wal_format::regular::Refused;

/// What one read of something far away fetches.
const WINDOW_BYTES: u64 = 1 << 20;

/// An object that is far away: its bytes are fetched as they are needed.
pub trait Ranges: fmt::Debug + Send + Sync {
    /// Its length.
    fn size(&self) -> u64;

    /// Bytes `range` of it, which end at its end or before.
    ///
    /// # Errors
    /// When they cannot be had, or another object took its place: never a mix of both.
    fn range(&self, range: Range<u64>) -> io::Result<Bytes>;
}

/// An open object.
#[derive(Clone, Debug)]
pub enum Object {
    /// A file: it may be larger than memory.
    File(Arc<File>),
    /// All of it.
    Memory(Bytes),
    /// Far away.
    Remote(Arc<dyn Ranges>),
}

impl Object {
    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::File(file) => Length::len(file.as_ref()),
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Remote(remote) => remote.size(),
        }
    }

    /// Bytes `range` of it; what lies beyond its end is left out.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn range(&self, range: Range<u64>) -> io::Result<Bytes> {
        let end = range.end.min(self.size());
        let start = range.start.min(end);
        let len = usize::try_from(end - start).map_err(io::Error::other)?;
        match self {
            Self::File(file) => {
                let mut bytes = vec![0; len];
                file.read_exact_at(&mut bytes, start)?;
                Ok(bytes.into())
            }
            Self::Memory(bytes) => {
                let start = usize::try_from(start).map_err(io::Error::other)?;
                Ok(bytes.slice(start..start.saturating_add(len)))
            }
            Self::Remote(_) if len == 0 => Ok(Bytes::new()),
            Self::Remote(remote) => remote.range(start..end),
        }
    }

    /// Its bytes from `start` on, in order.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn reader(&self, start: u64) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::File(file) => Box::new(file.get_read(start)?),
            Self::Memory(_) | Self::Remote(_) => {
                Box::new(Windows { object: self.clone(), at: start, window: Bytes::new() })
            }
        })
    }

    /// All of it, of which there are at most `most` bytes.
    ///
    /// # Errors
    /// When it is longer or cannot be read.
    pub fn all(&self, most: u64) -> io::Result<Vec<u8>> {
        let bytes = self.size();
        if bytes > most {
            return Err(Refused::TooLong { bytes, most }.into());
        }
        let mut all = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        // A file may grow while it is read.
        let read = self.reader(0)?.take(most.saturating_add(1)).read_to_end(&mut all)? as u64;
        match read > most {
            true => Err(Refused::TooLong { bytes: read, most }.into()),
            false => Ok(all),
        }
    }
}

/// Reads an object window by window.
struct Windows {
    object: Object,
    at: u64,
    window: Bytes,
}

impl Read for Windows {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.window.is_empty() {
            self.window = self.object.range(self.at..self.at.saturating_add(WINDOW_BYTES))?;
            self.at = self.at.saturating_add(self.window.len() as u64);
        }
        let n = self.window.len().min(into.len());
        let read = self.window.split_to(n);
        into.get_mut(..n).unwrap_or_default().copy_from_slice(&read);
        Ok(n)
    }
}

impl Length for Object {
    fn len(&self) -> u64 {
        self.size()
    }
}

impl ChunkReader for Object {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(self.reader(start)?)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.range(start..start.saturating_add(length as u64))?;
        match bytes.len() == length {
            true => Ok(bytes),
            false => Err(ParquetError::EOF(format!("expected {length} bytes at {start}, there are {}", bytes.len()))),
        }
    }
}
