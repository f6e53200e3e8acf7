//! Records as plain bytes: identity types, kinds, header encode, decode and validation.
//!
//! Pure: it never touches a file or a mapping. `sys` stores what is encoded here; readers and
//! recovery hand in bytes they copied.

use std::fmt;

use crate::checksum;
use crate::layout::{
    COMMIT_LENGTH_MASK, COMMIT_MARK, RECORD_BYTES_MAX, RECORD_COMMIT_OFFSET, RECORD_CONN_OFFSET, RECORD_CRC_OFFSET,
    RECORD_FLAGS_OFFSET, RECORD_HEADER_BYTES, RECORD_KIND_OFFSET, RECORD_RESERVED_OFFSET, RECORD_SEQ_OFFSET,
    RECORD_TS_OFFSET, SEAL_BY_RECOVERY, SEAL_CLEAN_END, SEAL_PAYLOAD_BYTES, align_record, record_bytes,
};

/// Bits of [`Seq`] that count inside an epoch.
const COUNTER_BITS: u32 = 40;

/// A record's number: the epoch in the high 24 bits, a counter from 0 in the low 40.
///
/// Only grows inside a log, and contiguous inside an epoch: `(log uuid, seq)` names a record for
/// ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// Largest epoch; a writer refuses to start after it (16.7 million starts).
    pub const EPOCH_MAX: u32 = (1 << 24) - 1;
    /// Largest counter.
    pub const COUNTER_MAX: u64 = (1 << COUNTER_BITS) - 1;

    /// Puts epoch and counter together. Bits beyond their width are dropped.
    #[must_use]
    pub const fn new(epoch: u32, counter: u64) -> Self {
        Seq(((epoch as u64) << COUNTER_BITS) | (counter & Self::COUNTER_MAX))
    }

    /// The run of the writer that wrote the record.
    #[must_use]
    pub const fn epoch(self) -> u32 {
        (self.0 >> COUNTER_BITS) as u32
    }

    /// The record's number inside its epoch, from 0.
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.0 & Self::COUNTER_MAX
    }

    /// As one word, epoch included.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number after this one, inside the same epoch.
    #[must_use]
    pub const fn next(self) -> Self {
        Seq(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch(), self.counter())
    }
}

/// Number of a segment, from 1; never reused inside a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where a record starts. Ordered by segment, then offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The segment.
    pub segment: SegmentId,
    /// Bytes from the start of the segment's file.
    pub offset: u64,
    /// The number expected there.
    pub seq: Seq,
}

impl Position {
    /// Before everything.
    pub const START: Position = Position { segment: SegmentId(0), offset: 0, seq: Seq(0) };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({})", self.segment, self.offset, self.seq)
    }
}

/// Kind of a record. Stored on disk: never renumber, never reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// One WebSocket message, byte for byte.
    Data = 1,
    /// A connection opened; JSON.
    ConnOpen = 2,
    /// A connection closed; JSON.
    ConnClose = 3,
    /// A subscribe request or its reply; JSON.
    Subscribe = 4,
    /// Wall and monotonic time read together; 16 bytes.
    Clock = 5,
    /// First record of an epoch; JSON.
    EpochStart = 6,
    /// Everything up to a seq is on disk; 8 bytes.
    Sync = 7,
    /// Frames known to be missing by our own doing; JSON.
    Gap = 8,
    /// Written by recovery over bytes that cannot be read.
    Hole = 9,
    /// Last record of a segment; 24 bytes, see [`Seal`].
    Seal = 10,
    /// One REST response: meta length u32, meta JSON, body byte for byte.
    Rest = 11,
    /// Anything else worth telling; JSON.
    Event = 12,
}

impl Kind {
    /// Every kind of this version, in order of number.
    pub const ALL: [Kind; 12] = [
        Kind::Data,
        Kind::ConnOpen,
        Kind::ConnClose,
        Kind::Subscribe,
        Kind::Clock,
        Kind::EpochStart,
        Kind::Sync,
        Kind::Gap,
        Kind::Hole,
        Kind::Seal,
        Kind::Rest,
        Kind::Event,
    ];

    /// The kind with this number, or `None` for one that a newer version wrote.
    #[must_use]
    pub fn from_raw(raw: u8) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| *kind as u8 == raw)
    }

    /// The word used by tools.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Data => "data",
            Kind::ConnOpen => "conn_open",
            Kind::ConnClose => "conn_close",
            Kind::Subscribe => "subscribe",
            Kind::Clock => "clock",
            Kind::EpochStart => "epoch_start",
            Kind::Sync => "sync",
            Kind::Gap => "gap",
            Kind::Hole => "hole",
            Kind::Seal => "seal",
            Kind::Rest => "rest",
            Kind::Event => "event",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bits of a record's flags byte.
