//! What names a record, a segment, a place.

use std::fmt;

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
