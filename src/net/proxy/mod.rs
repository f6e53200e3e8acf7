//! Through a proxy: the part of a connection between TCP to the proxy and the first byte to the exchange.
//!
//! [`socks5`] and [`http_connect`] are written over any byte stream and know nothing of sockets, TLS or retries.
//! Both ask the proxy for the exchange by its name, so no name of an exchange is ever resolved on this machine.

mod error;
mod http_connect;
mod socks5;
#[cfg(test)]
mod tests;
mod url;
mod wire;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

pub use error::{ProxyError, Stage};

pub use self::url::{Credentials, FORM, Proxy, ProxyKind};
use self::wire::Wire;

/// Asks the proxy behind `stream` for a way to `host:port`; afterwards `stream` leads there. Every answer of the
/// proxy is due by `deadline`. Reads not one byte more than the proxy's answer.
///
/// # Errors
/// [`ProxyError`] with the stage that failed. `stream` is of no use any more then.
///
/// # Cancel safety
/// None: a half handshake cannot be continued.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    proxy: &Proxy,
    host: &str,
    port: u16,
    deadline: Instant,
) -> Result<(), ProxyError> {
    let mut wire = Wire { stream, deadline, stage: Stage::Greeting };
    match proxy.kind {
        ProxyKind::Socks5 => socks5::connect(&mut wire, proxy.credentials.as_ref(), host, port).await,
        ProxyKind::HttpConnect => http_connect::connect(&mut wire, proxy.credentials.as_ref(), host, port).await,
    }
}
