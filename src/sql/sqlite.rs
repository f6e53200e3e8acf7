//! SQLite: one file, WAL mode, one writer and any number of readers that never wait for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql, params_from_iter};
use wal_format::regular;

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

/// What tells a file from another one of its name.
fn file(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|m| (m.dev(), m.ino()))
}

impl Sqlite {
    /// The writing connection; makes the file.
    pub fn open(path: &Path) -> Result<Self> {
        regular::check(path).with_context(|| format!("cannot open {}", path.display()))?;
        let db = Connection::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        db.busy_timeout(BUSY)?;
        // FULL: a commit is on the disk when it returns, so the log behind a checkpoint may go.
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; \
             PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384;",
        )
        .with_context(|| format!("{} is no database, or on a file system without locks", path.display()))?;
        db.set_prepared_statement_cache_capacity(32);
        Ok(Self { path: path.to_owned(), file: file(path), db })
    }

    /// A connection that cannot write.
    pub fn open_reader(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        regular::check(path).with_context(|| format!("cannot read {}", path.display()))?;
        let db = Connection::open_with_flags(path, flags).with_context(|| format!("cannot read {}", path.display()))?;
        db.busy_timeout(BUSY)?;
        db.execute_batch("PRAGMA cache_size = -4096;")?;
        db.set_prepared_statement_cache_capacity(32);
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
        ensure!(
            file(&self.path) == self.file,
            "{} was deleted or replaced while it was in use: restart the service, which tells what is lost",
            self.path.display()
        );
        self.db
            .execute_batch("BEGIN IMMEDIATE")
            .with_context(|| format!("{} is kept by another writer", self.path.display()))
    }

    fn batch(&mut self, sql: &str) -> Result<()> {
        Ok(self.db.execute_batch(sql)?)
    }

    fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        Ok(self.db.prepare_cached(sql)?.execute(params_from_iter(params))?.try_into()?)
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
                    other => anyhow::bail!("column {i} of {sql:?} is {:?}", other.data_type()),
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
            let err = format!("{:#}", err.unwrap());
            assert!(err.contains("not a regular file"), "{err}");
        }
    }
}
