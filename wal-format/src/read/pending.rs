//! A lost range that is noticed, and whose extent is not known yet.

use crate::record::{SegmentId, Seq};
use crate::step::{LostRange, LostReason};

/// A lost range whose extent the next record gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub from: Seq,
    pub segment: SegmentId,
    pub offset: u64,
    pub bytes: u64,
    pub reason: LostReason,
    /// Nothing of this epoch can follow: say what is known when the log ends here.
    pub final_end: bool,
    /// It had been reported durable.
    pub below_durable: bool,
}

impl Pending {
    /// A lost range without a trace: only sequence numbers show it.
    pub(super) fn at_end(from: Seq, segment: SegmentId, offset: u64) -> Pending {
        Pending {
            from,
            segment,
            offset,
            bytes: 0,
            reason: LostReason::UncleanEnd,
            final_end: true,
            below_durable: false,
        }
    }

    /// All that is known when nothing says where it ends.
    pub(super) fn inexact(&self) -> LostRange {
        LostRange {
            from: self.from,
            to: self.from,
            exact: false,
            segment: self.segment,
            offset: self.offset,
            bytes: self.bytes,
            reason: self.reason,
            below_durable: self.below_durable,
        }
    }
}

/// A record that lies before what was already read.
pub(super) struct Stale;
