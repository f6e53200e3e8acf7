//! The EPOCH file: identity of the log, runs of its writer, and the first segment id never used.
//!
//! A two-slot file (`slots`), written durably before the first record of a run and before each
//! segment becomes usable. It decides whose log it is ([`crate::lineage()`]). Losing it is not fatal: what matters is
//! derived again from headers and acks, with a warning, unless they disagree.

use std::path::{Path, PathBuf};

use rkyv::util::AlignedVec;

use crate::incarnation::{Incarnation, Run};
use crate::layout::{EPOCH_FILE, EPOCH_RUNS_MAX, EPOCH_VERSION};
use crate::record::{SegmentId, Seq};
use crate::regular;
use crate::slots::{self, SLOT_FILE_BYTES_MAX, Slot, SlotError, SlotFile};
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

/// Body of version 2, as stored: the runs have incarnations.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(archived = ArchivedEpochV2)]
struct EpochV2 {
    log_uuid: [u8; 16],
    boot_id: [u8; 16],
    next_segment: u64,
    started_wall_ns: u64,
    closed_wall_ns: u64,
    last_seq: u64,
    epoch: u32,
    clean: u8,
    runs: Vec<RunV2>,
}

/// One run in the body of version 2.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(archived = ArchivedRunV2)]
struct RunV2 {
    incarnation: u64,
    epoch: u32,
}

impl From<EpochV1> for EpochV2 {
    fn from(old: EpochV1) -> Self {
        EpochV2 {
            log_uuid: old.log_uuid,
            boot_id: old.boot_id,
            next_segment: old.next_segment,
            started_wall_ns: old.started_wall_ns,
            closed_wall_ns: old.closed_wall_ns,
            last_seq: old.last_seq,
            epoch: old.epoch,
            clean: old.clean,
            // Of the runs of version 1 only the last is named.
            runs: vec![RunV2 { incarnation: Incarnation::VERSION_1.0, epoch: old.epoch }],
        }
    }
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
    /// The runs that are remembered, by epoch; the last one is the run above.
    pub runs: Vec<Run>,
}

impl EpochState {
    /// The incarnation of the last run.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.runs.iter().rev().find(|run| run.epoch == self.epoch).map_or(Incarnation::VERSION_1, |r| r.incarnation)
    }

    fn encode(&self) -> Result<AlignedVec, rkyv::rancor::Error> {
        let forgotten = self.runs.len().saturating_sub(EPOCH_RUNS_MAX);
        let runs = self.runs.iter().skip(forgotten);
        rkyv::to_bytes(&EpochV2 {
            log_uuid: self.log_uuid,
            boot_id: self.boot_id,
            next_segment: self.next_segment.0,
            started_wall_ns: self.started_wall_ns,
            closed_wall_ns: self.closed_wall_ns.unwrap_or(0),
            last_seq: self.last_seq.map_or(0, Seq::get),
            epoch: self.epoch,
            clean: u8::from(self.closed_wall_ns.is_some()),
            runs: runs.map(|run| RunV2 { incarnation: run.incarnation.0, epoch: run.epoch }).collect(),
        })
    }

    fn decode(slot: &Slot) -> Result<Self, rkyv::rancor::Error> {
        let mut aligned: AlignedVec = AlignedVec::with_capacity(slot.body.len());
        aligned.extend_from_slice(&slot.body);
        let stored = match slot.version {
            1 => rkyv::from_bytes::<EpochV1, rkyv::rancor::Error>(&aligned).map(EpochV2::from),
            _ => rkyv::from_bytes::<EpochV2, rkyv::rancor::Error>(&aligned),
        }?;
        let clean = stored.clean == 1;
        let run = |run: &RunV2| Run { epoch: run.epoch, incarnation: Incarnation(run.incarnation) };
        Ok(EpochState {
            log_uuid: stored.log_uuid,
            epoch: stored.epoch,
            boot_id: stored.boot_id,
            next_segment: SegmentId(stored.next_segment),
            started_wall_ns: stored.started_wall_ns,
            closed_wall_ns: clean.then_some(stored.closed_wall_ns),
            last_seq: clean.then_some(Seq(stored.last_seq)),
            runs: stored.runs.iter().map(run).collect(),
        })
    }
}

