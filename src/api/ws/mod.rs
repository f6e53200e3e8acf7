//! WebSockets: the exchange's streams under `/ws` and `/stream`, ours under `/v1/stream`.
//!
//! `/ws` and `/stream` without a prefix look for a symbol on spot first and on USD-M then; behind `/market` and
//! `/public`, as the exchange routes its futures, only on USD-M; under `/stream/ws` only on spot. A client that cannot take what is written within
//! `[api] slow_client_s` gets one last message and close code 1008; what waited for it meanwhile was bounded.

mod control;
mod dispatch;
mod mailbox;
mod native;
mod session;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;

pub(super) use dispatch::{Dispatcher, Filter};

use super::binance::Family;
use super::error::{Answer, Refusal};
use super::{App, Shared, now_ms};
use crate::supervise::Task;
use mailbox::Mailbox;
use session::{Binance, Session};

/// Clients say little; the library's own 128 KiB would be most of what a client costs.
const READ_BUFFER: usize = 4 << 10;

/// Which market a path means; `None` = spot, then USD-M.
type Market = Option<Family>;

pub(super) fn router() -> Router<Shared> {
    let paths = |market: Market| {
        let (a, b, c) = (market, market, market);
        Router::new()
            .route("/ws", get(move |app, upgrade| raw(app, upgrade, a, String::new())))
            .route(
                "/ws/{*streams}",
                get(move |app, upgrade, Path(streams): Path<String>| raw(app, upgrade, b, streams)),
            )
            .route("/stream", get(move |app, upgrade, query| combined(app, upgrade, c, query)))
    };
    Router::new()
        .merge(paths(None))
        .nest("/market", paths(Some(Family::Usdm)))
        .nest("/public", paths(Some(Family::Usdm)))
        // ccxt takes a socket for one of spot by "/stream" in its address.
        .route("/stream/ws", get(|app, upgrade| raw(app, upgrade, Some(Family::Spot), String::new())))
        .route(
            "/stream/ws/{*streams}",
            get(|app, upgrade, Path(streams): Path<String>| raw(app, upgrade, Some(Family::Spot), streams)),
        )
        .route("/v1/stream", get(native::open))
}

async fn raw(app: State<Shared>, upgrade: WebSocketUpgrade, market: Market, streams: String) -> Answer<Response> {
    open(app, upgrade, market, &streams, false)
}

async fn combined(
    app: State<Shared>,
    upgrade: WebSocketUpgrade,
    market: Market,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Response> {
    open(app, upgrade, market, query.get("streams").map_or("", String::as_str), true)
}

fn open(
    app: State<Shared>,
    upgrade: WebSocketUpgrade,
    market: Market,
    streams: &str,
    combined: bool,
) -> Answer<Response> {
    let session = Binance::new(Arc::clone(&app), market, combined)?;
    // Some clients (ccxt) number their sockets, `/ws/0`, and subscribe then: what names no stream is none.
    let names: Vec<String> = streams.split('/').filter(|s| s.contains('@')).map(str::to_owned).collect();
    // Refused before the socket is open, so that a misspelt address is seen.
    let wanted = session.check(&names).map_err(|msg| Refusal::new(-1121, msg))?;
    accept(&app, upgrade, move |socket| async move { session.run(socket, wanted).await })
}

/// Takes a place for the socket and hands it to `serve`.
fn accept<F: Future<Output = ()> + Send + 'static>(
    app: &Shared,
    upgrade: WebSocketUpgrade,
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
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER)
        .max_message_size(app.cfg.max_message_bytes)
        .max_frame_size(app.cfg.max_message_bytes);
    Ok(upgrade.on_upgrade(move |socket| async move {
        app.counts.websockets.fetch_add(1, Relaxed);
        let served = app.status.supervisor().once(Task::Client, "", serve(socket)).await;
        // A panic was told; the client sees its socket end.
        drop(served);
        app.counts.websockets.fetch_sub(1, Relaxed);
        drop(place);
    }))
}

/// Why a session ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The client went.
    Gone,
    /// We close, with this code and reason.
    Close(u16, &'static str),
}

/// The writing side of a socket, with a time limit for everything.
struct Out<'a> {
    sink: SplitSink<WebSocket, Message>,
    app: &'a App,
}

impl Out<'_> {
    /// Writes all of it, or tells that the client is too slow.
    async fn write(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<(), End> {
        let sink = &mut self.sink;
        let all = async {
            let mut written = 0;
            for message in messages {
                sink.feed(message).await?;
                written += 1;
            }
            sink.flush().await?;
            Ok::<u64, axum::Error>(written)
        };
        match tokio::time::timeout(Duration::from_secs(self.app.cfg.slow_client_s), all).await {
            Ok(Ok(written)) => {
                self.app.counts.pushed.fetch_add(written, Relaxed);
                Ok(())
            }
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Close(close_code::POLICY, "too slow: what is written is not read in time")),
        }
    }

    /// The last message and the close frame; a client that still does not read misses them.
    async fn close(&mut self, code: u16, reason: &'static str) {
        if code == close_code::POLICY && reason.starts_with("too slow") {
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
async fn run(app: &App, socket: WebSocket, mut session: impl Session) {
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
                        None | Some(Err(_) | Ok(Message::Close(_))) => Err(End::Gone),
                        _ if said > app.cfg.ws_messages_per_s => Err(End::Close(close_code::POLICY, "Too many requests")),
                        Some(Ok(Message::Text(text))) => session.said(&text, &mut out).await,
                        Some(Ok(Message::Binary(_))) => Err(End::Close(close_code::UNSUPPORTED, "only text is understood")),
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
                        Err(End::Close(close_code::AWAY, "no answer to pings"))
                    } else {
                        out.write([Message::Ping(now_ms().to_string().into())]).await
                    }
                }
                () = app.shutdown.wait() => Err(End::Close(close_code::AWAY, "the server goes away")),
            };
            if let Err(end) = step {
                break end;
            }
        },
    };
    session.end();
    if let End::Close(code, reason) = end {
        out.close(code, reason).await;
    }
}
