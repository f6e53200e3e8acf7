//! The life of one open connection: subscribe at the venue's pace, append every message, watch for silence.
//!
//! ```text
//!   socket --poll--> stamp --> append --> stream prefix: count the stream
//!                                     \-> no stream: control reply, error, shutdown notice
//! ```
//! Everything of the frame path runs on this connection's task, in one synchronous step per message, in bursts
//! of what is ready. Nothing is queued, copied or parsed beyond the stream's name. All state is in [`Session`],
//! so [`Session::run`] may be dropped and called again at any time: that is how two sessions overlap while one
//! replaces the other. Pings are answered inside tungstenite, on the next poll, whether or not we write.

mod close;
mod duties;
mod receive;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tracing::debug;
use wal_format::{Kind, Seq};

use super::backoff::random;
use super::connect::Io;
use super::feed::Feed;
use super::handshake::Ready;
use super::log::{LogStopped, Stamp};
use super::metrics::ConnState;
use super::pace::Window;
use super::record::{self, ConnOpen, Gap};
use super::watchdog::{Streams, Watchdog};
use crate::venue::{Channel, ConnectionPlan};

/// How often silence is looked for.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Why a connection ended; the word is in its ConnClose record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The server sent a close frame.
    Server,
    /// The socket broke or ended without one.
    Lost,
    /// Nothing arrived for too long.
    Stale,
    /// A replacement took over.
    Rotate,
    /// The process stops.
    Shutdown,
    /// The log does not take records.
    Log,
}

impl Cause {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Cause::Server => "server",
            Cause::Lost => "lost",
            Cause::Stale => "stale",
            Cause::Rotate => "rotate",
            Cause::Shutdown => "shutdown",
            Cause::Log => "log",
        }
    }
}

/// Whether a replacement is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rotation {
    No,
    Wanted(&'static str),
    /// The slot knows; it decides when the replacement is good.
    Told,
}

/// What [`Session::run`] returns for.
#[derive(Debug)]
pub(super) enum Step {
    /// Every subscription was answered; told once.
    Live,
    /// A replacement should be opened; told once, the session goes on.
    Rotate(&'static str),
    /// The venue is to stop.
    Stop,
    /// The connection is over.
    Ended(Cause),
}

/// An interruption that began and is written down when everything is subscribed again.
#[derive(Clone, Copy, Debug)]
pub(super) struct GapStart {
    pub(super) cause: Cause,
    pub(super) from_ns: u64,
}

/// One open connection.
pub(super) struct Session {
    feed: Arc<Feed>,
    slot: usize,
    plan: Arc<ConnectionPlan>,
    conn: u32,
    socket: WebSocketStream<Io>,
    streams: Arc<Streams>,
    watchdog: Watchdog,
    /// Requests not sent yet, and when the first of them may go.
    requests: VecDeque<String>,
    send_at: Option<Instant>,
    sent: u64,
    answered: u64,
    last_sent: Instant,
    live: bool,
    messages: Window,
    flush: bool,
    next_check: Instant,
    ends_at: Instant,
    rotation: Rotation,
    /// Closing: only the socket's own end counts, not a close frame.
    draining: bool,
    opened: Instant,
    opened_ns: u64,
    first_data: Option<Instant>,
    last_ns: u64,
    last_seq: Option<Seq>,
    frames: u64,
    bytes: u64,
    close: Option<(u16, String)>,
    error: Option<String>,
    log_stopped: bool,
    /// An interruption before this session that is not written down yet.
    pub(super) gap: Option<GapStart>,
}

impl Session {
    /// Takes over a fresh socket: writes the ConnOpen record and plans the subscriptions.
    pub(super) fn start(
        feed: &Arc<Feed>,
        slot: usize,
        plan: &Arc<ConnectionPlan>,
        ready: Ready,
        attempt: u32,
    ) -> Result<Session, LogStopped> {
        let limits = &feed.config.limits;
        let (opened, url) = (ready.opened, ready.shown.as_str());
        let (now, stamp) = (Instant::now(), Stamp::now());
        let now_s = i64::try_from(stamp.0 / 1_000_000_000).unwrap_or(i64::MAX);
        let conn = feed.next_conn();
        let record = ConnOpen {
            url,
            local: opened.local,
            peer: opened.peer,
            line: 0,
            streams: plan.streams.len(),
            tls: opened.tls,
            attempt,
        };
        feed.log.append(stamp, conn, Kind::ConnOpen, 0, &record::json(&record))?;
        feed.metrics.connects.add(1);
        let streams = Arc::new(Streams::new(&plan.streams, |s| feed.venue.stream_key(s)));
        feed.metrics.connection(slot, ConnState::Subscribing, conn, &streams);
        let s = Duration::from_secs;
        let watchdog = Watchdog::new(
            now,
            s(limits.silence_timeout_s),
            s(limits.stream_silence_s),
            plan.wants.iter().map(|w| w.channel == Channel::Liquidations),
        );
        // Up to 5 % earlier, so that connections opened together do not end together.
        let lifetime = s(limits.lifetime_s).mul_f64(1.0 - 0.05 * random());
        let ms = Duration::from_millis;
        let mut session = Session {
            feed: Arc::clone(feed),
            slot,
            plan: Arc::clone(plan),
            conn,
            socket: opened.socket,
            streams,
            watchdog,
            requests: feed.venue.subscribe_messages(&plan.streams, limits, 1, now_s).into(),
            send_at: None,
            sent: 0,
            answered: 0,
            last_sent: now,
            live: false,
            messages: Window::new(limits.messages_per_s, s(1), ms(limits.subscribe_delay_ms)),
            flush: false,
            next_check: now + CHECK_EVERY,
            ends_at: now + lifetime,
            rotation: Rotation::No,
            draining: false,
            opened: now,
            opened_ns: stamp.0,
            first_data: None,
            last_ns: 0,
            last_seq: None,
            frames: 0,
            bytes: 0,
            close: None,
            error: None,
            log_stopped: false,
            gap: None,
        };
        session.plan_send(now);
        debug!(venue = %feed.id, conn, slot, attempt, url, "connected");
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
            timer.as_mut().reset(self.send_at.map_or(self.next_check, |at| at.min(self.next_check)));
            let ended = tokio::select! {
                biased;
                ended = poll_fn(|cx| self.poll_receive(cx)) => ended,
                () = timer.as_mut() => None,
                () = stop.as_mut() => return Step::Stop,
            };
            if let Some(seq) = self.last_seq.take()
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
                if !self.live && self.requests.is_empty() && self.answered >= self.sent {
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

    /// Where an interruption that begins with the end of this session starts: its last data frame.
    pub(super) fn gap_from(&self, cause: Cause) -> GapStart {
        // An interruption that was not over yet goes on.
        self.gap.unwrap_or(GapStart { cause, from_ns: self.last_ns.max(self.opened_ns) })
    }

    /// How long data flowed.
    pub(super) fn good_for(&self) -> Duration {
        self.first_data.map_or(Duration::ZERO, |t| t.elapsed())
    }

    /// True once every subscription was answered.
    pub(super) fn is_live(&self) -> bool {
        self.live
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

/// Writes the Gap record of an interruption that ends now.
pub(super) fn write_gap(feed: &Feed, conn: u32, gap: GapStart, streams: &[String]) -> Result<(), LogStopped> {
    let stamp = Stamp::now();
    let record = Gap { reason: gap.cause.as_str(), from_ns: gap.from_ns, to_ns: stamp.0, streams };
    feed.log.append(stamp, conn, Kind::Gap, 0, &record::json(&record))?;
    Ok(())
}
