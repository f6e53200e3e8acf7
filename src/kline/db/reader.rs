//! Queries of stored candles, and who answers: [`CandleReader`].

use super::bar::{NamedBar, Series, StoredBar};
use super::checkpoint::SavedFeed;
use super::error::Result;
use crate::registry::Registered;
use model::interval::Interval;
use model::kline::KlineData;

/// Which bars to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Venue name.
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

impl HistoryQuery {
    /// The oldest `limit` bars of a series.
    pub fn of(venue: &str, symbol: &str, interval: Interval, limit: usize) -> Self {
        let (venue, symbol) = (venue.to_owned(), symbol.to_owned());
        Self { venue, symbol, interval, start_us: None, end_us: None, limit, newest_first: false }
    }
}

/// Which bars with a gap to read; `None` means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GapQuery {
    /// Venue name.
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

    /// Where a feed stopped; `None` for one that never committed. Positions and state are stored in separate rows: where one
    /// is missing, `logs` or `state` is empty.
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
        self.query(&HistoryQuery { newest_first: true, ..HistoryQuery::of(venue, symbol, interval, n) })
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

    /// All stored series, sorted.
    ///
    /// # Errors
    /// See [`CandleReader::load_registry`].
    fn series(&mut self) -> Result<Vec<Series>>;
}
