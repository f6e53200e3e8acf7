//! Everything between "it is our turn" and an open WebSocket: a token where the venue wants one, the URL, the
//! headers, the connect.
//!
//! A token is fetched for every connect, because an old one may have been used up. Secrets go into the request
//! and nowhere else: errors and records carry [`Target::shown`].

use std::time::Duration;

use super::connect::{self, Opened, Target};
use super::connect_error::ConnectError;
use super::dial::Route;
use super::feed::Feed;
use super::rest::RestError;
use crate::budget::Turn;
use crate::venue::pressure::Refusal;
use crate::venue::{ConnectionPlan, DecodeError, Heartbeat};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// The venue gave no token.
    #[error("get a token: {0}")]
    Token(#[from] RestError),
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
            HandshakeError::NoToken(_) => false,
            HandshakeError::Connect(err) => err.is_retryable(),
        }
    }

    /// The kind of the event that tells it.
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
            HandshakeError::Token(RestError::Refused { status, .. }) => Some(*status),
            HandshakeError::Connect(err) => err.http_status(),
            _ => None,
        }
    }

    /// Why nobody at this address may connect for a while, where the upgrade said so. What REST said is noted already.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            HandshakeError::Connect(err) => err.refusal(),
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
/// turn is waited for.
///
/// # Errors
/// [`HandshakeError`] of the step that failed.
///
/// # Cancel safety
/// Dropping the future closes whatever was open.
pub(super) async fn open(
    feed: &Feed,
    plan: &ConnectionPlan,
    route: Route,
    turn: Turn,
) -> Result<Ready, HandshakeError> {
    let venue = feed.venue;
    let line = route.line;
    let token = match venue.token_request() {
        Some(request) => Some(venue.parse_token(&feed.rest.get_over(feed, line, &request).await?)?),
        None => None,
    };
    let base = match (&feed.config.ws_url, &token) {
        (Some(configured), _) => configured.as_str(),
        (None, Some(token)) => token.endpoint.as_str(),
        (None, None) => venue.ws_base(),
    };
    let connect_id = format!("tapedeck{:016x}", rand::random::<u64>());
    let url = venue.connect_url(base, plan, token.as_ref(), &connect_id);
    let shown = venue.redacted(&url);
    let target = Target { url, shown: shown.clone(), headers: venue.headers(feed.api_key.as_deref()), route };
    if token.is_some() {
        feed.budget(line).renew(turn).await;
    }
    let opened = connect::open(&target, feed.dialer(line), &feed.tls).await?;
    let ping = match venue.heartbeat() {
        Heartbeat::ServerPing => None,
        Heartbeat::ClientText { every_ms, timeout_ms } => {
            let ms = Duration::from_millis;
            Some(match &token {
                // The venue's own numbers: less would be a flood of pings, more none at all.
                Some(t) => (
                    ms(t.ping_interval_ms.clamp(PING_MS.0, PING_MS.1)),
                    ms(t.ping_timeout_ms.clamp(PING_MS.0, PING_MS.1)),
                ),
                None => (ms(every_ms), ms(timeout_ms)),
            })
        }
    };
    Ok(Ready { opened, shown, ping })
}
