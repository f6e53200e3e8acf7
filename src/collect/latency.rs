//! How long appends take, as the sockets feel it: the wait for the log's lock, and the append.
//!
//! One append in [`ONE_IN`] is measured: two readings of the clock cost as much as the append itself. Buckets are
//! powers of two of nanoseconds; a quantile is the upper bound of its bucket, so at most twice too large.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// One append of so many is measured; a power of two.
pub(super) const ONE_IN: u64 = 16;
/// Buckets: up to 2^36 ns, more than a minute.
const BUCKETS: usize = 37;

/// Counts per bucket.
pub(super) type Counts = [u64; BUCKETS];

/// See the module.
#[derive(Debug)]
pub(super) struct Latency {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_ns: AtomicU64::new(0) }
    }
}

impl Latency {
    /// An append took `ns`.
    pub(super) fn took(&self, ns: u64) {
        // The bucket of n holds what is below 2^n.
        let bucket = (u64::BITS - ns.leading_zeros()) as usize;
        if let Some(b) = self.buckets.get(bucket.min(BUCKETS - 1)) {
            b.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        std::array::from_fn(|i| self.buckets.get(i).map_or(0, |b| b.load(Ordering::Relaxed)))
    }

    /// The lines of a Prometheus histogram without HELP and TYPE.
    pub(super) fn prometheus(&self, out: &mut String, name: &str, labels: &str) {
        let (mut below, all) = (0, self.counts());
        // Writing to a String cannot fail.
        for (i, n) in all.iter().enumerate() {
            below += n;
            if i >= 8 && i % 2 == 0 && i < BUCKETS - 1 {
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{:e}\"}} {below}", (1_u64 << i) as f64 / 1e9);
            }
        }
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {below}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {:.9}", self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9);
        let _ = writeln!(out, "{name}_count{{{labels}}} {below}");
    }
}

/// The time that `per_mille` of what came between two counts did not exceed, ns; `None` = nothing came.
pub(super) fn quantile_ns(before: &Counts, now: &Counts, per_mille: u64) -> Option<u64> {
    let came: Vec<u64> = now.iter().zip(before).map(|(n, b)| n.saturating_sub(*b)).collect();
    let total: u64 = came.iter().sum();
    let mut left = (total * per_mille).div_ceil(1_000).max(1);
    for (i, n) in came.iter().enumerate() {
        if *n >= left {
            return Some(1 << i);
        }
        left -= n;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_of_what_came_since_and_at_most_twice_too_large() {
        let l = Latency::default();
        l.took(5_000_000);
        let before = l.counts();
        assert_eq!(quantile_ns(&before, &before, 990), None);
        for _ in 0..980 {
            l.took(300);
        }
        for _ in 0..20 {
            l.took(70_000);
        }
        l.took(u64::MAX);
        let now = l.counts();
        assert_eq!(quantile_ns(&before, &now, 500), Some(512));
        assert_eq!(quantile_ns(&before, &now, 990), Some(131_072));
        assert_eq!(quantile_ns(&before, &now, 1_000), Some(1 << 36));
    }

    #[test]
    fn the_histogram_is_cumulative_in_seconds() {
        let l = Latency::default();
        l.took(200);
        l.took(1_000);
        let mut text = String::new();
        l.prometheus(&mut text, "x_seconds", "venue=\"v\"");
        for line in [
            "x_seconds_bucket{venue=\"v\",le=\"2.56e-7\"} 1",
            "x_seconds_bucket{venue=\"v\",le=\"1.024e-6\"} 2",
            "x_seconds_bucket{venue=\"v\",le=\"+Inf\"} 2",
            "x_seconds_sum{venue=\"v\"} 0.000001200",
            "x_seconds_count{venue=\"v\"} 2",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
        }
    }
}
