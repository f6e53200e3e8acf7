//! Table `mark_price`: mark and index price, funding.

use crate::column::columns;
use crate::table::row;
use model::row::MarkPrice;

columns! {
    /// Columns of `mark_price`.
    MarkPrices of r: MarkPrice {
        mark_price: Number or null = r.mark_price;
        index_price: Number or null = r.index_price;
        settle_price: Number or null = r.settle_price;
        funding_rate: Number or null = r.funding_rate;
        next_funding_time: TimeUs or null = r.next_funding_us;
    }
}

row!(r: MarkPrice => MarkPrices, symbol: Some(r.symbol), ts_event: r.ts_event_us);
