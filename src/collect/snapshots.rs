//! Which order books are wanted over REST ([`super::bootstrap`] fetches them): a set of symbol names, so asking twice costs
//! nothing and the memory is bounded by the listing.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// The symbols whose snapshot is wanted.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    wanted: Mutex<Wanted>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Wanted {
    /// Symbols with how often the venue refused.
    queue: VecDeque<(String, u32)>,
    /// Symbols that are recorded no more, whoever asks.
    unwanted: BTreeSet<String>,
}

impl Wanted {
    fn push(&mut self, symbol: &str, refusals: u32) {
        if !self.unwanted.contains(symbol) && !self.queue.iter().any(|(s, _)| s == symbol) {
            self.queue.push_back((symbol.to_owned(), refusals));
        }
    }
}

impl Snapshots {
    /// Asks for snapshots of `symbols`; those already waiting stay where they are.
    pub(super) fn want<'a>(&self, symbols: impl Iterator<Item = &'a str>) {
        {
            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            symbols.for_each(|symbol| wanted.push(symbol, 0));
        }
        self.wake.notify_one();
    }

    /// The venue could not give this one: it goes to the end.
    pub(super) fn again(&self, symbol: String, refusals: u32) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).push(&symbol, refusals);
    }

    /// No book of this symbol until it is allowed again.
    pub(super) fn forbid(&self, symbol: &str) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.queue.retain(|(s, _)| s != symbol);
        wanted.unwanted.insert(symbol.to_owned());
    }

    /// Takes [`Snapshots::forbid`] back.
    pub(super) fn allow(&self, symbol: &str) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).unwanted.remove(symbol);
    }

    /// The next one, with how often the venue refused it; waits until there is one.
    pub(super) async fn next(&self) -> (String, u32) {
        loop {
            let first = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).queue.pop_front();
            match first {
                Some(first) => return first,
                // `notify_one` keeps a permit, so a request between the look and the wait is not lost.
                None => self.wake.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_symbol_wanted_twice_waits_once_and_a_failed_one_goes_to_the_end() {
        let s = Snapshots::default();
        s.want(["A", "B", "A"].into_iter());
        assert_eq!(s.next().await.0, "A");
        s.again("A".to_owned(), 1);
        assert_eq!(s.next().await.0, "B");
        assert_eq!(s.next().await, ("A".to_owned(), 1));
    }

    #[tokio::test]
    async fn a_symbol_that_is_recorded_no_more_gets_no_book_whoever_asks_until_it_is_wanted_again() {
        let s = Snapshots::default();
        s.want(["A", "B"].into_iter());
        s.forbid("A");
        s.want(["A"].into_iter());
        s.again("A".to_owned(), 1);
        assert_eq!(s.next().await.0, "B");
        s.allow("A");
        s.want(["A"].into_iter());
        assert_eq!(s.next().await, ("A".to_owned(), 0));
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_a_later_wish() {
        let s = std::sync::Arc::new(Snapshots::default());
        let waiter = tokio::spawn({
            let s = s.clone();
            async move { s.next().await.0 }
        });
        tokio::task::yield_now().await;
        s.want(["C"].into_iter());
        assert_eq!(waiter.await.expect("the waiter does not panic"), "C");
    }
}
