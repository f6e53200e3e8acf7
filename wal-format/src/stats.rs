//! What a writer counts about itself. Atomics, each owned by one thread; read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::background::{BackgroundError, BackgroundErrors};
use crate::record::Seq;

/// A counter with one writing thread: add without a locked instruction.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The value now.
    #[must_use]
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn raise(&self, n: u64) {
        if n > self.get() {
            self.set(n);
        }
    }
}

/// Statistics of a writer since it was opened.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct WriterStats {
    // Written by the appending thread.
    /// Records appended, the log's own included.
    pub records: Count,
    /// Bytes appended, headers and padding included.
    pub bytes: Count,
    /// Records whose receive time had to be raised to the one before.
    pub clamped: Count,
    /// Appends of more than 1 ms. Measured where the store can block: at each new page and at the
    /// first append after each sync.
    pub stalls_1ms: Count,
    /// Appends of more than 10 ms, also counted above.
    pub stalls_10ms: Count,
    /// Appends of more than 100 ms, also counted above.
    pub stalls_100ms: Count,
    /// The longest append, ns.
    pub stall_longest_ns: Count,
    /// Times that an append had to wait for a segment to be allocated.
    pub roll_stalls: Count,
    /// Segments rolled.
    pub rolls: Count,
    /// Appends refused for want of space.
    pub out_of_space: Count,

    // Written by the syncer.
    /// Syncs that succeeded.
    pub syncs: Count,
    /// Syncs that failed; each freezes a segment.
    pub sync_errors: Count,
    /// Time of all syncs, ns.
    pub sync_total_ns: Count,
    /// The longest sync, ns.
    pub sync_longest_ns: Count,
    /// Footers written.
    pub footers: Count,
    durable: Count,
    background_errors: BackgroundErrors,

    // Written by the preparer.
    /// Segments allocated or taken over.
    pub prepared: Count,
    /// Of these, taken over from an earlier run.
    pub reused: Count,
    /// Of these, made on another disk.
    pub spilled: Count,
    /// Failed attempts to make a segment.
    pub prepare_errors: Count,
    /// Segments ready now.
    pub ready: Count,
    /// Bytes faulted in ahead of the tail.
    pub prefaulted_bytes: Count,
}

impl WriterStats {
    /// Everything up to this seq is on disk; `Seq(0)` if nothing of this epoch is yet.
    #[must_use]
    pub fn durable_seq(&self) -> Seq {
        Seq(self.durable.get())
    }

    /// What keeps failing in the background, if anything does. The owner must report it.
    #[must_use]
    pub fn background_errors(&self) -> Vec<BackgroundError> {
        self.background_errors.list()
    }

    pub(crate) fn duties(&self) -> &BackgroundErrors {
        &self.background_errors
    }

    pub(crate) fn set_durable(&self, seq: Seq) {
        self.durable.set(seq.get());
    }

    pub(crate) fn stall(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.stall_longest_ns.raise(ns);
        for (limit, count) in
            [(1_000_000, &self.stalls_1ms), (10_000_000, &self.stalls_10ms), (100_000_000, &self.stalls_100ms)]
        {
            if ns > limit {
                count.add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_in_every_class_it_exceeds() {
        let stats = WriterStats::default();
        for ms in [0, 2, 20, 200] {
            stats.stall(Duration::from_millis(ms));
        }
        let counts = [&stats.stalls_1ms, &stats.stalls_10ms, &stats.stalls_100ms];
        assert_eq!(counts.map(Count::get), [3, 2, 1]);
        assert_eq!(stats.stall_longest_ns.get(), 200_000_000);
    }
}
