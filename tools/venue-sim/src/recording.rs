//! A recording that is too long to load: whoever has it hands over one entry after the other, in the order of receiving.
//!
//! Entries that are `ahead` are not played: REST knows them at once, so that a client finds a listing and a book before the first frame.

use std::fmt;
use std::sync::Arc;

/// What an entry is. Its bytes are in the buffer given to [`Recording::next`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// One WebSocket message.
    Frame {
        /// The stream, where the bytes do not say it themselves (binary frames); else `None`.
        stream: Option<String>,
    },
    /// The venue's listing.
    Listing {
        /// Path of the request, without the query.
        path: String,
    },
    /// An order book.
    Book {
        /// Whose.
        symbol: String,
    },
}

/// One entry of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Receive time of the recorder, ns since 1970; never decreases among entries that are played.
    pub recv_ns: i64,
    /// What it is.
    pub item: Item,
    /// Known to REST at once, not played.
    pub ahead: bool,
}

/// A recording being read.
pub trait Recording: Send {
    /// The next entry, its bytes in `bytes` (which is emptied before); `None` at the end.
    fn next(&mut self, bytes: &mut Vec<u8>) -> Option<Entry>;
}

/// Opens a recording for a loop, counted from 0.
type Open = dyn Fn(u64) -> anyhow::Result<Box<dyn Recording>> + Send + Sync;

/// A recording that can be read from its start, once per loop.
#[derive(Clone)]
pub struct RecordingSource(Arc<Open>);

impl RecordingSource {
    /// A recording that `open` opens, given the number of the loop.
    pub fn new(open: impl Fn(u64) -> anyhow::Result<Box<dyn Recording>> + Send + Sync + 'static) -> RecordingSource {
        RecordingSource(Arc::new(open))
    }

    /// Opens it for a loop.
    ///
    /// # Errors
    /// Whatever keeps it from being opened.
    pub fn open(&self, round: u64) -> anyhow::Result<Box<dyn Recording>> {
        (self.0)(round)
    }
}

impl fmt::Debug for RecordingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordingSource")
    }
}
