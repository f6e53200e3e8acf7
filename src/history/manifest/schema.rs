//! The tables of the manifest, and what differs between the two databases. Version 1.

use super::queue::Scope;
use crate::error::{HistoryError, Result};
use ops::clock;
use sql::{Postgres, Sql, Sqlite, Value};

/// Version that this program makes and reads.
pub(super) const VERSION: i64 = 1;
/// Key of the advisory lock of those who list: "hist".
pub(super) const LOCK: i64 = 0x6869_7374;

/// A database with a manifest.
pub(super) trait ManifestSql: Sql {
    /// After a text column that is compared by bytes.
    const BYTES: &'static str;
    /// Type of a column that counts by itself.
    const SERIAL: &'static str;
    /// After a SELECT whose row no other process may take.
    const SKIP_LOCKED: &'static str;
    /// The texts of a JSON list in parameter `n`, as a subquery.
    fn list(n: usize) -> String;
    /// The clock that all who share the database agree on, us since 1970.
    fn now_us(&mut self) -> Result<i64>;
}

impl ManifestSql for Sqlite {
    const BYTES: &'static str = "";
    const SERIAL: &'static str = "INTEGER PRIMARY KEY";
    const SKIP_LOCKED: &'static str = "";

    fn list(n: usize) -> String {
        format!("(SELECT value FROM json_each(?{n}))")
    }

    fn now_us(&mut self) -> Result<i64> {
        Ok(i64::try_from(clock::wall_ns() / 1_000)?)
    }
}

impl ManifestSql for Postgres {
    const BYTES: &'static str = " COLLATE \"C\"";
    const SERIAL: &'static str = "BIGSERIAL PRIMARY KEY";
    const SKIP_LOCKED: &'static str = " FOR UPDATE SKIP LOCKED";

    fn list(n: usize) -> String {
        format!("(SELECT jsonb_array_elements_text(CAST(CAST(?{n} AS TEXT) AS JSONB)))")
    }

    fn now_us(&mut self) -> Result<i64> {
        let rows = self.rows("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)", &[])?;
        rows.first()
            .and_then(|row| row.first())
            .ok_or(HistoryError::Missing("a database without a clock"))?
            .int()
            .map_err(Into::into)
    }
}

/// The statements that make what is missing.
pub(super) fn create<S: ManifestSql>() -> String {
    let (bytes, serial) = (S::BYTES, S::SERIAL);
    format!(
        "CREATE TABLE IF NOT EXISTS history_schema (version BIGINT NOT NULL);
         CREATE TABLE IF NOT EXISTS history_files (
            path TEXT{bytes} PRIMARY KEY,
            market TEXT NOT NULL, period TEXT NOT NULL, kind TEXT NOT NULL, symbol TEXT{bytes} NOT NULL,
            bar_interval TEXT NOT NULL, first_day TEXT{bytes} NOT NULL, last_day TEXT{bytes} NOT NULL,
            etag TEXT, size BIGINT NOT NULL, last_modified TEXT NOT NULL, checksum_tag TEXT,
            url TEXT NOT NULL, state TEXT NOT NULL, holder TEXT,
            lease_until BIGINT NOT NULL, not_before BIGINT NOT NULL,
            attempts BIGINT NOT NULL, failures BIGINT NOT NULL, last_error TEXT,
            sha256 TEXT, published_sha256 TEXT, history TEXT NOT NULL,
            listed_at BIGINT NOT NULL, started_at BIGINT, finished_at BIGINT,
            cleaned_sha256 TEXT, cleaned_at BIGINT, cleaned TEXT);
         CREATE INDEX IF NOT EXISTS history_queue ON history_files (failures, path)
            WHERE state IN ('queued', 'leased');
         CREATE INDEX IF NOT EXISTS history_finished ON history_files (finished_at) WHERE finished_at IS NOT NULL;
         CREATE TABLE IF NOT EXISTS history_runs (
            id {serial}, holder TEXT NOT NULL, command TEXT NOT NULL, started_at BIGINT NOT NULL,
            finished_at BIGINT, outcome TEXT, summary TEXT);
         CREATE TABLE IF NOT EXISTS history_mirrors (
            name TEXT{bytes} PRIMARY KEY, free_bytes BIGINT NOT NULL, seen_at BIGINT NOT NULL);"
    )
}

/// The condition of a scope, and its parameters appended to `params`.
pub(super) fn condition<S: ManifestSql>(scope: &Scope, params: &mut Vec<Value>) -> Result<String> {
    let mut all = Vec::new();
    let mut word_in = |column: &str, words: Vec<&str>| {
        if !words.is_empty() {
            // Words of our own enums: nothing in them needs quoting.
            let list: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
            all.push(format!("{column} IN ({})", list.join(", ")));
        }
    };
    word_in("market", scope.markets.iter().map(|m| m.as_str()).collect());
    word_in("period", scope.periods.iter().map(|p| p.as_str()).collect());
    word_in("kind", scope.kinds.iter().map(|k| k.as_str()).collect());
    if !scope.intervals.is_empty() {
        word_in("bar_interval", std::iter::once("").chain(scope.intervals.iter().map(|i| i.as_str())).collect());
    }
    if let Some(symbols) = &scope.symbols {
        params.push(Value::Text(serde_json::to_string(symbols)?));
        all.push(format!("symbol IN {}", S::list(params.len())));
    }
    if let Some(from) = scope.from {
        params.push(Value::Text(from.to_string()));
        all.push(format!("last_day >= ?{}", params.len()));
    }
    if let Some(to) = scope.to {
        params.push(Value::Text(to.to_string()));
        all.push(format!("first_day <= ?{}", params.len()));
    }
    Ok(if all.is_empty() { "1 = 1".to_owned() } else { all.join(" AND ") })
}
