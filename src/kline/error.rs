//! Why candles could not be made, or not be kept.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::RecvError;

use fold::source::SourceError;
use fold::stored_logs::StoredLogsError;
use model::{UnknownName, VenueId};
use ops::supervise::Panicked;
use wal_format::{AckError, LineageError};

use super::db::DbError;

/// The candles of a service, or of a replay, failed.
#[derive(Debug, thiserror::Error)]
pub enum KlineError {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The log, where nothing more is to be said.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The logs of a venue.
    #[error(transparent)]
    StoredLogs(#[from] StoredLogsError),
    /// A state was stored by a newer version.
    #[error(transparent)]
    State(#[from] UnknownName),
    /// A run of a feed panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// Whose candles failed.
    #[error("candles of {id}")]
    Of {
        /// The venue.
        id: VenueId,
        /// Why.
        source: Box<KlineError>,
    },
    /// A folder cannot be made.
    #[error("make {}", path.display())]
    Make {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The configured database cannot be opened.
    #[error(
        "cannot open the database of candles\n  where: [klines] database = \"{shown}\"\n  fix:   name a file that may be written, or a server that can be reached"
    )]
    Database {
        /// Its URL without what is secret.
        shown: String,
        /// Why.
        source: Box<DbError>,
    },
    /// The database of a replay cannot be made.
    #[error("open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<DbError>,
    },
    /// A replay makes candles where there are none.
    #[error("there are candles already\n  where: {}\n  fix:   name a directory that does not exist or is empty", path.display())]
    There {
        /// The file that is there.
        path: PathBuf,
    },
    /// The owner of the log is unknown.
    #[error("identify the log in {}", dir.display())]
    Lineage {
        /// The log.
        dir: PathBuf,
        /// Why.
        source: LineageError,
    },
    /// Another process acknowledges for the candles.
    #[error("take the place of reader {reader} in {}", dir.display())]
    Place {
        /// The consumer.
        reader: &'static str,
        /// The log.
        dir: PathBuf,
        /// Why.
        source: Box<AckError>,
    },
    /// What the database does not have cannot be requested again.
    #[error("take back the ack")]
    TakeBack(#[source] SourceError),
    /// What is stored cannot be acknowledged.
    #[error("store the ack")]
    Ack(#[source] SourceError),
    /// A checkpoint cannot be stored.
    #[error("store candles")]
    Store(#[source] DbError),
    /// The log cannot be read.
    #[error("read the log")]
    Read(#[source] SourceError),
    /// The stored state of a feed is damaged.
    #[error("read the stored state of the feed")]
    ReadState(#[source] serde_json::Error),
    /// The state of a feed cannot be written down.
    #[error("write the state of the feed as JSON")]
    WriteState(#[source] serde_json::Error),
    /// What changed was not gathered.
    #[error("gather what changed")]
    Gather(#[source] RecvError),
    /// The thread that has the bars is gone.
    #[error("the thread that makes the candles ended")]
    BarsEnded,
    /// The thread that stores them is gone.
    #[error("the database thread ended")]
    DatabaseEnded(#[source] Option<RecvError>),
    /// A thread cannot be started.
    #[error("start a thread of the candles")]
    Thread(#[source] io::Error),
    /// A drain had to stop before the candles had worked off the log.
    #[error("the candles are not at the end of the log yet; the same command goes on")]
    Stopped,
    /// A thread ended by a panic that was reported.
    #[error("a thread of the candles panicked")]
    ThreadPanicked,
}

impl KlineError {
    /// Whether a panic is behind it, which has an exit code of its own.
    #[must_use]
    pub fn panicked(&self) -> bool {
        match self {
            KlineError::Panicked(_) => true,
            KlineError::Of { source, .. } => source.panicked(),
            _ => false,
        }
    }

    /// Whether nothing failed: a drain had to stop before its end.
    #[must_use]
    pub fn stopped(&self) -> bool {
        match self {
            KlineError::Stopped => true,
            KlineError::Of { source, .. } => source.stopped(),
            _ => false,
        }
    }
}
