//! What is to be fetched and what was: between the compactor's threads and the repairer.
//!
//! Nothing here is durable and nothing has to be. After a start the compactor reports every gap of the last two
//! days again (from manifests, states and the log) and everything that the repair log says was done; only when it
//! has read that log to its end ([`RepairQueue::ready`]) does the first gap go out, and what that log has of a gap
//! whose fetching ended in its middle is not fetched again.
//!
//! A gap whose request fails waits for a time of its own after all that are due: it costs no other one its turn.

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

/// Gaps that wait, as many as one manifest lists; further ones are logged, counted as waiting, and left to the next
/// start.
const QUEUE_MAX: usize = 100_000;
/// How a repair ends that got no answer for as long as it is tried. It is not done: the next start tries again.
pub(super) const NO_ANSWER: &str = "no answer for a day";
/// Gaps remembered so that none is requested twice.
const KNOWN_MAX: usize = 200_000;

static FULL: RateLimited = RateLimited::new(Duration::from_secs(60));

/// A gap and what came of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedRepair {
    /// What is missing.
    pub gap: MissingRange,
    /// Turns in which it got no answer, and since when.
    pub(super) failed: Option<(u32, Instant)>,
    /// How far it is, once it was begun.
    pub(super) pages: Option<Pages>,
}

/// When a gap is due, and which of those that are due then.
type QueuePlace = (Instant, u64);

/// Counters for the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Gaps that wait, the one in work and those left to the next start included.
    pub waiting: u64,
    /// Gaps fetched wholly since the start of the process.
    pub repaired: u64,
    /// Gaps given up since the start of the process.
    pub unrepaired: u64,
    /// Rows fetched since the start of the process.
    pub rows: u64,
}

#[derive(Debug, Default)]
struct Inner {
    ready: bool,
    queue: BTreeMap<QueuePlace, WantedRepair>,
    /// What was reported, with its place while it waits.
    known: HashMap<Key, Option<QueuePlace>>,
    /// The order of `known`, oldest first.
    order: VecDeque<Key>,
    in_work: bool,
    places: u64,
    left_out: u64,
    /// What the repair log has of gaps without their end.
    fetched: FetchedIds,
    counts: QueueCounts,
}

/// The repair queue of one venue.
#[derive(Debug, Default)]
pub struct RepairQueue {
    inner: Mutex<Inner>,
    wake: Notify,
}

impl RepairQueue {
    /// A gap is open. One that was reported before is ignored.
    pub fn want(&self, gap: MissingRange) {
        let mut inner = self.lock();
        let key = gap.key();
        if inner.known.contains_key(&key) {
            return;
        }
        if inner.queue.len() >= QUEUE_MAX {
            inner.left_out += 1;
            if let Some(suppressed) = FULL.allow() {
                warn!(
                    symbol = gap.symbol,
                    from = gap.from,
                    to = gap.to,
                    waiting = inner.queue.len(),
                    suppressed,
                    fix = "start the compactor again when they are done",
                    "too many gaps wait to be fetched, this one is left to the next start"
                );
            }
            return;
        }
        inner.put(WantedRepair { gap, failed: None, pages: None }, Instant::now());
        drop(inner);
        self.wake.notify_one();
    }

    /// The repair log says that this was requested.
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

    /// The repair log was read to its end; `fetched` is what it has of a gap whose end is not in it.
    pub fn ready(&self, fetched: FetchedIds) {
        let mut inner = self.lock();
        (inner.ready, inner.fetched) = (true, fetched);
        drop(inner);
        self.wake.notify_one();
    }

    /// The ids of `gap`'s symbol that the repair log had when it was read.
    pub(crate) fn fetched(&self, gap: &MissingRange) -> Vec<(i64, i64)> {
        self.lock().fetched.of(gap.channel, &gap.symbol).to_vec()
    }

    /// The next gap, once [`RepairQueue::ready`] was called.
    ///
    /// # Cancel safety
    /// A gap is taken only when it is returned.
    pub async fn next(&self) -> WantedRepair {
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

    /// This one is not done: it waits again, for `pause` and after all that are due then.
    pub fn again(&self, wanted: WantedRepair, pause: Duration) {
        let mut inner = self.lock();
        inner.in_work = false;
        inner.put(wanted, Instant::now() + pause);
    }

    /// What the log took may be gone: gaps that were begun are fetched from their first id again.
    pub(super) fn start_over(&self) {
        self.lock().queue.values_mut().for_each(|wanted| wanted.pages = None);
    }

    /// The gap in work has its event in the log.
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
    pub fn counts(&self) -> QueueCounts {
        let inner = self.lock();
        QueueCounts { waiting: inner.queue.len() as u64 + u64::from(inner.in_work) + inner.left_out, ..inner.counts }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, wanted: WantedRepair, due: Instant) {
        self.places += 1;
        let place = (due, self.places);
        self.learn(wanted.gap.key(), Some(place));
        self.queue.insert(place, wanted);
    }

    /// The first that is due, or when one will be.
    fn pop(&mut self, now: Instant) -> Result<WantedRepair, Option<Instant>> {
        if !self.ready {
            return Err(None);
        }
        match self.queue.first_entry() {
            Some(first) if first.key().0 <= now => {
                let wanted = first.remove();
                self.in_work = true;
                if let Some(place) = self.known.get_mut(&wanted.gap.key()) {
                    *place = None;
                }
                Ok(wanted)
            }
            first => Err(first.map(|first| first.key().0)),
        }
    }

    /// Notes a gap and its place; returns the place that it had.
    fn learn(&mut self, key: Key, place: Option<QueuePlace>) -> Option<QueuePlace> {
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
