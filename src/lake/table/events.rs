//! Table `events`: everything that happened beside the data.

use crate::column::columns;
use crate::table::row;
use model::SymbolId;

columns! {
    /// Columns of `events`.
    Events of r: Event<'_> {
        kind: Text = r.kind;
        detail: Text = r.detail;
    }
}

row!(r: Event<'_> => Events, symbol: r.symbol, ts_event: r.ts_event_us);

/// A row of `events`.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The symbol it is about, where there is one.
    pub symbol: Option<SymbolId>,
    /// Exchange time, µs, where there is one.
    pub ts_event_us: Option<i64>,
    /// `connect`, `disconnect`, `subscribe`, `gap`, `repaired`, `rotate`, `clock` ...
    pub kind: &'a str,
    /// One JSON object.
    pub detail: &'a str,
}
