//! One reader for every state of a log: sealed segments, the live one, crash tails, gaps.
//!
//! ```text
//!            first record committed                SEAL, or nothing readable up to the end
//!  Between ───────────────────────────▶ Inside ───────────────────────────────────────────▶ Between
//!  (next id)   header read only now     (offset)            (next id from SEAL)
//! ```
//!
//! What the reader promises:
//! - each record once, in log order; each lost seq in exactly one [`LostRange`], before the
//!   record that proves it;
//! - it never passes an unsealed segment on its own while a required reader could still get
//!   records out of it: it says [`Step::AwaitRepair`] instead;
//! - memory is bounded by one read buffer and the largest allowed record; a segment's file and
//!   mapping are released when the reader moves on.
//!
//! It never writes, and takes no lock. Bytes of a live segment past the committed tail are only
//! touched through `sys`.
//!
//! Worked example. Segment 4 holds 1:0 to 1:99 and a torn record, the machine lost power, and a
//! new writer (epoch 2) already appends to segment 5. At the torn record the reader finds commit
//! word 0, lists the directory, sees that segment 5 has a record, looks at segment 4 again (the
//! roll race), still finds 0, and answers `AwaitRepair { 4 }`. When recovery has sealed 4, the
//! next call finds the SEAL and goes on with 2:0 in segment 5.

use std::path::{Path, PathBuf};

use crate::archive;
use crate::error::OpenError;
use crate::footer::FooterSummary;
use crate::layout::{DATA_START, RECORD_ALIGN};
use crate::read_error::ReadError;
use crate::record::{Kind, Position, SegmentId, Seq};
use crate::segment;
use crate::shelf::Shelf;
use crate::source::{Admission, Check, RecordInfo, Source};
use crate::state::quarantined;
use crate::step::{LossReason, LostRange, RecordRef, Step};
use crate::watch::Watch;

/// How a reader behaves.
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    /// Step over unrepaired damage and crash tails at once, reporting [`Step::Lost`], instead of
    /// answering [`Step::AwaitRepair`]. For readers that hold nothing back (`follow`, tools).
    pub follow_damaged: bool,
    /// Size of the read buffer for sealed segments, in bytes; at least 4 KiB. Grows to the
    /// largest record met and falls back at the next segment.
    pub chunk_bytes: usize,
    /// A second directory with archived segments of the same log; those in the log's own are always found.
    pub archive: Option<PathBuf>,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        ReaderOptions {
            follow_damaged: false,
            // 1 MiB: a tenth faster than 256 KiB on sealed segments, more gave nothing.
            chunk_bytes: 1024 * 1024,
            archive: None,
        }
    }
}

/// A loss whose extent the next record will tell.
#[derive(Clone, Copy, Debug)]
struct Pending {
    from: Seq,
    segment: SegmentId,
    offset: u64,
    bytes: u64,
    reason: LossReason,
    /// Nothing of this epoch can follow: say what is known when the log ends here.
    final_end: bool,
}

/// Where the reader stands.
#[expect(
    clippy::large_enum_variant,
    reason = "one per reader, and the large variant is the one it is nearly always in"
)]
enum Place {
    /// Before the first record of the lowest segment from `next` on.
    Between {
        next: SegmentId,
        /// Where to start inside `next` itself; a later segment starts at its first record.
        offset: u64,
    },
    /// Inside a segment.
    Inside(Inside),
}

struct Inside {
    source: Source,
    offset: u64,
    /// A SEAL was read: the segment to go to on the next call.
    leaving: Option<SegmentId>,
}

/// What `advance` found; `next` turns it into a [`Step`] that borrows.
enum Found {
    Record { offset: u64, info: RecordInfo },
    Lost(LostRange),
    Tail,
    AwaitRepair(SegmentId),
}

/// Reads a log from a [`Position`] on, and follows it. See the file's own description.
pub struct LogReader {
    shelf: Shelf,
    options: ReaderOptions,
    log_uuid: Option<[u8; 16]>,
    expected: Option<Seq>,
    pending: Option<Pending>,
    place: Place,
    watch: Watch,
    /// `skip_damaged` was called at the present obstacle.
    skip: bool,
    /// Reads this one file and nothing after it.
    only: Option<PathBuf>,
}

