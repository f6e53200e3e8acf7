//! Table `depth`: one row per price level of an order book message.
//!
//! A message without levels gives no row. `last_in_frame` is true on the last level of its message, so a
//! reader knows when a book is whole again.

use crate::column::{ASK, BID, Kind, Spec, columns};
use model::row::{DepthUpdate, Level};

columns! {
    /// Columns of `depth`.
    Depths {
        first_update_id: Int64s = Spec::new("first_update_id", Kind::Int64).null(),
        final_update_id: Int64s = Spec::new("final_update_id", Kind::Int64).null(),
        prev_update_id: Int64s = Spec::new("prev_update_id", Kind::Int64).null(),
        is_snapshot: Bools = Spec::new("is_snapshot", Kind::Bool),
        side: Sides = Spec::new("side", Kind::Side),
        price: Numbers = Spec::new("price", Kind::Number),
        amount: Numbers = Spec::new("amount", Kind::Number),
        level: Int32s = Spec::new("level", Kind::Int32),
        last_in_frame: Bools = Spec::new("last_in_frame", Kind::Bool),
    }
}

impl Depths {
    /// Appends one level; returns how many of its numbers a double cannot carry.
    #[inline]
    pub(crate) fn push(&mut self, r: &DepthUpdate, level: &Level, last: bool) -> u32 {
        self.first_update_id.push_opt(r.first_update_id);
        self.final_update_id.push_opt(r.final_update_id);
        self.prev_update_id.push_opt(r.prev_update_id);
        self.is_snapshot.push(r.is_snapshot);
        self.side.push(if level.bid { BID } else { ASK });
        self.level.push(level.level);
        self.last_in_frame.push(last);
        self.price.push(level.price) + self.amount.push(level.amount)
    }
}
