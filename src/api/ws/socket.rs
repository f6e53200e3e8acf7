//! One WebSocket from its permit to its last frame: dispatch to a session, write time limits, pings, and the close
//! handshake.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, error::ProtocolError};

use super::mailbox::Mailbox;
use super::upgrade::{Upgrade, WebSocket};
use crate::app::{App, Shared};
use crate::error::{ApiError, ApiResult};
use crate::time::now_ms;
use ops::supervise::Task;

/// Clients send little; the library's own 128 KiB would be most of what a client costs.
const READ_BUFFER: usize = 4 << 10;

/// A client has this long to answer our close frame.
const FAREWELL: Duration = Duration::from_secs(1);

/// What [`run`] drives.
pub(super) trait SocketSession: Send {
    fn mailbox(&self) -> Arc<Mailbox>;
    /// True when `[api] ws_messages_per_s` applies.
    fn is_rate_limited(&self) -> bool {
        true
    }
    /// Before anything else.
    fn begin(&mut self, out: &mut SocketWriter<'_>) -> impl Future<Output = Result<(), End>> + Send;
    /// A text message of the client.
    fn on_message(&mut self, text: &str, out: &mut SocketWriter<'_>) -> impl Future<Output = Result<(), End>> + Send;
    /// At each ping interval: looks for symbols listed since.
    fn on_tick(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
    /// The mailbox has updates.
    fn send(&mut self, out: &mut SocketWriter<'_>) -> impl Future<Output = Result<(), End>> + Send;
    /// Releases all subscriptions.
    fn close(&mut self);
}

/// Takes a permit for the socket and hands it to `serve`.
pub(super) fn accept<F: Future<Output = ()> + Send + 'static>(
    app: &Shared,
    upgrade: Upgrade,
    serve: impl FnOnce(WebSocket) -> F + Send + 'static,
) -> ApiResult<Response> {
    if !app.status.pressure().level().takes_websockets() {
        app.status.pressure().shed("websockets_refused");
        return Err(ApiError::with(StatusCode::SERVICE_UNAVAILABLE, -1003, "Memory is short: no new WebSockets now."));
    }
    let Ok(permit) = Arc::clone(&app.sockets).try_acquire_owned() else {
        return Err(ApiError::with(StatusCode::SERVICE_UNAVAILABLE, -1003, "Too many WebSockets."));
    };
    let app = Arc::clone(app);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(app.cfg.max_message_bytes))
        .max_frame_size(Some(app.cfg.max_message_bytes));
    Ok(upgrade.accept(config, move |socket| async move {
        app.counts.websockets.fetch_add(1, Relaxed);
        let served = app.status.supervisor().once(Task::Client, "", serve(socket)).await;
        // A panic was reported; the client sees its socket end.
        drop(served);
        app.counts.websockets.fetch_sub(1, Relaxed);
        drop(permit);
    }))
}

/// Why a session ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client went.
    Gone,
    /// The client sent a close frame, which is to be answered.
    Closed,
    /// We close, with this code and reason.
    Close(CloseCode, &'static str),
    /// We close, because the client does not keep up, for this reason.
    Slow(&'static str),
}

/// The writing side of a socket, with a time limit for everything.
pub(super) struct SocketWriter<'a> {
    sink: SplitSink<WebSocket, Message>,
    app: &'a App,
}

impl SocketWriter<'_> {
    /// Writes all of it, or reports that the client is too slow.
    pub(super) async fn write(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<(), End> {
        let sink = &mut self.sink;
        let all = async {
            let mut written = 0;
            for message in messages {
                sink.feed(message).await?;
                written += 1;
            }
            sink.flush().await?;
            Ok::<u64, Error>(written)
        };
        match tokio::time::timeout(Duration::from_secs(self.app.cfg.slow_client_s), all).await {
            Ok(Ok(written)) => {
                self.app.counts.pushed.fetch_add(written, Relaxed);
                Ok(())
            }
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow("too slow: what is written is not read in time")),
        }
    }

    /// The last message and the close frame; a client that still does not read misses them.
    async fn close(&mut self, code: CloseCode, reason: &'static str) {
        let text = format!("{{\"e\":\"close\",\"E\":{},\"code\":{code},\"reason\":\"{reason}\"}}", now_ms());
        let last = [Message::text(text), Message::Close(Some(CloseFrame { code, reason: reason.into() }))];
        // Best effort.
        let _ = self.write(last).await;
    }
}

/// Returns when there are updates to send, not before `next`. Updates that come meanwhile are conflated.
///
/// # Cancel safety
/// Safe: the wake-up is taken last.
async fn updates(mailbox: &Mailbox, next: Instant) {
    if next > Instant::now() {
        tokio::time::sleep_until(next).await;
    }
    mailbox.wake.notified().await;
}

/// Runs one session to its end: reads, writes, pings, and closes.
pub(super) async fn run(app: &App, socket: WebSocket, mut session: impl SocketSession) {
    let (sink, mut stream) = socket.split();
    let mut out = SocketWriter { sink, app };
    let mut ping = tokio::time::interval(Duration::from_secs(app.cfg.ping_interval_s));
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ping.tick().await;
    let (mut unanswered, mut second, mut messages) = (0, 0, 0);
    let mailbox = session.mailbox();
    let mut next = Instant::now();
    let end = match session.begin(&mut out).await {
        Err(end) => end,
        Ok(()) => loop {
            let step = tokio::select! {
                message = stream.next() => {
                    let now = now_ms().div_euclid(1_000);
                    (second, messages) = if now == second { (second, messages + 1) } else { (now, 1) };
                    unanswered = 0;
                    match message {
                        None => Err(End::Gone),
                        Some(Ok(Message::Close(_))) => Err(End::Closed),
                        Some(Err(err)) => Err(broken(&err)),
                        _ if session.is_rate_limited() && messages > app.cfg.ws_messages_per_s => Err(End::Close(CloseCode::Policy, "Too many requests")),
                        Some(Ok(Message::Text(text))) => session.on_message(&text, &mut out).await,
                        Some(Ok(Message::Binary(_))) => Err(End::Close(CloseCode::Unsupported, "binary messages are not supported")),
                        Some(Ok(_)) => Ok(()),
                    }
                }
                () = updates(mailbox.as_ref(), next) => {
                    next = Instant::now() + app.status.pressure().level().push_delay();
                    session.send(&mut out).await
                }
                _ = ping.tick() => {
                    unanswered += 1;
                    // Three pings without any frame: the client is gone.
                    if unanswered > 3 {
                        Err(End::Close(CloseCode::Away, "ping timeout"))
                    } else {
                        session.on_tick().await;
                        out.write([Message::Ping(now_ms().to_string().into())]).await
                    }
                }
                () = app.shutdown.wait() => Err(End::Close(CloseCode::Away, "server shutting down")),
            };
            if let Err(end) = step {
                break end;
            }
        },
    };
    session.close();
    match end {
        End::Gone => {}
        // The library has the answer ready: the same code.
        End::Closed => {
            // Best effort.
            let _ = tokio::time::timeout(FAREWELL, out.sink.flush()).await;
        }
        End::Close(code, reason) => farewell(&mut out, &mut stream, code, reason).await,
        End::Slow(reason) => {
            app.counts.slow.fetch_add(1, Relaxed);
            farewell(&mut out, &mut stream, CloseCode::Policy, reason).await;
        }
    }
}

/// Closes the socket from our side.
async fn farewell(
    out: &mut SocketWriter<'_>,
    stream: &mut SplitStream<WebSocket>,
    code: CloseCode,
    reason: &'static str,
) {
    out.close(code, reason).await;
    // Unread input would make the kernel reset the connection and drop our last frames.
    let rest = async { while let Some(Ok(_)) = stream.next().await {} };
    // Bounded: a client may send for ever.
    let _ = tokio::time::timeout(FAREWELL, rest).await;
}

/// How to end a socket after a read error.
fn broken(err: &Error) -> End {
    match err {
        Error::Capacity(_) => End::Close(CloseCode::Size, "the message is too long"),
        Error::Utf8(_) => End::Close(CloseCode::Invalid, "the text is not UTF-8"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        Error::Protocol(_) => End::Close(CloseCode::Protocol, "WebSocket protocol error"),
        _ => End::Gone,
    }
}
