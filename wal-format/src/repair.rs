//! Carrying out what the table in `recover` decides: HOLE records, seals, footers, quarantine.
//!
//! Everything is written in place into bytes that are already allocated, so recovery needs no
//! free space; nothing is deleted; each step can be interrupted and done again:
//!
//! ```text
//!  walk ─▶ HOLE records over damage ─▶ SEAL ─▶ fdatasync ─▶ footer ─▶ fdatasync
//!          header, then commit word                         only over data that is on disk
//! ```
//!
//! A HOLE is written only over bytes that are no valid record, and the record after it was valid
//! before, so a crash in the middle leaves the same walk to be done once more. Segments are
//! repaired oldest first, so that a HOLE at a segment's start knows the seq it begins with.
//!
//! Runs in two places: [`repair`] while no writer lives (the compactor calls it when the collector stays dead), and
//! [`repair_tails`] beside a new writer. One of them at a time, under the lock for repairs ([`crate::lock`]), which
//! makes no writer wait: one that starts meanwhile appends to segments of its own.

mod beside;
mod mode;
mod write;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub(crate) use self::beside::RepairThread;
pub use self::beside::{Attempt, Repairs};
pub use self::mode::Mode;
#[cfg(any(test, feature = "sim"))]
pub use self::write::die_after;
use self::write::{crc_of, step, wipe, write_hole, write_seal};
use crate::ack;
use crate::checkpoint::Checkpoint;
use crate::control::{self, ControlState};
use crate::directory::segment_files;
use crate::durable;
use crate::epoch;
use crate::layout::{DATA_START, RECORD_ALIGN, RECORD_HEADER_BYTES, SEAL_BYTES, footer_offset, is_segment_length};
use crate::lineage::{Foreign, Lineage, lineage};
use crate::lock::LogLock;
use crate::quarantine;
use crate::read_error::{ReadError, RepairError, chain};
use crate::record::{Position, Seal, SegmentId, Seq};
use crate::recover::{Action, ContentFact, Facts, FooterFact, HeaderFact, decide};
use crate::regular;
use crate::segment;
use crate::source::{Admission, Proof, Source};
use crate::sys;
use crate::walk::{self, FooterInput, HoleSpan, Walk, last_byte};

/// What was done with one segment.
#[derive(Clone, Debug)]
pub struct SegmentRepair {
    /// The segment.
    pub id: SegmentId,
    /// What was decided.
    pub action: Action,
    /// The row of the table that decided it.
    pub row: &'static str,
    /// Valid records found by the walk; 0 if the segment was trusted unread.
    pub records: u64,
    /// Its HOLE records, if it was closed now: offset, bytes, first lost seq. Those of an attempt that was interrupted are among
    /// them.
    pub holes: Vec<HoleSpan>,
}

/// What a repair did.
#[derive(Debug, Default)]
pub struct RepairReport {
    /// Every segment that was looked at, oldest first.
    pub segments: Vec<SegmentRepair>,
    /// Files that were moved to `quarantine/`, as they are named there.
    pub quarantined: Vec<PathBuf>,
    /// Those of them that are not the log's, and why: nothing of the log is lost with them.
    pub foreign: Vec<(PathBuf, Foreign)>,
    /// The writer had announced this seq as durable, and the log lacks records at or below it:
    /// (announced, first one missing). Disks or file systems that do this have lied.
    pub lost_below_durable: Option<(Seq, Seq)>,
    /// Segments that could not be repaired, and why. They stay as they are; readers wait there.
    pub failures: Vec<RepairFailure>,
}

/// A segment that could not be repaired. What was there is still there.
#[derive(Debug)]
pub struct RepairFailure {
    /// The segment.
    pub segment: SegmentId,
    /// Every reader of the log has passed it.
    pub passed: bool,
    /// Why.
    pub cause: RepairError,
}

impl std::fmt::Display for RepairFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "segment {} cannot be repaired: {}", self.segment, chain(&self.cause))
    }
}

impl RepairReport {
    /// Failures that an operator has to look at: of segments that a reader still needs.
    pub fn needed(&self) -> impl Iterator<Item = &RepairFailure> {
        self.failures.iter().filter(|failure| !failure.passed)
    }

    /// Why segment `id` could not be repaired, if so.
    #[must_use]
    pub fn failure_of(&self, id: SegmentId) -> Option<&RepairFailure> {
        self.failures.iter().find(|failure| failure.segment == id)
    }

