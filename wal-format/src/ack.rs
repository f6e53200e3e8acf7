//! What a reader has safe elsewhere: one two-slot file per reader, and a lock per reader name.
//!
//! ```text
//!  acks/<reader>.ack    two slots, replaced in place: needs no free space, so a full disk can
//!                       still be emptied
//!  acks/<reader>.lock   exclusive flock while an AckFile is open
//! ```
//!
//! An ack is a cache of what the reader itself can prove; a damaged one costs work, never
//! records, and never lets anything be deleted.

use std::io;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::error::LockError;
use crate::incarnation::{Incarnation, Run};
use crate::layout::{ACK_VERSION, ACKS_DIR};
use crate::lineage::lineage;
use crate::lock::LogLock;
use crate::read_error::AckError;
use crate::record::{Position, SegmentId, Seq};
use crate::regular;
use crate::slots::{self, SLOT_BODY_BYTES_MAX, SLOT_FILE_BYTES_MAX, SlotError, SlotFile};
use crate::storage::OsStorage;

/// Suffix of an ack file.
pub(crate) const ACK_SUFFIX: &str = ".ack";
const LOCK_SUFFIX: &str = ".lock";
const NAME_BYTES_MAX: usize = 64;

/// Longest note, in bytes: a slot holds one block, and the fixed fields take less than 256.
pub const NOTE_BYTES_MAX: usize = SLOT_BODY_BYTES_MAX - 256;

/// Body of version 1, as stored.
#[derive(Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(archived = ArchivedAckV1)]
struct AckV1 {
    log_uuid: [u8; 16],
    segment: u64,
    offset: u64,
    seq: u64,
    note: String,
}

/// Body of version 2, as stored: the run that `seq` is of has an incarnation.
#[derive(Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(archived = ArchivedAckV2)]
struct AckV2 {
    log_uuid: [u8; 16],
    incarnation: u64,
    segment: u64,
    offset: u64,
    seq: u64,
    note: String,
}

impl From<AckV1> for AckV2 {
    fn from(old: AckV1) -> Self {
        AckV2 {
            log_uuid: old.log_uuid,
            incarnation: Incarnation::VERSION_1.0,
            segment: old.segment,
            offset: old.offset,
            seq: old.seq,
            note: old.note,
        }
    }
}

/// Everything before `position` is safe elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The log it speaks about.
    pub log_uuid: [u8; 16],
    /// That of the run that `position.seq` is of; 0 for one of version 1.
    pub incarnation: Incarnation,
    /// Where reading goes on.
    pub position: Position,
    /// Counts the stores; set by [`AckFile::store`].
    pub generation: u64,
    /// For the reader's own use, up to [`NOTE_BYTES_MAX`] bytes.
    pub note: String,
}

impl Ack {
    /// The run that its position is of.
    #[must_use]
    pub fn run(&self) -> Run {
        Run { epoch: self.position.seq.epoch(), incarnation: self.incarnation }
    }
}

/// The ack of one reader, held exclusively.
pub struct AckFile {
    path: PathBuf,
    file: SlotFile,
    newest: Option<Ack>,
    /// What stood there could not be read; the next store replaces it.
    damaged: bool,
    _lock: LogLock,
}

/// The path of a reader's ack.
pub(crate) fn path_of(dir: &Path, reader: &str) -> PathBuf {
    dir.join(ACKS_DIR).join(format!("{reader}{ACK_SUFFIX}"))
}

fn check_name(reader: &str) -> Result<(), AckError> {
    let good = (1..=NAME_BYTES_MAX).contains(&reader.len())
        && !reader.starts_with('-')
        && reader.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if good { Ok(()) } else { Err(AckError::BadName { name: reader.to_owned() }) }
}

