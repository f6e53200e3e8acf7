//! One WebSocket from the place it takes to its last frame: what a session receives, what is written within which time,
//! pings, and how it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, error::ProtocolError};

use super::mailbox::Mailbox;
use super::upgrade::{Upgrade, WebSocket};
use crate::app::{App, Shared};
use crate::error::{Answer, Refusal};
use crate::time::now_ms;
use ops::supervise::Task;

/// Clients say little; the library's own 128 KiB would be most of what a client costs.
const READ_BUFFER: usize = 4 << 10;

/// A client whose socket we closed has this long to close it, too.
const FAREWELL: Duration = Duration::from_secs(1);

/// What [`run`] drives.
pub(super) trait SocketSession: Send {
    fn mailbox(&self) -> Arc<Mailbox>;
    /// Messages are counted: more than are allowed in a second end the socket.
    fn counts(&self) -> bool {
        true
    }
    /// Before anything else.
    fn begin(&mut self, out: &mut Out<'_>) -> impl Future<Output = Result<(), End>> + Send;
    /// The client said something.
    fn said(&mut self, text: &str, out: &mut Out<'_>) -> impl Future<Output = Result<(), End>> + Send;
    /// Some time has passed: what was not there before may be there now.
    fn look(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
    /// Something waits in the mailbox.
    fn send(&mut self, out: &mut Out<'_>) -> impl Future<Output = Result<(), End>> + Send;
    /// Gives everything back.
    fn end(&mut self);
}

/// Takes a place for the socket and hands it to `serve`.
pub(super) fn accept<F: Future<Output = ()> + Send + 'static>(
    app: &Shared,
    upgrade: Upgrade,
    serve: impl FnOnce(WebSocket) -> F + Send + 'static,
) -> Answer<Response> {
    if !app.status.pressure().level().takes_websockets() {
        app.status.pressure().shed("websockets_refused");
        return Err(Refusal::with(StatusCode::SERVICE_UNAVAILABLE, -1003, "Memory is short: no new WebSockets now."));
    }
    let Ok(place) = Arc::clone(&app.sockets).try_acquire_owned() else {
        return Err(Refusal::with(StatusCode::SERVICE_UNAVAILABLE, -1003, "Too many WebSockets."));
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
        drop(place);
    }))
}

/// Why a session ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client went.
    Gone,
    /// The client closes, and its close frame is to be answered.
    Closed,
    /// We close, with this code and reason.
    Close(CloseCode, &'static str),
}

/// The writing side of a socket, with a time limit for everything.
pub(super) struct Out<'a> {
    sink: SplitSink<WebSocket, Message>,
    app: &'a App,
}

impl Out<'_> {
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
            Err(_) => Err(End::Close(CloseCode::Policy, "too slow: what is written is not read in time")),
        }
    }

    /// The last message and the close frame; a client that still does not read misses them.
    async fn close(&mut self, code: CloseCode, reason: &'static str) {
        if code == CloseCode::Policy && reason.starts_with("too slow") {
            self.app.counts.slow.fetch_add(1, Relaxed);
        }
        let text = format!("{{\"e\":\"close\",\"E\":{},\"code\":{code},\"reason\":\"{reason}\"}}", now_ms());
        let last = [Message::text(text), Message::Close(Some(CloseFrame { code, reason: reason.into() }))];
        // Whether it arrived is the client's to know.
        let _ = self.write(last).await;
    }
}

/// Returns when there is something to send, not before `next`. What comes meanwhile is conflated.
///
/// # Cancel safety
/// Safe: the wake-up is taken last.
async fn news(mailbox: &Mailbox, next: Instant) {
    if next > Instant::now() {
        tokio::time::sleep_until(next).await;
    }
    mailbox.wake.notified().await;
}

/// Runs one session to its end: reads, writes, pings, and closes.
pub(super) async fn run(app: &App, socket: WebSocket, mut session: impl SocketSession) {
    let (sink, mut stream) = socket.split();
    let mut out = Out { sink, app };
    let mut ping = tokio::time::interval(Duration::from_secs(app.cfg.ping_interval_s));
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ping.tick().await;
    let (mut unanswered, mut second, mut said) = (0, 0, 0);
    let mailbox = session.mailbox();
    let mut next = Instant::now();
    let end = match session.begin(&mut out).await {
        Err(end) => end,
        Ok(()) => loop {
            let step = tokio::select! {
                message = stream.next() => {
                    let now = now_ms().div_euclid(1_000);
                    (second, said) = if now == second { (second, said + 1) } else { (now, 1) };
                    unanswered = 0;
                    match message {
                        None => Err(End::Gone),
                        Some(Ok(Message::Close(_))) => Err(End::Closed),
                        Some(Err(err)) => Err(broken(&err)),
                        _ if session.counts() && said > app.cfg.ws_messages_per_s => Err(End::Close(CloseCode::Policy, "Too many requests")),
                        Some(Ok(Message::Text(text))) => session.said(&text, &mut out).await,
                        Some(Ok(Message::Binary(_))) => Err(End::Close(CloseCode::Unsupported, "only text is understood")),
                        Some(Ok(_)) => Ok(()),
                    }
                }
                () = news(mailbox.as_ref(), next) => {
                    next = Instant::now() + app.status.pressure().level().push_delay();
                    session.send(&mut out).await
                }
                _ = ping.tick() => {
                    unanswered += 1;
                    // Three pings without a sign: whoever it was is gone.
                    if unanswered > 3 {
                        Err(End::Close(CloseCode::Away, "no answer to pings"))
                    } else {
                        session.look().await;
                        out.write([Message::Ping(now_ms().to_string().into())]).await
                    }
                }
                () = app.shutdown.wait() => Err(End::Close(CloseCode::Away, "the server goes away")),
            };
            if let Err(end) = step {
                break end;
            }
        },
    };
    session.end();
    match end {
        End::Gone => {}
        // The library has the answer ready: the same code.
        End::Closed => {
            // Whether it arrived is the client's to know.
            let _ = tokio::time::timeout(FAREWELL, out.sink.flush()).await;
        }
        End::Close(code, reason) => {
            out.close(code, reason).await;
            // What the client still says is not read by anybody, but unread it would cut our last frames off.
            let rest = async { while let Some(Ok(_)) = stream.next().await {} };
            // Enough time for an answer; whoever floods us gets no more of it.
            let _ = tokio::time::timeout(FAREWELL, rest).await;
        }
    }
}

/// How to end a socket on which something came that is no message.
fn broken(err: &Error) -> End {
    match err {
        Error::Capacity(_) => End::Close(CloseCode::Size, "the message is too long"),
        Error::Utf8(_) => End::Close(CloseCode::Invalid, "the text is not UTF-8"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        Error::Protocol(_) => End::Close(CloseCode::Protocol, "this is not the WebSocket protocol"),
        _ => End::Gone,
    }
}
