//! What is to be fetched and what was: between the compactor's threads and the repairer.
//!
//! Nothing here is durable and nothing has to be. After a start the compactor tells every hole of the last two
//! days again (from manifests, states and the log) and everything that the repair log says was done; only when it
//! has read that log to its end ([`RepairQueue::ready`]) does the first hole go out, and what that log has of a hole
//! whose fetching ended in its middle is not fetched again.
//!
//! A hole whose request fails waits for a time of its own behind all that are due: it costs no other one its turn.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::pages::Pages;
use super::range::{Key, MissingRange};
use fold::dedupe::FetchedIds;
use lake::manifest::Repair;
use ops::telemetry::RateLimited;
use tracing::warn;

/// Holes that wait, as many as one manifest lists; further ones are told, counted as waiting, and left to the next start.
const QUEUE_MAX: usize = 100_000;
/// How a repair ends that got no answer for as long as it is asked for. It is not done: the next start asks again.
pub(super) const NO_ANSWER: &str = "no answer for a day";
/// Holes remembered so that none is asked for twice.
const KNOWN_MAX: usize = 200_000;

static FULL: RateLimited = RateLimited::new(Duration::from_secs(60));

/// A hole and what came of asking for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What is missing.
    pub hole: MissingRange,
    /// Turns in which it got no answer, and since when.
    pub(super) failed: Option<(u32, Instant)>,
    /// How far it is, once it was begun.
    pub(super) pages: Option<Pages>,
}

/// When a hole is due, and which of those that are due then.
type Place = (Instant, u64);

/// Counters for the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Holes that wait, the one in work and those left to the next start included.
    pub waiting: u64,
    /// Holes fetched wholly since the start of the process.
    pub repaired: u64,
    /// Holes given up since the start of the process.
    pub unrepaired: u64,
    /// Rows fetched since the start of the process.
    pub rows: u64,
}

#[derive(Debug, Default)]
struct Inner {
    ready: bool,
    queue: BTreeMap<Place, Wanted>,
    /// What was told, with its place while it waits.
    known: HashMap<Key, Option<Place>>,
    /// The order of `known`, oldest first.
    order: VecDeque<Key>,
    in_work: bool,
    places: u64,
    left_out: u64,
    /// What the repair log has of holes without their end.
    fetched: FetchedIds,
    counts: Counts,
}

/// The repair queue of one venue.
#[derive(Debug, Default)]
pub struct RepairQueue {
    inner: Mutex<Inner>,
    wake: Notify,
}

impl RepairQueue {
    /// A hole is open. One that was told before is ignored.
    pub fn want(&self, hole: MissingRange) {
        let mut inner = self.lock();
        let key = hole.key();
        if inner.known.contains_key(&key) {
            return;
        }
        if inner.queue.len() >= QUEUE_MAX {
            inner.left_out += 1;
            if let Some(suppressed) = FULL.allow() {
                warn!(
                    symbol = hole.symbol,
                    from = hole.from,
                    to = hole.to,
                    waiting = inner.queue.len(),
                    suppressed,
                    fix = "start the compactor again when they are done",
                    "too many gaps wait to be fetched, this one is left to the next start"
                );
            }
            return;
        }
        inner.put(Wanted { hole, failed: None, pages: None }, Instant::now());
        drop(inner);
        self.wake.notify_one();
    }

    /// The repair log says that this was asked for.
    pub(crate) fn was_done(&self, repair: &Repair) {
        let Ok(channel) = repair.channel.parse() else { return };
        let key = (channel, repair.symbol.clone(), repair.from_id, repair.to_id);
        if repair.why.as_ref().is_some_and(|why| why.starts_with(NO_ANSWER)) {
            return;
        }
        let mut inner = self.lock();
        if let Some(place) = inner.learn(key, None) {
            inner.queue.remove(&place);
        }
    }

    /// The repair log was read to its end; `fetched` is what it has of a hole whose end is not in it.
    pub fn ready(&self, fetched: FetchedIds) {
        let mut inner = self.lock();
        (inner.ready, inner.fetched) = (true, fetched);
        drop(inner);
        self.wake.notify_one();
    }

    /// The ids of `hole`'s symbol that the repair log had when it was read.
    pub(crate) fn fetched(&self, hole: &MissingRange) -> Vec<(i64, i64)> {
        self.lock().fetched.of(hole.channel, &hole.symbol).to_vec()
    }

    /// The next hole, once [`RepairQueue::ready`] was said.
    ///
    /// # Cancel safety
    /// A hole is taken only when it is returned.
    pub async fn next(&self) -> Wanted {
        loop {
            let notified = self.wake.notified();
            let due = match self.lock().pop(Instant::now()) {
                Ok(wanted) => return wanted,
                Err(due) => due,
            };
            match due {
                None => notified.await,
                Some(due) => tokio::select! {
                    () = notified => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }

    /// This one is not done: it waits again, for `pause` and behind all that are due then.
    pub fn again(&self, wanted: Wanted, pause: Duration) {
        let mut inner = self.lock();
        inner.in_work = false;
        inner.put(wanted, Instant::now() + pause);
    }

    /// What the log took may be gone: holes that were begun are fetched from their first id again.
    pub(super) fn begin_anew(&self) {
        self.lock().queue.values_mut().for_each(|wanted| wanted.pages = None);
    }

    /// The hole in work has its event in the log.
    pub fn finished(&self, repair: &Repair) {
        let mut inner = self.lock();
        inner.in_work = false;
        inner.fetched.end(repair);
        inner.counts.rows += repair.rows;
        match repair.why {
            None => inner.counts.repaired += 1,
            Some(_) => inner.counts.unrepaired += 1,
        }
    }

    /// Counters for the status.
    pub fn counts(&self) -> Counts {
        let inner = self.lock();
        Counts { waiting: inner.queue.len() as u64 + u64::from(inner.in_work) + inner.left_out, ..inner.counts }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, wanted: Wanted, due: Instant) {
        self.places += 1;
        let place = (due, self.places);
        self.learn(wanted.hole.key(), Some(place));
        self.queue.insert(place, wanted);
    }

    /// The first that is due, or when one will be.
    fn pop(&mut self, now: Instant) -> Result<Wanted, Option<Instant>> {
        if !self.ready {
            return Err(None);
        }
        match self.queue.first_entry() {
            Some(first) if first.key().0 <= now => {
                let wanted = first.remove();
                self.in_work = true;
                if let Some(place) = self.known.get_mut(&wanted.hole.key()) {
                    *place = None;
                }
                Ok(wanted)
            }
            first => Err(first.map(|first| first.key().0)),
        }
    }

    /// Notes a hole and its place; returns the place that it had.
    fn learn(&mut self, key: Key, place: Option<Place>) -> Option<Place> {
        if let Some(known) = self.known.get_mut(&key) {
            return std::mem::replace(known, place);
        }
        self.known.insert(key.clone(), place);
        self.order.push_back(key);
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        None
    }
}
