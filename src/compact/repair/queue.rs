//! What is to be fetched and what was: between the compactor's threads and the repairer.
//!
//! Nothing here is durable and nothing has to be. After a start the compactor tells every hole of the last two
//! days again (from manifests, states and the log) and everything that the repair log says was done; only when it
//! has read that log to its end ([`RepairQueue::ready`]) does the first hole go out, and what that log has of a hole
//! whose fetching ended in its middle is not fetched again.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use fold::dedupe::FetchedIds;
use lake::manifest::{Gap, Repair};
use model::Channel;
use venue::gap::count;

/// Holes that wait; further ones are left to the next start.
const QUEUE_MAX: usize = 10_000;
/// Holes remembered so that none is asked for twice.
const KNOWN_MAX: usize = 200_000;

/// Missing ids of one symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRange {
    /// Trades or aggregates.
    pub channel: Channel,
    /// The venue's own spelling.
    pub symbol: String,
    /// First missing id.
    pub from: i64,
    /// Last missing id.
    pub to: i64,
    /// Time of the last row before it, us.
    pub after_us: Option<i64>,
    /// Time of the first row behind it, us.
    pub before_us: Option<i64>,
}

type Key = (Channel, String, i64, i64);

impl MissingRange {
    /// The hole of a gap, if it is one that can be fetched and is open.
    pub fn of(gap: &Gap) -> Option<Self> {
        let channel = gap.channel.parse().ok().filter(|c| matches!(c, Channel::Trades | Channel::AggTrades))?;
        let open = gap.cause != "trades_skipped" && gap.filled < count(gap.from_id, gap.to_id);
        open.then(|| Self {
            channel,
            symbol: gap.symbol.clone(),
            from: gap.from_id,
            to: gap.to_id,
            after_us: gap.after_us,
            before_us: gap.before_us,
        })
    }

    fn key(&self) -> Key {
        (self.channel, self.symbol.clone(), self.from, self.to)
    }
}

/// Counters for the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Holes that wait, the one in work included.
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
    queue: VecDeque<MissingRange>,
    known: HashSet<Key>,
    /// The order of `known`, oldest first.
    order: VecDeque<Key>,
    in_work: bool,
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
        if inner.queue.len() < QUEUE_MAX && inner.learn(hole.key()) {
            inner.queue.push_back(hole);
            drop(inner);
            self.wake.notify_one();
        }
    }

    /// The repair log says that this was asked for.
    pub(crate) fn was_done(&self, repair: &Repair) {
        let Ok(channel) = repair.channel.parse() else { return };
        let key = (channel, repair.symbol.clone(), repair.from_id, repair.to_id);
        let mut inner = self.lock();
        if !inner.learn(key.clone()) {
            inner.queue.retain(|h| h.key() != key);
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
    pub async fn next(&self) -> MissingRange {
        loop {
            let notified = self.wake.notified();
            {
                let mut inner = self.lock();
                if inner.ready
                    && let Some(hole) = inner.queue.pop_front()
                {
                    inner.in_work = true;
                    return hole;
                }
            }
            notified.await;
        }
    }

    /// `hole` could not be written down: it waits again.
    pub fn again(&self, hole: MissingRange) {
        let mut inner = self.lock();
        inner.in_work = false;
        inner.queue.push_front(hole);
    }

    /// The hole in work has its event in the log.
    pub fn finished(&self, repair: &Repair) {
        let mut inner = self.lock();
        inner.in_work = false;
        inner.fetched = FetchedIds::default();
        inner.counts.rows += repair.rows;
        match repair.why {
            None => inner.counts.repaired += 1,
            Some(_) => inner.counts.unrepaired += 1,
        }
    }

    /// Counters for the status.
    pub fn counts(&self) -> Counts {
        let inner = self.lock();
        Counts { waiting: inner.queue.len() as u64 + u64::from(inner.in_work), ..inner.counts }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// False when it was known.
    fn learn(&mut self, key: Key) -> bool {
        if !self.known.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}
