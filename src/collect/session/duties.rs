//! What is due by the clock: the next subscription, the answers to them, silence, the end of the planned life.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Sink;
use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tracing::{info, warn};
use wal_format::Kind;

use super::super::feed::VenueFeed;
use super::super::log::LogStopped;
use super::super::metrics::RequestCounts;
use super::super::stream_table::{News, Served};
use super::super::watchdog::Streams;
use super::requests::RequestContext;
use super::silence::{Overdue, Remedy};
use super::{
    ANSWER_WITHIN, CHECK_EVERY, Cause, Ending, LATE_NS, Live, Phase, Rotation, SILENT_STREAMS, Step, UNANSWERED,
    VenueSession, book_of, end_gaps, is_quiet, seconds, unsubscribed,
};
use model::Channel;
use model::record::{self, Gap, Subscribe};
use ops::clock::Stamp;
use ops::status::ConnState;
use ops::telemetry::RateLimited;
use venue::{Continuity, StreamKey, Want};

static SILENT: RateLimited = RateLimited::new(Duration::from_secs(60));
static LATE: RateLimited = RateLimited::new(Duration::from_secs(30));

/// What requests of a session are written with.
pub(super) fn context(feed: &VenueFeed, now: Instant, stamp: Stamp) -> RequestContext<'_> {
    RequestContext { venue: feed.venue, limits: &feed.config.limits, now, now_ns: stamp.0 }
}

impl VenueSession {
    /// When something is due next.
    pub(super) fn wake(&self) -> Instant {
        let soonest = |a: Instant, b: Option<Instant>| b.map_or(a, |b| a.min(b));
        let at = soonest(self.next_check, self.send_at);
        let at = soonest(at, self.phase.welcome_by());
        soonest(at, self.heart.as_ref().map(super::Heart::wake))
    }

    /// Does what is due at `now`.
    pub(super) fn timers(&mut self, now: Instant) -> Option<Step> {
        if self.send_at.is_some_and(|at| at <= now) {
            if let Err(cause) = self.send_next(now) {
                return Some(Step::Ended(cause));
            }
            self.plan_send(now);
        }
        if self.phase.welcome_by().is_some_and(|by| by <= now) {
            self.error = Some("the venue did not welcome the connection".to_owned());
            return Some(Step::Ended(Cause::Lost));
        }
        if let Some(cause) = self.beat(now) {
            return Some(Step::Ended(cause));
        }
        if let Rotation::Wanted(reason) = self.rotation {
            self.rotation = Rotation::Reported(reason);
            return Some(Step::Rotate(reason));
        }
        if let Some(step) = self.answers(now) {
            return Some(step);
        }
        if now < self.next_check {
            return None;
        }
        self.next_check = now + CHECK_EVERY;
        self.ask_again(now);
        self.settle_answered(now);
        self.follow_stream_table(now);
        self.report_silence(now);
        self.report_strays(now);
        self.mend_silence(now);
        if let Some(silent) = self.watchdog.stale(now) {
            let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
            return Some(Step::Ended(self.stale(silent_ms, "nothing arrived")));
        }
        if let Err(cause) = self.probe(now) {
            return Some(Step::Ended(cause));
        }
        if now >= self.ends_at && self.rotation == Rotation::Keep {
            self.rotation = Rotation::Reported(self.ends_why);
            return Some(Step::Rotate(self.ends_why));
        }
        None
    }

    fn stale(&mut self, silent_ms: u64, what: &str) -> Cause {
        self.feed.metrics.stale.add(1);
        self.feed.log.note(self.conn, "stale", json!({ "silent_ms": silent_ms, "what": what }));
        self.error = Some(format!("{what} for {silent_ms} ms"));
        Cause::Stale
    }

    /// Looks whether everything that was asked is answered.
    fn answers(&mut self, now: Instant) -> Option<Step> {
        let nothing = self.is_live() && self.books.is_empty() && self.unsubscribing.is_none();
        if !self.requests.done() || self.phase.welcome_by().is_some() || nothing {
            return None;
        }
        if let Some(version) = self.unsubscribing.take() {
            self.forgotten(self.stream_table.ended(self.place.line, version));
            if self.streams.iter().next().is_none() && self.rotation == Rotation::Keep {
                self.rotation = Rotation::Wanted("nothing is left on it");
            }
        }
        if self.is_live() {
            self.want_books(&BTreeSet::new());
            return None;
        }
        Some(self.became_live(now))
    }

