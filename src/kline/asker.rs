//! Requests of candles to one venue over the network: paced beside the collector, patient with a busy venue.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;
use tracing::warn;

use super::official::Ask;
use crate::collect::dial;
use crate::collect::pace::Pacer;
use crate::collect::rest::RestClient;
use crate::config::{Config, VenueConfig};
use crate::venue::RestRequest;

/// A venue that does not answer is asked again for this long, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(600);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// See the module. Spends the share of the venue's weight that repairs have, so the collector keeps its own.
pub struct Asker {
    rest: RestClient,
    pace: Arc<Pacer>,
    patience: Duration,
    /// Requests sent.
    pub requests: u64,
}

impl Asker {
    /// For the venue of `config`.
    ///
    /// # Errors
    /// When an extra root certificate is none.
    pub fn new(cfg: &Config, config: &VenueConfig, pace: Arc<Pacer>) -> Result<Self> {
        let tls = dial::tls_config(&cfg.tls.extra_roots)?;
        Ok(Self { rest: RestClient::new(config, &tls), pace, patience: PATIENCE, requests: 0 })
    }

    /// Asks again for so long.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl Ask for Asker {
    async fn ask(&mut self, request: &RestRequest) -> Result<Vec<u8>> {
        let since = Instant::now();
        let mut pause = Duration::from_secs(1);
        loop {
            self.pace.wait(request.weight).await;
            self.rest.until_allowed().await;
            self.requests += 1;
            let why = match self.rest.send(request).await {
                Ok(answer) if (200..300).contains(&answer.status) => return Ok(answer.body),
                Ok(answer) => {
                    let text = String::from_utf8_lossy(answer.body.get(..200).unwrap_or(&answer.body)).into_owned();
                    let why = format!("{}: HTTP status {}: {text}", answer.url, answer.status);
                    if !matches!(answer.status, 408 | 418 | 429 | 500..) {
                        bail!("{why}");
                    }
                    why
                }
                Err(err) if err.is_retryable() => err.to_string(),
                Err(err) => return Err(err.into()),
            };
            if since.elapsed() > self.patience {
                bail!("no answer for {} s: {why}", self.patience.as_secs());
            }
            warn!(error = why, wait_s = pause.as_secs(), "a request for candles waits for the venue");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
