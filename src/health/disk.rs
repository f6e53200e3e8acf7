//! How long a disk lasts: free bytes now against free bytes a quarter of an hour ago. Pure.

use std::collections::VecDeque;
use std::fmt::Write as _;

/// What is remembered, ns.
const WINDOW_NS: u64 = 900_000_000_000;
/// Nothing is said of the future after less than this, ns: segments come and go in steps.
const WARM_UP_NS: u64 = 600_000_000_000;
/// A disk that is full before that is a problem, s.
const LASTS_PROBLEM_S: u64 = 4 * 3_600;

/// Free bytes over time.
#[derive(Clone, Debug)]
pub(super) struct DiskGauge {
    /// Less free than this is a problem whatever the trend.
    needs: u64,
    /// Time (monotonic, ns) and free bytes.
    samples: VecDeque<(u64, u64)>,
}

impl DiskGauge {
    pub(super) fn new(needs: u64) -> Self {
        Self { needs, samples: VecDeque::new() }
    }

    pub(super) fn look(&mut self, free: u64, now_ns: u64) {
        self.samples.push_back((now_ns, free));
        while self.samples.front().is_some_and(|(at, _)| now_ns.saturating_sub(*at) > WINDOW_NS) {
            self.samples.pop_front();
        }
    }

    fn free(&self) -> Option<u64> {
        self.samples.back().map(|(_, free)| *free)
    }

    /// Seconds until it is full at the pace of the window; `None` = it does not fill, or that is not known yet.
    fn lasts_s(&self) -> Option<u64> {
        let ((from, before), (to, free)) = (*self.samples.front()?, *self.samples.back()?);
        let took_ns = to.saturating_sub(from);
        let lost = before.checked_sub(free).filter(|lost| *lost > 0)?;
        if took_ns < WARM_UP_NS {
            return None;
        }
        let s = u128::from(free) * u128::from(took_ns) / u128::from(lost) / 1_000_000_000;
        u64::try_from(s).ok()
    }

    pub(super) fn problem(&self) -> Option<String> {
        let free = self.free()?;
        if free < self.needs {
            return Some(format!("has {} MiB free, {} MiB are needed to go on", free >> 20, self.needs >> 20));
        }
        let s = self.lasts_s().filter(|s| *s < LASTS_PROBLEM_S)?;
        Some(format!("has {} MiB free and is full in {}.{} hours at this pace", free >> 20, s / 3_600, s % 3_600 / 360))
    }
}

/// Of all disks; `what` is their label.
pub(super) fn prometheus(out: &mut String, disks: impl Iterator<Item = (&'static str, DiskGauge)> + Clone) {
    // Writing to a String cannot fail.
    let mut one = |name: &str, help: &str, get: fn(&DiskGauge) -> Option<u64>| {
        let _ = writeln!(out, "# HELP tapedeck_disk_{name} {help}\n# TYPE tapedeck_disk_{name} gauge");
        for (what, gauge) in disks.clone() {
            if let Some(value) = get(&gauge) {
                let _ = writeln!(out, "tapedeck_disk_{name}{{disk=\"{what}\"}} {value}");
            }
        }
    };
    one("free_bytes", "Free bytes.", DiskGauge::free);
    one("needed_bytes", "With less free, recording or publishing stops soon.", |g| Some(g.needs));
    one(
        "full_seconds",
        "Time until the disk is full at the pace of 15 minutes; absent while it does not fill.",
        DiskGauge::lasts_s,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const GIB: u64 = 1 << 30;

    #[test]
    fn a_disk_that_fills_says_when_it_is_full_and_one_that_only_breathes_does_not() {
        let mut g = DiskGauge::new(GIB);
        for s in 0..=59 {
            g.look(100 * GIB - s * GIB, s * 10 * S);
        }
        assert_eq!(g.problem(), None, "less than ten minutes say nothing");
        g.look(40 * GIB, 600 * S);
        // 60 GiB in 600 s: 40 GiB last 400 s.
        assert_eq!(g.lasts_s(), Some(400));
        assert!(
            g.problem().is_some_and(|p| p.contains("40960 MiB free and is full in 0.1 hours")),
            "{:?}",
            g.problem()
        );
        let mut g = DiskGauge::new(GIB);
        for s in 0..=90 {
            g.look(100 * GIB - s % 9 * GIB, s * 10 * S);
        }
        assert_eq!((g.lasts_s(), g.problem()), (None, None));
    }

    #[test]
    fn old_samples_are_forgotten_and_too_little_room_is_a_problem_at_once() {
        let mut g = DiskGauge::new(GIB);
        g.look(GIB - 1, 0);
        assert!(g.problem().is_some_and(|p| p.contains("1023 MiB free, 1024 MiB are needed")));
        for s in 1..1_000 {
            g.look(50 * GIB, s * 10 * S);
        }
        assert_eq!((g.problem(), g.lasts_s(), g.samples.len()), (None, None, 91));
    }
}
