//! Table `book_ticker`: best bid and ask. An empty side is null, not zero.

use crate::column::columns;
use crate::table::row;
use model::row::BookTicker;

columns! {
    /// Columns of `book_ticker`.
    BookTickers of r: BookTicker {
        update_id: Int64 or null = r.update_id;
        bid_price: Number or null = r.bid_price;
        bid_amount: Number or null = r.bid_amount;
        ask_price: Number or null = r.ask_price;
        ask_amount: Number or null = r.ask_amount;
    }
}

row!(r: BookTicker => BookTickers, symbol: Some(r.symbol), ts_event: r.ts_event_us);
