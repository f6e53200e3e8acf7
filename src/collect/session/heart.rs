//! The client's own heartbeat: when the next ping is due, and whether the last one was answered in time.
//!
//! Pure: every method gets the time. The time allowed for a pong runs from the ping that was sent. Measured
//! from the last pong it would always be over: KuCoin pings every 18 s and allows 10 s.

use std::time::Duration;

use tokio::time::Instant;

/// The heartbeat of one connection.
#[derive(Debug)]
pub(super) struct Heart {
    every: Duration,
    timeout: Duration,
    due: Instant,
    unanswered: Option<Instant>,
}

impl Heart {
    /// The first ping is due `every` after `now`.
    pub(super) fn new(now: Instant, every: Duration, timeout: Duration) -> Self {
        Self { every, timeout, due: now + every, unanswered: None }
    }

    /// When something is to be done next.
    pub(super) fn wake(&self) -> Instant {
        self.unanswered.map_or(self.due, |sent| self.due.min(sent + self.timeout))
    }

    /// True when a ping is to be sent.
    pub(super) fn due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// The message window has no room before `at`.
    pub(super) fn postpone(&mut self, at: Instant) {
        self.due = at;
    }

    /// A ping was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.due = now + self.every;
        self.unanswered.get_or_insert(now);
    }

    /// A pong came.
    pub(super) fn answered(&mut self) {
        self.unanswered = None;
    }

    /// For how long a ping has been unanswered, when that is too long.
    pub(super) fn dead(&self, now: Instant) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.unanswered?);
        (waited >= self.timeout).then_some(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_for_a_pong_runs_from_the_ping_and_not_from_the_last_pong() {
        const S: fn(u64) -> Duration = Duration::from_secs;
        let t = Instant::now();
        let mut h = Heart::new(t, S(18), S(10));
        assert!(!h.due(t + S(17)) && h.due(t + S(18)));
        h.sent(t + S(18));
        h.answered();
        // 18 s after the last pong, and nothing is wrong.
        assert_eq!(h.dead(t + S(36)), None);
        h.sent(t + S(36));
        assert_eq!(h.wake(), t + S(46));
        assert_eq!(h.dead(t + S(45)), None);
        assert_eq!(h.dead(t + S(46)), Some(S(10)));
    }

    #[test]
    fn a_second_ping_does_not_forgive_the_first_one() {
        const S: fn(u64) -> Duration = Duration::from_secs;
        let t = Instant::now();
        let mut h = Heart::new(t, S(5), S(12));
        h.sent(t + S(5));
        h.sent(t + S(10));
        assert_eq!(h.dead(t + S(17)), Some(S(12)));
    }
}
