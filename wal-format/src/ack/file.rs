//! The ack of one reader, held exclusively and replaced as a whole.

use std::path::{Path, PathBuf};

use super::{Ack, AckV2, NOTE_BYTES_MAX, check_name, decode, path_of};
use crate::durable;
use crate::error::LockError;
use crate::layout::{ACK_VERSION, ACKS_DIR};
use crate::lineage::lineage;
use crate::lock::LogLock;
use crate::read_error::AckError;
use crate::record::Position;
use crate::slots::{SlotError, SlotFile};
use crate::storage::OsStorage;

const LOCK_SUFFIX: &str = ".lock";

/// The ack of one reader, held exclusively.
pub struct AckFile {
    path: PathBuf,
    file: SlotFile,
    newest: Option<Ack>,
    /// What was there could not be read; the next store replaces it.
    damaged: bool,
    _lock: LogLock,
}

impl AckFile {
    /// Opens (or creates) the ack of `reader` in the log directory `dir`, exclusively.
    ///
    /// # Errors
    /// [`AckError::ReaderHeld`] while another `AckFile` of this name is open anywhere,
    /// [`AckError::BadName`], and what the system refuses. A damaged file opens;
    /// [`AckFile::load`] says it.
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

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest stored ack; `None` if there never was one.
    ///
    /// # Errors
    /// [`AckError::State`] if what is there is damaged: find the position by other means and
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
    /// As [`AckFile::store`]; also when the log's identity is unknown.
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
    use super::super::read;
    use super::*;
    use crate::incarnation::Incarnation;
    use crate::record::{SegmentId, Seq};

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
