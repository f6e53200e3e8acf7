//! Where a stored position is in this log: by its seq, inside the log's lineage.
//!
//! Segment and offset of a position are only a hint. They hold as long as the segment with that id is of the run that
//! the seq is of, for a run never gives an id twice. After a restore they may not: the original was read up to segment 9
//! (1:900), the copy that was put back has segments up to 6 (1:600), and the next run writes to segments 7, 8, 9, ....
//! Reading goes on at 2:0 in segment 7. Until the first record at or after the position is met, records before it are
//! passed over without a word: they were read in another life.

use std::path::PathBuf;

use super::{LogReader, Place};
use crate::incarnation::{Incarnation, Run};
use crate::layout::DATA_START;
use crate::lineage::{self, Foreign, KnownRun, Lineage};
use crate::read_error::ReadError;
use crate::record::{SegmentId, Seq};
use crate::source::{Check, Source};
use crate::watch::{Ahead, Watch};

impl LogReader {
    /// Reads again whose log it is. It must still be one that had the run that is being read: else somebody put another
    /// log, or another copy of this one, in its place.
    pub(super) fn reload(&mut self) -> Result<(), ReadError> {
        let found = lineage::of_dirs(&self.dirs)?;
        let replaced = |lineage: &Lineage| {
            let other_log = self.log_uuid().is_some_and(|uuid| uuid != lineage.log_uuid());
            let other_run = self.reading.is_some_and(|run| lineage.knows(run) == KnownRun::No);
            self.reading.is_some() && (other_log || other_run)
        };
        if found.as_ref().is_some_and(replaced) {
            return Err(ReadError::Replaced { path: self.dirs.dir().to_path_buf() });
        }
        self.lineage = found;
        Ok(())
    }

    pub(super) fn open_own(&self, id: SegmentId) -> Result<Option<Source>, ReadError> {
        self.dirs.open_own(id, self.options.chunk_bytes, self.lineage.as_ref())
    }

    pub(super) fn look_ahead(&mut self, from: SegmentId) -> Result<Ahead, ReadError> {
        let mut ahead = self.watch.look(&self.dirs, from, self.lineage.as_ref())?;
        let mut foreign = self.watch.take_foreign();
        if foreign.iter().any(|(path, _)| !self.passed_by.contains(path)) {
            // What is known of the log may be older than these files.
            self.reload()?;
            self.watch = Watch::default();
            ahead = self.watch.look(&self.dirs, from, self.lineage.as_ref())?;
            foreign = self.watch.take_foreign();
        }
        for (path, why) in foreign {
            self.remark(path, why);
        }
        Ok(ahead)
    }

    /// Notes a file that is passed by, once.
    pub(super) fn remark(&mut self, path: PathBuf, why: Foreign) {
        if self.passed_by.insert(path.clone()) {
            self.remarks.push((path, why));
        }
    }

    /// Why a segment with these claims is not the log's. What is known of the log may be older than the segment: before
    /// anything is called foreign, or new, it is read again.
    pub(super) fn whose(
        &mut self,
        id: SegmentId,
        log_uuid: Option<[u8; 16]>,
        run: Option<Run>,
    ) -> Result<Option<Foreign>, ReadError> {
        let (epoch, incarnation) = (run.map(|run| run.epoch), run.map(|run| run.incarnation));
        let judge =
            |lineage: &Option<Lineage>| lineage.as_ref().and_then(|l| l.judge(id, log_uuid, epoch, incarnation));
        let knows = |lineage: &Lineage| epoch.is_none_or(|epoch| lineage.incarnation_of(epoch).is_some());
        if judge(&self.lineage).is_some() || !self.lineage.as_ref().is_some_and(knows) {
            self.reload()?;
        }
        let verdict = judge(&self.lineage);
        if let (None, Some(run), Some(lineage)) = (verdict, run, &mut self.lineage) {
            lineage.add(run);
            self.reading = Some(run);
        }
        Ok(verdict)
    }

    /// The incarnation of a run of this log: as its segments or EPOCH say, else as the checkpoint said.
    #[must_use]
    pub fn incarnation_of(&self, epoch: u32) -> Incarnation {
        let known = self.lineage.as_ref().and_then(|lineage| lineage.incarnation_of(epoch));
        let given = self.from.filter(|run| run.epoch == epoch).map(|run| run.incarnation);
        known.or(given).unwrap_or_default()
    }

