//! REST requests: within the weight, with time-outs, every answer appended to the log before anybody reads it.
//!
//! Asks for uncompressed bodies, so the stored bytes are the bytes that were sent. Bodies are read up to what one
//! record holds and never further. Does not retry: whoever asks knows when.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header;
use rustls::ClientConfig;
use serde_json::json;
use tokio::time::Instant;

use super::connect::{MESSAGE_BYTES_MAX, retry_after_s};
use super::feed::Feed;
use super::log::{LogStopped, Stamp};
use crate::venue::{Method, RestMeta, RestRequest};

/// Room for the meta JSON beside a body in one record.
const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (64 << 10);
/// A ban without `Retry-After` is taken to be this long.
const BAN: Duration = Duration::from_secs(60);

/// Why a request gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestError {
    /// Nothing came back, or not all of it.
    #[error("{url}: {source}")]
    Http {
        /// The URL.
        url: String,
        /// Cause.
        source: reqwest::Error,
    },
    /// The body is larger than a record.
    #[error("{url}: the answer is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge {
        /// The URL.
        url: String,
    },
    /// An answer that is no success; its body is in the log.
    #[error("{url}: HTTP status {status}")]
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
            RestError::Http { .. } => true,
            RestError::Status { status, .. } => matches!(status, 408 | 418 | 429 | 500..),
            RestError::TooLarge { .. } | RestError::Log(_) => false,
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
    http: reqwest::Client,
    base: String,
    /// Until then the venue wants to hear nothing.
    banned_until: Mutex<Option<Instant>>,
}

impl RestClient {
    /// A client for `base` (scheme, host, optional prefix).
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub(crate) fn new(base: &str, tls: &Arc<ClientConfig>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(tls))
            // Direct means direct: proxy variables of the environment are for other programs.
            .no_proxy()
            .no_gzip()
            .user_agent(concat!("tapedeck/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(20))
            .timeout(Duration::from_secs(90))
            .pool_max_idle_per_host(2)
            .build()?;
        Ok(Self { http, base: base.to_owned(), banned_until: Mutex::new(None) })
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
        feed.pace.rest.wait(request.weight).await;
        self.until_allowed().await;
        let conn = feed.next_conn();
        let url = format!("{}{}", self.base, request.path_and_query);
        match self.fetch(feed, request, conn).await {
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
                // A log that does not take the event has said so already.
                let _ = feed.log.event(conn, "rest_error", detail);
                Err(err)
            }
        }
    }

    async fn fetch(&self, feed: &Feed, request: &RestRequest, conn: u32) -> Result<Vec<u8>, RestError> {
        let answer = self.send(request).await?;
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
    /// [`RestError::Http`] and [`RestError::TooLarge`]; a status is no error here.
    ///
    /// # Cancel safety
    /// Dropping the future drops the request.
    pub(crate) async fn send(&self, request: &RestRequest) -> Result<Answer, RestError> {
        let url = format!("{}{}", self.base, request.path_and_query);
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
        };
        let failed = |source: reqwest::Error| RestError::Http { url: url.clone(), source: source.without_url() };
        let mut answer =
            self.http.request(method, &url).header(header::ACCEPT_ENCODING, "identity").send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let retry_after = retry_after_s(answer.headers()).map(Duration::from_secs);
        // A length the server claims is only a hint for the first allocation.
        let claimed = answer.content_length().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let mut body = Vec::with_capacity(claimed.min(BODY_BYTES_MAX));
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(RestError::TooLarge { url });
            }
            body.extend_from_slice(&chunk);
        }
        let stamp = Stamp::now();
        if matches!(status, 418 | 429) {
            let until = Instant::now() + retry_after.unwrap_or(BAN);
            *self.banned_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        }
        Ok(Answer { url, status, body, stamp })
    }
}
