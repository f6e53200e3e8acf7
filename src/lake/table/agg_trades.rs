//! Table `agg_trades`: one row per aggregated trade.

use crate::column::{columns, side_code};
use crate::table::row;
use model::row::AggTrade;

columns! {
    /// Columns of `agg_trades`.
    AggTrades of r: AggTrade {
        agg_id: Int64 = r.agg_id;
        first_id: Int64 = r.first_id;
        last_id: Int64 = r.last_id;
        price: Number = r.price;
        amount: Number = r.amount;
        side: Side = side_code(r.side);
        ts_trade: TimeUs = r.ts_trade_us;
        base_amount: Number or null since 2 = None;
    }
}

row!(r: AggTrade => AggTrades, symbol: Some(r.symbol), ts_event: r.ts_event_us, ts_trade: Some(r.ts_trade_us));