pub mod flags {
    /// The WebSocket message was binary, not text.
    pub const BINARY: u8 = 1;
    /// The receive time was earlier than the record before and was raised to it.
    pub const CLAMPED: u8 = 2;
    /// Received on the second of two redundant lines.
    pub const SECOND_LINE: u8 = 4;
}

/// Wall and monotonic time read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockPair {
    /// Nanoseconds since 1970-01-01 UTC.
    pub wall_ns: u64,
    /// Nanoseconds of the machine's monotonic clock.
    pub mono_ns: u64,
}

impl ClockPair {
    /// As the payload of a CLOCK record.
    #[must_use]
    pub fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.wall_ns.to_le_bytes());
        bytes[8..].copy_from_slice(&self.mono_ns.to_le_bytes());
        bytes
    }

    /// From the payload of a CLOCK record.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        Some(ClockPair {
            wall_ns: u64::from_le_bytes(*payload.first_chunk()?),
            mono_ns: u64::from_le_bytes(*payload.get(8..)?.first_chunk()?),
        })
    }
}

/// Payload of a SEAL record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The segment to read next. After a clean end: the lowest id it may have.
    pub next: SegmentId,
    /// Where the footer stands or will stand.
    pub footer_offset: u64,
    /// Recovery wrote it, after the writer died.
    pub by_recovery: bool,
    /// The writer closed the log: `next` is not promised to exist.
    pub clean_end: bool,
}

