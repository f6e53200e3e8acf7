//! Judging a log without touching it: every byte of a sealed segment is either proven or named.
//!
//! A segment is walked like recovery walks it, then compared with its footer, its neighbours and
//! what was announced as durable. Nothing is written, no lock is taken; a live log verifies
//! beside its writer, whose last segment simply has no end yet.

mod files;
mod judge;
mod report;

use std::path::Path;

pub use self::files::{Ends, FileReport, verify_files};
use self::judge::{Before, below_durable, judge};
pub use self::report::{Fault, SegmentReport, Severity};
use crate::archive::ArchiveFault;
use crate::control;
use crate::footer::FooterSummary;
use crate::layout::DATA_START;
use crate::lineage::{Foreign, Lineage};
use crate::read::id_of_file;
use crate::read_error::{ReadError, RepairError, chain};
use crate::record::SegmentId;
use crate::repair::Mode;
use crate::segment_dirs::SegmentDirs;
use crate::source::{Admission, Proof, Source};
use crate::state::{SegmentState, lineage_if_known};
use crate::walk::{self, last_byte};

/// Verifies the log in `dir`, oldest segment first; `each` gets every report as it is ready. Archived segments in the
/// same directory are verified too.
///
/// # Errors
/// As [`verify_dirs`].
pub fn verify_log(dir: &Path, deep: bool, each: impl FnMut(SegmentReport)) -> Result<Ends, ReadError> {
    verify_dirs(&SegmentDirs::new(dir), deep, each)
}

/// Verifies the log in `dirs`, oldest segment first; `each` gets every report as it is ready. Returns what the files
/// beside the segments are to be held against ([`verify_files`]).
///
/// `deep` also reads what has not been written yet (it must be zero) and compares the footers'
/// whole-data checksums and counts.
///
/// # Errors
/// [`ReadError`] when the directory cannot be read, or a file is of a newer version. A file that cannot be reached is a
/// fault of its segment.
pub fn verify_dirs(dirs: &SegmentDirs, deep: bool, mut each: impl FnMut(SegmentReport)) -> Result<Ends, ReadError> {
    let mut before = Before { lineage: lineage_if_known(dirs)?, ..Before::default() };
    // Segments that had no proven end, or no record yet, when they were looked at, and what came before the first of
    // them. Beside a live writer that may have changed: once a later segment turns out to have records, these are as
    // full as they will ever be, and all are looked at again.
    let mut unsettled: Vec<SegmentId> = Vec::new();
    let mut seen = Vec::new();
    let mut start = before.clone();
    for id in dirs.ids()? {
        if unsettled.is_empty() {
            start = before.clone();
        }
        let Some(mut report) = verify_segment(dirs, id, deep, &mut before)? else {
            continue;
        };
        if report.state != SegmentState::Ready && !unsettled.is_empty() {
            before = start.clone();
            seen.clear();
            for earlier in unsettled.drain(..) {
                if let Some(again) = verify_segment(dirs, earlier, deep, &mut before)? {
                    each(again);
                }
            }
            start = before.clone();
            match verify_segment(dirs, id, deep, &mut before)? {
                Some(again) => report = again,
                None => continue,
            }
        }
        if matches!(report.state, SegmentState::Open | SegmentState::Ready) {
            unsettled.push(id);
            seen.push(report);
        } else {
            each(report);
        }
    }
    seen.into_iter().for_each(&mut each);
    let segment = dirs.ids()?.last().copied();
    Ok(Ends { log_uuid: before.lineage.as_ref().map(Lineage::log_uuid), segment, next_seq: before.expected })
}

fn verify_segment(
    dirs: &SegmentDirs,
    id: SegmentId,
    deep: bool,
    before: &mut Before,
) -> Result<Option<SegmentReport>, ReadError> {
    let control = control::read(dirs.dir());
    let verified = dirs
        .open_own(id, walk::CHUNK_BYTES, before.lineage.as_ref())
        .and_then(|source| source.map(|source| verify(source, deep, before, control.as_ref())).transpose());
    match verified {
        Err(error) if error.is_unreachable() => {
            let mut report = SegmentReport::of(id, &dirs.place(id));
            report.state = SegmentState::Unreachable;
            report.fault(Severity::Unreadable, 0, format!("it cannot be reached: {}", chain(&error)));
            Ok(Some(report))
        }
        verified => verified,
    }
}

