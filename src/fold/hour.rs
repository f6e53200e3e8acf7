//! Which hour a record belongs to, and where inside it a part ends. Pure.
//!
//! Hour of a record = max(hour of the record before it in the log, hour of its receive time). Hours therefore
//! never decrease in log order, an hour of a log is one contiguous range, and where one hour ends is a function of
//! the log alone, even when the wall clock went back between two runs of the collector.
//!
//! Worked example: the collector stops at 12:00:03, the machine's clock is set back, the next run stamps 11:59:58.
//! The record before is of hour 12, so these records are of hour 12 too, and hour 11 is never opened again.
//!
//! With `[lake] part_minutes` below 60 an hour is published in several parts ([`part_end_ns`]): a part ends in front of
//! the first record that was received at or after the next boundary after its own first record. A clock that goes back
//! inside a part ends nothing; the part goes on until the boundary is reached again.

use lake::Hour;

const HOUR_NS: u64 = 3_600_000_000_000;

/// The hour of the last record, kept so that the usual case costs one comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HourClock {
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
pub(crate) fn end_ns(hour: Hour) -> u64 {
    u64::try_from(hour.0).unwrap_or(0).saturating_add(1).saturating_mul(HOUR_NS)
}

/// First instant after the part of `hour` whose first record was received at `first_ns`, with a boundary every
/// `part_minutes` of the hour; ns since 1970-01-01 UTC.
pub(crate) fn part_end_ns(hour: Hour, first_ns: u64, part_minutes: u64) -> u64 {
    let part_ns = part_minutes.saturating_mul(60_000_000_000).clamp(1, HOUR_NS);
    // A first record from before the hour came after the clock went back.
    let into_hour_ns = first_ns.saturating_sub(hour.start_ns());
    let end = hour.start_ns().saturating_add((into_hour_ns / part_ns + 1).saturating_mul(part_ns));
    end.min(end_ns(hour))
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

    #[test]
    fn a_part_ends_at_the_next_boundary_after_its_first_record_and_never_behind_its_hour() {
        const MINUTE_NS: u64 = 60_000_000_000;
        let hour = Hour(12);
        let ends = |minute: u64, of: u64| {
            (part_end_ns(hour, hour.start_ns() + minute * MINUTE_NS, of) - hour.start_ns()) / MINUTE_NS
        };
        assert_eq!([0, 1, 59].map(|m| ends(m, 60)), [60, 60, 60]);
        assert_eq!([0, 14, 15, 44, 45, 59].map(|m| ends(m, 15)), [15, 15, 30, 45, 60, 60]);
        assert_eq!([0, 1, 59].map(|m| ends(m, 1)), [1, 2, 60]);
        assert_eq!(part_end_ns(hour, hour.start_ns() - 1, 20), hour.start_ns() + 20 * MINUTE_NS, "the clock went back");
        assert_eq!(part_end_ns(hour, hour.end_ns() - 1, 7), hour.end_ns(), "no divisor of an hour");
        assert_eq!(part_end_ns(hour, u64::MAX, 15), hour.end_ns());
    }
}
