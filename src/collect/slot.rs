//! One planned connection for the life of the collector: opened at the host's pace, opened again with back-off,
//! replaced without an uncovered instant when its time is up.
//!
//! Replacing: the next connection is opened and subscribed while the present one goes on receiving; only when
//! every subscription is answered is the present one closed and drained. Frames of that overlap are in the log
//! twice, on two connections; whoever reads tells them apart by their ids.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use super::backoff::{Backoff, random};
use super::connect::Route;
use super::feed::Feed;
use super::handshake::{self, HandshakeError};
use super::log::Stamp;
use super::metrics::ConnState;
use super::session::{Cause, GapStart, Session, Step, write_gap};
use super::watchdog::Streams;
use crate::telemetry::RateLimited;
use crate::venue::ConnectionPlan;

/// Wait after an error that trying again cannot help; kept short of giving up, because a person may repair it.
const HOPELESS: Duration = Duration::from_secs(60);

static REFUSED: RateLimited = RateLimited::new(Duration::from_secs(10));
static LOST: RateLimited = RateLimited::new(Duration::from_secs(10));

/// One planned connection.
pub(super) struct Slot {
    feed: Arc<Feed>,
    number: usize,
    plan: Arc<ConnectionPlan>,
    backoff: Backoff,
    gap: Option<GapStart>,
    /// Replaced sessions that are being closed and drained.
    closing: JoinSet<()>,
}

impl Slot {
    /// The slot `number` of `feed`; `gap` is an interruption that its first session ends.
    pub(super) fn new(feed: Arc<Feed>, number: usize, plan: ConnectionPlan, gap: Option<GapStart>) -> Self {
        feed.metrics.connection(
            number,
            ConnState::Connecting,
            0,
            &Arc::new(Streams::new(&plan.streams, |s| feed.venue.stream_key(s))),
        );
        Self { feed, number, plan: Arc::new(plan), backoff: Backoff::default(), gap, closing: JoinSet::new() }
    }

    /// Keeps the connection until the venue is to stop.
    pub(super) async fn keep(mut self) {
        while let Some(mut session) = open(&self.feed, self.number, &self.plan, &mut self.backoff).await {
            session.gap = self.gap.take();
            let cause = self.run(&mut session).await;
            self.end(session, cause).await;
            if matches!(cause, Cause::Shutdown | Cause::Log) {
                break;
            }
            self.feed.metrics.state(self.number, ConnState::Connecting);
            let wait = self.backoff.next(&mut random);
            if self.feed.pause(wait).await {
                break;
            }
        }
        if let Some(gap) = self.gap.take() {
            // Stopped in the middle of an interruption: it is over at least for this run of the log.
            let _ = write_gap(&self.feed, 0, gap, &self.plan.streams);
        }
        while self.closing.join_next().await.is_some() {}
        self.feed.metrics.state(self.number, ConnState::Stopped);
    }

