//! How long things took: counted without locks, read as quantiles and as the buckets of a Prometheus histogram. Knows no
//! clock: it is handed durations.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Fine buckets of one power of two: a quantile is at most an eighth too high.
const SUB_BITS: u32 = 3;
const SUB: usize = 1 << SUB_BITS;
const FINE: usize = (64 - SUB_BITS as usize + 1) * SUB;

/// A histogram that any thread fills and any reads.
#[derive(Debug)]
pub struct Hist {
    fine: Box<[AtomicU64]>,
    /// Upper bounds of the Prometheus buckets, ascending, ns.
    bounds_ns: &'static [u64],
    /// One for each bound, and one for what is longer than all.
    bounded: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
    /// Longest since it was taken last, ns.
    max_ns: AtomicU64,
}

/// What was counted up to some moment.
#[derive(Clone, Debug)]
pub struct Counted {
    fine: Vec<u64>,
    bounds_ns: &'static [u64],
    bounded: Vec<u64>,
    sum_ns: u64,
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

fn zeros(n: usize) -> Box<[AtomicU64]> {
    (0..n).map(|_| AtomicU64::new(0)).collect()
}

impl Hist {
    /// Empty, with these upper bounds of the Prometheus buckets, ascending, ns.
    pub fn new(bounds_ns: &'static [u64]) -> Self {
        let (fine, bounded) = (zeros(FINE), zeros(bounds_ns.len() + 1));
        Self { fine, bounds_ns, bounded, sum_ns: AtomicU64::new(0), max_ns: AtomicU64::new(0) }
    }

    /// `times` things took `ns` each.
    #[inline]
    pub fn record(&self, ns: u64, times: u64) {
        let bounded = self.bounds_ns.partition_point(|bound| *bound < ns);
        for bucket in [self.fine.get(place(ns)), self.bounded.get(bounded)].into_iter().flatten() {
            bucket.fetch_add(times, Relaxed);
        }
        self.sum_ns.fetch_add(ns.saturating_mul(times), Relaxed);
        self.max_ns.fetch_max(ns, Relaxed);
    }

    /// Everything so far.
    pub fn counted(&self) -> Counted {
        let read = |buckets: &[AtomicU64]| buckets.iter().map(|b| b.load(Relaxed)).collect();
        Counted {
            fine: read(&self.fine),
            bounds_ns: self.bounds_ns,
            bounded: read(&self.bounded),
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
        let less = |now: &[u64], before: &[u64]| now.iter().zip(before).map(|(n, b)| n.saturating_sub(*b)).collect();
        Counted {
            fine: less(&self.fine, &before.fine),
            bounds_ns: self.bounds_ns,
            bounded: less(&self.bounded, &before.bounded),
            sum_ns: self.sum_ns.saturating_sub(before.sum_ns),
        }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.bounded.iter().sum()
    }

    /// Sum of all durations, s.
    pub(crate) fn sum_s(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    /// Upper bounds of the Prometheus buckets, s, and how many lie between the bound before and this one.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        self.bounds_ns.iter().map(|bound_ns| *bound_ns as f64 / 1e9).zip(self.bounded.iter().copied())
    }

    /// The duration that `per_mille` of 1,000 did not exceed, ns, at most an eighth too high; `None` = nothing came.
    pub fn quantile_ns(&self, per_mille: u64) -> Option<u64> {
        let total: u64 = self.fine.iter().sum();
        let rank = (u128::from(total) * u128::from(per_mille)).div_ceil(1_000).max(1);
        let mut seen = 0_u128;
        let reached = self.fine.iter().position(|n| {
            seen += u128::from(*n);
            seen >= rank
        });
        reached.map(longest)
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
        let hist = Hist::new(&[100_000, 1_000_000, 50_000_000]);
        hist.record(50_000_000, 1_000);
        let before = hist.counted();
        assert_eq!(hist.take_max_ns(), 50_000_000);
        for us in 1..=1_000_u64 {
            hist.record(us * 1_000, 1);
        }
        hist.record(50_000_001, 1);
        let now = hist.counted();
        let since = now.since(&before);
        let near = |ns: Option<u64>, us: u64| ns.is_some_and(|ns| ns >= us * 1_000 && ns <= us * 1_125);
        assert!(near(since.quantile_ns(500), 500) && near(since.quantile_ns(990), 990), "{since:?}");
        assert!(near(since.quantile_ns(999), 999));
        assert_eq!(since.buckets().collect::<Vec<_>>(), [(0.000_1, 100), (0.001, 900), (0.05, 0)]);
        assert_eq!((since.count(), now.count(), now.buckets().last()), (1_001, 2_001, Some((0.05, 1_000))));
        assert_eq!((hist.take_max_ns(), hist.take_max_ns()), (50_000_001, 0));
        assert_eq!(before.since(&before).quantile_ns(500), None);
    }
}
