//! REST requests to one venue, within the rate limits of our addresses and with time-outs.
//!
//! The transport is [`crate::http`]'s, the rate limits are [`crate::budget`]'s: no request leaves without its turn, and every
//! response updates the budget with the used weight and with a ban, if any. Bodies are read up to the size of one record.
//! Does not retry: callers know when.

use std::sync::Arc;
use std::time::Duration;

use model::{Ban, MESSAGE_BYTES_MAX, Method, RestRequest, Throttling};
use ops::BoxFuture;
use ops::clock::{self, Stamp};
use rustls::ClientConfig;
use tokio_tungstenite::tungstenite::http::Method as Verb;

use crate::budget::{self, Budget, Class};
use crate::connect_error::{ConnectError, country};
use crate::exchange::Exchange;
use crate::http::{self, HttpClient, HttpError};
use crate::throttle;

/// A record holds the meta JSON beside the body.
const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (64 << 10);
/// Bytes of a body shown in an error.
const SHOWN_BYTES: usize = 200;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// Nothing came back, or not all of it.
    #[error("{url}: {source}")]
    Http {
        /// The URL.
        url: String,
        /// Cause.
        source: HttpError,
    },
    /// A response that is no success, by its status or, with HTTP 200, by its body.
    #[error("{url}: HTTP status {status}{}{}{}", country(*status), of_whom(*from_exchange), says(text))]
    Status {
        /// The URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// The ban of our address that it announces, if any.
        ban: Option<Ban>,
        /// False for a response of a CDN, a firewall or a proxy.
        from_exchange: bool,
        /// The start of the body.
        text: String,
    },
}

fn says(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn of_whom(from_exchange: bool) -> &'static str {
    if from_exchange { "" } else { " (not from the exchange)" }
}

impl RestError {
    /// False when the same request would fail again: the venue understood it and refused, or the body is too large.
    pub fn is_retryable(&self) -> bool {
        match self {
            RestError::Http { source: HttpError::TooLarge { .. }, .. } => false,
            RestError::Http { .. } => true,
            RestError::Status { status, ban, from_exchange, .. } => match status {
                408 | 418 | 429 | 500.. => true,
                451 => false,
                _ => ban.is_some() || !from_exchange,
            },
        }
    }

    /// True when this request failed for good: the exchange itself rejected it (no ban of our address, no page of a CDN or
    /// proxy), or its body is too large.
    pub fn is_final(&self) -> bool {
        !self.is_retryable() && !matches!(self, RestError::Status { ban: Some(_), .. })
    }

    /// Final, or 403: do not retry this request soon; retrying may extend a ban.
    pub fn give_up_on_request(&self) -> bool {
        self.is_final() || matches!(self, RestError::Status { status: 403, .. })
    }

    /// Why there was no connection, where that is the reason.
    pub fn connect(&self) -> Option<&ConnectError> {
        match self {
            RestError::Http { source: HttpError::Connect(err), .. } => Some(err),
            _ => None,
        }
    }
}

/// A response of any status.
pub struct Response {
    /// Without secrets.
    pub url: String,
    /// HTTP status.
    pub status: u16,
    /// As received.
    pub body: Vec<u8>,
    /// When the last byte came.
    pub stamp: Stamp,
    ban: Option<Ban>,
    from_exchange: bool,
}

impl Response {
    /// The response, if it is a success.
    ///
    /// # Errors
    /// [`RestError::Status`].
    pub fn error_for_status(self) -> Result<Response, RestError> {
        if self.ban.is_none() && self.from_exchange && (200..300).contains(&self.status) {
            return Ok(self);
        }
        let shown = self.body.get(..SHOWN_BYTES.min(self.body.len())).unwrap_or_default();
        let text = String::from_utf8_lossy(shown).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let Response { url, status, ban, from_exchange, .. } = self;
        Err(RestError::Status { url, status, ban, from_exchange, text })
    }
}

/// Requests to one venue.
pub struct RestClient {
    /// One per redundant line: a line's token must be requested from the address that its socket uses.
    http: [HttpClient; 2],
    /// Rate limits of the addresses that they use.
    budgets: [Arc<Budget>; 2],
    class: Class,
    /// Scheme and host.
    pub base: String,
    /// The venue's own.
    headers: Vec<(&'static str, String)>,
    throttling: &'static Throttling,
}

impl RestClient {
    /// A client for an exchange as configured: its base, its proxies, its rate limits.
    pub fn new(exchange: &Exchange, tls: &Arc<ClientConfig>, class: Class) -> Self {
        Self {
            http: exchange.dialers().map(|d| HttpClient::new(d, Arc::clone(tls))),
            budgets: [0, 1].map(|line| budget::of(exchange, line)),
            class,
            base: exchange.base.clone(),
            headers: exchange.headers.clone(),
            throttling: exchange.throttling,
        }
    }

    /// How long a ban of the first line's address still lasts; zero without one.
    pub fn banned_for(&self) -> Duration {
        let [first, _] = &self.budgets;
        first.banned().map_or(Duration::ZERO, |ban| ban.wait)
    }

    /// Waits for its turn, sends `request` and returns the response. Does not log.
    ///
    /// # Errors
    /// [`RestError::Http`] and [`RestError::Status`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the request.
    pub async fn ask(&self, request: &RestRequest) -> Result<Response, RestError> {
        self.send_over(0, request).await?.error_for_status()
    }

    /// The response to `request`, of any status, over line `line` (0 or 1).
    ///
    /// # Errors
    /// [`RestError::Http`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the request.
    pub fn send_over<'a>(&'a self, line: u32, request: &'a RestRequest) -> BoxFuture<'a, Result<Response, RestError>> {
        Box::pin(async move {
            let ([first, second], [first_budget, second_budget]) = (&self.http, &self.budgets);
            let (client, budget) = if line == 0 { (first, first_budget) } else { (second, second_budget) };
            let turn = budget.request(request.weight, self.class).await;
            let url = format!("{}{}", self.base, request.path_and_query);
            let method = match request.method {
                Method::Get => Verb::GET,
                Method::Post => Verb::POST,
            };
            let sent = client.send(method, &url, &self.headers, BODY_BYTES_MAX).await;
            let stamp = Stamp::now();
            let used = sent.as_ref().ok().and_then(|response| throttle::used(self.throttling, &response.headers));
            // A request that timed out may still have been counted, as late as now.
            budget.answered(turn, used).await;
            let http::Response { status, headers, body } =
                sent.map_err(|source| RestError::Http { url: url.clone(), source })?;
            let from_exchange = throttle::from_exchange(status, &body);
            let is_per_symbol = from_exchange && request.symbol.is_some();
            let ban = throttle::ban(self.throttling, status, &headers, &body, clock::wall_ms(), is_per_symbol);
            if let Some(ban) = &ban {
                budget.ban(ban.clone()).await;
            }
            Ok(Response { url, status, body, stamp, ban, from_exchange })
        })
    }
}
