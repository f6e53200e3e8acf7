//! Finding the next record past damage: the cheap part.
//!
//! Records start at multiples of 8. A candidate is a place whose 32 bytes look like a header
//! (mark bits, length cap, reserved zeros, seq in range) and whose record fits before the
//! end. Only candidates are worth a checksum; the salted CRC, taken by the caller, is what makes
//! a find certain. Pure: plain bytes in, an index out, no allocation, no panic on any input.

use crate::layout::{RECORD_ALIGN, RECORD_HEADER_BYTES, align_record};
use crate::record::{RecordHeader, Seq, committed_len};

/// Which records may follow at a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expect {
    /// The smallest seq that can come next.
    pub least: Seq,
    /// The epoch of the segment, if its header could be read.
    pub epoch: Option<u32>,
}

impl Expect {
    fn allows(&self, seq: Seq) -> bool {
        seq >= self.least && self.epoch.is_none_or(|epoch| seq.epoch() == epoch)
    }
}

/// How much checksum work one scan may spend on candidates that turn out wrong, in bytes, before
/// it only tries short ones. A payload can hold millions of forged headers; without this limit
/// each could cost a checksum over the largest record.
pub(crate) const FALSE_BYTES_MAX: u64 = 4 << 30;

/// The longest candidate tried after [`FALSE_BYTES_MAX`] was spent.
pub(crate) const SHORT_BYTES: u64 = 16 << 10;

/// The index in `window` of the first candidate at or after index 0, in steps of 8.
///
/// `window` starts at a multiple of 8 of the segment; `room` is how many bytes the segment has
/// from there to the end of its data.
pub(crate) fn candidate(window: &[u8], room: u64, expect: &Expect) -> Option<usize> {
    let mut at = 0_usize;
    while let Some(bytes) = window.get(at..).and_then(|rest| rest.first_chunk::<{ RECORD_HEADER_BYTES }>()) {
        // The mark bit is the top bit of the fourth byte: most places fail here.
        if bytes[3] & 0x80 != 0 {
            let header = RecordHeader::decode(bytes);
            if let Ok(len) = committed_len(header.commit)
                && header.reserved == 0
                && expect.allows(header.seq)
                && (at + align_record(len)) as u64 <= room
            {
                return Some(at);
            }
        }
        at += RECORD_ALIGN;
    }
    None
}
