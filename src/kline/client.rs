//! Requests of candles to one venue over the network: paced beside the collector, patient with a busy venue.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::official::VenueClient;
use super::request_error::RequestError;
use capture::{Capture, VenueConfig};
use net::budget::Class;
use net::dial;
use net::rest::RestClient;
use ops::BoxFuture;
use ops::backoff::{Backoff, random};
use venue::RestRequest;

/// A request without an answer is repeated for this long by default.
const PATIENCE: Duration = Duration::from_secs(600);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// See the module. Spends the share of the venue's weight that all work in the background has, so the collector keeps its own.
pub struct RetryingClient {
    rest: RestClient,
    patience: Duration,
    /// Requests sent.
    pub requests: u64,
}

impl RetryingClient {
    /// For the venue of `config`.
    ///
    /// # Errors
    /// When an extra root certificate is none.
    pub fn new(cfg: &Capture, config: &VenueConfig) -> Result<Self, RequestError> {
        let tls = dial::tls_config(&cfg.tls.extra_roots)?;
        Ok(Self {
            rest: RestClient::new(&cfg.exchange(config), &tls, Class::Background),
            patience: PATIENCE,
            requests: 0,
        })
    }

    /// Repeats a request for so long.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Repeats a request until there is an answer, or patience ends.
    fn insist<'a>(&'a mut self, request: &'a RestRequest) -> BoxFuture<'a, Result<Vec<u8>, RequestError>> {
        Box::pin(async move {
            let since = Instant::now();
            let mut backoff = Backoff::up_to(PAUSE_MAX);
            loop {
                self.requests += 1;
                let err = match self.rest.ask(request).await {
                    Ok(answer) => return Ok(answer.body),
                    Err(err) if err.is_retryable() => err,
                    Err(err) => return Err(err.into()),
                };
                if since.elapsed() > self.patience {
                    return Err(RequestError::NoAnswer { patience_s: self.patience.as_secs(), last: err });
                }
                let wait = backoff.next(&mut random).max(self.rest.banned_for());
                warn!(error = %err, wait_s = wait.as_secs(), "a request for candles waits for the venue");
                tokio::time::sleep(wait).await;
            }
        })
    }
}

impl VenueClient for RetryingClient {
    async fn send(&mut self, request: &RestRequest) -> Result<Vec<u8>, RequestError> {
        self.insist(request).await
    }
}
