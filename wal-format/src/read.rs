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

mod between;
mod damage;
mod lost;
mod pending;
mod place;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use self::pending::{Pending, Stale};
use crate::archive;
use crate::boot;
use crate::checkpoint::Checkpoint;
use crate::error::{OpenError, ResumeError};
use crate::incarnation::{Incarnation, Run};
use crate::layout::{DATA_START, RECORD_ALIGN};
use crate::lineage::{self, Foreign, Lineage};
use crate::read_error::ReadError;
use crate::record::{Kind, Position, SegmentId, Seq, flags};
use crate::segment;
use crate::segment_dirs::SegmentDirs;
use crate::source::{Admission, Check, RecordInfo, Source};
use crate::step::{LostRange, LostReason, RecordRef, Step};
use crate::walk::last_byte;
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

/// Where the reader is.
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

/// What [`LogReader::advance`] came to; [`LogReader::lend`] makes a [`Step`] of it that borrows.
pub enum Advance {
    /// A record.
    Record(Located),
    /// As [`Step::Lost`].
    Lost(LostRange),
    /// As [`Step::Tail`].
    Tail,
    /// As [`Step::AwaitRepair`].
    AwaitRepair(SegmentId),
}

/// A record that the reader has at hand until its next call.
pub struct Located {
    offset: u64,
    info: RecordInfo,
}

/// Reads a log from a [`Position`] on, and follows it. See the file's own description.
pub struct LogReader {
    dirs: SegmentDirs,
    options: ReaderOptions,
    /// Whose log it is; `None` while there is none, and for a lone file.
    lineage: Option<Lineage>,
    /// The run that the position to begin at is of, if it was given.
    from: Option<Run>,
    /// The run that is being read, or was last.
    reading: Option<Run>,
    /// The place to begin at was found in this log.
    placed: bool,
    /// Records before the place to begin at are passed over.
    catching_up: bool,
    /// Files that are not the log's: all that were met, and those that nobody took yet.
    passed_by: BTreeSet<PathBuf>,
    remarks: Vec<(PathBuf, Foreign)>,
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
    /// The seq of the position decides; segment and offset say where to look first. A position beyond the recovered end
    /// of its segment continues with the segment after it; a position in a deleted segment continues with the first one
    /// that is left, with a [`Step::Lost`] if numbers are missing. With a seq of 0 reading begins at segment and offset.
    ///
    /// Who stored the position and may have stored it of another copy of the log opens with [`LogReader::resume`].
    ///
    /// # Errors
    /// [`OpenError`] when `dir` exists and is not a directory.
    pub fn open(dir: &Path, from: Position, options: ReaderOptions) -> Result<Self, OpenError> {
        if dir.exists() && !dir.is_dir() {
            return Err(OpenError::NotADirectory { path: dir.to_path_buf() });
        }
        Ok(LogReader {
            dirs: SegmentDirs::with_archive(dir, options.archive.as_deref()),
            options,
            lineage: None,
            from: None,
            reading: None,
            placed: false,
            catching_up: false,
            passed_by: BTreeSet::new(),
            remarks: Vec::new(),
            expected: (from.seq != Seq(0)).then_some(from.seq),
            pending: None,
            place: Place::Between { next: from.segment, offset: from.offset },
            watch: Watch::default(),
            skip: false,
            only: None,
        })
    }

