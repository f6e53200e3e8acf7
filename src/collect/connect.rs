//! From a URL to an open WebSocket: TCP, TLS, upgrade, each with its own time-out and its own error.
//!
//! Never retries and never waits for a pace: that is the slot's business. [`Dialer`] is the seam where a proxy
//! comes in; everything behind it works on a connected TCP stream.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, http};

/// Receive buffer asked of the kernel. The busiest connection known (200 depth streams in a crash) peaks below
/// 4 MB/s; 8 MiB hold more than two seconds of it while a disk stalls the append.
pub const RECV_BUFFER_BYTES: usize = 8 << 20;
/// One message may be this large; also the largest record of the log.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// What one read takes. tungstenite zeroes this much before every read, so large is slow at low rates; 32 KiB
/// holds about 100 messages.
const READ_BUFFER_BYTES: usize = 32 << 10;
/// A subscribe message is a few KiB; a peer that stops reading must not make us buffer without end.
const WRITE_BUFFER_BYTES_MAX: usize = 4 << 20;
/// Bytes we sent that nobody acknowledges for this long end the connection: a peer that is gone without a word.
const USER_TIMEOUT_MS: u32 = 30_000;
/// Each of TCP, TLS and upgrade.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a URL we can use.
    #[error("{url}: {what}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The name has no address.
    #[error("resolve {host}: {source}")]
    Resolve {
        /// Host name.
        host: String,
        /// Cause.
        source: io::Error,
    },
    /// No TCP connection.
    #[error("connect {peer}: {source}")]
    Tcp {
        /// Host and port.
        peer: String,
        /// Cause.
        source: io::Error,
    },
    /// No TLS session.
    #[error("TLS with {host}: {source}")]
    Tls {
        /// Host name.
        host: String,
        /// Cause.
        source: io::Error,
    },
    /// The server answered the upgrade with something else.
    #[error("upgrade {url}: HTTP status {status}")]
    Status {
        /// The URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// `Retry-After` in seconds, where sent.
        retry_after_s: Option<u64>,
    },
    /// The upgrade failed below HTTP.
    #[error("upgrade {url}: {source}")]
    Upgrade {
        /// The URL.
        url: String,
        /// Cause.
        source: Box<tungstenite::Error>,
    },
    /// A step took too long.
    #[error("{step} with {peer}: no answer in {} s", STEP_TIMEOUT.as_secs())]
    TimedOut {
        /// `TCP`, `TLS` or `upgrade`.
        step: &'static str,
        /// Host and port.
        peer: String,
    },
}

impl ConnectError {
    /// False when trying the same again cannot help (a URL that is none).
    pub fn is_retryable(&self) -> bool {
        !matches!(self, ConnectError::Url { .. })
    }

