//! How long a disk lasts. Pure.
//!
//! ```text
//!  free   |\    |\    |\      a log falls until its part is published, and then gives back what it held:
//!         | \   | \   | \     what counts over the hours is how the peaks fall, and inside a part whether
//!         |  \  |  \  |  \    the disk lasts until the next peak
//!         +---\-+---\-+---\-> time, one tooth for each part
//! ```

use std::collections::VecDeque;

use crate::exposition::Exposition;
use wal_format::ClockPair;

/// Peaks of as many parts as make an hour are looked at together: one is higher than another by what comes while a part
/// is being published.
const HOUR_NS: u64 = 3_600_000_000_000;
/// The pace inside a part is that of this long, ns.
const RECENT_NS: u64 = 900_000_000_000;
/// A part is published, and its log given back, this long after its end at the latest, ns.
const PUBLISH_NS: u64 = 300_000_000_000;
/// Nothing is said of the future after less than this, ns: segments come and go in steps.
const WARM_UP_NS: u64 = 600_000_000_000;
/// A disk that is full before that is a problem, s.
const LASTS_PROBLEM_S: u64 = 4 * 3_600;

/// Free bytes over time.
#[derive(Clone, Debug)]
pub(super) struct DiskGauge {
    /// Less free than this is a problem whatever the trend.
    needs: u64,
    /// Length of a part, at whose end the log gives back what it holds, ns.
    part_ns: u64,
    /// Time (monotonic, ns) and free bytes, of two hours and a bit.
    samples: VecDeque<(u64, u64)>,
    /// Until the open parts are published, ns after the last sample.
    published_in_ns: u64,
}

impl DiskGauge {
    pub(super) fn new(needs: u64, part_minutes: u64) -> Self {
        let part_ns = part_minutes * 60_000_000_000;
        Self { needs, part_ns, samples: VecDeque::new(), published_in_ns: 0 }
    }

    pub(super) fn look(&mut self, free: u64, now: ClockPair) {
        let kept_ns = 2 * HOUR_NS + RECENT_NS;
        self.samples.push_back((now.mono_ns, free));
        while self.samples.front().is_some_and(|(at, _)| now.mono_ns.saturating_sub(*at) > kept_ns) {
            self.samples.pop_front();
        }
        let into_ns = now.wall_ns % self.part_ns;
        // Right after a boundary the part that ended there is being published.
        let ends_in_ns = if into_ns < PUBLISH_NS { 0 } else { self.part_ns };
        self.published_in_ns = (ends_in_ns + PUBLISH_NS).saturating_sub(into_ns);
    }

    fn free(&self) -> Option<u64> {
        self.samples.back().map(|(_, free)| *free)
    }

    /// Most that was free between two times.
    fn peak(&self, from_ns: u64, to_ns: u64) -> Option<u64> {
        self.samples.iter().filter(|(at, _)| (from_ns..=to_ns).contains(at)).map(|(_, free)| *free).max()
    }

    /// Seconds until it is full as the peaks after published parts fall; `None` = they do not, or that is not known yet.
    fn lasts_by_parts_s(&self) -> Option<u64> {
        let (first, (now, free)) = (self.samples.front()?.0, *self.samples.back()?);
        // So long that a peak is in it.
        let tooth_ns = HOUR_NS + RECENT_NS;
        let apart_ns = now.saturating_sub(first).checked_sub(tooth_ns).filter(|apart| *apart >= WARM_UP_NS)?;
        let before = self.peak(first, first + tooth_ns)?;
        let lost = before.checked_sub(self.peak(now - tooth_ns, now)?)?;
        // The peaks may be an hour apart, wherever the two windows begin.
        lasts_s(free, lost, apart_ns.max(HOUR_NS))
    }

    /// Seconds until it is full at the pace of the last minutes, if that is before the open parts are published.
    fn lasts_in_part_s(&self) -> Option<u64> {
        let (now, free) = *self.samples.back()?;
        let (from, before) = *self.samples.iter().find(|(at, _)| now.saturating_sub(*at) <= RECENT_NS)?;
        let took_ns = now.saturating_sub(from);
        let lost = before.checked_sub(free).filter(|_| took_ns >= WARM_UP_NS)?;
        lasts_s(free, lost, took_ns).filter(|s| *s < self.published_in_ns / 1_000_000_000)
    }

    /// Seconds until it is full; `None` = it does not fill, or that is not known yet.
    fn lasts_s(&self) -> Option<u64> {
        [self.lasts_in_part_s(), self.lasts_by_parts_s()].into_iter().flatten().min()
    }

    pub(super) fn problem(&self) -> Option<String> {
        let free = self.free()?;
        if free < self.needs {
            return Some(format!("has {} MiB free, {} MiB are needed to go on", free >> 20, self.needs >> 20));
        }
        let s = self.lasts_s().filter(|s| *s < LASTS_PROBLEM_S)?;
        let text =
            format!("has {} MiB free and is full in {}.{} hours at this pace", free >> 20, s / 3_600, s % 3_600 / 360);
        Some(match self.lasts_in_part_s() {
            Some(_) => format!("{text}, before the log of {} minutes is published", self.part_ns / 60_000_000_000),
            None => text,
        })
    }
}

