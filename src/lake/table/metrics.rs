//! Table `metrics`: open interest and long/short ratios every five minutes, as the exchange's archive has them.

use crate::column::{Kind, Spec, columns};
use model::{Num, SymbolId};

columns! {
    /// Columns of `metrics`; any number may be missing in the archive.
    MetricsRows {
        open_interest: Numbers = Spec::new("open_interest", Kind::Number).null(),
        open_interest_value: Numbers = Spec::new("open_interest_value", Kind::Number).null(),
        toptrader_count_ratio: Numbers = Spec::new("toptrader_count_ratio", Kind::Number).null(),
        toptrader_sum_ratio: Numbers = Spec::new("toptrader_sum_ratio", Kind::Number).null(),
        long_short_ratio: Numbers = Spec::new("long_short_ratio", Kind::Number).null(),
        taker_volume_ratio: Numbers = Spec::new("taker_volume_ratio", Kind::Number).null(),
    }
}

/// A row of `metrics`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metrics {
    /// Interned symbol.
    pub symbol: SymbolId,
    /// Time of the figures, us.
    pub ts_event_us: Option<i64>,
    /// The archive's columns in its order: open interest, its value, ratio of long to short accounts of top traders,
    /// of their positions, of all accounts, of taker buy to sell volume.
    pub values: [Option<Num>; 6],
}

impl MetricsRows {
    /// Appends a row; returns how many of its numbers a double cannot carry.
    pub(crate) fn push(&mut self, r: &Metrics) -> u32 {
        let [interest, value, top_count, top_sum, ratio, taker] = r.values;
        self.open_interest.push_opt(interest)
            + self.open_interest_value.push_opt(value)
            + self.toptrader_count_ratio.push_opt(top_count)
            + self.toptrader_sum_ratio.push_opt(top_sum)
            + self.long_short_ratio.push_opt(ratio)
            + self.taker_volume_ratio.push_opt(taker)
    }
}
