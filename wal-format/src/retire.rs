//! Deletion of segments that every required reader has left behind.
//!
//! The decision ([`may_retire`]) is pure and knows no files; [`retire`] gathers its facts, asks
//! it, and unlinks. One process owns deletion (the compactor's janitor).
//!
//! What this file never does: delete a segment that is not sealed with a valid footer, one that
//! any required reader has not durably passed, the newest sealed one (it anchors the log's
//! identity and its numbering), or anything at all when one required ack is missing, unreadable
//! or of another log. A segment with a hole is not special here: its reader reports the hole
//! before it acknowledges.

use std::path::Path;

use crate::ack;
use crate::durable;
use crate::read_error::RetireError;
use crate::record::{Position, SegmentId};
use crate::state::{SegmentInfo, list_segments};

/// What the decision needs to know about one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetireFact {
    /// The segment.
    pub id: SegmentId,
    /// First byte after its SEAL record, if a valid footer says so; `None` while it is open,
    /// unrepaired or unreadable.
    pub sealed_end: Option<u64>,
    /// Retention wants it to stay.
    pub keep: bool,
    /// Nothing in it can be read (damaged header and footer). Left for a person, and does not
    /// hold back the segments after it.
    pub unreadable: bool,
}

/// Decides which segments may go, oldest first.
///
/// `segments` are in id order. `acks` holds one entry per required reader, `None` for one that is
/// missing or cannot be trusted. With no required reader at all nothing goes: an empty list is
/// far more often a mistake than a wish.
///
/// The result is a prefix of the readable segments, so the log that stays has no inner gap.
#[must_use]
pub fn may_retire(segments: &[RetireFact], acks: &[Option<Position>]) -> Vec<SegmentId> {
    let Some(passed) = acks.iter().copied().collect::<Option<Vec<Position>>>().and_then(|acks| acks.into_iter().min())
    else {
        return Vec::new();
    };
    let newest_sealed = segments.iter().filter(|s| s.sealed_end.is_some()).map(|s| s.id).max();
    segments
        .iter()
        .filter(|s| !s.unreadable)
        .take_while(|s| {
            let behind = match s.sealed_end {
                None => false,
                Some(end) => passed.segment > s.id || (passed.segment == s.id && passed.offset >= end),
            };
            behind && !s.keep && Some(s.id) != newest_sealed
        })
        .map(|s| s.id)
        .collect()
}

/// The segments that each of the `required` readers has durably passed and that `keep` (retention) does not hold,
/// oldest first. A segment that may go once may go for ever. Changes nothing.
///
/// # Errors
/// [`RetireError`] when the directory cannot be listed, or an ack cannot be read, belongs to another
/// log or does not exist. Nothing may go unless every ack was good.
pub fn retirable(
    dir: &Path,
    required: &[&str],
    keep: &dyn Fn(&SegmentInfo) -> bool,
) -> Result<Vec<SegmentInfo>, RetireError> {
    let segments = list_segments(dir)?;
    let log_uuid = segments.iter().find_map(|s| s.log_uuid);
    let mut acks = Vec::with_capacity(required.len());
    for reader in required {
        let ack = ack::read(dir, reader)?.ok_or_else(|| RetireError::AckMissing { path: ack::path_of(dir, reader) })?;
        if let Some(expected) = log_uuid
            && ack.log_uuid != expected
        {
            return Err(RetireError::AckOfAnotherLog { path: ack::path_of(dir, reader), expected, got: ack.log_uuid });
        }
        acks.push(Some(ack.position));
    }
    let facts: Vec<RetireFact> = segments
        .iter()
        .map(|s| RetireFact {
            id: s.id,
            sealed_end: s.footer.as_ref().map(|f| f.end_offset),
            keep: keep(s),
            unreadable: s.unreadable(),
        })
        .collect();
    let going = may_retire(&facts, &acks);
    Ok(segments.into_iter().filter(|s| going.contains(&s.id)).collect())
}

