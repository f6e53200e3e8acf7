//! Two databases behind one small seam: a file of SQLite, or a Postgres server. Knows statements, parameters and
//! transactions; what the tables mean is the business of the crates that own them.
//!
//! Parameters are numbered `?1`, `?2` by first use. Values are integers, truths and texts: exact decimals are texts.
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "cluster"))]
pub mod cluster;
mod error;
mod postgres;
mod sqlite;

use std::path::{Path, PathBuf};

use self::error::Result;
pub use self::error::SqlError;
pub use self::postgres::Postgres;
pub use self::sqlite::Sqlite;

/// One value of a row or of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// BIGINT.
    Int(i64),
    /// BOOLEAN; 0 or 1 in SQLite.
    Bool(bool),
    /// TEXT.
    Text(String),
}

impl Value {
    /// A text.
    pub fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    /// A text, or NULL.
    pub fn maybe_text(text: Option<&str>) -> Value {
        text.map_or(Value::Null, Value::text)
    }

    /// # Errors
    /// When it is no integer.
    pub fn int(&self) -> Result<i64> {
        match self {
            Value::Int(v) => Ok(*v),
            other => Err(SqlError::Value { expected: "an integer", found: format!("{other:?}") }),
        }
    }

    /// # Errors
    /// When it is no text.
    pub fn str(&self) -> Result<&str> {
        match self {
            Value::Text(v) => Ok(v),
            other => Err(SqlError::Value { expected: "a text", found: format!("{other:?}") }),
        }
    }
}

/// A connection to a database.
pub trait Sql: Send {
    /// Begins a transaction that no other writer is in, where the connection was opened so.
    fn begin(&mut self) -> Result<()>;
    /// Runs statements without parameters.
    fn batch(&mut self, sql: &str) -> Result<()>;
    /// Runs one statement; how many rows it changed.
    fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64>;
    /// The rows of one query.
    fn rows(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>>;
}

/// Where a database is, as a URL says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// A Postgres server; its URL.
    Postgres(String),
}

impl Place {
    /// `sqlite:<file>` (relative to `dir`), or `postgres://...`.
    ///
    /// # Errors
    /// For another scheme; the message begins with `shown`, which stands for a URL that may hold a password.
    pub fn of(url: &str, dir: &Path, shown: &str) -> Result<Place> {
        match url.strip_prefix("sqlite:") {
            Some(file) => Ok(Place::Sqlite(dir.join(file))),
            None if ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) => {
                Ok(Place::Postgres(url.to_owned()))
            }
            None => Err(SqlError::Scheme(shown.to_owned())),
        }
    }
}

/// Ends a transaction: it is stored when the work in it was `done`, undone otherwise.
pub fn settle<T, E: From<SqlError>>(sql: &mut impl Sql, done: std::result::Result<T, E>) -> std::result::Result<T, E> {
    let done = done.and_then(|value| {
        sql.batch("COMMIT")?;
        Ok(value)
    });
    if done.is_err() {
        // It fails when the connection is gone, and then there is nothing left to undo.
        let _ = sql.batch("ROLLBACK");
    }
    done
}

/// Notes the version of a schema in its `table`, or checks the one that is there: an older one is brought up by `migrate`,
/// which is given its current version. `what` has it, for the message.
pub fn keep_version<S: Sql>(
    sql: &mut S,
    table: &str,
    what: &str,
    known: i64,
    migrate: impl FnOnce(&mut S, i64) -> Result<()>,
) -> Result<()> {
    let rows = sql.rows(&format!("SELECT version FROM {table}"), &[])?;
    match rows.first().and_then(|row| row.first()) {
        None => sql.execute(&format!("INSERT INTO {table} VALUES (?1)"), &[Value::Int(known)]).map(drop),
        Some(version) => {
            let version = version.int()?;
            if version > known {
                return Err(SqlError::Newer { what: what.to_owned(), version, known });
            }
            if version < known {
                migrate(sql, version)?;
                sql.execute(&format!("UPDATE {table} SET version = ?1"), &[Value::Int(known)])?;
            }
            Ok(())
        }
    }
}