    /// Segments that were changed.
    #[must_use]
    pub fn repaired(&self) -> usize {
        self.segments
            .iter()
            .filter(|s| matches!(s.action, Action::RebuildFooter | Action::SealTail | Action::SealEmpty))
            .count()
    }
}

/// Repairs every unsealed tail of the log in `dir`, keeping every readable record.
///
/// # Errors
/// [`RepairError::LockHeld`] while a writer lives; another error when the directory cannot be
/// read. Trouble with a single segment is in [`RepairReport::failures`].
pub fn repair(dir: &Path) -> Result<RepairReport, RepairError> {
    repair_with(dir, Mode::Salvage)
}

/// As [`repair`], with a choice of [`Mode`].
///
/// # Errors
/// As [`repair`]; in [`Mode::Strict`] also [`RepairError::Damaged`].
pub fn repair_with(dir: &Path, mode: Mode) -> Result<RepairReport, RepairError> {
    let (ids, _lock) = begin(dir)?;
    repair_tails_as(dir, &ids, None, mode, crate::boot::boot_id())
}

/// As [`repair`], as if the machine had been restarted since the writer died: for crash tests
/// whose power cut is simulated.
///
/// # Errors
/// As [`repair`].
#[cfg(feature = "sim")]
pub fn repair_after_power_loss(dir: &Path) -> Result<RepairReport, RepairError> {
    let (ids, _lock) = begin(dir)?;
    repair_tails_as(dir, &ids, None, Mode::Salvage, [0xEE; 16])
}

/// The segments there are, and the lock that nobody else repairs them. In this order: a writer that starts after the
/// lock has found none may append to any segment that it makes, but to none of these.
fn begin(dir: &Path) -> Result<(Vec<SegmentId>, LogLock), RepairError> {
    Ok((segment_files(dir)?, LogLock::take_for_repair(dir)?))
}

/// Repairs the segments below `before`, for a new writer that passes its own first segment.
///
/// # Errors
/// [`RepairError::LockHeld`] while another process repairs them; else as [`repair_with`].
pub fn repair_tails(dir: &Path, before: Option<SegmentId>, mode: Mode) -> Result<RepairReport, RepairError> {
    let _lock = LogLock::take_beside_writer(dir)?;
    repair_tails_as(dir, &segment_files(dir)?, before, mode, crate::boot::boot_id())
}

fn repair_tails_as(
    dir: &Path,
    ids: &[SegmentId],
    before: Option<SegmentId>,
    mode: Mode,
    boot_id: [u8; 16],
) -> Result<RepairReport, RepairError> {
    let mut report = RepairReport::default();
    let lineage = lineage(dir).map_err(ReadError::from)?;
    let acks = ack::all(dir);
    let acked: Vec<Position> = acks.iter().map(|ack| ack.position).collect();
    // An ack of another copy of the log says nothing about segments here.
    let ours = |ack: &ack::Ack| lineage.as_ref().is_some_and(|lineage| lineage.check(&Checkpoint::from(ack)).is_ok());
    let slowest = acked.iter().map(|at| at.segment).min().filter(|_| acks.iter().all(ours));
    let control = control::read(dir);
    // What cannot be read vouches for nothing.
    let closed_at = epoch::read(dir).ok().flatten().and_then(|state| state.last_seq);
    let mut carry = None;
    for (index, id) in ids.iter().copied().enumerate() {
        if before.is_some_and(|before| id >= before) {
            break;
        }
        let later_ids = ids.get(index + 1..).unwrap_or(&[]);
        let job = RepairJob {
            dir,
            id,
            lineage: lineage.as_ref(),
            boot_id,
            moved_on: before.is_some(),
            later_ids,
            acked: acked.iter().any(|p| p.segment == id && p.offset > DATA_START),
            mode,
            control: control.as_ref(),
            closed_at,
        };
        match job.run(&mut carry, &mut report) {
            Ok(()) => {}
            Err(err @ RepairError::Damaged { .. }) => return Err(err),
            Err(cause) => report.failures.push(RepairFailure {
                segment: id,
                passed: slowest.is_some_and(|slowest| id < slowest),
                cause,
            }),
        }
    }
    Ok(report)
}

/// Whether any byte was ever stored into the data area: the first sector may be the one that was
/// lost, so its commit word alone says nothing.
fn has_content(dir: &Path, id: SegmentId) -> bool {
    let Ok(Some(mut source)) = Source::open(dir, id, 4096) else {
        return false;
    };
    source.commit_word(DATA_START).is_ok_and(|word| word != 0)
        || last_byte(&source, DATA_START, source.file_bytes()).is_ok_and(|last| last.is_some())
}

