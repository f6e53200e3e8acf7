//! Where candles are kept for good: one table, in a file of SQLite or on a Postgres server. Owns the schema and
//! every statement; never decides what a candle holds.
//!
//! ```text
//!  checkpoint of a feed --commit--> one transaction: bars, positions in the logs, feed state, new symbols
//!  candles of the venue --put_history--> missing bars, and bars with a gap if `gaps`; never over what our trades made whole
//!  API, export ----------Readers-------> their own connections, read only
//! ```
//! A checkpoint that [`CandleDb::commit`] returned from is on the disk (SQLite runs with `synchronous = FULL`, a
//! server as it is configured), so log records before it may be deleted. A commit that failed has changed nothing.
//!
//! # The table `klines`
//! Key (venue, symbol, interval, open_time in us). Prices and volumes are exact decimals: `NUMERIC` on Postgres,
//! where sums are exact too; text on SQLite, where `sum(volume)` adds doubles and `decimal_sum(volume)` of the
//! sqlite3 shell adds exactly. Compare numbers on SQLite through the view `candles`, which has doubles and times to
//! read: in the table itself `'9' > '10'`. `flags` are the bits of [`model::kline`]; `source` is a name of [`Source`].

mod bar;
mod bars;
mod checkpoint;
mod error;
mod query;
mod read;
mod reader;
mod readers;
mod row;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;

pub use self::error::DbError;
use self::error::Result;
pub use bar::{NamedBar, Series, Source, StoredBar};
pub use checkpoint::{Checkpoint, Committed, SavedFeed, SavedPosition};
pub use reader::{CandleReader, GapQuery, HistoryQuery};
pub(crate) use readers::Readers;
pub use writer::{CandleDb, Filled};

pub use super::message::Mark;
use settings::redact;
use sql::{Postgres, Sqlite};

/// Opens a database, making the schema where it is missing. `sqlite:<file>` (relative to `dir`), `postgres://...`.
///
/// # Errors
/// For another scheme, an unreachable database, or a schema of a newer version.
pub fn open(url: &str, dir: &Path) -> Result<Box<dyn CandleDb>> {
    Ok(match sql::Place::of(url, dir, &redact(url))? {
        sql::Place::Sqlite(file) => Box::new(store::Store::open(Sqlite::open(&file)?)?),
        sql::Place::Postgres(url) => Box::new(store::Store::open(Postgres::open(&url, Some(bars::LOCK))?)?),
    })
}

/// As [`open`], for reading only; the database must be there.
///
/// # Errors
/// See [`open`].
pub fn open_reader(url: &str, dir: &Path) -> Result<Box<dyn CandleReader>> {
    Ok(match sql::Place::of(url, dir, &redact(url))? {
        sql::Place::Sqlite(file) => Box::new(store::Store::reader(Sqlite::open_reader(&file)?)),
        sql::Place::Postgres(url) => Box::new(store::Store::reader(Postgres::open(&url, Some(bars::LOCK))?)),
    })
}
