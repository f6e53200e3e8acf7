//! How far a log has come, and what each point survives.

use std::sync::atomic::AtomicU64;

use crate::record::{Position, Seq};
use crate::segment::Segment;
use crate::sys::{OBSERVE, PUBLISH};

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
    end: AtomicU64,
    seq: AtomicU64,
}

impl Live {
    pub fn new(segment: Segment) -> Self {
        Live { segment, end: AtomicU64::new(crate::layout::DATA_START), seq: AtomicU64::new(0) }
    }

    /// A record was published. The end is stored before the seq, so whoever loads them in the
    /// opposite order gets an end that covers the seq.
    #[inline]
    pub fn commit(&self, end: u64, seq: Seq) {
        self.end.store(end, PUBLISH);
        self.seq.store(seq.get(), PUBLISH);
    }

    /// A committed seq, and an end that lies at or behind that record's end. `Seq(0)` if nothing
    /// is committed here yet.
    pub fn committed(&self) -> Position {
        let seq = Seq(self.seq.load(OBSERVE));
        Position { segment: self.segment.id, offset: self.end.load(OBSERVE), seq }
    }
}
