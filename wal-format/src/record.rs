//! Records as plain bytes: identity types, kinds, header encode, decode and validation.
//!
//! Pure: it never touches a file or a mapping. `sys` stores what is encoded here; readers and
//! recovery hand in bytes they copied.

mod id;
mod kind;
mod payload;
#[cfg(test)]
mod tests;

pub use self::id::{Position, SegmentId, Seq};
pub use self::kind::{Kind, flags};
pub use self::payload::{ClockPair, Seal};
use crate::checksum;
use crate::layout::{
    COMMIT_LENGTH_MASK, COMMIT_MARK, RECORD_BYTES_MAX, RECORD_COMMIT_OFFSET, RECORD_CONN_OFFSET, RECORD_CRC_OFFSET,
    RECORD_FLAGS_OFFSET, RECORD_HEADER_BYTES, RECORD_KIND_OFFSET, RECORD_RESERVED_OFFSET, RECORD_SEQ_OFFSET,
    RECORD_TS_OFFSET, align_record, record_bytes,
};

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Commit word 0.
    NotWritten,
    /// Mark bit missing, reserved bits set, or a length below a header's.
    CommitWord(u32),
    /// The record would end after the place where records may be.
    PastEnd {
        /// Its length, padding included.
        bytes: usize,
    },
    /// Reserved header bytes are not zero.
    Reserved,
    /// The checksum differs.
    Checksum {
        /// As computed.
        expected: u32,
        /// As stored.
        got: u32,
    },
}

/// Bytes of header and payload, without padding, that this commit word announces.
///
/// # Errors
/// [`Invalid::NotWritten`] or [`Invalid::CommitWord`].
pub fn committed_len(commit: u32) -> Result<usize, Invalid> {
    if commit == 0 {
        return Err(Invalid::NotWritten);
    }
    let len = (commit & COMMIT_LENGTH_MASK) as usize;
    if commit & !COMMIT_LENGTH_MASK != COMMIT_MARK || len < RECORD_HEADER_BYTES {
        return Err(Invalid::CommitWord(commit));
    }
    Ok(len)
}

/// The fixed first 32 bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The commit word as stored.
    pub commit: u32,
    /// The checksum as stored.
    pub crc: u32,
    /// Number.
    pub seq: Seq,
    /// Receive time, ns since 1970-01-01 UTC.
    pub ts_recv_ns: u64,
    /// Connection ordinal, 0 for records of the log itself.
    pub conn: u32,
    /// Kind as stored.
    pub kind_raw: u8,
    /// Bits of [`flags`].
    pub flags: u8,
    /// Reserved, must be zero.
    pub reserved: u16,
}

impl RecordHeader {
    /// A header for a payload of this length, its checksum still open. `None` if it is too long
    /// for the format.
    #[must_use]
    #[inline]
    pub fn new(seq: Seq, ts_recv_ns: u64, conn: u32, kind: Kind, flags: u8, payload_bytes: usize) -> Option<Self> {
        let len = payload_bytes.checked_add(RECORD_HEADER_BYTES)?;
        if len > RECORD_BYTES_MAX {
            return None;
        }
        Some(RecordHeader {
            commit: COMMIT_MARK | u32::try_from(len).ok()?,
            crc: 0,
            seq,
            ts_recv_ns,
            conn,
            kind_raw: kind as u8,
            flags,
            reserved: 0,
        })
    }

    /// Reads the fields without judging them.
    #[must_use]
    pub fn decode(bytes: &[u8; RECORD_HEADER_BYTES]) -> Self {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        RecordHeader {
            commit: u32_at(RECORD_COMMIT_OFFSET),
            crc: u32_at(RECORD_CRC_OFFSET),
            seq: Seq(u64_at(RECORD_SEQ_OFFSET)),
            ts_recv_ns: u64_at(RECORD_TS_OFFSET),
            conn: u32_at(RECORD_CONN_OFFSET),
            kind_raw: bytes[RECORD_KIND_OFFSET],
            flags: bytes[RECORD_FLAGS_OFFSET],
            reserved: u16::from_le_bytes([bytes[RECORD_RESERVED_OFFSET], bytes[RECORD_RESERVED_OFFSET + 1]]),
        }
    }

