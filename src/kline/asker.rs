//! Requests of candles to one venue over the network: paced beside the collector, patient with a busy venue.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::ask_error::AskError;
use super::official::Ask;
use capture::{Capture, VenueConfig};
use net::budget::Class;
use net::dial;
use net::rest::RestClient;
use ops::BoxFuture;
use ops::backoff::{Backoff, random};
use venue::RestRequest;

/// A venue that does not answer is asked again for this long, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(600);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// See the module. Spends the share of the venue's weight that all work in the background has, so the collector keeps its own.
pub struct Asker {
    rest: RestClient,
    patience: Duration,
    /// Requests sent.
    pub requests: u64,
}

impl Asker {
    /// For the venue of `config`.
    ///
    /// # Errors
    /// When an extra root certificate is none.
    pub fn new(cfg: &Capture, config: &VenueConfig) -> Result<Self, AskError> {
        let tls = dial::tls_config(&cfg.tls.extra_roots)?;
        Ok(Self {
            rest: RestClient::new(&cfg.exchange(config), &tls, Class::Background),
            patience: PATIENCE,
            requests: 0,
        })
    }

    /// Asks again for so long.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Asks until there is an answer, or patience ends.
    fn insist<'a>(&'a mut self, request: &'a RestRequest) -> BoxFuture<'a, Result<Vec<u8>, AskError>> {
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
                    return Err(AskError::NoAnswer { patience_s: self.patience.as_secs(), last: err });
                }
                let wait = backoff.next(&mut random).max(self.rest.banned_for());
                warn!(error = %err, wait_s = wait.as_secs(), "a request for candles waits for the venue");
                tokio::time::sleep(wait).await;
            }
        })
    }
}

impl Ask for Asker {
    async fn ask(&mut self, request: &RestRequest) -> Result<Vec<u8>, AskError> {
        self.insist(request).await
    }
}
