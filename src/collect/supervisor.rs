//! All connections of a venue: one task per line of each planned connection, and more when listings come.
//!
//! A new listing goes to a connection with room, else to a new one; its request waits for the same paces as
//! every other. A delisted symbol's streams stay where they are: trades may still come, and they end by themselves.
//! A stream that is no longer wanted is ended where it is; the other streams of its connection notice nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument, error, error_span, info, warn};

use super::feed::VenueFeed;
use super::metrics::Place;
use super::session::{Cause, GapStart, write_gap};
use super::slot::Slot;
use super::strays::{Numbered, Trial, Trials, Verdict};
use super::stream_table::StreamTable;
use model::Channel;
use ops::backoff::{Backoff, random};
use ops::clock::Stamp;
use ops::supervise::Task;
use venue::{ConnectionPlan, Want};

/// What a refresh of the listing, or another choice, changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// To be recorded from now on.
    pub(super) added: Vec<Want>,
    /// Of symbols that do not trade any more.
    pub(super) gone: BTreeSet<Want>,
    /// Chosen no more.
    pub(super) dropped: BTreeSet<Want>,
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        *self == Change::default()
    }
}

struct ConnectionSupervisor<'a> {
    feed: &'a Arc<VenueFeed>,
    slots: JoinSet<()>,
    stream_tables: Vec<Numbered>,
    trials: Trials,
    next: usize,
}

/// How often silent streams are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the connections of `plans`, and what `changes` make of them, until the venue stops. `gap` is an
/// interruption that their first connections end.
pub(super) async fn keep(
    feed: &Arc<VenueFeed>,
    plans: Vec<ConnectionPlan>,
    gap: Option<GapStart>,
    mut changes: mpsc::Receiver<Change>,
) {
    let mut supervisor =
        ConnectionSupervisor { feed, slots: JoinSet::new(), stream_tables: Vec::new(), trials: Trials::new(), next: 0 };
    for plan in plans {
        supervisor.open(plan, gap);
    }
    loop {
        tokio::select! {
            biased;
            Some(done) = supervisor.slots.join_next() => {
                if let Err(err) = done {
                    error!(venue = %feed.id, error = %err, "the task that opens a connection again panicked; so does the venue");
                    feed.stop.trigger();
                }
            }
            Some(change) = changes.recv() => supervisor.apply(&change),
            () = tokio::time::sleep(LOOK_EVERY), if !feed.stop.requested() => supervisor.look_at_strays(),
            () = feed.stop.wait(), if supervisor.slots.is_empty() => return,
        }
    }
}

/// One line of a planned connection, over panics of its task: what was open is lost then, which is a gap like others.
async fn keep_line(feed: Arc<VenueFeed>, place: Place, stream_table: Arc<StreamTable>, mut gap: Option<GapStart>) {
    let (supervisor, of) = (feed.metrics.supervisor(), feed.id.as_str());
    let mut backoff = Backoff::default();
    loop {
        let started = Instant::now();
        let slot = Slot::new(Arc::clone(&feed), place, Arc::clone(&stream_table), gap);
        if supervisor.once(Task::Connection, of, slot.keep()).await.is_ok() {
            return;
        }
        // What was not written down before was so when the task's state went; this one begins after the last frame.
        let last_ns = feed.metrics.last_ns(place);
        let lost = GapStart { cause: Cause::Lost, from_ns: if last_ns > 0 { last_ns } else { Stamp::now().0 } };
        gap = Some(lost);
        stream_table.broken(place.line);
        backoff.good(started.elapsed());
        let wait = backoff.next(&mut random);
        feed.metrics.waits(place, Some(Instant::now() + wait), Some("its task panicked".to_owned()));
        if feed.pause(wait).await {
            // A log that takes no records says so itself.
            let _ = write_gap(&feed, &stream_table, place, 0, lost, &stream_table.streams());
            return;
        }
        supervisor.again(Task::Connection, of);
    }
}

