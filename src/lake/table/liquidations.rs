//! Table `liquidations`: forced orders. A sample on every venue: what Binance sends of a second is the largest or the
//! latest one (its documents disagree), Gate sends at most 20 at a time. `side` is null where the venue does not say it.

use super::trades::side_code;
use crate::column::{Kind, NULL_SIDE, Spec, columns};
use model::row::Liquidation;

columns! {
    /// Columns of `liquidations`.
    Liquidations {
        side: Sides = Spec::new("side", Kind::Side).null(),
        price: Numbers = Spec::new("price", Kind::Number),
        avg_price: Numbers = Spec::new("avg_price", Kind::Number).null(),
        amount: Numbers = Spec::new("amount", Kind::Number),
        filled: Numbers = Spec::new("filled", Kind::Number).null(),
        status: Words = Spec::new("status", Kind::Word).null(),
    }
}

impl Liquidations {
    /// Appends a row; returns how many of its numbers a double cannot carry.
    pub(crate) fn push(&mut self, r: &Liquidation) -> u32 {
        self.side.push(r.side.map_or(NULL_SIDE, side_code));
        self.status.push_opt(r.status);
        self.price.push(r.price)
            + self.avg_price.push_opt(r.avg_price)
            + self.amount.push(r.amount)
            + self.filled.push_opt(r.filled)
    }
}
