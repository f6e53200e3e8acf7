//! The life of one open connection: subscribe at the venue's pace, append every message, watch for silence.
//!
//! ```text
//!   socket --poll--> stamp --> append --> stream prefix: count the stream
//!                                     \-> no stream: control reply, error, shutdown notice
//! ```
//! Everything of the frame path runs on this connection's task, in one synchronous step per message, in bursts
//! of what is ready. Nothing is queued, copied or parsed beyond the stream's name. All state is in [`VenueSession`],
//! so [`VenueSession::run`] may be dropped and called again at any time: that is how two sessions overlap while one
//! replaces the other. Pings are answered inside tungstenite, on the next poll, whether or not we write.

mod close;
mod duties;
mod gap;
mod heart;
mod lifetime;
mod phase;
mod receive;
mod requests;
mod silence;

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;
use wal_format::{Kind, Seq};

pub(super) use self::gap::{GapStart, Interruption, end_gaps, unsubscribed, write_gap};
use self::heart::Heart;
use self::lifetime::lifetime;
pub(super) use self::phase::Cause;
use self::phase::{Ending, Live, Phase, Rotation};
use self::requests::{ANSWER_WITHIN, RequestContext, Requests};
use self::silence::Silence;
use super::feed::VenueFeed;
use super::handshake::Ready;
use super::log::LogStopped;
use super::metrics::Place;
use super::stream_table::StreamTable;
use super::watchdog::{StreamStat, Streams, Watchdog};
use model::Channel;
use model::record::{self, ConnOpen};
use net::connect::Socket;
use net::pace::Window;
use ops::clock::Stamp;
use venue::{ConnectionPlan, Want};

/// How often silence is looked for.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// By how much the same frame may be later on one of two connections.
const LATE: Duration = Duration::from_secs(10);
/// The same, ns.
pub(super) const LATE_NS: u64 = 10_000_000_000;
/// How long a venue that welcomes may take to do so.
const WELCOME_TIMEOUT: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_secs(10) };

/// The reason of a replacement because the venue does not answer.
pub(super) const UNANSWERED: &str = "unanswered";
/// The reason of a replacement because streams that are busy fell silent.
const SILENT_STREAMS: &str = "silent";

