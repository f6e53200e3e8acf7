//! Why the archive could not be listed, mirrored, cleaned or proven. Of one file that could not be had:
//! [`crate::download_error`]; of one that cannot be used: the record of its month says so.

use std::fmt::Display;
use std::io;
use std::num::TryFromIntError;
use std::path::{Path, PathBuf};

use tokio::task::JoinError;

use super::clean::merge::StreamError;
use super::clean::zip::ZipError;
use super::download_error::DownloadError;
use super::market::Kind;
use super::path::PathError;
use fold::candles::generator::TooManyDigits;
use lake::{LakeError, Table};
use net::dial::TlsError;
use sql::SqlError;

/// The result of most functions of this crate.
pub type Result<T, E = HistoryError> = std::result::Result<T, E>;

/// A command on the archive failed: a cause, or what was being done when it came.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The work on one thing.
    #[error("{doing} {what}")]
    Of {
        /// What was to be done with it.
        doing: &'static str,
        /// A path or a name.
        what: String,
        /// Why it was not.
        source: Box<HistoryError>,
    },
    /// One step.
    #[error("{doing}")]
    Step {
        /// What was to be done.
        doing: &'static str,
        /// Why it was not.
        source: Box<HistoryError>,
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
    /// A file does not get its other name.
    #[error("move {} to {}", from.display(), to.display())]
    Move {
        /// What it is called.
        from: PathBuf,
        /// What it should be.
        to: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process downloads into the mirror.
    #[error(
        "another download works in {}: wait for it, give this one a history.dir of its own, or let both share a manifest on Postgres (history.manifest)",
        dir.display()
    )]
    MirrorTaken {
        /// The mirror.
        dir: PathBuf,
    },
    /// Another process cleans into the lake.
    #[error("another `history clean` writes {lake}: wait for it")]
    LakeTaken {
        /// The lake.
        lake: String,
    },
    /// What is to be downloaded fits nowhere.
    #[error(
        "the selection needs {} MiB more, and {} MiB are free in {}, of which {} MiB must stay free (other mirrors of the manifest have room for {} MiB): choose less, make room, or set history.dir",
        left_bytes >> 20, free_bytes >> 20, dir.display(), min_free_bytes >> 20, elsewhere_bytes >> 20
    )]
    NoRoom {
        /// What is still to come.
        left_bytes: u64,
        /// What the disk of the mirror has.
        free_bytes: u64,
        /// The mirror.
        dir: PathBuf,
        /// What has to stay free.
        min_free_bytes: u64,
        /// What other mirrors have room for.
        elsewhere_bytes: u64,
    },
    /// The disk refused a file, as it would the next one.
    #[error("{path}: {failure}")]
    Disk {
        /// Its name in the archive.
        path: String,
        /// What the disk said.
        failure: DownloadError,
    },
    /// A table would have doubles in one file and decimals in another.
    #[error(
        "{others} months of {table} that are not cleaned now have other numbers than {now}, and readers refuse a table of both: clean all of it at once (no --symbols, --from, --to), or set [lake] numeric back"
    )]
    Mixture {
        /// Months that stay as they are.
        others: u64,
        /// The table.
        table: Table,
        /// What the others would have.
        now: String,
    },
    /// Files of this kind are not cleaned.
    #[error("{0} is only mirrored")]
    OnlyMirrored(Kind),
    /// Lines of a month are neither rows nor reported.
    #[error("the lines do not add up: {0}")]
    Unaccounted(String),
    /// A file whose rows are in the lake gives none any more.
    #[error(
        "{0} cannot be used any more; the month stays as it was cleaned before; download the file again, or clean with --forget-gone to let its rows go"
    )]
    LostInput(String),
    /// The record of a month cannot be read, and what is published has days that would not come again.
    #[error(
        "{month} has no record that can be read, and the lake has rows of {day} and {more} more days that no file in the mirror gives; the month stays; download the files again, or clean with --forget-gone to let the rows go"
    )]
    LostDays {
        /// Which month.
        month: String,
        /// The first of those days.
        day: jiff::civil::Date,
        /// How many others.
        more: usize,
    },
    /// A file that was cleaned is gone.
    #[error("{path} is not in the mirror; `tapedeck history download` fetches it again")]
    NotInMirror {
        /// Its name in the archive.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file that was cleaned is another one now.
    #[error("{0} changed since it was cleaned; clean again")]
    Changed(String),
    /// A record is damaged.
    #[error("{} is not a record; remove it and clean again", path.display())]
    NoRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file of the lake is not where it belongs.
    #[error("{} holds rows of {found}, not of {table}", path.display())]
    OtherTable {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: Table,
        /// What its place says.
        table: Table,
    },
    /// A file of the lake lacks a column.
    #[error("there is no column {0}")]
    NoColumn(String),
    /// A column of the lake has another type.
    #[error("column {column} holds no {what}")]
    Column {
        /// Its name.
        column: String,
        /// What it should hold.
        what: &'static str,
    },
    /// The manifest does not know such a state.
    #[error("unknown state {word:?} of {path}")]
    State {
        /// As it stands there.
        word: String,
        /// The file of the archive.
        path: String,
    },
    /// Part of a row of the manifest is damaged.
    #[error("the {what} {path} is damaged")]
    Row {
        /// Which part.
        what: &'static str,
        /// The file of the archive.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The manifest has other columns than this program makes.
    #[error("a row of history_files with {0} columns")]
    Columns(usize),
    /// Something that must be there is not.
    #[error("{0}")]
    Missing(&'static str),
    /// The database of the manifest.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A file of the lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// A zip of the archive.
    #[error(transparent)]
    Zip(#[from] ZipError),
    /// The rows of a month.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A name that is none of the archive.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A number that no candle can hold.
    #[error(transparent)]
    Digits(#[from] TooManyDigits),
    /// A count that is none.
    #[error(transparent)]
    Count(#[from] TryFromIntError),
    /// A day after the last one.
    #[error(transparent)]
    Day(#[from] jiff::Error),
    /// Something is no JSON, or does not become it.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// An extra root certificate is none.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A task panicked.
    #[error(transparent)]
    Task(#[from] JoinError),
}

impl HistoryError {
    /// Of the local `path`, while it was tried to do that to it.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing, path: path.to_owned(), source }
    }

    /// Of something named, while it was tried to do that to it.
    pub(crate) fn of<E: Into<Self>>(doing: &'static str, what: impl Display) -> impl FnOnce(E) -> Self {
        move |err| Self::Of { doing, what: what.to_string(), source: Box::new(err.into()) }
    }

    /// Of one step.
    pub(crate) fn step<E: Into<Self>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |err| Self::Step { doing, source: Box::new(err.into()) }
    }
}
