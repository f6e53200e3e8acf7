//! Candles of Binance's historical data into the candle database: what `history clean` made of the mirror, month by
//! month. Sends no request; a second run stores nothing.

use model::row::Candle;
use model::{Interval, Unit, VenueId};
use serde::Serialize;

use super::db::{CandleDb, DbError, NamedBar, Source};
use super::official;
use super::request_error::RequestError;

/// Bars of one transaction.
const BATCH: usize = 10_000;

/// What was done with one series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loaded {
    /// Venue name.
    pub venue: String,
    /// The venue's own spelling.
    pub symbol: String,
    /// Interval name.
    pub interval: &'static str,
    /// Candles of the archive.
    pub candles: u64,
    /// Bars stored where there was none.
    pub inserted: u64,
    /// Bars replaced.
    pub replaced: u64,
    /// Bars left alone.
    pub kept: u64,
}

/// Loads one cleaned series of candles, file by file (`files`). `between`: first and last open time, us, inclusive and
/// exclusive; `gaps`: replace bars with a gap, and those never closed, too.
///
/// # Errors
/// When a file cannot be had or the database refuses, and, once all others are stored, when a candle does not fit; what
/// was stored stays.
pub fn load<E: From<DbError> + From<RequestError>>(
    db: &mut dyn CandleDb,
    (venue, symbol, interval): (&str, &str, Interval),
    files: impl IntoIterator<Item = Result<Vec<Candle>, E>>,
    between: (Option<i64>, Option<i64>),
    gaps: bool,
) -> Result<Loaded, E> {
    let mut loaded =
        Loaded { venue: venue.to_owned(), symbol: symbol.to_owned(), interval: interval.as_str(), ..Loaded::default() };
    // What the archive of contracts has beside them is a volume in the base asset.
    let contracts = venue.parse::<VenueId>().is_ok_and(|id| venue::venue(id).spec.counts_contracts);
    let unit = if contracts { Unit::Unknown } else { Unit::Base };
    let (from_us, to_us) = (between.0.unwrap_or(i64::MIN), between.1.unwrap_or(i64::MAX));
    let mut odd = false;
    for file in files {
        let mut bars = Vec::new();
        for mut k in file? {
            if contracts {
                (k.quote_volume, k.taker_buy_quote_volume) = (None, None);
            }
            // Weeks that begin on another day are no weeks of ours.
            if !(from_us..to_us).contains(&k.open_time_us) || interval.open_of(k.open_time_us) != k.open_time_us {
                continue;
            }
            let Some(bar) = official::bar(&k, unit) else {
                odd = true;
                continue;
            };
            bars.push(NamedBar { venue: loaded.venue.clone(), symbol: loaded.symbol.clone(), interval, bar });
        }
        loaded.candles += bars.len() as u64;
        for batch in bars.chunks(BATCH) {
            let filled = db.put_history(batch, Source::Archive, gaps)?;
            loaded.inserted += filled.inserted;
            loaded.replaced += filled.replaced;
            loaded.kept += filled.kept;
        }
    }
    if odd {
        return Err(RequestError::CandleDigits(symbol.to_owned()).into());
    }
    Ok(loaded)
}
