//! Table `funding_rate`: funding that was paid, as the exchange's archive has it.

use crate::column::{Kind, Spec, columns};
use model::{Num, SymbolId};

columns! {
    /// Columns of `funding_rate`.
    FundingRates {
        interval_hours: Int32s = Spec::new("interval_hours", Kind::Int32),
        funding_rate: Numbers = Spec::new("funding_rate", Kind::Number),
    }
}

/// A row of `funding_rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FundingRate {
    /// Interned symbol.
    pub symbol: SymbolId,
    /// When it was calculated, us; a few ms behind the full hour.
    pub ts_event_us: Option<i64>,
    /// Hours until the next one.
    pub interval_hours: i32,
    /// The rate, a fraction.
    pub funding_rate: Num,
}

impl FundingRates {
    /// Appends a row; returns how many of its numbers a double cannot carry.
    pub(crate) fn push(&mut self, r: &FundingRate) -> u32 {
        self.interval_hours.push(r.interval_hours);
        self.funding_rate.push(r.funding_rate)
    }
}
