//! One planned connection for the life of the collector: opened at the host's pace, opened again with back-off,
//! replaced without an uncovered instant when its time is up.
//!
//! ```text
//!            +-------- back-off <------- lost, stale, closed ------+
//!            v                                                    |
//!  open --> session --rotate--> open beside --> both receive --Fit--> the next one is the session
//!            |  ^                  |    ^             |  \--OldEnded--> so it is, with a gap unless it delivers
//!            |  |                  |    +- back-off --+ Unfit
//!            |  |                  +--Instead: the old one ended first, a gap--> the next one is the session
//!            |  +-- several times a day, without an uncovered instant
//!            +--stop, log, no stream left--> end
//! ```
//! Replacing: the next connection is opened and subscribed while the present one goes on receiving; only when
//! every subscription is answered and the next one delivers what the present one does, is the present one closed and
//! drained. Frames of that overlap are in the log twice, on two connections; readers tell them apart by their ids.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use super::feed::VenueFeed;
use super::handshake::{self, HandshakeError};
use super::metrics::Place;
use super::session::{
    Cause, Fit, GapStart, Interruption, Start, Step, UNANSWERED, VenueSession, end_gaps, is_quiet, unsubscribed,
};
use super::stream_table::StreamTable;
use super::watchdog::Streams;
use net::dial::Route;
use ops::backoff::{Backoff, Punished, random};
use ops::clock::Stamp;
use ops::status::ConnState;
use ops::supervise::Task;
use ops::telemetry::RateLimited;

/// Wait after an error that trying again cannot help; kept short of giving up, because a person may repair it.
const HOPELESS: Duration = Duration::from_secs(60);

/// How often a session that is to take over is looked at.
const FIT_EVERY: Duration = Duration::from_millis(250);

static REFUSED: RateLimited = RateLimited::new(Duration::from_secs(10));
static LOST: RateLimited = RateLimited::new(Duration::from_secs(10));

/// How opening a session beside another one ended. Boxed: a session is large, and this happens once a day.
enum Opening {
    /// Both receive.
    Beside(Box<VenueSession>),
    /// The old one ended meanwhile, for this reason, and is closed.
    Instead(Box<VenueSession>, Cause),
    /// The venue stops, the log does, or the old one ended and no other can be had.
    Over(Cause),
}

/// How the time of two sessions beside each other ended.
enum Trial {
    /// The next one delivers what the old one does.
    Fit,
    /// The next one ended, or will not do.
    Unfit(Cause),
    /// The old one did not last until the next one was ready.
    OldEnded(Cause),
    /// The venue stops, or the log does.
    Over(Cause),
}

/// One line of a planned connection.
pub(super) struct Slot {
    feed: Arc<VenueFeed>,
    place: Place,
    stream_table: Arc<StreamTable>,
    backoff: Backoff,
    punished: Punished,
    gap: Option<Interruption>,
    /// Replaced sessions that are being closed and drained.
    closing: JoinSet<()>,
    /// The address where the last session failed.
    failed: Option<IpAddr>,
    /// Which of the servers of a token is tried first: another one whenever one was no good.
    server: usize,
    /// No session yet.
    first: bool,
}

impl Slot {
    /// The line `place` of `stream_table`; `gap` is an interruption that its first session ends.
    pub(super) fn new(
        feed: Arc<VenueFeed>,
        place: Place,
        stream_table: Arc<StreamTable>,
        gap: Option<GapStart>,
    ) -> Self {
        if let Some((plan, _)) = stream_table.plan() {
            let named = plan.streams.iter().zip(&plan.wants).map(|(name, wants)| (name.as_str(), is_quiet(wants)));
            let streams = Arc::new(Streams::new(named, |s| feed.venue.streams.stream_key(s)));
            feed.metrics.slot(place, &streams, &stream_table);
        }
        Self {
            feed,
            place,
            stream_table,
            backoff: Backoff::default(),
            punished: Punished::default(),
            gap: gap.map(Interruption::from),
            closing: JoinSet::new(),
            failed: None,
            server: place.line as usize,
            first: true,
        }
    }

