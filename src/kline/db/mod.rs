//! Where candles are kept for good: one table, in a file of SQLite or on a Postgres server. Owns the schema and
//! every statement; never decides what a candle holds.
//!
//! ```text
//!  checkpoint of a feed --commit--> one transaction: bars, positions in the logs, feed state, new symbols
//!  candles of the venue --put_history--> holes, and bars with a gap when asked; never over what our trades made whole
//!  API, export ----------Readers-------> their own connections, read only
//! ```
//! A checkpoint that [`CandleDb::commit`] returned from is on the disk (SQLite runs with `synchronous = FULL`, a
//! server as it is configured), so the log behind it may be let go. A commit that failed has changed nothing.
//!
//! # The table `klines`
//! Key (venue, symbol, interval, open_time in us). Prices and volumes are exact decimals: `NUMERIC` on Postgres,
//! where sums are exact too; text on SQLite, where `sum(volume)` adds doubles and `decimal_sum(volume)` of the
//! sqlite3 shell adds exactly. Compare numbers on SQLite through the view `candles`, which has doubles and times to
//! read: in the table itself `'9' > '10'`. `flags` are the bits of [`model::kline`]; `source` is a word of [`Source`].

mod bars;
mod query;
mod readers;
mod row;
mod schema;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Result, bail};
use wal_format::{Incarnation, Position};

pub use readers::Readers;

use super::message::OldTrade;
use super::registry::Registered;
use config::redact;
use model::interval::Interval;
use model::kline::KlineData;
use sql::{Postgres, Sqlite};

/// Who made a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The exchange's archive.
    Archive,
    /// The exchange's REST candles.
    Official,
    /// Our trades, replayed or downloaded later.
    Rebuilt,
    /// Our trades as they came.
    Live,
}

impl Source {
    /// All of them, the least trusted first.
    pub const ALL: [Source; 4] = [Self::Archive, Self::Official, Self::Rebuilt, Self::Live];

    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Official => "official",
            Self::Rebuilt => "rebuilt",
            Self::Live => "live",
        }
    }

    /// The source of a word.
    pub fn parse(word: &str) -> Option<Source> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
}

/// How far a feed has read one of its logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedPosition {
    /// Name of the log inside the feed (`main`, `repair`).
    pub log: String,
    /// The log's own id: a position means nothing in another log.
    pub log_uuid: [u8; 16],
    /// That of the run that the position is of: it means nothing in another copy of the log either. 0 = of version 1.
    pub incarnation: Incarnation,
    /// The first record that is not in the candles yet.
    pub position: Position,
}

impl SavedPosition {
    /// As the log's library checks and finds it.
    pub fn checkpoint(&self) -> wal_format::Checkpoint {
        wal_format::Checkpoint { log_uuid: self.log_uuid, incarnation: self.incarnation, position: self.position }
    }
}

/// What a feed needs to go on where it stopped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedFeed {
    /// One entry per log, by name.
    pub logs: Vec<SavedPosition>,
    /// The feed's own state: JSON, empty when there is none. As text, for it holds thousands of recent keys.
    pub state: String,
    /// Number of the checkpoint; 0 when there is no row of the feed.
    pub serial: i64,
}

/// Sets or clears the gap flag of stored bars that nobody holds in memory any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Registry index.
    pub symbol_index: u32,
    /// Interval.
    pub interval: Interval,
    /// First instant of the gap, us.
    pub from_us: i64,
    /// Last instant of the gap, us.
    pub to_us: i64,
    /// Bars that open at or behind this are in memory and come as bars; us.
    pub before_us: i64,
    /// True: trades are missing. False: they are all there now.
    pub gap: bool,
}

/// Everything that changed since the checkpoint before, and the places in the logs that it reaches to.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// Name of the feed (the venue's word).
    pub feed: String,
    /// Number of the checkpoint that this one goes on from; any when `None`.
    pub since: Option<i64>,
    /// How far each log is read.
    pub logs: Vec<SavedPosition>,
    /// The feed's own state: JSON, empty when there is none. As text, for it holds thousands of recent keys.
    pub state: String,
    /// Symbols that got an index since.
    pub registry: Vec<(u32, Registered)>,
    /// Changed bars in the order of their changes; the last state of a bar is stored.
    pub bars: Vec<(u32, Interval, KlineData)>,
    /// Trades of stored bars, in order: added to them, revision + 1, and flat bars that follow have their close. Applied
    /// after `bars`.
    pub old: Vec<OldTrade>,
    /// Gap flags of stored bars; applied last.
    pub marks: Vec<Mark>,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Number of the checkpoint.
    pub serial: i64,
    /// Bars stored.
    pub bars: u64,
    /// Bars revised by trades that came after they left the memory.
    pub revised: u64,
    /// Such trades that no bar can hold, or that are in a candle of the venue already.
    pub refused: u64,
    /// Bars whose gap flag changed by a [`Mark`].
    pub marked: u64,
}

/// What [`CandleDb::put_history`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Filled {
    /// Bars where there was none.
    pub inserted: u64,
    /// Bars in place of stored ones, revision + 1.
    pub replaced: u64,
    /// Bars left alone.
    pub kept: u64,
}

/// Which bars to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Venue word.
    pub venue: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// Interval.
    pub interval: Interval,
    /// Earliest open time, us, inclusive.
    pub start_us: Option<i64>,
    /// Latest open time, us, inclusive.
    pub end_us: Option<i64>,
    /// At most this many.
    pub limit: usize,
    /// Which ones when there are more: the newest instead of the oldest. The answer is oldest first either way.
    pub newest_first: bool,
}

