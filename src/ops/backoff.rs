//! When to try again: exponential with full jitter, from 1 s to 30 s (or as requested), forgotten after 10 s of good data and all but
//! forgotten after 1 s of it.
//!
//! Draws no random number itself: it is handed a source, so tests own it.

use std::time::Duration;

use tokio::time::Instant;

/// Upper bound of the first wait.
const FIRST: Duration = Duration::from_secs(1);
/// Upper bound of every wait, unless a caller sets another.
const MAX: Duration = Duration::from_secs(30);
/// Lower bound of every wait: full jitter may draw 0, and a refused connection must not spin.
const MIN: Duration = Duration::from_millis(50);
/// Data for this long proves that the trouble is over. Less does not: a venue that accepts and cuts at once
/// would otherwise be asked every second for ever.
const GOOD: Duration = Duration::from_secs(10);
/// Data for this long proves that connecting helps: what was lost since is worth a quick try. How many of those there
/// may be is the business of the window of connects.
const FAIR: Duration = Duration::from_secs(1);

/// The wait after `failures` in a row: somewhere, by `random` in 0..1, between nothing and `first`, doubled with each of
/// them after the first, at most `max`.
pub fn jittered(first: Duration, max: Duration, failures: u32, random: f64) -> Duration {
    first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max).mul_f64(random.clamp(0.0, 1.0))
}

/// The wait before a request about one symbol that was refused, `times` before: a minute, then eight, then an hour, for
/// refusals may ban the address.
pub fn after_refusal(times: u32) -> Duration {
    Duration::from_secs(60).saturating_mul(8_u32.saturating_pow(times)).min(Duration::from_secs(3_600))
}

/// The state of one thing that is tried again.
#[derive(Clone, Debug)]
pub struct Backoff {
    failures: u32,
    max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::up_to(MAX)
    }
}

impl Backoff {
    /// With waits up to `max`.
    pub fn up_to(max: Duration) -> Self {
        Self { failures: 0, max }
    }

    /// The wait after one more failure; `random` gives numbers in 0..1.
    pub fn next(&mut self, random: &mut impl FnMut() -> f64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        jittered(FIRST, self.max, self.failures, random()).max(MIN)
    }

    /// Takes how long data flowed; enough of it forgets the failures.
    pub fn good(&mut self, lasted: Duration) {
        if lasted >= GOOD {
            self.failures = 0;
        } else if lasted >= FAIR {
            self.failures = self.failures.min(1);
        }
    }
}

/// Closes that say that we did wrong (1008 and alike): coming back quickly makes bans of them.
#[derive(Clone, Debug, Default)]
pub struct Punished {
    times: Vec<Instant>,
}

/// Closes further apart than this have nothing to do with each other.
const PUNISHED_WITHIN: Duration = Duration::from_secs(600);
/// The wait after the second one; doubled with each further one.
const PUNISHED_FIRST: Duration = Duration::from_secs(30);
/// Upper bound of it.
const PUNISHED_MAX: Duration = Duration::from_secs(900);

impl Punished {
    /// It happened at `now`; the least wait, where the first time was forgiven.
    pub fn once_more(&mut self, now: Instant) -> Option<Duration> {
        self.times.retain(|t| now.saturating_duration_since(*t) < PUNISHED_WITHIN);
        self.times.push(now);
        let again = u32::try_from(self.times.len()).unwrap_or(u32::MAX).checked_sub(2)?;
        Some(PUNISHED_FIRST.saturating_mul(1 << again.min(5)).min(PUNISHED_MAX))
    }
}

/// A random number in 0..1 from the thread's generator.
pub fn random() -> f64 {
    rand::random::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_from_one_second_to_thirty_and_stays_there() {
        let mut b = Backoff::default();
        let waits: Vec<u128> = (0..8).map(|_| b.next(&mut || 1.0).as_millis()).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        let mut patient = Backoff::up_to(Duration::from_secs(60));
        assert_eq!((0..9).map(|_| patient.next(&mut || 1.0)).max(), Some(Duration::from_secs(60)));
    }

    #[test]
    fn the_jitter_is_full_and_never_spins() {
        let mut b = Backoff::default();
        assert_eq!(b.next(&mut || 0.0), MIN);
        assert_eq!(b.next(&mut || 0.25), Duration::from_millis(500));
    }

    #[test]
    fn ten_seconds_of_good_data_forget_the_failures_and_a_moment_of_it_does_not() {
        let mut b = Backoff::default();
        for _ in 0..6 {
            b.next(&mut || 1.0);
        }
        b.good(Duration::from_millis(900));
        assert_eq!(b.next(&mut || 1.0), MAX);
        b.good(Duration::from_secs(9));
        assert_eq!(b.next(&mut || 1.0), Duration::from_secs(2));
        b.good(Duration::from_secs(10));
        assert_eq!(b.next(&mut || 1.0), FIRST);
    }

    #[test]
    fn the_first_punishment_is_forgiven_and_further_ones_wait_longer_and_longer() {
        const S: fn(u64) -> Duration = Duration::from_secs;
        let t = Instant::now();
        let mut p = Punished::default();
        assert_eq!(p.once_more(t), None);
        let waits: Vec<_> = (1..8).map(|n| p.once_more(t + S(n)).map(|w| w.as_secs())).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 900, 900].map(Some));
        assert_eq!(p.once_more(t + S(700)), None);
    }
}
