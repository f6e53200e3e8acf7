//! The bytes of a chunk: `FORMAT.md` beside this crate says what each of them means. Pure: bytes in, steps out, and back.
//!
//! ```text
//!    0 | "TDCHUNK\n"                                 |
//!    8 | version u16 | n u8 | 0 | crc u32            |
//!   16 | log uuid, 16 bytes                          |
//!   32 | incarnation u64 | first seq | last seq      |
//!   56 | start: segment u64 | offset u64 | seq u64   |
//!   80 | first ts u64 | last ts u64                  |
//!   96 | records u32 | lost u32                      |
//!  104 | body bytes u32 | body crc u32               |
//!  112 | packed bytes u32 | 0 u32                    |
//!  120 | venue, n bytes | zstd frame: the body       |
//! ```
//!
//! How a chunk tells what is lost. It does not say which bytes a log holds but what its *reader said*: a lost range is an
//! entry among the records, with the same ends, reason and place, and so a HOLE, a missing segment, an archive that was
//! damaged, the end of a killed run are the same to whoever reads the chunks. Every position of the reader is in the
//! chunk too (an entry where it is not the obvious one), because a manifest names positions: a compactor that reads chunks
//! publishes the bytes that one beside the log would. A chunk is of one run, so its incarnation stands once in the header,
//! and it names the seq at which the chunk before it ended: a chunk that is missing is noticed even where a run ends, and
//! one that another copy of the log put there does not fit.
//!
//! Nothing of a chunk is shown before all of it was checked, the order of its numbers too ([`Chunk::open`]).

mod body;
mod decode;
mod encode;
mod name;
#[cfg(test)]
mod tests;

use std::fmt;

use wal_format::{Position, Run, Seq};

pub use body::ChunkStep;
pub use decode::Chunk;
pub use encode::{ChunkWriter, PackedChunk, Packer};
pub use name::{ChunkName, folder, run_key};

/// First bytes of a chunk.
const MAGIC: [u8; 8] = *b"TDCHUNK\n";
/// Version that is written, and the newest that is read.
pub const VERSION: u16 = 1;
/// Bytes of the header in front of the venue's name.
const HEAD_BYTES: usize = 120;
/// Longest name of a venue.
const VENUE_BYTES_MAX: usize = 64;
/// Largest body. A chunk has the records of `chunk_mib` (64 at most), and one more: 64 MiB at most.
pub const BODY_BYTES_MAX: usize = 1 << 28;

/// What a chunk says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// Name of the log's directory.
    pub venue: String,
    /// The log.
    pub log_uuid: [u8; 16],
    /// The run that it is of.
    pub run: Run,
    /// Its first seq, lost ones included.
    pub first: Seq,
    /// Its last seq, lost ones included.
    pub last: Seq,
    /// The position of the log's reader where it begins; the chunk before it ended with this seq.
    pub start: Position,
    /// Receive times of its first and last record, ns since 1970-01-01 UTC; `None` if no record is in it.
    pub ts_ns: Option<(u64, u64)>,
    /// Records in it.
    pub records: u32,
    /// Lost ranges in it.
    pub lost: u32,
    /// Bytes of its body.
    pub body_bytes: u32,
    /// CRC-32/IEEE of its body: with name and length what identifies the content, however well it was compressed.
    pub body_crc: u32,
}

impl ChunkHeader {
    /// Under which name it lies.
    #[must_use]
    pub fn name(&self) -> ChunkName {
        ChunkName { first: self.first, last: self.last }
    }
}

/// Bytes are not a chunk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// It begins with something else.
    #[error("it is not a chunk of a log: it does not begin with \"TDCHUNK\"")]
    Magic,
    /// A newer program wrote it.
    #[error("it is of version {found}, this program knows up to {VERSION}: read it with a newer one")]
    Newer {
        /// The version that it names.
        found: u16,
    },
    /// It is shorter or longer than it says.
    #[error("it should be {expected} bytes long and is {got}: it was cut, or something was added")]
    Length {
        /// What its header says.
        expected: u64,
        /// What is there.
        got: u64,
    },
    /// A checksum differs.
    #[error("checksum of the {of}: expected {expected:08x}, found {got:08x}")]
    Checksum {
        /// What is covered.
        of: &'static str,
        /// As it is stored.
        expected: u32,
        /// As it is.
        got: u32,
    },
    /// A word of the header cannot be.
    #[error("header, byte {at}: {what}")]
    Header {
        /// Which byte.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The compressed body does not give what it should.
    #[error("the body cannot be inflated: {what}")]
    Inflate {
        /// As the library says it.
        what: String,
    },
    /// An entry of the body cannot be.
    #[error("body, byte {at}: {what}")]
    Body {
        /// Where the entry begins.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// What cannot be put into a chunk.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It is of another run, or not the next step.
    #[error("{got} cannot follow in a chunk of run {epoch} that expects {expected}")]
    Order {
        /// What was given.
        got: Seq,
        /// Epoch of the chunk.
        epoch: u32,
        /// What would follow.
        expected: Seq,
    },
    /// It would be longer than any chunk.
    #[error("a chunk of more than {BODY_BYTES_MAX} bytes cannot be written: lower [ship] chunk_mib")]
    TooLong,
    /// The venue's name cannot be in a header.
    #[error("{0:?} cannot be the name of a log: 1 to {VENUE_BYTES_MAX} of a-z, 0-9, '-' and '.'")]
    Venue(String),
    /// The compressor failed.
    #[error("cannot compress a chunk")]
    Compress(#[source] std::io::Error),
}

/// Whether it can be the name of a log.
fn is_venue(name: &[u8]) -> bool {
    let good = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (1..=VENUE_BYTES_MAX).contains(&name.len()) && name.iter().all(good) && !name.starts_with(b".")
}

/// The position after a record of so many bytes of payload.
fn after_record(at: Position, payload_bytes: usize) -> Position {
    let bytes = wal_format::layout::record_bytes(payload_bytes) as u64;
    Position { segment: at.segment, offset: at.offset.saturating_add(bytes), seq: at.seq.next() }
}

impl fmt::Display for ChunkHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {} records", self.venue, self.name(), self.records)?;
        if self.lost > 0 { write!(f, ", {} lost ranges", self.lost) } else { Ok(()) }
    }
}
