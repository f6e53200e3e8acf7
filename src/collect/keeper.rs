//! All connections of a venue: one task per line of each planned connection, and more when listings come.
//!
//! A new listing goes to a connection with room, else to a new one; its request waits for the same paces as
//! every other. A delisted symbol's streams stay where they are: trades may still come, and they end by themselves.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{Instrument, error, error_span, info};

use super::feed::Feed;
use super::metrics::Place;
use super::plan;
use super::roster::Roster;
use super::session::GapStart;
use super::slot::Slot;
use crate::venue::{Channel, ConnectionPlan};

/// What a refresh of the listing changed.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Symbols that trade now.
    pub(super) added: BTreeSet<String>,
    /// Symbols that do not any more.
    pub(super) removed: BTreeSet<String>,
}

struct Keeper<'a> {
    feed: &'a Arc<Feed>,
    slots: JoinSet<()>,
    rosters: Vec<Arc<Roster>>,
    next: usize,
}

/// Keeps the connections of `plans`, and what `changes` make of them, until the venue stops. `gap` is an
/// interruption that their first connections end.
pub(super) async fn keep(
    feed: &Arc<Feed>,
    plans: Vec<ConnectionPlan>,
    gap: Option<GapStart>,
    mut changes: mpsc::Receiver<Change>,
) {
    let mut keeper = Keeper { feed, slots: JoinSet::new(), rosters: Vec::new(), next: 0 };
    for plan in plans {
        keeper.open(plan, gap);
    }
    loop {
        tokio::select! {
            biased;
            Some(done) = keeper.slots.join_next() => {
                if let Err(err) = done
                    && err.is_panic()
                {
                    // A bug: the venue stops rather than recording a part of what was asked for without a word.
                    error!(venue = %feed.id, "a connection's task panicked; stopping this venue");
                    feed.metrics.fail("a connection's task panicked");
                    feed.stop.trigger();
                }
            }
            Some(change) = changes.recv() => keeper.apply(&change),
            () = feed.stop.wait(), if keeper.slots.is_empty() => return,
        }
    }
}

impl Keeper<'_> {
    fn open(&mut self, plan: ConnectionPlan, gap: Option<GapStart>) {
        let roster = Arc::new(Roster::new(plan, self.feed.config.lines));
        for line in 0..self.feed.config.lines {
            let place = Place { number: self.next, line };
            let slot = Slot::new(Arc::clone(self.feed), place, Arc::clone(&roster), gap);
            // Of the level error, so that it is there whatever level is shown.
            let span = error_span!("connection", venue = %self.feed.id, slot = place.number, line);
            self.slots.spawn(slot.keep().instrument(span));
        }
        self.next += 1;
        self.rosters.push(roster);
    }

    fn apply(&mut self, change: &Change) {
        for roster in &self.rosters {
            roster.leave(&change.removed);
        }
        if change.added.is_empty() || self.feed.stop.requested() {
            return;
        }
        let limits = &self.feed.config.limits;
        let wants = plan::wants(&change.added, &self.feed.config.channels);
        let (mut joined, mut opened) = (0, 0);
        for mut plan in self.feed.venue.plan(&wants, limits) {
            let mut new: Vec<_> = plan.streams.drain(..).zip(plan.wants.drain(..)).collect();
            let all = new.len();
            for roster in &self.rosters {
                new = roster.take_back(new);
            }
            for roster in self.rosters.iter().filter(|r| r.serves(&plan)) {
                new = roster.add(new, limits.streams_per_connection);
            }
            joined += all - new.len();
            if new.is_empty() {
                continue;
            }
            opened += new.len();
            (plan.streams, plan.wants) = new.into_iter().unzip();
            self.open(plan, None);
        }
        self.snapshots_without_depth(&change.added);
        info!(venue = %self.feed.id, symbols = change.added.len(), joined, opened, "new listings are being subscribed");
    }

    fn snapshots_without_depth(&self, symbols: &BTreeSet<String>) {
        let channels = &self.feed.config.channels;
        if channels.contains(&Channel::DepthSnapshot) && !channels.contains(&Channel::Depth) {
            self.feed.snapshots.want(symbols.iter().map(String::as_str));
        }
    }
}