impl Seal {
    /// As the payload of a SEAL record.
    #[must_use]
    pub fn encode(&self) -> [u8; SEAL_PAYLOAD_BYTES] {
        let mut flags = 0;
        if self.by_recovery {
            flags |= SEAL_BY_RECOVERY;
        }
        if self.clean_end {
            flags |= SEAL_CLEAN_END;
        }
        let mut bytes = [0; SEAL_PAYLOAD_BYTES];
        bytes[..8].copy_from_slice(&self.next.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.footer_offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    /// From the payload of a SEAL record; `None` if it is too short.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let flags = u32::from_le_bytes(*payload.get(16..)?.first_chunk()?);
        Some(Seal {
            next: SegmentId(u64::from_le_bytes(*payload.first_chunk()?)),
            footer_offset: u64::from_le_bytes(*payload.get(8..)?.first_chunk()?),
            by_recovery: flags & SEAL_BY_RECOVERY != 0,
            clean_end: flags & SEAL_CLEAN_END != 0,
        })
    }
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Commit word 0.
    NotWritten,
    /// Mark bit missing, reserved bits set, or a length below a header's.
    CommitWord(u32),
    /// The record would end after the place where records may stand.
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

/// Validates the record at the start of `bytes`, which end where records may stand no more.
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
        // A hole lies over bytes that nobody can vouch for: its header alone is covered.
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

/// The 32 bytes of a HOLE record that stands over `bytes` damaged bytes (its own header
/// included; a multiple of 8, at least 32 and at most [`RECORD_BYTES_MAX`] rounded down).
#[must_use]
pub fn encode_hole(crc_initial: u32, seq: Seq, ts_recv_ns: u64, bytes: usize) -> Option<[u8; RECORD_HEADER_BYTES]> {
    if !bytes.is_multiple_of(crate::layout::RECORD_ALIGN) {
        return None;
    }
    let payload = bytes.checked_sub(RECORD_HEADER_BYTES)?;
    let mut header = RecordHeader::new(seq, ts_recv_ns, 0, Kind::Hole, 0, payload)?;
    let encoded = header.encode();
    header.crc = checksum::record(crc_initial, header.commit, &encoded[RECORD_SEQ_OFFSET..]);
    Some(header.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(payload: &[u8]) -> Vec<u8> {
        let header = RecordHeader::new(Seq::new(3, 9), 77, 5, Kind::Data, flags::BINARY, payload.len());
        let mut bytes = Vec::new();
        assert!(encode_into(&mut bytes, 42, header.unwrap(), payload));
        bytes
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        for len in [0, 1, 7, 8, 9, 200] {
            let bytes = sample(&vec![0xA5; len]);
            assert_eq!(bytes.len() % 8, 0);
            let header = check(&bytes, 42).unwrap();
            assert_eq!(header.seq, Seq::new(3, 9));
            assert_eq!(header.ts_recv_ns, 77);
            assert_eq!(header.conn, 5);
            assert_eq!(header.kind_raw, Kind::Data as u8);
            assert_eq!(header.flags, flags::BINARY);
            assert_eq!(header.payload_bytes(), len);
            assert_eq!(header.total_bytes(), bytes.len());
        }
    }

    #[test]
    fn every_single_flipped_bit_of_a_record_is_detected() {
        for len in [0, 1, 8, 61] {
            let mut bytes = sample(&vec![0x3C; len]);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(check(&bytes, 42).is_err(), "bit {bit} of payload {len}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            assert!(check(&bytes, 42).is_ok());
        }
    }

    #[test]
    fn every_pair_of_flipped_bits_of_a_short_record_is_detected() {
        let mut bytes = sample(b"x");
        let bits = bytes.len() * 8;
        for a in 0..bits {
            bytes[a / 8] ^= 1 << (a % 8);
            for b in 0..a {
                bytes[b / 8] ^= 1 << (b % 8);
                assert!(check(&bytes, 42).is_err(), "bits {a} and {b}");
                bytes[b / 8] ^= 1 << (b % 8);
            }
            bytes[a / 8] ^= 1 << (a % 8);
        }
    }

    #[test]
    fn one_flipped_bit_never_turns_a_commit_word_into_not_written() {
        for len in [32_u32, 33, 64, 1024, COMMIT_LENGTH_MASK] {
            let commit = COMMIT_MARK | len;
            for bit in 0..32 {
                assert_ne!(commit ^ (1 << bit), 0);
            }
        }
    }

    #[test]
    fn a_length_of_any_power_of_two_or_all_ones_is_refused_without_looking_past_the_end() {
        let mut bytes = sample(&[1; 16]);
        for commit in (0..32).map(|bit| 1_u32 << bit).chain([u32::MAX]) {
            for commit in [commit, commit | COMMIT_MARK] {
                bytes[..4].copy_from_slice(&commit.to_le_bytes());
                assert!(check(&bytes, 42).is_err(), "{commit:#x}");
            }
        }
    }

    #[test]
    fn a_record_of_another_salt_is_not_valid() {
        assert!(matches!(check(&sample(b"stale"), 43), Err(Invalid::Checksum { .. })));
    }

    #[test]
    fn a_hole_is_valid_over_any_bytes() {
        let head = encode_hole(42, Seq::new(1, 4), 9, 64).unwrap();
        let mut bytes = vec![0xFF; 64];
        bytes[..32].copy_from_slice(&head);
        let header = check(&bytes, 42).unwrap();
        assert_eq!(header.kind_raw, Kind::Hole as u8);
        assert_eq!(header.total_bytes(), 64);
        bytes[40] = 0;
        assert!(check(&bytes, 42).is_ok());
        assert_eq!(encode_hole(42, Seq(0), 0, 24), None);
        assert_eq!(encode_hole(42, Seq(0), 0, 33), None);
    }

    #[test]
    fn the_words_that_are_stored_equal_the_encoded_header() {
        let header = RecordHeader::new(Seq::new(7, 8), 9, 10, Kind::Event, 3, 5).unwrap();
        let bytes = header.encode();
        for (at, word) in [8, 16, 24].iter().zip(header.tail_words()) {
            assert_eq!(bytes[*at..at + 8], word.to_le_bytes());
        }
        assert_eq!(RecordHeader::decode(&bytes), header);
    }

    #[test]
    fn seq_keeps_epoch_and_counter_apart() {
        let seq = Seq::new(3, Seq::COUNTER_MAX);
        assert_eq!((seq.epoch(), seq.counter()), (3, Seq::COUNTER_MAX));
        assert!(Seq::new(4, 0) > seq);
        assert_eq!(Seq::new(2, 5).to_string(), "2:5");
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for (n, kind) in (1..).zip(Kind::ALL) {
            assert_eq!(kind as u8, n);
            assert_eq!(Kind::from_raw(n), Some(kind));
        }
        assert_eq!(Kind::from_raw(0), None);
        assert_eq!(Kind::from_raw(13), None);
    }

    #[test]
    fn a_seal_reads_back() {
        let seal = Seal { next: SegmentId(8), footer_offset: 1 << 20, by_recovery: true, clean_end: false };
        assert_eq!(Seal::decode(&seal.encode()), Some(seal));
        assert_eq!(Seal::decode(&seal.encode()[..19]), None);
    }
}
