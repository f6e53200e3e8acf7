//! Table `trades`: one row per single trade.

use crate::column::{columns, side_code};
use crate::table::row;
use model::row::Trade;

columns! {
    /// Columns of `trades`.
    Trades of r: Trade {
        id: Int64 or null = r.id;
        id_str: Text or null = r.id_str.as_deref();
        price: Number = r.price;
        amount: Number = r.amount;
        side: Side = side_code(r.side);
        ts_trade: TimeUs or null = r.ts_trade_us;
        kind as "type": Word or null = r.kind;
        base_amount: Number or null since 2 = None;
    }
}

row!(r: Trade => Trades, symbol: Some(r.symbol), ts_event: r.ts_event_us, ts_trade: r.ts_trade_us);
