//! Table `mark_price`: mark and index price, funding.

use crate::column::{Kind, Spec, columns};
use model::row::MarkPrice;

columns! {
    /// Columns of `mark_price`.
    MarkPrices {
        mark_price: Numbers = Spec::new("mark_price", Kind::Number).null(),
        index_price: Numbers = Spec::new("index_price", Kind::Number).null(),
        settle_price: Numbers = Spec::new("settle_price", Kind::Number).null(),
        funding_rate: Numbers = Spec::new("funding_rate", Kind::Number).null(),
        next_funding_time: Int64s = Spec::new("next_funding_time", Kind::TimeUs).null(),
    }
}

impl MarkPrices {
    /// Appends a row; returns how many of its numbers a double cannot carry.
    pub(crate) fn push(&mut self, r: &MarkPrice) -> u32 {
        self.next_funding_time.push_opt(r.next_funding_us);
        self.mark_price.push_opt(r.mark_price)
            + self.index_price.push_opt(r.index_price)
            + self.settle_price.push_opt(r.settle_price)
            + self.funding_rate.push_opt(r.funding_rate)
    }
}
