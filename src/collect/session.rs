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

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, Stream};
use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use tracing::{debug, warn};
use wal_format::{Kind, Seq, flags};

use super::backoff::random;
use super::connect::{Io, Opened};
use super::feed::Feed;
use super::log::{LogStopped, Stamp};
use super::metrics::ConnState;
use super::pace::Window;
use super::record::{self, ConnClose, ConnOpen, Gap, Subscribe};
use super::watchdog::{Streams, Watchdog};
use crate::telemetry::RateLimited;
use crate::venue::{Channel, ConnectionPlan, Control};

/// Messages taken per wake-up before timers and the shutdown request are looked at again.
const BURST: usize = 256;
/// How often silence is looked for.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Acknowledgements that have not come by then are reported and not waited for any longer.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a closing handshake may take; what arrives meanwhile is appended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

static REFUSED: RateLimited = RateLimited::new(Duration::from_secs(30));
static SILENT: RateLimited = RateLimited::new(Duration::from_secs(60));
static UNANSWERED: RateLimited = RateLimited::new(Duration::from_secs(30));

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
        opened: Opened,
        url: &str,
        attempt: u32,
    ) -> Result<Session, LogStopped> {
        let limits = &feed.config.limits;
        let (now, stamp) = (Instant::now(), Stamp::now());
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
        let streams = Arc::new(Streams::new(&plan.streams));
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
            requests: feed.venue.subscribe_messages(&plan.streams, limits, 1).into(),
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

    /// Takes what is ready, at most a burst, and counts it. `Some` = the connection is over.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Cause>> {
        let before = (self.frames, self.bytes);
        let polled = self.poll_burst(cx);
        if self.frames != before.0 {
            // Per burst, not per message: other connections count here too.
            self.feed.metrics.frames.add(self.frames - before.0);
            self.feed.metrics.bytes.add(self.bytes - before.1);
        }
        polled
    }

    fn poll_burst(&mut self, cx: &mut Context<'_>) -> Poll<Option<Cause>> {
        if self.flush {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.flush = false,
                Poll::Ready(Err(err)) => return Poll::Ready(Some(self.lost(&err))),
                Poll::Pending => {}
            }
        }
        let mut taken = 0;
        while taken < BURST {
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => {
                    let stamp = Stamp::now();
                    taken += 1;
                    self.take(stamp, &message);
                    if self.log_stopped || self.over() {
                        break;
                    }
                }
                Poll::Ready(Some(Err(err))) => return Poll::Ready(Some(self.lost(&err))),
                Poll::Ready(None) => return Poll::Ready(Some(self.ended())),
                Poll::Pending if taken == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        let now = Instant::now();
        self.watchdog.active(now);
        if self.first_data.is_none() && self.last_ns > 0 {
            self.first_data = Some(now);
        }
        Poll::Ready(self.over().then_some(Cause::Server))
    }

    fn over(&self) -> bool {
        self.close.is_some() && !self.draining
    }

    fn ended(&self) -> Cause {
        if self.close.is_some() { Cause::Server } else { Cause::Lost }
    }

    fn lost(&mut self, err: &tungstenite::Error) -> Cause {
        if self.error.is_none() {
            self.error = Some(err.to_string());
        }
        self.ended()
    }

    /// The frame path.
    #[inline]
    fn take(&mut self, stamp: Stamp, message: &Message) {
        let (bits, payload): (u8, &[u8]) = match message {
            Message::Text(text) => (0, text.as_bytes()),
            Message::Binary(bytes) => (flags::BINARY, bytes),
            Message::Ping(_) => {
                self.messages.note(Instant::now(), 1);
                return;
            }
            Message::Close(frame) => {
                self.close =
                    Some(frame.as_ref().map_or((1005, String::new()), |f| {
                        (f.code.into(), f.reason.as_str().chars().take(200).collect())
                    }));
                return;
            }
            Message::Pong(_) | Message::Frame(_) => return,
        };
        match self.feed.log.append(stamp, self.conn, Kind::Data, bits, payload) {
            Ok(seq) => self.last_seq = Some(seq),
            Err(LogStopped) => {
                self.log_stopped = true;
                return;
            }
        }
        self.frames += 1;
        self.bytes += payload.len() as u64;
        match self.feed.venue.stream_of(payload) {
            Some(name) => {
                self.last_ns = stamp.0;
                if !self.streams.hit(name, stamp.0) {
                    self.feed.metrics.unasked.add(1);
                }
            }
            None => self.control(payload),
        }
    }

    #[cold]
    fn control(&mut self, payload: &[u8]) {
        self.feed.metrics.control.add(1);
        match self.feed.venue.control(payload) {
            Some(Control::Ack { .. }) => self.answered += 1,
            Some(Control::Error { id, code, msg }) => {
                if id.is_some() {
                    self.answered += 1;
                }
                self.feed.metrics.refused.add(1);
                if let Some(suppressed) = REFUSED.allow() {
                    warn!(venue = %self.feed.id, conn = self.conn, id, code, error = msg, suppressed,
                        "the venue refused a request");
                }
            }
            Some(Control::ServerShutdown) if self.rotation == Rotation::No => {
                self.rotation = Rotation::Wanted("server_shutdown");
            }
            Some(Control::ServerShutdown) => {}
            Some(Control::Other) | None => {}
        }
    }

    /// Does what is due at `now`.
    fn timers(&mut self, now: Instant) -> Option<Step> {
        if self.send_at.is_some_and(|at| at <= now) {
            if let Err(cause) = self.send_next(now) {
                return Some(Step::Ended(cause));
            }
            self.plan_send(now);
        }
        if let Rotation::Wanted(reason) = self.rotation {
            self.rotation = Rotation::Told;
            return Some(Step::Rotate(reason));
        }
        if !self.live && self.requests.is_empty() {
            let all = self.answered >= self.sent;
            if all || now.saturating_duration_since(self.last_sent) >= ACK_TIMEOUT {
                if !all && let Some(suppressed) = UNANSWERED.allow() {
                    warn!(venue = %self.feed.id, conn = self.conn, sent = self.sent, answered = self.answered,
                        suppressed, "subscriptions were not acknowledged");
                }
                return Some(self.became_live(now));
            }
        }
        if now < self.next_check {
            return None;
        }
        self.next_check = now + CHECK_EVERY;
        self.report_silence(now);
        if let Some(silent) = self.watchdog.stale(now) {
            let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
            self.feed.metrics.stale.add(1);
            let _ = self.feed.log.event(self.conn, "stale", json!({ "silent_ms": silent_ms }));
            self.error = Some(format!("nothing arrived for {silent_ms} ms"));
            return Some(Step::Ended(Cause::Stale));
        }
        if now >= self.ends_at && self.rotation == Rotation::No {
            self.rotation = Rotation::Told;
            return Some(Step::Rotate("lifetime"));
        }
        None
    }

    fn became_live(&mut self, now: Instant) -> Step {
        self.live = true;
        self.watchdog.subscribed(now);
        self.feed.metrics.state(self.slot, ConnState::Live);
        if let Some(gap) = self.gap.take() {
            self.write_gap(gap);
        }
        if self.feed.config.channels.contains(&Channel::DepthSnapshot) {
            let depth = self.plan.wants.iter().filter(|w| w.channel == Channel::Depth);
            self.feed.snapshots.want(depth.map(|w| w.symbol.as_str()));
        }
        Step::Live
    }

    fn write_gap(&self, gap: GapStart) {
        // A log that stopped has said so.
        let _ = write_gap(&self.feed, self.conn, gap, &self.plan.streams);
    }

    fn report_silence(&mut self, now: Instant) {
        let silent = self.watchdog.silent_streams(now, &self.streams);
        let Some(first) = silent.first() else { return };
        self.feed.metrics.silent_streams.add(silent.len() as u64);
        if let Some(suppressed) = SILENT.allow() {
            warn!(venue = %self.feed.id, conn = self.conn, stream = first.stream, frames = first.frames,
                silent_ms = first.silent_ms, count = silent.len(), suppressed, "streams are silent");
        }
        let _ = self.feed.log.event(self.conn, "stream_silent", json!({ "streams": silent }));
    }

    /// When the next request may go: within this connection's and the host's pace.
    fn plan_send(&mut self, now: Instant) {
        self.send_at =
            (!self.requests.is_empty()).then(|| self.feed.pace.control.reserve(self.messages.reserve(now, 1), 1));
    }

    fn send_next(&mut self, now: Instant) -> Result<(), Cause> {
        let Some(request) = self.requests.pop_front() else { return Ok(()) };
        let payload = record::json(&Subscribe { request: &request });
        let appended = self.feed.log.append(Stamp::now(), self.conn, Kind::Subscribe, 0, &payload);
        appended.map_err(|LogStopped| Cause::Log)?;
        self.sent += 1;
        self.last_sent = now;
        self.flush = true;
        Pin::new(&mut self.socket).start_send(Message::text(request)).map_err(|err| self.lost(&err))
    }

    /// Ends the connection: closes the socket where it is still open, appends what arrives until the other side
    /// has closed too, and writes the ConnClose record.
    pub(super) async fn finish(mut self, cause: Cause) {
        match cause {
            Cause::Shutdown | Cause::Rotate | Cause::Log => {
                self.close_and_drain(CLOSE_TIMEOUT, CloseCode::Normal).await
            }
            // The answer to the server's close frame goes out with the next polls.
            Cause::Server => self.drain(CLOSE_TIMEOUT).await,
            Cause::Stale => self.close_and_drain(Duration::from_millis(500), CloseCode::Away).await,
            Cause::Lost => {}
        }
        let uptime = self.opened.elapsed();
        let record = ConnClose {
            cause: cause.as_str(),
            code: self.close.as_ref().map(|(code, _)| *code),
            reason: self.close.as_ref().map(|(_, reason)| reason.as_str()),
            error: self.error.as_deref(),
            frames: self.frames,
            bytes: self.bytes,
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        };
        let _ = self.feed.log.append(Stamp::now(), self.conn, Kind::ConnClose, 0, &record::json(&record));
        debug!(venue = %self.feed.id, conn = self.conn, slot = self.slot, cause = cause.as_str(), "closed");
    }

    async fn close_and_drain(&mut self, limit: Duration, code: CloseCode) {
        let frame = CloseFrame { code, reason: "".into() };
        if Pin::new(&mut self.socket).start_send(Message::Close(Some(frame))).is_ok() {
            self.flush = true;
            self.drain(limit).await;
        }
    }

    async fn drain(&mut self, limit: Duration) {
        self.draining = true;
        let deadline = Instant::now() + limit;
        while let Ok(None) = tokio::time::timeout_at(deadline, poll_fn(|cx| self.poll_receive(cx))).await {
            if self.log_stopped {
                break;
            }
        }
        if let Some(seq) = self.last_seq.take() {
            let _ = self.feed.log.wait_durable(seq);
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
