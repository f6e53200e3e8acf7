//! How often a message may be sent: rolling windows with a minimum gap, of one socket or of all that lead to one exchange.
//! What an address may do over all processes is [`crate::budget`]'s.
//!
//! A token bucket lets a burst through that an exchange counts as one second too many; a rolling window does not.
//! A reservation is an instant in the future at which its owner may act; reservations never overtake each other,
//! so waiting is fair. A reservation that is not used (the task was stopped) is lost, which errs on the slow side.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bounds of what [`Window::slow_down`] makes of a gap.
const GAP_SLOW_MIN: Duration = Duration::from_millis(100);
const GAP_SLOW_MAX: Duration = Duration::from_secs(5);

/// At most `limit` in any `per`, and at least `gap` between two.
#[derive(Debug)]
pub struct Window {
    limit: u32,
    per: Duration,
    gap: Duration,
    /// What was spent and when, oldest first; at most `limit` entries, older ones are merged.
    spent: VecDeque<(Instant, u32)>,
    last: Option<Instant>,
    /// Nothing before this.
    held: Option<Instant>,
}

impl Window {
    /// An unused window. A `limit` of 0 counts as 1.
    pub fn new(limit: u32, per: Duration, gap: Duration) -> Self {
        Self { limit: limit.max(1), per, gap, spent: VecDeque::new(), last: None, held: None }
    }

    /// The first instant, not before `now`, at which `cost` may be spent; it is spent with that.
    /// A cost above the limit is spent as the whole limit.
    pub fn reserve(&mut self, now: Instant, cost: u32) -> Instant {
        let at = self.earliest(now, cost);
        self.spent.push_back((at, cost.min(self.limit)));
        self.last = Some(at);
        at
    }

    /// What [`Window::reserve`] would return; nothing is spent.
    pub fn earliest(&mut self, now: Instant, cost: u32) -> Instant {
        let cost = cost.min(self.limit);
        let mut at = self.last.map_or(now, |last| now.max(last + self.gap));
        at = self.held.map_or(at, |held| at.max(held));
        loop {
            // What left the window at `at` is out of it for every later reservation too.
            while self.spent.front().is_some_and(|(t, _)| *t + self.per <= at) {
                self.spent.pop_front();
            }
            let spent: u64 = self.spent.iter().map(|(_, c)| u64::from(*c)).sum();
            match self.spent.front() {
                Some((oldest, _)) if spent + u64::from(cost) > u64::from(self.limit) => at = *oldest + self.per,
                _ => break,
            }
        }
        at
    }

    /// Grants nothing before `until`.
    pub fn hold(&mut self, until: Instant) {
        self.held = Some(self.held.map_or(until, |h| h.max(until)));
    }

    /// As [`Window::hold`], and from now on twice as far between two.
    pub fn slow_down(&mut self, until: Instant) {
        self.gap = (self.gap * 2).clamp(GAP_SLOW_MIN, GAP_SLOW_MAX.max(self.gap));
        self.hold(until);
    }

    /// Counts something that happened at `now` without asking (an automatic pong).
    pub fn note(&mut self, now: Instant, cost: u32) {
        while self.spent.front().is_some_and(|(t, _)| *t + self.per <= now) {
            self.spent.pop_front();
        }
        if self.spent.len() >= self.limit as usize {
            // A peer that floods us with pings must not grow this: the newest entry carries the count.
            if let Some((_, c)) = self.spent.back_mut() {
                *c = c.saturating_add(cost);
            }
            return;
        }
        let at = self.spent.partition_point(|(t, _)| *t <= now);
        self.spent.insert(at, (now, cost));
    }
}

/// A [`Window`] that several tasks share.
#[derive(Debug)]
pub struct Pacer {
    // A std mutex: held for a short computation, never across an await.
    window: Mutex<Window>,
}

impl Pacer {
    /// An unused pacer.
    pub fn new(limit: u32, per: Duration, gap: Duration) -> Self {
        Self { window: Mutex::new(Window::new(limit, per, gap)) }
    }

    /// Reserves `cost` from `now` on; see [`Window::reserve`].
    pub fn reserve(&self, now: Instant, cost: u32) -> Instant {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).reserve(now, cost)
    }

    /// Nothing is granted before `until`; what was granted already stays.
    pub fn hold(&self, until: Instant) {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).hold(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, reserved: Instant) -> u64 {
        u64::try_from((reserved - start).as_millis()).unwrap_or(u64::MAX)
    }

    #[test]
    fn no_rolling_second_ever_holds_more_than_the_limit() {
        let start = Instant::now();
        let mut w = Window::new(5, Duration::from_secs(1), Duration::from_millis(30));
        let times: Vec<u64> = (0..40).map(|_| at(start, w.reserve(start, 1))).collect();
        for (i, t) in times.iter().enumerate() {
            let in_window = times.iter().filter(|u| **u > t.saturating_sub(1_000) && **u <= *t).count();
            assert!(in_window <= 5 || (*t < 1_000 && i < 5), "{in_window} messages in the second before {t} ms");
        }
        assert!(times.windows(2).all(|w| w[1] - w[0] >= 30), "{times:?}");
        assert_eq!(times[5], 1_000);
    }

    #[test]
    fn a_burst_after_a_pause_is_still_one_window() {
        let start = Instant::now();
        let mut w = Window::new(3, Duration::from_secs(1), Duration::ZERO);
        assert_eq!(at(start, w.reserve(start, 1)), 0);
        let later = start + Duration::from_millis(900);
        assert_eq!(at(start, w.reserve(later, 1)), 900);
        assert_eq!(at(start, w.reserve(later, 1)), 900);
        // The first one leaves at 1000, the next two at 1900.
        assert_eq!(at(start, w.reserve(later, 1)), 1_000);
        assert_eq!(at(start, w.reserve(later, 1)), 1_900);
    }

    #[test]
    fn pongs_take_their_share_and_a_flood_of_pings_does_not_grow_the_window() {
        let start = Instant::now();
        let mut w = Window::new(4, Duration::from_secs(1), Duration::ZERO);
        for i in 0..10_000 {
            w.note(start + Duration::from_micros(i), 1);
        }
        assert!(w.spent.len() <= 4);
        assert!(at(start, w.reserve(start + Duration::from_millis(20), 1)) >= 1_000);
    }

    #[test]
    fn a_weight_above_the_limit_waits_for_an_empty_window_instead_of_for_ever() {
        let start = Instant::now();
        let mut w = Window::new(100, Duration::from_secs(60), Duration::ZERO);
        assert_eq!(at(start, w.reserve(start, 250)), 0);
        assert_eq!(at(start, w.reserve(start, 1)), 60_000);
    }

    #[test]
    fn a_held_window_grants_nothing_before_its_time() {
        let start = Instant::now();
        let mut w = Window::new(10, Duration::from_secs(1), Duration::from_millis(100));
        assert_eq!(at(start, w.reserve(start, 1)), 0);
        w.hold(start + Duration::from_secs(5));
        w.hold(start + Duration::from_secs(2));
        assert_eq!(at(start, w.reserve(start, 1)), 5_000);
        assert_eq!(at(start, w.reserve(start, 1)), 5_100);
    }
}
