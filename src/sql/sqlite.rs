//! SQLite: one file, WAL mode, one writer and any number of readers that never wait for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql, params_from_iter};
use wal_format::regular;

use super::error::{Result, SqlError};
use super::{Sql, Value};

/// How long a writer waits for another one (a backfill beside the service).
const BUSY: Duration = Duration::from_secs(20);

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(v) => ValueRef::Integer(*v),
            Value::Bool(v) => ValueRef::Integer((*v).into()),
            Value::Text(v) => ValueRef::Text(v.as_bytes()),
        }))
    }
}

/// A connection.
pub struct Sqlite {
    path: PathBuf,
    /// Device and number of the file that is open.
    file: Option<(u64, u64)>,
    db: Connection,
}

/// What distinguishes a file from another one of its name.
fn file(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|m| (m.dev(), m.ino()))
}

fn connect(path: &Path, action: &'static str, flags: OpenFlags) -> Result<Connection> {
    regular::check(path).map_err(|source| SqlError::File { action, path: path.to_owned(), source })?;
    let open = Connection::open_with_flags(path, flags);
    let db = open.map_err(|source| SqlError::Open { action, path: path.to_owned(), source })?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

impl Sqlite {
    /// The writing connection; makes the file.
    pub fn open(path: &Path) -> Result<Self> {
        let db = connect(path, "open", OpenFlags::default())?;
        // FULL: a commit is on the disk when it returns, so log records before a checkpoint may be deleted.
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; \
             PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384;",
        )
        .map_err(|source| SqlError::NoDatabase { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file: file(path), db })
    }

    /// A connection that cannot write.
    pub fn open_reader(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = connect(path, "read", flags)?;
        db.execute_batch("PRAGMA cache_size = -4096;")?;
        Ok(Self { path: path.to_owned(), file: file(path), db })
    }
}

impl Sqlite {
    /// The connection itself, for what the seam does not have.
    pub fn connection(&self) -> &Connection {
        &self.db
    }
}

impl Sql for Sqlite {
    fn begin(&mut self) -> Result<()> {
        // What is written to a file without a name is gone with this process.
        let path = self.path.clone();
        if file(&path) != self.file {
            return Err(SqlError::Replaced { path });
        }
        self.db.execute_batch("BEGIN IMMEDIATE").map_err(|source| SqlError::Busy { path, source })
    }

    fn batch(&mut self, sql: &str) -> Result<()> {
        Ok(self.db.execute_batch(sql)?)
    }

    fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        Ok(self.db.prepare_cached(sql)?.execute(params_from_iter(params))? as u64)
    }

    fn rows(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>> {
        let mut statement = self.db.prepare_cached(sql)?;
        let width = statement.column_count();
        let mut rows = statement.query(params_from_iter(params))?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let mut values = Vec::with_capacity(width);
            for i in 0..width {
                values.push(match row.get_ref(i)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(v) => Value::Int(v),
                    ValueRef::Text(v) => Value::Text(std::str::from_utf8(v)?.to_owned()),
                    other => {
                        return Err(SqlError::Column { column: i, sql: sql.to_owned(), found: other.data_type() });
                    }
                });
            }
            out.push(values);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_database_that_is_a_fifo_or_a_directory_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("klines.db");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        for err in [Sqlite::open(&fifo).err(), Sqlite::open_reader(&fifo).err(), Sqlite::open(dir.path()).err()] {
            let err = wal_format::error_chain(&err.unwrap());
            assert!(err.contains("not a regular file"), "{err}");
        }
    }
}
