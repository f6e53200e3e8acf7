//! What a database refuses, and what it holds that it must not.

use std::io;
use std::path::PathBuf;

/// A database refused. Its messages have no URL in them: one may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The file of a database is none that may be opened.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// SQLite cannot open a file.
    #[error("cannot {action} {}", path.display())]
    Open {
        /// What was to be done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// A file cannot be used as a database.
    #[error("{} cannot be used: it is not a SQLite database, or its file system has no locks (use a local disk)", path.display())]
    NoDatabase {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// The file with the name of the open database is another one.
    #[error("{} was deleted or replaced while it was in use: restart the service, which reports what must be read again", path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// Another writer did not end in time.
    #[error("{} is locked by another writer: wait for it or stop it", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The URL names no database.
    #[error("{0} is no database: write sqlite:<file> or postgres://user@host/name")]
    Scheme(String),
    /// The URL of a server is damaged.
    #[error("the database URL is not understood")]
    Url(#[source] postgres::Error),
    /// The server cannot be reached, or rejects the login.
    #[error("cannot connect to the database at {hosts:?}, ports {ports:?}")]
    Connect {
        /// Its hosts.
        hosts: Vec<postgres::config::Host>,
        /// Their ports.
        ports: Vec<u16>,
        /// Why not.
        source: postgres::Error,
    },
    /// The connection broke in the middle of a transaction.
    #[error("the connection to the database is lost, and its transaction with it")]
    Lost,
    /// A column holds something else than the program wrote there.
    #[error("the database holds {found} where {expected} must be")]
    Value {
        /// What should be there.
        expected: &'static str,
        /// What is, as a person reads it.
        found: String,
    },
    /// A column has a type that this program never writes.
    #[error("column {column} of {sql:?} is {found:?}")]
    Column {
        /// Which one, from 0.
        column: usize,
        /// The query.
        sql: String,
        /// Its type.
        found: rusqlite::types::Type,
    },
    /// A newer program made the tables.
    #[error("{what} has schema {version}, this program knows {known}: use the newer program")]
    Newer {
        /// What has it.
        what: String,
        /// As stored.
        version: i64,
        /// The newest that is known.
        known: i64,
    },
    /// A text is not UTF-8.
    #[error(transparent)]
    Text(#[from] std::str::Utf8Error),
    /// SQLite refused a statement.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// Postgres refused a statement.
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
}

/// What every call here gives.
pub type Result<T> = std::result::Result<T, SqlError>;
