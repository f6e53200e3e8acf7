//! How long segments stay that every reader has passed. One rule for whoever deletes them. Pure but for one listing.

use std::path::Path;

use crate::read_error::ReadError;
use crate::state::{SegmentInfo, list_segments};

const HOUR_NS: u64 = 3_600_000_000_000;

/// What is kept of a log for its age alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retention {
    /// Hours a segment stays after its last record; 0 = none is kept.
    hours: u64,
    /// The wall clock, but at most the newest sealed record, ns since 1970-01-01 UTC: a clock that is ahead lets
    /// nothing go early.
    now_ns: u64,
}

impl Retention {
    /// Keeps segments of the log in `dir` for `hours` after their last record, by the wall clock `wall_ns` (ns since
    /// 1970-01-01 UTC).
    ///
    /// # Errors
    /// When the log cannot be listed.
    pub fn of(dir: &Path, hours: u64, wall_ns: u64) -> Result<Self, ReadError> {
        // Without retention the time is not needed.
        let newest_ns = match hours {
            0 => 0,
            _ => {
                let segments = list_segments(dir)?;
                segments.iter().filter(|s| s.foreign.is_none()).filter_map(last_ts_ns).max().unwrap_or(0)
            }
        };
        Ok(Self { hours, now_ns: wall_ns.min(newest_ns) })
    }

    /// True when the segment stays.
    #[must_use]
    pub fn keeps(&self, segment: &SegmentInfo) -> bool {
        // A segment without records has nothing to retain.
        last_ts_ns(segment).is_some_and(|last| self.keeps_since(last))
    }

    fn keeps_since(&self, last_ts_recv_ns: u64) -> bool {
        self.hours > 0 && last_ts_recv_ns.saturating_add(self.hours.saturating_mul(HOUR_NS)) > self.now_ns
    }
}

fn last_ts_ns(s: &SegmentInfo) -> Option<u64> {
    s.footer.as_ref().filter(|f| f.records > 0).map(|f| f.last_ts_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_retention_nothing_is_kept() {
        let retention = Retention { now_ns: 10 * HOUR_NS, ..Retention::default() };
        assert!(!retention.keeps_since(10 * HOUR_NS));
    }

    #[test]
    fn retention_counts_from_the_last_record_of_a_segment() {
        let retention = Retention { hours: 2, now_ns: 10 * HOUR_NS };
        assert!(retention.keeps_since(8 * HOUR_NS + 1));
        assert!(!retention.keeps_since(8 * HOUR_NS));
    }
}
