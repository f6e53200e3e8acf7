//! Table `liquidations`: forced orders.

use super::trades::side_code;
use crate::lake::column::{Kind, Spec, columns};
use crate::venue::row::Liquidation;

columns! {
    /// Columns of `liquidations`.
    Liquidations {
        side: Sides = Spec::new("side", Kind::Side),
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
        self.side.push(side_code(r.side));
        self.status.push_opt(r.status);
        self.price.push(r.price)
            + self.avg_price.push_opt(r.avg_price)
            + self.amount.push(r.amount)
            + self.filled.push_opt(r.filled)
    }
}
