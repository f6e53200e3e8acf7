//! How much: token buckets for bytes and requests that all workers share, and a pause that the server requested.
//!
//! A bucket holds one second's worth; a request for more waits for it to fill, in order.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The longest pause that is kept.
const PAUSE_MAX: Duration = Duration::from_secs(86_400);

/// See the module.
pub struct Rate {
    bytes: Option<Mutex<Bucket>>,
    requests: Mutex<Bucket>,
    /// Nothing is asked before this.
    held: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Bucket {
    per_s: f64,
    /// What is there; below 0 when it is promised to waiting requests.
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_s: u64, now: Instant) -> Self {
        Self { per_s: per_s as f64, level: per_s as f64, at: now }
    }

    /// When `n` may be used.
    fn take(&mut self, n: f64, now: Instant) -> Instant {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + since * self.per_s).min(self.per_s);
        self.at = now;
        self.level -= n;
        if self.level >= 0.0 { now } else { now + Duration::from_secs_f64(-self.level / self.per_s) }
    }
}

impl Rate {
    /// `bytes_per_s` 0 = no limit.
    pub fn new(bytes_per_s: u64, requests_per_s: u64) -> Self {
        let now = Instant::now();
        Self {
            bytes: (bytes_per_s > 0).then(|| Mutex::new(Bucket::new(bytes_per_s, now))),
            requests: Mutex::new(Bucket::new(requests_per_s.max(1), now)),
            held: Mutex::new(None),
        }
    }

    /// Waits until one more request may be sent.
    ///
    /// # Cancel safety
    /// Safe; the request that was not sent counts.
    pub async fn request(&self) {
        loop {
            // Before anything is taken: or all who waited would leave in the instant when the pause ends.
            while let Some(until) = self.held_until() {
                sleep_until(until).await;
            }
            let at = self.requests.lock().unwrap_or_else(PoisonError::into_inner).take(1.0, Instant::now());
            sleep_until(at).await;
            if self.held_until().is_none() {
                return;
            }
        }
    }

    fn held_until(&self) -> Option<Instant> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).filter(|until| *until > Instant::now())
    }

    /// Waits until `n` more bytes may be taken.
    ///
    /// # Cancel safety
    /// As [`Rate::request`].
    pub async fn bytes(&self, n: usize) {
        let Some(bucket) = &self.bytes else { return };
        let at = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(n as f64, Instant::now());
        sleep_until(at).await;
    }

    /// No request before `pause` is over: the server said so. Longer than a day is not believed.
    pub fn hold(&self, pause: Duration) {
        let until = Instant::now() + pause.min(PAUSE_MAX);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(held.map_or(until, |h| h.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_rate_over_time_and_one_second_at_once() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, start);
        assert_eq!(bucket.take(100.0, start), start);
        assert_eq!(bucket.take(50.0, start), start + Duration::from_millis(500));
        assert_eq!(bucket.take(50.0, start), start + Duration::from_secs(1), "after the one before");
        let later = start + Duration::from_secs(60);
        assert_eq!(bucket.take(100.0, later), later, "no more than one second is saved");
        assert_eq!(bucket.take(10.0, later), later + Duration::from_millis(100));
    }

    #[tokio::test]
    async fn whoever_waits_for_the_end_of_a_pause_has_taken_nothing_from_the_bucket() {
        let rate = Rate::new(0, 5);
        rate.hold(Duration::from_secs(3_600));
        let waits = tokio::time::timeout(Duration::from_millis(20), rate.request());
        assert!(waits.await.is_err());
        assert_eq!(rate.requests.lock().unwrap_or_else(PoisonError::into_inner).level, 5.0);
    }

    #[tokio::test]
    async fn a_pause_of_the_server_holds_every_request() {
        let rate = Rate::new(0, 1_000);
        let start = Instant::now();
        rate.hold(Duration::from_millis(70));
        rate.hold(Duration::from_millis(3));
        rate.request().await;
        assert!(start.elapsed() >= Duration::from_millis(70));
        // Without a limit no wait: this would take years.
        rate.bytes(usize::MAX).await;
    }
}
