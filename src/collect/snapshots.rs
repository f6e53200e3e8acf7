//! Which order books are wanted over REST ([`super::bootstrap`] fetches them): a set of symbol names, so asking twice costs
//! nothing and the memory is bounded by the listing.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A book that cannot be fetched for this long is reported.
const MISSING: Duration = Duration::from_secs(60);

/// The symbols whose snapshot is wanted.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    wanted: Mutex<Wanted>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Wanted {
    /// In the order of asking.
    queue: VecDeque<Waiting>,
    /// Symbols that are recorded no more.
    unwanted: BTreeSet<String>,
}

/// A symbol whose book is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The venue's own spelling.
    pub(super) symbol: String,
    /// Requests that failed.
    pub(super) failures: u32,
    /// Requests that the venue refused.
    pub(super) refusals: u32,
    /// Why the last one gave nothing.
    pub(super) why: String,
    since: Instant,
    due: Instant,
}

impl Waiting {
    /// Of `symbol`, wanted at `now`.
    pub(super) fn new(symbol: &str, now: Instant) -> Self {
        let (symbol, why) = (symbol.to_owned(), String::new());
        Self { symbol, failures: 0, refusals: 0, why, since: now, due: now }
    }
}

impl Wanted {
    fn push(&mut self, waiting: Waiting) {
        if !self.unwanted.contains(&waiting.symbol) && !self.queue.iter().any(|w| w.symbol == waiting.symbol) {
            self.queue.push_back(waiting);
        }
    }

    /// The first that is due, or when one will be.
    fn pop(&mut self, now: Instant) -> Result<Waiting, Option<Instant>> {
        let first = self.queue.iter().position(|w| w.due <= now).and_then(|at| self.queue.remove(at));
        first.ok_or_else(|| self.queue.iter().map(|w| w.due).min())
    }
}

impl Snapshots {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests snapshots of `symbols`; those already waiting stay where they are.
    pub(super) fn want<'a>(&self, symbols: impl Iterator<Item = &'a str>) {
        {
            let (mut wanted, now) = (self.lock(), Instant::now());
            symbols.for_each(|symbol| wanted.push(Waiting::new(symbol, now)));
        }
        self.wake.notify_one();
    }

    /// The venue did not give this one: the others go first, and it is requested when it is `due`.
    pub(super) fn again(&self, waiting: Waiting, due: Instant) {
        self.lock().push(Waiting { due, ..waiting });
    }

    /// No book of this symbol until it is allowed again.
    pub(super) fn forbid(&self, symbol: &str) {
        let mut wanted = self.lock();
        wanted.queue.retain(|w| w.symbol != symbol);
        wanted.unwanted.insert(symbol.to_owned());
    }

    /// Takes [`Snapshots::forbid`] back.
    pub(super) fn allow(&self, symbol: &str) {
        self.lock().unwanted.remove(symbol);
    }

    /// The next one that is due; waits until there is one.
    ///
    /// # Cancel safety
    /// One is taken only when it is returned.
    pub(super) async fn next(&self) -> Waiting {
        loop {
            let first = self.lock().pop(Instant::now());
            // `notify_one` keeps a permit, so a request between the look and the wait is not lost.
            match first {
                Ok(first) => return first,
                Err(None) => self.wake.notified().await,
                Err(Some(due)) => tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = self.wake.notified() => {}
                },
            }
        }
    }

    /// A sentence about the books that could not be fetched for a while at `now`, if there are any.
    pub(super) fn missing(&self, now: Instant) -> Option<String> {
        let wanted = self.lock();
        let is_missing = |w: &&Waiting| !w.why.is_empty() && now.saturating_duration_since(w.since) >= MISSING;
        let mut missing = wanted.queue.iter().filter(is_missing);
        let Waiting { symbol, why, .. } = missing.next()?;
        let others = match missing.count() {
            0 => String::new(),
            n => format!(", and those of {n} more"),
        };
        Some(format!("the order book of {symbol} cannot be fetched and is requested again ({why}){others}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(3_600)
    }

    #[tokio::test]
    async fn a_symbol_wanted_twice_waits_once_and_one_that_failed_waits_for_its_time_while_others_are_had() {
        let s = Snapshots::default();
        s.want(["A", "B", "A"].into_iter());
        let a = s.next().await;
        assert_eq!(a.symbol, "A");
        s.again(Waiting { refusals: 1, ..a.clone() }, Instant::now() + Duration::from_millis(20));
        assert_eq!(s.next().await.symbol, "B");
        let again = s.next().await;
        assert_eq!((again.symbol.as_str(), again.refusals), ("A", 1));
        s.again(again, later());
        s.want(["A", "C"].into_iter());
        assert_eq!(s.next().await.symbol, "C");
        let early = tokio::time::timeout(Duration::from_millis(20), s.next()).await;
        assert!(early.is_err(), "asking twice is no way around the pause");
    }

    #[tokio::test]
    async fn a_book_that_cannot_be_had_for_a_minute_is_reported_until_it_is_or_nobody_wants_it() {
        let s = Snapshots::default();
        s.want(["A", "B", "C"].into_iter());
        assert_eq!(s.missing(later()), None, "they only wait for their turn");
        let a = Waiting { why: "HTTP status 500".to_owned(), ..s.next().await };
        s.again(a, later());
        assert_eq!(s.missing(Instant::now()), None, "not for long yet");
        let missing = s.missing(later()).expect("it is missing");
        assert!(missing.contains("order book of A") && missing.contains("HTTP status 500"), "{missing}");
        s.forbid("A");
        assert_eq!(s.missing(later()), None);
    }

    #[tokio::test]
    async fn a_symbol_that_is_recorded_no_more_gets_no_book_whoever_asks_until_it_is_wanted_again() {
        let s = Snapshots::default();
        s.want(["A", "B"].into_iter());
        let a = s.next().await;
        s.forbid("A");
        s.want(["A"].into_iter());
        s.again(a, Instant::now());
        assert_eq!(s.next().await.symbol, "B");
        s.allow("A");
        s.want(["A"].into_iter());
        assert_eq!(s.next().await.symbol, "A");
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_a_later_wish() {
        let s = std::sync::Arc::new(Snapshots::default());
        let waiter = tokio::spawn({
            let s = s.clone();
            async move { s.next().await.symbol }
        });
        tokio::task::yield_now().await;
        s.want(["C"].into_iter());
        assert_eq!(waiter.await.expect("the waiter does not panic"), "C");
    }
}