    /// Keeps the connection until the venue is to stop, or until no stream is left on it.
    pub(super) async fn keep(mut self) {
        let mut ended = false;
        loop {
            let mut backoff = std::mem::take(&mut self.backoff);
            let opened = self.open(&mut backoff, &AtomicBool::new(false)).await;
            self.backoff = backoff;
            let Some(mut session) = opened else { break };
            session.gap = self.gap.take();
            let cause = self.run(&mut session).await;
            let punished = self.end(session, cause).await;
            if matches!(cause, Cause::Shutdown | Cause::Log) {
                break;
            }
            if self.stream_table.plan().is_none() {
                ended = true;
                break;
            }
            let wait = self.backoff.next(&mut random).max(punished.unwrap_or_default());
            self.feed.metrics.waits(self.place, Some(Instant::now() + wait), None);
            if self.feed.pause(wait).await {
                break;
            }
        }
        if ended {
            self.gap = None;
        }
        // Stopped in the middle of an interruption: it is over at least for this run of the log.
        self.end_gaps();
        while self.closing.join_next().await.is_some() {}
        if ended {
            unsubscribed(&self.feed, 0, self.stream_table.ended(self.place.line, u64::MAX));
        }
        if self.feed.stop.requested() {
            self.feed.metrics.state(self.place, ConnState::Stopped);
        } else {
            info!(venue = %self.feed.id, slot = self.place.number, "no stream is left on this connection");
            self.feed.metrics.gone(self.place);
        }
    }

    /// Runs `session` and its replacements; returns why the last one ended.
    async fn run(&mut self, session: &mut VenueSession) -> Cause {
        loop {
            match session.run().await {
                Step::Live => self.subscribed(session),
                Step::Stop => return Cause::Shutdown,
                Step::Ended(cause) => return cause,
                Step::Rotate(reason) => {
                    if let Some(cause) = self.replace(session, reason).await {
                        return cause;
                    }
                }
            }
        }
    }

    fn subscribed(&self, session: &VenueSession) {
        match session.refused() {
            0 => info!(venue = %self.feed.id, conn = session.conn(), "all streams subscribed"),
            refused => {
                warn!(venue = %self.feed.id, conn = session.conn(), refused, "subscribed but for what the venue refuses")
            }
        }
    }

    /// Opens the next session beside `session` and swaps them. `Some` = `session` (the old one, or the next one
    /// that took over after the old one ended) is over.
    async fn replace(&mut self, session: &mut VenueSession, reason: &'static str) -> Option<Cause> {
        if self.stream_table.plan().is_none() {
            info!(venue = %self.feed.id, conn = session.conn(), "all symbols of this connection left; closing it");
            return Some(Cause::Rotate);
        }
        // Both lines are never replaced at the same time: one of them always is older than the trouble.
        let stream_table = Arc::clone(&self.stream_table);
        let _turn = match meanwhile(session, stream_table.turn.acquire()).await {
            Ok(turn) => turn,
            Err(cause) => return Some(cause),
        };
        info!(venue = %self.feed.id, conn = session.conn(), line = self.place.line, reason, "replacing the connection");
        let detail = json!({ "reason": reason, "conn": session.conn(), "line": self.place.line });
        self.feed.log.note(session.conn(), "rotate", detail);
        self.feed.metrics.rotations.add(1);
        let mut backoff = Backoff::default();
        loop {
            let mut next = match self.open_beside(session, &mut backoff).await {
                Opening::Beside(next) => next,
                Opening::Instead(mut next, cause) => {
                    next.inherit(session);
                    self.failed = session.peer();
                    self.count_lost(session, cause);
                    *session = *next;
                    return None;
                }
                Opening::Over(cause) => return Some(cause),
            };
            match self.prove(session, &mut next).await {
                Trial::Fit => {
                    self.failed = None;
                    // What the old one was never answered.
                    next.gap = session.gap.take();
                    next.take_over(session);
                    self.close(std::mem::replace(session, *next), Cause::Rotate);
                    return None;
                }
                Trial::OldEnded(cause) => {
                    // That is an interruption, unless the next one delivers already.
                    next.gap = if next.covers(session) {
                        session.gap.take()
                    } else {
                        self.stream_table.broken(self.place.line);
                        Some(session.gap_from(cause))
                    };
                    next.take_over(session);
                    self.count_lost(session, cause);
                    self.close(std::mem::replace(session, *next), cause);
                    return None;
                }
                Trial::Over(cause) => {
                    next.finish(cause).await;
                    return Some(cause);
                }
                Trial::Unfit(cause) => {
                    // The old one still receives, so nothing is missing; only the replacement is tried again.
                    let wait = backoff.next(&mut random);
                    self.lost(&next, cause, wait);
                    (self.failed, self.server) = (next.peer(), self.server + 1);
                    self.close(*next, cause);
                    if let Err(cause) = meanwhile(session, tokio::time::sleep(wait)).await {
                        return Some(cause);
                    }
                }
            }
        }
    }