impl LogReader {
    /// Opens a reader at `from`. Nothing has to exist yet: an absent directory reads as a log
    /// without records so far.
    ///
    /// A position beyond the recovered end of its segment continues with the segment after it; a
    /// position in a deleted segment continues with the first one that is left, with a
    /// [`Step::Lost`] if numbers are missing.
    ///
    /// # Errors
    /// [`OpenError`] when `dir` exists and is not a directory.
    pub fn open(dir: &Path, from: Position, options: ReaderOptions) -> Result<Self, OpenError> {
        if dir.exists() && !dir.is_dir() {
            return Err(OpenError::NotADirectory { path: dir.to_path_buf() });
        }
        Ok(LogReader {
            shelf: Shelf::with_archive(dir, options.archive.as_deref()),
            options,
            log_uuid: None,
            expected: (from.seq != Seq(0)).then_some(from.seq),
            pending: None,
            place: Place::Between { next: from.segment, offset: from.offset },
            watch: Watch::default(),
            skip: false,
            only: None,
        })
    }

    /// Opens a reader over one segment file, wherever it lies and whatever became of its log.
    /// The reader answers [`Step::Tail`] at its end.
    ///
    /// # Errors
    /// [`ReadError::NotASegment`] when nothing in the file says how to read it.
    pub fn open_file(path: &Path, options: ReaderOptions) -> Result<Self, ReadError> {
        let not_a_segment = || ReadError::NotASegment { path: path.to_path_buf() };
        let id = id_of_file(path)?;
        let mut source = Source::open_path(path, id, options.chunk_bytes)?.ok_or_else(not_a_segment)?;
        let log_uuid = match source.admit()? {
            Admission::Identified { log_uuid, .. } => log_uuid,
            Admission::Foreign | Admission::Unreadable => return Err(not_a_segment()),
        };
        // Let the loader of the footer run once, so that damage is told from a tail.
        source.footer()?;
        Ok(LogReader {
            shelf: Shelf::new(path.parent().unwrap_or(Path::new("."))),
            options,
            log_uuid,
            expected: None,
            pending: None,
            place: Place::Inside(Inside { source, offset: DATA_START, leaving: None }),
            watch: Watch::default(),
            skip: false,
            only: Some(path.to_path_buf()),
        })
    }

    /// Archive frames inflated for the present segment, and the bytes that were read for them: what a question to an
    /// archive cost. Zeros at a plain segment.
    #[must_use]
    pub fn archive_cost(&self) -> (u64, u64) {
        match &self.place {
            Place::Between { .. } => (0, 0),
            Place::Inside(inside) => inside.source.cost(),
        }
    }

