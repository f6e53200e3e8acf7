//! From a URL to an open WebSocket: the upgrade.
//!
//! TCP, proxy and TLS are [`super::dial`]'s. Never retries and never waits for a pace: that is the slot's business.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, http};

use crate::connect_error::ConnectError;
use crate::dial::{Dialer, Io, Route};
use crate::text::TextAsBytes;
use crate::throttle;
use model::{MESSAGE_BYTES_MAX, Throttling};
use ops::{BoxFuture, clock};
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
    /// How the exchange reports its limits.
    pub throttling: &'static Throttling,
}

#[cfg(any(test, feature = "testing"))]
impl Target {
    /// A URL without secrets, headers or preferences.
    pub fn plain(url: &str) -> Self {
        let (url, shown) = (url.to_owned(), url.to_owned());
        Self { url, shown, headers: Vec::new(), route: Route::default(), throttling: &Throttling::NONE }
    }
}

/// A WebSocket whose text messages come as binary ones; [`TextAsBytes::was_text`] distinguishes them.
pub type Socket = WebSocketStream<TextAsBytes<Io>>;

/// An open WebSocket and where it leads.
#[derive(Debug)]
pub struct Opened {
    /// The socket.
    pub socket: Socket,
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
pub fn open<'a>(
    target: &'a Target,
    dialer: &'a Dialer,
    tls: &'a Arc<ClientConfig>,
) -> BoxFuture<'a, Result<Opened, ConnectError>> {
    Box::pin(upgraded(target, dialer, tls))
}

async fn upgraded(target: &Target, dialer: &Dialer, tls: &Arc<ClientConfig>) -> Result<Opened, ConnectError> {
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
    let upgrading = tokio_tungstenite::client_async_with_config(request, TextAsBytes::new(io), Some(config));
    let limit = dialer.limits.upgrade;
    let late = |_| ConnectError::TimedOut { step: "upgrade", peer: format!("{host}:{port}"), limit };
    match timeout(limit, upgrading).await.map_err(late)? {
        Ok((socket, _)) => Ok(Opened { socket, local, peer, tls: secure, proxy: dialer.proxy() }),
        Err(tungstenite::Error::Http(answer)) => Err(ConnectError::Status {
            url: url.to_owned(),
            status: answer.status().as_u16(),
            ban: throttle::ban(
                target.throttling,
                answer.status().as_u16(),
                answer.headers(),
                answer.body().as_deref().unwrap_or_default(),
                clock::wall_ms(),
                false,
            ),
        }),
        Err(source) => Err(ConnectError::Upgrade { url: url.to_owned(), source: Box::new(source) }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::dial::tls_config;
    use tungstenite::Message;

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
    async fn a_text_that_is_not_utf_8_is_a_message_like_others_and_the_connection_goes_on() {
        use futures_util::StreamExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/stream", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (s, _) = listener.accept().await.unwrap();
            let mut ws = tokio_tungstenite::accept_async(s).await.unwrap();
            // A text with a stray byte; a text whose one character is in two frames; a binary message.
            ws.get_mut().write_all(b"\x81\x03A\xffB\x01\x01\xe4\x80\x02\xb8\x81\x82\x01b").await.unwrap();
            let _ = ws.close(None).await;
        });
        let mut socket =
            open(&Target::plain(&url), &Dialer::new(None), &tls_config(&[]).unwrap()).await.unwrap().socket;
        let mut got = Vec::new();
        while let Some(Ok(Message::Binary(bytes))) = socket.next().await {
            got.push((socket.get_mut().was_text(), bytes.to_vec()));
        }
        assert_eq!(got, [(true, b"A\xffB".to_vec()), (true, "丁".as_bytes().to_vec()), (false, b"b".to_vec())]);
    }

    #[tokio::test]
    async fn a_refused_upgrade_tells_the_status_and_how_long_to_wait() {
        let err = refuse_with("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(err.http_status(), Some(429));
        assert!(err.is_retryable());
        assert_eq!(err.ban().map(|r| r.wait), Some(std::time::Duration::from_secs(7)));
        let err = refuse_with("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!((err.http_status(), err.ban()), (Some(503), None));
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