    /// HTTP status of a refused upgrade.
    pub fn http_status(&self) -> Option<u16> {
        match self {
            ConnectError::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The least time to wait before the next attempt, where the venue says or implies one: 429 and 418 are
    /// bans, 403 and 451 refuse the country, and asking quickly makes all of them worse.
    pub fn wait_at_least(&self) -> Option<Duration> {
        match self {
            ConnectError::Status { status: 403 | 418 | 429 | 451, retry_after_s, .. } => {
                Some(Duration::from_secs(retry_after_s.unwrap_or(60).clamp(1, 3_600)))
            }
            _ => None,
        }
    }
}

/// How a TCP connection to a host comes about.
#[derive(Clone, Debug)]
pub enum Dialer {
    /// Straight from this machine, names resolved here.
    Direct,
}

impl Dialer {
    /// A connected stream with our socket options.
    ///
    /// # Errors
    /// [`ConnectError::Resolve`] or the last address's [`ConnectError::Tcp`].
    async fn dial(&self, host: &str, port: u16, route: &Route) -> Result<TcpStream, ConnectError> {
        let Dialer::Direct = self;
        // Resolved anew for every connect: exchanges move their addresses.
        let mut addrs: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
            .await
            .map_err(|source| ConnectError::Resolve { host: host.to_owned(), source })?
            .collect();
        route.order(&mut addrs);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for addr in addrs {
            match connect_tcp(addr).await {
                Ok(stream) => return Ok(stream),
                Err(err) => last = err,
            }
        }
        Err(ConnectError::Tcp { peer: format!("{host}:{port}"), source: last })
    }
}

/// Which addresses of a name are the better ones for this connect.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// Redundant line, 0 = first.
    pub line: u32,
    /// Where the other line is connected to: two lines over one address fail together.
    pub other: Option<IpAddr>,
    /// Where the last connection of this line failed.
    pub failed: Option<IpAddr>,
}

impl Route {
    /// The unused addresses first, the one that just failed and the other line's last. Otherwise as resolved.
    pub fn order(&self, addrs: &mut [SocketAddr]) {
        addrs.sort_by_key(|a| match Some(a.ip()) {
            ip if ip == self.other && ip == self.failed => 3,
            ip if ip == self.other => 2,
            ip if ip == self.failed => 1,
            _ => 0,
        });
    }
}

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

async fn connect_tcp(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let limit = |path: &str, field: usize| {
        std::fs::read_to_string(path).ok().and_then(|t| t.split_whitespace().nth(field)?.parse::<usize>().ok())
    };
    let chosen = recv_buffer(
        RECV_BUFFER_BYTES,
        limit("/proc/sys/net/core/rmem_max", 0),
        limit("/proc/sys/net/ipv4/tcp_rmem", 2),
    );
    let options = SockRef::from(&socket);
    // All of these are best effort: a kernel that refuses one still gives a usable socket. The buffer must be
    // set before the connect, because it decides the window scale.
    if let Some(bytes) = chosen {
        let _ = options.set_recv_buffer_size(bytes);
    }
    let _ = options.set_tcp_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    let _ = options.set_tcp_keepalive(&keepalive);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&socket, USER_TIMEOUT_MS);
    socket.connect(addr).await
}

/// The receive buffer to ask for, `None` = leave it to the kernel.
///
/// Asking switches auto-tuning off for good. Where `rmem_max` is small (208 KiB is a common default) an explicit
/// request is cut down to it, doubled, and ends up far below what auto-tuning would have grown to.
fn recv_buffer(want: usize, rmem_max: Option<usize>, tuned_max: Option<usize>) -> Option<usize> {
    let granted = want.min(rmem_max?).saturating_mul(2);
    (granted >= tuned_max.unwrap_or(0)).then_some(want)
}

/// The TLS settings of every outgoing connection: TLS 1.2 and 1.3, ring, Mozilla's roots.
///
/// # Errors
/// Never in practice: the chosen provider has the default protocol versions.
pub fn tls_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A TCP stream, with or without TLS.
#[derive(Debug)]
pub enum Io {
    /// `ws://`
    Plain(TcpStream),
    /// `wss://`
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    fn tcp(&self) -> &TcpStream {
        match self {
            Io::Plain(s) => s,
            Io::Tls(s) => s.get_ref().0,
        }
    }
}

impl AsyncRead for Io {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Io::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Io::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(s) => Pin::new(s).poll_flush(cx),
            Io::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Io::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

/// An open WebSocket and where it leads.
#[derive(Debug)]
pub struct Opened {
    /// The socket.
    pub socket: WebSocketStream<Io>,
    /// Our address.
    pub local: String,
    /// The other address.
    pub peer: String,
    /// True with TLS.
    pub tls: bool,
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
    let peer_name = format!("{host}:{port}");
    let late = |step: &'static str| ConnectError::TimedOut { step, peer: peer_name.clone() };

