//! REST requests: within what the address may do, with time-outs, every answer of the collector appended to the log before
//! anybody reads it.
//!
//! The transport is [`super::http`]'s, the budget [`crate::budget`]'s: no request leaves without its turn, and every answer
//! tells the budget what the exchange counted and whether it bans. Bodies are read up to what one record holds and never
//! further. Does not retry: whoever asks knows when.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::json;
use tokio_tungstenite::tungstenite::http::Method as Verb;

use super::connect::MESSAGE_BYTES_MAX;
use super::connect_error::{ConnectError, country};
use super::dial;
use super::feed::Feed;
use super::http::{self, HttpClient, HttpError};
use super::log::{LogStopped, Stamp};
use crate::budget::{self, Budget, Class};
use crate::clock;
use crate::config::{Config, VenueConfig};
use crate::venue::pressure::{self, Refusal};
use crate::venue::{Method, RestMeta, RestRequest, venue};

/// Room for the meta JSON beside a body in one record.
const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (64 << 10);
/// What an error shows of a body.
const SHOWN_BYTES: usize = 200;

/// Why a request gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestError {
    /// Nothing came back, or not all of it.
    #[error("{url}: {source}")]
    Http {
        /// The URL.
        url: String,
        /// Cause.
        source: HttpError,
    },
    /// An answer that is no success: its status, or what its body says in spite of it.
    #[error("{url}: HTTP status {status}{}{}", country(*status), says(text))]
    Refused {
        /// The URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it means for everybody at this address, where it means something.
        refusal: Option<Refusal>,
        /// The beginning of the body.
        text: String,
    },
    /// The log is closed.
    #[error(transparent)]
    Log(#[from] LogStopped),
}

fn says(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl RestError {
    /// False when the same request will fail again: the venue understood it and refused.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            RestError::Http { source: HttpError::TooLarge { .. }, .. } | RestError::Log(_) => false,
            RestError::Http { .. } => true,
            RestError::Refused { status, refusal, .. } => match status {
                408 | 418 | 429 | 500.. => true,
                451 => false,
                _ => refusal.is_some(),
            },
        }
    }

    /// Why there was no connection, where that is the reason.
    pub(crate) fn connect(&self) -> Option<&ConnectError> {
        match self {
            RestError::Http { source: HttpError::Connect(err), .. } => Some(err),
            _ => None,
        }
    }
}

/// What came back, whatever its status.
pub(crate) struct Answer {
    /// Without secrets.
    pub(crate) url: String,
    /// HTTP status.
    pub(crate) status: u16,
    /// As received.
    pub(crate) body: Vec<u8>,
    /// When the last byte came.
    pub(crate) stamp: Stamp,
    refusal: Option<Refusal>,
}

impl Answer {
    /// The answer, if it is one to what was asked.
    ///
    /// # Errors
    /// [`RestError::Refused`].
    pub(crate) fn granted(self) -> Result<Answer, RestError> {
        if self.refusal.is_none() && (200..300).contains(&self.status) {
            return Ok(self);
        }
        let shown = self.body.get(..SHOWN_BYTES.min(self.body.len())).unwrap_or_default();
        let text = String::from_utf8_lossy(shown).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Err(RestError::Refused { url: self.url, status: self.status, refusal: self.refusal, text })
    }
}

/// Requests to one venue.
pub(crate) struct RestClient {
    /// One per redundant line: a line's token must come the way its socket goes.
    http: [HttpClient; 2],
    /// Of the addresses that they leave by.
    budgets: [Arc<Budget>; 2],
    class: Class,
    base: String,
    /// The venue's own.
    headers: Vec<(&'static str, String)>,
}

impl RestClient {
    /// A client for a venue as configured: its base, its proxies, what its addresses may do.
    pub(crate) fn new(cfg: &Config, config: &VenueConfig, tls: &Arc<ClientConfig>, class: Class) -> Self {
        Self {
            http: dial::dialers(config).map(|d| HttpClient::new(d, Arc::clone(tls))),
            budgets: [0, 1].map(|line| budget::of(cfg, config, line)),
            class,
            base: config.rest_url.clone(),
            headers: venue(config.id).rest_headers(),
        }
    }

    /// How long nothing is asked, where the exchange wants that.
    pub(crate) fn banned_for(&self) -> Duration {
        let [first, _] = &self.budgets;
        first.banned().map_or(Duration::ZERO, |ban| ban.wait)
    }

    /// Sends `request`, appends the answer to the log and returns its body. A failure becomes an event.
    ///
    /// # Errors
    /// [`RestError`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the request; nothing half is in the log.
    pub(super) async fn get(&self, feed: &Feed, request: &RestRequest) -> Result<Vec<u8>, RestError> {
        self.get_over(feed, 0, request).await
    }

    /// [`RestClient::get`] the way line `line` (0 or 1) goes.
    ///
    /// # Errors
    /// As [`RestClient::get`].
    ///
    /// # Cancel safety
    /// As [`RestClient::get`].
    pub(super) async fn get_over(&self, feed: &Feed, line: u32, request: &RestRequest) -> Result<Vec<u8>, RestError> {
        let conn = feed.next_conn();
        match self.fetch(feed, line, request, conn).await {
            Ok(body) => {
                feed.metrics.rest_ok.add(1);
                Ok(body)
            }
            Err(err) => {
                feed.metrics.rest_errors.add(1);
                feed.tell_ban(line);
                let status = match &err {
                    RestError::Refused { status, .. } => Some(*status),
                    _ => None,
                };
                let detail = json!({
                    "channel": request.channel, "symbol": request.symbol,
                    "url": format!("{}{}", self.base, request.path_and_query), "status": status, "error": err.to_string(),
                });
                let kind = err.connect().map_or("rest_error", |err| err.event_kind("rest_error"));
                feed.log.note(conn, kind, detail);
                Err(err)
            }
        }
    }

    async fn fetch(&self, feed: &Feed, line: u32, request: &RestRequest, conn: u32) -> Result<Vec<u8>, RestError> {
        let answer = self.send_over(line, request).await?;
        let meta = RestMeta {
            channel: request.channel.clone(),
            symbol: request.symbol.clone(),
            url: answer.url.clone(),
            status: answer.status,
            fill: request.fill,
        };
        let seq = feed.log.rest(answer.stamp, conn, &meta, &answer.body)?;
        feed.log.wait_durable(seq)?;
        Ok(answer.granted()?.body)
    }

    /// Waits for its turn, sends `request` and returns its answer. Does not log.
    ///
    /// # Errors
    /// [`RestError::Http`] and [`RestError::Refused`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the request.
    pub(crate) async fn ask(&self, request: &RestRequest) -> Result<Answer, RestError> {
        self.send_over(0, request).await?.granted()
    }

    async fn send_over(&self, line: u32, request: &RestRequest) -> Result<Answer, RestError> {
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
        let used = sent.as_ref().ok().and_then(|answer| pressure::used(&answer.headers));
        // Whoever got no answer may have been counted as late as this.
        budget.answered(turn, used).await;
        let http::Answer { status, headers, body } =
            sent.map_err(|source| RestError::Http { url: url.clone(), source })?;
        let refusal = pressure::refusal(status, &headers, &body, clock::wall_ms());
        if let Some(refusal) = &refusal {
            budget.ban(refusal.wait, refusal.why.clone()).await;
        }
        Ok(Answer { url, status, body, stamp, refusal })
    }
}
