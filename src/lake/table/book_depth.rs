//! Table `book_depth`: total depth of the book within a distance of the mid price, as the exchange's archive has it.
//!
//! One row per band and snapshot: `percentage` is signed (below the mid price is negative), `depth` the amount and
//! `notional` its worth between the mid price and the band. Live feeds have nothing of the kind.

use crate::column::{Kind, Spec, columns};
use model::{Num, SymbolId};

columns! {
    /// Columns of `book_depth`.
    BookDepths {
        percentage: Numbers = Spec::new("percentage", Kind::Number),
        depth: Numbers = Spec::new("depth", Kind::Number),
        notional: Numbers = Spec::new("notional", Kind::Number),
    }
}

/// A row of `book_depth`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BookDepth {
    /// Interned symbol.
    pub symbol: SymbolId,
    /// Time of the snapshot, us.
    pub ts_event_us: Option<i64>,
    /// Band, in percent of the mid price.
    pub percentage: Num,
    /// Amount within the band.
    pub depth: Num,
    /// Its worth.
    pub notional: Num,
}

impl BookDepths {
    /// Appends a row; returns how many of its numbers a double cannot carry.
    pub(crate) fn push(&mut self, r: &BookDepth) -> u32 {
        self.percentage.push(r.percentage) + self.depth.push(r.depth) + self.notional.push(r.notional)
    }
}
