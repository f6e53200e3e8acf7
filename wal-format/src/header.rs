//! The header block of a segment: who wrote it, which log, which salt.
//!
//! The first 4 KiB of a segment: prelude (see `prelude`), an rkyv body, zeros to the end of the
//! block. Written once, before the segment gets its name; never changed after its first record.
//!
//! One struct per format version: a field is never added to `HeaderV1`, a new version gets a
//! struct of its own.

use crate::checksum;
use crate::incarnation::{Incarnation, Run};
use crate::layout::{DATA_START, HEADER_VERSION, SEGMENT_MAGIC, footer_offset, is_segment_length};
use crate::prelude::{self, PreludeError};
use crate::record::{ClockPair, SegmentId};

/// The longest writer version that is stored, in bytes; longer ones are truncated.
pub const WRITER_VERSION_BYTES_MAX: usize = 128;

/// `crc_kind` of CRC-32/IEEE, the only one so far.
pub const CRC_KIND_IEEE: u8 = 1;

/// Body of version 1, as stored.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(archived = ArchivedHeaderV1)]
struct HeaderV1 {
    log_uuid: [u8; 16],
    boot_id: [u8; 16],
    segment_id: u64,
    salt: u64,
    segment_bytes: u64,
    data_start: u64,
    created_wall_ns: u64,
    created_mono_ns: u64,
    epoch: u32,
    crc_kind: u8,
    writer_version: String,
}

/// Body of version 2, as stored: the run has an incarnation.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(archived = ArchivedHeaderV2)]
struct HeaderV2 {
    log_uuid: [u8; 16],
    boot_id: [u8; 16],
    segment_id: u64,
    incarnation: u64,
    salt: u64,
    segment_bytes: u64,
    data_start: u64,
    created_wall_ns: u64,
    created_mono_ns: u64,
    epoch: u32,
    crc_kind: u8,
    writer_version: String,
}

impl From<HeaderV1> for HeaderV2 {
    fn from(old: HeaderV1) -> Self {
        HeaderV2 {
            log_uuid: old.log_uuid,
            boot_id: old.boot_id,
            segment_id: old.segment_id,
            incarnation: Incarnation::VERSION_1.0,
            salt: old.salt,
            segment_bytes: old.segment_bytes,
            data_start: old.data_start,
            created_wall_ns: old.created_wall_ns,
            created_mono_ns: old.created_mono_ns,
            epoch: old.epoch,
            crc_kind: old.crc_kind,
            writer_version: old.writer_version,
        }
    }
}

impl From<HeaderV2> for HeaderV1 {
    fn from(new: HeaderV2) -> Self {
        HeaderV1 {
            log_uuid: new.log_uuid,
            boot_id: new.boot_id,
            segment_id: new.segment_id,
            salt: new.salt,
            segment_bytes: new.segment_bytes,
            data_start: new.data_start,
            created_wall_ns: new.created_wall_ns,
            created_mono_ns: new.created_mono_ns,
            epoch: new.epoch,
            crc_kind: new.crc_kind,
            writer_version: new.writer_version,
        }
    }
}

/// What a header block says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Identity of the log, the same in all of its segments.
    pub log_uuid: [u8; 16],
    /// This segment.
    pub segment: SegmentId,
    /// The run of the writer that owns it.
    pub epoch: u32,
    /// What distinguishes that run from one with the same number in another copy of the log.
    pub incarnation: Incarnation,
    /// Random per segment: start of its record checksums.
    pub salt: u64,
    /// Length of the file in bytes.
    pub segment_bytes: u64,
    /// When the header was written.
    pub created: ClockPair,
    /// The machine run in which it was written; zero if unknown.
    pub boot_id: [u8; 16],
    /// Program and version that wrote it.
    pub writer_version: String,
}

/// Why a header block cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The prelude or the body.
    #[error(transparent)]
    Prelude(#[from] PreludeError),
    /// Bytes after the body are not zero.
    #[error("byte {offset} of the header block must be zero")]
    NotZero {
        /// The first such byte.
        offset: usize,
    },
    /// A field that this version cannot mean.
    #[error("field {field} has the invalid value {got}")]
    Field {
        /// Its name.
        field: &'static str,
        /// Its value.
        got: u64,
    },
}

impl SegmentHeader {
    /// Start value of the record checksums.
    #[must_use]
    pub fn crc_initial(&self) -> u32 {
        checksum::initial(self.salt)
    }

    /// End of the area in which records may be, and place of the footer.
    #[must_use]
    pub fn data_limit(&self) -> u64 {
        footer_offset(self.segment_bytes)
    }

    /// The run of the writer that owns it.
    #[must_use]
    pub fn run(&self) -> Run {
        Run { epoch: self.epoch, incarnation: self.incarnation }
    }