/// The open EPOCH file of a writer.
pub(crate) struct EpochFile {
    path: PathBuf,
    slots: SlotFile,
    damaged: bool,
}

impl EpochFile {
    /// Opens or creates the file and returns what it says; nothing where it is new or lost.
    pub fn open(storage: &dyn Storage, dir: &Path) -> Result<(Self, Option<EpochState>), SlotError> {
        let path = dir.join(EPOCH_FILE);
        let (slots, slot, mut damaged) = match SlotFile::open(storage, &path, EPOCH_VERSION) {
            Err(SlotError::Damaged { .. }) => {
                let (slots, slot) = SlotFile::open_or_reset(storage, &path, EPOCH_VERSION)?;
                (slots, slot, true)
            }
            other => {
                let (slots, slot) = other?;
                let damaged = slots.found_damage();
                (slots, slot, damaged)
            }
        };
        let state = slot.as_ref().and_then(|slot| EpochState::decode(slot).ok());
        damaged |= slot.is_some() && state.is_none();
        Ok((EpochFile { path, slots, damaged }, state))
    }

    /// Whether something was there that could not be read: what was read may not be the newest that was stored.
    pub fn found_damage(&self) -> bool {
        self.damaged
    }

    /// Replaces the state; durable on return.
    pub fn store(&mut self, state: &EpochState) -> Result<(), SlotError> {
        let body =
            state.encode().map_err(|error| SlotError::Body { path: self.path.clone(), message: error.to_string() })?;
        self.slots.store(EPOCH_VERSION, &body).map(|_| ())
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
    let bytes = match regular::read(&path, SLOT_FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(SlotError::Io { action: "read", path, source });
        }
    };
    let Some(slot) = slots::decode_file(&path, EPOCH_VERSION, &bytes)? else {
        return Ok(None);
    };
    EpochState::decode(&slot).map(Some).map_err(|error| SlotError::Body { path, message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
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
            runs: vec![Run { epoch, incarnation: Incarnation(u64::from(epoch) << 50) }],
        }
    }

    #[test]
    fn the_last_stored_state_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, before) = EpochFile::open(&OsStorage, dir.path()).unwrap();
        assert_eq!((before, file.found_damage()), (None, false));
        file.store(&state(1)).unwrap();
        file.store(&state(2)).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(state(2)));
        let (_, before) = EpochFile::open(&OsStorage, dir.path()).unwrap();
        assert_eq!(before, Some(state(2)));
    }

    #[test]
    fn the_newest_200_runs_are_remembered_and_fit_a_slot() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = EpochFile::open(&OsStorage, dir.path()).unwrap();
        let runs = (1..=300).map(|epoch| Run { epoch, incarnation: Incarnation(u64::from(epoch) << 50 | 1) }).collect();
        file.store(&EpochState { runs, ..state(300) }).unwrap();
        let read = read(dir.path()).unwrap().unwrap();
        assert_eq!((read.runs.len(), read.runs[0].epoch, read.runs[199].epoch), (200, 101, 300));
        assert_eq!(read.incarnation(), Incarnation(300 << 50 | 1));
    }

    #[test]
    fn a_lost_file_says_nothing_and_a_damaged_slot_shows() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(EPOCH_FILE), [7; 8192]).unwrap();
        let (mut file, before) = EpochFile::open(&OsStorage, dir.path()).unwrap();
        assert_eq!((before, file.found_damage()), (None, true));
        file.store(&state(7)).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(state(7)));
        let (_, before) = EpochFile::open(&OsStorage, dir.path()).unwrap();
        assert_eq!(before, Some(state(7)));
    }
}