/// One segment's repair.
struct RepairJob<'a> {
    dir: &'a Path,
    id: SegmentId,
    lineage: Option<&'a Lineage>,
    boot_id: [u8; 16],
    /// A running writer appends to a later segment.
    moved_on: bool,
    later_ids: &'a [SegmentId],
    acked: bool,
    mode: Mode,
    control: Option<&'a ControlState>,
    /// The last record of a run that closed the log in order, if that was the last run.
    closed_at: Option<Seq>,
}

impl RepairJob<'_> {
    fn io(&self, source: io::Error) -> RepairError {
        RepairError::Io { path: segment::path(self.dir, self.id), source }
    }

    fn run(&self, carry: &mut Option<Seq>, report: &mut RepairReport) -> Result<(), RepairError> {
        let Some(mut source) = Source::open(self.dir, self.id, walk::CHUNK_BYTES)? else {
            return Ok(());
        };
        let foreign = match source.admit()? {
            Admission::Identified { log_uuid, epoch, incarnation } => {
                self.lineage.and_then(|lineage| lineage.judge(self.id, log_uuid, epoch, incarnation))
            }
            Admission::Misnamed(segment) => Some(Foreign::Name { segment }),
            Admission::Unreadable => None,
        };
        let header = match (&foreign, source.proof()) {
            (Some(_), _) => HeaderFact::Foreign,
            (None, Some(Proof::Header)) => HeaderFact::Valid,
            (None, Some(_)) => HeaderFact::Inferred,
            (None, None) => HeaderFact::Damaged,
        };
        let footer = match source.footer()? {
            None => FooterFact::Absent,
            Some(footer) if footer.synced => FooterFact::Synced,
            Some(footer) if footer.boot_id == self.boot_id && self.boot_id != [0; 16] => FooterFact::UnsyncedThisBoot,
            Some(_) => FooterFact::UnsyncedEarlierBoot,
        };
        let mut facts = Facts {
            owned: false,
            header,
            content: ContentFact::Records,
            sealed: footer != FooterFact::Absent,
            footer,
            later: self.moved_on,
            acked: self.acked,
        };
        let readable = matches!(header, HeaderFact::Valid | HeaderFact::Inferred);
        let mut walk = None;
        if readable && decide(&facts).0 == Action::Trust {
            if let Some(last) = source.footer()?.and_then(|f| f.last_seq) {
                *carry = Some(last.next());
            }
        } else if readable {
            let found = walk::walk(&mut source, *carry, self.mode)?;
            facts.sealed = found.seal.is_some();
            facts.content = if found.records > 0 || found.seal.is_some() {
                ContentFact::Records
            } else if found.noise_end.is_some() || !found.damaged.is_empty() {
                ContentFact::Noise
            } else {
                facts.later |= self.later_ids.iter().any(|id| has_content(self.dir, *id));
                ContentFact::Zero
            };
            walk = Some(found);
        } else {
            // A published segment has its full length: a shorter file was truncated.
            let truncated = !is_segment_length(source.file_bytes());
            facts.content = if truncated || last_byte(&source, DATA_START, source.file_bytes())?.is_some() {
                ContentFact::Noise
            } else {
                ContentFact::Zero
            };
        }
        let (action, row) = decide(&facts);
        let mut done = SegmentRepair {
            id: self.id,
            action,
            row,
            records: walk.as_ref().map_or(0, |w| w.records),
            holes: Vec::new(),
        };
        match (action, walk) {
            (Action::RebuildFooter | Action::SealTail | Action::SealEmpty, Some(walk)) => {
                done.holes = self.close(&mut source, walk, carry, report)?;
            }
            (Action::Quarantine | Action::QuarantineAndReport, _) => {
                let to = self.quarantine(foreign.as_ref())?;
                report.foreign.extend(foreign.map(|why| (to.clone(), why)));
                report.quarantined.push(to);
            }
            _ => {}
        }
        report.segments.push(done);
        Ok(())
    }

    /// Writes HOLE records, SEAL and footer. Returns the HOLE spans.
    fn close(
        &self,
        source: &mut Source,
        walk: Walk,
        carry: &mut Option<Seq>,
        report: &mut RepairReport,
    ) -> Result<Vec<HoleSpan>, RepairError> {
        let (Some(initial), path) = (source.crc_initial(), segment::path(self.dir, self.id)) else {
            return Ok(Vec::new());
        };
        let epoch = source.epoch().unwrap_or(0);
        let segment_bytes = source.header().map_or(source.file_bytes(), |header| header.segment_bytes);
        let limit = footer_offset(segment_bytes);
        let file = regular::open_as(OpenOptions::new().read(true).write(true), &path).map_err(|e| self.io(e))?;
        let truncated = source.file_bytes() < segment_bytes;
        if truncated {
            // Somebody truncated the file. Its place on disk has to come back before anything else; its length only after the
            // SEAL, because until then it shows the next attempt that something was cut off.
            sys::alloc::reserve(&file, segment_bytes).map_err(|e| self.io(e))?;
        }
        let ts = walk.last.map_or(0, |(_, ts)| ts);
        let expected =
            walk.last.map(|(seq, _)| seq.next()).or(carry.filter(|c| c.epoch() == epoch)).unwrap_or(Seq::new(epoch, 0));
        let vouched = self.vouched(epoch, &walk);
        let below_durable = |from: Seq, to: Option<Seq>| {
            vouched.is_some_and(|durable| durable >= from) && to.is_none_or(|to| to >= from)
        };
        let mut holes: Vec<HoleSpan> = walk.damaged.iter().filter(|gap| !gap.written).map(|gap| gap.span).collect();
        for hole in &mut holes {
            hole.below_durable = below_durable(hole.from, hole.to);
        }
        let mut seal_at = walk.end;
        // The last record that is known to have been after the last one that can be read.
        let lost_to = walk.seal.is_none().then(|| self.known_last(epoch, expected, segment_bytes, vouched)).flatten();
        if walk.seal.is_none() {
            // Bytes after the last valid record. If the machine ran on and the commit word is
            // 0, they are an append that never returned: nothing was lost, they are wiped. In
            // any other case a record was there: they stay, under a HOLE.
            let same_boot = source.header().is_some_and(|h| h.boot_id == self.boot_id && self.boot_id != [0; 16]);
            let recorded =
                walk.damaged.last().is_some_and(|gap| gap.written && gap.span.offset + gap.span.bytes == walk.end);
            let lost = walk.committed_noise || (truncated && !recorded) || (walk.noise_end.is_some() && !same_boot);
            let noise_end = walk.noise_end.unwrap_or(walk.end);
            if lost {
                let room = limit.saturating_sub(SEAL_BYTES).saturating_sub(walk.end);
                let bytes = noise_end
                    .next_multiple_of(RECORD_ALIGN as u64)
                    .saturating_sub(walk.end)
                    .max(RECORD_HEADER_BYTES as u64)
                    .min(room & !(RECORD_ALIGN as u64 - 1));
                if self.mode == Mode::Strict && walk.committed_noise {
                    return Err(RepairError::Damaged { path, offset: walk.end });
                }
                if bytes >= RECORD_HEADER_BYTES as u64 {
                    let below_durable = below_durable(expected, lost_to);
                    holes.push(HoleSpan { offset: walk.end, bytes, from: expected, to: lost_to, below_durable });
                    seal_at += bytes;
                }
            }
            if seal_at + SEAL_BYTES > limit {
                return Err(RepairError::NoRoom { path, offset: seal_at });
            }
            wipe(&file, seal_at, noise_end.max(seal_at)).map_err(|e| self.io(e))?;
        }
        for hole in &holes {
            write_hole(&file, initial, ts, hole).map_err(|e| self.io(e))?;
        }
        let (seal, end, seal_seq, seal_ts) = match walk.seal {
            Some((seal, bytes, seq, seal_ts)) => (seal, walk.end + bytes, seq, seal_ts),
            None => {
                let seal = Seal {
                    next: self.later_ids.first().copied().unwrap_or(SegmentId(self.id.0.saturating_add(1))),
                    footer_offset: limit,
                    by_recovery: true,
                    // Without a later segment none is promised.
                    clean_end: self.later_ids.is_empty(),
                    below_durable: lost_to.is_some() && below_durable(expected, lost_to),
                };
                let seq = lost_to.map_or(expected, Seq::next);
                write_seal(&file, initial, ts, seq, seal_at, &seal).map_err(|e| self.io(e))?;
                (seal, seal_at + SEAL_BYTES, seq, ts)
            }
        };
        if truncated {
            step().and_then(|()| sys::alloc::allocate(&file, segment_bytes)).map_err(|e| self.io(e))?;
        }
        self.wipe_noise(source, &file, end, limit)?;
        step().and_then(|()| file.sync_data()).map_err(|e| self.io(e))?;

        let mut all: Vec<HoleSpan> =
            walk.damaged.iter().filter(|gap| gap.written).map(|gap| gap.span).chain(holes.iter().copied()).collect();
        all.sort_by_key(|hole| hole.offset);
        let footer = walk.summary(&FooterInput {
            log_uuid: self.lineage.map(Lineage::log_uuid).unwrap_or_default(),
            boot_id: self.boot_id,
            id: self.id,
            epoch,
            initial,
            end,
            seal,
            seal_seq,
            ts: seal_ts,
            holes: &all,
            data_crc: crc_of(&file, DATA_START, end).map_err(|e| self.io(e))?,
        });
        let bytes = footer.encode(segment_bytes).ok_or(RepairError::NoRoom { path, offset: limit })?;
        step().and_then(|()| file.write_all_at(&bytes, limit)).map_err(|e| self.io(e))?;
        self.wipe_noise(source, &file, limit + bytes.len() as u64, segment_bytes)?;
        file.sync_data().map_err(|e| self.io(e))?;
        *carry = Some(if seal.by_recovery { seal_seq } else { seal_seq.next() });
        let cut_off = (walk.cut.map(|cut| cut.from)).or(lost_to.map(|_| expected)).filter(|_| seal.below_durable);
        let missing = all.iter().filter(|hole| hole.below_durable).map(|hole| hole.from).chain(cut_off).min();
        if let (Some(durable), Some(missing)) = (vouched, missing)
            && report.lost_below_durable.is_none()
        {
            report.lost_below_durable = Some((durable, missing));
        }
        Ok(all)
    }

    /// The last record of `epoch` that was reported durable: the writer on its page, a SYNC record, an orderly end.
    fn vouched(&self, epoch: u32, walk: &Walk) -> Option<Seq> {
        let page = self.control.and_then(|c| c.durable_of(epoch));
        let found = [page, walk.durable, self.closed_at];
        found.into_iter().flatten().filter(|seq| seq.epoch() == epoch).max()
    }

    /// The last record of `epoch` that is known to have been appended, if that is `expected` or one after it and no
    /// later segment says. The writer's page is a hint: what cannot have fitted is not believed.
    fn known_last(&self, epoch: u32, expected: Seq, segment_bytes: u64, vouched: Option<Seq>) -> Option<Seq> {
        let committed = self.control.and_then(|c| c.committed_of(epoch));
        let last = committed.max(vouched).filter(|last| *last >= expected)?;
        let segments = self.later_ids.first().map_or(1, |next| next.0.saturating_sub(self.id.0)).max(1);
        let most = (segment_bytes / RECORD_HEADER_BYTES as u64).saturating_mul(segments);
        (last.0 - expected.0 < most && self.ends(epoch)).then_some(last)
    }

    /// Unused bytes are zero; writes only if some are not.
    fn wipe_noise(&self, source: &Source, file: &File, from: u64, to: u64) -> Result<(), RepairError> {
        match last_byte(source, from, to)? {
            Some(end) => wipe(file, from, end).map_err(|e| self.io(e)),
            None => Ok(()),
        }
    }

    /// Whether no later segment can have records of this epoch. One that cannot be read may.
    fn ends(&self, epoch: u32) -> bool {
        !self.later_ids.iter().any(|id| match Source::open(self.dir, *id, 4096) {
            Ok(None) => false,
            Ok(Some(mut source)) => match source.admit() {
                Ok(Admission::Identified { epoch: Some(other), .. }) if other != epoch => false,
                _ => has_content(self.dir, *id),
            },
            Err(_) => true,
        })
    }

    fn quarantine(&self, foreign: Option<&Foreign>) -> Result<PathBuf, RepairError> {
        let from = segment::path(self.dir, self.id);
        let name = foreign.map_or_else(|| segment::file_name(self.id), |why| quarantine::foreign_name(self.id, why));
        let to = quarantine::free_path(self.dir, &name, &|path| path.symlink_metadata().is_ok());
        if let Some(parent) = to.parent() {
            durable::create_dir_all(parent).map_err(|e| self.io(e))?;
        }
        durable::publish_file(&from, &to).map_err(|e| self.io(e))?;
        durable::sync_dir(self.dir).map_err(|e| self.io(e))?;
        Ok(to)
    }
}
