//! The only place of this package that reads a clock.
//!
//! Everything else is handed a time, so that tests and replays own it.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use wal_format::ClockPair;

/// Wall time (ns since 1970-01-01 UTC) and monotonic time (ns since boot), read one after the other.
///
/// A wall clock set before 1970 reads as 0.
pub fn now() -> ClockPair {
    let mono = clock_gettime(ClockId::Monotonic);
    ClockPair { wall_ns: wall_ns(), mono_ns: timespec_ns(mono.tv_sec, mono.tv_nsec) }
}

/// Wall time in ns since 1970-01-01 UTC.
pub fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

fn timespec_ns(sec: i64, nsec: i64) -> u64 {
    u64::try_from(sec).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(u64::try_from(nsec).unwrap_or(0))
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
