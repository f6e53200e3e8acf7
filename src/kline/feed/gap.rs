//! One gap in the ids of a symbol, one interruption, and the row with which recording of a symbol began.

use serde::{Deserialize, Serialize};

use crate::seed::First;
use model::kline::{NO_ID, Tick};

/// First id of what was traded before recording began: nobody fills it.
pub(super) const UNFILLABLE: i64 = i64::MIN;

/// A gap in the ids of one symbol and the time it covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TradeGap {
    pub(super) symbol: String,
    pub(super) from_id: i64,
    pub(super) to_id: i64,
    pub(super) from_us: i64,
    pub(super) to_us: i64,
    /// The ids after it are far away, and later ones will show whether it is any.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unsure: bool,
}

/// A time in which trades may have been missed, as the venue's, us. No ids show which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interruption {
    pub(super) from_us: i64,
    pub(super) to_us: i64,
    /// Whose trades; none = of all symbols.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) symbols: Vec<String>,
}

pub(super) fn first_row(tick: &Tick) -> First {
    let row_id = if tick.agg_id == NO_ID { tick.first_id } else { tick.agg_id };
    First { row_id, trade_id: tick.first_id, ts_us: tick.ts_us }
}
