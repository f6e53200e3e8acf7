//! Deleting segments: the compactor is the only one who does.
//!
//! A segment goes when every consumer has durably passed it, its retention is over, and no part still open has a
//! loss to report from it. The rule itself is [`wal_format::may_retire`]; here are only the reasons to keep more.

use std::path::Path;

use anyhow::Context;
use wal_format::{SegmentId, SegmentInfo};

use super::worker;
use crate::config::Config;
use crate::venue::VenueId;
use crate::{clock, kline};

/// The readers that must have passed a segment of a venue's logs before it may go: the lake, and the candles when
/// they are made of this venue. An ack of a reader that is not configured any more holds nothing back.
pub fn consumers(cfg: &Config, id: VenueId) -> &'static [&'static str] {
    let candles = cfg.kline_sources().iter().any(|(venue, _)| *venue == id);
    if candles { &[worker::READER, kline::READER] } else { &[worker::READER] }
}

/// Deletes what may go of all logs, once more when everything has stopped: the reader that finished last may have
/// let segments go that the other one could not delete.
pub fn retire_all(cfg: &Config) {
    for id in cfg.venues.keys().copied() {
        for dir in [cfg.wal_dir(id), cfg.repair_dir(id)] {
            let keep = Keep { retention_hours: cfg.wal.retention_hours, now_ns: clock::now().wall_ns, lost_from: None };
            if dir.is_dir()
                && let Err(err) = retire(&dir, consumers(cfg, id), keep)
            {
                tracing::warn!(venue = %id, error = %format!("{err:#}"), "segments stay until the next run");
            }
        }
    }
}

/// Why a segment is kept although every consumer has passed it. Pure.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// Hours a segment stays after its last record.
    pub retention_hours: u64,
    /// The wall clock, ns since 1970-01-01 UTC.
    pub now_ns: u64,
    /// First segment with a loss that no manifest tells yet.
    pub lost_from: Option<SegmentId>,
}

impl Keep {
    /// True when the segment with this id and last receive time stays.
    pub fn keeps(&self, id: SegmentId, last_ts_recv_ns: Option<u64>) -> bool {
        if self.lost_from.is_some_and(|from| id >= from) {
            return true;
        }
        let retention_ns = self.retention_hours.saturating_mul(3_600_000_000_000);
        match last_ts_recv_ns {
            Some(last) => last.saturating_add(retention_ns) > self.now_ns && retention_ns > 0,
            // A segment without records has nothing to retain.
            None => false,
        }
    }
}

/// Deletes what may go and returns how many segments that were.
///
/// # Errors
/// When the log cannot be listed, an ack is missing or unreadable, or an unlink fails; nothing or a prefix of
/// what may go is gone then, which is as good as not having tried.
pub fn retire(dir: &Path, required: &[&str], keep: Keep) -> anyhow::Result<usize> {
    let gone = wal_format::retire(dir, required, &|s: &SegmentInfo| keep.keeps(s.id, last_ts(s)))
        .with_context(|| format!("retire segments of {}", dir.display()))?;
    Ok(gone.len())
}

fn last_ts(s: &SegmentInfo) -> Option<u64> {
    s.footer.as_ref().filter(|f| f.records > 0).map(|f| f.last_ts_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    #[test]
    fn without_retention_nothing_is_kept() {
        let keep = Keep { now_ns: 10 * HOUR, ..Keep::default() };
        assert!(!keep.keeps(SegmentId(1), Some(10 * HOUR)));
    }

    #[test]
    fn retention_counts_from_the_last_record_of_a_segment() {
        let keep = Keep { retention_hours: 2, now_ns: 10 * HOUR, lost_from: None };
        assert!(keep.keeps(SegmentId(1), Some(8 * HOUR + 1)));
        assert!(!keep.keeps(SegmentId(1), Some(8 * HOUR)));
        assert!(!keep.keeps(SegmentId(1), None));
    }

    #[test]
    fn a_loss_that_no_manifest_tells_yet_keeps_its_segment_and_the_later_ones() {
        let keep = Keep { lost_from: Some(SegmentId(4)), ..Keep::default() };
        assert!(!keep.keeps(SegmentId(3), Some(0)));
        assert!(keep.keeps(SegmentId(4), Some(0)) && keep.keeps(SegmentId(5), Some(0)));
    }
}
