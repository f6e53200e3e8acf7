//! How long a connection is to live before it is replaced on purpose. Pure but for one random number.

use std::time::Duration;

use super::super::feed::VenueFeed;
use ops::backoff::random;
use ops::clock::Stamp;

/// How long a connection that opens at `stamp` is to live, and what ends it then.
pub(super) fn lifetime(feed: &VenueFeed, line: u32, first: bool, stamp: Stamp) -> (Duration, &'static str) {
    // Up to 5 % earlier, so that connections opened together do not end together; the first connection of the
    // second line half as long, so that the lines of a plan do not either.
    let share = if line > 0 && first { 0.5 } else { 1.0 } * (1.0 - 0.05 * random());
    let whole = Duration::from_secs(feed.config.limits.lifetime_s).mul_f64(share);
    let daily = feed.config.rotate_at_s.map(|at| until_time_of_day(stamp.0, at));
    match daily {
        Some(daily) if daily < whole => (daily, "rotate_at"),
        _ => (whole, "lifetime"),
    }
}

/// From `now_ns` to the next `at_s` seconds after midnight UTC; a whole day when that is right now.
fn until_time_of_day(now_ns: u64, at_s: u32) -> Duration {
    const DAY_NS: u64 = 86_400 * 1_000_000_000;
    let at_ns = u64::from(at_s) * 1_000_000_000;
    let left = (at_ns + DAY_NS - now_ns % DAY_NS) % DAY_NS;
    // A connection that replaced another at that time must not be replaced again a moment later.
    Duration::from_nanos(if left < 60_000_000_000 { left + DAY_NS } else { left })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_day_is_the_next_one_and_not_the_one_that_just_was() {
        const S: u64 = 1_000_000_000;
        let midnight = 20_000 * 86_400 * S;
        let until = |now_s: u64, at: u32| until_time_of_day(midnight + now_s * S, at).as_secs();
        assert_eq!(until(0, 3_600), 3_600);
        assert_eq!(until(3_600, 3_600), 86_400);
        assert_eq!(until(3_590, 3_600), 86_410);
        assert_eq!(until(7_200, 3_600), 86_400 - 3_600);
    }
}