    /// Asks again for what the venue did not answer, or refused a while ago; a connection on which that does not help is
    /// replaced.
    fn ask_again(&mut self, now: Instant) {
        if self.ending != Ending::Open {
            return;
        }
        let (feed, streams) = (Arc::clone(&self.feed), Arc::clone(&self.streams));
        let delivered = |stream: &str, since_ns: u64| {
            let last_ns = streams.last_ns(stream, |s| feed.venue.streams.stream_key(s));
            last_ns.is_some_and(|ns| ns > 0 && ns >= since_ns)
        };
        let refused = self.refused();
        let hopeless = self.requests.ask_again(context(&feed, now, Stamp::now()), delivered);
        if self.refused() != refused {
            self.report_refused();
        }
        if self.requests.waiting() > 0 && self.send_at.is_none() {
            self.plan_send(now);
        }
        let (unanswered, asked_again) = (self.requests.unanswered(), self.requests.asked_again());
        if !self.beside {
            self.feed.metrics.request_counts(
                self.place,
                RequestCounts { waiting: self.requests.waiting(), unanswered, asked_again },
            );
        }
        if asked_again > 0
            && let Some(suppressed) = LATE.allow()
        {
            warn!(venue = %self.feed.id, conn = self.conn, unanswered, asked_again, suppressed,
                "the venue did not answer requests; they are asked again");
        }
        if hopeless && self.rotation == Rotation::Keep {
            self.rotation = Rotation::Wanted(UNANSWERED);
        }
    }

    /// Says which streams the venue refuses.
    pub(super) fn report_refused(&self) {
        if !self.beside {
            self.feed.metrics.refused_streams(self.place, self.requests.refused_streams());
        }
    }

    /// These are subscribed nowhere any more, on purpose: consumers of the log look for no gaps in them.
    fn forgotten(&self, wants: Vec<Want>) {
        unsubscribed(&self.feed, self.conn, wants);
    }

    /// Pings where the venue wants that from us; `Some` = the last one was not answered.
    fn beat(&mut self, now: Instant) -> Option<Cause> {
        let heart = self.heart.as_mut()?;
        if let Some(waited) = heart.dead(now) {
            let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            return Some(self.stale(waited_ms, "a ping was not answered"));
        }
        if !heart.due(now) {
            return None;
        }
        // A ping is a message like others and takes its share of the window.
        let at = self.messages.earliest(now, 1);
        if at > now {
            heart.postpone(at);
            return None;
        }
        self.messages.reserve(now, 1);
        heart.sent(now);
        let id = self.requests.take_id();
        let text = self.feed.venue.streams.ping_message(id, seconds(Stamp::now()))?;
        self.send(Message::text(text)).err()
    }

    /// Half of the silence that ends a connection is over: a protocol ping makes the other side answer, or TCP
    /// find out that there is no other side. Where the client pings anyway, that does the same.
    fn probe(&mut self, now: Instant) -> Result<(), Cause> {
        let half = Duration::from_secs(self.feed.config.limits.silence_timeout_s) / 2;
        let asked = self.probed.is_some_and(|at| at >= self.watchdog.last_activity());
        if self.heart.is_some() || asked || self.watchdog.idle(now) < half || self.messages.earliest(now, 1) > now {
            return Ok(());
        }
        self.messages.reserve(now, 1);
        self.probed = Some(now);
        self.send(Message::Ping("tapedeck".into()))
    }

    /// Subscribes what was added to the plan meanwhile, and ends what was dropped from it.
    fn follow_stream_table(&mut self, now: Instant) {
        if self.ending != Ending::Open || self.stream_table.version() == self.version {
            return;
        }
        let News { added, dropped, version } = self.stream_table.since(self.version);
        self.version = version;
        // First what makes room.
        self.end(dropped);
        self.subscribe(added, now);
        if self.send_at.is_none() {
            self.plan_send(now);
        }
    }

    fn end(&mut self, dropped: Vec<Served>) {
        if dropped.is_empty() {
            return;
        }
        self.streams.leave(dropped.iter().map(|(name, _)| name.as_str()), |s| self.feed.venue.streams.stream_key(s));
        self.books.retain(|(stream, _)| !dropped.iter().any(|(name, _)| name == stream));
        let names: Vec<String> = dropped.into_iter().map(|(name, _)| name).collect();
        let feed = Arc::clone(&self.feed);
        self.requests.end(context(&feed, Instant::now(), Stamp::now()), &names);
        self.unsubscribing = Some(self.version);
        self.report_refused();
    }

    fn subscribe(&mut self, new: Vec<Served>, now: Instant) {
        if new.is_empty() {
            return;
        }
        let named = new.iter().map(|(name, wants)| (name.as_str(), is_quiet(wants)));
        let streams = self.streams.with(named, |s| self.feed.venue.streams.stream_key(s));
        self.watchdog.added(now, streams.all().skip(self.streams.all().count()).map(|s| s.quiet));
        self.streams = Arc::new(streams);
        if !self.beside {
            self.feed.metrics.streams_are(self.place, &self.streams);
        }
        self.books.extend(new.iter().filter_map(|(name, wants)| Some((name.clone(), book_of(wants)?))));
        let names: Vec<String> = new.into_iter().map(|(name, _)| name).collect();
        let feed = Arc::clone(&self.feed);
        self.requests.ask(context(&feed, now, Stamp::now()), &names);
    }

