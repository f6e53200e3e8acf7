//! WebSockets: the exchange's streams under `/ws` and `/stream`, ours under `/v1/stream`.
//!
//! `/ws` and `/stream` without a prefix look for a symbol on spot first and on USD-M then; behind `/market` and
//! `/public`, as the exchange routes its futures, only on USD-M; under `/stream/ws` only on spot. `/private`, which
//! clients of futures open together with the others, has no stream. Whoever closes gets his close frame back, and
//! whoever is closed has time to answer. A client that cannot take what is written within
//! `[api] slow_client_s` gets one last message and close code 1008; what waited for it meanwhile was bounded.

mod api;
mod control;
mod dispatch;
mod mailbox;
mod native;
mod session;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;

pub(super) use dispatch::{Dispatcher, Filter};

use super::binance::Family;
use super::error::{Answer, Refusal};
use super::params::Params;
use super::text::Unit;
use super::{App, Shared, now_ms};
use api::Api;
use mailbox::Mailbox;
use ops::supervise::Task;
use session::{Address, Binance, Session};

/// Clients say little; the library's own 128 KiB would be most of what a client costs.
const READ_BUFFER: usize = 4 << 10;

/// A client whose socket we closed has this long to close it, too.
const FAREWELL: Duration = Duration::from_secs(1);

/// Which market a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Market {
    /// Spot, then USD-M.
    Any,
    Spot,
    Usdm,
    /// None: accounts.
    Private,
}

impl Market {
    /// Where a symbol is looked for, in this order.
    fn families(self) -> &'static [Family] {
        match self {
            Self::Any => &[Family::Spot, Family::Usdm],
            Self::Spot => &[Family::Spot],
            Self::Usdm => &[Family::Usdm],
            Self::Private => &[],
        }
    }
}

pub(super) fn router() -> Router<Shared> {
    let paths = |market: Market| {
        Router::new()
            .route("/ws", get(move |app, upgrade, params| raw(app, upgrade, market, String::new(), params)))
            .route(
                "/ws/{*streams}",
                get(move |app, upgrade, Path(streams): Path<String>, params| {
                    raw(app, upgrade, market, streams, params)
                }),
            )
            .route("/stream", get(move |app, upgrade, params| combined(app, upgrade, market, params)))
    };
    Router::new()
        .merge(paths(Market::Any))
        .nest("/market", paths(Market::Usdm))
        .nest("/public", paths(Market::Usdm))
        .nest("/private", paths(Market::Private))
        // ccxt takes a socket for one of spot by "/stream" in its address.
        .route("/stream/ws", get(|app, upgrade, params| raw(app, upgrade, Market::Spot, String::new(), params)))
        .route(
            "/stream/ws/{*streams}",
            get(|app, upgrade, Path(streams): Path<String>, params| raw(app, upgrade, Market::Spot, streams, params)),
        )
        .route("/ws-api/v3", get(|app, upgrade, params, peer| api(app, upgrade, params, peer, Family::Spot)))
        .route("/ws-fapi/v1", get(|app, upgrade, params, peer| api(app, upgrade, params, peer, Family::Usdm)))
        .route("/v1/stream", get(native::open))
}

async fn api(
    app: State<Shared>,
    upgrade: WebSocketUpgrade,
    params: Params,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    family: Family,
) -> Answer<Response> {
    let unit = params.text("timeUnit").filter(|_| family == Family::Spot);
    unit.map_or(Ok(Unit::Ms), Unit::parse)?;
    let limits = params.text("returnRateLimits") != Some("false");
    let session = Api::new(Arc::clone(&app), family, Some(peer), unit.map(str::to_owned), limits)?;
    accept(&app, upgrade, move |socket| session.run(socket))
}

async fn raw(
    app: State<Shared>,
    upgrade: WebSocketUpgrade,
    market: Market,
    streams: String,
    params: Params,
) -> Answer<Response> {
    open(app, upgrade, Address { market, combined: false, unit: unit(&params)? }, &streams)
}

async fn combined(app: State<Shared>, upgrade: WebSocketUpgrade, market: Market, params: Params) -> Answer<Response> {
    let address = Address { market, combined: true, unit: unit(&params)? };
    open(app, upgrade, address, params.text("streams").unwrap_or_default())
}

/// `timeUnit`: of spot's events; futures have no such option, and what is theirs stays in ms.
fn unit(params: &Params) -> Answer<Unit> {
    params.text("timeUnit").map_or(Ok(Unit::Ms), Unit::parse)
}

fn open(app: State<Shared>, upgrade: WebSocketUpgrade, address: Address, streams: &str) -> Answer<Response> {
    let session = Binance::new(Arc::clone(&app), address)?;
    // Some clients (ccxt) number their sockets, `/ws/0`, and subscribe then; keys of accounts are opened as private.
    let is_stream = |s: &&str| match address.market {
        Market::Private => s.contains(['@', '!']),
        _ => !s.bytes().all(|b| b.is_ascii_digit()),
    };
    let names: Vec<String> = streams.split('/').filter(is_stream).map(str::to_owned).collect();
    let checked = session.check(names).map_err(|msg| Refusal::new(-1121, msg))?;
    // Refused before the socket is open, so that a misspelt address is seen.
    if let Some(why) = checked.refused() {
        return Err(Refusal::new(-1121, why));
    }
    accept(&app, upgrade, move |socket| async move { session.run(socket, checked).await })
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
    /// The client closes, and its close frame is to be answered.
    Closed,
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
                        None => Err(End::Gone),
                        Some(Ok(Message::Close(_))) => Err(End::Closed),
                        Some(Err(err)) => Err(broken(&err)),
                        _ if session.counts() && said > app.cfg.ws_messages_per_s => Err(End::Close(close_code::POLICY, "Too many requests")),
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
                        session.look().await;
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
    match end {
        End::Gone => {}
        // The library has the answer ready: the same code.
        End::Closed => {
            // Whether it arrived is the client's to know.
            let _ = tokio::time::timeout(FAREWELL, out.sink.flush()).await;
        }
        End::Close(code, reason) => {
            out.close(code, reason).await;
            // What the client still says is not read by anybody, but unread it would cut our last words off.
            let rest = async { while let Some(Ok(_)) = stream.next().await {} };
            // Enough time for an answer; whoever floods us gets no more of it.
            let _ = tokio::time::timeout(FAREWELL, rest).await;
        }
    }
}

/// How to end a socket on which something came that is no message. The library's errors are known by their words only:
/// their types are of a version of their own.
fn broken(err: &axum::Error) -> End {
    let text = err.to_string();
    if text.starts_with("Space limit exceeded") {
        End::Close(close_code::SIZE, "the message is too long")
    } else if text.starts_with("UTF-8 encoding error") {
        End::Close(close_code::INVALID, "the text is not UTF-8")
    } else if text.starts_with("WebSocket protocol error") && !text.contains("without closing handshake") {
        End::Close(close_code::PROTOCOL, "this is not the WebSocket protocol")
    } else {
        End::Gone
    }
}
