//! Table `liquidations`: forced orders. A sample on every venue: what Binance sends of a second is the largest or the
//! latest one (its documents disagree), Gate sends at most 20 at a time. `side` is null where the venue does not say it.

use crate::column::{columns, side_code};
use crate::table::row;
use model::row::Liquidation;

columns! {
    /// Columns of `liquidations`.
    Liquidations of r: Liquidation {
        side: Side or null = r.side.map(side_code);
        price: Number = r.price;
        avg_price: Number or null = r.avg_price;
        amount: Number = r.amount;
        filled: Number or null = r.filled;
        status: Word or null = r.status;
        base_amount: Number or null since 2 = None;
    }
}

row!(r: Liquidation => Liquidations, symbol: Some(r.symbol), ts_event: r.ts_event_us);
