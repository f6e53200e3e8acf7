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
//! [`CheckpointError::OfAnotherRun`], one of run 1 still holds, at any position in it: what the copy lacks of run 1
//! was never given to other records.
//!
//! Worked example of an EPOCH that was put back alone: it knows runs 1 and 2 and gave ids up to 20, segments 21 to 40
//! are of runs 2 to 4. Those ids were never given by this EPOCH, so it cannot know better, and their headers add runs 3
//! and 4: nothing of the log's own becomes foreign. A segment of run 4 with id 15 would be: the writer that left this
//! EPOCH looked at every name below 21.

mod settle;

use std::collections::BTreeMap;
use std::fmt;

pub use self::settle::lineage;
pub(crate) use self::settle::{Claim, of_dirs, settle};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::identity::hex;
use crate::incarnation::{Incarnation, Run};
use crate::layout::DATA_START;
use crate::read_error::ReadError;
use crate::record::SegmentId;
use crate::source::{Admission, Source};

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
pub enum KnownRun {
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

impl Lineage {
    /// That of a lone file.
    pub(crate) fn of_file(log_uuid: [u8; 16], run: Option<Run>) -> Self {
        let runs = run.iter().map(|run| (run.epoch, run.incarnation)).collect();
        Lineage { log_uuid, runs, stored: None }
    }

    /// That of a log whose files are elsewhere, as far as its `runs` are known here. A run that is not among them may be
    /// its own.
    #[must_use]
    pub fn of_runs(log_uuid: [u8; 16], runs: impl IntoIterator<Item = Run>) -> Self {
        let runs = runs.into_iter().map(|run| (run.epoch, run.incarnation)).collect();
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

    /// Whether the log had `run`. Epoch 0 is before every run: it had that.
    #[must_use]
    pub fn knows(&self, run: Run) -> KnownRun {
        match self.incarnation_of(run.epoch) {
            _ if run.epoch == 0 => KnownRun::Yes,
            Some(known) if known == run.incarnation => KnownRun::Yes,
            Some(_) => KnownRun::No,
            // Without EPOCH nobody knows which run was the newest.
            None if self.stored.is_some() && run.epoch > self.newest() => KnownRun::No,
            None => KnownRun::Unknown,
        }
    }

    /// The newest of `runs` that this log had too: up to its end a copy of the log that had `runs` holds the same
    /// records. What is published of these runs needs not be published again.
    #[must_use]
    pub fn last_common(&self, runs: &[Run]) -> Option<Run> {
        runs.iter().copied().filter(|run| self.knows(*run) == KnownRun::Yes).max_by_key(|run| run.epoch)
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
            KnownRun::Yes | KnownRun::Unknown => Ok(()),
            KnownRun::No => {
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

    /// Whether this log ever gave this id to a segment, as far as EPOCH says.
    pub(crate) fn handed_out(&self, id: SegmentId) -> bool {
        self.stored.is_none_or(|(_, next)| id < next)
    }

    /// A run that a segment of the log was found to be of.
    pub(crate) fn add(&mut self, run: Run) {
        self.runs.entry(run.epoch).or_insert(run.incarnation);
    }
}