    /// Opens a reader that goes on at `checkpoint`: at the first record of this log with its seq or a later one.
    ///
    /// # Errors
    /// [`ResumeError::Checkpoint`] when it was stored of another log, or of a run that this log never had: the log or
    /// the checkpoint was restored from a backup. An older checkpoint may still be of this log.
    pub fn resume(dir: &Path, checkpoint: &Checkpoint, options: ReaderOptions) -> Result<Self, ResumeError> {
        let mut reader = Self::open(dir, checkpoint.position, options)?;
        reader.from = Some(checkpoint.run());
        reader.reading = reader.from.filter(|run| run.epoch > 0);
        if let Some(lineage) = lineage::of_dirs(&reader.dirs)? {
            let source = lineage.check(checkpoint);
            source.map_err(|source| ResumeError::Checkpoint { dir: dir.to_path_buf(), source })?;
        }
        Ok(reader)
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
        let Admission::Identified { log_uuid, epoch, incarnation } = source.admit()? else {
            return Err(not_a_segment());
        };
        let run = epoch.zip(incarnation).map(|(epoch, incarnation)| Run { epoch, incarnation });
        // Let the loader of the footer run once, so that damage is distinguished from a tail.
        source.footer()?;
        Ok(LogReader {
            dirs: SegmentDirs::new(path.parent().unwrap_or(Path::new("."))),
            options,
            lineage: log_uuid.map(|uuid| Lineage::of_file(uuid, run)),
            from: None,
            reading: None,
            placed: true,
            catching_up: false,
            passed_by: BTreeSet::new(),
            remarks: Vec::new(),
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
        let found = self.advance()?;
        Ok(self.lend(&found))
    }

    /// The step that [`LogReader::advance`] came to, before any other call. [`LogReader::next`] in two halves is for callers who
    /// does something at a tail and asks again before it lends a record on.
    #[must_use]
    pub fn lend(&self, found: &Advance) -> Step<'_> {
        match found {
            Advance::Lost(lost) => Step::Lost(*lost),
            Advance::Tail => Step::Tail,
            Advance::AwaitRepair(segment) => Step::AwaitRepair { segment: *segment },
            Advance::Record(Located { offset, info }) => {
                let next = self.position();
                let Place::Inside(inside) = &self.place else {
                    return Step::Tail;
                };
                Step::Record(RecordRef {
                    position: Position { segment: inside.source.id(), offset: *offset, seq: info.seq },
                    next,
                    seq: info.seq,
                    ts_recv_ns: info.ts_recv_ns,
                    conn: info.conn,
                    kind_raw: info.kind_raw,
                    flags: info.flags,
                    payload: inside.source.payload(*offset, info),
                })
            }
        }
    }

    /// Where the next record starts: everything before it has been returned or reported.
    #[must_use]
    pub fn position(&self) -> Position {
        if let Some(pending) = &self.pending {
            // A lost range that is not reported yet is reported by whoever reads on from here, too.
            return Position { segment: pending.segment, offset: pending.offset, seq: pending.from };
        }
        let seq = self.expected.unwrap_or(Seq(0));
        match &self.place {
            Place::Between { next, offset, .. } => Position { segment: *next, offset: *offset, seq },
            Place::Inside(inside) => match inside.leaving {
                Some(segment) => Position { segment, offset: DATA_START, seq },
                None => Position { segment: inside.source.id(), offset: inside.offset, seq },
            },
        }
    }

    /// The log's identity, known once there is a log.
    #[must_use]
    pub fn log_uuid(&self) -> Option<[u8; 16]> {
        self.lineage.as_ref().map(Lineage::log_uuid)
    }

    /// That of the run that [`LogReader::position`] is of, and so of the last record that was returned; 0 for a run of
    /// version 1.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation_of(self.position().seq.epoch())
    }

