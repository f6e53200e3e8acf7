//! The schema of both databases, and what differs between them. Version 2: places in a log name its run.

use super::row::{COLUMNS, KEY, Kind};

/// Version that this program makes and reads.
pub(super) const VERSION: i64 = 2;

/// What makes version 2 of version 1, whose places are of runs without incarnation.
pub(super) const INCARNATIONS: &str =
    "ALTER TABLE positions ADD COLUMN incarnation TEXT NOT NULL DEFAULT '0000000000000000';";

/// Name of the column type, by kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    pub boolean: &'static str,
    pub number: &'static str,
    /// After the columns of `klines`.
    pub table: &'static str,
    pub view: &'static str,
}

/// Numbers are text: SQLite has no exact decimals.
pub(super) const SQLITE: Dialect = Dialect {
    boolean: "INTEGER",
    number: "TEXT",
    table: " WITHOUT ROWID",
    view: "CREATE VIEW IF NOT EXISTS candles AS SELECT venue, symbol, \"interval\", \
        datetime(open_time / 1000000, 'unixepoch') AS open_at, CAST(\"open\" AS REAL) AS \"open\", \
        CAST(high AS REAL) AS high, CAST(low AS REAL) AS low, CAST(\"close\" AS REAL) AS \"close\", \
        CAST(volume AS REAL) AS volume, CAST(quote_volume AS REAL) AS quote_volume, \
        CAST(taker_buy_volume AS REAL) AS taker_buy_volume, \
        CAST(taker_buy_quote_volume AS REAL) AS taker_buy_quote_volume, trade_count, is_final, \
        (flags & 2) <> 0 AS has_gap, (flags & 4) <> 0 AS was_seeded, (flags & 8) <> 0 AS is_flat, revision, source \
        FROM klines;",
};

/// Numbers are NUMERIC.
pub(super) const POSTGRES: Dialect = Dialect {
    boolean: "BOOLEAN",
    number: "NUMERIC",
    table: "",
    view: "CREATE OR REPLACE VIEW candles AS SELECT venue, symbol, \"interval\", \
        to_timestamp(open_time / 1000000.0) AS open_at, \"open\", high, low, \"close\", volume, quote_volume, \
        taker_buy_volume, taker_buy_quote_volume, trade_count, is_final, (flags & 2) <> 0 AS has_gap, \
        (flags & 4) <> 0 AS was_seeded, (flags & 8) <> 0 AS is_flat, revision, source FROM klines;",
};

/// The statements that make what is missing.
pub(super) fn create(d: &Dialect) -> String {
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|(name, kind)| {
            let of = match kind {
                Kind::Text => "TEXT",
                Kind::Int => "BIGINT",
                Kind::Bool => d.boolean,
                Kind::Number => d.number,
            };
            let null = if name.ends_with("trade_id") { "" } else { " NOT NULL" };
            format!("{name} {of}{null}")
        })
        .collect();
    format!(
        "CREATE TABLE IF NOT EXISTS tapedeck_schema (version BIGINT NOT NULL);
         CREATE TABLE IF NOT EXISTS klines ({}, PRIMARY KEY ({})){};
         CREATE INDEX IF NOT EXISTS klines_gaps ON klines (venue, symbol, \"interval\", open_time) \
         WHERE (flags & 2) <> 0;
         CREATE TABLE IF NOT EXISTS symbols_index (symbol_index BIGINT PRIMARY KEY, venue TEXT NOT NULL, \
         symbol TEXT NOT NULL, listing_time_ms BIGINT, UNIQUE (venue, symbol));
         CREATE TABLE IF NOT EXISTS feeds (feed TEXT PRIMARY KEY, serial BIGINT NOT NULL, state TEXT NOT NULL);
         CREATE TABLE IF NOT EXISTS positions (feed TEXT NOT NULL, log TEXT NOT NULL, log_uuid TEXT NOT NULL, \
         segment BIGINT NOT NULL, byte_offset BIGINT NOT NULL, seq BIGINT NOT NULL, \
         incarnation TEXT NOT NULL DEFAULT '0000000000000000', PRIMARY KEY (feed, log));
         {}",
        columns.join(", "),
        key(),
        d.table,
        d.view,
    )
}

/// The columns of the key.
pub(super) fn key() -> String {
    COLUMNS.iter().take(KEY).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// What happens to a stored bar when another one comes for its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Our own trades: they win, except that a bar with a gap or an open one leaves a candle of the venue alone, and so
    /// does one in which we heard nothing while the venue traded.
    Live,
    /// As given.
    Overwrite,
}

/// The clauses after the values of an insert into `klines AS k`.
pub(super) fn on_conflict(rule: Rule) -> String {
    let set: Vec<String> = COLUMNS
        .iter()
        .skip(KEY)
        .map(|(name, _)| match (*name, rule) {
            ("revision", Rule::Live) => "revision = CASE WHEN k.source = 'live' OR excluded.revision > k.revision \
                THEN excluded.revision ELSE k.revision + 1 END"
                .to_owned(),
            (name, _) => format!("{name} = excluded.{name}"),
        })
        .collect();
    let only = match rule {
        Rule::Live => {
            " WHERE k.source = 'live' OR (excluded.is_final AND (excluded.flags & 2) = 0 \
             AND ((excluded.flags & 8) = 0 OR (k.flags & 8) <> 0))"
        }
        Rule::Overwrite => "",
    };
    format!("ON CONFLICT ({}) DO UPDATE SET {}{only}", key(), set.join(", "))
}
