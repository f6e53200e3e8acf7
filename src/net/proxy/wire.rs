//! The bytes between a proxy and us: every read and write is due by one deadline, and its error names the stage.

use std::future::Future;
use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::error::{ProxyError, Stage};

/// Reads and writes that know which stage they belong to and when it must be over.
pub(super) struct Wire<'a, S> {
    pub(super) stream: &'a mut S,
    pub(super) deadline: Instant,
    pub(super) stage: Stage,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<'_, S> {
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), ProxyError> {
        let (stage, deadline) = (self.stage, self.deadline);
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        in_time(stage, deadline, sending).await
    }

    /// Exactly `N` bytes.
    pub(super) async fn read<const N: usize>(&mut self) -> Result<[u8; N], ProxyError> {
        let mut bytes = [0; N];
        in_time(self.stage, self.deadline, self.stream.read_exact(&mut bytes)).await?;
        Ok(bytes)
    }

    /// Reads `n` bytes and forgets them.
    pub(super) async fn skip(&mut self, n: usize) -> Result<(), ProxyError> {
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