    /// The whole 4 KiB header block: of version 1 if the run was one of that version.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut version = self.writer_version.clone();
        let mut end = version.len().min(WRITER_VERSION_BYTES_MAX);
        while !version.is_char_boundary(end) {
            end -= 1;
        }
        version.truncate(end);
        let body = HeaderV2 {
            log_uuid: self.log_uuid,
            boot_id: self.boot_id,
            segment_id: self.segment.0,
            incarnation: self.incarnation.0,
            salt: self.salt,
            segment_bytes: self.segment_bytes,
            data_start: DATA_START,
            created_wall_ns: self.created.wall_ns,
            created_mono_ns: self.created.mono_ns,
            epoch: self.epoch,
            crc_kind: CRC_KIND_IEEE,
            writer_version: version,
        };
        let (version, body) = if self.incarnation.is_version_1() {
            (1, rkyv::to_bytes::<rkyv::rancor::Error>(&HeaderV1::from(body)))
        } else {
            (HEADER_VERSION, rkyv::to_bytes::<rkyv::rancor::Error>(&body))
        };
        let body = body.expect("a struct of numbers and one short string always serializes");
        let mut block = prelude::encode(SEGMENT_MAGIC, version, &body, DATA_START as usize)
            .expect("fixed fields and 128 bytes of text fit a block");
        block.resize(DATA_START as usize, 0);
        block
    }

    /// Reads a header block (its first 4 KiB; more is ignored).
    ///
    /// # Errors
    /// [`HeaderError`] says what is wrong; a newer version is named as such.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let block = bytes.get(..DATA_START as usize).ok_or(PreludeError::Damaged)?;
        let (version, body) = prelude::decode(SEGMENT_MAGIC, HEADER_VERSION, block)?;
        let header = match version {
            1 => rkyv::from_bytes::<HeaderV1, rkyv::rancor::Error>(&body).map(HeaderV2::from),
            _ => rkyv::from_bytes::<HeaderV2, rkyv::rancor::Error>(&body),
        }
        .map_err(|e| PreludeError::Body(e.to_string()))?;
        let used = prelude::encoded_len(block);
        if let Some(at) = block[used..].iter().position(|b| *b != 0) {
            return Err(HeaderError::NotZero { offset: used + at });
        }
        let field = |field, got| Err(HeaderError::Field { field, got });
        if header.crc_kind != CRC_KIND_IEEE {
            return field("crc_kind", u64::from(header.crc_kind));
        }
        if header.data_start != DATA_START {
            return field("data_start", header.data_start);
        }
        if !is_segment_length(header.segment_bytes) {
            return field("segment_bytes", header.segment_bytes);
        }
        if version > 1 && header.incarnation == Incarnation::VERSION_1.0 {
            return field("incarnation", header.incarnation);
        }
        Ok(SegmentHeader {
            log_uuid: header.log_uuid,
            segment: SegmentId(header.segment_id),
            epoch: header.epoch,
            incarnation: Incarnation(header.incarnation),
            salt: header.salt,
            segment_bytes: header.segment_bytes,
            created: ClockPair { wall_ns: header.created_wall_ns, mono_ns: header.created_mono_ns },
            boot_id: header.boot_id,
            writer_version: header.writer_version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SegmentHeader {
        SegmentHeader {
            log_uuid: [7; 16],
            segment: SegmentId(41),
            epoch: 3,
            incarnation: Incarnation(0xfeed_0000_0000_0001),
            salt: 0x1122_3344_5566_7788,
            segment_bytes: 1 << 20,
            created: ClockPair { wall_ns: 5, mono_ns: 6 },
            boot_id: [9; 16],
            writer_version: "tapedeck 0.1.0".to_owned(),
        }
    }

    #[test]
    fn a_header_reads_back_and_every_flipped_bit_of_its_block_is_detected() {
        let mut block = sample().encode();
        assert_eq!(block.len(), 4096);
        assert_eq!(SegmentHeader::decode(&block), Ok(sample()));
        for bit in 0..block.len() * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&block).is_err(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_run_of_version_1_has_a_header_of_version_1() {
        let old = SegmentHeader { incarnation: Incarnation::VERSION_1, ..sample() };
        let block = old.encode();
        assert_eq!((block[8], sample().encode()[8]), (1, 2));
        assert_eq!(SegmentHeader::decode(&block), Ok(old));
    }

    #[test]
    fn a_long_writer_version_is_cut_at_a_character() {
        let mut header = sample();
        header.writer_version = "\u{e9}".repeat(100);
        let read = SegmentHeader::decode(&header.encode()).unwrap();
        assert_eq!(read.writer_version, "\u{e9}".repeat(64));
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let mut block = sample().encode();
        block[8] = 9;
        assert_eq!(
            SegmentHeader::decode(&block),
            Err(HeaderError::Prelude(PreludeError::NewerVersion { got: 9, newest: 2 }))
        );
    }

    #[test]
    fn short_and_empty_blocks_are_errors() {
        assert!(SegmentHeader::decode(&[]).is_err());
        assert!(SegmentHeader::decode(&[0; 4096]).is_err());
        assert!(SegmentHeader::decode(&sample().encode()[..4095]).is_err());
    }
}