/// What [`VenueSession::run`] returns for.
#[derive(Debug)]
pub(super) enum Step {
    /// Every subscription was answered; reported once.
    Live,
    /// A replacement should be opened; reported once, the session goes on.
    Rotate(&'static str),
    /// The venue is to stop.
    Stop,
    /// The connection is over.
    Ended(Cause),
}

/// One open connection.
pub(super) struct VenueSession {
    feed: Arc<VenueFeed>,
    place: Place,
    stream_table: Arc<StreamTable>,
    /// What of the stream table is subscribed or in `requests`.
    version: u64,
    /// The version it started with.
    started_with: u64,
    conn: u32,
    peer: Option<IpAddr>,
    socket: Socket,
    streams: Arc<Streams>,
    watchdog: Watchdog,
    requests: Requests,
    /// When the next request may go.
    send_at: Option<Instant>,
    phase: Phase,
    messages: Window,
    heart: Option<Heart>,
    /// When silence made us send a protocol ping.
    probed: Option<Instant>,
    /// How often the venue said that we ask too much.
    throttled: u32,
    flush: bool,
    next_check: Instant,
    ends_at: Instant,
    ends_why: &'static str,
    rotation: Rotation,
    ending: Ending,
    opened: Instant,
    opened_ns: u64,
    received: Received,
    /// The server's close frame: code and reason.
    close: Option<(u16, String)>,
    error: Option<String>,
    log_stopped: bool,
    /// Beside another session of its line that delivers still: what is said of the line is that one's.
    beside: bool,
    /// Streams with the symbols whose order books are wanted when they are answered.
    books: Vec<(String, String)>,
    /// When the next look is due at what is answered while other requests are not.
    settle_at: Instant,
    /// The version of the stream table whose dropped streams are being ended.
    unsubscribing: Option<u64>,
    /// What the session that it is to replace delivers and this one does not, and since when that is so.
    lacking: Option<(Instant, Vec<String>)>,
    /// Interruptions before this session that are not written down yet.
    pub(super) gap: Option<Interruption>,
    /// What was done about streams that are silent.
    silence: Silence,
}

/// What arrived on a connection.
#[derive(Default)]
struct Received {
    frames: u64,
    bytes: u64,
    /// When the first burst with data was over.
    first: Option<Instant>,
    /// Receive time of the last data frame, Unix ns; 0 = none yet.
    last_ns: u64,
    /// The last record that nobody waited for to be durable.
    last_seq: Option<Seq>,
}

/// What a session starts from.
pub(super) struct Start {
    pub(super) place: Place,
    pub(super) stream_table: Arc<StreamTable>,
    pub(super) plan: ConnectionPlan,
    /// Version of the stream table that `plan` is.
    pub(super) version: u64,
    pub(super) attempt: u32,
    /// The first session of this line.
    pub(super) first: bool,
    /// Another session of its line delivers still.
    pub(super) beside: bool,
}

impl VenueSession {
    /// Takes over a fresh socket: writes the ConnOpen record and plans the subscriptions.
    pub(super) fn start(feed: &Arc<VenueFeed>, start: Start, ready: Ready) -> Result<VenueSession, LogStopped> {
        let limits = &feed.config.limits;
        let Start { place, stream_table, plan, version, attempt, first, beside } = start;
        let opened = ready.opened;
        let (now, stamp) = (Instant::now(), Stamp::now());
        let conn = feed.next_conn();
        let peer = opened.peer.parse().ok().map(|a: SocketAddr| a.ip());
        let record = ConnOpen {
            url: &ready.shown,
            local: opened.local,
            peer: opened.peer,
            proxy: opened.proxy.as_deref(),
            line: place.line,
            streams: plan.streams.len(),
            tls: opened.tls,
            attempt,
        };
        feed.log.append(stamp, conn, Kind::ConnOpen, 0, &record::to_json(&record))?;
        feed.metrics.connects.add(1);
        let named = plan.streams.iter().zip(&plan.wants).map(|(name, wants)| (name.as_str(), is_quiet(wants)));
        let streams = Arc::new(Streams::new(named, |s| feed.venue.streams.stream_key(s)));
        let s = Duration::from_secs;
        let watchdog = Watchdog::new(
            now,
            s(limits.silence_timeout_s),
            s(limits.stream_silence_s),
            streams.all().map(|s| s.quiet).collect::<Vec<_>>().into_iter(),
        );
        let mut requests = Requests::new();
        requests.ask(RequestContext { venue: feed.venue, limits, now, now_ns: stamp.0 }, &plan.streams);
        let served = plan.streams.iter().zip(&plan.wants);
        let books = served.filter_map(|(stream, wants)| Some((stream.clone(), book_of(wants)?))).collect();
        let (lives, ends_why) = lifetime(feed, place.line, first, stamp);
        let ms = Duration::from_millis;
        let mut session = VenueSession {
            feed: Arc::clone(feed),
            place,
            stream_table,
            version,
            started_with: version,
            conn,
            peer,
            socket: opened.socket,
            streams,
            watchdog,
            requests,
            send_at: None,
            phase: if feed.venue.spec.waits_for_welcome {
                Phase::Welcome { by: now + WELCOME_TIMEOUT }
            } else {
                Phase::Subscribing
            },
            messages: Window::new(limits.messages_per_s, s(1), ms(limits.subscribe_delay_ms)),
            heart: ready.ping.map(|(every, timeout)| Heart::new(now, every, timeout)),
            probed: None,
            throttled: 0,
            flush: false,
            next_check: now + CHECK_EVERY,
            ends_at: now + lives,
            ends_why,
            rotation: Rotation::Keep,
            ending: Ending::Open,
            opened: now,
            opened_ns: stamp.0,
            received: Received::default(),
            close: None,
            error: None,
            log_stopped: false,
            beside,
            books,
            settle_at: now + ANSWER_WITHIN,
            unsubscribing: None,
            lacking: None,
            gap: None,
            silence: Silence::default(),
        };
        if !beside {
            session.stand_for_line();
        }
        session.plan_send(now);
        debug!(venue = %feed.id, conn, slot = place.number, line = place.line, attempt, url = ready.shown, "connected");
        Ok(session)
    }