/// A bar with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedBar {
    /// Venue word.
    pub venue: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// Interval.
    pub interval: Interval,
    /// The bar.
    pub bar: KlineData,
}

/// A bar as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBar {
    /// The bar.
    pub bar: KlineData,
    /// Who made it.
    pub source: Source,
}

/// All bars of one symbol at one interval.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// Venue word.
    pub venue: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// Interval.
    pub interval: Interval,
}

/// Which bars with a gap to read; `None` means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GapQuery {
    /// Venue word.
    pub venue: Option<String>,
    /// The venue's own spelling.
    pub symbol: Option<String>,
    /// Interval.
    pub interval: Option<Interval>,
    /// Earliest open time, us, inclusive.
    pub start_us: Option<i64>,
    /// Latest open time, us, inclusive.
    pub end_us: Option<i64>,
    /// At most this many.
    pub limit: usize,
}

/// Reads candles. Every call may block on the disk or the network.
pub trait CandleReader: Send {
    /// All registered symbols, index by position.
    ///
    /// # Errors
    /// When the database cannot be read; so for every method here.
    fn load_registry(&mut self) -> Result<Vec<Registered>>;

    /// Where a feed stopped; `None` for one that never committed. Of rows that belong together one may be missing:
    /// then there are no logs, or the state is empty.
    ///
    /// # Errors
    /// See [`CandleReader::load_registry`].
    fn load_feed(&mut self, feed: &str) -> Result<Option<SavedFeed>>;

    /// The newest `n` bars, oldest first.
    ///
    /// # Errors
    /// See [`CandleReader::load_registry`].
    #[cfg(test)]
    fn newest(&mut self, venue: &str, symbol: &str, interval: Interval, n: usize) -> Result<Vec<KlineData>> {
        self.query(&HistoryQuery {
            venue: venue.to_owned(),
            symbol: symbol.to_owned(),
            interval,
            start_us: None,
            end_us: None,
            limit: n,
            newest_first: true,
        })
    }

    /// Bars of one symbol, oldest first.
    ///
    /// # Errors
    /// See [`CandleReader::load_registry`].
    fn query(&mut self, q: &HistoryQuery) -> Result<Vec<KlineData>> {
        Ok(self.stored(q)?.into_iter().map(|s| s.bar).collect())
    }

    /// As [`CandleReader::query`], with who made each.
    ///
    /// # Errors
    /// See [`CandleReader::load_registry`].
    fn stored(&mut self, q: &HistoryQuery) -> Result<Vec<StoredBar>>;

    /// The last bar before a time, us, in which something was traded.
    ///
    /// # Errors
    /// See [`CandleReader::load_registry`].
    fn last_traded(&mut self, series: &Series, before_us: i64) -> Result<Option<StoredBar>>;

    /// Bars with a gap, in the order of the key.
    ///
    /// # Errors
    /// See [`CandleReader::load_registry`].
    fn gaps(&mut self, q: &GapQuery) -> Result<Vec<NamedBar>>;

    /// Open times of the bars between two open times, inclusive, us: those that need nothing more (final, no gap), or,
    /// with `any`, all that are stored.
    ///
    /// # Errors
    /// See [`CandleReader::load_registry`].
    fn opens(&mut self, series: &Series, from_us: i64, to_us: i64, any: bool) -> Result<Vec<i64>>;

    /// What there is, in order.
    ///
    /// # Errors
    /// See [`CandleReader::load_registry`].
    fn series(&mut self) -> Result<Vec<Series>>;
}

/// Reads and writes candles; one per feed or command.
pub trait CandleDb: CandleReader {
    /// Stores a checkpoint in one transaction: all of it, or nothing. After an error nobody knows which, and it may be
    /// decided later: the same checkpoint given again counts once, and one that goes on from what was stored before the
    /// first attempt is refused once that has been stored.
    ///
    /// # Errors
    /// When the database refuses, a symbol has no index, or the feed does not stand at [`Checkpoint::since`].
    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Committed>;

    /// Stores final bars of another source. Holes are filled; stored bars of a less or equally trusted source are
    /// replaced when they differ, and bars of our own trades only where they have a gap or were never closed, and `replace_gaps` is set. Whoever
    /// gives them has waited until the venue's candle was settled.
    ///
    /// # Errors
    /// When the database refuses; nothing is stored then.
    fn put_history(&mut self, bars: &[NamedBar], source: Source, replace_gaps: bool) -> Result<Filled>;
}

/// Opens a database, making the schema where it is missing. `sqlite:<file>` (relative to `dir`), `postgres://...`.
///
/// # Errors
/// For another scheme, an unreachable database, or a schema of a newer version.
pub fn open(url: &str, dir: &Path) -> Result<Box<dyn CandleDb>> {
    if let Some(file) = url.strip_prefix("sqlite:") {
        return Ok(Box::new(store::Store::open(Sqlite::open(&dir.join(file))?)?));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Box::new(store::Store::open(Postgres::open(url, Some(bars::LOCK))?)?));
    }
    bail!("{} is no database: write sqlite:<file> or postgres://user@host/name", redact(url))
}

/// As [`open`], for reading only; the database must be there.
///
/// # Errors
/// See [`open`].
pub fn open_reader(url: &str, dir: &Path) -> Result<Box<dyn CandleReader>> {
    if let Some(file) = url.strip_prefix("sqlite:") {
        return Ok(Box::new(store::Store::reader(Sqlite::open_reader(&dir.join(file))?)));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Box::new(store::Store::reader(Postgres::open(url, Some(bars::LOCK))?)));
    }
    bail!("{} is no database: write sqlite:<file> or postgres://user@host/name", redact(url))
}
