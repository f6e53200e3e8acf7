//! Carrying out what the table in `recover` decides: holes, seals, footers, quarantine.
//!
//! Everything is written in place into bytes that are already allocated, so recovery needs no
//! free space; nothing is deleted; each step can be cut off and done again:
//!
//! ```text
//!  walk ─▶ HOLE records over the gaps ─▶ SEAL ─▶ fdatasync ─▶ footer ─▶ fdatasync
//!          header, then commit word                            only over data that is on disk
//! ```
//!
//! A hole is written only over bytes that are no valid record, and the record after it was valid
//! before, so a crash in the middle leaves the same walk to be done once more. Segments are
//! repaired oldest first, so that a hole at a segment's start knows the seq it begins with.
//!
//! Runs in two places: [`repair`] while no writer lives (the compactor calls it when the collector stays dead), and
//! [`repair_tails`] beside a new writer. One of them at a time, under the lock for repairs ([`crate::lock`]), which
//! makes no writer wait: one that starts meanwhile appends to segments of its own.

mod write;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use self::write::{crc_of, wipe, write_hole, write_seal};
use crate::ack;
use crate::control::{self, ControlState};
use crate::durable;
use crate::layout::{DATA_START, RECORD_ALIGN, RECORD_HEADER_BYTES, SEAL_BYTES, footer_offset, is_segment_length};
use crate::lineage::{Foreign, Lineage, lineage};
use crate::lock::LogLock;
use crate::quarantine;
use crate::read_error::{ReadError, RepairError};
use crate::record::{Position, Seal, SegmentId, Seq};
use crate::recover::{Action, ContentFact, Facts, FooterFact, HeaderFact, decide};
use crate::segment;
use crate::source::{Admission, Proof, Source};
use crate::state::segment_files;
use crate::sys;
use crate::walk::{self, FooterFacts, HoleSpan, Walk, last_byte};

/// Read buffer of a walk.
const WALK_CHUNK_BYTES: usize = 1 << 20;

/// What to do about damage inside a crash tail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Keep every readable record: frames are independent of each other. The default.
    #[default]
    Salvage,
    /// Cut the segment at the first damage; records after it are reported lost.
    Prefix,
    /// Refuse to touch a damaged segment, and say where the damage is.
    Strict,
}

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
    /// Holes written now: offset, bytes, first lost seq.
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
    pub loss_below_durable: Option<(Seq, Seq)>,
    /// Segments that could not be repaired, and why. They stay as they are; readers wait there.
    pub failures: Vec<RepairError>,
}