    /// Receives, subscribes and watches until something for the slot to decide comes up.
    ///
    /// # Cancel safety
    /// Safe: every message is in the log before the next await; dropping loses nothing.
    pub(super) async fn run(&mut self) -> Step {
        let feed = Arc::clone(&self.feed);
        let mut stop = pin!(feed.stop.wait());
        let mut timer = pin!(tokio::time::sleep_until(self.next_check));
        loop {
            let wake = self.wake();
            timer.as_mut().reset(wake);
            let received = poll_fn(|cx| match self.poll_receive(cx) {
                // A flood that never makes a message spends the task's share, and then no timer fires.
                Poll::Pending if Instant::now() >= wake || feed.stop.requested() => Poll::Ready(None),
                polled => polled,
            });
            let ended = tokio::select! {
                biased;
                ended = received => ended,
                () = timer.as_mut() => None,
                () = stop.as_mut() => return Step::Stop,
            };
            if let Some(seq) = self.received.last_seq.take()
                && feed.log.waits()
                && feed.log.wait_durable(seq).is_err()
            {
                self.log_stopped = true;
            }
            if self.log_stopped {
                return Step::Ended(Cause::Log);
            }
            if let Some(cause) = ended {
                // The answer and the end may come in one burst: what was subscribed for a moment was subscribed.
                if matches!(self.phase, Phase::Subscribing) && self.requests.done() {
                    self.became_live(Instant::now());
                }
                return Step::Ended(cause);
            }
            // A connection that is never idle must see these too, so they are looked at after every burst.
            if feed.stop.requested() {
                return Step::Stop;
            }
            if let Some(step) = self.timers(Instant::now()) {
                return step;
            }
        }
    }

    /// It takes the place of `old`, beside which it was opened.
    pub(super) fn take_over(&mut self, old: &mut VenueSession) {
        self.inherit(old);
        self.stand_for_line();
        if self.is_live() {
            self.settle();
        }
        if let Rotation::Reported(reason) = self.rotation {
            // Nobody listened while it was the new one.
            self.rotation = Rotation::Wanted(reason);
        }
    }

    /// What was done and written about streams that were silent on `old` holds for this one, which is in its place.
    pub(super) fn inherit(&mut self, old: &mut VenueSession) {
        self.silence = std::mem::take(&mut old.silence);
    }

    /// From now on what is said of the line is said of this session.
    fn stand_for_line(&mut self) {
        self.beside = false;
        if let Some(before) = self.feed.metrics.streams(self.place) {
            self.streams.carry(&before);
        }
        self.feed.metrics.connection(self.place, self.conn, &self.streams, &self.stream_table);
        self.stream_table.connected(self.place.line, self.peer);
    }

    /// The interruptions that the end of this session begins, at its last data frame, or that were not over yet.
    pub(super) fn gap_from(&self, cause: Cause) -> Interruption {
        let start = GapStart { cause, from_ns: self.received.last_ns.max(self.opened_ns) };
        let pending = self.requests.pending();
        let unanswered = self.streams.iter().filter(|s| pending.contains(&s.name));
        // One that is requested again was subscribed.
        let since_ns = |s: &StreamStat| s.since_ns().max(s.last_ns());
        Interruption::after(self.gap.as_ref(), start, unanswered.map(|s| (s.name.clone(), since_ns(s))))
    }

    /// How long data flowed.
    pub(super) fn good_for(&self) -> Duration {
        self.received.first.map_or(Duration::ZERO, |t| t.elapsed())
    }

    /// True when the end of `old` leaves no gap, because this one delivers: everything that is not quiet by nature, or
    /// at least, since everything was answered, all that `old` delivered.
    pub(super) fn covers(&self, old: &VenueSession) -> bool {
        self.missing(old).next().is_none()
    }

