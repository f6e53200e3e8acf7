//! REST requests to one venue: within what the address may do, with time-outs.
//!
//! The transport is [`crate::http`]'s, the budget [`crate::budget`]'s: no request leaves without its turn, and every answer
//! tells the budget what the exchange counted and whether it bans. Bodies are read up to what one record holds and never
//! further. Does not retry: whoever asks knows when.

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
use crate::pressure;

/// Room for the meta JSON beside a body in one record.
const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (64 << 10);
/// What an error shows of a body.
const SHOWN_BYTES: usize = 200;

/// Why a request gave nothing.
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
    /// An answer that is no success: its status, or what its body says in spite of it.
    #[error("{url}: HTTP status {status}{}{}{}", country(*status), of_whom(*is_the_exchanges), says(text))]
    Refused {
        /// The URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it means for everybody at this address, where it means something.
        refusal: Option<Ban>,
        /// False for what a CDN, a firewall or a proxy says in the exchange's place.
        is_the_exchanges: bool,
        /// The start of the body.
        text: String,
    },
}

fn says(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn of_whom(is_the_exchanges: bool) -> &'static str {
    if is_the_exchanges { "" } else { " (not an answer of the exchange)" }
}

impl RestError {
    /// False when the same request will fail again: the venue understood it and refused.
    pub fn is_retryable(&self) -> bool {
        match self {
            RestError::Http { source: HttpError::TooLarge { .. }, .. } => false,
            RestError::Http { .. } => true,
            RestError::Refused { status, refusal, is_the_exchanges, .. } => match status {
                408 | 418 | 429 | 500.. => true,
                451 => false,
                _ => refusal.is_some() || !is_the_exchanges,
            },
        }
    }

    /// True when it is the exchange's own answer to this request, whoever asks: not one about our address, and no page of
    /// somebody on the way.
    pub fn is_final(&self) -> bool {
        let of_the_address = matches!(self, RestError::Refused { refusal: Some(_), .. });
        !self.is_retryable() && !of_the_address
    }

    /// True when this request, and nothing else, is what the exchange forbids: with its own code, or with 403, which holds
    /// everybody back.
    pub fn is_about_request(&self) -> bool {
        self.is_final() || matches!(self, RestError::Refused { status: 403, .. })
    }

    /// Why there was no connection, where that is the reason.
    pub fn connect(&self) -> Option<&ConnectError> {
        match self {
            RestError::Http { source: HttpError::Connect(err), .. } => Some(err),
            _ => None,
        }
    }
}

/// What came back, whatever its status.
pub struct Answer {
    /// Without secrets.
    pub url: String,
    /// HTTP status.
    pub status: u16,
    /// As received.
    pub body: Vec<u8>,
    /// When the last byte came.
    pub stamp: Stamp,
    refusal: Option<Ban>,
    is_the_exchanges: bool,
}

impl Answer {
    /// The answer, if it is one to what was asked.
    ///
    /// # Errors
    /// [`RestError::Refused`].
    pub fn granted(self) -> Result<Answer, RestError> {
        if self.refusal.is_none() && self.is_the_exchanges && (200..300).contains(&self.status) {
            return Ok(self);
        }
        let shown = self.body.get(..SHOWN_BYTES.min(self.body.len())).unwrap_or_default();
        let text = String::from_utf8_lossy(shown).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let Answer { url, status, refusal, is_the_exchanges, .. } = self;
        Err(RestError::Refused { url, status, refusal, is_the_exchanges, text })
    }
}

/// Requests to one venue.
pub struct RestClient {
    /// One per redundant line: a line's token must come the way its socket goes.
    http: [HttpClient; 2],
    /// Of the addresses that they leave by.
    budgets: [Arc<Budget>; 2],
    class: Class,
    /// Scheme and host.
    pub base: String,
    /// The venue's own.
    headers: Vec<(&'static str, String)>,
    throttling: &'static Throttling,
}

impl RestClient {
    /// A client for an exchange as configured: its base, its proxies, what its addresses may do.
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

    /// How long nothing is asked, where the exchange wants that.
    pub fn banned_for(&self) -> Duration {
        let [first, _] = &self.budgets;
        first.banned().map_or(Duration::ZERO, |ban| ban.wait)
    }

    /// Waits for its turn, sends `request` and returns its answer. Does not log.
    ///
    /// # Errors
    /// [`RestError::Http`] and [`RestError::Refused`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the request.
    pub async fn ask(&self, request: &RestRequest) -> Result<Answer, RestError> {
        self.send_over(0, request).await?.granted()
    }

    /// The answer to `request`, whatever it is, the way line `line` (0 or 1) goes.
    ///
    /// # Errors
    /// [`RestError::Http`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the request.
    pub fn send_over<'a>(&'a self, line: u32, request: &'a RestRequest) -> BoxFuture<'a, Result<Answer, RestError>> {
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
            let used = sent.as_ref().ok().and_then(|answer| pressure::used(self.throttling, &answer.headers));
            // Whoever got no answer may have been counted as late as this.
            budget.answered(turn, used).await;
            let http::Answer { status, headers, body } =
                sent.map_err(|source| RestError::Http { url: url.clone(), source })?;
            let is_the_exchanges = pressure::is_the_exchanges(status, &body);
            let is_of_one = is_the_exchanges && request.symbol.is_some();
            let refusal = pressure::refusal(self.throttling, status, &headers, &body, clock::wall_ms(), is_of_one);
            if let Some(ban) = &refusal {
                budget.ban(ban.clone()).await;
            }
            Ok(Answer { url, status, body, stamp, refusal, is_the_exchanges })
        })
    }
}