impl RepairReport {
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
    let acked: Vec<Position> = ack::all(dir).into_iter().map(|ack| ack.position).collect();
    let control = control::read(dir);
    let mut carry = None;
    for (index, id) in ids.iter().copied().enumerate() {
        if before.is_some_and(|before| id >= before) {
            break;
        }
        let later_ids = ids.get(index + 1..).unwrap_or(&[]);
        let job = Job {
            dir,
            id,
            lineage: lineage.as_ref(),
            boot_id,
            moved_on: before.is_some(),
            later_ids,
            acked: acked.iter().any(|p| p.segment == id && p.offset > DATA_START),
            mode,
            control: control.as_ref(),
        };
        match job.run(&mut carry, &mut report) {
            Ok(()) => {}
            Err(err @ RepairError::Damaged { .. }) => return Err(err),
            Err(err) => report.failures.push(err),
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
struct Job<'a> {
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
}

impl Job<'_> {
    fn io(&self, source: io::Error) -> RepairError {
        RepairError::Io { path: segment::path(self.dir, self.id), source }
    }

    fn run(&self, carry: &mut Option<Seq>, report: &mut RepairReport) -> Result<(), RepairError> {
        let Some(mut source) = Source::open(self.dir, self.id, WALK_CHUNK_BYTES)? else {
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
            } else if found.noise_end.is_some() || !found.holes.is_empty() {
                ContentFact::Noise
            } else {
                facts.later |= self.later_ids.iter().any(|id| has_content(self.dir, *id));
                ContentFact::Zero
            };
            walk = Some(found);
        } else {
            // A published segment has its full length: a shorter file was cut.
            let cut = !is_segment_length(source.file_bytes());
            facts.content = if cut || last_byte(&source, DATA_START, source.file_bytes())?.is_some() {
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
                done.holes = self.close(&mut source, walk, carry)?;
                self.compare(&done, *carry, report);
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

    /// Writes holes, SEAL and footer. Returns the holes written now.
    fn close(&self, source: &mut Source, walk: Walk, carry: &mut Option<Seq>) -> Result<Vec<HoleSpan>, RepairError> {
        let (Some(initial), path) = (source.crc_initial(), segment::path(self.dir, self.id)) else {
            return Ok(Vec::new());
        };
        let epoch = source.epoch().unwrap_or(0);
        let segment_bytes = source.header().map_or(source.file_bytes(), |header| header.segment_bytes);
        let limit = footer_offset(segment_bytes);
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).map_err(|e| self.io(e))?;
        let cut = source.file_bytes() < segment_bytes;
        if cut {
            // Somebody cut the file. Its place on disk has to come back before anything else.
            sys::alloc::allocate(&file, segment_bytes).map_err(|e| self.io(e))?;
        }
        let ts = walk.last.map_or(0, |(_, ts)| ts);
        let expected =
            walk.last.map(|(seq, _)| seq.next()).or(carry.filter(|c| c.epoch() == epoch)).unwrap_or(Seq::new(epoch, 0));
        let mut holes: Vec<HoleSpan> = walk.holes.iter().filter(|gap| !gap.written).map(|gap| gap.span).collect();
        let mut seal_at = walk.end;
        if walk.seal.is_none() {
            // Bytes behind the last valid record. If the machine ran on and the commit word is
            // 0, they are an append that never returned: nothing was lost, they are wiped. In
            // any other case a record stood there: they stay, under a hole.
            let same_boot = source.header().is_some_and(|h| h.boot_id == self.boot_id && self.boot_id != [0; 16]);
            let lost = walk.committed_noise || cut || (walk.noise_end.is_some() && !same_boot);
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
                    holes.push(HoleSpan { offset: walk.end, bytes, from: expected, to: None });
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
                };
                write_seal(&file, initial, ts, expected, seal_at, &seal).map_err(|e| self.io(e))?;
                (seal, seal_at + SEAL_BYTES, expected, ts)
            }
        };
        self.wipe_noise(source, &file, end, limit)?;
        file.sync_data().map_err(|e| self.io(e))?;

        let mut all: Vec<HoleSpan> =
            walk.holes.iter().filter(|gap| gap.written).map(|gap| gap.span).chain(holes.iter().copied()).collect();
        all.sort_by_key(|hole| hole.offset);
        let footer = walk.summary(&FooterFacts {
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
        file.write_all_at(&bytes, limit).map_err(|e| self.io(e))?;
        self.wipe_noise(source, &file, limit + bytes.len() as u64, segment_bytes)?;
        file.sync_data().map_err(|e| self.io(e))?;
        *carry = Some(if seal.by_recovery { expected } else { seal_seq.next() });
        Ok(holes)
    }

    /// Unused bytes are zero; writes only if some are not.
    fn wipe_noise(&self, source: &Source, file: &File, from: u64, to: u64) -> Result<(), RepairError> {
        match last_byte(source, from, to)? {
            Some(end) => wipe(file, from, end).map_err(|e| self.io(e)),
            None => Ok(()),
        }
    }

    /// Was anything lost that the writer had announced as durable?
    fn compare(&self, done: &SegmentRepair, carry: Option<Seq>, report: &mut RepairReport) {
        let missing = done
            .holes
            .iter()
            .map(|hole| hole.from)
            .chain(carry.filter(|end| done.action == Action::SealTail && self.ends(end.epoch())))
            .min();
        if let Some(missing) = missing
            && let Some(announced) = self.control.and_then(|c| c.durable_of(missing.epoch()))
            && missing <= announced
            && report.loss_below_durable.is_none()
        {
            report.loss_below_durable = Some((announced, missing));
        }
    }

    /// Whether no later segment has records of this epoch.
    fn ends(&self, epoch: u32) -> bool {
        !self.later_ids.iter().any(|id| {
            Source::open(self.dir, *id, 4096).ok().flatten().is_some_and(|mut source| {
                matches!(
                    source.admit(),
                    Ok(Admission::Identified { epoch: Some(other), .. }) if other == epoch
                ) && source.commit_word(DATA_START).is_ok_and(|word| word != 0)
            })
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
