//! What the worker begins with after a start: the stored bars of a symbol, as far as its feed made them.
//!
//! ```text
//!  stored by                       the feed goes on with it
//!  the feed                        adds its trades
//!  somebody else, in its place     keeps it for its close: it has all trades, ours too
//!  somebody else, ahead of it      knows nothing of it, and makes its own
//! ```
//! Worked example: the log is read up to 12:30:20, and `klines backfill` stored the venue's candles up to 14:00, with
//! `--gaps` also in place of the open one of 12:30. That one gets no trade more; that of 12:31 is made from the log, and
//! is stored once it is whole.

use crate::db::{CandleReader, DbError, HistoryQuery, Series, Source, StoredBar};
use crate::feed::CandleFeed;
use crate::message::Item;
use crate::registry::Registered;
use fold::candles::generator::{KEPT, is_flat};
use model::interval::Interval;
use model::kline::{FOREIGN, KlineData};
use model::unit::Unit;

/// One symbol of a feed, for the worker that knows nothing of it. Returns whether the bar of its last trade is gone.
///
/// # Errors
/// When the database cannot be read.
pub(crate) fn restore(
    db: &mut dyn CandleReader,
    feed: &CandleFeed,
    (number, symbol_index, entry): (u32, u32, &Registered),
    out: &mut Vec<Item>,
) -> Result<bool, DbError> {
    let unit = feed.unit(&entry.symbol);
    let (last_us, reached_us) = (feed.last_trade_us(&entry.symbol), feed.reached_us(&entry.symbol));
    let corrected = !feed.is_multiplied() && unit != Unit::Base;
    let mut lacking = false;
    for interval in Interval::ALL {
        let query = HistoryQuery {
            end_us: reached_us.map(|us| interval.open_of(us)),
            newest_first: true,
            ..HistoryQuery::of(&entry.venue, &entry.symbol, interval, KEPT[interval.index()] + 1)
        };
        let mut stored = db.stored(&query)?;
        if reached_us.is_none() {
            // A feed that knows no time continues at the last bar it made.
            let made = stored.iter().rposition(|bar| bar.source == Source::Live).map_or(0, |at| at + 1);
            stored.truncate(made);
        }
        // The bar of the last trade is stored with it.
        let newest = stored.last().map(|b| b.bar.open_time_us);
        lacking |= last_us.is_some_and(|us| newest.is_none_or(|open| open < interval.open_of(us)));
        // The venue's time may have been believed to be further on: bars that were made of that are its own all the same.
        if let Some(end_us) = query.end_us {
            let (start_us, end_us) = (Some(interval.next(end_us)), None);
            let ahead =
                db.stored(&HistoryQuery { start_us, end_us, limit: usize::MAX, newest_first: false, ..query })?;
            stored.extend(ahead.into_iter().filter(|bar| bar.source == Source::Live));
        }
        let bars: Vec<KlineData> = stored.iter().map(|bar| own(bar, unit, corrected)).collect();
        let Some(first) = bars.first() else { continue };
        let before = if is_flat(first) {
            let series = Series { venue: entry.venue.clone(), symbol: entry.symbol.clone(), interval };
            db.last_traded(&series, first.open_time_us)?
        } else {
            None
        };
        let before = before.map(|bar| Box::new(own(&bar, unit, false)));
        out.push(Item::Restore { symbol_index, feed: number, interval, bars, before, corrected });
    }
    Ok(lacking)
}

/// A stored bar as the feed goes on with it.
fn own(stored: &StoredBar, unit: Unit, corrected: bool) -> KlineData {
    let bar = stored.bar;
    if stored.source != Source::Live {
        return KlineData { flags: bar.flags | FOREIGN, ..bar };
    }
    let again = |bar: KlineData| KlineData { revision: bar.revision + u32::from(bar.is_final()), ..bar };
    if corrected { bar.multiplied(unit).map_or(bar, again) } else { bar }
}
