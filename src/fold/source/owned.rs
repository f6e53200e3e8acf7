//! A record by value: one that is read ahead of its turn, or that no log holds.

use wal_format::{Position, RecordRef, Seq};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Where it starts: what a checkpoint must go on from while it is held.
    pub position: Position,
    /// Where the one behind it starts.
    pub next: Position,
    /// Its number.
    pub seq: Seq,
    /// Receive time, ns since 1970-01-01 UTC.
    pub ts_recv_ns: u64,
    /// Connection ordinal.
    pub conn: u32,
    /// The kind byte.
    pub kind_raw: u8,
    /// Bits of [`wal_format::flags`].
    pub flags: u8,
    /// Byte for byte.
    pub payload: Vec<u8>,
}

impl OwnedRecord {
    /// A copy of a record.
    #[must_use]
    pub fn of(record: &RecordRef<'_>) -> Self {
        let RecordRef { position, next, seq, ts_recv_ns, conn, kind_raw, flags, payload } = *record;
        Self { position, next, seq, ts_recv_ns, conn, kind_raw, flags, payload: payload.to_vec() }
    }

    /// The record as it was read.
    #[must_use]
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