    /// Streams that this one has not delivered, and that `old` has since everything was answered here.
    fn missing<'a>(&'a self, old: &'a VenueSession) -> impl Iterator<Item = &'a str> {
        let since_ns = self.phase.live().map_or(0, |live| live.ns);
        let silent = self.streams.iter().filter(|s| !s.quiet && s.frames() == 0);
        silent.filter_map(move |s| {
            let last_ns = old.streams.last_ns(&s.name, |name| old.feed.venue.streams.stream_key(name))?;
            (last_ns >= since_ns).then_some(s.name.as_str())
        })
    }

    /// Whether this one, opened beside `old`, may take its place: everything is answered, and every stream has
    /// delivered, or what has not in as long as silence is put up with did not deliver on `old` either.
    pub(super) fn may_replace(&mut self, old: &VenueSession, now: Instant) -> Fit {
        let Some(live) = self.phase.live().filter(|_| self.requests.done()) else { return Fit::NotYet };
        if self.streams.iter().all(|s| s.quiet || s.frames() > 0) {
            return Fit::Yes;
        }
        let patience = Duration::from_secs(self.feed.config.limits.stream_silence_s);
        if now.saturating_duration_since(live.at) < patience {
            return Fit::NotYet;
        }
        let missing: Vec<String> = self.missing(old).map(str::to_owned).collect();
        if missing.is_empty() {
            return Fit::Yes;
        }
        let Some((since, known)) = &self.lacking else {
            self.lacking = Some((now, missing));
            return Fit::NotYet;
        };
        // A frame may be faster on one of the two.
        if now.saturating_duration_since(*since) < patience.min(LATE) {
            return Fit::NotYet;
        }
        let still: Vec<&String> = known.iter().filter(|name| missing.contains(name)).collect();
        match still.first() {
            Some(first) => Fit::Never(format!(
                "{} streams that flow on the connection before are silent on it: {first}",
                still.len()
            )),
            None => {
                self.lacking = Some((now, missing));
                Fit::NotYet
            }
        }
    }

    /// It is not good enough to take the place of another; the reason is recorded with its end.
    pub(super) fn is_unfit(&mut self, why: String) -> Cause {
        self.error.get_or_insert(why);
        Cause::Stale
    }

    /// True when the venue closed the connection because of what we did on it.
    pub(super) fn punished(&self) -> bool {
        match &self.close {
            Some((code, _)) => matches!(code, 1008 | 1013) || self.throttled > 0,
            None => false,
        }
    }

    /// The address it is connected to.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// True once every subscription was answered.
    pub(super) fn is_live(&self) -> bool {
        self.phase.live().is_some()
    }

    /// Streams that the venue refuses.
    pub(super) fn refused(&self) -> usize {
        self.requests.refused_streams().len()
    }

    /// Ordinal in the log.
    pub(super) fn conn(&self) -> u32 {
        self.conn
    }

    /// What failed, or the server's close, as one text.
    pub(super) fn why(&self) -> String {
        match (&self.close, &self.error) {
            (Some((code, reason)), _) => format!("closed by the server with {code} {reason:?}"),
            (None, Some(error)) => error.clone(),
            (None, None) => "the server ended the connection".to_owned(),
        }
    }
}

/// True when silence of a stream that serves `wants` says nothing.
pub(super) fn is_quiet(wants: &[Want]) -> bool {
    wants.iter().all(|want| want.channel == Channel::Liquidations)
}

/// The symbol whose order book a stream that serves `wants` changes.
fn book_of(wants: &[Want]) -> Option<String> {
    wants.iter().find(|want| want.channel == Channel::Depth).map(|want| want.symbol.clone())
}

/// Whether a new session may take the place of one that delivers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    NotYet,
    /// And why not.
    Never(String),
}

/// Unix time, s.
fn seconds(stamp: Stamp) -> i64 {
    i64::try_from(stamp.0 / 1_000_000_000).unwrap_or(i64::MAX)
}
