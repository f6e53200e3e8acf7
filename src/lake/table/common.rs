//! The columns every table starts with.

use crate::column::{Kind, Spec, columns};

columns! {
    /// Common columns; `ts_recv` is derived from `ts_recv_ns` and takes no memory.
    CommonColumns {
        symbol: Words = Spec::new("symbol", Kind::Word),
        ts_event: Int64s = Spec::new("ts_event", Kind::TimeUs).null(),
        ts_recv: Derived = Spec::new("ts_recv", Kind::RecvUs),
        ts_recv_ns: Int64s = Spec::new("ts_recv_ns", Kind::Int64),
        seq: Int64s = Spec::new("seq", Kind::Int64),
        row_in_frame: Int32s = Spec::new("row_in_frame", Kind::Int32),
        conn: Int32s = Spec::new("conn", Kind::Int32),
        flags: Int32s = Spec::new("flags", Kind::Int32),
    }
}

/// Positions of the common columns in every chunk.
impl CommonColumns {
    pub(crate) const SYMBOL: usize = 0;
    pub(crate) const TS_RECV_NS: usize = 3;
    pub(crate) const SEQ: usize = 4;
    pub(crate) const ROW_IN_FRAME: usize = 5;
}
