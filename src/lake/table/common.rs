//! The columns every table starts with, and those that later versions added to every table: they come after the
//! table's own ones of the version before.

use crate::Common;
use crate::column::columns;

/// What they are filled from: the record, and what [`super::Row`] says of the row.
pub(crate) struct CommonRow<'c> {
    pub(crate) record: &'c Common,
    pub(crate) row_in_frame: i32,
    /// Text of the interner, or none.
    pub(crate) symbol: u32,
    pub(crate) ts_event: Option<i64>,
    /// Time of the match, of rows that have one.
    pub(crate) ts_trade: Option<i64>,
    /// Those of the record, and INEXACT.
    pub(crate) flags: i32,
}

columns! {
    /// Common columns; `ts_recv` is derived from `ts_recv_ns` and takes no memory.
    CommonColumns of r: CommonRow<'_> {
        symbol: Word = r.symbol;
        ts_event: TimeUs or null = r.ts_event;
        ts_recv: RecvUs = ();
        ts_recv_ns: Int64 = r.record.ts_recv_ns;
        seq: Int64 = r.record.seq;
        row_in_frame: Int32 = r.row_in_frame;
        conn: Int32 = r.record.conn;
        flags: Int32 = r.flags;
        ts: TimeUs or null since 2 = Some(r.ts());
        instrument: Word or null since 2 = None;
        venue: Word or null since 2 = None;
    }
}

impl CommonRow<'_> {
    /// The time to filter by: the row's own, else the event's, else ours.
    fn ts(&self) -> i64 {
        self.ts_trade.or(self.ts_event).unwrap_or(self.record.ts_recv_ns.div_euclid(1_000))
    }
}

/// Positions of the common columns in every chunk.
impl CommonColumns {
    pub(crate) const SYMBOL: usize = 0;
    pub(crate) const TS_RECV_NS: usize = 3;
    pub(crate) const SEQ: usize = 4;
    pub(crate) const ROW_IN_FRAME: usize = 5;
}
