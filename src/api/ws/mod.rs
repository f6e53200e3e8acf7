//! WebSockets: the exchange's streams under `/ws` and `/stream`, ours under `/v1/stream`.
//!
//! `/ws` and `/stream` without a prefix look for a symbol on spot first and on USD-M then; after `/market` and
//! `/public`, as the exchange routes its futures, only on USD-M; under `/stream/ws` only on spot. `/private`, which
//! clients of futures open together with the others, has no stream. A close frame of a client is answered, and
//! a client that is closed has time to answer. A client that cannot take what is written within
//! `[api] slow_client_s` gets one last message and close code 1008; what waited for it meanwhile was bounded.

mod api;
mod control;
mod dispatch;
mod mailbox;
mod native;
mod socket;
mod streams;
mod upgrade;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Path, State};
use axum::response::Response;
use axum::routing::get;

pub(super) use dispatch::{Dispatcher, Filter};

use super::app::Shared;
use super::binance::Family;
use super::error::{ApiError, ApiResult};
use super::params::Params;
use super::text::Unit;
use api::Api;
use socket::accept;
use streams::{Market, StreamOptions, StreamSession};
use upgrade::Upgrade;

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
    upgrade: Upgrade,
    params: Params,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    family: Family,
) -> ApiResult<Response> {
    let unit = params.text("timeUnit").filter(|_| family == Family::Spot);
    unit.map_or(Ok(Unit::Ms), Unit::parse)?;
    let limits = params.text("returnRateLimits") != Some("false");
    let session = Api::new(Arc::clone(&app), family, Some(peer), unit.map(str::to_owned), limits)?;
    accept(&app, upgrade, move |socket| session.run(socket))
}

async fn raw(
    app: State<Shared>,
    upgrade: Upgrade,
    market: Market,
    streams: String,
    params: Params,
) -> ApiResult<Response> {
    open(app, upgrade, StreamOptions { market, combined: false, unit: unit(&params)? }, &streams)
}

async fn combined(app: State<Shared>, upgrade: Upgrade, market: Market, params: Params) -> ApiResult<Response> {
    let address = StreamOptions { market, combined: true, unit: unit(&params)? };
    open(app, upgrade, address, params.text("streams").unwrap_or_default())
}

/// `timeUnit`: of spot's events; futures have no such option, and what is theirs stays in ms.
fn unit(params: &Params) -> ApiResult<Unit> {
    params.text("timeUnit").map_or(Ok(Unit::Ms), Unit::parse)
}

fn open(app: State<Shared>, upgrade: Upgrade, address: StreamOptions, streams: &str) -> ApiResult<Response> {
    let session = StreamSession::new(Arc::clone(&app), address)?;
    // Some clients (ccxt) number their sockets, `/ws/0`, and subscribe then; keys of accounts are opened as private.
    let is_stream = |s: &&str| match address.market {
        Market::Private => s.contains(['@', '!']),
        _ => !s.bytes().all(|b| b.is_ascii_digit()),
    };
    let names: Vec<String> = streams.split('/').filter(is_stream).map(str::to_owned).collect();
    let resolved = session.resolve(names).map_err(|msg| ApiError::new(-1121, msg))?;
    // Refused before the socket is open, so that a misspelt address is seen.
    if let Some(why) = resolved.refused() {
        return Err(ApiError::new(-1121, why));
    }
    accept(&app, upgrade, move |socket| async move { session.run(socket, resolved).await })
}
