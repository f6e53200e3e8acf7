//! Candle intervals: where a bar opens and closes. Pure calendar arithmetic in UTC, no clock.

use std::fmt;

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 1_440 * MINUTE_US;
/// 1970-01-01 was a Thursday: weeks open on Mondays, the first one 4 days later.
const FIRST_MONDAY_US: i64 = 4 * DAY_US;

/// Length of a candle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interval {
    /// One minute.
    M1,
    /// Five minutes.
    M5,
    /// Half an hour.
    M30,
    /// One hour.
    H1,
    /// Four hours.
    H4,
    /// A day, from 00:00 UTC.
    D1,
    /// A week, from Monday 00:00 UTC.
    W1,
}

impl Interval {
    /// All of them, shortest first; the position of one is its period index.
    pub const ALL: [Interval; 7] =
        [Interval::M1, Interval::M5, Interval::M30, Interval::H1, Interval::H4, Interval::D1, Interval::W1];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name that venues, configuration and database use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::M1 => "1m",
            Self::M5 => "5m",
            Self::M30 => "30m",
            Self::H1 => "1h",
            Self::H4 => "4h",
            Self::D1 => "1d",
            Self::W1 => "1w",
        }
    }

    /// The interval of a name; case matters, `1M` is a month and none of ours.
    pub fn parse(word: &str) -> Option<Interval> {
        Self::ALL.into_iter().find(|i| i.as_str() == word)
    }

    /// Position in [`Interval::ALL`].
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Length, us.
    #[inline]
    pub const fn len_us(self) -> i64 {
        match self {
            Self::M1 => MINUTE_US,
            Self::M5 => 5 * MINUTE_US,
            Self::M30 => 30 * MINUTE_US,
            Self::H1 => 60 * MINUTE_US,
            Self::H4 => 240 * MINUTE_US,
            Self::D1 => DAY_US,
            Self::W1 => 7 * DAY_US,
        }
    }

    /// Open time of the bar that holds `ts_us`, us since epoch.
    #[inline]
    pub fn open_of(self, ts_us: i64) -> i64 {
        let phase = if self == Self::W1 { FIRST_MONDAY_US } else { 0 };
        let since = ts_us.saturating_sub(phase);
        since - since.rem_euclid(self.len_us()) + phase
    }

    /// Open time of the bar after the one that opens at `open_us`.
    #[inline]
    pub fn next(self, open_us: i64) -> i64 {
        open_us.saturating_add(self.len_us())
    }

    /// Close time as venues write it: the last ms of the bar, as us since epoch.
    pub fn close_of(self, open_us: i64) -> i64 {
        self.next(open_us).saturating_sub(1_000)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn weeks_open_on_monday_and_days_at_midnight() {
        // 2024-08-08 was a Thursday; 2024-08-05 00:00:00 UTC is 1722816000.
        let thursday = 1_723_161_599_999_999;
        assert_eq!(Interval::W1.open_of(thursday), 1_722_816_000_000_000);
        assert_eq!(Interval::W1.open_of(1_722_816_000_000_000), 1_722_816_000_000_000);
        assert_eq!(Interval::W1.open_of(1_722_815_999_999_999), 1_722_211_200_000_000);
        assert_eq!(Interval::D1.open_of(thursday), 1_723_075_200_000_000);
        assert_eq!(Interval::M1.close_of(0), 59_999_000);
    }

    #[test]
    fn every_bar_holds_its_open_time_and_ends_where_the_next_begins_even_before_1970() {
        for interval in Interval::ALL {
            assert_eq!(Interval::parse(interval.as_str()), Some(interval));
            assert_eq!(Interval::ALL[interval.index()], interval);
            for ts in [-1, 0, 1, 345_599_999_999, 345_600_000_000, 1_723_161_599_999_999] {
                let open = interval.open_of(ts);
                assert!(open <= ts && ts < interval.next(open), "{interval} {ts}");
                assert_eq!(interval.open_of(open), open);
                assert_eq!(interval.open_of(interval.next(open) - 1), open);
            }
        }
        assert_eq!(Interval::parse("1M"), None);
    }
}
