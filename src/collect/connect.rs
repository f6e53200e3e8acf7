//! From a URL to an open WebSocket: the upgrade.
//!
//! TCP, proxy and TLS are [`super::dial`]'s. Never retries and never waits for a pace: that is the slot's business.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, http};

pub use super::connect_error::ConnectError;
use super::dial::Dialer;
pub use super::dial::{Io, Route};

pub use crate::venue::MESSAGE_BYTES_MAX;
/// What one read takes. tungstenite zeroes this much before every read, so large is slow at low rates; 32 KiB
/// holds about 100 messages.
const READ_BUFFER_BYTES: usize = 32 << 10;
/// A subscribe message is a few KiB; a peer that stops reading must not make us buffer without end.
const WRITE_BUFFER_BYTES_MAX: usize = 4 << 20;

/// What to open.
#[derive(Clone, Debug)]
pub struct Target {
    /// Full URL, secrets included.
    pub url: String,
    /// The same for logs and records.
    pub shown: String,
    /// Headers of the upgrade request; never logged.
    pub headers: Vec<(&'static str, String)>,
    /// Which addresses to prefer.
    pub route: Route,
}

#[cfg(test)]
impl Target {
    /// A URL without secrets, headers or preferences.
    pub fn plain(url: &str) -> Self {
        Self { url: url.to_owned(), shown: url.to_owned(), headers: Vec::new(), route: Route::default() }
    }
}

/// An open WebSocket and where it leads.
#[derive(Debug)]
pub struct Opened {
    /// The socket.
    pub socket: WebSocketStream<Io>,
    /// Our address.
    pub local: String,
    /// The other address: the proxy's where there is one.
    pub peer: String,
    /// True with TLS.
    pub tls: bool,
    /// Host and port of the proxy, where there is one.
    pub proxy: Option<String>,
}

/// Opens a WebSocket to `target` (`ws://` or `wss://`).
///
/// # Errors
/// [`ConnectError`] of the step that failed.
///
/// # Cancel safety
/// Dropping the future closes whatever was open.
pub async fn open(target: &Target, dialer: &Dialer, tls: &Arc<ClientConfig>) -> Result<Opened, ConnectError> {
    let url = target.shown.as_str();
    let bad = |what: &str| ConnectError::Url { url: url.to_owned(), what: what.to_owned() };
    let mut request = target.url.as_str().into_client_request().map_err(|err| bad(&err.to_string()))?;
    for (name, value) in &target.headers {
        let mut value = http::HeaderValue::from_str(value)
            .map_err(|_| bad(&format!("the value of header {name} cannot be sent")))?;
        value.set_sensitive(true);
        request.headers_mut().insert(*name, value);
    }
    let uri = request.uri();
    let secure = match uri.scheme_str() {
        Some("wss") => true,
        Some("ws") => false,
        _ => return Err(bad("is neither ws:// nor wss://")),
    };
    let host = uri.host().ok_or_else(|| bad("has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });

    let io = dialer.open(&host, port, &target.route, secure.then_some(tls)).await?;
    let address = |a: io::Result<SocketAddr>| a.map_or_else(|_| String::new(), |a| a.to_string());
    let (local, peer) = (address(io.tcp().local_addr()), address(io.tcp().peer_addr()));

    let config = tungstenite::protocol::WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let upgrading = tokio_tungstenite::client_async_with_config(request, io, Some(config));
    let limit = dialer.limits.upgrade;
    let late = |_| ConnectError::TimedOut { step: "upgrade", peer: format!("{host}:{port}"), limit };
    match timeout(limit, upgrading).await.map_err(late)? {
        Ok((socket, _)) => Ok(Opened { socket, local, peer, tls: secure, proxy: dialer.proxy() }),
        Err(tungstenite::Error::Http(answer)) => Err(ConnectError::Status {
            url: url.to_owned(),
            status: answer.status().as_u16(),
            retry_after: retry_after(answer.headers()),
        }),
        Err(source) => Err(ConnectError::Upgrade { url: url.to_owned(), source: Box::new(source) }),
    }
}

/// Nobody is left alone for longer than this, whatever he says: a slip of his would silence him for years.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// `Retry-After`: a number of seconds, or a date (RFC 9110, 10.2.3), which counts from the `Date` of the same answer, or
/// from now where it has none. A date that is over is 0; an hour is the most.
pub fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).map(str::trim);
    let said = text(http::header::RETRY_AFTER)?;
    if !said.is_empty() && said.bytes().all(|b| b.is_ascii_digit()) {
        // More than fits is the most.
        return Some(said.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs).min(RETRY_AFTER_MAX));
    }
    let now = || i64::try_from(crate::clock::wall_ns() / 1_000_000_000).unwrap_or(i64::MAX);
    let from = text(http::header::DATE).and_then(http_date_s).unwrap_or_else(now);
    let seconds = u64::try_from(http_date_s(said)?.saturating_sub(from)).unwrap_or(0);
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// An HTTP date in seconds since 1970: as it is sent today, and the two obsolete forms that are still to be read (RFC
/// 9110, 5.6.7).
fn http_date_s(text: &str) -> Option<i64> {
    let forms = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let read = |form: &&str| jiff::civil::DateTime::strptime(form, text).ok();
    let date = forms.iter().find_map(read)?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::dial::tls_config;
    use super::*;

    async fn refuse_with(answer: &'static str) -> ConnectError {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/stream", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut s, _) = listener.accept().await.unwrap();
            let mut buf = [0; 2048];
            let _ = s.read(&mut buf).await;
            s.write_all(answer.as_bytes()).await.unwrap();
        });
        open(&Target::plain(&url), &Dialer::new(None), &tls_config(&[]).unwrap()).await.unwrap_err()
    }

    #[tokio::test]
    async fn headers_are_sent_and_errors_show_the_url_without_secrets() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/?token=secret", listener.local_addr().unwrap());
        let seen = tokio::spawn(async move {
            let (mut s, _) = listener.accept().await.unwrap();
            let mut buf = vec![0; 4096];
            let n = s.read(&mut buf).await.unwrap();
            s.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&buf[..n]).into_owned()
        });
        let mut target = Target::plain(&url);
        target.shown = "ws://venue/?token=...".to_owned();
        target.headers = vec![("X-MBX-APIKEY", "key".to_owned())];
        let err = open(&target, &Dialer::new(None), &tls_config(&[]).unwrap()).await.unwrap_err();
        let seen = seen.await.unwrap();
        assert!(seen.to_lowercase().contains("x-mbx-apikey: key") && seen.contains("token=secret"), "{seen}");
        assert_eq!(err.http_status(), Some(401));
        assert!(err.to_string().contains("token=...") && !err.to_string().contains("secret"), "{err}");
    }

    #[tokio::test]
    async fn a_refused_upgrade_tells_the_status_and_how_long_to_wait() {
        let err = refuse_with("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(err.http_status(), Some(429));
        assert!(err.is_retryable());
        assert_eq!(err.wait_at_least(), Some(Duration::from_secs(7)));
        let err = refuse_with("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!((err.http_status(), err.wait_at_least()), (Some(503), None));
    }

    #[test]
    fn a_retry_after_is_a_number_or_a_date_of_any_form_that_counts_from_the_answers_own_date() {
        let after = |retry: &str, date: Option<&str>| {
            let mut headers = http::HeaderMap::new();
            headers.insert(http::header::RETRY_AFTER, retry.parse().unwrap());
            if let Some(date) = date {
                headers.insert(http::header::DATE, date.parse().unwrap());
            }
            retry_after(&headers).map(|wait| wait.as_secs())
        };
        // The three spellings of one second in RFC 9110, 5.6.7.
        let date = Some("Sun, 06 Nov 1994 08:48:37 GMT");
        for same in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(after(same, date), Some(60), "{same}");
            assert_eq!(after(same, None), Some(0), "it is over: {same}");
        }
        assert_eq!(after(" 7 ", date), Some(7));
        assert_eq!(after("Fri, 31 Dec 1999 23:59:59 GMT", Some("nonsense")), Some(0));
        for none in ["", "soon", "-3", "Sun, 06 Nov 1994", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(after(none, date), None, "{none}");
        }
        assert_eq!(retry_after(&http::HeaderMap::new()), None);
    }

    #[test]
    fn a_retry_after_of_years_is_an_hour_in_every_spelling() {
        let max = u64::MAX.to_string();
        let more = format!("{max}0");
        for said in ["3601", "315360000", &max, &more, "Thu, 31 Dec 9998 23:59:59 GMT"] {
            let mut headers = http::HeaderMap::new();
            headers.insert(http::header::RETRY_AFTER, said.parse().unwrap());
            assert_eq!(retry_after(&headers), Some(Duration::from_secs(3_600)), "{said}");
        }
    }

    #[tokio::test]
    async fn a_url_that_is_none_is_not_worth_a_second_try_and_a_closed_port_is() {
        let tls = tls_config(&[]).unwrap();
        let err = open(&Target::plain("http://127.0.0.1/x"), &Dialer::new(None), &tls).await.unwrap_err();
        assert!(!err.is_retryable(), "{err}");
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let err = open(&Target::plain(&format!("ws://{free}/x")), &Dialer::new(None), &tls).await.unwrap_err();
        assert!(matches!(err, ConnectError::Tcp { .. }) && err.is_retryable(), "{err}");
    }
}