fn decode(path: &Path, slot: &slots::Slot) -> Result<Ack, AckError> {
    // An aligned copy of our own, as rkyv wants it; the slot's checksum was good.
    let mut body = rkyv::util::AlignedVec::<16>::with_capacity(slot.body.len());
    body.extend_from_slice(&slot.body);
    let ack = match slot.version {
        1 => rkyv::from_bytes::<AckV1, rkyv::rancor::Error>(&body).map(AckV2::from),
        _ => rkyv::from_bytes::<AckV2, rkyv::rancor::Error>(&body),
    }
    .map_err(|err| AckError::State {
        path: path.to_path_buf(),
        source: SlotError::Body { path: path.to_path_buf(), message: err.to_string() },
    })?;
    Ok(Ack {
        log_uuid: ack.log_uuid,
        incarnation: Incarnation(ack.incarnation),
        position: Position { segment: SegmentId(ack.segment), offset: ack.offset, seq: Seq(ack.seq) },
        generation: slot.generation,
        note: ack.note,
    })
}

/// Reads a reader's ack without taking its lock; `None` if it never stored one.
pub(crate) fn read(dir: &Path, reader: &str) -> Result<Option<Ack>, AckError> {
    check_name(reader)?;
    let path = path_of(dir, reader);
    let bytes = match regular::read(&path, SLOT_FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(AckError::Io { action: "read", path, source });
        }
    };
    match slots::decode_file(&path, ACK_VERSION, &bytes) {
        Ok(None) => Ok(None),
        Ok(Some(slot)) => decode(&path, &slot).map(Some),
        Err(source) => Err(AckError::State { path, source }),
    }
}

/// All readable acks in a log's directory, of whichever log.
pub(crate) fn all(dir: &Path) -> Vec<Ack> {
    let Ok(entries) = std::fs::read_dir(dir.join(ACKS_DIR)) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| {
            let reader = name.strip_suffix(ACK_SUFFIX)?;
            read(dir, reader).ok().flatten()
        })
        .collect()
}

impl AckFile {
    /// Opens (or creates) the ack of `reader` in the log directory `dir`, exclusively.
    ///
    /// # Errors
    /// [`AckError::ReaderHeld`] while another `AckFile` of this name is open anywhere,
    /// [`AckError::BadName`], and what the system refuses. A damaged file opens;
    /// [`AckFile::load`] tells.
    pub fn open(dir: &Path, reader: &str) -> Result<AckFile, AckError> {
        check_name(reader)?;
        let acks = dir.join(ACKS_DIR);
        durable::create_dir_all(&acks).map_err(|source| AckError::Io {
            action: "create",
            path: acks.clone(),
            source,
        })?;
        let lock_path = acks.join(format!("{reader}{LOCK_SUFFIX}"));
        let lock = LogLock::take_file(&lock_path, None).map_err(|err| match err {
            LockError::Held { pid, .. } => AckError::ReaderHeld { reader: reader.to_owned(), pid },
            LockError::Io { path, source } => AckError::Io { action: "lock", path, source },
        })?;
        let path = path_of(dir, reader);
        let state = |source| AckError::State { path: path.clone(), source };
        let (file, slot, mut damaged) = match SlotFile::open(&OsStorage, &path, ACK_VERSION) {
            Ok((file, slot)) => (file, slot, false),
            Err(SlotError::Damaged { .. }) => {
                let (file, slot) = SlotFile::open_or_reset(&OsStorage, &path, ACK_VERSION).map_err(state)?;
                (file, slot, true)
            }
            Err(err) => return Err(state(err)),
        };
        let newest = match slot.map(|slot| decode(&path, &slot)) {
            None => None,
            Some(Ok(ack)) => Some(ack),
            Some(Err(_)) => {
                damaged = true;
                None
            }
        };
        Ok(AckFile { path, file, newest, damaged, _lock: lock })
    }

    /// The newest stored ack; `None` if there never was one.
    ///
    /// # Errors
    /// [`AckError::State`] if what stands there is damaged: find the position by other means and
    /// store it.
    pub fn load(&self) -> Result<Option<Ack>, AckError> {
        if self.damaged {
            return Err(AckError::State {
                path: self.path.clone(),
                source: SlotError::Damaged { path: self.path.clone() },
            });
        }
        Ok(self.newest.clone())
    }

