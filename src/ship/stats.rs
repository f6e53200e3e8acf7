//! What shippers count and show.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ops::clock;
use ops::exposition::{Exposition, Value};
use ops::health::{Conditions, Reason};
use ops::values;
use wal_format::Position;

/// The store is away for this long before that is a condition, ns: one failed request is none.
const AWAY_NS: u64 = 30_000_000_000;

/// Counters of one log.
#[derive(Debug, Default)]
pub struct LogStats {
    log: String,
    conditions: Conditions,
    chunks: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    packed_bytes: AtomicU64,
    refused: AtomicU64,
    /// When the store took a chunk last, wall ns; 0 = not since the start.
    shipped_ns: AtomicU64,
    acked_seq: AtomicU64,
    /// Since when the store refuses, monotonic ns; 0 = it does not.
    away_ns: AtomicU64,
}

impl LogStats {
    /// Of the log called `log`; what is wrong with it goes to `conditions`.
    #[must_use]
    pub fn new(log: &str, conditions: Conditions) -> Self {
        Self { log: log.to_owned(), conditions, ..Self::default() }
    }

    pub(crate) fn shipped(&self, records: u64, bytes: u64, packed_bytes: u64) {
        self.chunks.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.packed_bytes.fetch_add(packed_bytes, Ordering::Relaxed);
        self.shipped_ns.store(clock::wall_ns(), Ordering::Relaxed);
    }

    /// A request failed; it will be made again.
    pub(crate) fn refused(&self, why: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let now = clock::now().mono_ns.max(1);
        let since = match self.away_ns.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => {
                tracing::warn!(log = %self.log, error = %why, "the object store refuses; the log keeps what is not shipped");
                now
            }
            Err(since) => since,
        };
        if now.saturating_sub(since) >= AWAY_NS {
            let seconds = now.saturating_sub(since) / 1_000_000_000;
            let text = format!("nothing could be shipped for {seconds} s, segments stay on this disk: {why}");
            self.conditions.raise(Reason::StoreAway, &self.log, text);
        }
    }

    /// The store answered.
    pub(crate) fn answered(&self) {
        if self.away_ns.swap(0, Ordering::Relaxed) != 0 {
            tracing::warn!(log = %self.log, "the object store answers again");
            self.conditions.clear(Reason::StoreAway, &self.log);
        }
    }

    pub(crate) fn set_acked(&self, at: Position) {
        self.acked_seq.store(at.seq.get(), Ordering::Relaxed);
    }

    /// Everything before this seq is in the store.
    #[must_use]
    pub fn acked_seq(&self) -> u64 {
        self.acked_seq.load(Ordering::Relaxed)
    }

    /// Chunks that the store took since the start.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.chunks.load(Ordering::Relaxed)
    }

    /// Since the store took the last chunk, s.
    fn age(&self) -> Value {
        let at_ns = self.shipped_ns.load(Ordering::Relaxed);
        let age_ns = (at_ns > 0).then(|| clock::wall_ns().saturating_sub(at_ns) as f64);
        Value::Measure(age_ns.map_or(f64::NAN, |ns| ns / 1e9))
    }

    /// Bytes of records that the store took, before compression.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the chunks that the store took.
    #[must_use]
    pub fn packed_bytes(&self) -> u64 {
        self.packed_bytes.load(Ordering::Relaxed)
    }

    /// Raises or clears that nothing more is shipped of this log.
    pub(crate) fn stands(&self, why: Option<String>) {
        self.conditions.set(Reason::ShippingStopped, &self.log, why);
    }
}

/// Of all logs of a process.
#[derive(Clone, Debug, Default)]
pub struct ShipStats(Arc<Mutex<Vec<Arc<LogStats>>>>);

impl ShipStats {
    /// Counters of one more log.
    #[must_use]
    pub fn of(&self, log: &str, conditions: &Conditions) -> Arc<LogStats> {
        let stats = Arc::new(LogStats::new(log, conditions.clone()));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&stats));
        stats
    }

    /// For Prometheus; nothing when nothing is shipped.
    pub fn expose(&self, out: &mut Exposition) {
        let logs = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if logs.is_empty() {
            return;
        }
        type Get = fn(&LogStats) -> Value;
        let mut one = |name: &str, help, get: Get| {
            out.series(format!("tapedeck_ship_{name}"), help, logs.iter().map(|l| ([("log", l.log.as_str())], get(l))));
        };
        values!(one, l:
            "chunks_total", "Chunks that the object store took." => l.chunks.load(Ordering::Relaxed);
            "records_total", "Records in them." => l.records.load(Ordering::Relaxed);
            "bytes_total", "Bytes in them before compression." => l.bytes.load(Ordering::Relaxed);
            "packed_bytes_total", "Bytes of these objects." => l.packed_bytes.load(Ordering::Relaxed);
            "refused_total", "Requests that the object store refused or did not answer; each is made again." => l.refused.load(Ordering::Relaxed);
            "last_age_seconds", "Since the object store took the last chunk; a rise means that it is away, or that nothing is recorded." => l.age();
        );
    }
}
