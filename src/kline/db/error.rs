//! Why candles could not be stored or read.

use std::error::Error;

use sql::SqlError;

/// A call of [`super::CandleReader`] or [`super::CandleDb`] failed; nothing was changed by it, as far as it says nothing else.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The database refused.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A number is out of the range that this program writes.
    #[error(transparent)]
    Range(#[from] std::num::TryFromIntError),
    /// A row is not one that this program writes.
    #[error("{what}")]
    Damaged {
        /// What is wrong with it.
        what: String,
        /// Why, where something else found it.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// No such bar is kept.
    #[error("a bar with more trades than the database can count")]
    TooManyTrades,
    /// A symbol has no index yet.
    #[error("a bar of symbol index {0}, which is not registered")]
    Unregistered(u32),
    /// An index means one symbol for ever.
    #[error("symbol index {index} is {stored} in the database, not {given}")]
    OtherSymbol {
        /// The index.
        index: u32,
        /// Venue and symbol that have it.
        stored: String,
        /// Venue and symbol that were to get it.
        given: String,
    },
    /// Indexes have no gaps.
    #[error("symbol index {0} leaves a gap in the indexes")]
    IndexGap(u32),
    /// Another process stored the feed.
    #[error(
        "candles of {feed} were stored meanwhile (checkpoint {stored}, this one goes on from {since}): by an attempt that took too long, or by another process: if there is one, stop one of the two"
    )]
    Meanwhile {
        /// The feed.
        feed: String,
        /// Where the database is.
        stored: i64,
        /// Where the checkpoint goes on.
        since: i64,
    },
    /// A checkpoint was not stored.
    #[error("the candles of {feed} were not stored")]
    NotStored {
        /// The feed.
        feed: String,
        /// Why not.
        source: Box<DbError>,
    },
    /// Only final bars are history.
    #[error("an open bar of {0} is no history")]
    OpenBar(String),
}

impl DbError {
    pub(super) fn damaged(what: impl Into<String>) -> DbError {
        DbError::Damaged { what: what.into(), source: None }
    }

    pub(super) fn damaged_by(what: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> DbError {
        DbError::Damaged { what: what.into(), source: Some(source.into()) }
    }

    /// A row that is not of the table it was read from.
    pub(super) fn other_table() -> DbError {
        Self::damaged("a row of another table")
    }
}

/// What every call here gives.
pub(super) type Result<T> = std::result::Result<T, DbError>;
