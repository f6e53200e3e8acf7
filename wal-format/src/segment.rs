//! Segment files: names, and how one comes into being.
//!
//! ```text
//!  <id>.wal.tmp -- allocate in full -- header -- fdatasync -- rename to <id>.wal -- sync dir
//! ```
//!
//! A name without `.tmp` therefore always has its full length and a valid header. A segment is
//! empty until its first commit word is stored; readers look at the header only after that.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::header::SegmentHeader;
use crate::layout::{DATA_START, SEGMENT_SUFFIX, TMP_SUFFIX};
use crate::record::SegmentId;
use crate::storage::{Storage, StorageFile};
use crate::sys::Window;

/// Digits of a segment id in a file name.
const ID_DIGITS: usize = 20;

/// The path of a segment in a log directory.
#[must_use]
pub fn path(dir: &Path, id: SegmentId) -> PathBuf {
    dir.join(file_name(id))
}

/// The file name of a segment: 20 digits and `.wal`.
#[must_use]
pub fn file_name(id: SegmentId) -> String {
    format!("{:0width$}{SEGMENT_SUFFIX}", id.0, width = ID_DIGITS)
}

/// The path of a segment in preparation.
#[must_use]
pub(crate) fn tmp_path(dir: &Path, id: SegmentId) -> PathBuf {
    dir.join(format!("{}{TMP_SUFFIX}", file_name(id)))
}

/// The id in a segment's file name; `None` for any other name.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<SegmentId> {
    parse_digits(name.strip_suffix(SEGMENT_SUFFIX)?)
}

/// The id in the name of a segment in preparation.
#[must_use]
pub(crate) fn parse_tmp_name(name: &str) -> Option<SegmentId> {
    parse_file_name(name.strip_suffix(TMP_SUFFIX)?)
}

fn parse_digits(digits: &str) -> Option<SegmentId> {
    if digits.len() != ID_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(SegmentId)
}

/// A segment of this writer, open, mapped and empty.
#[derive(Clone)]
pub(crate) struct Segment {
    pub id: SegmentId,
    pub header: SegmentHeader,
    pub file: Arc<dyn StorageFile>,
    pub window: Arc<Window>,
}

/// Creates the segment that `header` describes. `donor` is an existing file of the same length,
/// allocated and known to be zero after its header block, that is renamed and reused.
///
/// # Errors
/// What the storage reports; `StorageFull` if the disk cannot hold it. The temporary file is
/// removed then, except where it came from a donor.
pub(crate) fn create(
    storage: &dyn Storage,
    dir: &Path,
    header: SegmentHeader,
    donor: Option<&Path>,
) -> io::Result<Segment> {
    let tmp = tmp_path(dir, header.segment);
    if let Some(donor) = donor
        && donor != tmp
    {
        storage.rename(donor, &tmp)?;
    }
    let made = prepare(storage, dir, &tmp, &header);
    if made.is_err() && donor.is_none() {
        // The error that matters is the one above; the next start removes what stays.
        let _ = storage.remove(&tmp);
    }
    let (file, window) = made?;
    Ok(Segment { id: header.segment, header, file, window })
}

fn prepare(
    storage: &dyn Storage,
    dir: &Path,
    tmp: &Path,
    header: &SegmentHeader,
) -> io::Result<(Arc<dyn StorageFile>, Arc<Window>)> {
    let file = storage.open_or_create(tmp)?;
    file.allocate(header.segment_bytes)?;
    file.write_all_at(&header.encode(), 0)?;
    file.sync_data()?;
    storage.rename(tmp, &path(dir, header.segment))?;
    storage.sync_dir(dir)?;
    let window = file.map(header.segment_bytes)?;
    Ok((file, window))
}

/// Whether a file can be taken as a donor: right length, and zero after its header block.
///
/// # Errors
/// What the storage reports while reading.
pub(crate) fn is_unused(file: &dyn StorageFile, segment_bytes: u64) -> io::Result<bool> {
    if file.len()? != segment_bytes {
        return Ok(false);
    }
    file.is_zero(DATA_START, segment_bytes)
}

/// Whether a file begins with a header block that this version can read.
///
/// # Errors
/// What the storage reports while reading.
pub(crate) fn has_header(file: &dyn StorageFile) -> io::Result<bool> {
    let mut block = vec![0; DATA_START as usize];
    file.read_exact_at(&mut block, 0)?;
    Ok(SegmentHeader::decode(&block).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ClockPair;
    use crate::storage::OsStorage;

    fn header(id: u64) -> SegmentHeader {
        SegmentHeader {
            log_uuid: [1; 16],
            segment: SegmentId(id),
            epoch: 1,
            incarnation: crate::Incarnation(0x7777_0000_0000_0001),
            salt: id * 77,
            segment_bytes: 64 * 1024,
            created: ClockPair::default(),
            boot_id: [0; 16],
            writer_version: "test".to_owned(),
        }
    }

    #[test]
    fn names_and_ids_map_both_ways_and_nothing_else_is_taken_for_a_segment() {
        let name = file_name(SegmentId(42));
        assert_eq!(name, "00000000000000000042.wal");
        assert_eq!(parse_file_name(&name), Some(SegmentId(42)));
        assert_eq!(parse_tmp_name(&format!("{name}.tmp")), Some(SegmentId(42)));
        for other in [
            "42.wal",
            "00000000000000000042.wal.zst",
            "0000000000000000004x.wal",
            "+0000000000000000042.wal",
            "99999999999999999999.wal",
            "LOCK",
            "",
        ] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_created_segment_has_its_full_length_a_valid_header_and_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let segment = create(&OsStorage, dir.path(), header(3), None).unwrap();
        assert_eq!(segment.window.len(), 64 * 1024);
        assert_eq!(segment.window.commit_word(DATA_START), Some(0));
        let bytes = std::fs::read(path(dir.path(), SegmentId(3))).unwrap();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header(3)));
        assert!(is_unused(&*segment.file, 64 * 1024).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unused_segment_is_taken_over_under_a_new_name_and_header() {
        let dir = tempfile::tempdir().unwrap();
        create(&OsStorage, dir.path(), header(3), None).unwrap();
        let donor = path(dir.path(), SegmentId(3));
        create(&OsStorage, dir.path(), header(9), Some(&donor)).unwrap();
        assert!(!donor.exists());
        let bytes = std::fs::read(path(dir.path(), SegmentId(9))).unwrap();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header(9)));
    }

    #[test]
    fn one_byte_anywhere_makes_a_file_no_donor() {
        let dir = tempfile::tempdir().unwrap();
        let segment = create(&OsStorage, dir.path(), header(3), None).unwrap();
        for at in [DATA_START, 30_000, 64 * 1024 - 1] {
            segment.file.write_all_at(&[1], at).unwrap();
            assert!(!is_unused(&*segment.file, 64 * 1024).unwrap());
            segment.file.write_all_at(&[0], at).unwrap();
        }
        assert!(!is_unused(&*segment.file, 128 * 1024).unwrap());
    }
}