/// Verifies one segment file, wherever it lies.
///
/// # Errors
/// [`ReadError`] when it cannot be read or is of a newer version.
pub fn verify_file(path: &Path, deep: bool) -> Result<SegmentReport, ReadError> {
    let id = id_of_file(path)?;
    let source = Source::open_path(path, id, walk::CHUNK_BYTES)?
        .ok_or_else(|| ReadError::NotASegment { path: path.to_path_buf() })?;
    verify(source, deep, &mut Before::default(), None)
}

fn verify(
    mut source: Source,
    deep: bool,
    before: &mut Before,
    control: Option<&control::ControlState>,
) -> Result<SegmentReport, ReadError> {
    let mut report = SegmentReport::of(source.id(), source.path());
    for fault in source.archive_faults()? {
        let offset = match &fault {
            ArchiveFault::Frame { from, .. } => *from,
            _ => 0,
        };
        report.fault(Severity::Damage, offset, format!("the archive: {fault}"));
    }
    source.read_damage_as_zeros();
    match source.admit()? {
        Admission::Identified { log_uuid, epoch, incarnation } => {
            let judge = |lineage: &Lineage| lineage.judge(report.id, log_uuid, epoch, incarnation);
            if let Some(why) = before.lineage.as_ref().and_then(judge) {
                report.fault(Severity::Unreadable, 0, format!("the segment is not of this log: {why}"));
                return Ok(report);
            }
        }
        Admission::Misnamed(segment) => {
            let why = Foreign::Name { segment };
            report.fault(Severity::Unreadable, 0, format!("the segment is not of this log: {why}"));
            return Ok(report);
        }
        Admission::Unreadable => {
            report.fault(
                Severity::Unreadable,
                0,
                "header and footer are damaged and the records do not give their salt away",
            );
            return Ok(report);
        }
    }
    match source.proof() {
        Some(Proof::Footer) => {
            report.fault(Severity::Damage, 0, "the header block is damaged; the footer says how to read the records")
        }
        Some(Proof::Records) => report.fault(
            Severity::Damage,
            0,
            "header and footer are damaged; the records themselves say how to read them",
        ),
        _ => {}
    }
    let segment_bytes = source.header().map_or(source.file_bytes(), |header| header.segment_bytes);
    if source.file_bytes() != segment_bytes {
        report.fault(
            Severity::Damage,
            source.file_bytes(),
            format!("the file has {} bytes instead of {segment_bytes}", source.file_bytes()),
        );
    }
    let footer = source.footer()?.cloned();
    if footer.is_none() && !deep && !source.is_archived() && source.commit_word(DATA_START)? == 0 {
        report.state = SegmentState::Ready;
        return Ok(report);
    }
    let walk = walk::walk(&mut source, before.expected, Mode::Salvage).map_err(|err| match err {
        RepairError::Read(err) => err,
        other => ReadError::Io {
            path: source.path().to_path_buf(),
            offset: 0,
            source: std::io::Error::other(other.to_string()),
        },
    })?;
    // The syncer may be writing it right now.
    let (footer, damaged) = match footer {
        None if walk.seal.is_some() => settled_footer(&mut source)?,
        footer => (footer, false),
    };
    if damaged {
        report.fault(Severity::Damage, source.data_end(), "the footer is damaged");
    }
    judge(&mut report, &source, &walk, footer.as_ref(), deep, before)?;
    below_durable(&mut report, &walk, footer.as_ref(), control);
    report.faults.sort_by_key(|fault| fault.offset);
    Ok(report)
}

/// The footer of a segment whose SEAL is there, and whether what is in its place is damaged.
/// One that is being written is given 20 ms.
fn settled_footer(source: &mut Source) -> Result<(Option<FooterSummary>, bool), ReadError> {
    for _ in 0..10 {
        if let Some(footer) = source.footer()? {
            return Ok((Some(footer.clone()), false));
        }
        if last_byte(source, source.data_end(), source.file_bytes())?.is_none() {
            return Ok((None, false));
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    Ok((None, true))
}
