//! A record read ahead of its turn: the next one of the repairer's log, until the venue's log has come as far.

use wal_format::{Position, RecordRef, Seq};

/// See the module.
pub(super) struct Held {
    /// Where it starts: what a checkpoint must go on from.
    pub position: Position,
    next: Position,
    seq: Seq,
    /// Receive time, ns.
    pub ts_recv_ns: u64,
    conn: u32,
    kind_raw: u8,
    flags: u8,
    payload: Vec<u8>,
}

impl Held {
    /// A copy of a record.
    pub fn of(record: &RecordRef<'_>) -> Self {
        let RecordRef { position, next, seq, ts_recv_ns, conn, kind_raw, flags, payload } = *record;
        Self { position, next, seq, ts_recv_ns, conn, kind_raw, flags, payload: payload.to_vec() }
    }

    /// The record as it was read.
    pub fn record(&self) -> RecordRef<'_> {
        RecordRef {
            position: self.position,
            next: self.next,
            seq: self.seq,
            ts_recv_ns: self.ts_recv_ns,
            conn: self.conn,
            kind_raw: self.kind_raw,
            flags: self.flags,
            payload: &self.payload,
        }
    }
}
