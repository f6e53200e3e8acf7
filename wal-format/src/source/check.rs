//! What is at an offset, and where the next record is after bytes that are none.

use super::Source;
use crate::checksum;
use crate::layout::{BLOCK_BYTES, RECORD_ALIGN, RECORD_HEADER_BYTES, RECORD_SEQ_OFFSET, align_record};
use crate::read_error::ReadError;
use crate::record::{self, Kind, RecordHeader, Seal, Seq};
use crate::scan::{self, Expect};

/// The parts of a valid record that a reader needs once its bytes are checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordInfo {
    pub seq: Seq,
    pub ts_recv_ns: u64,
    pub conn: u32,
    pub kind_raw: u8,
    pub flags: u8,
    pub payload_bytes: u64,
    /// Header, payload and padding.
    pub total_bytes: u64,
}

/// What is at an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// A record, checksum good.
    Valid(RecordInfo),
    /// Commit word 0, or no room for a record before the end of the data area.
    Empty,
    /// Bytes that are no record.
    Invalid,
}

impl Source {
    /// The buffered payload of a record that `check` just found valid.
    pub fn payload(&self, offset: u64, info: &RecordInfo) -> &[u8] {
        let at = offset + RECORD_HEADER_BYTES as u64;
        let len = usize::try_from(info.payload_bytes).unwrap_or(0);
        match &self.map {
            Some(map) => map.published(at, len).unwrap_or(&[]),
            None => self.buffered(at, len),
        }
    }

    /// The content of a SEAL record that `check` just found valid.
    pub fn seal(&self, offset: u64, info: &RecordInfo) -> Option<Seal> {
        if info.kind_raw != Kind::Seal as u8 {
            return None;
        }
        Seal::decode(self.payload(offset, info))
    }

    /// Judges what is at `offset`. Its payload can be borrowed until the next call.
    pub fn check(&mut self, offset: u64) -> Result<Check, ReadError> {
        let Some((epoch, crc_initial)) = self.identity.as_ref().map(|i| (i.epoch, i.crc_initial)) else {
            return Ok(Check::Invalid);
        };
        let room = self.data_end().saturating_sub(offset);
        if !offset.is_multiple_of(RECORD_ALIGN as u64) {
            return Ok(Check::Invalid);
        }
        if room < RECORD_HEADER_BYTES as u64 {
            return Ok(Check::Empty);
        }
        let word = self.commit_word(offset)?;
        if word == 0 {
            return Ok(Check::Empty);
        }
        let Ok(len) = record::committed_len(word) else {
            return Ok(Check::Invalid);
        };
        let total = align_record(len);
        if total as u64 > room {
            return Ok(Check::Invalid);
        }
        let header = match self.bytes_at(offset, RECORD_HEADER_BYTES)?.first_chunk() {
            Some(head) => RecordHeader::decode(head),
            None => return Ok(Check::Invalid),
        };
        if header.commit != word || header.reserved != 0 {
            return Ok(Check::Invalid);
        }
        if epoch.is_some_and(|epoch| header.seq.epoch() != epoch) {
            return Ok(Check::Invalid);
        }
        // A HOLE lies over bytes nobody vouches for: its header alone is covered, and they need
        // not even be read.
        let covered = if header.kind_raw == Kind::Hole as u8 { RECORD_HEADER_BYTES } else { total };
        let bytes = self.bytes_at(offset, covered)?;
        let Some(rest) = bytes.get(RECORD_SEQ_OFFSET..) else {
            return Ok(Check::Invalid);
        };
        if bytes.len() < covered || checksum::record(crc_initial, word, rest) != header.crc {
            return Ok(Check::Invalid);
        }
        Ok(Check::Valid(RecordInfo {
            seq: header.seq,
            ts_recv_ns: header.ts_recv_ns,
            conn: header.conn,
            kind_raw: header.kind_raw,
            flags: header.flags,
            payload_bytes: (len - RECORD_HEADER_BYTES) as u64,
            total_bytes: total as u64,
        }))
    }

    /// Up to `len` bytes from `offset` on, of a record whose commit word was seen.
    fn bytes_at(&mut self, offset: u64, len: usize) -> Result<&[u8], ReadError> {
        if self.map.is_some() {
            return Ok(self.map.as_ref().and_then(|map| map.published(offset, len)).unwrap_or(&[]));
        }
        self.load(offset, len)?;
        Ok(self.buffered(offset, len))
    }

    /// The first valid record at or after `from` and before `limit` whose seq is at least
    /// `least`. Blocks that cannot be read are stepped over.
    pub fn scan(&mut self, from: u64, limit: u64, least: Seq) -> Result<Option<u64>, ReadError> {
        let end = limit.min(self.data_end());
        let expect = Expect { least, epoch: self.epoch() };
        let mut at = from.next_multiple_of(RECORD_ALIGN as u64);
        self.map = None;
        while at + RECORD_HEADER_BYTES as u64 <= end {
            match self.load(at, RECORD_HEADER_BYTES) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(_) => {
                    at = (at + 1).next_multiple_of(BLOCK_BYTES);
                    continue;
                }
            }
            let room = end - at;
            let window = self.buffered(at, usize::try_from(room).unwrap_or(usize::MAX));
            let Some(index) = scan::candidate(window, room, &expect) else {
                // A header may straddle the window's end.
                let done = window.len().saturating_sub(RECORD_HEADER_BYTES - RECORD_ALIGN);
                at += (done as u64).next_multiple_of(RECORD_ALIGN as u64).max(8);
                continue;
            };
            at += index as u64;
            match self.try_candidate(at) {
                Ok(true) => return Ok(Some(at)),
                Ok(false) | Err(_) => at += RECORD_ALIGN as u64,
            }
        }
        Ok(None)
    }

    fn try_candidate(&mut self, at: u64) -> Result<bool, ReadError> {
        let len = record::committed_len(self.commit_word(at)?).unwrap_or(0) as u64;
        if self.false_bytes > scan::FALSE_BYTES_MAX && len > scan::SHORT_BYTES {
            return Ok(false);
        }
        if matches!(self.check(at)?, Check::Valid(_)) {
            return Ok(true);
        }
        self.false_bytes = self.false_bytes.saturating_add(len);
        Ok(false)
    }
}
