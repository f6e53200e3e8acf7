//! Errors of the reading side: reading, repairing, acknowledging, retiring, looking on.
//!
//! As in `error`: variants hold facts, Display is one plain sentence without its source.

use std::io;
use std::path::PathBuf;

use crate::archive::ArchiveFault;
use crate::checkpoint::CheckpointError;
use crate::error::LockError;
use crate::identity::hex;
use crate::lock::Role;
use crate::regular;
use crate::slots::SlotError;

/// A step of a reader failed. The reader stays where it is.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file cannot be read. For a block that the disk cannot give back, `skip_damaged` steps
    /// over it.
    #[error("cannot read {} at offset {offset}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Where, in bytes.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// An archived segment has a damaged or missing part. `skip_damaged` steps over it.
    #[error("{}: {fault}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Which part, and why.
        fault: Box<ArchiveFault>,
    },
    /// A newer version of the format wrote it.
    #[error(
        "{} has format version {got}, newer than {newest}, the newest this program reads",
        path.display()
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// As stored.
        got: u16,
        /// The newest that can be read.
        newest: u16,
    },
    /// The requested file is no segment.
    #[error("{} is not a segment of a log", path.display())]
    NotASegment {
        /// The file.
        path: PathBuf,
    },
    /// What was being read is not there any more, and was not deleted: the log was replaced, by a backup perhaps. Open a
    /// new reader with [`crate::LogReader::resume`].
    #[error("{} was replaced while it was read", path.display())]
    Replaced {
        /// The segment, or the log's directory.
        path: PathBuf,
    },
    /// It is unknown whose log it is: reading would mix logs.
    #[error(transparent)]
    Lineage(Box<LineageError>),
}

/// Whose log it is cannot be determined.
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
    #[error("cannot determine whose log it is")]
    State(#[from] SlotError),
    /// The directory or a segment cannot be read.
    #[error("cannot determine whose log it is")]
    Read(#[from] ReadError),
}

impl From<LineageError> for ReadError {
    fn from(error: LineageError) -> Self {
        match error {
            LineageError::Read(error) => error,
            error => ReadError::Lineage(Box::new(error)),
        }
    }
}

impl ReadError {
    /// Whether the same call may succeed later without anything being changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, ReadError::Io { .. })
    }

    /// Whether what has the name is no regular file, and so never was one of the log's.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, ReadError::Io { source, .. } if regular::is_refused(source))
    }

    /// Whether a file could not be opened or read, so that nothing is known of what is in it.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, ReadError::Io { .. } | ReadError::Archive { .. })
    }
}

/// The state of a log could not be looked at.
pub type StateError = ReadError;

/// A repair could not be done, as a whole or for one segment. What was there is still there.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// A writer lives, or another repair is at work.
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
    },
    /// `Mode::Strict` met damage.
    #[error("{} is damaged at offset {offset}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where its first damaged byte is.
        offset: u64,
    },
    /// Valid records are where SEAL or footer must: no writer of this format does that.
    #[error("{} has records at offset {offset}, where SEAL or footer must be", path.display())]
    NoRoom {
        /// The segment.
        path: PathBuf,
        /// Where it should have been.
        offset: u64,
    },
    /// The system refused.
    #[error("cannot repair {}", path.display())]
    Io {
        /// The segment or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<LockError> for RepairError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held { path, role, pid, .. } => RepairError::LockHeld { path, role, pid },
            LockError::Io { path, source } => RepairError::Io { path, source },
        }
    }
}

/// An ack could not be opened, read or stored.
#[derive(Debug, thiserror::Error)]
pub enum AckError {
    /// Another process reads under this name.
    #[error(
        "reader {reader} is active in another process{}",
        pid.map_or(String::new(), |pid| format!(" (pid {pid})"))
    )]
    ReaderHeld {
        /// The reader's name.
        reader: String,
        /// As written into the lock file by the holder.
        pid: Option<u32>,
    },
    /// A reader name is 1 to 64 of a-z, 0-9, `-` and `_`, not beginning with `-`.
    #[error("{name:?} is not a reader name: expected 1 to 64 of a-z, 0-9, - and _")]
    BadName {
        /// As given.
        name: String,
    },
    /// The file cannot be used; a damaged one is replaced by the next store.
    #[error("the ack file {} cannot be used", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SlotError,
    },
    /// Nobody can tell whose log it is.
    #[error("the ack {} cannot be stored", path.display())]
    Lineage {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LineageError,
    },
    /// The note is longer than an ack can hold.
    #[error("a note of {bytes} bytes is longer than the {max} bytes an ack can hold")]
    NoteTooLong {
        /// Its length.
        bytes: usize,
        /// The cap.
        max: usize,
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

/// Nothing was deleted because something was missing, or deleting itself failed.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// A required reader never stored an ack here.
    #[error("there is no ack in {}: nothing is deleted before every reader has one", path.display())]
    AckMissing {
        /// The ack file.
        path: PathBuf,
    },
    /// The ack was stored for another log.
    #[error(
        "the ack in {} belongs to log {}, this is log {}",
        path.display(),
        hex(got),
        hex(expected)
    )]
    AckOfAnotherLog {
        /// The ack file.
        path: PathBuf,
        /// This log.
        expected: [u8; 16],
        /// The log the ack names.
        got: [u8; 16],
    },
    /// The ack was stored for another copy of this log.
    #[error("the ack in {} does not belong to this log", path.display())]
    AckOfAnotherRun {
        /// The ack file.
        path: PathBuf,
        /// Where it points, and what this log had.
        source: CheckpointError,
    },
    /// Nobody can tell whose log it is.
    #[error(transparent)]
    Lineage(#[from] LineageError),
    /// An ack cannot be read.
    #[error(transparent)]
    Ack(#[from] AckError),
    /// The log cannot be looked at.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system refused.
    #[error("cannot delete {}", path.display())]
    Io {
        /// The segment or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An error and what caused it, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
