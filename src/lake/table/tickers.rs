//! Table `tickers`: statistics of the last 24 h.

use crate::column::columns;
use crate::table::row;
use model::row::Ticker;

columns! {
    /// Columns of `tickers`.
    Tickers of r: Ticker {
        open: Number or null = r.open;
        high: Number or null = r.high;
        low: Number or null = r.low;
        last: Number or null = r.last;
        volume: Number or null = r.volume;
        quote_volume: Number or null = r.quote_volume;
        count: Int64 or null = r.count;
    }
}

row!(r: Ticker => Tickers, symbol: Some(r.symbol), ts_event: r.ts_event_us);
