//! Table `metrics`: open interest and long/short ratios every five minutes, as the exchange's archive has them.

use crate::column::columns;
use crate::table::row;
use model::{Num, SymbolId};

columns! {
    /// Columns of `metrics`; any number may be missing in the archive.
    MetricsRows of r: Metrics {
        open_interest: Number or null = r.values[0];
        open_interest_value: Number or null = r.values[1];
        toptrader_count_ratio: Number or null = r.values[2];
        toptrader_sum_ratio: Number or null = r.values[3];
        long_short_ratio: Number or null = r.values[4];
        taker_volume_ratio: Number or null = r.values[5];
    }
}

row!(r: Metrics => MetricsRows, symbol: Some(r.symbol), ts_event: r.ts_event_us);

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
