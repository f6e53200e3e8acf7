//! What can go wrong between rows and a published file.

use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

/// Error of the lake crate.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// Reading or writing a file failed.
    #[error("cannot {verb} {path}: {source}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Something is to be put where nothing was, and something is there.
    #[error("{} is there already, and is not what is to be put there: nothing was written", path.display())]
    Exists {
        /// The object.
        path: PathBuf,
    },
    /// An object is not the one that was looked at.
    #[error("{} was changed by another process meanwhile: nothing was written, try again", path.display())]
    Changed {
        /// The object.
        path: PathBuf,
    },
    /// No object of a lake can have this key.
    #[error("{key:?} cannot be the key of an object: {why}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A Parquet structure could not be written or read.
    #[error("cannot {verb} {path}: {source}")]
    Parquet {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: ParquetError,
    },
    /// A file is not what its place says it should be.
    #[error("{path} is not a usable file of table {table}: {what}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The expected table.
        table: &'static str,
        /// What does not fit.
        what: String,
    },
    /// The bytes of a file are not those that were written.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and what is there.
        what: String,
    },
    /// A newer program wrote it: that one can read it, and this one leaves it alone.
    #[error(
        "{path} was written by a newer version of tapedeck: its {what} version is {found}, this program knows up to {known}; nothing of it was changed, use a version that knows it"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Version of what.
        what: &'static str,
        /// The one that it names.
        found: u32,
        /// The newest known one.
        known: u32,
    },
    /// Pieces overlap or are in the wrong order: joining them would repeat or reorder rows.
    #[error("{path} starts at seq {got}, but rows up to seq {last} are already written")]
    OutOfOrder {
        /// The piece that does not continue.
        path: PathBuf,
        /// Highest seq before it.
        last: i64,
        /// Its lowest seq.
        got: i64,
    },
    /// A manifest does not add up.
    #[error("manifest does not add up: {0}")]
    Manifest(String),
    /// A chunk that cannot be a row group.
    #[error("cannot write a row group of {rows} rows of table {table}: allowed are 1 to {max}")]
    GroupSize {
        /// The table.
        table: &'static str,
        /// Rows in the chunk.
        rows: usize,
        /// Rows of a full row group.
        max: usize,
    },
}

impl LakeError {
    /// Of an I/O error at `path`, while it was tried to `verb` it.
    pub fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { verb, path, source }
    }

    pub(crate) fn parquet(verb: &'static str, path: &Path) -> impl Fn(ParquetError) -> Self {
        let path = path.to_owned();
        move |source| Self::Parquet { verb, path: path.clone(), source }
    }

    /// Names the manifest that does not add up.
    pub(crate) fn of_manifest(self, path: &Path) -> Self {
        match self {
            Self::Manifest(what) => Self::Manifest(format!("{}: {what}", path.display())),
            Self::Newer { what, found, known, .. } => Self::Newer { path: path.to_owned(), what, found, known },
            other => other,
        }
    }

    /// True when what was being read is not there any more: another object took its place, or none. One in a directory
    /// stays what it was while it is open.
    pub fn is_stale(&self) -> bool {
        let source = match self {
            Self::Io { source, .. } => Some(source),
            Self::Parquet { source: ParquetError::External(source), .. } => source.downcast_ref(),
            _ => None,
        };
        source.is_some_and(|err| err.kind() == io::ErrorKind::StaleNetworkFileHandle)
    }

    /// True when the store that holds the lake gave no answer: nothing is known of what is in it.
    pub fn is_unreachable(&self) -> bool {
        let source = match self {
            Self::Io { source, .. } => Some(source),
            Self::Parquet { source: ParquetError::External(source), .. } => source.downcast_ref(),
            _ => None,
        };
        source.is_some_and(|err| err.kind() == io::ErrorKind::NotConnected)
    }

    /// True when trying again later can help: the disk was full or an I/O error was temporary. Never true
    /// for damaged or foreign files.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::NotConnected
            ),
            Self::Parquet { source, .. } => {
                matches!(source, ParquetError::External(_))
            }
            _ => false,
        }
    }
}
