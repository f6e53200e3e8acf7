//! Writing an archive: compress, sync, read back and compare, publish.
//!
//! The order is the promise. Nothing has its final name before every byte of it was read back and found equal to the
//! segment; the caller may unlink the segment once [`pack`] has returned. A process that dies in between leaves
//! the segment and a temporary file that the next [`pack`] of that segment replaces and [`clean`] removes; one that
//! dies before the unlink leaves both, and the next [`pack`] proves the archive it finds and writes nothing. An archive of
//! another run under the same name is renamed, never replaced.
//!
//! Never touches the segment, and packs none that is not sealed with a valid footer.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use zstd::bulk::Compressor;

use super::layout::{self, FRAME_BYTES};
use super::table::{self, Entry};
use super::{ARCHIVE_SUFFIX, Unpacker, file_name, parse_file_name, path};
use crate::durable;
use crate::layout::{TMP_SUFFIX, is_segment_length};
use crate::read_error::ReadError;
use crate::record::SegmentId;
use crate::regular;
use crate::source::{Admission, Source};
use crate::sys::alloc;

/// The steps of [`pack`], for those who watch it (or kill it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackStep {
    /// A frame was written to the temporary file.
    Frame(usize),
    /// The temporary file is on disk.
    Synced,
    /// It was read back and is the segment, byte for byte.
    Proven,
    /// It has its name, durably.
    Published,
}

/// What [`pack`] made or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The archive.
    pub path: PathBuf,
    /// Length of the segment in bytes, records or not.
    pub segment_bytes: u64,
    /// Bytes of it up to the end of its records.
    pub data_bytes: u64,
    /// Length of the archive in bytes.
    pub archive_bytes: u64,
    /// A whole archive of this very segment was there already.
    pub found: bool,
}