    pub(super) fn became_live(&mut self, now: Instant) -> Step {
        self.phase = Phase::Live(Live { at: now, ns: Stamp::now().0 });
        self.watchdog.subscribed(now);
        if !self.beside {
            self.settle();
        }
        Step::Live
    }

    /// Everything is answered, and it is this session that counts: what was before it is over.
    pub(super) fn settle(&mut self) {
        self.feed.metrics.state(self.place, ConnState::Live);
        self.report_refused();
        self.end_gaps(&BTreeSet::new());
        self.forgotten(self.stream_table.settled(self.place.line, self.started_with, Stamp::now().0));
        self.want_books(&BTreeSet::new());
    }

    /// What is answered waits no longer than an answer may take for what is not.
    fn settle_answered(&mut self, now: Instant) {
        if self.beside
            || self.ending != Ending::Open
            || self.phase.welcome_by().is_some()
            || !self.is_live() && now < self.settle_at
        {
            return;
        }
        self.settle_at = now + ANSWER_WITHIN;
        let pending = self.requests.pending();
        let mut silent = pending.clone();
        silent.extend(self.requests.refused_streams().into_keys());
        self.stream_table.answered(self.place.line, &silent, Stamp::now().0);
        self.end_gaps(&pending);
        self.want_books(&pending);
    }

    /// Requests the order books of the streams that are not `pending`.
    fn want_books(&mut self, pending: &BTreeSet<String>) {
        let (later, now) =
            std::mem::take(&mut self.books).into_iter().partition(|(stream, _)| pending.contains(stream));
        self.books = later;
        let now: Vec<(String, String)> = now;
        if self.feed.choice().channels.contains(&Channel::DepthSnapshot) {
            self.feed.snapshots.want(now.iter().map(|(_, symbol)| symbol.as_str()));
        }
    }

    /// Writes down the interruptions of the streams that are not `pending`; those of the others go on.
    pub(super) fn end_gaps(&mut self, pending: &BTreeSet<String>) {
        let Some(mut gap) = self.gap.take() else { return };
        let streams: Vec<String> = self.streams.iter().map(|s| s.name.clone()).collect();
        // A log that stopped has said so.
        let _ = end_gaps(&self.feed, &self.stream_table, self.place, self.conn, &mut gap, &streams, pending);
        self.gap = Some(gap).filter(|gap| !gap.is_over());
    }

    fn report_silence(&mut self, now: Instant) {
        let silent = self.watchdog.silent_streams(now, &self.streams);
        let Some(first) = silent.first() else { return };
        self.feed.metrics.silent_streams.add(silent.len() as u64);
        if let Some(suppressed) = SILENT.allow() {
            warn!(venue = %self.feed.id, conn = self.conn, stream = first.stream, frames = first.frames,
                silent_ms = first.silent_ms, count = silent.len(), suppressed, "streams are silent");
        }
        self.feed.log.note(self.conn, "stream_silent", json!({ "streams": silent }));
    }

    /// Names streams that another path may serve, because they are silent here for longer than is usual.
    fn report_strays(&self, now: Instant) {
        let silence = Duration::from_secs(self.feed.config.limits.stream_silence_s);
        let owes = self.phase.live().is_some_and(|live| now.saturating_duration_since(live.at) >= silence);
        if !owes
            || self.beside
            || self.ending != Ending::Open
            || self.feed.venue.streams.other_path(self.stream_table.path()).is_none()
        {
            return;
        }
        let (wall_ns, silence_ns) = (Stamp::now().0, self.silence_ns());
        for s in self.streams.iter().filter(|s| !s.quiet) {
            let never = s.last_ns() == 0 && s.age_ns(wall_ns) >= silence_ns;
            if never || s.overdue_ns(wall_ns, silence_ns).is_some() {
                self.feed.strays.found(self.place.number, &s.name);
            }
        }
    }

