//! Requests to the archive: the proxy, the pace, what an answer's status means, and when to ask again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::http::Method;

use super::rate::Rate;
use crate::download_error::{DownloadError, What};
use crate::settings::Settings;
use net::connect_error::ConnectError;
use net::dial::{Dialer, TlsError, tls_config};
use net::http::{HttpClient, HttpError, Reply};
use ops::backoff::{jittered, random};

/// The pause after a 429 or SlowDown that names none.
const PAUSE_UNSAID: Duration = Duration::from_secs(5);
/// A server that throttles so long, and gives nothing in between, is not coming back soon.
const THROTTLE_PATIENCE: Duration = Duration::from_secs(3_600);
/// However often it throttles, the first waits after failures are long enough: the server itself says more.
const THROTTLE_WAITS: u64 = 4;
/// A transfer that brings less than this in a second, over the whole stall time, is given up.
const SLOWEST_BYTES_PER_S: u64 = 1 << 10;
/// The longest pause that is kept: a file server bans no client for days.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// Asks the archive.
pub struct Asker {
    http: HttpClient,
    /// The pace of all requests and bytes.
    pub rate: Rate,
    /// How long to wait after failures.
    pub retry: Retry,
    stall: Duration,
}

/// Since when a server has throttled us and given nothing.
#[derive(Debug, Default)]
pub(super) struct Patience {
    since: Option<Instant>,
}

impl Patience {
    /// It did so once more; false when it has done so for too long.
    pub(super) fn once_more(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        now.saturating_duration_since(since) < THROTTLE_PATIENCE
    }

    /// It gave something.
    pub(super) fn over(&mut self) {
        self.since = None;
    }
}

/// How fast a server brings a body: it is given up when it only drips. Only the time that the server takes counts, not
/// our own pace.
#[derive(Debug, Default)]
pub(super) struct Drip {
    waited: Duration,
    brought: u64,
}

impl Drip {
    /// So many bytes came after waiting so long.
    ///
    /// # Errors
    /// When too few came over the stall time; what came until then.
    pub(super) fn came(&mut self, bytes: usize, waited: Duration, stall: Duration) -> Result<(), DownloadError> {
        self.waited = self.waited.saturating_add(waited);
        self.brought = self.brought.saturating_add(bytes as u64);
        if self.waited < stall {
            return Ok(());
        }
        if self.brought < SLOWEST_BYTES_PER_S.saturating_mul(stall.as_secs()) {
            let detail = format!("{} bytes in {} s", self.brought, self.waited.as_secs());
            return Err(DownloadError::new(What::Stalled, detail));
        }
        *self = Self::default();
        Ok(())
    }
}

/// Waits after failures: exponential with full jitter.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Upper bound of the first wait.
    pub first: Duration,
    /// Upper bound of every wait.
    pub max: Duration,
    /// Failures in a row after which it is given up.
    pub attempts: u64,
}

impl Retry {
    /// As configured.
    pub fn of(config: &Settings) -> Self {
        Self {
            first: Duration::from_millis(config.retry_first_ms),
            max: Duration::from_secs(config.retry_max_s),
            attempts: config.attempts,
        }
    }

    /// The wait after `failures` in a row; `random` is in 0..1.
    pub fn wait(&self, failures: u64, random: f64) -> Duration {
        jittered(self.first, self.max, u32::try_from(failures).unwrap_or(u32::MAX), random)
    }
}

impl Asker {
    /// As configured.
    ///
    /// # Errors
    /// When an extra certificate is none.
    pub fn new(config: &Settings) -> Result<Self, TlsError> {
        let tls = tls_config(&config.tls.extra_roots)?;
        let mut dialer = Dialer::new(config.proxy.clone());
        let stall = Duration::from_secs(config.stall_timeout_s);
        dialer.limits.answer = stall;
        Ok(Self {
            http: HttpClient::new(dialer, Arc::clone(&tls)),
            rate: Rate::new(config.bytes_per_s, config.requests_per_s),
            retry: Retry::of(config),
            stall,
        })
    }

    /// Asks once; the head of an answer with one of the statuses in `wanted`.
    ///
    /// # Errors
    /// What the status, or no answer, means.
    pub async fn open(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        wanted: &[u16],
    ) -> Result<Reply, DownloadError> {
        self.rate.request().await;
        let reply = self.http.open(Method::GET, url, headers).await.map_err(|err| of_http(&err))?;
        if wanted.contains(&reply.status) {
            return Ok(reply);
        }
        let failure = of_status(reply.status, url);
        if failure.what == What::Throttled {
            self.rate.hold(reply.retry_after.map_or_else(|| self.pause(), |said| said.min(PAUSE_MAX)));
        } else if let Some(said) = reply.retry_after {
            self.rate.hold(said.min(PAUSE_MAX));
        }
        Err(failure)
    }

    /// How long all workers wait after a throttle that does not say.
    fn pause(&self) -> Duration {
        PAUSE_UNSAID.min(self.retry.max)
    }

