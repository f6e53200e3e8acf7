//! Random closes by plan: how many, over which time or how many frames, announced or not, orderly or not. All drawn from one seed.
//!
//! By frames, a close hits the connection that sends the venue's data frame of the drawn number, right after that frame; by time, one of
//! the connections that are open then. A connection that has been given notice is not hit again, so a plan of N closes ends N connections,
//! unless the simulation ends before; a client that leaves within the notice is reported as such.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::report::lock;
use crate::server::stopped;
use crate::venue::{Order, Outlet, Venue};

/// How a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Close frame 1001.
    Close,
    /// TCP reset after a whole frame.
    Cut,
    /// TCP reset after half a frame.
    HalfFrame,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Ending; 3] = [Ending::Close, Ending::Cut, Ending::HalfFrame];
}

/// One connection that a fault ended, or a plan wanted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseReport {
    /// Connection, as [`crate::ConnReport::id`].
    pub conn: u32,
    /// Its number within the venue.
    pub number: u32,
    /// How.
    pub ending: Ending,
    /// Announced by a `serverShutdown` event.
    pub notice: bool,
    /// The client left after the notice and before the end.
    pub left_first: bool,
    /// Wall time, ns since 1970.
    pub at_ns: u64,
    /// Data frames that this connection had sent by then.
    pub frames_sent: u64,
    /// The last id sent by then, per stream that has ids.
    pub last_ids: BTreeMap<String, i64>,
}

/// What a plan is drawn from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe<'a> {
    pub count: u32,
    pub endings: &'a [Ending],
    pub notice_share: f64,
    pub notice_ms: u64,
    pub seed: u64,
}

/// One planned close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Frames or ms since the plan began.
    pub at: u64,
    pub ending: Ending,
    /// Announce it so many ms before.
    pub notice_ms: Option<u64>,
}

impl Recipe<'_> {
    /// The closes in order; each lies in `1..=over`.
    pub fn draw(&self, over: u64) -> Vec<Planned> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let endings = if self.endings.is_empty() { &Ending::ALL } else { self.endings };
        let mut closes: Vec<Planned> = (0..self.count)
            .map(|_| {
                let at = rng.random_range(1..=over.max(1));
                let ending = endings.get(rng.random_range(0..endings.len())).copied().unwrap_or(Ending::Close);
                let is_announced = rng.random_bool(self.notice_share.clamp(0.0, 1.0));
                Planned { at, ending, notice_ms: is_announced.then_some(self.notice_ms) }
            })
            .collect();
        closes.sort_by_key(|planned| planned.at);
        closes
    }
}

/// The closes by frames that a venue still has before it.
#[derive(Debug)]
pub(crate) struct Closes {
    plan: Mutex<VecDeque<Planned>>,
    /// Frame of the next one, `u64::MAX` when there is none: frames are counted only while there is a plan.
    next: AtomicU64,
    frames: AtomicU64,
}

impl Default for Closes {
    fn default() -> Closes {
        Closes { plan: Mutex::default(), next: AtomicU64::new(u64::MAX), frames: AtomicU64::new(0) }
    }
}

impl Closes {
    /// Adds closes; their frames count from now.
    pub fn add(&self, closes: Vec<Planned>) {
        let mut plan = lock(&self.plan);
        let now = self.frames.load(Ordering::Acquire);
        plan.extend(closes.into_iter().map(|planned| Planned { at: planned.at + now, ..planned }));
        plan.make_contiguous().sort_by_key(|planned| planned.at);
        self.aim(&plan);
    }

    /// Counts frames of one connection; gives the close that is due on it.
    pub fn count(&self, frames: u64) -> Option<Planned> {
        let next = self.next.load(Ordering::Acquire);
        if next == u64::MAX || self.frames.fetch_add(frames, Ordering::AcqRel) + frames < next {
            return None;
        }
        let mut plan = lock(&self.plan);
        // Another connection may have been faster.
        let is_due = plan.front().is_some_and(|planned| planned.at <= self.frames.load(Ordering::Acquire));
        let due = if is_due { plan.pop_front() } else { None };
        self.aim(&plan);
        due
    }

    /// Puts a close back that hit a connection which is ending already.
    pub fn defer(&self, planned: Planned) {
        let mut plan = lock(&self.plan);
        plan.push_front(planned);
        self.aim(&plan);
    }

    fn aim(&self, plan: &VecDeque<Planned>) {
        self.next.store(plan.front().map_or(u64::MAX, |planned| planned.at), Ordering::Release);
    }
}

/// Ends one connection after the other at its time; waits for one to be open.
pub(crate) async fn close_by_time(venue: Arc<Venue>, closes: Vec<Planned>, seed: u64, mut stop: watch::Receiver<bool>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let began = Instant::now();
    for planned in closes {
        let mut at = began + Duration::from_millis(planned.at);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                () = stopped(&mut stop) => return,
            }
            let open: Vec<_> = {
                let outlets = lock(&venue.outlets);
                let fits = |o: &&Outlet| o.subscribed.load(Ordering::Acquire) && !o.doomed.load(Ordering::Acquire);
                outlets.iter().filter(fits).cloned().collect()
            };
            if !open.is_empty()
                && let Some(outlet) = open.get(rng.random_range(0..open.len()))
                && !outlet.doomed.swap(true, Ordering::AcqRel)
                && outlet.orders.send(Order::Close(planned)).is_ok()
            {
                break;
            }
            at = Instant::now() + Duration::from_millis(5);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn recipe(seed: u64) -> Recipe<'static> {
        Recipe { count: 200, endings: &[], notice_share: 0.5, notice_ms: 30, seed }
    }

    #[test]
    fn a_seed_draws_the_same_closes_and_another_seed_others() {
        let closes = recipe(7).draw(1_000);
        assert_eq!(closes, recipe(7).draw(1_000));
        assert_ne!(closes, recipe(8).draw(1_000));
        assert!(closes.windows(2).all(|pair| pair[0].at <= pair[1].at));
        assert!(closes.iter().all(|planned| (1..=1_000).contains(&planned.at)));
        for ending in Ending::ALL {
            for notice_ms in [None, Some(30)] {
                assert!(
                    closes.iter().any(|p| (p.ending, p.notice_ms) == (ending, notice_ms)),
                    "{ending:?} {notice_ms:?}"
                );
            }
        }
    }

    #[test]
    fn each_close_is_given_out_once_at_its_frame() {
        let closes = Closes::default();
        assert_eq!(closes.count(1_000), None, "without a plan nothing is counted");
        let at = |at| Planned { at, ending: Ending::Cut, notice_ms: None };
        closes.add(vec![at(3), at(3), at(9)]);
        assert_eq!([closes.count(2), closes.count(1), closes.count(1)], [None, Some(at(3)), Some(at(3))]);
        let deferred = closes.count(5).unwrap();
        assert_eq!(deferred, at(9));
        assert_eq!(closes.count(50), None);
        closes.defer(deferred);
        assert_eq!(closes.count(1), Some(at(9)));
    }
}
