//! Sealed segments, compressed for keeping: seekable `.wal.zst` files that give back the segment byte for byte.
//!
//! ```text
//!  <id>.wal --pack--> .<id>.wal.zst.tmp --sync--> read back, compared --rename, sync dir--> <id>.wal.zst
//!                                                                        then, by the caller: unlink <id>.wal
//! ```
//!
//! `FORMAT.md` section 12 is the normative description. An archive is a plain zstd file (`zstd -d` restores the
//! segment) made of independent frames of at most 1 MiB of input, and ends with the seek table of zstd's seekable
//! format; header block and footer have frames of their own, so that a directory of archives is listed by
//! inflating a few KiB of each.
//!
//! - [`layout`] which bytes of a segment are which frame: arithmetic only
//! - `table` the seek table as bytes
//! - `pack` writing, proving, publishing
//! - `unpack` reading any byte of the segment by inflating the one frame that holds it
//!
//! What this module never does: change or delete a segment.

pub mod layout;
mod pack;
mod table;
mod unpack;

use std::path::{Path, PathBuf};

use crate::record::SegmentId;
use crate::segment;

pub use pack::{PackError, PackStep, Packed, clean, estimate, pack};
pub(crate) use unpack::Unpacker;

/// Suffix of an archived segment.
pub const ARCHIVE_SUFFIX: &str = ".wal.zst";

/// First four bytes of a zstd frame, RFC 8878 section 3.1.1.
pub(crate) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The file name of an archived segment: 20 digits and `.wal.zst`.
#[must_use]
pub fn file_name(id: SegmentId) -> String {
    format!("{}.zst", segment::file_name(id))
}

/// The path of an archived segment in a directory.
#[must_use]
pub fn path(dir: &Path, id: SegmentId) -> PathBuf {
    dir.join(file_name(id))
}

/// The id in the name of an archived segment; `None` for any other name.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<SegmentId> {
    segment::parse_file_name(name.strip_suffix(".zst")?)
}

/// What is wrong with an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveFault {
    /// The seek table at the end is gone or makes no sense; the frames before it may be whole.
    #[error("its seek table is missing or damaged ({what}); {whole} whole frames were found in {bytes} bytes")]
    Table {
        /// Why it is not believed.
        what: String,
        /// Frames that follow each other from the start of the file.
        whole: usize,
        /// Length of the file.
        bytes: u64,
    },
    /// A frame does not give back its bytes.
    #[error("frame {frame} of {frames} (bytes {from} to {to} of the segment, at {at} in the file) is damaged: {what}")]
    Frame {
        /// Its number, from 0.
        frame: usize,
        /// How many there are.
        frames: usize,
        /// First byte of the segment in it.
        from: u64,
        /// First byte of the segment after it.
        to: u64,
        /// Where it starts in the file.
        at: u64,
        /// What the decompressor or the checksum said.
        what: String,
    },
    /// The file ends before this frame.
    #[error("frame {frame} of {frames} is missing: the file is truncated at byte {bytes}")]
    Missing {
        /// Its number, from 0.
        frame: usize,
        /// How many there should be.
        frames: usize,
        /// Length of the file.
        bytes: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_archives_and_of_segments_are_distinguished_and_sort_alike() {
        let name = file_name(SegmentId(42));
        assert_eq!(name, "00000000000000000042.wal.zst");
        assert_eq!(parse_file_name(&name), Some(SegmentId(42)));
        assert_eq!(parse_file_name("00000000000000000042.wal"), None);
        assert_eq!(segment::parse_file_name(&name), None);
        assert!(file_name(SegmentId(9)) < file_name(SegmentId(10)));
    }
}