    /// Opens the next session while `session` goes on receiving.
    async fn open_beside(&mut self, session: &mut VenueSession, backoff: &mut Backoff) -> Opening {
        let (feed, stream_table, place) = (Arc::clone(&self.feed), Arc::clone(&self.stream_table), self.place);
        let beside = AtomicBool::new(true);
        let mut opening = pin!(self.open(backoff, &beside));
        let (next, ended) = loop {
            tokio::select! {
                next = opening.as_mut() => break (next, None),
                step = session.run() => match step {
                    Step::Live | Step::Rotate(_) => {}
                    Step::Stop => return Opening::Over(Cause::Shutdown),
                    Step::Ended(Cause::Log) => return Opening::Over(Cause::Log),
                    Step::Ended(cause) => {
                        // What was begun goes on: starting over would only take longer.
                        beside.store(false, Ordering::Relaxed);
                        stream_table.broken(place.line);
                        feed.metrics.waits(place, None, Some(session.why()));
                        let (next, ()) = tokio::join!(opening.as_mut(), session.finish(cause));
                        break (next, Some(cause));
                    }
                },
            }
        };
        match (next.map(Box::new), ended) {
            (Some(next), None) => Opening::Beside(next),
            (Some(mut next), Some(cause)) => {
                next.gap = Some(session.gap_from(cause));
                Opening::Instead(next, cause)
            }
            (None, Some(cause)) => Opening::Over(cause),
            (None, None) if feed.stop.requested() => Opening::Over(Cause::Shutdown),
            (None, None) => Opening::Over(Cause::Log),
        }
    }

    /// Lets `next` run beside `session` until it may take its place, or one of them ends.
    async fn prove(&self, session: &mut VenueSession, next: &mut VenueSession) -> Trial {
        loop {
            match next.may_replace(session, Instant::now()) {
                Fit::Yes => return Trial::Fit,
                Fit::NotYet => {}
                Fit::Never(why) => return Trial::Unfit(next.is_unfit(why)),
            }
            tokio::select! {
                () = tokio::time::sleep(FIT_EVERY) => {}
                step = next.run() => match step {
                    Step::Live => self.subscribed(next),
                    Step::Rotate(UNANSWERED) => {
                        return Trial::Unfit(next.is_unfit("the venue does not answer requests on it".to_owned()));
                    }
                    // It will say so again when it counts.
                    Step::Rotate(_) => {}
                    Step::Stop => return Trial::Over(Cause::Shutdown),
                    Step::Ended(Cause::Log) => return Trial::Over(Cause::Log),
                    Step::Ended(cause) => return Trial::Unfit(cause),
                },
                step = session.run() => match step {
                    Step::Live | Step::Rotate(_) => {}
                    Step::Stop => return Trial::Over(Cause::Shutdown),
                    Step::Ended(cause) => return Trial::OldEnded(cause),
                },
            }
        }
    }

    /// No session will end these interruptions.
    fn end_gaps(&mut self) {
        let Some(mut gap) = self.gap.take() else { return };
        let (streams, none) = (self.stream_table.streams(), BTreeSet::new());
        // A log that takes no records says so itself.
        let _ = end_gaps(&self.feed, &self.stream_table, self.place, 0, &mut gap, &streams, &none);
    }

    /// Closes a replaced session in the background: its successor must not wait for a closing handshake.
    fn close(&mut self, mut old: VenueSession, cause: Cause) {
        while self.closing.try_join_next().is_some() {}
        let feed = Arc::clone(&self.feed);
        self.closing.spawn(async move {
            let closing = feed.metrics.supervisor().once(Task::Closing, feed.id.as_str(), old.finish(cause)).await;
            // Reported; the connection's end is in the log all the same.
            drop(closing);
        });
    }

    /// Writes down the end of a session and what it interrupts. `Some` = the venue punished what we did: at least
    /// this long nothing may be tried.
    async fn end(&mut self, mut session: VenueSession, cause: Cause) -> Option<Duration> {
        self.backoff.good(session.good_for());
        let punished = session.punished().then(|| self.punished.once_more(Instant::now())).flatten();
        match cause {
            Cause::Shutdown | Cause::Log => self.gap = session.gap.take(),
            // The last one: nobody wants its streams any more.
            Cause::Rotate => {}
            Cause::Server | Cause::Lost | Cause::Stale => {
                self.gap = Some(session.gap_from(cause));
                self.failed = session.peer();
                if !session.is_live() {
                    // Another one may welcome us, or answer.
                    self.server += 1;
                }
                self.stream_table.broken(self.place.line);
                self.count_lost(&session, cause);
            }
        }
        let wait = punished.map(|wait| Instant::now() + wait);
        self.feed.metrics.waits(self.place, wait, Some(session.why()));
        session.finish(cause).await;
        punished
    }

