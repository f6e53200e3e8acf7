//! How many bars are put at once: a prepared statement on SQLite, one statement with arrays on Postgres.

use postgres::types::ToSql;
use rusqlite::params_from_iter;

use super::error::Result;
use super::row::{COLUMNS, Kind};
use super::schema::{self, Dialect, Rule};
use sql::{Postgres, Sql, SqlError, Sqlite, Value};

/// Key of the advisory lock of writers: "tape".
pub(super) const LOCK: i64 = 0x7461_7065;

/// A database of candles.
pub(super) trait BarSql: Sql {
    fn dialect(&self) -> Dialect;
    /// Inserts rows of `klines`, no key twice; returns how many were stored.
    fn put_bars(&mut self, rows: &[Vec<Value>], rule: Rule) -> Result<u64>;
}

/// The statement that puts the rows of `values`.
fn insert(values: &str, rule: Rule) -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    format!("INSERT INTO klines AS k ({}) {values} {}", names.join(", "), schema::on_conflict(rule))
}

impl BarSql for Sqlite {
    fn dialect(&self) -> Dialect {
        schema::SQLITE
    }

    fn put_bars(&mut self, rows: &[Vec<Value>], rule: Rule) -> Result<u64> {
        let marks: Vec<String> = (1..=COLUMNS.len()).map(|i| format!("?{i}")).collect();
        let sql = insert(&format!("VALUES ({})", marks.join(", ")), rule);
        let mut statement = self.connection().prepare_cached(&sql).map_err(SqlError::from)?;
        let mut stored = 0;
        for row in rows {
            stored += statement.execute(params_from_iter(row)).map_err(SqlError::from)? as u64;
        }
        Ok(stored)
    }
}

impl BarSql for Postgres {
    fn dialect(&self) -> Dialect {
        schema::POSTGRES
    }

    /// One statement for all rows, its parameters one array per column.
    fn put_bars(&mut self, rows: &[Vec<Value>], rule: Rule) -> Result<u64> {
        let mut arrays = Vec::new();
        let mut taken = Vec::new();
        let mut params: Vec<Box<dyn ToSql + Sync>> = Vec::new();
        for (i, (_, kind)) in COLUMNS.iter().enumerate() {
            let column = || rows.iter().map(move |row| row.get(i));
            let texts = || -> Vec<Option<String>> {
                column().map(|v| v.and_then(|v| v.str().ok()).map(str::to_owned)).collect()
            };
            let n = i + 1;
            taken.push(if *kind == Kind::Number { format!("CAST(c{n} AS NUMERIC)") } else { format!("c{n}") });
            arrays.push(match kind {
                Kind::Text | Kind::Number => {
                    params.push(Box::new(texts()));
                    format!("${n}::text[]")
                }
                Kind::Int => {
                    params.push(Box::new(column().map(|v| v.and_then(|v| v.int().ok())).collect::<Vec<Option<i64>>>()));
                    format!("${n}::bigint[]")
                }
                Kind::Bool => {
                    let bools = column().map(|v| matches!(v, Some(Value::Bool(true)))).collect::<Vec<bool>>();
                    params.push(Box::new(bools));
                    format!("${n}::boolean[]")
                }
            });
        }
        let aliases: Vec<String> = (1..=COLUMNS.len()).map(|n| format!("c{n}")).collect();
        let (taken, arrays, aliases) = (taken.join(", "), arrays.join(", "), aliases.join(", "));
        let sql = insert(&format!("SELECT {taken} FROM unnest({arrays}) AS t ({aliases})"), rule);
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(AsRef::as_ref).collect();
        tokio::task::block_in_place(|| Ok(self.client()?.execute(&sql, &params).map_err(SqlError::from)?))
    }
}
