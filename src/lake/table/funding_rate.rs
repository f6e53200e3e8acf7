//! Table `funding_rate`: funding that was paid, as the exchange's archive has it.

use crate::column::columns;
use crate::table::row;
use model::{Num, SymbolId};

columns! {
    /// Columns of `funding_rate`.
    FundingRates of r: FundingRate {
        interval_hours: Int32 = r.interval_hours;
        funding_rate: Number = r.funding_rate;
    }
}

row!(r: FundingRate => FundingRates, symbol: Some(r.symbol), ts_event: r.ts_event_us);

/// A row of `funding_rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FundingRate {
    /// Interned symbol.
    pub symbol: SymbolId,
    /// When it was calculated, us; a few ms after the full hour.
    pub ts_event_us: Option<i64>,
    /// Hours until the next one.
    pub interval_hours: i32,
    /// The rate, a fraction.
    pub funding_rate: Num,
}