/// Unlinks what [`retirable`] names, oldest first, and makes the deletions durable.
///
/// Returns what was deleted. Deleting is idempotent: a crash half way leaves a shorter log.
///
/// # Errors
/// As [`retirable`], and when an unlink fails.
pub fn retire(
    dir: &Path,
    required: &[&str],
    keep: &dyn Fn(&SegmentInfo) -> bool,
) -> Result<Vec<SegmentId>, RetireError> {
    let going = retirable(dir, required, keep)?;
    for segment in &going {
        durable::remove_segment(&segment.path)
            .map_err(|source| RetireError::Io { path: segment.path.clone(), source })?;
    }
    if !going.is_empty() {
        durable::sync_dir(dir).map_err(|source| RetireError::Io { path: dir.to_path_buf(), source })?;
    }
    Ok(going.into_iter().map(|s| s.id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Seq;

    fn sealed(id: u64) -> RetireFact {
        RetireFact { id: SegmentId(id), sealed_end: Some(1000), keep: false, unreadable: false }
    }

    fn open(id: u64) -> RetireFact {
        RetireFact { sealed_end: None, ..sealed(id) }
    }

    fn at(segment: u64, offset: u64) -> Option<Position> {
        Some(Position { segment: SegmentId(segment), offset, seq: Seq(0) })
    }

    fn ids(list: &[SegmentId]) -> Vec<u64> {
        list.iter().map(|s| s.0).collect()
    }

    #[test]
    fn segments_below_every_ack_go_and_the_slowest_reader_decides() {
        let log = [sealed(1), sealed(2), sealed(3), open(4)];
        assert_eq!(ids(&may_retire(&log, &[at(3, 500)])), [1, 2]);
        assert_eq!(ids(&may_retire(&log, &[at(3, 500), at(2, 500)])), [1]);
        assert!(may_retire(&log, &[at(3, 500), at(1, 999)]).is_empty());
    }

    #[test]
    fn a_position_past_the_seal_of_a_segment_releases_it() {
        let log = [sealed(1), sealed(2), open(3)];
        assert!(may_retire(&log, &[at(1, 999)]).is_empty());
        assert_eq!(ids(&may_retire(&log, &[at(1, 1000)])), [1]);
    }

    #[test]
    fn one_missing_ack_or_no_reader_at_all_deletes_nothing() {
        let log = [sealed(1), sealed(2), open(3)];
        assert!(may_retire(&log, &[at(3, 0), None]).is_empty());
        assert!(may_retire(&log, &[]).is_empty());
    }

    #[test]
    fn an_open_segment_and_all_after_it_stay_wherever_the_ack_is() {
        let log = [sealed(1), open(2), sealed(3), sealed(4)];
        assert_eq!(ids(&may_retire(&log, &[at(9, 0)])), [1]);
    }

    #[test]
    fn the_newest_sealed_segment_stays_as_the_anchor_of_the_numbering() {
        let log = [sealed(1), sealed(2)];
        assert_eq!(ids(&may_retire(&log, &[at(9, 0)])), [1]);
    }

    #[test]
    fn retention_holds_a_segment_and_those_after_it() {
        let kept = RetireFact { keep: true, ..sealed(2) };
        let log = [sealed(1), kept, sealed(3), open(4)];
        assert_eq!(ids(&may_retire(&log, &[at(4, 4096)])), [1]);
    }

    #[test]
    fn an_unreadable_segment_stays_but_does_not_hold_back_the_others() {
        let bad = RetireFact { unreadable: true, ..open(2) };
        let log = [sealed(1), bad, sealed(3), open(4)];
        assert_eq!(ids(&may_retire(&log, &[at(4, 4096)])), [1]);
        let log = [sealed(1), bad, sealed(3), sealed(4), open(5)];
        assert_eq!(ids(&may_retire(&log, &[at(5, 4096)])), [1, 3]);
    }
}
