//! Whose log it is, and which runs it had: what decides whether a segment, an ack or a checkpoint is of this log.
//!
//! ```text
//!  EPOCH        uuid, the newest runs                              decides
//!  headers      runs that EPOCH cannot know: ids it never gave     add; without EPOCH all of them, if they agree
//!  acks         uuid                                               without EPOCH, where some segment agrees
//! ```
//!
//! Never a vote: one good EPOCH outweighs any number of segments. Worked example of a backup: run 1 was copied in the
//! middle and went on to 1:900, run 2 (`aa..`) followed, and both were published. The copy is put back. Its EPOCH knows
//! run 1 only; the next writer starts run 2 (`bb..`). A manifest or an ack of run 2 (`aa..`) is now
//! [`CheckpointError::OfAnotherRun`], one of run 1 still holds, wherever in it it stands: what the copy lacks of run 1
//! was never given to other records.
//!
//! Worked example of an EPOCH that was put back alone: it knows runs 1 and 2 and gave ids up to 20, segments 21 to 40
//! are of runs 2 to 4. Those ids were never given by this EPOCH, so it cannot know better, and their headers add runs 3
//! and 4: nothing of the log's own becomes foreign. A segment of run 4 with id 15 would be: the writer that left this
//! EPOCH looked at every name below 21.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::ack::{self, Ack};
use crate::epoch::{self, EpochState};
use crate::incarnation::{Incarnation, Run};
use crate::layout::{BLOCK_BYTES, DATA_START, EPOCH_FILE};
use crate::read_error::ReadError;
use crate::record::{Position, SegmentId};
use crate::shelf::Shelf;
use crate::slots::SlotError;
use crate::source::{Admission, Source};

/// A file that names another log is told by its name; of more than this many the rest is counted.
const NAMED_MAX: usize = 4;

/// Identity and runs of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    log_uuid: [u8; 16],
    runs: BTreeMap<u32, Incarnation>,
    /// Last run and next segment id of EPOCH; `None` where it could not be read.
    stored: Option<(u32, SegmentId)>,
}

/// Whether a log had a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It had this very run.
    Yes,
    /// It had another one with this number, or never one with so high a number.
    No,
    /// The run is older than what is remembered: to be taken for its own.
    Unknown,
}

/// Why a segment in a log's directory is not the log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// It is of another log.
    Log {
        /// That one.
        uuid: [u8; 16],
    },
    /// It is of another copy of this log: the run with this number was another one here.
    Run {
        /// As its header says.
        run: Run,
        /// The log's own.
        known: Incarnation,
    },
    /// It is of a run that this log never had, under an id that this log gave away or passed over before.
    Later {
        /// As its header says.
        run: Run,
        /// The log's newest run.
        newest: u32,
    },
    /// Its header names another segment: it was copied or renamed.
    Name {
        /// That one.
        segment: SegmentId,
    },
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Foreign::Log { uuid } => write!(f, "it is of log {}", hex(uuid)),
            Foreign::Run { run, known } => {
                write!(f, "it is of {run} of another copy of this log; run {} was {known} here", run.epoch)
            }
            Foreign::Later { run, newest } => {
                write!(f, "it is of {run} of another copy of this log; the newest run here is {newest}")
            }
            Foreign::Name { segment } => write!(f, "its header names segment {segment}: it was copied or renamed"),
        }
    }
}

/// Whose log it is cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum LineageError {
    /// EPOCH is gone and the files in the directory name different logs.
    #[error(
        "{} is missing or damaged, and the files beside it are of different logs: {}; put EPOCH back, or move the files that are not of this log out of the directory",
        epoch.display(),
        claims.join(", ")
    )]
    Unsettled {
        /// The EPOCH file.
        epoch: PathBuf,
        /// What names which log, in words.
        claims: Vec<String>,
    },
    /// EPOCH cannot be read now, or was written by a newer version.
    #[error("cannot tell whose log it is")]
    State(#[from] SlotError),
    /// The directory or a segment cannot be read.
    #[error("cannot tell whose log it is")]
    Read(#[from] ReadError),
}

/// A place in one log: what a reader stores to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub log_uuid: [u8; 16],
    /// That of the run that `position.seq` is of; 0 for one of version 1.
    pub incarnation: Incarnation,
    /// The next record to read. Its seq counts; segment and offset only say where to look first.
    pub position: Position,
}