    /// The next step. Never blocks on the writer.
    ///
    /// # Errors
    /// [`ReadError`] when a file cannot be read or was written by a newer version. The reader
    /// stays where it is; after a read error [`LogReader::skip_damaged`] steps over the block.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Step<'_>, ReadError> {
        match self.advance()? {
            Found::Lost(lost) => Ok(Step::Lost(lost)),
            Found::Tail => Ok(Step::Tail),
            Found::AwaitRepair(segment) => Ok(Step::AwaitRepair { segment }),
            Found::Record { offset, info } => {
                let next = self.position();
                let Place::Inside(inside) = &self.place else {
                    return Ok(Step::Tail);
                };
                Ok(Step::Record(RecordRef {
                    position: Position { segment: inside.source.id(), offset, seq: info.seq },
                    next,
                    seq: info.seq,
                    ts_recv_ns: info.ts_recv_ns,
                    conn: info.conn,
                    kind_raw: info.kind_raw,
                    flags: info.flags,
                    payload: inside.source.payload(offset, &info),
                }))
            }
        }
    }

    /// Where the next record starts: everything before it has been returned or reported.
    #[must_use]
    pub fn position(&self) -> Position {
        let seq = self.expected.unwrap_or(Seq(0));
        match &self.place {
            Place::Between { next, offset, .. } => Position { segment: *next, offset: *offset, seq },
            Place::Inside(inside) => match inside.leaving {
                Some(segment) => Position { segment, offset: DATA_START, seq },
                None => Position { segment: inside.source.id(), offset: inside.offset, seq },
            },
        }
    }

    /// The log's identity, known once a segment was read.
    #[must_use]
    pub fn log_uuid(&self) -> Option<[u8; 16]> {
        self.log_uuid
    }

    /// Lets the next call step over the damage or the unsealed tail at which the reader stands,
    /// reporting it as lost. Does nothing at a healthy place.
    pub fn skip_damaged(&mut self) {
        self.skip = true;
    }

    fn advance(&mut self) -> Result<Found, ReadError> {
        loop {
            let found = match &self.place {
                Place::Between { .. } => self.enter()?,
                Place::Inside(_) => self.look()?,
            };
            match found {
                None => {}
                Some(found) => {
                    if matches!(found, Found::Record { .. } | Found::Lost(_)) {
                        self.skip = false;
                    }
                    return Ok(found);
                }
            }
        }
    }

    fn skipping(&self) -> bool {
        self.skip || self.options.follow_damaged
    }

    fn go_between(&mut self, next: SegmentId) {
        self.place = Place::Between { next, offset: DATA_START };
        self.watch = Watch::default();
    }

    // ---- between segments ----

    fn enter(&mut self) -> Result<Option<Found>, ReadError> {
        let Place::Between { next, offset } = self.place else {
            return Ok(None);
        };
        if self.only.is_some() {
            return Ok(Some(self.end_of_log()));
        }
        if offset > DATA_START
            && let Some(source) = self.shelf.open(next, self.options.chunk_bytes)?
        {
            // A position inside it: it had records when the position was taken.
            return self.admit(source, offset);
        }
        let ahead = self.watch.look(&self.shelf, next)?;
        if let Some(id) = ahead.unused
            && let Some(mut before) = self.shelf.open(id, self.options.chunk_bytes)?
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
                return Ok(Some(Found::AwaitRepair(id)));
            }
        }
        let Some(id) = ahead.used else {
            self.note_missing(next, offset, SegmentId(u64::MAX))?;
            return Ok(Some(self.end_of_log()));
        };
        self.note_missing(next, offset, id)?;
        match self.shelf.open(id, self.options.chunk_bytes)? {
            Some(source) => self.admit(source, DATA_START),
            // Retired just now: look again.
            None => Ok(None),
        }
    }

    /// `next` is not where reading goes on, but `found`: was there anything in between?
    fn note_missing(&mut self, next: SegmentId, offset: u64, found: SegmentId) -> Result<(), ReadError> {
        let set_aside = quarantined(self.shelf.dir())?.into_iter().filter(|id| (next..found).contains(id)).max();
        let reason = match set_aside {
            Some(_) => LossReason::Unreadable,
            // A position inside it proves that it had records. Being named by a SEAL does not:
            // after a crash an unused segment is taken over under a new id.
            None if offset > DATA_START && next < found && found.0 != u64::MAX => LossReason::MissingSegment,
            None => return Ok(()),
        };
        self.note_loss(Pending {
            // With nothing known before it, its records cannot be numbered.
            from: self.expected.unwrap_or(Seq(0)),
            segment: next,
            offset,
            bytes: 0,
            reason,
            final_end: set_aside.is_some(),
        });
        if let Some(id) = set_aside {
            // Told once.
            self.place = Place::Between { next: SegmentId(id.0.saturating_add(1)), offset: DATA_START };
        }
        Ok(())
    }

    fn end_of_log(&mut self) -> Found {
        match self.pending {
            Some(pending) if pending.final_end || self.only.is_some() => {
                self.pending = None;
                Found::Lost(pending.inexact())
            }
            _ => Found::Tail,
        }
    }

    fn admit(&mut self, mut source: Source, offset: u64) -> Result<Option<Found>, ReadError> {
        let id = source.id();
        let good = match source.admit()? {
            Admission::Identified { log_uuid, epoch } => {
                let same_log = match (self.log_uuid, log_uuid) {
                    (Some(ours), Some(theirs)) => ours == theirs,
                    _ => true,
                };
                if same_log {
                    self.log_uuid = self.log_uuid.or(log_uuid);
                    if let (Some(expected), Some(epoch)) = (self.expected, epoch)
                        && epoch > expected.epoch()
                        && offset > DATA_START
                    {
                        // The id was used again after its first life was lost with the disk's
                        // cache: our position is of that life. Start at the new epoch.
                        return self.enter_new_life(source, epoch);
                    }
                }
                same_log
            }
            // An unused segment may be taken over under a new id between our open and now.
            Admission::Foreign if !self.still_there(&source)? => return Ok(None),
            Admission::Foreign | Admission::Unreadable => false,
        };
        if !good {
            let bytes = source.file_bytes();
            self.note_loss(Pending {
                // With nothing known before it, its records cannot be numbered.
                from: self.expected.unwrap_or(Seq(0)),
                segment: id,
                offset: 0,
                bytes,
                reason: LossReason::Unreadable,
                final_end: true,
            });
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
    fn still_there(&self, source: &Source) -> Result<bool, ReadError> {
        let again = Source::open_path(source.path(), source.id(), self.options.chunk_bytes)?;
        Ok(again.is_some_and(|again| again.same_file(source)))
    }

    fn enter_new_life(&mut self, source: Source, epoch: u32) -> Result<Option<Found>, ReadError> {
        let mut lowest = source;
        for id in self.shelf.ids()?.into_iter().rev() {
            if id >= lowest.id() {
                continue;
            }
            let Some(mut other) = self.shelf.open(id, self.options.chunk_bytes)? else {
                continue;
            };
            match other.admit()? {
                Admission::Identified { epoch: Some(theirs), .. }
                    if theirs == epoch && other.commit_word(DATA_START)? != 0 =>
                {
                    lowest = other
                }
                _ => break,
            }
        }
        self.admit(lowest, DATA_START)
    }

    // ---- inside a segment ----

    fn look(&mut self) -> Result<Option<Found>, ReadError> {
        let Place::Inside(inside) = &mut self.place else {
            return Ok(None);
        };
        if let Some(next) = inside.leaving {
            self.go_between(next);
            return Ok(None);
        }
        let offset = inside.offset;
        let checked = match inside.source.check(offset) {
            Ok(checked) => checked,
            // Nobody will repair an archive, so who steps over damage steps over this.
            Err(ReadError::Archive { .. }) if self.skip || self.options.follow_damaged => {
                return self.damaged_by(LossReason::ArchiveFrame);
            }
            Err(err) if self.skip => {
                drop(err);
                Check::Invalid
            }
            Err(err) => return Err(err),
        };
        match checked {
            Check::Valid(info) => self.accept(offset, info),
            Check::Empty => self.at_tail(),
            Check::Invalid => self.damaged(),
        }
    }

    fn accept(&mut self, offset: u64, info: RecordInfo) -> Result<Option<Found>, ReadError> {
        let Place::Inside(inside) = &mut self.place else {
            return Ok(None);
        };
        let segment = inside.source.id();
        let after = offset + info.total_bytes;
        if info.kind_raw == Kind::Hole as u8 {
            if let Some(lost) = self.turn_epoch() {
                return Ok(Some(Found::Lost(lost)));
            }
            let Place::Inside(inside) = &mut self.place else {
                return Ok(None);
            };
            inside.offset = after;
            let from = self.expected.unwrap_or(info.seq);
            self.note_loss(Pending {
                from,
                segment,
                offset,
                bytes: info.total_bytes,
                reason: LossReason::Hole,
                final_end: false,
            });
            return Ok(None);
        }
        let seal = inside.source.seal(offset, &info);
        let recovered = seal.is_some_and(|s| s.by_recovery);
        if !recovered {
            let ended = self.end_of_previous_epoch(offset, &info);
            if let Some(lost) = self.loss_before(offset, info.seq, ended) {
                return match lost {
                    Ok(lost) => Ok(Some(Found::Lost(lost))),
                    Err(Stale) => self.damaged(),
                };
            }
            self.expected = Some(info.seq.next());
        }
        let Place::Inside(inside) = &mut self.place else {
            return Ok(None);
        };
        inside.offset = after;
        if let Some(seal) = seal {
            inside.leaving = Some(seal.next);
            if recovered {
                // Its seq is the one that recovery expected next.
                self.expected = self.expected.or(Some(info.seq));
                if let Some(pending) = &mut self.pending {
                    pending.final_end = true;
                }
                return Ok(None);
            }
        }
        Ok(Some(Found::Record { offset, info }))
    }

    /// The last seq of the epoch before, if this record opens an epoch and its writer knew it.
    fn end_of_previous_epoch(&self, offset: u64, info: &RecordInfo) -> Option<Seq> {
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
    fn loss_before(&mut self, offset: u64, seq: Seq, ended: Option<Seq>) -> Option<Result<LostRange, Stale>> {
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
                    reason: LossReason::UncleanEnd,
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
                let at = pending
                    .map_or((segment, offset, 0, LossReason::UncleanEnd), |p| (p.segment, p.offset, p.bytes, p.reason));
                return Some(Ok(LostRange {
                    from: expected,
                    to: last,
                    exact: true,
                    segment: at.0,
                    offset: at.1,
                    bytes: at.2,
                    reason: at.3,
                }));
            }
        }
        let first = Seq::new(seq.epoch(), 0);
        self.expected = Some(first);
        match self.pending {
            // The loss stood before everything that is known: number it from here.
            Some(pending) if pending.from == Seq(0) => {
                self.pending = Some(Pending { from: first, ..pending });
            }
            Some(pending) => {
                self.pending = None;
                return Some(Ok(pending.inexact()));
            }
            None => {}
        }
        self.loss_before(offset, seq, None)
    }

    /// Commit word 0 (or no room for a record): the tail of a live log, or something to explain.
    fn at_tail(&mut self) -> Result<Option<Found>, ReadError> {
        let Place::Inside(inside) = &mut self.place else {
            return Ok(None);
        };
        let segment = inside.source.id();
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
        if self.only.is_none() && self.watch.look(&self.shelf, later)?.used.is_some() {
            return self.recheck_or(Self::damaged);
        }
        Ok(Some(Found::Tail))
    }

    /// Looks at the present offset once more, now that something later was seen: the writer
    /// publishes in order, so whatever it wrote here is visible by now.
    fn recheck_or(
        &mut self,
        otherwise: fn(&mut Self) -> Result<Option<Found>, ReadError>,
    ) -> Result<Option<Found>, ReadError> {
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
    fn damaged(&mut self) -> Result<Option<Found>, ReadError> {
        self.damaged_by(LossReason::Damage)
    }

    fn damaged_by(&mut self, reason: LossReason) -> Result<Option<Found>, ReadError> {
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
            return Ok(Some(Found::AwaitRepair(segment)));
        }
        if let Some(lost) = self.turn_epoch() {
            return Ok(Some(Found::Lost(lost)));
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
            self.note_loss(Pending {
                from: least,
                segment,
                offset,
                bytes: end.saturating_sub(offset),
                reason,
                final_end: false,
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
        // The footer knows what stood here.
        if let (Some(last), Some(pending)) = (footer.last_seq, self.pending)
            && last >= pending.from
            && last.epoch() == pending.from.epoch()
        {
            self.pending = None;
            self.expected = Some(last.next());
            return Ok(Some(Found::Lost(LostRange { to: last, exact: true, ..pending.inexact() })));
        }
        Ok(None)
    }

    /// What is lost from here on belongs to this segment's epoch. If that is a later one than what
    /// is expected, a loss of the epoch before has found its end, unknown as it is.
    fn turn_epoch(&mut self) -> Option<LostRange> {
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

    /// Adds a loss to the one that waits for its end, if any.
    fn note_loss(&mut self, loss: Pending) {
        match &mut self.pending {
            Some(pending) => {
                pending.bytes = pending.bytes.saturating_add(loss.bytes);
                pending.final_end |= loss.final_end;
            }
            None => self.pending = Some(loss),
        }
    }
}

/// The id by which a lone file wants to be read: its header's, its footer's, its name's, else 0.
pub(crate) fn id_of_file(path: &Path) -> Result<SegmentId, ReadError> {
    let named = path.file_name().and_then(|name| {
        let name = name.to_string_lossy();
        segment::parse_file_name(&name).or_else(|| archive::parse_file_name(&name))
    });
    let Some(source) = Source::open_path(path, named.unwrap_or_default(), 4096)? else {
        return Err(ReadError::Io { path: path.to_path_buf(), offset: 0, source: std::io::ErrorKind::NotFound.into() });
    };
    Ok(source.claimed_id()?.or(named).unwrap_or_default())
}

/// The number behind `previous_last_seq` in the JSON of an EPOCH_START record.
fn previous_last_seq(json: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(json).ok()?;
    let (_, tail) = text.split_once("\"previous_last_seq\":")?;
    let digits = tail.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// A record that lies before what was already read.
struct Stale;

/// What a reader needs of a footer.
#[derive(Clone, Copy)]
struct Ending {
    end: u64,
    next: SegmentId,
    first_seq: Option<Seq>,
    last_seq: Option<Seq>,
}

impl Ending {
    fn of(footer: &FooterSummary) -> Ending {
        Ending { end: footer.end_offset, next: footer.next, first_seq: footer.first_seq, last_seq: footer.last_seq }
    }
}

impl Pending {
    fn inexact(&self) -> LostRange {
        LostRange {
            from: self.from,
            to: self.from,
            exact: false,
            segment: self.segment,
            offset: self.offset,
            bytes: self.bytes,
            reason: self.reason,
        }
    }
}