    /// Asks once and reads the whole body; `None` when there is no such thing (404).
    ///
    /// # Errors
    /// What went wrong.
    pub async fn small(&self, url: &str, max: usize) -> Result<Option<Vec<u8>>, DownloadError> {
        let mut reply = self.open(url, &[], &[200, 404]).await?;
        if reply.status == 404 {
            return Ok(None);
        }
        let (mut body, mut drip) = (Vec::new(), Drip::default());
        loop {
            let asked = Instant::now();
            let Some(chunk) = reply.chunk().await.map_err(|err| of_http(&err))? else { break };
            drip.came(chunk.len(), asked.elapsed(), self.stall)?;
            if body.len().saturating_add(chunk.len()) > max {
                return Err(DownloadError::new(What::Protocol, format!("{url} answers with more than {max} bytes")));
            }
            self.rate.bytes(chunk.len()).await;
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body))
    }

    /// Asks until `read` understands the answer or it is not worth it any more. A server that throttles is
    /// given it: a throttle is a wait, not a failure, unless there is nothing else.
    ///
    /// # Errors
    /// The last failure.
    pub async fn ask_again<T>(
        &self,
        url: &str,
        max: usize,
        read: impl Fn(Vec<u8>) -> Result<T, DownloadError>,
    ) -> Result<T, DownloadError> {
        let (mut failures, mut throttled, mut patience) = (0_u64, 0_u64, Patience::default());
        loop {
            let gone = || DownloadError::new(What::Gone, format!("{url} answers with HTTP status 404"));
            let body = self.small(url, max).await.and_then(|body| body.ok_or_else(gone));
            let answer = body.and_then(|body| {
                // A throttle that comes in a body has held nobody back yet.
                read(body).inspect_err(|err| {
                    if err.what == What::Throttled {
                        self.rate.hold(self.pause());
                    }
                })
            });
            let failure = match answer {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let in_a_row = if failure.what == What::Throttled {
                throttled = throttled.saturating_add(1);
                tracing::warn!(url = url.split('?').next(), throttled, "the archive throttles our requests");
                if !patience.once_more(Instant::now()) {
                    return Err(failure);
                }
                throttled.min(THROTTLE_WAITS)
            } else {
                failures = failures.saturating_add(1);
                if failures >= self.retry.attempts.min(failure.what.patience()) {
                    return Err(failure);
                }
                failures
            };
            // After a throttle too: not everybody comes back in the same instant.
            tokio::time::sleep(self.retry.wait(in_a_row, random())).await;
        }
    }
}

/// What no answer means.
pub(super) fn of_http(err: &HttpError) -> DownloadError {
    let what = match err {
        HttpError::Connect(ConnectError::Url { .. }) | HttpError::TooLarge { .. } => What::Protocol,
        HttpError::TimedOut { .. } => What::Stalled,
        _ => What::Network,
    };
    let mut detail = err.to_string();
    let mut cause = std::error::Error::source(err);
    while let Some(err) = cause {
        let text = err.to_string();
        if !detail.contains(&text) {
            detail.push_str(": ");
            detail.push_str(&text);
        }
        cause = err.source();
    }
    DownloadError::new(what, detail)
}

/// What a status means that is not wanted.
fn of_status(status: u16, url: &str) -> DownloadError {
    let what = match status {
        404 | 410 => What::Gone,
        401 | 403 | 451 => What::Refused,
        // S3 says SlowDown with 503; 509 is what some front ends say to a bandwidth that is used up.
        429 | 503 | 509 => What::Throttled,
        500..=599 => What::Server,
        _ => What::Protocol,
    };
    DownloadError::new(what, format!("{} answers with HTTP status {status}", url.split('?').next().unwrap_or(url)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_throttles_is_waited_for_an_hour_and_a_file_begins_it_anew() {
        let mut patience = Patience::default();
        let begun = Instant::now();
        for minute in 0..60 {
            assert!(patience.once_more(begun + Duration::from_secs(60 * minute)), "minute {minute}");
        }
        let hour = begun + THROTTLE_PATIENCE;
        assert!(!patience.once_more(hour));
        patience.over();
        assert!(patience.once_more(hour));
    }

    #[test]
    fn waits_double_up_to_the_bound_with_full_jitter() {
        let retry = Retry { first: Duration::from_millis(500), max: Duration::from_secs(3), attempts: 6 };
        let waits: Vec<u128> = (1..=5).map(|n| retry.wait(n, 1.0).as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 3_000, 3_000]);
        assert_eq!(retry.wait(3, 0.0), Duration::ZERO);
        assert_eq!(retry.wait(u64::MAX, 0.5).as_millis(), 1_500);
    }

    #[test]
    fn a_status_says_whether_the_file_the_address_the_pace_or_the_server_is_the_trouble() {
        for (status, what) in [
            (404, What::Gone),
            (403, What::Refused),
            (429, What::Throttled),
            (503, What::Throttled),
            (500, What::Server),
            (502, What::Server),
            (301, What::Protocol),
        ] {
            assert_eq!(of_status(status, "http://h/x?secret").what, what, "{status}");
        }
        assert!(!of_status(500, "http://h/x?prefix=p").detail.contains("prefix"));
    }
}
