//! Checks of every request: host, origin, size, token, weight. It answers refusals itself; what passes goes on.
//! What a request weighs: [`super::weights`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::compression::CompressionLayer;

use super::app::Shared;
use super::error::ApiError;
use super::time::now_ms;
use super::weights::weight;
use net::server::{self, group};

/// Puts the guard and compression around all routes.
pub(super) fn around(router: Router<Shared>, app: Shared) -> Router<Shared> {
    router.layer(from_fn_with_state(app, check)).layer(CompressionLayer::new())
}

/// The router with its weights counted, for requests that passed the guard on another way.
pub(super) fn weighed(router: Router<Shared>, app: Shared) -> Router<Shared> {
    let count =
        |State(app): State<Shared>, request: Request, next: Next| async move { counted(&app, request, next).await };
    router.layer(from_fn_with_state(app, count))
}

async fn check(State(app): State<Shared>, request: Request, next: Next) -> Response {
    app.counts.request();
    let (parts, body) = request.into_parts();
    if let Err((status, why)) = server::check(&app.gate, &parts) {
        return ApiError::with(status, -1002, why).into_response();
    }
    let request = Request::from_parts(parts, body);
    let listed = request.headers().get(header::ORIGIN).filter(|o| app.gate.lists(o.as_bytes())).cloned();
    if request.method() == Method::OPTIONS
        && let Some(origin) = &listed
    {
        return preflight(origin);
    }
    let mut response = match refused(&app, &request) {
        Some(refusal) => refusal.into_response(),
        None => counted(&app, request, next).await,
    };
    if let Some(origin) = listed {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

fn refused(app: &Shared, request: &Request) -> Option<ApiError> {
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    // Of a body without a length nobody knows the end.
    if length.is_some_and(|n| n > app.cfg.max_body_bytes) || headers.contains_key(header::TRANSFER_ENCODING) {
        return Some(ApiError::with(StatusCode::PAYLOAD_TOO_LARGE, -1101, "Request body is too large."));
    }
    if !app.access.allows(request.uri(), headers) {
        let why = "Invalid API-key, IP, or permissions for action.";
        return Some(ApiError::with(StatusCode::UNAUTHORIZED, -2015, why));
    }
    None
}

async fn counted(app: &Shared, request: Request, next: Next) -> Response {
    let one_symbol = request.uri().query().is_some_and(|q| q.split('&').any(|p| p.starts_with("symbol=")));
    let Some(weight) = weight(request.uri().path(), one_symbol) else { return next.run(request).await };
    let address = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| group(peer.0.ip()));
    let now = now_ms();
    let used = app.weights.add(address, now.div_euclid(60_000), weight);
    let mut response = if used > app.cfg.weight_per_minute {
        app.counts.limited();
        let limit = app.cfg.weight_per_minute;
        let text = format!("Too many requests; current limit is {limit} request weight per 1 MINUTE.");
        let mut response = ApiError::with(StatusCode::TOO_MANY_REQUESTS, -1003, text).into_response();
        let left_s = 60 - now.rem_euclid(60_000) / 1_000;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(left_s));
        response
    } else {
        next.run(request).await
    };
    response.headers_mut().insert("x-mbx-used-weight-1m", HeaderValue::from(used));
    response
}

fn preflight(origin: &HeaderValue) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, x-mbx-apikey, x-mbx-time-unit"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    response
}
