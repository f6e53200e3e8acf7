//! The reading statements. Every one is bounded by a key range or a limit.

use super::error::{DbError, Result};
use super::row::{SELECT, stored};
use super::{Series, StoredBar};
use crate::registry::Registered;
use sql::{Sql, Value};

/// Rows of one series by open time.
pub(super) const OF_SERIES: &str =
    "venue = ?1 AND symbol = ?2 AND \"interval\" = ?3 AND open_time >= ?4 AND open_time <= ?5";

/// The registry, index by position.
pub(super) fn registry(sql: &mut impl Sql) -> Result<Vec<Registered>> {
    let rows =
        sql.rows("SELECT symbol_index, venue, symbol, listing_time_ms FROM symbols_index ORDER BY symbol_index", &[])?;
    rows.iter()
        .enumerate()
        .map(|(i, row)| {
            let [index, venue, symbol, listed] = row.as_slice() else { return Err(DbError::other_table()) };
            if usize::try_from(index.int()?) != Ok(i) {
                return Err(DbError::damaged(format!("table symbols_index has no row for index {i}")));
            }
            Ok(Registered {
                venue: venue.str()?.to_owned(),
                symbol: symbol.str()?.to_owned(),
                listing_time_ms: listed.int().ok(),
            })
        })
        .collect()
}

/// Bars of a series between two open times, inclusive; `order` is an SQL word.
pub(super) fn range(
    sql: &mut impl Sql,
    series: &Series,
    (from_us, to_us): (i64, i64),
    order: &str,
    limit: usize,
) -> Result<Vec<StoredBar>> {
    let rows = sql.rows(
        &format!("SELECT {SELECT} FROM klines WHERE {OF_SERIES} ORDER BY open_time {order} LIMIT ?6"),
        &[
            Value::text(&series.venue),
            Value::text(&series.symbol),
            Value::text(series.interval.as_str()),
            Value::Int(from_us),
            Value::Int(to_us),
            Value::Int(i64::try_from(limit).unwrap_or(i64::MAX)),
        ],
    )?;
    rows.iter().map(|row| stored(row)).collect()
}
