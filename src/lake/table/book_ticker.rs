//! Table `book_ticker`: best bid and ask. An empty side is null, not zero.

use crate::column::{Kind, Spec, columns};
use model::row::BookTicker;

columns! {
    /// Columns of `book_ticker`.
    BookTickers {
        update_id: Int64s = Spec::new("update_id", Kind::Int64).null(),
        bid_price: Numbers = Spec::new("bid_price", Kind::Number).null(),
        bid_amount: Numbers = Spec::new("bid_amount", Kind::Number).null(),
        ask_price: Numbers = Spec::new("ask_price", Kind::Number).null(),
        ask_amount: Numbers = Spec::new("ask_amount", Kind::Number).null(),
    }
}

impl BookTickers {
    /// Appends a row; returns how many of its numbers a double cannot carry.
    #[inline]
    pub(crate) fn push(&mut self, r: &BookTicker) -> u32 {
        self.update_id.push_opt(r.update_id);
        self.bid_price.push_opt(r.bid_price)
            + self.bid_amount.push_opt(r.bid_amount)
            + self.ask_price.push_opt(r.ask_price)
            + self.ask_amount.push_opt(r.ask_amount)
    }
}
