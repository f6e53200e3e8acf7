//! Reading over any database that speaks [`BarSql`].

use wal_format::incarnation::NotAnIncarnation;
use wal_format::{Position, SegmentId, Seq};

use super::bars::BarSql;
use super::error::{DbError, Result};
use super::query::{OF_SERIES, range, registry};
use super::row::{SELECT, stored};
use super::store::Store;
use super::{CandleReader, GapQuery, HistoryQuery, NamedBar, SavedFeed, SavedPosition, Series, StoredBar};
use crate::registry::Registered;
use model::interval::Interval;
use model::kline::{FINAL, FLAT, GAP};
use sql::Value;

fn interval(value: &Value) -> Result<Interval> {
    let word = value.str()?;
    Interval::parse(word).ok_or_else(|| DbError::damaged(format!("unknown interval {word:?} in the database")))
}

impl<S: BarSql> CandleReader for Store<S> {
    fn load_registry(&mut self) -> Result<Vec<Registered>> {
        registry(&mut self.sql)
    }

    fn load_feed(&mut self, feed: &str) -> Result<Option<SavedFeed>> {
        // One statement, so that a commit in between cannot mix two checkpoints.
        let rows = self.sql.rows(
            "SELECT f.serial, f.state, p.log, p.log_uuid, p.segment, p.byte_offset, p.seq, p.incarnation \
             FROM feeds f FULL JOIN positions p ON p.feed = f.feed WHERE COALESCE(f.feed, p.feed) = ?1 ORDER BY p.log",
            &[Value::text(feed)],
        )?;
        let mut saved = None;
        for row in &rows {
            let [serial, state, log, uuid, segment, offset, seq, incarnation] = row.as_slice() else {
                return Err(DbError::other_table());
            };
            if saved.is_none() {
                let (serial, state) = match serial {
                    Value::Null => (0, ""),
                    serial => (serial.int()?, state.str()?),
                };
                saved = Some(SavedFeed { logs: Vec::new(), state: state.to_owned(), serial });
            }
            if *log == Value::Null {
                continue;
            }
            let position = Position {
                segment: SegmentId(segment.int()?.cast_unsigned()),
                offset: offset.int()?.cast_unsigned(),
                seq: Seq(seq.int()?.cast_unsigned()),
            };
            let uuid = u128::from_str_radix(uuid.str()?, 16)
                .map_err(|err| DbError::damaged_by("the id of a log is damaged", err))?;
            let run = |err: NotAnIncarnation| DbError::damaged_by("the run of a place in a log is damaged", err);
            let incarnation = incarnation.str()?.parse().map_err(run)?;
            if let Some(saved) = &mut saved {
                let (log, log_uuid) = (log.str()?.to_owned(), uuid.to_be_bytes());
                saved.logs.push(SavedPosition { log, log_uuid, incarnation, position });
            }
        }
        Ok(saved)
    }

    fn stored(&mut self, q: &HistoryQuery) -> Result<Vec<StoredBar>> {
        let series = Series { venue: q.venue.clone(), symbol: q.symbol.clone(), interval: q.interval };
        let between = (q.start_us.unwrap_or(i64::MIN), q.end_us.unwrap_or(i64::MAX));
        let order = if q.newest_first { "DESC" } else { "ASC" };
        let mut bars = range(&mut self.sql, &series, between, order, q.limit)?;
        if q.newest_first {
            bars.reverse();
        }
        Ok(bars)
    }

    fn last_traded(&mut self, series: &Series, before_us: i64) -> Result<Option<StoredBar>> {
        let rows = self.sql.rows(
            &format!(
                "SELECT {SELECT} FROM klines WHERE {OF_SERIES} AND (flags & ?6) = 0 ORDER BY open_time DESC LIMIT 1"
            ),
            &[
                Value::text(&series.venue),
                Value::text(&series.symbol),
                Value::text(series.interval.as_str()),
                Value::Int(i64::MIN),
                Value::Int(before_us.saturating_sub(1)),
                Value::Int(FLAT.into()),
            ],
        )?;
        rows.first().map(|row| stored(row)).transpose()
    }

    fn gaps(&mut self, q: &GapQuery) -> Result<Vec<NamedBar>> {
        let mut wanted = vec!["(flags & 2) <> 0".to_owned(), "open_time >= ?1 AND open_time <= ?2".to_owned()];
        let limit = i64::try_from(q.limit).unwrap_or(i64::MAX);
        let mut params = vec![
            Value::Int(q.start_us.unwrap_or(i64::MIN)),
            Value::Int(q.end_us.unwrap_or(i64::MAX)),
            Value::Int(limit),
        ];
        let words = [
            ("venue", q.venue.as_deref()),
            ("symbol", q.symbol.as_deref()),
            ("\"interval\"", q.interval.map(Interval::as_str)),
        ];
        for (column, word) in words {
            if let Some(word) = word {
                params.push(Value::text(word));
                wanted.push(format!("{column} = ?{}", params.len()));
            }
        }
        let sql = format!(
            "SELECT venue, symbol, \"interval\", {SELECT} FROM klines WHERE {} \
             ORDER BY venue, symbol, \"interval\", open_time LIMIT ?3",
            wanted.join(" AND ")
        );
        let rows = self.sql.rows(&sql, &params)?;
        rows.iter()
            .map(|row| {
                let [venue, symbol, word, rest @ ..] = row.as_slice() else { return Err(DbError::other_table()) };
                Ok(NamedBar {
                    venue: venue.str()?.to_owned(),
                    symbol: symbol.str()?.to_owned(),
                    interval: interval(word)?,
                    bar: stored(rest)?.bar,
                })
            })
            .collect()
    }

    fn opens(&mut self, series: &Series, from_us: i64, to_us: i64, any: bool) -> Result<Vec<i64>> {
        let (known, whole) = if any { (0, 0) } else { (i64::from(FINAL | GAP), i64::from(FINAL)) };
        let rows = self.sql.rows(
            &format!("SELECT open_time FROM klines WHERE {OF_SERIES} AND (flags & ?6) = ?7 ORDER BY open_time"),
            &[
                Value::text(&series.venue),
                Value::text(&series.symbol),
                Value::text(series.interval.as_str()),
                Value::Int(from_us),
                Value::Int(to_us),
                Value::Int(known),
                Value::Int(whole),
            ],
        )?;
        let first = |row: &Vec<Value>| {
            let open = row.first().ok_or_else(|| DbError::damaged("a row without columns"))?;
            Ok(open.int()?)
        };
        rows.iter().map(first).collect()
    }

    fn series(&mut self) -> Result<Vec<Series>> {
        let mut all: Vec<Series> = Vec::new();
        loop {
            // From one to the next by the key: a DISTINCT would read the whole table.
            let last = all.last();
            let word = |of: Option<&str>| Value::text(of.unwrap_or_default());
            let rows = self.sql.rows(
                "SELECT venue, symbol, \"interval\" FROM klines WHERE (venue, symbol, \"interval\") > (?1, ?2, ?3) \
                 ORDER BY venue, symbol, \"interval\" LIMIT 1",
                &[
                    word(last.map(|s| s.venue.as_str())),
                    word(last.map(|s| s.symbol.as_str())),
                    word(last.map(|s| s.interval.as_str())),
                ],
            )?;
            let Some([venue, symbol, word]) = rows.first().map(Vec::as_slice) else { return Ok(all) };
            all.push(Series {
                venue: venue.str()?.to_owned(),
                symbol: symbol.str()?.to_owned(),
                interval: interval(word)?,
            });
        }
    }
}