    /// The header as bytes, in disk order.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[RECORD_COMMIT_OFFSET..RECORD_CRC_OFFSET].copy_from_slice(&self.commit.to_le_bytes());
        bytes[RECORD_CRC_OFFSET..RECORD_SEQ_OFFSET].copy_from_slice(&self.crc.to_le_bytes());
        bytes[RECORD_SEQ_OFFSET..RECORD_TS_OFFSET].copy_from_slice(&self.seq.0.to_le_bytes());
        bytes[RECORD_TS_OFFSET..RECORD_CONN_OFFSET].copy_from_slice(&self.ts_recv_ns.to_le_bytes());
        bytes[RECORD_CONN_OFFSET..RECORD_KIND_OFFSET].copy_from_slice(&self.conn.to_le_bytes());
        bytes[RECORD_KIND_OFFSET] = self.kind_raw;
        bytes[RECORD_FLAGS_OFFSET] = self.flags;
        bytes[RECORD_RESERVED_OFFSET..].copy_from_slice(&self.reserved.to_le_bytes());
        bytes
    }

    /// Bytes 8 to 32 as three words: what `sys` stores before the payload.
    #[must_use]
    #[inline]
    pub fn tail_words(&self) -> [u64; 3] {
        [
            self.seq.0,
            self.ts_recv_ns,
            u64::from(self.conn)
                | u64::from(self.kind_raw) << 32
                | u64::from(self.flags) << 40
                | u64::from(self.reserved) << 48,
        ]
    }

    /// Bytes of payload that the commit word announces; 0 if it is not valid.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        committed_len(self.commit).map_or(0, |len| len - RECORD_HEADER_BYTES)
    }

    /// Bytes that the record takes, padding included; 0 if the commit word is not valid.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        committed_len(self.commit).map_or(0, align_record)
    }
}

/// Validates the record at the start of `bytes`, which end where records must end.
///
/// Sequence and kind are not judged: the caller knows what it expects.
///
/// # Errors
/// [`Invalid`] says what is wrong; the checks that cost nothing come first.
pub fn check(bytes: &[u8], crc_initial: u32) -> Result<RecordHeader, Invalid> {
    let Some(head) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else {
        return Err(Invalid::PastEnd { bytes: RECORD_HEADER_BYTES });
    };
    let header = RecordHeader::decode(head);
    let total = align_record(committed_len(header.commit)?);
    if header.reserved != 0 {
        return Err(Invalid::Reserved);
    }
    let Some(rest) = bytes.get(RECORD_SEQ_OFFSET..total) else {
        return Err(Invalid::PastEnd { bytes: total });
    };
    let covered = if header.kind_raw == Kind::Hole as u8 {
        // A HOLE lies over bytes that nobody can vouch for: its header alone is covered.
        &rest[..RECORD_HEADER_BYTES - RECORD_SEQ_OFFSET]
    } else {
        rest
    };
    let expected = checksum::record(crc_initial, header.commit, covered);
    if expected != header.crc {
        return Err(Invalid::Checksum { expected, got: header.crc });
    }
    Ok(header)
}

/// Appends a whole valid record (header, payload, padding) to `out`: for recovery, tools and
/// tests. The writer stores its records in place instead, commit word last.
///
/// Returns whether the payload fits the format; `out` is unchanged if not.
pub fn encode_into(out: &mut Vec<u8>, crc_initial: u32, mut header: RecordHeader, payload: &[u8]) -> bool {
    if header.payload_bytes() != payload.len() || header.commit == 0 {
        return false;
    }
    let start = out.len();
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(payload);
    out.resize(start + record_bytes(payload.len()), 0);
    header.crc = checksum::record(crc_initial, header.commit, &out[start + RECORD_SEQ_OFFSET..]);
    out[start..start + RECORD_HEADER_BYTES].copy_from_slice(&header.encode());
    true
}

/// The 32 bytes of a HOLE record over `bytes` damaged bytes (its own header
/// included; a multiple of 8, at least 32 and at most [`RECORD_BYTES_MAX`] rounded down).
#[must_use]
pub fn encode_hole(
    crc_initial: u32,
    seq: Seq,
    ts_recv_ns: u64,
    flags: u8,
    bytes: usize,
) -> Option<[u8; RECORD_HEADER_BYTES]> {
    if !bytes.is_multiple_of(crate::layout::RECORD_ALIGN) {
        return None;
    }
    let payload = bytes.checked_sub(RECORD_HEADER_BYTES)?;
    let mut header = RecordHeader::new(seq, ts_recv_ns, 0, Kind::Hole, flags, payload)?;
    let encoded = header.encode();
    header.crc = checksum::record(crc_initial, header.commit, &encoded[RECORD_SEQ_OFFSET..]);
    Some(header.encode())
}