    fn count_lost(&self, session: &VenueSession, cause: Cause) {
        self.feed.metrics.disconnects.add(1);
        self.lost(session, cause, Duration::ZERO);
    }

    fn lost(&self, session: &VenueSession, cause: Cause, wait: Duration) {
        if let Some(suppressed) = LOST.allow() {
            warn!(venue = %self.feed.id, conn = session.conn(), live = session.is_live(), cause = cause.as_str(),
                wait_ms = wait.as_millis(), error = session.why(), suppressed, "connection lost, connecting again");
        }
    }

    /// Opens a session, as often as it takes. `None` when the venue is to stop, or nothing is left to subscribe.
    /// `beside`: another session of this line delivers meanwhile.
    async fn open(&mut self, backoff: &mut Backoff, beside: &AtomicBool) -> Option<VenueSession> {
        let feed = Arc::clone(&self.feed);
        let (place, stream_table) = (self.place, Arc::clone(&self.stream_table));
        for attempt in 1_u32.. {
            if !beside.load(Ordering::Relaxed) {
                feed.metrics.waits(place, None, None);
            }
            let turn = feed.budget(place.line).upgrade(|ban| {
                if !beside.load(Ordering::Relaxed) {
                    feed.metrics.waits(place, Some(Instant::now() + ban.wait), Some(ban.why.clone()));
                }
            });
            let turn = tokio::select! {
                biased;
                () = feed.stop.wait() => return None,
                turn = turn => turn,
            };
            // After the wait: what was listed or delisted meanwhile is in it.
            let (plan, version) = stream_table.plan()?;
            let route = Route { line: place.line, other: stream_table.other_peer(place.line), failed: self.failed };
            feed.metrics.attempts.add(1);
            if !beside.load(Ordering::Relaxed) {
                feed.metrics.state(place, ConnState::Connecting);
            }
            let opened = tokio::select! {
                biased;
                () = feed.stop.wait() => return None,
                opened = handshake::open(&feed, &plan, route, turn, self.server) => opened,
            };
            match opened {
                Ok(ready) => {
                    let first = std::mem::take(&mut self.first);
                    let beside = beside.load(Ordering::Relaxed);
                    let start = Start { place, stream_table, plan, version, attempt, first, beside };
                    return VenueSession::start(&feed, start, ready).ok();
                }
                Err(err) => {
                    self.server += 1;
                    if let Some(ban) = err.ban() {
                        // The address is banned, not this connection: the others would make it worse.
                        feed.banned(place.line, ban).await;
                    }
                    let banned = feed.budget(place.line).banned().map(|ban| ban.wait);
                    let wait = wait_after(&err, backoff, banned);
                    if let Some(suppressed) = REFUSED.allow() {
                        warn!(venue = %feed.id, slot = place.number, line = place.line, attempt,
                            wait_ms = wait.as_millis(), error = %err, suppressed, "cannot connect, trying again");
                    }
                    if !beside.load(Ordering::Relaxed) {
                        feed.metrics.waits(place, Some(Instant::now() + wait), Some(err.to_string()));
                    }
                    let detail = json!({
                        "attempt": attempt, "error": err.to_string(), "status": err.http_status(), "line": place.line,
                        "at_ns": Stamp::now().0,
                    });
                    if feed.log.event(0, err.event_kind(), detail).is_err() || feed.pause(wait).await {
                        return None;
                    }
                }
            }
        }
        None
    }
}

impl Drop for Slot {
    /// A task that panicked, or was aborted, between two connections leaves no interruption unrecorded.
    fn drop(&mut self) {
        self.end_gaps();
    }
}

/// Runs `session` while `work` goes on; why it ended, when it did before.
async fn meanwhile<T>(session: &mut VenueSession, work: impl Future<Output = T>) -> Result<T, Cause> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = work.as_mut() => return Ok(done),
            step = session.run() => match step {
                Step::Live | Step::Rotate(_) => {}
                Step::Stop => return Err(Cause::Shutdown),
                Step::Ended(cause) => return Err(cause),
            },
        }
    }
}

fn wait_after(err: &HandshakeError, backoff: &mut Backoff, banned: Option<Duration>) -> Duration {
    let wait = backoff.next(&mut random);
    // After a ban the turns are spread anyway.
    if err.is_retryable() { wait.max(banned.unwrap_or_default()) } else { HOPELESS }
}
