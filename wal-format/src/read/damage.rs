//! What the reader does where it finds no valid record: at the live tail, after a segment that was never closed, at damage.

use super::pending::Pending;
use super::{Advance, LogReader, Place};
use crate::footer::FooterSummary;
use crate::layout::RECORD_ALIGN;
use crate::read_error::ReadError;
use crate::record::{SegmentId, Seq};
use crate::source::Check;
use crate::step::{LostRange, LostReason};

/// What a reader needs of a footer.
#[derive(Clone, Copy)]
struct Ending {
    end: u64,
    next: SegmentId,
    first_seq: Option<Seq>,
    last_seq: Option<Seq>,
    /// Everything up to `end` was on disk when the footer was written.
    synced: bool,
}

impl Ending {
    fn of(footer: &FooterSummary) -> Ending {
        Ending {
            end: footer.end_offset,
            next: footer.next,
            first_seq: footer.first_seq,
            last_seq: footer.last_seq,
            synced: footer.synced,
        }
    }
}

impl LogReader {
    /// Commit word 0 (or no room for a record): the tail of a live log, or something to explain.
    pub(super) fn at_tail(&mut self) -> Result<Option<Advance>, ReadError> {
        let Place::Inside(inside) = &mut self.place else {
            return Ok(None);
        };
        let segment = inside.source.id();
        if inside.source.is_cut() {
            // Somebody truncated the file under us; a repair gives it its length back, and our mapping does not grow.
            inside.source.unmap();
            inside.source.forget();
            if !inside.source.is_cut() {
                return Ok(None);
            }
        }
        if let Some(footer) = inside.source.footer()?.map(Ending::of) {
            if inside.offset >= footer.end {
                // Our position is beyond the recovered end. Legal: go on after it.
                self.go_between(footer.next);
                return Ok(None);
            }
            return self.recheck_or(Self::damaged);
        }
        if inside.source.is_archived() {
            // Only what was sealed is archived: an archive without an end has lost it.
            return self.damaged();
        }
        let later = SegmentId(segment.0.saturating_add(1));
        if self.only.is_none() {
            let ahead = self.look_ahead(later)?;
            if self.watch.take_listed() {
                self.check_still_there()?;
            }
            if ahead.used.is_some() {
                return self.recheck_or(Self::damaged);
            }
        }
        Ok(Some(Advance::Tail))
    }

    /// Looks at the present offset once more, now that something later was seen: the writer
    /// publishes in order, so whatever it wrote here is visible by now.
    pub(super) fn recheck_or(
        &mut self,
        otherwise: fn(&mut Self) -> Result<Option<Advance>, ReadError>,
    ) -> Result<Option<Advance>, ReadError> {
        if let Place::Inside(inside) = &mut self.place {
            inside.source.forget();
            if inside.source.commit_word(inside.offset)? != 0
                && matches!(inside.source.check(inside.offset)?, Check::Valid(_))
            {
                return Ok(None);
            }
        }
        otherwise(self)
    }

    /// An invalid record, or nothing where the log is known to go on.
    pub(super) fn damaged(&mut self) -> Result<Option<Advance>, ReadError> {
        self.damaged_by(LostReason::Damage)
    }

    pub(super) fn damaged_by(&mut self, reason: LostReason) -> Result<Option<Advance>, ReadError> {
        let skipping = self.skipping();
        let Place::Inside(inside) = &mut self.place else {
            return Ok(None);
        };
        let segment = inside.source.id();
        let offset = inside.offset;
        let footer = inside.source.footer()?.map(Ending::of);
        // From here on only copies are judged: repair may be writing right here.
        inside.source.unmap();
        if footer.is_none() && !skipping {
            inside.source.forget();
            return Ok(Some(Advance::AwaitRepair(segment)));
        }
        if let Some(lost) = self.turn_epoch() {
            return Ok(Some(Advance::Lost(lost)));
        }
        let expected = self.expected;
        let Place::Inside(inside) = &mut self.place else {
            return Ok(None);
        };
        let committed = inside.source.commit_word(offset).map_or(true, |w| w != 0);
        let limit = footer.map_or(u64::MAX, |f| f.end);
        let least = match expected {
            Some(seq) => seq,
            None => {
                footer.and_then(|f| f.first_seq).or(inside.source.epoch().map(|e| Seq::new(e, 0))).unwrap_or(Seq(0))
            }
        };
        let island = inside.source.scan(offset + RECORD_ALIGN as u64, limit, least)?;
        let end = island.unwrap_or_else(|| inside.source.data_end().min(limit));
        if let Some(footer) = footer
            && island.is_none()
            && footer.last_seq.is_some_and(|last| last < least)
        {
            // Everything the segment ever held was read before: our position is beyond its
            // recovered end, or only the SEAL of recovery is damaged.
            if let Some(pending) = &mut self.pending {
                pending.final_end = true;
            }
            self.go_between(footer.next);
            return Ok(None);
        }
        if island.is_some() || committed || footer.is_some() {
            self.note_lost(Pending {
                from: least,
                segment,
                offset,
                bytes: end.saturating_sub(offset),
                reason,
                final_end: false,
                below_durable: footer.is_some_and(|footer| footer.synced),
            });
        }
        if let Some(island) = island {
            if let Place::Inside(inside) = &mut self.place {
                inside.offset = island;
            }
            return Ok(None);
        }
        let Some(footer) = footer else {
            if let Some(pending) = &mut self.pending {
                pending.final_end = true;
            }
            self.go_between(SegmentId(segment.0.saturating_add(1)));
            self.skip = false;
            return Ok(None);
        };
        self.go_between(footer.next);
        // The footer knows what was here.
        if let (Some(last), Some(pending)) = (footer.last_seq, self.pending)
            && last >= pending.from
            && last.epoch() == pending.from.epoch()
        {
            self.pending = None;
            self.expected = Some(last.next());
            return Ok(Some(Advance::Lost(LostRange { to: last, exact: true, ..pending.inexact() })));
        }
        Ok(None)
    }
}
