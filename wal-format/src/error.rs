//! Errors, one enum per operation where the caller branches.
//!
//! Variants hold facts: path, offset, what was expected and what was found. Display is one plain
//! sentence without its source; the chain adds it.

mod lock;

use std::io;
use std::path::PathBuf;

pub use self::lock::LockError;
use crate::checkpoint::CheckpointError;
use crate::lock::Role;
use crate::read_error::LineageError;
use crate::record::Seq;
use crate::slots::SlotError;

/// A writer or a reader could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another writer owns the log, or a repair by version 1, which lets no writer in, took too long.
    #[error(
        "the log is in use by another process{}: {}{}",
        if *role == Role::Repair { ", which repairs it" } else { "" },
        path.display(),
        pid.map_or(String::new(), |pid| format!(" (pid {pid})"))
    )]
    LockHeld {
        /// The lock file.
        path: PathBuf,
        /// What it is held for.
        role: Role,
        /// As written into the file by the holder.
        pid: Option<u32>,
        /// When the holder took it, ns since 1970-01-01 UTC, as written by the holder.
        since_wall_ns: Option<u64>,
    },
    /// The log directory is something else.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// It.
        path: PathBuf,
    },
    /// A file is where the log must put its own, and is not ours to replace.
    #[error("{} is in the way: it is not a file of this log", path.display())]
    ForeignFile {
        /// It.
        path: PathBuf,
    },
    /// A state file was written by a newer version, or both of its slots are damaged.
    #[error("the state file {} cannot be used", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SlotError,
    },
    /// EPOCH is lost, and the files beside it do not agree whose log it is.
    #[error(transparent)]
    Lineage(#[from] LineageError),
    /// The disk cannot hold the first segment.
    #[error(
        "no space for a segment in {}: {needed} bytes needed, {} available",
        path.display(),
        available.map_or("unknown".to_owned(), |n| n.to_string())
    )]
    NoSpace {
        /// The log directory.
        path: PathBuf,
        /// Bytes of one segment.
        needed: u64,
        /// Bytes free for this user, if the file system reports it.
        available: Option<u64>,
    },
    /// An option lies outside its range.
    #[error("option {option} is {got}, allowed is {allowed}")]
    Option {
        /// Its name.
        option: &'static str,
        /// As given.
        got: u64,
        /// In words.
        allowed: String,
    },
    /// All 16.7 million epochs are used up.
    #[error("the log in {} was started {epoch} times, the most the format can number", path.display())]
    EpochsUsedUp {
        /// The log directory.
        path: PathBuf,
        /// The last epoch.
        epoch: u32,
    },
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl From<LockError> for OpenError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held { path, role, pid, since_wall_ns } => {
                OpenError::LockHeld { path, role, pid, since_wall_ns }
            }
            LockError::Io { path, source } => OpenError::Io { action: "lock", path, source },
        }
    }
}

/// A reader could not go on from a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The directory is something else.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It is unknown whose log it is.
    #[error(transparent)]
    Lineage(#[from] LineageError),
    /// It is no place in this log.
    #[error("a checkpoint does not belong to the log in {}", dir.display())]
    Checkpoint {
        /// The log.
        dir: PathBuf,
        /// Where it points, and what this log had.
        source: CheckpointError,
    },
}

/// A record was not appended. The log stays healthy; what was appended before stays.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The payload is longer than the log accepts. Nothing was written.
    #[error("the payload of {bytes} bytes is longer than the {max} bytes this log accepts")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The cap.
        max: usize,
    },
    /// The segment is full and no other one could be allocated. Appending works again as soon as
    /// space returns; the frames in between are the caller's gap to report.
    #[error(
        "no space for another segment in {}: {needed} bytes needed, {} available",
        path.display(),
        available.map_or("unknown".to_owned(), |n| n.to_string())
    )]
    OutOfSpace {
        /// The log directory.
        path: PathBuf,
        /// Bytes of one segment.
        needed: u64,
        /// Bytes free for this user, if the file system reports it.
        available: Option<u64>,
    },
    /// A new segment could not be made for another reason than space.
    #[error("cannot make another segment in {}: {message}", path.display())]
    NoSegment {
        /// The log directory.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// The epoch's counter is used up (a million million records); reopen the log.
    #[error("the epoch has no numbers left after {last}")]
    SeqUsedUp {
        /// The last number.
        last: Seq,
    },
}

impl AppendError {
    /// Whether the same append may succeed later without anything being reopened.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, AppendError::OutOfSpace { .. } | AppendError::NoSegment { .. })
    }
}

/// Durability was not reached.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SyncError {
    /// The disk reported an error for a segment: nothing in it, nor after it in log order, is
    /// claimed durable in this run. The records are still readable from memory.
    #[error("records from {from} on are not known to be on disk: {message}")]
    Frozen {
        /// First seq that is not durable.
        from: Seq,
        /// What the system said.
        message: String,
    },
    /// The writer is gone; the record is as durable as the kernel makes it.
    #[error("the writer was closed before the record was on disk")]
    Closed,
}

/// The log was closed with a complaint. All records are in the log; its end may have to be
/// repaired by the next writer.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The data or the footer could not be forced to disk.
    #[error("the log was closed, but not everything is known to be on disk")]
    Sync(#[from] SyncError),
    /// The state file could not be written: the next start will say "unclean".
    #[error("the log was closed, but {} could not be updated", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SlotError,
    },
}