impl Checkpoint {
    /// The run that the position is of.
    #[must_use]
    pub fn run(&self) -> Run {
        Run { epoch: self.position.seq.epoch(), incarnation: self.incarnation }
    }
}

impl From<&Ack> for Checkpoint {
    fn from(ack: &Ack) -> Self {
        Checkpoint { log_uuid: ack.log_uuid, incarnation: ack.incarnation, position: ack.position }
    }
}

/// A checkpoint says nothing about this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It was made of another log.
    #[error("it is of log {}, this is log {}", hex(got), hex(expected))]
    OfAnotherLog {
        /// This log.
        expected: [u8; 16],
        /// The log it names.
        got: [u8; 16],
    },
    /// It was made of another copy of this log: the log, or what stored the checkpoint, was restored from a backup or
    /// cloned. An older checkpoint may still be of a run that both had ([`Lineage::last_common`]).
    #[error(
        "it stands in {run}, which this log never had ({}; its newest run is {newest}): the log was restored from a backup or is a clone",
        known.map_or_else(|| format!("it had no run {}", run.epoch), |known| format!("its run {} was {known}", run.epoch))
    )]
    OfAnotherRun {
        /// The run it stands in.
        run: Run,
        /// The log's own run with this number.
        known: Option<Incarnation>,
        /// The log's newest run.
        newest: u32,
    },
}

impl Lineage {
    /// That of a lone file.
    pub(crate) fn of_file(log_uuid: [u8; 16], run: Option<Run>) -> Self {
        let runs = run.iter().map(|run| (run.epoch, run.incarnation)).collect();
        Lineage { log_uuid, runs, stored: None }
    }

    /// Identity of the log.
    #[must_use]
    pub fn log_uuid(&self) -> [u8; 16] {
        self.log_uuid
    }

    /// The incarnation of a run; `None` where it is not remembered.
    #[must_use]
    pub fn incarnation_of(&self, epoch: u32) -> Option<Incarnation> {
        self.runs.get(&epoch).copied()
    }

    /// The newest run that is known of; 0 if there was none.
    #[must_use]
    pub fn newest(&self) -> u32 {
        let seen = self.runs.last_key_value().map_or(0, |(epoch, _)| *epoch);
        seen.max(self.stored.map_or(0, |(epoch, _)| epoch))
    }

