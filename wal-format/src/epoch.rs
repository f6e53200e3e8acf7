//! The EPOCH file: identity of the log, runs of its writer, and the first segment id never used.
//!
//! A two-slot file (`slots`), written durably before the first record of a run and before each
//! segment becomes usable. Its loss is not fatal: what matters is derived again from the segment
//! headers, with a warning.

use std::path::{Path, PathBuf};

use rkyv::util::AlignedVec;

use crate::header::SegmentHeader;
use crate::layout::{DATA_START, EPOCH_FILE};
use crate::record::{SegmentId, Seq};
use crate::segment;
use crate::slots::{SlotError, SlotFile};
use crate::storage::Storage;

/// Body of version 1, as stored.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(archived = ArchivedEpochV1)]
struct EpochV1 {
    log_uuid: [u8; 16],
    boot_id: [u8; 16],
    next_segment: u64,
    started_wall_ns: u64,
    closed_wall_ns: u64,
    last_seq: u64,
    epoch: u32,
    clean: u8,
}

/// What the EPOCH file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochState {
    /// Identity of the log.
    pub log_uuid: [u8; 16],
    /// The last run; 0 if there was none.
    pub epoch: u32,
    /// The machine run in which it started.
    pub boot_id: [u8; 16],
    /// The lowest segment id that was never used.
    pub next_segment: SegmentId,
    /// When the run started.
    pub started_wall_ns: u64,
    /// When it ended, if it was closed in order.
    pub closed_wall_ns: Option<u64>,
    /// Its last record, if it was closed in order.
    pub last_seq: Option<Seq>,
}

impl EpochState {
    fn encode(&self) -> Result<AlignedVec, rkyv::rancor::Error> {
        rkyv::to_bytes(&EpochV1 {
            log_uuid: self.log_uuid,
            boot_id: self.boot_id,
            next_segment: self.next_segment.0,
            started_wall_ns: self.started_wall_ns,
            closed_wall_ns: self.closed_wall_ns.unwrap_or(0),
            last_seq: self.last_seq.map_or(0, Seq::get),
            epoch: self.epoch,
            clean: u8::from(self.closed_wall_ns.is_some()),
        })
    }

    fn decode(body: &[u8]) -> Result<Self, rkyv::rancor::Error> {
        let mut aligned: AlignedVec = AlignedVec::with_capacity(body.len());
        aligned.extend_from_slice(body);
        let stored = rkyv::from_bytes::<EpochV1, rkyv::rancor::Error>(&aligned)?;
        let clean = stored.clean == 1;
        Ok(EpochState {
            log_uuid: stored.log_uuid,
            epoch: stored.epoch,
            boot_id: stored.boot_id,
            next_segment: SegmentId(stored.next_segment),
            started_wall_ns: stored.started_wall_ns,
            closed_wall_ns: clean.then_some(stored.closed_wall_ns),
            last_seq: clean.then_some(Seq(stored.last_seq)),
        })
    }
}

/// The open EPOCH file of a writer.
pub(crate) struct EpochFile {
    path: PathBuf,
    slots: SlotFile,
}

impl EpochFile {
    /// Opens or creates the file and returns what it says. If it says nothing although the log
    /// has segments, their headers answer instead, and the third value is a warning.
    pub fn open(
        storage: &dyn Storage,
        dir: &Path,
        segments: &[SegmentId],
    ) -> Result<(Self, Option<EpochState>, Option<String>), SlotError> {
        let path = dir.join(EPOCH_FILE);
        let (slots, slot) = match SlotFile::open(storage, &path) {
            Err(SlotError::Damaged { .. }) => SlotFile::open_or_reset(storage, &path)?,
            other => other?,
        };
        let state = slot.and_then(|slot| EpochState::decode(&slot.body).ok());
        let file = EpochFile { path, slots };
        if state.is_some() {
            return Ok((file, state, None));
        }
        let state = from_headers(storage, dir, segments);
        let warning = state.as_ref().map(|state| {
            format!("{} said nothing; the segment headers name epoch {}", file.path.display(), state.epoch)
        });
        Ok((file, state, warning))
    }

