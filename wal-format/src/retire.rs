//! Deletion of segments: the one rule, and the one place that unlinks.
//!
//! A segment goes when there is evidence that everything in it is safe elsewhere: every required reader's ack is past
//! its last record, the caller knows a proof for it ([`Evidence::covered`]) and no wish to keep it. The decision
//! ([`may_retire`]) is pure and knows no files; [`retire`] gathers its facts, asks it, and unlinks. One process owns
//! deletion (the compactor's janitor).
//!
//! Positions are compared by seq inside one lineage, never by segment id: after a restore a new run may use ids at or
//! below those that an ack names.
//!
//! What this file never does: delete a segment that is not sealed with a valid footer, that is not the log's, that
//! any required reader has not durably passed, that somebody holds ([`crate::hold`]), the newest sealed one (it anchors the log's identity and its
//! numbering), or anything at all when one required ack is missing, unreadable, or of another log or another copy of
//! this one. A segment with a HOLE is not special here: its reader reports the lost range before it acknowledges.

use std::path::Path;

use crate::ack;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::durable;
use crate::hold;
use crate::layout::ACKS_DIR;
use crate::lineage::lineage;
use crate::read_error::RetireError;
use crate::record::{SegmentId, Seq};
use crate::state::{SegmentInfo, list_segments};

/// Why segments may go. Nothing goes without it.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// Readers whose acks must be past a segment. With none at all nothing goes: an empty list is far more often a
    /// mistake than a wish.
    pub readers: &'a [&'a str],
    /// Whether there is proof that everything in this segment is safe elsewhere. Asked only for sealed segments of the
    /// log itself.
    pub covered: &'a dyn Fn(&SegmentInfo) -> bool,
    /// Whether it is to be kept all the same: retention.
    pub keep: &'a dyn Fn(&SegmentInfo) -> bool,
}

/// What the decision needs to know about one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetireFact {
    /// The segment.
    pub id: SegmentId,
    /// A valid footer closes it; false while it is open, unrepaired or unreadable.
    pub sealed: bool,
    /// Its last record, if it has one.
    pub last_seq: Option<Seq>,
    /// There is proof that everything in it is safe elsewhere, and no hold keeps it.
    pub released: bool,
    /// Nothing in it can be read, or it is not the log's. Left for a person, and does not hold back the segments after
    /// it.
    pub passed_by: bool,
}

/// Decides which segments may go, oldest first.
///
/// `segments` are in id order. `acks` holds one entry per required reader: the first seq it does not have safe
/// elsewhere, or `None` where that is missing or cannot be trusted.
///
/// The result is a prefix of the readable segments, so the log that stays has no inner gap.
#[must_use]
pub fn may_retire(segments: &[RetireFact], acks: &[Option<Seq>]) -> Vec<SegmentId> {
    let Some(passed) = acks.iter().copied().collect::<Option<Vec<Seq>>>().and_then(|acks| acks.into_iter().min())
    else {
        return Vec::new();
    };
    let newest_sealed = segments.iter().filter(|s| s.sealed && !s.passed_by).map(|s| s.id).max();
    segments
        .iter()
        .filter(|s| !s.passed_by)
        .take_while(|s| {
            // One without records holds nothing back.
            let behind = s.sealed && s.last_seq.is_none_or(|last| last < passed);
            behind && s.released && Some(s.id) != newest_sealed
        })
        .map(|s| s.id)
        .collect()
}

/// The segments of the log in `dir` that may go by this evidence and that nobody holds who reads the log again
/// ([`crate::Hold`]), oldest first. Changes nothing.
///
/// # Errors
/// [`RetireError`] when the directory cannot be listed, the log's identity is unknown, or an ack cannot be read, does
/// not exist, or is of another log or of a run that this log never had. Nothing may go unless every ack was good.
pub fn retirable(dir: &Path, evidence: &Evidence<'_>) -> Result<Vec<SegmentInfo>, RetireError> {
    let Some(lineage) = lineage(dir)? else { return Ok(Vec::new()) };
    let segments = list_segments(dir)?;
    let mut acks = Vec::with_capacity(evidence.readers.len());
    for reader in evidence.readers {
        let path = ack::path_of(dir, reader);
        let ack = ack::read(dir, reader)?.ok_or_else(|| RetireError::AckMissing { path: path.clone() })?;
        match lineage.check(&Checkpoint::from(&ack)) {
            Ok(()) => acks.push(Some(ack.position.seq)),
            Err(CheckpointError::OfAnotherLog { expected, got }) => {
                return Err(RetireError::AckOfAnotherLog { path, expected, got });
            }
            Err(source @ CheckpointError::OfAnotherRun { .. }) => {
                return Err(RetireError::AckOfAnotherRun { path, source });
            }
        }
    }
    let io = |source| RetireError::Io { path: dir.join(ACKS_DIR), source };
    let held_from = hold::holds(dir).map_err(io)?.iter().map(|h| h.from).min();
    let facts: Vec<RetireFact> = segments
        .iter()
        .map(|s| RetireFact {
            id: s.id,
            sealed: s.sealed,
            last_seq: s.last_seq(),
            released: s.sealed
                && s.foreign.is_none()
                && held_from.is_none_or(|from| s.id < from)
                && (evidence.covered)(s)
                && !(evidence.keep)(s),
            passed_by: s.unreadable() || s.foreign.is_some(),
        })
        .collect();
    let going = may_retire(&facts, &acks);
    Ok(segments.into_iter().filter(|s| s.foreign.is_none() && going.contains(&s.id)).collect())
}

