//! Candles over REST, as every venue answers them: what a row has, and how much one answer holds. The requests and
//! the shapes are each venue's own (`klines.rs` in its folder).

use super::message::Result;
use super::{DecodeError, json};
use model::Interval;
use model::row::Candle;

/// Candles to request.
#[derive(Clone, Copy, Debug)]
pub struct KlinesQuery<'a> {
    /// The venue's own spelling.
    pub symbol: &'a str,
    /// Their length.
    pub interval: Interval,
    /// Open time of the first, us.
    pub first_us: i64,
    /// Open time of the last, inclusive, us.
    pub last_us: i64,
    /// At most so many, and at most [`KlinePage::rows`]; venues that know no limit beside a range leave it out.
    pub limit: u32,
}

/// The candles of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RestKlines {
    /// Oldest first.
    pub rows: Vec<Candle>,
    /// Those that cannot be read: they cost no other one, and they are no candles without a trade.
    pub rejects: Vec<RejectedKline>,
}

/// A candle that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedKline {
    /// Open time, us, where that can be read.
    pub open_time_us: Option<i64>,
    /// What is wrong with it.
    pub why: String,
}

/// Reads the elements of an array.
///
/// # Errors
/// When it is no array that ends, or not one of its elements is a candle.
pub(super) fn read(
    array: &str,
    open_time_us: impl Fn(&str) -> Result<i64>,
    row: impl Fn(&str) -> Result<Candle>,
) -> Result<RestKlines> {
    let mut all = RestKlines::default();
    let mut first: Option<DecodeError> = None;
    json::array(array, &mut |raw| {
        match row(raw) {
            Ok(row) => all.rows.push(row),
            Err(err) => {
                all.rejects.push(RejectedKline { open_time_us: open_time_us(raw).ok(), why: err.to_string() });
                first.get_or_insert(err);
            }
        }
        Ok(())
    })?;
    all.rows.sort_by_key(|r| r.open_time_us);
    match first {
        Some(err) if all.rows.is_empty() => Err(err),
        _ => Ok(all),
    }
}

/// What one answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KlinePage {
    /// Candles that may be requested at once.
    pub rows: u32,
    /// Longest range of a request, days; `None` = as long as its rows.
    pub days_max: Option<u32>,
    /// The venue leaves candles without a trade out.
    pub omits_empty: bool,
    /// With fewer rows than the range has, the oldest ones come.
    pub from_the_start: bool,
}

impl KlinePage {
    /// Candles of an interval that may be requested at once.
    pub fn rows_of(&self, interval: Interval) -> u32 {
        let most = self.days_max.map_or(i64::MAX, |days| i64::from(days) * Interval::D1.len_us() / interval.len_us());
        self.rows.min(u32::try_from(most).unwrap_or(u32::MAX)).max(1)
    }
}