/// Seconds that `free` bytes last when `lost` went in `took_ns`.
fn lasts_s(free: u64, lost: u64, took_ns: u64) -> Option<u64> {
    let s = u128::from(free) * u128::from(took_ns) / u128::from(lost).max(1) / 1_000_000_000;
    u64::try_from(s).ok().filter(|_| lost > 0)
}

/// Of all disks; `what` is their label.
pub(super) fn expose(out: &mut Exposition, disks: &[(&'static str, DiskGauge)]) {
    let mut one = |name: &str, help, get: fn(&DiskGauge) -> Option<u64>| {
        let known = disks.iter().filter_map(|(disk, gauge)| Some(([("disk", disk)], get(gauge)?)));
        out.series(format!("tapedeck_disk_{name}"), help, known);
    };
    one("free_bytes", "Free bytes.", DiskGauge::free);
    one("needed_bytes", "With less free, recording or publishing stops soon.", |g| Some(g.needs));
    one(
        "full_seconds",
        "Time until the disk is full as the peaks between published parts fall, or at the pace of 15 minutes if that is sooner than the next publication; absent while it does not fill.",
        DiskGauge::lasts_s,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const GIB: u64 = 1 << 30;

    fn at(s: u64) -> ClockPair {
        ClockPair { wall_ns: 1_723_161_600 * S + s * S, mono_ns: s * S }
    }

    #[test]
    fn a_disk_that_is_full_before_the_part_is_published_says_when_and_one_that_only_breathes_does_not() {
        let mut g = DiskGauge::new(GIB, 60);
        for s in 0..=59 {
            g.look(100 * GIB - s * GIB, at(s * 10));
        }
        assert_eq!(g.problem(), None, "less than ten minutes say nothing");
        g.look(40 * GIB, at(600));
        // 60 GiB in 600 s: 40 GiB last 400 s.
        assert_eq!(g.lasts_s(), Some(400));
        let said = g.problem().unwrap_or_default();
        assert!(said.contains("40960 MiB free and is full in 0.1 hours"), "{said}");
        assert!(said.contains("before the log of 60 minutes is published"), "{said}");
        let mut g = DiskGauge::new(GIB, 60);
        for s in 0..=90 {
            g.look(100 * GIB - s % 9 * GIB, at(s * 10));
        }
        assert_eq!((g.lasts_s(), g.problem()), (None, None));
    }

    /// Free bytes of a disk of `total` GiB whose log takes 10 GiB in each part and gives them back `late_s` after its
    /// end, while something else takes `mib` MiB an hour.
    fn tooth(total: u64, part_minutes: u64, late_s: u64, mib: u64, s: u64) -> u64 {
        let part_s = part_minutes * 60;
        let held_s = if s % part_s < late_s { s.min(s % part_s + part_s) } else { s % part_s };
        total * GIB - 10 * GIB * held_s / part_s - (mib << 20) * s / 3_600
    }

    #[test]
    fn a_log_that_holds_an_hour_until_it_is_published_is_no_disk_that_fills() {
        for part_minutes in [60, 15] {
            let mut g = DiskGauge::new(GIB, part_minutes);
            for s in (0..6 * 3_600).step_by(10) {
                // Published a little earlier and later in turn.
                let late_s = 30 + s / (part_minutes * 60) % 3 * 60;
                g.look(tooth(25, part_minutes, late_s, 1, s), at(s));
                // At the pace of a quarter of an hour it would be full in an hour and a half.
                assert_eq!(g.problem(), None, "{part_minutes} minutes, second {s}");
            }
        }
    }

    #[test]
    fn what_fills_a_disk_beside_the_teeth_of_the_log_is_seen() {
        let mut g = DiskGauge::new(GIB, 60);
        let mut reported = None;
        for s in (0..9 * 3_600).step_by(10) {
            g.look(tooth(60, 60, 90, 5 << 10, s), at(s));
            if reported.is_none() && g.problem().is_some() {
                reported = Some((s, g.lasts_s().unwrap_or_default()));
            }
        }
        // 5 GiB an hour beside the log: what is free then, 20 GiB, lasts four hours.
        let (s, lasts) = reported.unwrap_or_default();
        assert!((5 * 3_600..9 * 3_600).contains(&s) && (3 * 3_600..4 * 3_600).contains(&lasts), "{reported:?}");
    }

    #[test]
    fn old_samples_are_forgotten_and_too_little_room_is_a_problem_at_once() {
        let mut g = DiskGauge::new(GIB, 60);
        g.look(GIB - 1, at(0));
        assert!(g.problem().is_some_and(|p| p.contains("1023 MiB free, 1024 MiB are needed")));
        for s in 1..1_000 {
            g.look(50 * GIB, at(s * 10));
        }
        assert_eq!((g.problem(), g.lasts_s(), g.samples.len()), (None, None, 811));
    }
}
