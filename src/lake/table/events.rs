//! Table `events`: everything that happened beside the data.

use crate::column::{Kind, Spec, columns};
use model::SymbolId;

columns! {
    /// Columns of `events`.
    Events {
        kind: Texts = Spec::new("kind", Kind::Text),
        detail: Texts = Spec::new("detail", Kind::Text),
    }
}

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

impl Events {
    /// Appends a row.
    pub(crate) fn push(&mut self, r: &Event<'_>) -> u32 {
        self.kind.push(r.kind.as_bytes());
        self.detail.push(r.detail.as_bytes());
        0
    }
}
