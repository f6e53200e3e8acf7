//! Table `tickers`: statistics of the last 24 h.

use crate::column::{Kind, Spec, columns};
use model::row::Ticker;

columns! {
    /// Columns of `tickers`.
    Tickers {
        open: Numbers = Spec::new("open", Kind::Number).null(),
        high: Numbers = Spec::new("high", Kind::Number).null(),
        low: Numbers = Spec::new("low", Kind::Number).null(),
        last: Numbers = Spec::new("last", Kind::Number).null(),
        volume: Numbers = Spec::new("volume", Kind::Number).null(),
        quote_volume: Numbers = Spec::new("quote_volume", Kind::Number).null(),
        count: Int64s = Spec::new("count", Kind::Int64).null(),
    }
}

impl Tickers {
    /// Appends a row; returns how many of its numbers a double cannot carry.
    pub(crate) fn push(&mut self, r: &Ticker) -> u32 {
        self.count.push_opt(r.count);
        self.open.push_opt(r.open)
            + self.high.push_opt(r.high)
            + self.low.push_opt(r.low)
            + self.last.push_opt(r.last)
            + self.volume.push_opt(r.volume)
            + self.quote_volume.push_opt(r.quote_volume)
    }
}
