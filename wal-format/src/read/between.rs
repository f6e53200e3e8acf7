//! Between two segments: which one is next, and whether something that should be before it is missing.

use super::pending::Pending;
use super::{Advance, Inside, LogReader, Place};
use crate::directory::quarantined;
use crate::incarnation::Run;
use crate::layout::DATA_START;
use crate::lineage::Foreign;
use crate::read_error::ReadError;
use crate::record::{SegmentId, Seq};
use crate::source::{Admission, Source};
use crate::step::LostReason;
use crate::watch::Watch;

impl LogReader {
    pub(super) fn enter(&mut self) -> Result<Option<Advance>, ReadError> {
        let Place::Between { next, offset } = self.place else {
            return Ok(None);
        };
        if self.only.is_some() {
            return Ok(Some(self.end_of_log()));
        }
        if offset > DATA_START {
            match self.open_own(next) {
                Ok(None) => {}
                // A position inside it: it had records when the position was taken.
                Ok(Some(source)) => return self.admit(source, offset),
                Err(error) => return self.pass_unreachable(next, offset, error),
            }
        }
        let ahead = self.look_ahead(next)?;
        if let Some(id) = ahead.unreachable
            && ahead.unused.is_none_or(|unused| id < unused)
            && let Some(error) = self.watch.why_unreachable()
        {
            // It comes next, as far as anybody knows: what it holds must not be passed by.
            return self.pass_unreachable(id, DATA_START, error);
        }
        if let Some(id) = ahead.unused
            && let Some(mut before) = self.open_own(id)?
        {
            // Nothing before a segment with records may be passed silently. The roll race: its
            // first record is committed before the next segment's, so this look comes after. A
            // footer says that there were records, whatever became of the first.
            let used = before.is_archived() || before.commit_word(DATA_START)? != 0 || before.has_footer()?;
            if used || (ahead.used.is_some() && self.skipping()) {
                self.note_missing(next, offset, id)?;
                return self.admit(before, DATA_START);
            }
            if ahead.used.is_some() {
                return Ok(Some(Advance::AwaitRepair(id)));
            }
        }
        let Some(id) = ahead.used else {
            if self.watch.take_listed() && self.expected.is_some() {
                self.find_place_again()?;
                let Place::Between { next: now, .. } = self.place else { return Ok(None) };
                if now < next {
                    return Ok(None);
                }
            }
            self.note_missing(next, offset, SegmentId(u64::MAX))?;
            return Ok(Some(self.end_of_log()));
        };
        self.note_missing(next, offset, id)?;
        match self.open_own(id)? {
            Some(source) => self.admit(source, DATA_START),
            // Retired just now: look again.
            None => Ok(None),
        }
    }

    /// Segment `id` is needed and cannot be opened. It may come back, so a reader that can wait does; one that steps
    /// over damage says that whatever it holds is missing.
    fn pass_unreachable(&mut self, id: SegmentId, offset: u64, error: ReadError) -> Result<Option<Advance>, ReadError> {
        if !self.skipping() || !error.is_unreachable() {
            return Err(error);
        }
        self.note_lost(Pending {
            from: self.expected.unwrap_or(Seq(0)),
            segment: id,
            offset,
            bytes: 0,
            reason: LostReason::Unreachable,
            final_end: true,
            below_durable: false,
        });
        self.go_between(SegmentId(id.0.saturating_add(1)));
        Ok(None)
    }

    /// `next` is not where reading goes on, but `found`: was there anything in between?
    pub(super) fn note_missing(&mut self, next: SegmentId, offset: u64, found: SegmentId) -> Result<(), ReadError> {
        let quarantined_id = quarantined(self.dirs.dir())?.into_iter().filter(|id| (next..found).contains(id)).max();
        let reason = match quarantined_id {
            Some(_) => LostReason::Unreadable,
            // A position inside it proves that it had records. Being named by a SEAL does not:
            // after a crash an unused segment is taken over under a new id.
            None if offset > DATA_START && next < found && found.0 != u64::MAX => LostReason::MissingSegment,
            None => return Ok(()),
        };
        self.note_lost(Pending {
            // With nothing known before it, its records cannot be numbered.
            from: self.expected.unwrap_or(Seq(0)),
            segment: next,
            offset,
            bytes: 0,
            reason,
            final_end: quarantined_id.is_some(),
            below_durable: false,
        });
        if let Some(id) = quarantined_id {
            // Reported once.
            self.place = Place::Between { next: SegmentId(id.0.saturating_add(1)), offset: DATA_START };
        }
        Ok(())
    }

    pub(super) fn end_of_log(&mut self) -> Advance {
        match self.pending {
            Some(pending) if pending.final_end || self.only.is_some() => {
                self.pending = None;
                Advance::Lost(pending.inexact())
            }
            _ => Advance::Tail,
        }
    }

    pub(super) fn admit(&mut self, mut source: Source, offset: u64) -> Result<Option<Advance>, ReadError> {
        let id = source.id();
        let admission = match source.admit() {
            Ok(admission) => admission,
            Err(error) => return self.pass_unreachable(id, offset, error),
        };
        let foreign = match admission {
            Admission::Identified { log_uuid, epoch, incarnation } => {
                let run = epoch.zip(incarnation).map(|(epoch, incarnation)| Run { epoch, incarnation });
                self.whose(id, log_uuid, run)?
            }
            // An unused segment may be taken over under a new id between our open and now.
            Admission::Misnamed(_) if !self.still_there(&source)? => return Ok(None),
            Admission::Misnamed(segment) => Some(Foreign::Name { segment }),
            Admission::Unreadable => {
                let bytes = source.file_bytes();
                self.note_lost(Pending {
                    // With nothing known before it, its records cannot be numbered.
                    from: self.expected.unwrap_or(Seq(0)),
                    segment: id,
                    offset: 0,
                    bytes,
                    reason: LostReason::Unreadable,
                    final_end: true,
                    below_durable: false,
                });
                self.go_between(SegmentId(id.0.saturating_add(1)));
                return Ok(None);
            }
        };
        if let Some(why) = foreign {
            // No record of this log is in it, so none is lost with it.
            self.remark(source.path().to_path_buf(), why);
            self.go_between(SegmentId(id.0.saturating_add(1)));
            return Ok(None);
        }
        if source.footer()?.is_none() {
            source.map_live()?;
        }
        self.place = Place::Inside(Inside { source, offset: offset.max(DATA_START), leaving: None });
        self.watch = Watch::default();
        Ok(None)
    }

    /// Whether the name of this open segment still leads to it.
    pub(super) fn still_there(&self, source: &Source) -> Result<bool, ReadError> {
        let again = Source::open_path(source.path(), source.id(), self.options.chunk_bytes)?;
        Ok(again.is_some_and(|again| again.same_file(source)))
    }
}
