//! Requests to the archive: the way out, the pace, what an answer's status means, and when to ask again.

use std::sync::Arc;
use std::time::Duration;

use tokio_tungstenite::tungstenite::http::Method;

use super::rate::Rate;
use crate::backoff::random;
use crate::collect::connect::ConnectError;
use crate::collect::dial::{Dialer, tls_config};
use crate::collect::http::{HttpClient, HttpError, Reply};
use crate::config::{Config, History};
use crate::history::trouble::{Trouble, What};

/// The pause after a 429 that names none.
const PAUSE_UNSAID: Duration = Duration::from_secs(5);

/// Asks the archive.
pub struct Asker {
    http: HttpClient,
    /// The pace of all requests and bytes.
    pub rate: Rate,
    /// How long to wait after failures.
    pub retry: Retry,
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
    pub fn of(config: &History) -> Self {
        Self {
            first: Duration::from_millis(config.retry_first_ms),
            max: Duration::from_secs(config.retry_max_s),
            attempts: config.attempts,
        }
    }

    /// The wait after `failures` in a row; `random` is in 0..1.
    pub fn wait(&self, failures: u64, random: f64) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1).min(20)).unwrap_or(20);
        self.first.saturating_mul(1 << doublings).min(self.max).mul_f64(random.clamp(0.0, 1.0))
    }
}

impl Asker {
    /// As configured.
    ///
    /// # Errors
    /// When an extra certificate is none.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let tls = tls_config(&config.tls.extra_roots)?;
        let mut dialer = Dialer::new(config.history.proxy.clone());
        dialer.limits.answer = Duration::from_secs(config.history.stall_timeout_s);
        Ok(Self {
            http: HttpClient::new(dialer, Arc::clone(&tls)),
            rate: Rate::new(config.history.bytes_per_s, config.history.requests_per_s),
            retry: Retry::of(&config.history),
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
    ) -> Result<Reply<'_>, Trouble> {
        self.rate.request().await;
        let reply = self.http.open(Method::GET, url, headers).await.map_err(|err| of_http(&err))?;
        if wanted.contains(&reply.status) {
            return Ok(reply);
        }
        let trouble = of_status(reply.status, url);
        if trouble.what == What::Throttled {
            self.rate.hold(reply.retry_after.unwrap_or_else(|| PAUSE_UNSAID.min(self.retry.max)));
        } else if let Some(said) = reply.retry_after {
            self.rate.hold(said);
        }
        Err(trouble)
    }

    /// Asks once and reads the whole body; `None` when there is no such thing (404).
    ///
    /// # Errors
    /// What went wrong.
    pub async fn small(&self, url: &str, max: usize) -> Result<Option<Vec<u8>>, Trouble> {
        let mut reply = self.open(url, &[], &[200, 404]).await?;
        if reply.status == 404 {
            return Ok(None);
        }
        let mut body = Vec::new();
        while let Some(chunk) = reply.chunk().await.map_err(|err| of_http(&err))? {
            if body.len() + chunk.len() > max {
                return Err(Trouble::new(What::Protocol, format!("{url} answers with more than {max} bytes")));
            }
            self.rate.bytes(chunk.len()).await;
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body))
    }

    /// Asks until `read` understands the answer or it is not worth it any more.
    ///
    /// # Errors
    /// The last trouble.
    pub async fn ask_again<T>(
        &self,
        url: &str,
        max: usize,
        read: impl Fn(Vec<u8>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut failures = 0;
        loop {
            let gone = || Trouble::new(What::Gone, format!("{url} answers with HTTP status 404"));
            let answer = self.small(url, max).await.and_then(|body| body.ok_or_else(gone)).and_then(&read);
            let trouble = match answer {
                Ok(value) => return Ok(value),
                Err(trouble) => trouble,
            };
            failures += 1;
            if failures >= self.retry.attempts.min(trouble.what.patience()) {
                return Err(trouble);
            }
            tokio::time::sleep(self.retry.wait(failures, random())).await;
        }
    }
}

/// What no answer means.
pub(super) fn of_http(err: &HttpError) -> Trouble {
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
    Trouble::new(what, detail)
}

/// What a status means that is not wanted.
fn of_status(status: u16, url: &str) -> Trouble {
    let what = match status {
        404 | 410 => What::Gone,
        401 | 403 | 451 => What::Refused,
        // S3 says SlowDown with 503.
        429 | 503 => What::Throttled,
        500..=599 => What::Server,
        _ => What::Protocol,
    };
    Trouble::new(what, format!("{} answers with HTTP status {status}", url.split('?').next().unwrap_or(url)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
