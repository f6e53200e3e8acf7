//! Deletes segments of a log that nobody but the shipper reads (`[ship] only`): where a compactor runs, that is its
//! business.
//!
//! The rule is that of `wal_format::retire`: the shipper's acknowledgement is past the segment, and there is proof. The proof
//! is the store, asked at this very moment: chunks without a gap between them cover the segment from its first seq to its
//! last.

use std::path::Path;

use capture::SHIP_READER;
use ops::clock;
use wal_format::{Evidence, Retention, RetireError, SegmentInfo, Seq};

use crate::chunks::Chunks;
use crate::codec::ChunkName;
use lake::LakeError;

/// Segments cannot be looked through or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ShipRetireError {
    /// The log says no, or cannot be read.
    #[error(transparent)]
    Log(#[from] RetireError),
    /// The store does not say what it has.
    #[error(transparent)]
    Store(#[from] LakeError),
}

/// Deletes what the store has, but for `retention_hours` ([`Retention`]); the number of segments that went.
///
/// # Errors
/// When the log or the store cannot be read, or a segment cannot be deleted.
pub fn retire(dir: &Path, chunks: &Chunks, retention_hours: u64) -> Result<usize, ShipRetireError> {
    let none = |_: &SegmentInfo| false;
    let all = |_: &SegmentInfo| true;
    let readers = &[SHIP_READER];
    let candidates = wal_format::retirable(dir, &Evidence { readers, covered: &all, keep: &none })?;
    let Some(first) = candidates.iter().find_map(SegmentInfo::first_seq) else { return Ok(0) };
    let retention = Retention::of(dir, retention_hours, clock::wall_ns()).map_err(RetireError::from)?;
    let mut names: Vec<ChunkName> = chunks.last_before(first)?.into_iter().collect();
    names.extend(chunks.list(first)?);
    let ranges = joined(&names);
    let covered = |s: &SegmentInfo| match (s.first_seq(), s.last_seq()) {
        (Some(first), Some(last)) => ranges.iter().any(|(from, to)| *from <= first && last <= *to),
        // Nothing that could be missing.
        _ => true,
    };
    let keep = |s: &SegmentInfo| retention.keeps(s);
    Ok(wal_format::retire(dir, &Evidence { readers, covered: &covered, keep: &keep })?.len())
}

/// Ranges of seqs, each inside one epoch, that chunks cover without a gap.
fn joined(names: &[ChunkName]) -> Vec<(Seq, Seq)> {
    let mut ranges: Vec<(Seq, Seq)> = Vec::new();
    for name in names {
        match ranges.last_mut() {
            Some((_, to)) if name.first <= to.next() && name.first.epoch() == to.epoch() => *to = name.last.max(*to),
            _ => ranges.push((name.first, name.last)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_that_follow_each_other_cover_what_lies_in_them_and_a_missing_one_ends_the_range() {
        let name = |first: (u32, u64), last: u64| ChunkName {
            first: Seq::new(first.0, first.1),
            last: Seq::new(first.0, last),
        };
        let all = joined(&[name((1, 0), 9), name((1, 10), 19), name((1, 30), 39), name((2, 0), 5), name((2, 6), 7)]);
        let seq = Seq::new;
        assert_eq!(all, [(seq(1, 0), seq(1, 19)), (seq(1, 30), seq(1, 39)), (seq(2, 0), seq(2, 7))]);
    }
}
