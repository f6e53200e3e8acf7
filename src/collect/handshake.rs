//! Everything between "it is our turn" and an open WebSocket: a token where the venue wants one, the URL, the
//! headers, the connect.
//!
//! A token is fetched for every connect, because an old one may have been used up. Secrets go into the request
//! and nowhere else: errors and records carry [`Target::shown`].

use std::time::Duration;

use serde_json::json;
use tracing::warn;

use super::feed::VenueFeed;
use super::rest::GetError;
use model::Ban;
use net::budget::Turn;
use net::connect::{self, Opened, Target};
use net::connect_error::ConnectError;
use net::dial::Route;
use net::rest::RestError;
use venue::{ConnectionPlan, DecodeError, Heartbeat, TokenServer};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// The venue gave no token.
    #[error("get a token: {0}")]
    Token(#[from] GetError),
    /// The venue gave something else.
    #[error("read the token: {0}")]
    NoToken(#[from] DecodeError),
    /// The socket, TLS or upgrade failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl HandshakeError {
    /// False when trying the same again cannot help.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            HandshakeError::Token(err) => err.connect().map_or_else(|| err.is_retryable(), ConnectError::is_retryable),
            // The next answer may be one: a gateway was asked in the place of the exchange, or it has no server just now.
            HandshakeError::NoToken(_) => true,
            HandshakeError::Connect(err) => err.is_retryable(),
        }
    }

    /// The kind of the event that reports it.
    pub(super) fn event_kind(&self) -> &'static str {
        let connect = match self {
            HandshakeError::Token(err) => err.connect(),
            HandshakeError::Connect(err) => Some(err),
            HandshakeError::NoToken(_) => None,
        };
        connect.map_or("connect_failed", |err| err.event_kind("connect_failed"))
    }

    /// HTTP status, where the venue answered with one.
    pub(super) fn http_status(&self) -> Option<u16> {
        match self {
            HandshakeError::Token(GetError::Rest(RestError::Status { status, .. })) => Some(*status),
            HandshakeError::Connect(err) => err.http_status(),
            _ => None,
        }
    }

    /// The ban of our address that the upgrade announced, if any. What REST said is noted already.
    pub(super) fn ban(&self) -> Option<&Ban> {
        match self {
            HandshakeError::Connect(err) => err.ban(),
            _ => None,
        }
    }
}

/// What a token may say of pings and of the time for an answer, ms.
const PING_MS: (u64, u64) = (10, 3_600_000);

/// A connection and how to keep it.
pub(super) struct Ready {
    /// The socket.
    pub(super) opened: Opened,
    /// URL without secrets.
    pub(super) shown: String,
    /// How the client has to ping: every so often, answered within.
    pub(super) ping: Option<(Duration, Duration)>,
}

/// Opens the connection of `plan`, for which it is our `turn`: where a token takes so long that it is not any more, another
/// turn is waited for. Where the token names several servers, those after the `first` one are tried too before it counts
/// as failed; each is an attempt to connect like others and waits for its turn.
///
/// # Errors
/// [`HandshakeError`] of the step that failed; of the last server.
///
/// # Cancel safety
/// Dropping the future closes whatever was open.
pub(super) async fn open(
    feed: &VenueFeed,
    plan: &ConnectionPlan,
    route: Route,
    turn: Turn,
    first: usize,
) -> Result<Ready, HandshakeError> {
    let venue = feed.venue;
    let line = route.line;
    let token = match venue.streams.token_request() {
        Some(request) => Some(venue.streams.parse_token(&feed.get_over(line, &request).await?)?),
        None => None,
    };
    if token.is_some() {
        feed.budget(line).renew(turn).await;
    }
    let servers = token.as_ref().map_or(&[][..], |token| &token.servers[..]);
    // A configured address has the pings of the first server.
    let count = if feed.config.ws_url.is_some() { 1 } else { servers.len().max(1) };
    for nth in 0..count {
        let server = servers.get((first + nth) % count);
        let base = match (&feed.config.ws_url, server) {
            (Some(configured), _) => configured.as_str(),
            (None, Some(server)) => server.endpoint.as_str(),
            (None, None) => venue.spec.ws_base,
        };
        let connect_id = format!("tapedeck{:016x}", rand::random::<u64>());
        let url = venue.streams.connect_url(base, plan, token.as_ref(), &connect_id);
        let shown = venue.streams.redacted(&url);
        let headers = venue.spec.headers(feed.api_key.as_deref());
        let throttling = &venue.spec.throttling;
        let target = Target { url, shown: shown.clone(), headers, route: route.clone(), throttling };
        let err = match connect::open(&target, feed.dialer(line), &feed.tls).await {
            Ok(opened) => return Ok(Ready { opened, shown, ping: pings(venue.spec.heartbeat, server) }),
            Err(err) => err,
        };
        // A ban is of the address, and what is wrong on our way is so for all servers.
        if nth + 1 == count || err.ban().is_some() || !err.is_retryable() {
            return Err(err.into());
        }
        warn!(venue = %feed.id, server = shown, error = %err, "cannot connect, trying the next server of the token");
        feed.log.note(0, "server_failed", json!({ "url": shown, "error": err.to_string(), "line": line }));
        feed.metrics.attempts.add(1);
        feed.budget(line).upgrade(|_| ()).await;
    }
    // The last one returned.
    Err(HandshakeError::NoToken(DecodeError::Malformed { at: 0, what: "it names no server".to_owned() }))
}

/// How the client has to ping a server.
fn pings(heartbeat: Heartbeat, server: Option<&TokenServer>) -> Option<(Duration, Duration)> {
    let ms = Duration::from_millis;
    match (heartbeat, server) {
        (Heartbeat::ServerPing { .. }, _) => None,
        // The venue's own numbers: less would be a flood of pings, more none at all.
        (Heartbeat::ClientText { .. }, Some(s)) => Some((
            ms(s.ping_interval_ms.clamp(PING_MS.0, PING_MS.1)),
            ms(s.ping_timeout_ms.clamp(PING_MS.0, PING_MS.1)),
        )),
        (Heartbeat::ClientText { every_ms, timeout_ms }, None) => Some((ms(every_ms), ms(timeout_ms))),
    }
}