    /// The runs that are remembered, by epoch.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = Run> + '_ {
        self.runs.iter().map(|(epoch, incarnation)| Run { epoch: *epoch, incarnation: *incarnation })
    }

    /// Whether the log had `run`. Epoch 0 stands before every run: it had that.
    #[must_use]
    pub fn knows(&self, run: Run) -> Known {
        match self.incarnation_of(run.epoch) {
            _ if run.epoch == 0 => Known::Yes,
            Some(known) if known == run.incarnation => Known::Yes,
            Some(_) => Known::No,
            // Without EPOCH nobody knows which run was the newest.
            None if self.stored.is_some() && run.epoch > self.newest() => Known::No,
            None => Known::Unknown,
        }
    }

    /// The newest of `runs` that this log had too: up to its end a copy of the log that had `runs` holds the same
    /// records. What is published of these runs needs not be published again.
    #[must_use]
    pub fn last_common(&self, runs: &[Run]) -> Option<Run> {
        runs.iter().copied().filter(|run| self.knows(*run) == Known::Yes).max_by_key(|run| run.epoch)
    }

    /// Whether `checkpoint` is a place in this log. One of a run that is too old to be remembered is.
    ///
    /// # Errors
    /// [`CheckpointError`] says whose it is.
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        if checkpoint.log_uuid != self.log_uuid {
            return Err(CheckpointError::OfAnotherLog { expected: self.log_uuid, got: checkpoint.log_uuid });
        }
        let run = checkpoint.run();
        match self.knows(run) {
            Known::Yes | Known::Unknown => Ok(()),
            Known::No => {
                Err(CheckpointError::OfAnotherRun { run, known: self.incarnation_of(run.epoch), newest: self.newest() })
            }
        }
    }

    /// Why a segment with this id and these claims is not the log's; `None` if it is, or if nothing says otherwise.
    pub(crate) fn judge(
        &self,
        id: SegmentId,
        log_uuid: Option<[u8; 16]>,
        epoch: Option<u32>,
        incarnation: Option<Incarnation>,
    ) -> Option<Foreign> {
        if let Some(uuid) = log_uuid.filter(|uuid| *uuid != self.log_uuid) {
            return Some(Foreign::Log { uuid });
        }
        let run = Run { epoch: epoch?, incarnation: incarnation? };
        if let Some(known) = self.incarnation_of(run.epoch) {
            return (known != run.incarnation).then_some(Foreign::Run { run, known });
        }
        let (newest, next) = self.stored?;
        (run.epoch > newest && id < next).then_some(Foreign::Later { run, newest })
    }

    /// Why the file of a segment is not the log's; `None` if it is, or if nothing says otherwise. A segment that was
    /// never used may be on its way to another name, and is not judged by it.
    pub(crate) fn foreign(&self, source: &mut Source) -> Result<Option<Foreign>, ReadError> {
        let id = source.id();
        Ok(match source.admit()? {
            Admission::Identified { log_uuid, epoch, incarnation } => self.judge(id, log_uuid, epoch, incarnation),
            Admission::Misnamed(segment) if source.commit_word(DATA_START)? != 0 => Some(Foreign::Name { segment }),
            Admission::Misnamed(_) | Admission::Unreadable => None,
        })
    }

    /// Whether this log ever gave this id to a segment, as far as EPOCH tells.
    pub(crate) fn handed_out(&self, id: SegmentId) -> bool {
        self.stored.is_none_or(|(_, next)| id < next)
    }

    /// A run that a segment of the log was found to be of.
    pub(crate) fn add(&mut self, run: Run) {
        self.runs.entry(run.epoch).or_insert(run.incarnation);
    }
}

/// What the header of a segment claims.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub id: SegmentId,
    pub path: PathBuf,
    pub log_uuid: [u8; 16],
    /// The run; `None` where only the footer could be read.
    pub run: Option<Run>,
}

/// Decides whose log it is; `None` if nothing ever said. `claims` are in order of their ids.
pub(crate) fn settle(
    dir: &Path,
    epoch: Option<&EpochState>,
    claims: &[Claim],
    acks: &[Ack],
) -> Result<Option<Lineage>, LineageError> {
    let log_uuid = match epoch {
        Some(state) => Some(state.log_uuid),
        None => without_epoch(dir, claims, acks)?,
    };
    let Some(log_uuid) = log_uuid else { return Ok(None) };
    let runs = epoch.map(|state| state.runs.iter().map(|run| (run.epoch, run.incarnation)).collect());
    let stored = epoch.map(|state| (state.epoch, state.next_segment));
    let mut lineage = Lineage { log_uuid, runs: runs.unwrap_or_default(), stored };
    for claim in claims {
        if let Some(run) = claim.run
            && lineage.judge(claim.id, Some(claim.log_uuid), Some(run.epoch), Some(run.incarnation)).is_none()
        {
            lineage.add(run);
        }
    }
    Ok(Some(lineage))
}

