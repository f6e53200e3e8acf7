//! Through a proxy: the part of a connection between TCP to the proxy and the first byte to the exchange.
//!
//! [`socks5`] and [`http_connect`] are written over any byte stream and know nothing of sockets, TLS or retries.
//! Both ask the proxy for the exchange by its name, so no name of an exchange is ever resolved on this machine.

mod error;
mod http_connect;
mod socks5;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

pub use error::{ProxyError, Stage};

use config::{Proxy, ProxyKind};

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

/// Reads and writes that know which stage they belong to and when it must be over.
struct Wire<'a, S> {
    stream: &'a mut S,
    deadline: Instant,
    stage: Stage,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<'_, S> {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), ProxyError> {
        let (stage, deadline) = (self.stage, self.deadline);
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        in_time(stage, deadline, sending).await
    }

    /// Exactly `N` bytes.
    async fn read<const N: usize>(&mut self) -> Result<[u8; N], ProxyError> {
        let mut bytes = [0; N];
        in_time(self.stage, self.deadline, self.stream.read_exact(&mut bytes)).await?;
        Ok(bytes)
    }

    /// Reads `n` bytes and forgets them.
    async fn skip(&mut self, n: usize) -> Result<(), ProxyError> {
        let mut bytes = [0; 257];
        let bytes = bytes.get_mut(..n).ok_or(ProxyError::Malformed("an answer that is too long"))?;
        in_time(self.stage, self.deadline, self.stream.read_exact(bytes)).await?;
        Ok(())
    }
}

async fn in_time<T>(
    stage: Stage,
    deadline: Instant,
    work: impl Future<Output = std::io::Result<T>>,
) -> Result<T, ProxyError> {
    match timeout_at(deadline, work).await {
        Err(_) => Err(ProxyError::Stalled(stage)),
        Ok(Ok(done)) => Ok(done),
        Ok(Err(source)) => Err(match source.kind() {
            UnexpectedEof | BrokenPipe | ConnectionReset | ConnectionAborted => ProxyError::Closed(stage),
            _ => ProxyError::Io { stage, source },
        }),
    }
}
