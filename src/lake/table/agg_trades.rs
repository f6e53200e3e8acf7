//! Table `agg_trades`: one row per aggregated trade.

use super::trades::side_code;
use crate::column::{Kind, Spec, columns};
use model::row::AggTrade;

columns! {
    /// Columns of `agg_trades`.
    AggTrades {
        agg_id: Int64s = Spec::new("agg_id", Kind::Int64),
        first_id: Int64s = Spec::new("first_id", Kind::Int64),
        last_id: Int64s = Spec::new("last_id", Kind::Int64),
        price: Numbers = Spec::new("price", Kind::Number),
        amount: Numbers = Spec::new("amount", Kind::Number),
        side: Sides = Spec::new("side", Kind::Side),
        ts_trade: Int64s = Spec::new("ts_trade", Kind::TimeUs),
    }
}

impl AggTrades {
    /// Appends a row; returns how many of its numbers a double cannot carry.
    #[inline]
    pub(crate) fn push(&mut self, r: &AggTrade) -> u32 {
        self.agg_id.push(r.agg_id);
        self.first_id.push(r.first_id);
        self.last_id.push(r.last_id);
        self.side.push(side_code(r.side));
        self.ts_trade.push(r.ts_trade_us);
        self.price.push(r.price) + self.amount.push(r.amount)
    }
}