    /// Replaces the state; durable on return.
    pub fn store(&mut self, state: &EpochState) -> Result<(), SlotError> {
        let body =
            state.encode().map_err(|error| SlotError::Body { path: self.path.clone(), message: error.to_string() })?;
        self.slots.store(&body).map(|_| ())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What the EPOCH file of the log in `dir` says, without opening it for writing.
///
/// # Errors
/// [`SlotError`]; a missing file is `Ok(None)`.
pub fn read(dir: &Path) -> Result<Option<EpochState>, SlotError> {
    let path = dir.join(EPOCH_FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(SlotError::Io { action: "read", path, source });
        }
    };
    let Some(slot) = crate::slots::decode_file(&path, &bytes)? else {
        return Ok(None);
    };
    EpochState::decode(&slot.body).map(Some).map_err(|error| SlotError::Body { path, message: error.to_string() })
}

fn from_headers(storage: &dyn Storage, dir: &Path, segments: &[SegmentId]) -> Option<EpochState> {
    let mut found: Option<SegmentHeader> = None;
    let mut block = vec![0; DATA_START as usize];
    for id in segments {
        let read = storage.open(&segment::path(dir, *id)).and_then(|file| file.read_exact_at(&mut block, 0));
        // A segment that cannot be read says nothing; recovery deals with it.
        if read.is_err() {
            continue;
        }
        if let Ok(header) = SegmentHeader::decode(&block)
            && found.as_ref().is_none_or(|f| header.epoch >= f.epoch)
        {
            found = Some(header);
        }
    }
    found.map(|header| EpochState {
        log_uuid: header.log_uuid,
        epoch: header.epoch,
        boot_id: header.boot_id,
        started_wall_ns: header.created.wall_ns,
        ..EpochState::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ClockPair;
    use crate::storage::OsStorage;

    fn state(epoch: u32) -> EpochState {
        EpochState {
            log_uuid: [3; 16],
            epoch,
            boot_id: [4; 16],
            next_segment: SegmentId(17),
            started_wall_ns: 5,
            closed_wall_ns: Some(6),
            last_seq: Some(Seq::new(epoch, 7)),
        }
    }

    #[test]
    fn the_last_stored_state_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, before, warning) = EpochFile::open(&OsStorage, dir.path(), &[]).unwrap();
        assert_eq!((before, warning), (None, None));
        file.store(&state(1)).unwrap();
        file.store(&state(2)).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(state(2)));
        let (_, before, _) = EpochFile::open(&OsStorage, dir.path(), &[]).unwrap();
        assert_eq!(before, Some(state(2)));
    }

    #[test]
    fn a_lost_epoch_file_is_replaced_by_what_the_segment_headers_say() {
        let dir = tempfile::tempdir().unwrap();
        for (id, epoch) in [(1, 4), (2, 6), (3, 5)] {
            let header = SegmentHeader {
                log_uuid: [8; 16],
                segment: SegmentId(id),
                epoch,
                salt: 1,
                segment_bytes: 64 * 1024,
                created: ClockPair::default(),
                boot_id: [0; 16],
                writer_version: String::new(),
            };
            segment::create(&OsStorage, dir.path(), header, None).unwrap();
        }
        let ids = [SegmentId(1), SegmentId(2), SegmentId(3)];
        std::fs::write(dir.path().join(EPOCH_FILE), [7; 8192]).unwrap();
        let (mut file, before, warning) = EpochFile::open(&OsStorage, dir.path(), &ids).unwrap();
        let before = before.unwrap();
        assert_eq!((before.epoch, before.log_uuid), (6, [8; 16]));
        assert!(warning.unwrap().contains("epoch 6"));
        file.store(&state(7)).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(state(7)));
    }
}
