//! Table `depth`: one row per price level of an order book message.
//!
//! A message without levels gives no row. `last_in_frame` is true on the last level of its message, so a
//! reader knows when a book is whole again.

use crate::column::{ASK, BID, columns};
use crate::table::row;
use model::row::{DepthUpdate, Level};

columns! {
    /// Columns of `depth`.
    Depths of r: DepthLevel<'_> {
        first_update_id: Int64 or null = r.update.first_update_id;
        final_update_id: Int64 or null = r.update.final_update_id;
        prev_update_id: Int64 or null = r.update.prev_update_id;
        is_snapshot: Bool = r.update.is_snapshot;
        side: Side = if r.level.bid { BID } else { ASK };
        price: Number = r.level.price;
        amount: Number = r.level.amount;
        level: Int32 = r.level.level;
        last_in_frame: Bool = r.last;
    }
}

row!(r: DepthLevel<'_> => Depths, symbol: Some(r.update.symbol), ts_event: r.update.ts_event_us);

/// A row of `depth`.
pub(crate) struct DepthLevel<'a> {
    /// Its message.
    pub(crate) update: &'a DepthUpdate,
    /// The level.
    pub(crate) level: &'a Level,
    /// It is the last one of its message.
    pub(crate) last: bool,
}
