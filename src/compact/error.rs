//! Why a log was not compacted, or a lake not kept, proven or repaired.
//!
//! A cause is a variant; what was being done when it came is a variant around it, so that a printed chain reads as a
//! way: "compact gate-spot: publish hour 2026-11-30T12: sync ...: No space left on device". Who decides asks
//! for the cause.

use std::io;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;

use wal_format::archive::PackError;
use wal_format::{AckError, AppendError, LineageError, OpenError, ReadError, RetireError};

use super::missing::EvidenceMissing;
use fold::account::Imbalance;
use fold::source::SourceError;
use fold::stored_logs::StoredLogsError;
use lake::{Hour, LakeError, LakeLockError, Table};
use model::{UnknownName, VenueId};
use net::dial::TlsError;
use ops::supervise::Panicked;

/// The compactor, or verification or repair of the lake, failed.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The work on one venue.
    #[error("compact {id}")]
    Of {
        /// The venue.
        id: VenueId,
        /// Why.
        source: Box<CompactError>,
    },
    /// The work on one hour.
    #[error("{doing} hour {hour}")]
    Hour {
        /// What was to be done with it.
        doing: &'static str,
        /// The hour.
        hour: Hour,
        /// Why it was not.
        source: Box<CompactError>,
    },
    /// The work on one file, directory or log.
    #[error("{doing} {}", path.display())]
    At {
        /// What was to be done with it.
        doing: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Why it was not.
        source: Box<CompactError>,
    },
    /// One step.
    #[error("{doing}")]
    Step {
        /// What was to be done.
        doing: &'static str,
        /// Why it was not.
        source: Box<CompactError>,
    },
    /// The place of a reader of the log.
    #[error("take the place of reader {reader}")]
    Place {
        /// The consumer.
        reader: &'static str,
        /// Why it was not to be had.
        source: Box<CompactError>,
    },
    /// A local file or directory.
    #[error("{doing} {}", path.display())]
    File {
        /// What was to be done with it.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A local file cannot be quarantined.
    #[error("quarantine {}", path.display())]
    Quarantine {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An object of the lake cannot be quarantined.
    #[error("quarantine {}", path.display())]
    TakeOut {
        /// The object.
        path: PathBuf,
        /// Why not.
        source: LakeError,
    },
    /// The pieces of a part do not become a file.
    #[error("join the rows of {table} of hour {hour}")]
    Join {
        /// The table.
        table: Table,
        /// The part's hour.
        hour: Hour,
        /// Why not.
        source: LakeError,
    },
    /// The joined rows do not become text.
    #[error("write the rows of {table} of hour {hour} as text")]
    AsText {
        /// The table.
        table: Table,
        /// The part's hour.
        hour: Hour,
        /// Why not.
        source: LakeError,
    },
    /// What a manifest remembers for the part after it is damaged.
    #[error("read the continuation of the manifest of {of}")]
    Continuation {
        /// The manifest.
        of: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A thread cannot be started.
    #[error("start the thread {which}")]
    Thread {
        /// Whose, or what for.
        which: String,
        /// What the system said.
        source: io::Error,
    },
    /// The outcome of a worker is unknown.
    #[error("compact {name}: its thread is gone")]
    ThreadGone {
        /// Its log.
        name: String,
    },
    /// Only a person can say how to go on.
    #[error(transparent)]
    Evidence(#[from] EvidenceMissing),
    /// What was counted is not what is in the files.
    #[error(transparent)]
    Imbalance(#[from] Imbalance),
    /// Another compactor on the same data.
    #[error(
        "another compactor works on this log already\n  where: {place}\n  fix:   stop it, or give this one its own [data] dir"
    )]
    Running {
        /// The ack it holds.
        place: String,
    },
    /// Another copy of the log was first. Trying again cures it: the next start goes on after what is published.
    #[error(
        "records {first} to {end} are published in part since this part was begun, by another copy of this log: it is gathered again without them"
    )]
    PublishedMeanwhile {
        /// Seq of the part's first record.
        first: u64,
        /// Seq after its last.
        end: u64,
    },
    /// In a store that several machines publish into, a part has other bytes than this publish, and no manifest yet.
    #[error(
        "{path} is there with other bytes, and no manifest names it: a compactor with another version or other settings publishes the same records, or one ended before its manifest\n  fix:   let one compactor have this log; what no manifest names is removed when it is a quarter of an hour old, and then this one goes on"
    )]
    PublishedDifferently {
        /// The object.
        path: String,
    },
    /// The directory of the lake is not the one that was begun with.
    #[error("the lake no longer has the newest manifest {}: is its disk mounted?", manifest.display())]
    LakeGone {
        /// The manifest.
        manifest: PathBuf,
    },
    /// Where there should be a log there is something else.
    #[error("{why}\n  fix:   move it out of the log's directory; nothing was touched")]
    NoLog {
        /// What is there.
        why: String,
    },
    /// A drain was asked to stop before it had worked off its log.
    #[error("{name} is not worked off to its end: records of it are not in the lake yet; the same command goes on")]
    Stopped {
        /// The log.
        name: String,
    },
    /// A log cannot be read on, and a drain does not wait.
    #[error("{0}")]
    Blocked(String),
    /// A segment does not say whose it is.
    #[error("{} does not say which log it belongs to", segment.display())]
    Nobodys {
        /// The segment.
        segment: PathBuf,
    },
    /// A segment without a directory.
    #[error("{} lies in no log", segment.display())]
    Nowhere {
        /// The segment.
        segment: PathBuf,
    },
    /// A segment that was to be deleted is needed again.
    #[error("{} may not go now: no manifest covers it, or a reader needs it", segment.display())]
    Needed {
        /// The segment.
        segment: PathBuf,
    },
    /// A replay makes a lake where there is something.
    #[error("the output directory is not empty\n  where: {}\n  fix:   name a directory that does not exist or is empty", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// Another process works in a directory that was just invented.
    #[error("{} is taken", lock.display())]
    Taken {
        /// Its lock.
        lock: PathBuf,
    },
    /// What this program made itself is not what it makes.
    #[error("{0}")]
    Internal(&'static str),
    /// A file of the lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The lock of the lake.
    #[error(transparent)]
    Lock(#[from] LakeLockError),
    /// The log, or what was acknowledged of it.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A directory of the log.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log cannot be identified.
    #[error(transparent)]
    Lineage(#[from] LineageError),
    /// The logs of a venue.
    #[error(transparent)]
    StoredLogs(#[from] StoredLogsError),
    /// The place of a reader.
    #[error(transparent)]
    Ack(#[from] AckError),
    /// Segments were not deleted.
    #[error(transparent)]
    Retire(#[from] RetireError),
    /// A segment was not archived.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The repair log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The repair log takes nothing.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// An extra root certificate is none.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A state was stored by a newer version.
    #[error(transparent)]
    Word(#[from] UnknownName),
    /// A list is no text.
    #[error(transparent)]
    Text(#[from] FromUtf8Error),
    /// Something does not become JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The work panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl CompactError {
    /// Of the local `path`, while it was tried to do that to it.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing, path: path.to_owned(), source }
    }

    /// Of what is at `path`, while it was tried to do that to it.
    pub(crate) fn at<E: Into<Self>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |err| Self::At { doing, path: path.to_owned(), source: Box::new(err.into()) }
    }

    /// Of one step.
    pub(crate) fn step<E: Into<Self>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |err| Self::Step { doing, source: Box::new(err.into()) }
    }

    /// Of an hour, while it was tried to do that to it.
    pub(crate) fn hour<E: Into<Self>>(doing: &'static str, hour: Hour) -> impl FnOnce(E) -> Self {
        move |err| Self::Hour { doing, hour, source: Box::new(err.into()) }
    }

    /// What failed first, without what was being done meanwhile.
    fn cause(&self) -> &CompactError {
        match self {
            Self::Of { source, .. }
            | Self::Hour { source, .. }
            | Self::At { source, .. }
            | Self::Step { source, .. }
            | Self::Place { source, .. } => source.cause(),
            cause => cause,
        }
    }

    /// What the lake said, if it was that.
    fn lake(&self) -> Option<&LakeError> {
        match self.cause() {
            Self::Lake(err)
            | Self::Join { source: err, .. }
            | Self::AsText { source: err, .. }
            | Self::TakeOut { source: err, .. } => Some(err),
            _ => None,
        }
    }

    /// The evidence that is missing, which has an exit code of its own.
    #[must_use]
    pub fn evidence(&self) -> Option<&EvidenceMissing> {
        match self.cause() {
            Self::Evidence(missing) => Some(missing),
            _ => None,
        }
    }

    /// Whether a panic is behind it, which has an exit code of its own.
    #[must_use]
    pub fn panicked(&self) -> bool {
        matches!(self.cause(), Self::Panicked(_))
    }

    /// Whether nothing failed: it was asked to stop before its end.
    #[must_use]
    pub fn stopped(&self) -> bool {
        matches!(self.cause(), Self::Stopped { .. })
    }

    /// Whether a drain may start over at once: a file that is not what was written was in the way and is quarantined by
    /// the next start, or another copy of the log was first.
    pub(crate) fn starting_over_cures(&self) -> bool {
        matches!(self.cause(), Self::PublishedMeanwhile { .. })
            || matches!(self.lake(), Some(LakeError::Damaged { .. }))
    }

    /// False for what trying again later cannot cure.
    pub(crate) fn is_curable(&self) -> bool {
        !matches!(self.cause(), Self::Imbalance(_) | Self::Running { .. } | Self::Evidence(_))
            && !matches!(self.lake(), Some(LakeError::Manifest(_)))
    }
}
