//! What is missing: a lost range waits until the record after it, or the end of the log, gives its extent, so that
//! every lost seq is reported once and with exact ends where evidence exists.

use super::pending::{Pending, Stale};
use super::{LogReader, Place};
use crate::record::{Kind, Seal, Seq};
use crate::source::RecordInfo;
use crate::step::{LostRange, LostReason};

impl LogReader {
    /// The last seq of the epoch before, if this record opens an epoch and its writer knew it.
    pub(super) fn end_of_previous_epoch(&self, offset: u64, info: &RecordInfo) -> Option<Seq> {
        if info.kind_raw != Kind::EpochStart as u8 {
            return None;
        }
        let Place::Inside(inside) = &self.place else {
            return None;
        };
        previous_last_seq(inside.source.payload(offset, info)).map(Seq)
    }

    /// What must be reported before the record `seq` at `offset`, if anything. `Err` for a
    /// record that lies before what was already read: it is damage, whatever its checksum says.
    pub(super) fn lost_before(
        &mut self,
        offset: u64,
        seq: Seq,
        ended: Option<Seq>,
    ) -> Option<Result<LostRange, Stale>> {
        let segment = match &self.place {
            Place::Inside(inside) => inside.source.id(),
            Place::Between { next, .. } => *next,
        };
        let expected = match (self.expected, self.pending) {
            (Some(expected), _) => expected,
            (None, Some(pending)) => pending.from,
            (None, None) => return None,
        };
        if seq < expected {
            return Some(Err(Stale));
        }
        if seq.epoch() == expected.epoch() {
            let pending = self.pending.take();
            if seq == expected {
                return None;
            }
            let lost = match pending {
                Some(pending) => LostRange { to: Seq(seq.0 - 1), exact: true, ..pending.inexact() },
                None => LostRange {
                    from: expected,
                    to: Seq(seq.0 - 1),
                    exact: true,
                    segment,
                    offset,
                    bytes: 0,
                    reason: LostReason::UncleanEnd,
                    below_durable: false,
                },
            };
            self.expected = Some(seq);
            return Some(Ok(lost));
        }
        // A later epoch. What the earlier one still held is known only if its writer closed the
        // log in order and this one's said where.
        if let Some(last) = ended
            && last.epoch() == expected.epoch()
        {
            let pending = self.pending.take();
            self.expected = Some(Seq::new(seq.epoch(), 0));
            if last >= expected {
                let unmarked = Pending::at_end(expected, segment, offset);
                // Its writer closed the log in order: everything was on disk by then.
                let lost = LostRange { from: expected, ..pending.unwrap_or(unmarked).inexact() };
                return Some(Ok(LostRange { to: last, exact: true, below_durable: true, ..lost }));
            }
        }
        let first = Seq::new(seq.epoch(), 0);
        self.expected = Some(first);
        match self.pending {
            // The lost range was before everything that is known: number it from here.
            Some(pending) if pending.from == Seq(0) => {
                self.pending = Some(Pending { from: first, ..pending });
            }
            Some(pending) => {
                self.pending = None;
                return Some(Ok(pending.inexact()));
            }
            None => {}
        }
        self.lost_before(offset, seq, None)
    }

    /// What the SEAL of recovery says about the records before it: where its number is not the one expected, those in
    /// between are known to have existed.
    pub(super) fn lost_before_seal(&mut self, offset: u64, seq: Seq, seal: &Seal) -> Option<LostRange> {
        let Place::Inside(inside) = &self.place else {
            return None;
        };
        let segment = inside.source.id();
        let Some(expected) = self.expected.filter(|e| e.epoch() == seq.epoch() && *e < seq) else {
            // It is the one that recovery expected next.
            self.expected = self.expected.or(Some(seq));
            if let Some(pending) = &mut self.pending {
                pending.final_end = true;
            }
            return None;
        };
        let pending = self.pending.take().unwrap_or(Pending::at_end(expected, segment, offset));
        self.expected = Some(seq);
        Some(LostRange {
            to: Seq(seq.0 - 1),
            exact: true,
            below_durable: pending.below_durable || seal.below_durable,
            ..pending.inexact()
        })
    }

    /// What is lost from here on belongs to this segment's epoch. If that is a later one than what
    /// is expected, a lost range of the epoch before has found its end, unknown as it is.
    pub(super) fn turn_epoch(&mut self) -> Option<LostRange> {
        let Place::Inside(inside) = &self.place else {
            return None;
        };
        let (epoch, expected) = (inside.source.epoch()?, self.expected?);
        if epoch <= expected.epoch() {
            return None;
        }
        self.expected = Some(Seq::new(epoch, 0));
        self.pending.take().map(|pending| pending.inexact())
    }

    /// Adds a lost range to the one that waits for its end, if any.
    pub(super) fn note_lost(&mut self, lost: Pending) {
        match &mut self.pending {
            Some(pending) => {
                pending.bytes = pending.bytes.saturating_add(lost.bytes);
                pending.final_end |= lost.final_end;
                pending.below_durable |= lost.below_durable;
            }
            None => self.pending = Some(lost),
        }
    }
}

/// The number after `previous_last_seq` in the JSON of an EPOCH_START record.
fn previous_last_seq(json: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(json).ok()?;
    let (_, tail) = text.split_once("\"previous_last_seq\":")?;
    let digits = tail.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}
