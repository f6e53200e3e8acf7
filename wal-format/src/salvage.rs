//! What can be read of a damaged log, written as a new log that is whole: plain segments, damage under HOLE records.
//!
//! ```text
//!  segment or archive --every byte that can be read, zeros for the rest--> <out>/<id>.wal --repair--> HOLEs, SEAL, footer
//! ```
//!
//! The source is only read. The copy is made to be recovered: a footer that no longer fits is left out, a header
//! that only the footer still proves is written again, and [`crate::repair()`] does what it does after a crash. So a salvaged
//! log is read, verified and compacted like any other, and says itself what it lacks.

use std::io;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::header::SegmentHeader;
use crate::incarnation::Incarnation;
use crate::layout::{BLOCK_BYTES, footer_offset, is_segment_length};
use crate::lineage::{self, Lineage};
use crate::read_error::{ReadError, RepairError, chain};
use crate::record::{ClockPair, SegmentId};
use crate::repair::{RepairReport, repair};
use crate::segment;
use crate::segment_dirs::SegmentDirs;
use crate::source::{Admission, Source};
use crate::verify::{Severity, verify_file};

const CHUNK_BYTES: usize = 1 << 20;

/// What became of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// The segment.
    pub id: SegmentId,
    /// Its file.
    pub source: PathBuf,
    /// What was wrong with it, one sentence each; empty if nothing was.
    pub faults: Vec<String>,
    /// It was written to the new log.
    pub written: bool,
}

/// Salvage as a whole failed.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// Reading the source failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The new log could not be repaired.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// Writing failed, or the output directory is in use.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Salvages the log in `dirs` to `out`, which must be empty or absent.
///
/// # Errors
/// [`SalvageError`]; what is in `out` by then is of no use.
pub fn salvage_log(dirs: &SegmentDirs, out: &Path) -> Result<(Vec<Salvaged>, RepairReport), SalvageError> {
    fresh(out)?;
    let lineage = lineage::of_dirs(dirs).map_err(ReadError::from)?;
    let mut list = Vec::new();
    for id in dirs.ids()? {
        let salvaged =
            dirs.open_own(id, CHUNK_BYTES, lineage.as_ref()).map_err(SalvageError::from).and_then(|source| {
                let Some(mut source) = source else { return Ok(None) };
                match lineage.as_ref().map_or(Ok(None), |lineage| lineage.foreign(&mut source))? {
                    None => copy(source, out, lineage.as_ref()).map(Some),
                    Some(why) => {
                        let (source, faults) = (source.path().to_path_buf(), vec![format!("it is left out: {why}")]);
                        Ok(Some(Salvaged { id, source, faults, written: false }))
                    }
                }
            });
        match salvaged {
            Ok(salvaged) => list.extend(salvaged),
            // The others can still be saved.
            Err(SalvageError::Read(error)) if error.is_unreachable() => list.push(Salvaged {
                id,
                source: dirs.place(id),
                faults: vec![format!("it cannot be reached: {}", chain(&error))],
                written: false,
            }),
            Err(error) => return Err(error),
        }
    }
    Ok((list, repair(out)?))
}

/// Salvages one segment file, plain or archived, to `out`, which must be empty or absent.
///
/// # Errors
/// As [`salvage_log`]; [`ReadError::NotASegment`] when nothing says how to read it.
pub fn salvage_file(file: &Path, out: &Path) -> Result<(Vec<Salvaged>, RepairReport), SalvageError> {
    fresh(out)?;
    let id = crate::read::id_of_file(file)?;
    let source =
        Source::open_path(file, id, CHUNK_BYTES)?.ok_or_else(|| ReadError::NotASegment { path: file.to_path_buf() })?;
    let done = copy(source, out, None)?;
    if !done.written {
        return Err(ReadError::NotASegment { path: file.to_path_buf() }.into());
    }
    Ok((vec![done], repair(out)?))
}

fn fresh(out: &Path) -> Result<(), SalvageError> {
    let io = |source| SalvageError::Io { path: out.to_path_buf(), source };
    durable::create_dir_all(out).map_err(io)?;
    match std::fs::read_dir(out).map_err(io)?.next() {
        None => Ok(()),
        Some(_) => Err(io(io::Error::new(io::ErrorKind::AlreadyExists, "the directory is not empty"))),
    }
}

fn copy(mut source: Source, out: &Path, lineage: Option<&Lineage>) -> Result<Salvaged, SalvageError> {
    let id = source.id();
    let report = verify_file(source.path(), true)?;
    let faults: Vec<String> = report.faults.iter().map(|f| format!("at byte {}: {}", f.offset, f.what)).collect();
    let mut done = Salvaged { id, source: source.path().to_path_buf(), faults, written: false };
    source.read_damage_as_zeros();
    if !matches!(source.admit()?, Admission::Identified { .. }) {
        return Ok(done);
    }
    let segment_bytes = source.header().map_or(source.file_bytes(), |header| header.segment_bytes);
    if !is_segment_length(segment_bytes) {
        return Ok(done);
    }
    let mut bytes = vec![0; usize::try_from(segment_bytes).unwrap_or(0)];
    let mut at = 0_u64;
    for block in bytes.chunks_mut(BLOCK_BYTES as usize) {
        // What cannot be read, and what is after the end of a truncated file, stays zero.
        if !matches!(source.read_exact_at(block, at), Ok(true)) {
            let left = usize::try_from(source.file_bytes().saturating_sub(at)).unwrap_or(0);
            block.fill(0);
            if let Some(part) = block.get_mut(..left) {
                // Zero as well, if not even this.
                let _ = source.read_exact_at(part, at);
            }
        }
        at += BLOCK_BYTES;
    }
    if source.header().is_none()
        && let Some(footer) = source.footer()?.cloned()
    {
        let header = SegmentHeader {
            log_uuid: footer.log_uuid,
            segment: id,
            epoch: footer.epoch,
            // The footer does not know it; the segments beside it may.
            incarnation: lineage.and_then(|l| l.incarnation_of(footer.epoch)).unwrap_or(Incarnation::VERSION_1),
            // Any salt with this start value will do: the checksums know no more of it.
            salt: u64::from(footer.crc_initial),
            segment_bytes,
            created: ClockPair::default(),
            boot_id: footer.boot_id,
            writer_version: "salvage".to_owned(),
        };
        let block = header.encode();
        if let Some(place) = bytes.get_mut(..block.len()) {
            place.copy_from_slice(&block);
        }
    }
    if report.worst() >= Some(Severity::Damage) {
        // Without it recovery walks the records and writes what they are worth.
        let room = usize::try_from(footer_offset(segment_bytes)).unwrap_or(usize::MAX);
        bytes.get_mut(room..).unwrap_or(&mut []).fill(0);
    }
    let path = segment::path(out, id);
    durable::write_file(&path, &bytes).map_err(|source| SalvageError::Io { path, source })?;
    done.written = true;
    Ok(done)
}