    /// What to store to go on here later; `None` while there is no log.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let log_uuid = self.log_uuid()?;
        Some(Checkpoint { log_uuid, incarnation: self.incarnation(), position: self.position() })
    }

    /// Files that are not the log's and were passed by since this was last asked: each once, with the reason.
    pub fn take_foreign(&mut self) -> Vec<(PathBuf, Foreign)> {
        std::mem::take(&mut self.remarks)
    }

    /// Lets the next call step over the damage or the unsealed tail at which the reader is,
    /// reporting it as lost. Does nothing at a healthy place.
    pub fn skip_damaged(&mut self) {
        self.skip = true;
    }

    /// Steps over the unsealed end at which the reader waits for a repair, if all that a repair would do there is to
    /// seal it: the log goes on after it, and no record was committed in between. False, and
    /// nothing changed, if something may be lost there or may still come.
    ///
    /// # Errors
    /// As [`LogReader::next`].
    pub fn pass_whole_tail(&mut self) -> Result<bool, ReadError> {
        let later = match &self.place {
            Place::Inside(inside) if self.pending.is_none() => SegmentId(inside.source.id().0.saturating_add(1)),
            _ => return Ok(false),
        };
        if self.look_ahead(later)?.used.is_none() {
            return Ok(false);
        }
        let Place::Inside(inside) = &mut self.place else {
            return Ok(false);
        };
        let (offset, source) = (inside.offset, &mut inside.source);
        source.unmap();
        source.forget();
        let boot_id = boot::boot_id();
        let Some(same_boot) = source.header().filter(|_| !source.is_cut()).map(|header| header.boot_id == boot_id)
        else {
            return Ok(false);
        };
        let written = last_byte(source, offset, source.data_end())?.is_some();
        // An append that never returned, while the machine ran on: a repair would wipe it.
        let unfinished = same_boot && boot_id != [0; 16] && source.commit_word(offset)? == 0;
        let least = self.expected.unwrap_or(Seq(0));
        let whole = source.footer()?.is_none()
            && (!written || (unfinished && source.scan(offset + RECORD_ALIGN as u64, u64::MAX, least)?.is_none()));
        if whole {
            self.go_between(later);
        }
        Ok(whole)
    }

    /// Goes to the next record, lost range or end.
    ///
    /// # Errors
    /// As [`LogReader::next`].
    pub fn advance(&mut self) -> Result<Advance, ReadError> {
        if !self.placed && matches!(self.place, Place::Between { .. }) {
            self.find_place()?;
        }
        loop {
            let found = match &self.place {
                Place::Between { .. } => self.enter()?,
                Place::Inside(_) => self.look()?,
            };
            match found {
                None => {}
                Some(found) => {
                    if matches!(found, Advance::Record(_) | Advance::Lost(_)) {
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

    fn look(&mut self) -> Result<Option<Advance>, ReadError> {
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
                return self.damaged_by(LostReason::ArchiveFrame);
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

    fn accept(&mut self, offset: u64, info: RecordInfo) -> Result<Option<Advance>, ReadError> {
        let Place::Inside(inside) = &mut self.place else {
            return Ok(None);
        };
        let segment = inside.source.id();
        let after = offset + info.total_bytes;
        // What was read in another life is passed over, the HOLE records in it too.
        let before = self.catching_up && self.expected.is_some_and(|expected| info.seq < expected);
        self.catching_up = before;
        if before && info.kind_raw == Kind::Hole as u8 {
            inside.offset = after;
            return Ok(None);
        }
        if info.kind_raw == Kind::Hole as u8 {
            if let Some(lost) = self.turn_epoch() {
                return Ok(Some(Advance::Lost(lost)));
            }
            let Place::Inside(inside) = &mut self.place else {
                return Ok(None);
            };
            inside.offset = after;
            let from = self.expected.unwrap_or(info.seq);
            self.note_lost(Pending {
                from,
                segment,
                offset,
                bytes: info.total_bytes,
                reason: LostReason::Hole,
                final_end: false,
                below_durable: info.flags & flags::DURABLE_LOST != 0,
            });
            return Ok(None);
        }
        let seal = inside.source.seal(offset, &info);
        let recovered = seal.is_some_and(|s| s.by_recovery);
        if recovered && info.seq.counter() > 0 {
            // A whole epoch may have been before it.
            if let Some(lost) = self.turn_epoch() {
                return Ok(Some(Advance::Lost(lost)));
            }
        }
        if !recovered && !before {
            let ended = self.end_of_previous_epoch(offset, &info);
            if let Some(lost) = self.lost_before(offset, info.seq, ended) {
                return match lost {
                    Ok(lost) => Ok(Some(Advance::Lost(lost))),
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
                return Ok(self.lost_before_seal(offset, info.seq, &seal).map(Advance::Lost));
            }
        }
        if before {
            return Ok(None);
        }
        Ok(Some(Advance::Record(Located { offset, info })))
    }
}

/// The id by which a lone file wants to be read: its header's, its footer's, its name's, else 0.
pub(crate) fn id_of_file(path: &Path) -> Result<SegmentId, ReadError> {
    let named = path.file_name().and_then(|name| {
        let name = name.to_string_lossy();
        segment::parse_file_name(&name).or_else(|| archive::parse_file_name(&name))
    });
    let Some(mut source) = Source::open_path(path, named.unwrap_or_default(), 4096)? else {
        return Err(ReadError::Io { path: path.to_path_buf(), offset: 0, source: std::io::ErrorKind::NotFound.into() });
    };
    // A damaged header claims nothing: the footer may, and else the name does.
    source.read_damage_as_zeros();
    Ok(source.claimed_id()?.or(named).unwrap_or_default())
}