impl ConnectionSupervisor<'_> {
    fn open(&mut self, plan: ConnectionPlan, gap: Option<GapStart>) -> Numbered {
        let number = self.next;
        let stream_table = Arc::new(StreamTable::new(plan, self.feed.config.lines));
        for line in 0..self.feed.config.lines {
            let place = Place { number, line };
            let line_of = keep_line(Arc::clone(self.feed), place, Arc::clone(&stream_table), gap);
            // Of the level error, so that it is there whatever level is shown.
            let span = error_span!("connection", venue = %self.feed.id, slot = place.number, line);
            self.slots.spawn(line_of.instrument(span));
        }
        self.next += 1;
        self.stream_tables.push((number, Arc::clone(&stream_table)));
        (number, stream_table)
    }

    /// Subscribes silent streams on the other path too, and ends them where they turn out not to be served.
    fn look_at_strays(&mut self) {
        for (number, stream) in self.feed.strays.take() {
            self.try_elsewhere(number, stream);
        }
        let feed = self.feed;
        self.trials.retain(|stream, trial| {
            let Some(verdict) = trial.verdict(stream, |number, name| feed.metrics.last_heard_ns(number, name)) else {
                return true;
            };
            let (kept, ended) = match verdict {
                Verdict::Stays => (&trial.home.1, &trial.away.1),
                Verdict::Moves => (&trial.away.1, &trial.home.1),
                Verdict::Over => return false,
            };
            ended.moved(stream);
            let (path, not) = (kept.path(), ended.path());
            if verdict == Verdict::Moves {
                warn!(venue = %feed.id, stream, path, not, "a silent stream is served on another path than is documented");
            }
            feed.log.note(0, "path_settled", json!({ "stream": stream, "path": path, "ended": not }));
            false
        });
    }

    fn try_elsewhere(&mut self, number: usize, stream: String) {
        self.stream_tables.retain(|(_, stream_table)| !stream_table.is_closed());
        let home = self.stream_tables.iter().find(|(n, _)| *n == number).cloned();
        let served = home.and_then(|home| Some((home.1.wants_of(&stream)?, home)));
        let Some((wants, home)) = served.filter(|_| !self.trials.contains_key(&stream)) else { return };
        let Some(path) = self.feed.venue.streams.other_path(home.1.path()) else { return };
        let mut plan = ConnectionPlan { path_and_query: path.to_owned(), streams: Vec::new(), wants: Vec::new() };
        let there = || self.stream_tables.iter().filter(|(_, r)| r.serves(&plan));
        if there().any(|(_, r)| r.wants_of(&stream).is_some()) {
            return;
        }
        let limits = &self.feed.config.limits;
        let joined = there()
            .find(|(_, r)| r.add(vec![(stream.clone(), wants.clone())], limits.streams_per_connection).is_empty())
            .cloned();
        let since_ns = Stamp::now().0;
        info!(venue = %self.feed.id, stream, path, "a silent stream is tried on the other path");
        self.feed.log.note(0, "path_tried", json!({ "stream": stream, "path": path, "silent_on": home.1.path() }));
        let away = joined.unwrap_or_else(|| {
            (plan.streams, plan.wants) = (vec![stream.clone()], vec![wants]);
            self.open(plan, None)
        });
        self.trials.insert(stream, Trial { home, away, since_ns });
    }

    fn apply(&mut self, change: &Change) {
        self.stream_tables.retain(|(_, stream_table)| !stream_table.is_closed());
        for (_, stream_table) in &self.stream_tables {
            stream_table.leave(&change.gone, &change.dropped);
        }
        self.snapshots(change);
        if !change.dropped.is_empty() {
            info!(venue = %self.feed.id, streams = change.dropped.len(), "streams that are wanted no more are being ended");
        }
        if change.added.is_empty() || self.feed.stop.requested() {
            return;
        }
        let limits = &self.feed.config.limits;
        let (mut joined, mut opened) = (0, 0);
        for mut plan in self.feed.venue.streams.plan(&change.added, limits) {
            let mut new: Vec<_> = plan.streams.drain(..).zip(plan.wants.drain(..)).collect();
            let all = new.len();
            for (_, stream_table) in &self.stream_tables {
                new = stream_table.take_back(new);
            }
            for (_, stream_table) in self.stream_tables.iter().filter(|(_, r)| r.serves(&plan)) {
                new = stream_table.add(new, limits.streams_per_connection);
            }
            joined += all - new.len();
            if new.is_empty() {
                continue;
            }
            opened += new.len();
            (plan.streams, plan.wants) = new.into_iter().unzip();
            self.open(plan, None);
        }
        info!(venue = %self.feed.id, joined, opened, "new streams are being subscribed");
    }

    /// Order books of what is new where no connection requests them, and none of what is wanted no more.
    fn snapshots(&self, change: &Change) {
        let snapshots = &self.feed.snapshots;
        let of = |w: &&Want| w.channel == Channel::DepthSnapshot;
        change.dropped.iter().filter(of).for_each(|w| snapshots.forbid(&w.symbol));
        let deltas = change.added.iter().filter(|w| w.channel == Channel::Depth);
        let requested: BTreeSet<&str> = deltas.map(|w| w.symbol.as_str()).collect();
        let books = || change.added.iter().filter(of).map(|w| w.symbol.as_str());
        books().for_each(|symbol| snapshots.allow(symbol));
        snapshots.want(books().filter(|symbol| !requested.contains(symbol)));
    }
}