    /// Runs `session` and its replacements; returns why the last one ended.
    async fn run(&mut self, session: &mut Session) -> Cause {
        loop {
            match session.run().await {
                Step::Live => info!(venue = %self.feed.id, conn = session.conn(), "all streams subscribed"),
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

    /// Opens the next session beside `session` and swaps them. `Some` = `session` (the old one, or the next one
    /// that took over after the old one ended) is over.
    async fn replace(&mut self, session: &mut Session, reason: &'static str) -> Option<Cause> {
        info!(venue = %self.feed.id, conn = session.conn(), reason, "replacing the connection");
        let detail = json!({ "reason": reason, "conn": session.conn() });
        let _ = self.feed.log.event(session.conn(), "rotate", detail);
        self.feed.metrics.rotations.add(1);
        let mut backoff = Backoff::default();
        loop {
            let next = {
                let mut opening = pin!(open(&self.feed, self.number, &self.plan, &mut backoff));
                loop {
                    tokio::select! {
                        next = opening.as_mut() => break next,
                        step = session.run() => match step {
                            Step::Live | Step::Rotate(_) => {}
                            Step::Stop => return Some(Cause::Shutdown),
                            Step::Ended(cause) => return Some(cause),
                        },
                    }
                }
            };
            let Some(mut next) = next else { return Some(Cause::Shutdown) };
            let failed = loop {
                tokio::select! {
                    step = next.run() => match step {
                        Step::Live => break None,
                        Step::Rotate(_) => {}
                        Step::Stop => {
                            next.finish(Cause::Shutdown).await;
                            return Some(Cause::Shutdown);
                        }
                        Step::Ended(cause) => break Some(cause),
                    },
                    step = session.run() => match step {
                        Step::Live | Step::Rotate(_) => {}
                        Step::Stop => {
                            next.finish(Cause::Shutdown).await;
                            return Some(Cause::Shutdown);
                        }
                        Step::Ended(cause) => {
                            // The old one did not last until the next one was ready: that is an interruption.
                            next.gap = Some(session.gap_from(cause));
                            self.count_lost(session, cause);
                            self.retire(std::mem::replace(session, next), cause);
                            return None;
                        }
                    },
                }
            };
            match failed {
                None => {
                    self.retire(std::mem::replace(session, next), Cause::Rotate);
                    return None;
                }
                Some(Cause::Log) => {
                    next.finish(Cause::Log).await;
                    return Some(Cause::Log);
                }
                Some(cause) => {
                    // The old one still receives, so nothing is missing; only the replacement is tried again.
                    self.lost(&next, cause, backoff.next(&mut random));
                    self.closing.spawn(next.finish(cause));
                }
            }
        }
    }

    /// Closes a replaced session in the background: its successor must not wait for a closing handshake.
    fn retire(&mut self, old: Session, cause: Cause) {
        while self.closing.try_join_next().is_some() {}
        self.closing.spawn(old.finish(cause));
    }

    /// Writes down the end of a session and what it interrupts.
    async fn end(&mut self, session: Session, cause: Cause) {
        self.backoff.good(session.good_for());
        if matches!(cause, Cause::Shutdown | Cause::Log) {
            self.gap = session.gap;
        } else {
            self.gap = Some(session.gap_from(cause));
            self.count_lost(&session, cause);
        }
        session.finish(cause).await;
    }

    fn count_lost(&self, session: &Session, cause: Cause) {
        self.feed.metrics.disconnects.add(1);
        self.lost(session, cause, Duration::ZERO);
    }

    fn lost(&self, session: &Session, cause: Cause, wait: Duration) {
        if let Some(suppressed) = LOST.allow() {
            warn!(venue = %self.feed.id, conn = session.conn(), live = session.is_live(), cause = cause.as_str(),
                wait_ms = wait.as_millis(), error = session.why(), suppressed, "connection lost, connecting again");
        }
    }
}

/// Opens a session, as often as it takes. `None` when the venue is to stop.
async fn open(feed: &Arc<Feed>, slot: usize, plan: &Arc<ConnectionPlan>, backoff: &mut Backoff) -> Option<Session> {
    for attempt in 1_u32.. {
        let opened = tokio::select! {
            biased;
            () = feed.stop.wait() => return None,
            opened = async {
                feed.pace.connects.wait(1).await;
                while let Some(until) = feed.pace.banned(Instant::now()) {
                    tokio::time::sleep_until(until).await;
                }
                feed.metrics.attempts.add(1);
                handshake::open(feed, plan, Route::default()).await
            } => opened,
        };
        match opened {
            Ok(ready) => return Session::start(feed, slot, plan, ready, attempt).ok(),
            Err(err) => {
                let wait = wait_after(&err, backoff);
                if let Some(least) = err.wait_at_least() {
                    // The address is banned, not this connection: the others would make it worse.
                    feed.pace.ban(Instant::now() + least);
                }
                if let Some(suppressed) = REFUSED.allow() {
                    warn!(venue = %feed.id, slot, attempt, wait_ms = wait.as_millis(), error = %err, suppressed,
                        "cannot connect, trying again");
                }
                let detail = json!({
                    "attempt": attempt, "error": err.to_string(), "status": err.http_status(),
                    "at_ns": Stamp::now().0,
                });
                if feed.log.event(0, "connect_failed", detail).is_err() || feed.pause(wait).await {
                    return None;
                }
            }
        }
    }
    None
}

fn wait_after(err: &HandshakeError, backoff: &mut Backoff) -> Duration {
    let wait = backoff.next(&mut random);
    if !err.is_retryable() {
        return HOPELESS;
    }
    match err.wait_at_least() {
        // Some jitter on top, or all connections come back in the same instant.
        Some(least) => least + wait.min(Duration::from_secs(5)),
        None => wait,
    }
}

/// Keeps all slots of a venue until it stops; the pace of the host staggers their starts.
pub(super) async fn keep_all(feed: &Arc<Feed>, plans: Vec<ConnectionPlan>, gap: Option<GapStart>) {
    let mut slots = JoinSet::new();
    let started = Instant::now();
    for (number, plan) in plans.into_iter().enumerate() {
        slots.spawn(Slot::new(Arc::clone(feed), number, plan, gap).keep());
    }
    while let Some(done) = slots.join_next().await {
        if let Err(err) = done
            && err.is_panic()
        {
            // A bug: the venue stops rather than recording a part of what was asked for without a word.
            tracing::error!(venue = %feed.id, uptime_s = started.elapsed().as_secs(), "a connection's task panicked; stopping this venue");
            feed.metrics.fail("a connection's task panicked");
            feed.stop.trigger();
        }
    }
}
