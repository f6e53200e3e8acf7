//! How tight memory is, as one of three levels, and when the level changes. Pure: gets the time, knows no file.
//!
//! A level is taken at once and left late: going up needs one reading at the threshold, going down needs every
//! reading of [`HOLD_NS`] to lie [`MARGIN`] below it, and goes one step at a time. So readings that swing around a
//! threshold give one change, and no sequence whatever gives more than two changes per level in any `HOLD_NS`.

use serde::{Deserialize, Serialize};

/// How tight memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Enough.
    #[default]
    Normal,
    /// From `memory.elevated_percent` on.
    Elevated,
    /// From `memory.critical_percent` on.
    Critical,
}

impl Level {
    /// All, from the easiest on.
    pub const ALL: [Level; 3] = [Level::Normal, Level::Elevated, Level::Critical];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Normal => "normal",
            Level::Elevated => "elevated",
            Level::Critical => "critical",
        }
    }

    fn below(self) -> Level {
        match self {
            Level::Normal | Level::Elevated => Level::Normal,
            Level::Critical => Level::Elevated,
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A level is left only when the reading is this far below its threshold, percentage points.
pub(crate) const MARGIN: f64 = 5.0;
/// And has been for this long, ns.
pub(crate) const HOLD_NS: u64 = 30_000_000_000;
/// All tasks of the cgroup stood still for memory this share of the last 10 s: elevated, percent.
pub(crate) const STALL_ELEVATED: f64 = 10.0;
/// The same for critical, percent.
pub(crate) const STALL_CRITICAL: f64 = 40.0;

/// What is compared with the thresholds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Memory that cannot be given back, as a percentage of the limit that is nearest.
    pub used_percent: f64,
    /// PSI `full avg10`: share of the last 10 s in which every task waited for memory, percent.
    pub stall_percent: f64,
}

/// Where the levels begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Percent of the limit.
    pub elevated: f64,
    /// Percent of the limit.
    pub critical: f64,
}

impl Thresholds {
    /// The level of one reading when every threshold lies `margin` points lower. Stalls have a margin of half.
    fn level(&self, r: Reading, margin: f64) -> Level {
        let stall = if margin > 0.0 { 0.5 } else { 1.0 };
        if r.used_percent >= self.critical - margin || r.stall_percent >= STALL_CRITICAL * stall {
            Level::Critical
        } else if r.used_percent >= self.elevated - margin || r.stall_percent >= STALL_ELEVATED * stall {
            Level::Elevated
        } else {
            Level::Normal
        }
    }
}

/// Readings to levels.
#[derive(Clone, Debug)]
pub(crate) struct Gauge {
    thresholds: Thresholds,
    level: Level,
    /// Since when every reading would allow the level below, ns.
    easing_since: Option<u64>,
}

impl Gauge {
    /// Normal.
    pub fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, level: Level::Normal, easing_since: None }
    }

    /// The level now.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The level after `reading`, taken at `now_ns` (monotonic).
    pub fn read(&mut self, reading: Reading, now_ns: u64) -> Level {
        let up = self.thresholds.level(reading, 0.0);
        let down = self.thresholds.level(reading, MARGIN);
        if up > self.level {
            (self.level, self.easing_since) = (up, None);
        } else if down >= self.level {
            self.easing_since = None;
        } else {
            let since = *self.easing_since.get_or_insert(now_ns);
            if now_ns.saturating_sub(since) >= HOLD_NS {
                (self.level, self.easing_since) = (self.level.below(), Some(now_ns));
            }
        }
        self.level
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    fn gauge() -> Gauge {
        Gauge::new(Thresholds { elevated: 75.0, critical: 85.0 })
    }

    fn used(percent: f64) -> Reading {
        Reading { used_percent: percent, stall_percent: 0.0 }
    }

    #[test]
    fn a_level_is_taken_at_once_and_left_after_thirty_quiet_seconds_one_step_at_a_time() {
        let mut g = gauge();
        assert_eq!(g.read(used(74.9), 0), Level::Normal);
        assert_eq!(g.read(used(75.0), S), Level::Elevated);
        assert_eq!(g.read(used(90.0), 2 * S), Level::Critical);
        assert_eq!(g.read(used(10.0), 3 * S), Level::Critical);
        assert_eq!(g.read(used(10.0), 32 * S), Level::Critical);
        assert_eq!(g.read(used(10.0), 33 * S), Level::Elevated);
        assert_eq!(g.read(used(10.0), 62 * S), Level::Elevated);
        assert_eq!(g.read(used(10.0), 63 * S), Level::Normal);
    }

    #[test]
    fn readings_that_swing_around_a_threshold_give_one_change() {
        let mut g = gauge();
        let mut changes = 0;
        for s in 0..3_600 {
            let before = g.level();
            let percent = if s % 2 == 0 { 75.5 } else { 70.5 };
            changes += u32::from(g.read(used(percent), s * S) != before);
        }
        assert_eq!(changes, 1);
    }

    #[test]
    fn one_reading_inside_the_margin_starts_the_wait_again() {
        let mut g = gauge();
        g.read(used(80.0), 0);
        for s in 1..29 {
            g.read(used(50.0), s * S);
        }
        g.read(used(71.0), 29 * S);
        assert_eq!(g.read(used(50.0), 40 * S), Level::Elevated);
        assert_eq!(g.read(used(50.0), 70 * S), Level::Normal);
    }

    #[test]
    fn a_process_that_stands_still_for_memory_is_under_pressure_however_little_it_holds() {
        let mut g = gauge();
        let stalled = |percent| Reading { used_percent: 20.0, stall_percent: percent };
        assert_eq!(g.read(stalled(9.0), 0), Level::Normal);
        assert_eq!(g.read(stalled(12.0), S), Level::Elevated);
        assert_eq!(g.read(stalled(45.0), 2 * S), Level::Critical);
    }

    proptest! {
        #[test]
        fn no_sequence_of_readings_makes_a_level_flap(readings in proptest::collection::vec((0.0_f64..120.0, 0.0_f64..60.0), 1..600)) {
            let mut g = gauge();
            let mut left_at: Option<u64> = None;
            for (s, (used_percent, stall_percent)) in (0_u64..).zip(readings) {
                let before = g.level();
                let after = g.read(Reading { used_percent, stall_percent }, s * S);
                if after < before {
                    // Two steps down, or an up and a down again, lie a whole hold apart.
                    prop_assert!(left_at.is_none_or(|t| s * S - t >= HOLD_NS));
                    prop_assert_eq!(after, before.below());
                    left_at = Some(s * S);
                }
            }
        }
    }
}