    /// As [`AckFile::store`], for a reader that does not keep the incarnation of what it read: the log itself says which
    /// run `position` is of.
    ///
    /// # Errors
    /// As [`AckFile::store`]; also when nobody can tell whose log it is.
    pub fn acknowledge(&mut self, log_uuid: [u8; 16], position: Position, note: &str) -> Result<(), AckError> {
        let dir = self.path.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        let lineage = lineage(dir).map_err(|source| AckError::Lineage { path: self.path.clone(), source })?;
        let incarnation = lineage.and_then(|lineage| lineage.incarnation_of(position.seq.epoch())).unwrap_or_default();
        self.store(&Ack { log_uuid, incarnation, position, generation: 0, note: note.to_owned() })
    }

    /// Replaces the ack; durable on return. `ack.generation` is ignored and set.
    ///
    /// # Errors
    /// [`AckError`]; the ack before is still there.
    pub fn store(&mut self, ack: &Ack) -> Result<(), AckError> {
        if ack.note.len() > NOTE_BYTES_MAX {
            return Err(AckError::NoteTooLong { bytes: ack.note.len(), max: NOTE_BYTES_MAX });
        }
        let body = AckV2 {
            log_uuid: ack.log_uuid,
            incarnation: ack.incarnation.0,
            segment: ack.position.segment.0,
            offset: ack.position.offset,
            seq: ack.position.seq.0,
            note: ack.note.clone(),
        };
        let state = |source| AckError::State { path: self.path.clone(), source };
        let body = rkyv::to_bytes::<rkyv::rancor::Error>(&body)
            .map_err(|err| state(SlotError::Body { path: self.path.clone(), message: err.to_string() }))?;
        let generation = self.file.store(ACK_VERSION, &body).map_err(state)?;
        self.newest = Some(Ack { generation, ..ack.clone() });
        self.damaged = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(offset: u64, note: &str) -> Ack {
        Ack {
            log_uuid: [3; 16],
            incarnation: Incarnation(0xabcd_0000_0000_0001),
            position: Position { segment: SegmentId(2), offset, seq: Seq::new(1, 9) },
            generation: 0,
            note: note.to_owned(),
        }
    }

    #[test]
    fn the_longest_note_fits_and_a_longer_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = AckFile::open(dir.path(), "lake").unwrap();
        let note = "x".repeat(NOTE_BYTES_MAX);
        file.store(&ack(8, &note)).unwrap();
        assert_eq!(read(dir.path(), "lake").unwrap().unwrap().note, note);
        assert!(matches!(file.store(&ack(16, &format!("{note}x"))), Err(AckError::NoteTooLong { .. })));
        assert_eq!(file.load().unwrap().unwrap().position.offset, 8);
    }

    #[test]
    fn every_flipped_bit_of_the_newer_slot_gives_the_older_ack_or_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = AckFile::open(dir.path(), "lake").unwrap();
        file.store(&ack(8, "old")).unwrap();
        file.store(&ack(16, "new")).unwrap();
        drop(file);
        let path = path_of(dir.path(), "lake");
        let good = std::fs::read(&path).unwrap();
        for bit in (4096 * 8)..(4096 * 8 + 256 * 8) {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            let note = match read(dir.path(), "lake") {
                Ok(Some(found)) => found.note,
                other => panic!("bit {bit}: {other:?}"),
            };
            assert!(note == "old" || note == "new", "bit {bit}");
        }
    }

    #[test]
    fn a_damaged_ack_says_so_and_is_replaced_by_the_next_store() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = AckFile::open(dir.path(), "lake").unwrap();
        file.store(&ack(8, "")).unwrap();
        file.store(&ack(16, "")).unwrap();
        drop(file);
        std::fs::write(path_of(dir.path(), "lake"), vec![0x5A; 8192]).unwrap();
        let mut file = AckFile::open(dir.path(), "lake").unwrap();
        assert!(matches!(file.load(), Err(AckError::State { .. })));
        file.store(&ack(24, "")).unwrap();
        assert_eq!(file.load().unwrap().unwrap().position.offset, 24);
        drop(file);
        let file = AckFile::open(dir.path(), "lake").unwrap();
        assert_eq!(file.load().unwrap().unwrap().position.offset, 24);
    }
}
