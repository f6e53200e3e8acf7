//! The frame path: socket, stamp, append, count. Synchronous, in bursts of what is ready; see the picture in
//! [`super`]. Nothing here waits, allocates or looks further into a message than its stream's name.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, Stream};
use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{self, Message};
use tracing::warn;
use wal_format::{Kind, flags};

use super::super::log::LogStopped;
use super::duties::context;
use super::requests::Answer;
use super::{Cause, Ending, Phase, Rotation, VenueSession};
use ops::clock::Stamp;
use ops::telemetry::RateLimited;
use venue::Control;

/// Messages taken per wake-up before timers and the shutdown request are looked at again.
const BURST: usize = 256;

/// The first wait after a throttled request; doubled each time on the same connection.
const THROTTLE_WAIT: Duration = Duration::from_secs(1);

static REFUSED: RateLimited = RateLimited::new(Duration::from_secs(30));

impl VenueSession {
    /// Takes what is ready, at most a burst, and counts it. `Some` = the connection is over.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Cause>> {
        let before = (self.received.frames, self.received.bytes);
        let polled = self.poll_burst(cx);
        if self.received.frames != before.0 {
            // Per burst, not per message: other connections count here too, and waking costs a system call.
            self.feed.log.notify();
            self.feed.metrics.frames.add(self.received.frames - before.0);
            self.feed.metrics.bytes.add(self.received.bytes - before.1);
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
        if self.received.first.is_none() && self.received.last_ns > 0 {
            self.received.first = Some(now);
        }
        Poll::Ready(self.over().then_some(Cause::Server))
    }

    fn over(&self) -> bool {
        self.close.is_some() && self.ending == Ending::Open
    }

    fn ended(&self) -> Cause {
        if self.close.is_some() { Cause::Server } else { Cause::Lost }
    }

    pub(super) fn lost(&mut self, err: &tungstenite::Error) -> Cause {
        if self.error.is_none() {
            self.error = Some(err.to_string());
        }
        self.ended()
    }

    /// The frame path.
    #[inline]
    fn take(&mut self, stamp: Stamp, message: &Message) {
        let (bits, payload): (u8, &[u8]) = match message {
            Message::Binary(bytes) => {
                let opcode = if self.socket.get_mut().was_text() { 0 } else { flags::BINARY };
                (self.place.flags() | opcode, bytes)
            }
            // Comes as the above.
            Message::Text(text) => (self.place.flags(), text.as_bytes()),
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
            Ok(seq) => self.received.last_seq = Some(seq),
            Err(LogStopped) => {
                self.log_stopped = true;
                return;
            }
        }
        self.received.frames += 1;
        self.received.bytes += payload.len() as u64;
        match self.feed.venue.frames.stream_of(payload, bits & flags::BINARY != 0) {
            Some(key) => {
                self.received.last_ns = stamp.0;
                if !self.streams.hit(key, stamp.0) {
                    self.feed.metrics.unasked.add(1);
                }
            }
            None => self.control(payload),
        }
    }

    #[cold]
    fn control(&mut self, payload: &[u8]) {
        self.feed.metrics.control.add(1);
        match self.feed.venue.frames.control(payload) {
            Some(Control::Ack { id }) => {
                let refused = self.requests.refused_streams();
                self.requests.answered(self.feed.venue, Answer { id, payload, msg: "" });
                if !refused.is_empty() {
                    self.report_refused();
                }
            }
            Some(Control::Error { id, code, msg, throttled: true }) => {
                self.slow_down(Answer { id, payload, msg: &msg }, code);
            }
            Some(Control::Error { id, code, msg, throttled: false }) => {
                let feed = Arc::clone(&self.feed);
                let (context, why) = (context(&feed, Instant::now(), Stamp::now()), format!("{code} {msg}"));
                let again = self.requests.refused(context, Answer { id, payload, msg: &msg }, &why);
                if again > 0 && self.send_at.is_none() {
                    self.plan_send(context.now);
                }
                self.feed.metrics.refused.add(1);
                self.feed.metrics.refusal(self.place, why);
                self.report_refused();
                if let Some(suppressed) = REFUSED.allow() {
                    warn!(venue = %self.feed.id, conn = self.conn, id, code, error = msg, again, suppressed,
                        "the venue refused a request; where it was for many streams they are requested one by one");
                }
            }
            Some(Control::ServerShutdown) if self.rotation == Rotation::Keep => {
                self.rotation = Rotation::Wanted("server_shutdown");
            }
            Some(Control::Welcome) => {
                if matches!(self.phase, Phase::Welcome { .. }) {
                    self.phase = Phase::Subscribing;
                    self.plan_send(Instant::now());
                }
            }
            Some(Control::Pong) => {
                if let Some(heart) = &mut self.heart {
                    heart.answered();
                }
            }
            Some(Control::ServerShutdown | Control::Other) | None => {}
        }
    }

    /// The venue says that we ask too often: all venues of its exchange wait, this connection more slowly,
    /// and the request that was refused is sent again.
    #[cold]
    fn slow_down(&mut self, answer: Answer<'_>, code: i64) {
        let Answer { id, msg, .. } = answer;
        self.requests.again(self.feed.venue, answer);
        let wait = THROTTLE_WAIT.saturating_mul(1 << self.throttled.min(5));
        self.throttled += 1;
        self.feed.metrics.throttled.add(1);
        let until = Instant::now() + wait;
        self.feed.budget(self.place.line).control.hold(until);
        self.messages.slow_down(until);
        // What was reserved before counts as spent; that errs on the slow side.
        self.plan_send(until);
        self.feed.metrics.refusal(self.place, format!("{code} {msg}"));
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let detail = json!({ "id": id, "code": code, "msg": msg, "wait_ms": wait_ms });
        self.feed.log.note(self.conn, "throttled", detail);
        if let Some(suppressed) = REFUSED.allow() {
            warn!(venue = %self.feed.id, conn = self.conn, id, code, error = msg, wait_ms, suppressed,
                "the venue wants to be asked less often; asking again later");
        }
    }
}