/// Why a segment was not archived. It is still there.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It is not sealed, or the header, footer or id do not fit: not a file to give up the original of.
    #[error("{} is not archived: {why}", path.display())]
    NotSealed {
        /// The segment.
        path: PathBuf,
        /// What is missing.
        why: &'static str,
    },
    /// What was written does not read back as the segment.
    #[error("{} does not read back as {}: they differ at byte {offset} of the segment", archive.display(), path.display())]
    Differs {
        /// The segment.
        path: PathBuf,
        /// The temporary archive, which is removed.
        archive: PathBuf,
        /// First differing byte.
        offset: u64,
    },
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing or publishing failed.
    #[error("cannot write {}", path.display())]
    Io {
        /// The archive or its directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl PackError {
    /// The disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, PackError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

/// Archives the sealed segment at `segment` in `dir`, which is created. `level` is zstd's. `watch` gets every step.
///
/// # Errors
/// [`PackError`]; then no new name exists and the temporary file is gone.
pub fn pack(segment: &Path, dir: &Path, level: i32, watch: &mut dyn FnMut(PackStep)) -> Result<Packed, PackError> {
    let (id, segment_bytes, data_bytes) = sealed(segment)?;
    let raw =
        regular::open(segment).map_err(|source| ReadError::Io { path: segment.to_path_buf(), offset: 0, source })?;
    let dest = path(dir, id);
    let done = |found| -> Result<Packed, PackError> {
        let meta = std::fs::metadata(&dest).map_err(|source| PackError::Io { path: dest.clone(), source })?;
        Ok(Packed { path: dest.clone(), segment_bytes, data_bytes, archive_bytes: meta.len(), found })
    };
    if dest.exists() && matches!(same(&raw, segment, segment_bytes, &dest), Ok(())) {
        // The name may be younger than the last sync of its directory.
        durable::sync_dir(dir).map_err(|source| PackError::Io { path: dir.to_path_buf(), source })?;
        return done(true);
    }
    durable::create_dir_all(dir).map_err(|source| PackError::Io { path: dir.to_path_buf(), source })?;
    let tmp = tmp_path(dir, id);
    let made = write(&raw, segment, segment_bytes, &tmp, level, watch).and_then(|()| {
        watch(PackStep::Synced);
        same(&raw, segment, segment_bytes, &tmp)?;
        watch(PackStep::Proven);
        keep_other(segment, &dest)?;
        durable::publish_file(&tmp, &dest).map_err(|source| PackError::Io { path: dest.clone(), source })
    });
    if let Err(err) = made {
        // The error that matters is this one.
        let _ = durable::remove_file(&tmp);
        return Err(err);
    }
    watch(PackStep::Published);
    done(false)
}

/// What archiving the sealed segment at `segment` would give, in memory: bytes of its records, bytes of the archive.
///
/// # Errors
/// As [`pack`]; nothing is written.
pub fn estimate(segment: &Path, level: i32) -> Result<(u64, u64), PackError> {
    let (_, segment_bytes, data_bytes) = sealed(segment)?;
    let raw =
        regular::open(segment).map_err(|source| ReadError::Io { path: segment.to_path_buf(), offset: 0, source })?;
    let mut packed = 0;
    compress(&raw, segment, segment_bytes, level, &mut |_, bytes| {
        packed += bytes.len() as u64;
        Ok(())
    })?;
    Ok((data_bytes, packed))
}

/// Removes what a killed [`pack`] left in `dir`. To be called while nobody packs there.
///
/// # Errors
/// As the file system reports; an absent directory is no error.
pub fn clean(dir: &Path) -> io::Result<usize> {
    let entries = match std::fs::read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let archive = name.strip_prefix('.').and_then(|n| n.strip_suffix(TMP_SUFFIX));
        if archive.is_some_and(|n| parse_file_name(n).is_some()) {
            durable::remove_file(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Renames an archive that has the name although it is not one of this very segment: after a restore a new run uses ids
/// that the original used, and its archives are the only copies of what was recorded there.
fn keep_other(segment: &Path, dest: &Path) -> Result<(), PackError> {
    let whose = |path: &Path| -> Result<Option<Admission>, ReadError> {
        let id = crate::read::id_of_file(path)?;
        let source = Source::open_path(path, id, 4096)?;
        source.map(|mut source| source.admit()).transpose()
    };
    let name = match whose(dest) {
        Ok(None) => return Ok(()),
        Ok(there) if there == whose(segment)? => return Ok(()),
        Ok(Some(Admission::Identified { epoch: Some(epoch), incarnation: Some(incarnation), .. })) => {
            format!("run{epoch}-{incarnation}")
        }
        Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(Some(_)) | Err(_) => "damaged".to_owned(),
    };
    let stem = dest.file_name().unwrap_or_default().to_string_lossy().replace(ARCHIVE_SUFFIX, "");
    let other = |n: u32| {
        let more = if n == 0 { String::new() } else { format!(".{n}") };
        dest.with_file_name(format!("other-{stem}-{name}{ARCHIVE_SUFFIX}{more}"))
    };
    let free = (0..u32::MAX).map(other).find(|path| !path.exists()).unwrap_or_else(|| other(u32::MAX));
    durable::publish_file(dest, &free).map_err(|source| PackError::Io { path: free, source })
}

fn tmp_path(dir: &Path, id: SegmentId) -> PathBuf {
    dir.join(format!(".{}{TMP_SUFFIX}", file_name(id)))
}

/// Id, length and end of the records of a segment that may be archived.
fn sealed(segment: &Path) -> Result<(SegmentId, u64, u64), PackError> {
    let refuse = |why| PackError::NotSealed { path: segment.to_path_buf(), why };
    let id = crate::read::id_of_file(segment)?;
    let mut source = Source::open_path(segment, id, 4096)?.ok_or_else(|| refuse("it does not exist"))?;
    if source.is_archived() {
        return Err(refuse("it is an archive already"));
    }
    match source.admit()? {
        Admission::Identified { .. } => {}
        Admission::Misnamed(_) => return Err(refuse("its header names another segment")),
        Admission::Unreadable => return Err(refuse("nothing says how to read it")),
    }
    let bytes = source.file_bytes();
    if !is_segment_length(bytes) {
        return Err(refuse("its length is not that of a segment"));
    }
    match source.footer()? {
        Some(footer) => Ok((id, bytes, footer.end_offset)),
        None => Err(refuse("it is not sealed")),
    }
}

fn write(
    raw: &File,
    segment: &Path,
    segment_bytes: u64,
    tmp: &Path,
    level: i32,
    watch: &mut dyn FnMut(PackStep),
) -> Result<(), PackError> {
    let io = |source| PackError::Io { path: tmp.to_path_buf(), source };
    let mut out = File::create(tmp).map_err(io)?;
    let entries = compress(raw, segment, segment_bytes, level, &mut |frame, bytes| {
        out.write_all(bytes).map_err(io)?;
        watch(PackStep::Frame(frame));
        Ok(())
    })?;
    out.write_all(&table::encode(&entries)).map_err(io)?;
    out.sync_all().map_err(io)?;
    // So that the proof reads what the disk has, where the kernel allows it.
    alloc::drop_cached(&out);
    Ok(())
}

/// Takes a frame's number and its compressed bytes.
type Each<'a> = dyn FnMut(usize, &[u8]) -> Result<(), PackError> + 'a;

/// Compresses every frame and hands it on.
fn compress(
    raw: &File,
    segment: &Path,
    segment_bytes: u64,
    level: i32,
    each: &mut Each<'_>,
) -> Result<Vec<Entry>, PackError> {
    let io = |source| PackError::Io { path: segment.to_path_buf(), source };
    let mut compressor = Compressor::new(level).map_err(io)?;
    compressor.include_checksum(true).map_err(io)?;
    let mut plain = vec![0; FRAME_BYTES as usize];
    let mut packed = Vec::with_capacity(zstd::zstd_safe::compress_bound(plain.len()));
    let mut entries = Vec::new();
    for frame in 0..layout::frame_count(segment_bytes) {
        let Some(span) = layout::span(segment_bytes, frame) else { break };
        let piece = plain.get_mut(..usize::try_from(span.len).unwrap_or(0)).unwrap_or(&mut []);
        read_raw(raw, segment, piece, span.from)?;
        packed.clear();
        compressor.compress_to_buffer(piece, &mut packed).map_err(io)?;
        each(frame, &packed)?;
        entries.push(Entry {
            packed: u32::try_from(packed.len()).unwrap_or(u32::MAX),
            plain: u32::try_from(span.len).unwrap_or(u32::MAX),
            checksum: packed.last_chunk().map_or(0, |c| u32::from_le_bytes(*c)),
        });
    }
    Ok(entries)
}

/// Whether every byte of the archive at `archive` is the segment's.
fn same(raw: &File, segment: &Path, segment_bytes: u64, archive: &Path) -> Result<(), PackError> {
    let file = regular::open(archive).map_err(|source| PackError::Io { path: archive.to_path_buf(), source })?;
    let unpacker = Unpacker::new(archive, file)?;
    let differs = |offset| PackError::Differs { path: segment.to_path_buf(), archive: archive.to_path_buf(), offset };
    if unpacker.fault().is_some() || unpacker.len() != segment_bytes {
        return Err(differs(segment_bytes.min(unpacker.len())));
    }
    let mut ours = vec![0; FRAME_BYTES as usize];
    let mut theirs = ours.clone();
    let mut at = 0;
    while at < segment_bytes {
        let n = unpacker.read_at(&mut theirs, at)?;
        let (Some(ours), Some(theirs)) = (ours.get_mut(..n), theirs.get(..n)) else { return Err(differs(at)) };
        if n == 0 {
            return Err(differs(at));
        }
        read_raw(raw, segment, ours, at)?;
        if let Some(first) = ours.iter().zip(theirs).position(|(a, b)| a != b) {
            return Err(differs(at + first as u64));
        }
        at += n as u64;
    }
    Ok(())
}

fn read_raw(raw: &File, segment: &Path, out: &mut [u8], at: u64) -> Result<(), PackError> {
    raw.read_exact_at(out, at)
        .map_err(|source| ReadError::Io { path: segment.to_path_buf(), offset: at, source }.into())
}
