//! Which hour a record belongs to. Pure.
//!
//! Hour of a record = max(hour of the record before it in the log, hour of its receive time). Hours therefore
//! never decrease in log order, an hour of a log is one contiguous range, and where one hour ends is a function of
//! the log alone, even when the wall clock went back between two runs of the collector.
//!
//! Worked example: the collector stops at 12:00:03, the machine's clock is set back, the next run stamps 11:59:58.
//! The record before is of hour 12, so these records are of hour 12 too, and hour 11 is never opened again.

use crate::lake::Hour;

const HOUR_NS: u64 = 3_600_000_000_000;

/// The hour of the last record, kept so that the usual case costs one comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HourClock {
    hour: Option<Hour>,
    /// First receive time that is of a later hour, ns.
    ends_ns: u64,
}

impl HourClock {
    /// Continues after a record of `hour`; `None` before the first record of a log.
    pub fn after(hour: Option<Hour>) -> Self {
        Self { hour, ends_ns: hour.map_or(0, end_ns) }
    }

    /// The hour of the last record.
    pub fn hour(&self) -> Option<Hour> {
        self.hour
    }

    /// The hour of the next record, received at `ts_recv_ns`. Does not advance.
    #[inline]
    pub fn hour_of(&self, ts_recv_ns: u64) -> Hour {
        match self.hour {
            Some(hour) if ts_recv_ns < self.ends_ns => hour,
            _ => Hour::of_ns(ts_recv_ns),
        }
    }

    /// Moves on to `hour`, the hour of the record now handled.
    pub fn advance(&mut self, hour: Hour) {
        if self.hour != Some(hour) {
            *self = Self::after(Some(hour));
        }
    }
}

/// First instant after `hour`, ns since 1970-01-01 UTC.
pub fn end_ns(hour: Hour) -> u64 {
    u64::try_from(hour.0).unwrap_or(0).saturating_add(1).saturating_mul(HOUR_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(times_ns: &[u64]) -> Vec<i64> {
        let mut clock = HourClock::default();
        times_ns
            .iter()
            .map(|t| {
                let hour = clock.hour_of(*t);
                clock.advance(hour);
                hour.0
            })
            .collect()
    }

    #[test]
    fn an_hour_begins_with_its_first_nanosecond() {
        assert_eq!(hours(&[0, HOUR_NS - 1, HOUR_NS, HOUR_NS + 1, 2 * HOUR_NS - 1, 2 * HOUR_NS]), [0, 0, 1, 1, 1, 2]);
    }

    #[test]
    fn a_clock_that_goes_back_never_reopens_an_hour() {
        assert_eq!(hours(&[12 * HOUR_NS, 11 * HOUR_NS, 10, 12 * HOUR_NS + 5, 14 * HOUR_NS]), [12, 12, 12, 12, 14]);
    }

    #[test]
    fn continuing_after_a_restart_gives_the_hours_of_one_run() {
        let times = [3 * HOUR_NS, 2 * HOUR_NS, 3 * HOUR_NS + 1, 5 * HOUR_NS, 4 * HOUR_NS];
        let whole = hours(&times);
        for at in 1..times.len() {
            let mut clock = HourClock::after(Some(Hour(whole[at - 1])));
            for (t, expected) in times.iter().zip(&whole).skip(at) {
                let hour = clock.hour_of(*t);
                clock.advance(hour);
                assert_eq!(hour.0, *expected);
            }
        }
    }
}