/// The log's uuid where EPOCH does not say it: that of all segments, or that of all acks if a segment agrees.
fn without_epoch(dir: &Path, claims: &[Claim], acks: &[Ack]) -> Result<Option<[u8; 16]>, LineageError> {
    let one = |mut uuids: Vec<[u8; 16]>| {
        uuids.sort_unstable();
        uuids.dedup();
        match uuids.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    };
    let of_acks = one(acks.iter().map(|ack| ack.log_uuid).collect());
    let of_segments = one(claims.iter().map(|claim| claim.log_uuid).collect());
    let agreed = |uuid: &[u8; 16]| claims.is_empty() || claims.iter().any(|claim| claim.log_uuid == *uuid);
    match (of_acks, of_segments) {
        (Some(uuid), _) if agreed(&uuid) => Ok(Some(uuid)),
        // The acks are of another log than every segment: which of them was put here?
        (Some(_), _) => Err(unsettled(dir, claims, acks)),
        (None, Some(uuid)) => Ok(Some(uuid)),
        (None, None) if claims.is_empty() => Ok(None),
        (None, None) => Err(unsettled(dir, claims, acks)),
    }
}

fn unsettled(dir: &Path, claims: &[Claim], acks: &[Ack]) -> LineageError {
    let mut by_uuid: BTreeMap<[u8; 16], Vec<String>> = BTreeMap::new();
    for claim in claims {
        let name = claim.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        by_uuid.entry(claim.log_uuid).or_default().push(name);
    }
    for ack in acks {
        by_uuid.entry(ack.log_uuid).or_default().push("an ack".to_owned());
    }
    let told = |(uuid, names): (&[u8; 16], &Vec<String>)| {
        let more = names.len().saturating_sub(NAMED_MAX);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let first: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
        format!("{} ({}{rest})", hex(uuid), first.join(", "))
    };
    LineageError::Unsettled { epoch: dir.join(EPOCH_FILE), claims: by_uuid.iter().map(told).collect() }
}

/// Whose log stands in `dir`, and which runs it had; `None` while there is no log. Takes no lock.
///
/// # Errors
/// [`LineageError`] when EPOCH or a segment cannot be read, or EPOCH is lost and the files in the directory do not agree.
pub fn lineage(dir: &Path) -> Result<Option<Lineage>, LineageError> {
    of_shelf(&Shelf::new(dir))
}

/// As [`lineage`], of a log whose segments may lie in two directories.
pub(crate) fn of_shelf(shelf: &Shelf) -> Result<Option<Lineage>, LineageError> {
    let epoch = match epoch::read(shelf.dir()) {
        Ok(state) => state,
        Err(SlotError::Damaged { .. } | SlotError::Body { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    // What lies below was there when the writer that stored this EPOCH looked.
    let from = epoch.as_ref().map_or(SegmentId(0), |state| state.next_segment);
    let mut claims = Vec::new();
    for id in shelf.ids()?.into_iter().filter(|id| *id >= from) {
        // One that went away meanwhile was retired; one that cannot be read says nothing, and whoever wants to read it
        // is told why.
        if let Ok(Some(mut source)) = shelf.open(id, BLOCK_BYTES as usize)
            && let Ok(claim) = claim(&mut source)
        {
            claims.extend(claim);
        }
    }
    if epoch.is_none() && claims.is_empty() {
        return Ok(None);
    }
    let acks = if epoch.is_none() { ack::all(shelf.dir()) } else { Vec::new() };
    settle(shelf.dir(), epoch.as_ref(), &claims, &acks)
}

/// What a segment claims; `None` if it says nothing, or is not what its name says.
fn claim(source: &mut Source) -> Result<Option<Claim>, ReadError> {
    let (id, path) = (source.id(), source.path().to_path_buf());
    Ok(match source.admit()? {
        Admission::Identified { log_uuid: Some(log_uuid), epoch, incarnation } => {
            let run = epoch.zip(incarnation).map(|(epoch, incarnation)| Run { epoch, incarnation });
            Some(Claim { id, path, log_uuid, run })
        }
        _ => None,
    })
}

/// An identity as 32 digits.
pub(crate) fn hex(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}
