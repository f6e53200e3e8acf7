//! The only place of this package that reads a clock.
//!
//! Everything else is handed a time, so that tests and replays own it.

use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use wal_format::{ClockPair, ReceiveClock};

/// One for the process: receive times of all venues can be compared. The writers of the logs show it both clocks.
static RECEIVE: LazyLock<Arc<ReceiveClock>> = LazyLock::new(|| Arc::new(ReceiveClock::new(now())));

/// Wall time (ns since 1970-01-01 UTC) and monotonic time (ns since boot), read one after the other.
///
/// A wall clock set before 1970 reads as 0.
pub fn now() -> ClockPair {
    let mono_ns = mono_ns();
    ClockPair { wall_ns: wall_ns(), mono_ns }
}

/// Monotonic time in ns since boot.
#[inline]
pub fn mono_ns() -> u64 {
    let mono = clock_gettime(ClockId::Monotonic);
    timespec_ns(mono.tv_sec, mono.tv_nsec)
}

/// The clock that receive times are read from, for those who append to a log.
pub fn receive() -> &'static Arc<ReceiveClock> {
    &RECEIVE
}

/// Receive time now, ns since 1970-01-01 UTC: the wall clock without its steps; never decreases.
#[inline]
pub fn receive_ns() -> u64 {
    RECEIVE.at(mono_ns())
}

/// Wall time in ns since 1970-01-01 UTC.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// Wall time in ms since 1970-01-01 UTC.
pub fn wall_ms() -> i64 {
    i64::try_from(wall_ns() / 1_000_000).unwrap_or(i64::MAX)
}

fn timespec_ns(sec: i64, nsec: i64) -> u64 {
    u64::try_from(sec).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(u64::try_from(nsec).unwrap_or(0))
}

/// A day as `YYYY-MM-DD`: day 0 is 1970-01-01.
pub fn date(day: u64) -> String {
    let seconds = i64::try_from(day.saturating_mul(86_400)).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| day.to_string(), |t| t.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_never_goes_back_between_two_reads() {
        let a = now();
        let b = now();
        assert!(b.mono_ns >= a.mono_ns);
        assert!(a.wall_ns > 1_600_000_000_000_000_000);
    }
}

/// Receive time, ns since epoch: [`receive_ns`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Now. Taken before anything else is done with what arrived.
    #[inline]
    pub fn now() -> Stamp {
        Stamp(receive_ns())
    }
}
