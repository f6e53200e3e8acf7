//! The TCP side of a connection that the protocol does not see: resets with exact accounting.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

/// How long a cut waits for the peer's kernel to take what was sent.
const DRAIN: Duration = Duration::from_secs(2);

/// A second handle of a connection's socket.
pub(crate) struct Wire {
    socket: Option<socket2::Socket>,
    ends: Option<(SocketAddr, SocketAddr)>,
    /// Whose connection it is.
    pub peer: IpAddr,
}

impl Wire {
    /// Keeps a handle of an accepted connection.
    pub fn of(tcp: &TcpStream) -> Wire {
        let ends = tcp.local_addr().ok().zip(tcp.peer_addr().ok());
        let peer = ends.map_or(IpAddr::from(Ipv4Addr::LOCALHOST), |(_, peer)| peer.ip());
        Wire { socket: socket2::SockRef::from(tcp).try_clone().ok(), ends, peer }
    }

    /// Our end of it.
    pub fn local(&self) -> Option<SocketAddr> {
        self.ends.map(|(local, _)| local)
    }

    /// Makes the coming close a reset. Waits first until the peer's kernel has everything that was sent (Linux: the socket's send
    /// queue is empty), because a reset throws away what is still queued here; what the peer's kernel holds stays readable there.
    pub async fn reset_on_close(&mut self) {
        let began = Instant::now();
        while let Some(queued) = self.ends.and_then(|(local, peer)| send_queue(local, peer)) {
            if queued == 0 || began.elapsed() > DRAIN {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if let Some(socket) = self.socket.take() {
            // Cannot fail for a reason that a test tool could mend: without it the close is an orderly one.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }
}

/// Bytes in the send queue of a connection, from the kernel's table; `None` where there is no such table.
fn send_queue(local: SocketAddr, peer: SocketAddr) -> Option<u64> {
    let table = std::fs::read_to_string(if local.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" }).ok()?;
    let port = |text: &str| u16::from_str_radix(text.rsplit(':').next()?, 16).ok();
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (here, there) = (port(words.next()?)?, port(words.next()?)?);
        let queues = words.nth(1)?;
        (here == local.port() && there == peer.port())
            .then(|| u64::from_str_radix(queues.split(':').next()?, 16).ok())?
    })
}