/// Unlinks what [`retirable`] names, oldest first, and makes the deletions durable.
///
/// Returns what was deleted. Deleting is idempotent: a crash half way leaves a shorter log.
///
/// # Errors
/// As [`retirable`], and when an unlink fails.
pub fn retire(dir: &Path, evidence: &Evidence<'_>) -> Result<Vec<SegmentId>, RetireError> {
    let acks = dir.join(ACKS_DIR);
    // Without acks nothing may go anyway.
    let _choosing = match acks.is_dir() {
        true => Some(hold::choosing(&acks).map_err(|source| RetireError::Io { path: acks, source })?),
        false => None,
    };
    let going = retirable(dir, evidence)?;
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

    /// Segment `id` holds 100 records of epoch 1.
    fn sealed(id: u64) -> RetireFact {
        let last_seq = Some(Seq::new(1, id * 100 - 1));
        RetireFact { id: SegmentId(id), sealed: true, last_seq, released: true, passed_by: false }
    }

    fn open(id: u64) -> RetireFact {
        RetireFact { sealed: false, last_seq: None, released: false, ..sealed(id) }
    }

    fn at(counter: u64) -> Option<Seq> {
        Some(Seq::new(1, counter))
    }

    fn ids(list: &[SegmentId]) -> Vec<u64> {
        list.iter().map(|s| s.0).collect()
    }

    #[test]
    fn segments_below_every_ack_go_and_the_slowest_reader_decides() {
        let log = [sealed(1), sealed(2), sealed(3), open(4)];
        assert_eq!(ids(&may_retire(&log, &[at(250)])), [1, 2]);
        assert_eq!(ids(&may_retire(&log, &[at(250), at(150)])), [1]);
        assert!(may_retire(&log, &[at(250), at(99)]).is_empty());
    }

    #[test]
    fn a_seq_past_the_last_record_of_a_segment_releases_it_whatever_its_id() {
        let log = [sealed(1), sealed(2), open(3)];
        assert!(may_retire(&log, &[at(99)]).is_empty());
        assert_eq!(ids(&may_retire(&log, &[at(100)])), [1]);
        let later_run = RetireFact { last_seq: Some(Seq::new(2, 50)), ..sealed(2) };
        assert_eq!(ids(&may_retire(&[sealed(1), later_run, sealed(3)], &[at(900)])), [1]);
    }

    #[test]
    fn one_missing_ack_or_no_reader_at_all_deletes_nothing() {
        let log = [sealed(1), sealed(2), open(3)];
        assert!(may_retire(&log, &[at(900), None]).is_empty());
        assert!(may_retire(&log, &[]).is_empty());
    }

    #[test]
    fn an_open_segment_and_all_after_it_stay_wherever_the_ack_is() {
        let log = [sealed(1), open(2), sealed(3), sealed(4)];
        assert_eq!(ids(&may_retire(&log, &[at(900)])), [1]);
    }

    #[test]
    fn the_newest_sealed_segment_stays_as_the_anchor_of_the_numbering() {
        let log = [sealed(1), sealed(2)];
        assert_eq!(ids(&may_retire(&log, &[at(900)])), [1]);
        let stranger = RetireFact { passed_by: true, ..sealed(9) };
        assert_eq!(ids(&may_retire(&[sealed(1), sealed(2), stranger], &[at(2000)])), [1], "a stranger is no anchor");
    }

    #[test]
    fn a_segment_that_nothing_covers_and_those_after_it_stay() {
        let kept = RetireFact { released: false, ..sealed(2) };
        let log = [sealed(1), kept, sealed(3), open(4)];
        assert_eq!(ids(&may_retire(&log, &[at(900)])), [1]);
    }

    #[test]
    fn a_segment_without_records_holds_nothing_back() {
        let empty = RetireFact { last_seq: None, ..sealed(2) };
        let log = [sealed(1), empty, sealed(3), open(4)];
        assert_eq!(ids(&may_retire(&log, &[at(200)])), [1, 2]);
    }

    #[test]
    fn an_unreadable_segment_stays_but_does_not_hold_back_the_others() {
        let bad = RetireFact { passed_by: true, ..open(2) };
        let log = [sealed(1), bad, sealed(3), open(4)];
        assert_eq!(ids(&may_retire(&log, &[at(900)])), [1]);
        let log = [sealed(1), bad, sealed(3), sealed(4), open(5)];
        assert_eq!(ids(&may_retire(&log, &[at(900)])), [1, 3]);
    }
}
