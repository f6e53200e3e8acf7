//! A place in one log, and why it may be none: what a reader stores to go on from.

use crate::identity::hex;
use crate::incarnation::{Incarnation, Run};
use crate::record::Position;

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
    /// cloned. An older checkpoint may still be of a run that both had ([`crate::Lineage::last_common`]).
    #[error(
        "it is in {run}, which this log never had ({}; its newest run is {newest}): the log was restored from a backup or is a clone",
        known.map_or_else(|| format!("it had no run {}", run.epoch), |known| format!("its run {} was {known}", run.epoch))
    )]
    OfAnotherRun {
        /// The run it is in.
        run: Run,
        /// The log's own run with this number.
        known: Option<Incarnation>,
        /// The log's newest run.
        newest: u32,
    },
}
