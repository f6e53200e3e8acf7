//! From a host name to a byte stream: TCP (straight or through a proxy) and TLS, each with its own time limit.
//!
//! WebSocket and REST both come through here, so a proxy holds for both and its errors look alike. A [`Dialer`]
//! with a proxy has no way around it. Never retries, never waits for a pace.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connect_error::ConnectError;
use super::proxy::{self, ProxyError, Stage};
use crate::proxy::Proxy;

/// An extra root certificate is none.
pub use rustls::Error as TlsError;

/// Receive buffer asked of the kernel. The busiest connection known (200 depth streams in a crash) peaks below
/// 4 MB/s; 8 MiB hold more than two seconds of it while a disk stalls the append.
pub const RECV_BUFFER_BYTES: usize = 8 << 20;
/// Bytes sent that are not acknowledged for this long end the connection: a peer that vanished silently.
const USER_TIMEOUT_MS: u32 = 30_000;
/// However many addresses a name has, each gets at least this share of the TCP step.
const ADDRESSES_TRIED: u32 = 4;

/// How long each step of opening a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct StepLimits {
    /// TCP to the exchange or to the proxy, name resolution included.
    pub tcp: Duration,
    /// All answers of the proxy together.
    pub proxy: Duration,
    /// The TLS handshake with the exchange.
    pub tls: Duration,
    /// The WebSocket upgrade.
    pub upgrade: Duration,
    /// The head of an HTTP answer, and each further piece of it.
    pub answer: Duration,
}

impl Default for StepLimits {
    fn default() -> Self {
        let s = Duration::from_secs(10);
        Self { tcp: s, proxy: s, tls: s, upgrade: s, answer: 2 * s }
    }
}

/// How a TCP connection to a host comes about.
#[derive(Clone, Debug)]
pub struct Dialer {
    /// `None` = straight from this machine, names resolved here.
    proxy: Option<Arc<Proxy>>,
    /// Time limits.
    pub limits: StepLimits,
}

impl Dialer {
    /// Straight, or through `proxy` and never around it.
    pub fn new(proxy: Option<Proxy>) -> Self {
        Self { proxy: proxy.map(Arc::new), limits: StepLimits::default() }
    }

    /// Host and port of the proxy, without credentials.
    pub fn proxy(&self) -> Option<String> {
        self.proxy.as_ref().map(|p| p.to_string())
    }

    /// A connected stream with our socket options, leading to `host:port`.
    ///
    /// # Errors
    /// [`ConnectError`] of the step that failed.
    ///
    /// # Cancel safety
    /// Dropping the future closes whatever was open.
    pub async fn dial(&self, host: &str, port: u16, route: &Route) -> Result<TcpStream, ConnectError> {
        let peer = || format!("{host}:{port}");
        let Some(proxy) = &self.proxy else {
            return match timeout(self.limits.tcp, self.tcp(host, port, route)).await {
                Err(_) => Err(ConnectError::TimedOut { step: "TCP", peer: peer(), limit: self.limits.tcp }),
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(TcpError::Resolve(source))) => Err(ConnectError::Resolve { host: host.to_owned(), source }),
                Ok(Err(TcpError::Connect(source))) => Err(ConnectError::Tcp { peer: peer(), source }),
            };
        };
        let failed = |source| ConnectError::Proxy { proxy: proxy.to_string(), peer: peer(), source };
        let mut stream = match timeout(self.limits.tcp, self.tcp(&proxy.host, proxy.port, route)).await {
            Err(_) => return Err(failed(ProxyError::Stalled(Stage::Tcp))),
            Ok(Err(TcpError::Resolve(err))) => return Err(failed(ProxyError::Resolve(err))),
            Ok(Err(TcpError::Connect(err))) => return Err(failed(ProxyError::Unreachable(err))),
            Ok(Ok(stream)) => stream,
        };
        proxy::ask(&mut stream, proxy, host, port, Instant::now() + self.limits.proxy).await.map_err(failed)?;
        Ok(stream)
    }

    /// [`Dialer::dial`], and TLS with `host` where `tls` is given. The certificate must be the exchange's, whatever
    /// lies between.
    ///
    /// # Errors
    /// [`ConnectError`] of the step that failed.
    ///
    /// # Cancel safety
    /// As [`Dialer::dial`].
    pub async fn open(
        &self,
        host: &str,
        port: u16,
        route: &Route,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Io, ConnectError> {
        let Some(tls) = tls else { return Ok(Io::Plain(self.dial(host, port, route).await?)) };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|err| ConnectError::Url { url: host.to_owned(), what: err.to_string() })?;
        let tcp = self.dial(host, port, route).await?;
        match timeout(self.limits.tls, TlsConnector::from(Arc::clone(tls)).connect(name, tcp)).await {
            Err(_) => {
                Err(ConnectError::TimedOut { step: "TLS", peer: format!("{host}:{port}"), limit: self.limits.tls })
            }
            Ok(Err(source)) => Err(ConnectError::Tls { host: host.to_owned(), source }),
            Ok(Ok(stream)) => Ok(Io::Tls(Box::new(stream))),
        }
    }

    async fn tcp(&self, host: &str, port: u16, route: &Route) -> Result<TcpStream, TcpError> {
        // Resolved again for every connection: exchanges move.
        let mut addrs = match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => tokio::net::lookup_host((host, port)).await.map_err(TcpError::Resolve)?.collect(),
        };
        route.order(&mut addrs);
        let tries = u32::try_from(addrs.len()).unwrap_or(u32::MAX).clamp(1, ADDRESSES_TRIED);
        let share = self.limits.tcp / tries;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for addr in addrs {
            match timeout(share, connect_tcp(addr)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(err)) => last = err,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{addr} does not answer")),
            }
        }
        Err(TcpError::Connect(last))
    }
}

enum TcpError {
    Resolve(io::Error),
    Connect(io::Error),
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
    // Best effort.
    let _ = options.set_tcp_nodelay(true);
    // Also on the way to a proxy: idle NATs cut silent sockets before some exchanges ping (USD-M: 3 minutes).
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    let _ = options.set_tcp_keepalive(&keepalive);
    // Best effort.
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

/// The TLS settings of every outgoing connection: TLS 1.2 and 1.3, ring, Mozilla's roots and `extra` ones.
///
/// # Errors
/// When an extra certificate is none.
pub fn tls_config(extra: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for cert in extra {
        roots.add(cert.clone())?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A TCP stream, with or without TLS.
#[derive(Debug)]
pub enum Io {
    /// `ws://`, `http://`
    Plain(TcpStream),
    /// `wss://`, `https://`
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// The TCP stream below.
    pub fn tcp(&self) -> &TcpStream {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_kernel_limit_leaves_the_buffer_to_auto_tuning() {
        // rmem_max 208 KiB, auto-tuning up to 6 MiB: asking would fix the buffer at 416 KiB.
        assert_eq!(recv_buffer(8 << 20, Some(212_992), Some(6 << 20)), None);
        assert_eq!(recv_buffer(8 << 20, Some(16 << 20), Some(6 << 20)), Some(8 << 20));
        assert_eq!(recv_buffer(8 << 20, Some(4 << 20), Some(6 << 20)), Some(8 << 20));
        assert_eq!(recv_buffer(8 << 20, None, Some(6 << 20)), None);
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
}
