//! A connection whose peer must take what is written to it.
//!
//! From the moment the kernel takes nothing more, the peer has the limit for what waits, or for [`ENOUGH`] of it: one that
//! reads a byte now and then holds its place no longer than one that reads nothing. A WebSocket's own limit tells
//! the client why it is disconnected, so it gets a second one for that.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_doors::OfAddress;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// So much taken within the limit is progress.
const ENOUGH: usize = 16 << 10;

/// See the module.
pub(super) struct Timed {
    stream: TcpStream,
    limit: Duration,
    upgraded: Arc<AtomicBool>,
    /// Runs while something waits to be taken.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Bytes that were taken since it runs.
    taken: usize,
    _place: OfAddress,
}

impl Timed {
    pub fn new(stream: TcpStream, limit: Duration, upgraded: Arc<AtomicBool>, place: OfAddress) -> Timed {
        Timed { stream, limit, upgraded, stalled: None, taken: 0, _place: place }
    }

    fn written(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match wrote {
            Poll::Ready(Ok(bytes)) => {
                self.taken += bytes;
                if self.taken >= ENOUGH {
                    self.stalled = None;
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(err)) => Poll::Ready(Err(err)),
            Poll::Pending => {
                let (limit, upgraded) = (self.limit, self.upgraded.load(Ordering::Relaxed));
                let stalled = match &mut self.stalled {
                    Some(stalled) => stalled,
                    None => {
                        self.taken = 0;
                        let limit = if upgraded { limit * 2 + Duration::from_secs(1) } else { limit };
                        self.stalled.insert(Box::pin(tokio::time::sleep(limit)))
                    }
                };
                ready!(stalled.as_mut().poll(cx));
                self.stalled = None;
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "what is written is not read in time")))
            }
        }
    }
}

impl AsyncRead for Timed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when all that waited was taken.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stalled = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
