//! Table `book_depth`: total depth of the book within a distance of the mid price, as the exchange's archive has it.
//!
//! One row per band and snapshot: `percentage` is signed (below the mid price is negative), `depth` the amount and
//! `notional` its worth between the mid price and the band. Live feeds have nothing of the kind.

use crate::column::columns;
use crate::table::row;
use model::{Num, SymbolId};

columns! {
    /// Columns of `book_depth`.
    BookDepths of r: BookDepth {
        percentage: Number = r.percentage;
        depth: Number = r.depth;
        notional: Number = r.notional;
    }
}

row!(r: BookDepth => BookDepths, symbol: Some(r.symbol), ts_event: r.ts_event_us);

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