    /// Names have changed while the reader waits at the end of an unfinished segment: is it still the one with its name?
    /// Else somebody put another log, or another copy of this one, in the place of what is being read.
    pub(super) fn check_still_there(&self) -> Result<(), ReadError> {
        let Place::Inside(inside) = &self.place else { return Ok(()) };
        if self.still_there(&inside.source)? {
            return Ok(());
        }
        Err(ReadError::Replaced { path: inside.source.path().to_path_buf() })
    }

    /// Names have changed while the reader waits after the end of the log. A new run goes on with higher ids, unless
    /// the log was replaced by a copy of it: then its records are found by number.
    pub(super) fn find_place_again(&mut self) -> Result<(), ReadError> {
        self.reload()?;
        let (Place::Between { next, .. }, Some(expected)) = (&self.place, self.expected) else { return Ok(()) };
        for id in self.dirs.ids()?.into_iter().take_while(|id| id < next) {
            let mut source = match self.open_own(id) {
                Ok(Some(source)) => source,
                Ok(None) => continue,
                // It was reported when the reader came by.
                Err(error) if error.is_unreachable() => continue,
                Err(error) => return Err(error),
            };
            let foreign = self.lineage.as_ref().map_or(Ok(None), |lineage| lineage.foreign(&mut source))?;
            // A run gives its ids in order, so only a later one can go on below.
            let later = source.epoch().is_some_and(|epoch| epoch > expected.epoch());
            if foreign.is_none() && later && (source.is_archived() || source.commit_word(DATA_START)? != 0) {
                self.go_between(id);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Turns the position that reading was to begin at into where its seq is here. Does nothing while there is no
    /// log.
    pub(super) fn find_place(&mut self) -> Result<(), ReadError> {
        self.reload()?;
        let (Place::Between { next: hint, offset }, Some(lineage)) = (&self.place, &self.lineage) else {
            return Ok(());
        };
        let (hint, offset) = (*hint, *offset);
        let Some(seq) = self.expected else {
            self.placed = true;
            return Ok(());
        };
        let inside = offset > DATA_START;
        if inside && self.is_of(hint, seq.epoch())? {
            self.placed = true;
            return Ok(());
        }
        let (found, last) = self.first_with(seq)?;
        let handed_out = lineage.handed_out(hint);
        let next = match found {
            // A segment that this log had and that held the position is gone: that is reported on the way to the next.
            _ if inside && handed_out && found.is_none_or(|found| found > hint) => None,
            Some(found) => Some(found.min(hint)),
            None => Some(last.map_or(hint, |last| hint.min(SegmentId(last.0.saturating_add(1))))),
        };
        if let Some(next) = next {
            self.place = Place::Between { next, offset: DATA_START };
            self.catching_up = true;
        }
        self.placed = true;
        Ok(())
    }

    /// Whether the segment with this id is one of the log's, of this epoch.
    fn is_of(&self, id: SegmentId, epoch: u32) -> Result<bool, ReadError> {
        let Some(mut source) = self.open_own(id)? else { return Ok(false) };
        let foreign = self.lineage.as_ref().map_or(Ok(None), |lineage| lineage.foreign(&mut source))?;
        // One that nobody can read is reported as it always was.
        Ok(foreign.is_none() && source.epoch().is_none_or(|theirs| theirs == epoch))
    }

    /// The first of the log's segments that may hold a record at or after `seq`, and the last one of all.
    fn first_with(&self, seq: Seq) -> Result<(Option<SegmentId>, Option<SegmentId>), ReadError> {
        let (mut found, mut last) = (None, None);
        for id in self.dirs.ids()? {
            let mut source = match self.open_own(id) {
                Ok(Some(source)) => source,
                Ok(None) => continue,
                // If it comes next it is waited for there; one that was read before may be away.
                Err(error) if error.is_unreachable() => continue,
                Err(error) => return Err(error),
            };
            if self.lineage.as_ref().map_or(Ok(None), |lineage| lineage.foreign(&mut source))?.is_some() {
                continue;
            }
            last = Some(id);
            let epoch = source.epoch();
            let ended = match source.footer()? {
                Some(footer) => footer.last_seq.is_none_or(|last| last < seq),
                None => epoch.is_some_and(|epoch| epoch < seq.epoch()),
            };
            if ended || (!source.is_archived() && source.commit_word(DATA_START)? == 0) {
                continue;
            }
            let first = match source.check(DATA_START) {
                Ok(Check::Valid(info)) => Some(info.seq),
                _ => None,
            };
            match first {
                // What comes before a segment that begins at or before it lies before it too.
                Some(first) if first <= seq => found = Some(id),
                Some(_) => {
                    found = found.or(Some(id));
                    break;
                }
                None => found = found.or(Some(id)),
            }
        }
        Ok((found, last))
    }
}
