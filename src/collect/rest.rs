//! REST requests: within the weight, with time-outs, every answer appended to the log before anybody reads it.
//!
//! The transport is [`super::http`]'s. Bodies are read up to what one record holds and never further. Does not
//! retry: whoever asks knows when.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::http::Method as Verb;

use super::connect::MESSAGE_BYTES_MAX;
use super::connect_error::{ConnectError, ban, country};
use super::dial;
use super::feed::Feed;
use super::http::{self, HttpClient, HttpError};
use super::log::{LogStopped, Stamp};
use crate::config::VenueConfig;
use crate::venue::{Method, RestMeta, RestRequest, venue};

/// Room for the meta JSON beside a body in one record.
const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (64 << 10);

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
    /// An answer that is no success; its body is in the log.
    #[error("{url}: HTTP status {status}{}", country(*status))]
    Status {
        /// The URL.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The log is closed.
    #[error(transparent)]
    Log(#[from] LogStopped),
}

impl RestError {
    /// False when the same request will fail again: the venue understood it and refused.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            RestError::Http { source: HttpError::TooLarge { .. }, .. } | RestError::Log(_) => false,
            RestError::Http { .. } => true,
            RestError::Status { status, .. } => matches!(status, 408 | 418 | 429 | 500..),
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
}

/// Requests to one venue.
pub(crate) struct RestClient {
    /// One per redundant line: a line's token must come the way its socket goes.
    http: [HttpClient; 2],
    base: String,
    /// The venue's own.
    headers: Vec<(&'static str, String)>,
    /// Until then the venue wants to hear nothing.
    banned_until: Mutex<Option<Instant>>,
}

impl RestClient {
    /// A client for a venue as configured: its base, its proxies.
    pub(crate) fn new(config: &VenueConfig, tls: &Arc<ClientConfig>) -> Self {
        let http = dial::dialers(config).map(|d| HttpClient::new(d, Arc::clone(tls)));
        let headers = venue(config.id).rest_headers();
        Self { http, base: config.rest_url.clone(), headers, banned_until: Mutex::new(None) }
    }

    fn ban(&self) -> Option<Instant> {
        *self.banned_until.lock().unwrap_or_else(PoisonError::into_inner)
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
        feed.pace.rest.wait(request.weight).await;
        self.until_allowed().await;
        let conn = feed.next_conn();
        let url = format!("{}{}", self.base, request.path_and_query);
        match self.fetch(feed, line, request, conn).await {
            Ok(body) => {
                feed.metrics.rest_ok.add(1);
                Ok(body)
            }
            Err(err) => {
                feed.metrics.rest_errors.add(1);
                let status = match &err {
                    RestError::Status { status, .. } => Some(*status),
                    _ => None,
                };
                let detail = json!({
                    "channel": request.channel, "symbol": request.symbol, "url": url, "status": status,
                    "error": err.to_string(),
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
            url: answer.url,
            status: answer.status,
            fill: request.fill,
        };
        let seq = feed.log.rest(answer.stamp, conn, &meta, &answer.body)?;
        feed.log.wait_durable(seq)?;
        match answer.status {
            200..300 => Ok(answer.body),
            status => Err(RestError::Status { url: meta.url, status }),
        }
    }

    /// Returns when no ban is known any more.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn until_allowed(&self) {
        if let Some(until) = self.ban() {
            tokio::time::sleep_until(until).await;
        }
    }

    /// Sends `request` and returns what came back. Neither paces nor logs; notes a ban.
    ///
    /// # Errors
    /// [`RestError::Http`]; a status is no error here.
    ///
    /// # Cancel safety
    /// Dropping the future drops the request.
    pub(crate) async fn send(&self, request: &RestRequest) -> Result<Answer, RestError> {
        self.send_over(0, request).await
    }

    async fn send_over(&self, line: u32, request: &RestRequest) -> Result<Answer, RestError> {
        let url = format!("{}{}", self.base, request.path_and_query);
        let method = match request.method {
            Method::Get => Verb::GET,
            Method::Post => Verb::POST,
        };
        let [first, second] = &self.http;
        let client = if line == 0 { first } else { second };
        let sent = client.send(method, &url, &self.headers, BODY_BYTES_MAX).await;
        let http::Answer { status, retry_after, body } =
            sent.map_err(|source| RestError::Http { url: url.clone(), source })?;
        let stamp = Stamp::now();
        if let Some(wait) = ban(status, retry_after) {
            *self.banned_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + wait);
        }
        Ok(Answer { url, status, body, stamp })
    }
}