    let tcp = tokio::time::timeout(STEP_TIMEOUT, dialer.dial(&host, port, &target.route))
        .await
        .map_err(|_| late("TCP"))??;
    let io = if secure {
        let name = ServerName::try_from(host.clone()).map_err(|err| bad(&err.to_string()))?;
        let connecting = TlsConnector::from(Arc::clone(tls)).connect(name, tcp);
        let stream = tokio::time::timeout(STEP_TIMEOUT, connecting)
            .await
            .map_err(|_| late("TLS"))?
            .map_err(|source| ConnectError::Tls { host: host.clone(), source })?;
        Io::Tls(Box::new(stream))
    } else {
        Io::Plain(tcp)
    };
    let address = |a: io::Result<SocketAddr>| a.map_or_else(|_| String::new(), |a| a.to_string());
    let (local, peer) = (address(io.tcp().local_addr()), address(io.tcp().peer_addr()));

    let config = tungstenite::protocol::WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let upgrading = tokio_tungstenite::client_async_with_config(request, io, Some(config));
    match tokio::time::timeout(STEP_TIMEOUT, upgrading).await.map_err(|_| late("upgrade"))? {
        Ok((socket, _)) => Ok(Opened { socket, local, peer, tls: secure }),
        Err(tungstenite::Error::Http(answer)) => Err(ConnectError::Status {
            url: url.to_owned(),
            status: answer.status().as_u16(),
            retry_after_s: retry_after_s(answer.headers()),
        }),
        Err(source) => Err(ConnectError::Upgrade { url: url.to_owned(), source: Box::new(source) }),
    }
}

/// `Retry-After` where it is a number of seconds.
pub fn retry_after_s(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn a_small_kernel_limit_leaves_the_buffer_to_auto_tuning() {
        // rmem_max 208 KiB, auto-tuning up to 6 MiB: asking would fix the buffer at 416 KiB.
        assert_eq!(recv_buffer(8 << 20, Some(212_992), Some(6 << 20)), None);
        assert_eq!(recv_buffer(8 << 20, Some(16 << 20), Some(6 << 20)), Some(8 << 20));
        assert_eq!(recv_buffer(8 << 20, Some(4 << 20), Some(6 << 20)), Some(8 << 20));
        assert_eq!(recv_buffer(8 << 20, None, Some(6 << 20)), None);
    }

    async fn refuse_with(answer: &'static str) -> ConnectError {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/stream", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut s, _) = listener.accept().await.unwrap();
            let mut buf = [0; 2048];
            let _ = s.read(&mut buf).await;
            s.write_all(answer.as_bytes()).await.unwrap();
        });
        open(&Target::plain(&url), &Dialer::Direct, &tls_config().unwrap()).await.unwrap_err()
    }

    #[test]
    fn an_address_that_nobody_uses_comes_first_and_the_other_lines_address_last() {
        let at = |n: u8| SocketAddr::from(([10, 0, 0, n], 443));
        let mut addrs = [at(1), at(2), at(3), at(4)];
        let route = Route { line: 1, other: Some(at(1).ip()), failed: Some(at(3).ip()) };
        route.order(&mut addrs);
        assert_eq!(addrs, [at(2), at(4), at(3), at(1)]);
        Route::default().order(&mut addrs);
        assert_eq!(addrs, [at(2), at(4), at(3), at(1)]);
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
        let err = open(&target, &Dialer::Direct, &tls_config().unwrap()).await.unwrap_err();
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

    #[tokio::test]
    async fn a_url_that_is_none_is_not_worth_a_second_try_and_a_closed_port_is() {
        let tls = tls_config().unwrap();
        let err = open(&Target::plain("http://127.0.0.1/x"), &Dialer::Direct, &tls).await.unwrap_err();
        assert!(!err.is_retryable(), "{err}");
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let err = open(&Target::plain(&format!("ws://{free}/x")), &Dialer::Direct, &tls).await.unwrap_err();
        assert!(matches!(err, ConnectError::Tcp { .. }) && err.is_retryable(), "{err}");
    }
}
