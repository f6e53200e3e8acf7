//! How far a log has come, and what each point survives.

use std::sync::atomic::Ordering;

#[cfg(not(loom))]
use std::sync::atomic::AtomicU64;

#[cfg(loom)]
use loom::sync::atomic::AtomicU64;

use crate::layout::{DATA_START, RECORD_ALIGN, RECORD_HEADER_BYTES, SEGMENT_BYTES_MAX};
use crate::record::{Position, Seq};
use crate::segment::Segment;
use crate::sys::{OBSERVE, PUBLISH};

/// Where the last committed record of a segment ends, and which one it is: **one** word, so nobody can see the end
/// of one record with the number of another.
///
/// ```text
///  bit 63                        28 27                            0
///     | records committed here     | end of the last one, in 8 bytes |
/// ```
///
/// As two words a syncer could pass a record's end without its number, find nothing left to sync, and leave whoever
/// waits for that record waiting until another one came. `tests/loom.rs` runs this very type.
pub struct Tail {
    /// Number of the segment's first record; they are contiguous from there.
    first: Seq,
    word: AtomicU64,
}

/// Bits of [`Tail`]'s word that hold the end, in units of [`RECORD_ALIGN`].
const END_BITS: u32 = 28;

const _: () = {
    assert!(SEGMENT_BYTES_MAX / (RECORD_ALIGN as u64) < 1 << END_BITS);
    assert!(SEGMENT_BYTES_MAX / (RECORD_HEADER_BYTES as u64) < 1 << (u64::BITS - END_BITS));
};

impl Tail {
    /// Of an empty segment whose first record will be `first`.
    #[must_use]
    pub fn new(first: Seq) -> Self {
        Tail { first, word: AtomicU64::new(DATA_START / RECORD_ALIGN as u64) }
    }

    /// The record `seq` was published; it ends at `end`. One thread commits.
    #[inline]
    pub fn commit(&self, end: u64, seq: Seq) {
        self.commit_ordered(end, seq, PUBLISH);
    }

    /// As [`Tail::commit`] with a chosen order, for the model's mutant.
    #[doc(hidden)]
    #[inline]
    pub fn commit_ordered(&self, end: u64, seq: Seq, order: Ordering) {
        let records = seq.get().wrapping_sub(self.first.get()).wrapping_add(1);
        self.word.store((records << END_BITS) | (end / RECORD_ALIGN as u64), order);
    }

    /// End and number of the last committed record; the segment's start and `Seq(0)` if there is none. Whoever sees
    /// them sees every byte before that end.
    #[must_use]
    pub fn committed(&self) -> (u64, Seq) {
        self.committed_ordered(OBSERVE)
    }

    /// As [`Tail::committed`] with a chosen order, for the model's mutant.
    #[doc(hidden)]
    #[must_use]
    pub fn committed_ordered(&self, order: Ordering) -> (u64, Seq) {
        let word = self.word.load(order);
        let end = (word & ((1 << END_BITS) - 1)) * RECORD_ALIGN as u64;
        let seq = match word >> END_BITS {
            0 => Seq(0),
            records => Seq(self.first.get() + records - 1),
        };
        (end, seq)
    }
}

/// A segment of the running writer, with its committed end. Shared by the appending thread (which
/// alone moves it), the syncer and the preparer.
///
/// Always: `durable <= committed`, and both only grow.
///
/// - committed: readers may see it; a killed process keeps it.
/// - durable: the disk answered for it; a power cut keeps it. Owned by the syncer.
/// - acked: a consumer has it safe elsewhere. May pass durable: a consumer can publish bytes that
///   a power cut then takes from the log. Not an error. Kept in `acks/`, not here.
pub(crate) struct Live {
    pub segment: Segment,
    tail: Tail,
}

impl Live {
    /// `first` is the number that the segment's first record will have.
    pub fn new(segment: Segment, first: Seq) -> Self {
        Live { segment, tail: Tail::new(first) }
    }

    /// A record was published.
    #[inline]
    pub fn commit(&self, end: u64, seq: Seq) {
        self.tail.commit(end, seq);
    }

    /// The last committed record and where it ends; `Seq(0)` if nothing is committed here yet.
    pub fn committed(&self) -> Position {
        let (offset, seq) = self.tail.committed();
        Position { segment: self.segment.id, offset, seq }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_of_the_largest_segment_fits_beside_its_number() {
        let first = Seq::new(7, Seq::COUNTER_MAX - (1 << 26));
        let tail = Tail::new(first);
        assert_eq!(tail.committed(), (DATA_START, Seq(0)));
        tail.commit(SEGMENT_BYTES_MAX, first);
        assert_eq!(tail.committed(), (SEGMENT_BYTES_MAX, first));
        let last = Seq(first.get() + SEGMENT_BYTES_MAX / RECORD_HEADER_BYTES as u64);
        tail.commit(8, last);
        assert_eq!(tail.committed(), (8, last));
    }
}