    /// Records the silence of streams, requests them again, and wants the connection replaced where that did not help;
    /// see [`super::silence`].
    fn mend_silence(&mut self, now: Instant) {
        if !self.is_live() || self.beside || self.ending != Ending::Open {
            return;
        }
        let (feed, streams) = (Arc::clone(&self.feed), Arc::clone(&self.streams));
        if let Some(other) = self.other_line() {
            streams.learn(&other);
        }
        let (wall_ns, silence_ns) = (Stamp::now().0, self.silence_ns());
        let busy = || streams.iter().filter(|s| s.is_busy());
        let mut overdue: Vec<Overdue<'_>> = busy()
            .map(|s| Overdue { name: &s.name, times: s.times_overdue(wall_ns, silence_ns), last_ns: s.last_ns() })
            .filter(|s| s.times > 0)
            .collect();
        if !overdue.is_empty() {
            let (leaving, refused) = (self.stream_table.leaving(), self.requests.refused_streams());
            overdue.retain(|s| !leaving.contains(s.name) && !refused.contains_key(s.name));
        }
        self.write_silence(wall_ns, &overdue, false);
        if self.rotation != Rotation::Keep {
            return;
        }
        let last_ns = |name: &str| streams.last_ns(name, |s| feed.venue.streams.stream_key(s));
        let Remedy { ask, replace } = self.silence.look(now, &overdue, busy().count(), last_ns);
        if !ask.is_empty() {
            info!(venue = %feed.id, conn = self.conn, stream = ask.first(), count = ask.len(), "silent streams are requested again");
            feed.log.note(self.conn, "stream_asked_again", json!({ "streams": ask }));
            self.requests.ask(context(&feed, now, Stamp(wall_ns)), &ask);
            if self.send_at.is_none() {
                self.plan_send(now);
            }
        }
        if replace {
            self.rotation = Rotation::Wanted(SILENT_STREAMS);
        }
    }

    /// Writes a Gap record of silent streams without ids that show what is missing, as far as no other line delivers them.
    pub(super) fn write_silence(&mut self, now_ns: u64, overdue: &[Overdue<'_>], ends: bool) {
        let (feed, streams) = (Arc::clone(&self.feed), Arc::clone(&self.streams));
        let key = |s: &str| feed.venue.streams.stream_key(s);
        let other = self.other_line();
        let elsewhere_ns = |name: &str| other.as_ref().and_then(|other| other.last_ns(name, key)).unwrap_or(0);
        let missing = |stream: &&Overdue<'_>| {
            let (channel, symbol) = key(stream.name);
            let channel = feed.venue.frames.channel_of(StreamKey { channel: &channel, symbol: &symbol });
            channel.is_none_or(|channel| feed.venue.spec.continuity(channel) == Continuity::None)
                && elsewhere_ns(stream.name) <= stream.last_ns.saturating_add(LATE_NS)
        };
        let overdue: Vec<Overdue<'_>> = overdue.iter().filter(missing).copied().collect();
        let last_ns = |name: &str| {
            let here_ns = streams.last_ns(name, key)?;
            Some(if elsewhere_ns(name) > here_ns.saturating_add(LATE_NS) { elsewhere_ns(name) } else { here_ns })
        };
        for ((from_ns, to_ns), streams) in self.silence.write(now_ns, &overdue, ends, last_ns) {
            let record = Gap { reason: SILENT_STREAMS, from_ns, to_ns, streams: &streams };
            // A log that stopped has said so.
            let _ = feed.log.append(Stamp::now(), self.conn, Kind::Gap, 0, &record::to_json(&record));
        }
    }

    /// The streams of the other line of this connection, where there is one.
    fn other_line(&self) -> Option<Arc<Streams>> {
        self.feed.metrics.streams(self.place.other()).filter(|_| self.feed.config.lines > 1)
    }

    /// Silence that a stream is reported for, ns.
    fn silence_ns(&self) -> u64 {
        self.feed.config.limits.stream_silence_s.saturating_mul(1_000_000_000)
    }

    /// When the next request may go: within this connection's and the exchange's pace.
    pub(super) fn plan_send(&mut self, now: Instant) {
        self.send_at = (self.requests.waiting() > 0 && self.phase.welcome_by().is_none()).then(|| {
            // The exchange may grant a later time than requested; that one counts for this connection too, or two
            // requests that both waited for the exchange would leave too close to each other.
            let granted = self.feed.budget(self.place.line).control.reserve(self.messages.earliest(now, 1), 1);
            self.messages.reserve(granted, 1)
        });
    }

    fn send_next(&mut self, now: Instant) -> Result<(), Cause> {
        let feed = Arc::clone(&self.feed);
        let stamp = Stamp::now();
        let Some(request) = self.requests.send(context(&feed, now, stamp)) else { return Ok(()) };
        let payload = record::to_json(&Subscribe { request: &request });
        let appended = feed.log.append(stamp, self.conn, Kind::Subscribe, 0, &payload);
        appended.map_err(|LogStopped| Cause::Log)?;
        self.send(Message::text(request))
    }

    fn send(&mut self, message: Message) -> Result<(), Cause> {
        self.flush = true;
        Pin::new(&mut self.socket).start_send(message).map_err(|err| self.lost(&err))
    }
}
