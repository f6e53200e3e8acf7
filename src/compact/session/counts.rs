//! What a session counts, over all parts that it worked on.

use fold::account::Account;
use lake::Table;

/// Counters shown in the status.
#[derive(Clone, Copy, Default)]
pub(super) struct PartCounts {
    pub(super) records: u64,
    pub(super) frames: u64,
    pub(super) payload_bytes: u64,
    pub(super) decoded: u64,
    pub(super) control: u64,
    pub(super) undecodable: u64,
    pub(super) gaps: u64,
    pub(super) repeated: u64,
    pub(super) evicted_keys: u64,
    pub(super) lost: u64,
    pub(super) rows: [u64; Table::ALL.len()],
}

impl PartCounts {
    pub(super) fn of(a: &Account) -> Self {
        let t = a.totals();
        Self {
            records: a.records,
            frames: a.frames,
            payload_bytes: a.payload_bytes,
            decoded: t.decoded,
            control: t.control,
            undecodable: t.undecodable + t.in_part,
            gaps: a.gap_count,
            repeated: a.repeated,
            evicted_keys: a.evicted_keys,
            lost: a.lost_count,
            rows: std::array::from_fn(|i| Table::ALL.get(i).map_or(0, |t| a.rows_of(*t))),
        }
    }

    pub(super) fn zip(self, o: Self, f: fn(u64, u64) -> u64) -> Self {
        Self {
            records: f(self.records, o.records),
            frames: f(self.frames, o.frames),
            payload_bytes: f(self.payload_bytes, o.payload_bytes),
            decoded: f(self.decoded, o.decoded),
            control: f(self.control, o.control),
            undecodable: f(self.undecodable, o.undecodable),
            gaps: f(self.gaps, o.gaps),
            repeated: f(self.repeated, o.repeated),
            evicted_keys: f(self.evicted_keys, o.evicted_keys),
            lost: f(self.lost, o.lost),
            rows: std::array::from_fn(|i| f(self.rows[i], o.rows[i])),
        }
    }
}
