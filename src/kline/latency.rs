//! How long trades took from the socket to the candles: counted without locks, read as quantiles and as the buckets
//! of a Prometheus histogram. Knows no clock: it is handed durations.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Fine buckets of one power of two: a quantile is at most an eighth too high.
const SUB_BITS: u32 = 3;
const SUB: usize = 1 << SUB_BITS;
const FINE: usize = (64 - SUB_BITS as usize + 1) * SUB;

/// Upper bounds of the Prometheus buckets, us.
pub const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// A histogram that one thread fills and any read.
#[derive(Debug)]
pub struct Latency {
    fine: Box<[AtomicU64]>,
    bounded: [AtomicU64; BOUNDS_US.len()],
    count: AtomicU64,
    sum_ns: AtomicU64,
    /// Longest since it was taken last, ns.
    max_ns: AtomicU64,
}

/// What was counted up to some moment.
#[derive(Clone, Debug)]
pub struct Counted {
    fine: Vec<u64>,
    /// Trades that took at most [`BOUNDS_US`].
    pub bounded: [u64; BOUNDS_US.len()],
    /// Trades.
    pub count: u64,
    /// Sum of all durations, ns.
    pub sum_ns: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            fine: (0..FINE).map(|_| AtomicU64::new(0)).collect(),
            bounded: Default::default(),
            count: AtomicU64::new(0),
            sum_ns: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
        }
    }
}

/// The fine bucket of a duration.
fn place(ns: u64) -> usize {
    let power = 63_u32.saturating_sub(ns.leading_zeros());
    if power < SUB_BITS {
        return ns as usize;
    }
    let sub = (ns >> (power - SUB_BITS)) as usize & (SUB - 1);
    ((power - SUB_BITS + 1) as usize) * SUB + sub
}

/// The longest duration of a fine bucket, ns.
fn longest(place: usize) -> u64 {
    if place < SUB {
        return place as u64;
    }
    let (power, sub) = ((place / SUB) as u32 - 1, (place % SUB) as u64);
    // One less than where the next bucket begins; the last one has no next.
    (SUB as u64 + sub + 1).checked_shl(power).unwrap_or(0).wrapping_sub(1)
}

impl Latency {
    /// `trades` took `ns` each.
    #[inline]
    pub fn record(&self, ns: u64, trades: u64) {
        if let Some(bucket) = self.fine.get(place(ns)) {
            bucket.fetch_add(trades, Relaxed);
        }
        for (bucket, bound) in self.bounded.iter().zip(BOUNDS_US).rev() {
            if ns > bound * 1_000 {
                break;
            }
            bucket.fetch_add(trades, Relaxed);
        }
        self.sum_ns.fetch_add(ns.saturating_mul(trades), Relaxed);
        self.max_ns.fetch_max(ns, Relaxed);
        self.count.fetch_add(trades, Relaxed);
    }

    /// Everything so far.
    pub fn counted(&self) -> Counted {
        Counted {
            fine: self.fine.iter().map(|b| b.load(Relaxed)).collect(),
            bounded: std::array::from_fn(|i| self.bounded.get(i).map_or(0, |b| b.load(Relaxed))),
            count: self.count.load(Relaxed),
            sum_ns: self.sum_ns.load(Relaxed),
        }
    }

    /// The longest since the last call, ns.
    pub fn take_max_ns(&self) -> u64 {
        self.max_ns.swap(0, Relaxed)
    }
}

impl Counted {
    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Counted) -> Counted {
        let less = |(now, before): (&u64, &u64)| now.saturating_sub(*before);
        Counted {
            fine: self.fine.iter().zip(&before.fine).map(less).collect(),
            bounded: std::array::from_fn(|i| match (self.bounded.get(i), before.bounded.get(i)) {
                (Some(now), Some(before)) => less((now, before)),
                _ => 0,
            }),
            count: self.count.saturating_sub(before.count),
            sum_ns: self.sum_ns.saturating_sub(before.sum_ns),
        }
    }

    /// The duration that `per_mille` of 1,000 trades did not exceed, ns, at most an eighth too high; 0 without a trade.
    pub fn quantile_ns(&self, per_mille: u64) -> u64 {
        let total: u64 = self.fine.iter().sum();
        let rank = (u128::from(total) * u128::from(per_mille)).div_ceil(1_000).max(1);
        let mut seen = 0_u128;
        for (at, n) in self.fine.iter().enumerate() {
            seen += u128::from(*n);
            if seen >= rank {
                return longest(at);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_in_its_bucket_and_no_bucket_is_wider_than_an_eighth() {
        for power in 0..64 {
            for ns in
                [1_u64 << power, (1 << power) + (1 << power) / 3, (1_u64 << power).wrapping_mul(2).wrapping_sub(1)]
            {
                let top = longest(place(ns));
                assert!(top >= ns && top - ns <= ns / 8, "{ns}: {top}");
                assert!(place(ns) == 0 || longest(place(ns) - 1) < ns, "{ns}");
            }
        }
        assert_eq!((place(0), place(u64::MAX)), (0, FINE - 1));
    }

    #[test]
    fn quantiles_and_buckets_are_those_of_what_was_recorded_since() {
        let latency = Latency::default();
        latency.record(50_000_000, 1_000);
        let before = latency.counted();
        assert_eq!(latency.take_max_ns(), 50_000_000);
        for us in 1..=1_000_u64 {
            latency.record(us * 1_000, 1);
        }
        let now = latency.counted();
        let since = now.since(&before);
        let near = |ns: u64, us: u64| ns >= us * 1_000 && ns <= us * 1_125;
        assert!(near(since.quantile_ns(500), 500) && near(since.quantile_ns(990), 990), "{}", since.quantile_ns(990));
        assert!(near(since.quantile_ns(999), 999));
        assert_eq!((since.count, since.bounded[0], since.bounded[3], since.bounded[15]), (1_000, 100, 1_000, 1_000));
        assert_eq!((now.count, now.bounded[3], now.bounded[8]), (2_000, 1_000, 2_000));
        assert_eq!((latency.take_max_ns(), latency.take_max_ns()), (1_000_000, 0));
        assert_eq!(before.since(&before).quantile_ns(500), 0);
    }
}
