//! Table `trades`: one row per single trade.

use crate::column::{BUY, Kind, SELL, Spec, columns};
use model::row::{Side, Trade};

columns! {
    /// Columns of `trades`.
    Trades {
        id: Int64s = Spec::new("id", Kind::Int64).null(),
        id_str: Texts = Spec::new("id_str", Kind::Text).null(),
        price: Numbers = Spec::new("price", Kind::Number),
        amount: Numbers = Spec::new("amount", Kind::Number),
        side: Sides = Spec::new("side", Kind::Side),
        ts_trade: Int64s = Spec::new("ts_trade", Kind::TimeUs).null(),
        kind: Words = Spec::new("type", Kind::Word).null(),
    }
}

/// Taker side as a code of the side column.
pub(super) fn side_code(side: Side) -> u8 {
    match side {
        Side::Buy => BUY,
        Side::Sell => SELL,
    }
}

impl Trades {
    /// Appends a row; returns how many of its numbers a double cannot carry.
    #[inline]
    pub(crate) fn push(&mut self, r: &Trade) -> u32 {
        self.id.push_opt(r.id);
        self.id_str.push_opt(r.id_str.as_deref().map(str::as_bytes));
        self.side.push(side_code(r.side));
        self.ts_trade.push_opt(r.ts_trade_us);
        self.kind.push_opt(r.kind);
        self.price.push(r.price) + self.amount.push(r.amount)
    }
}
