//! Every HTTP server of ours: how many connections there are and of whom, how long one may think, how long it may take
//! to read its answer, and how it ends. Knows nothing of what is served.
//!
//! ```text
//!  accept -> places: how many, of one address -> timed: what is written must be taken -> hyper -> gate: Host, Origin -> routes
//! ```
//!
//! | A client that | is |
//! |---|---|
//! | sends no whole head within [`HEAD_TIMEOUT`], or nothing after an answer | disconnected |
//! | does not take what is written within [`Limits::write`] | disconnected |
//! | comes while all places are taken, or all that its address may have | answered 503 or 429 |
//! | still reads when the service ends | disconnected after [`GRACE`] |

mod access;
mod gate;
mod timed;

pub use access::{Access, AccessError, UnfitToken};

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::header;
use axum::response::Response;
use http_doors::{Full, Place, Places};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use ops::BoxFuture;
use ops::shutdown::Shutdown;
use ops::supervise::{Supervisor, Task};
use ops::telemetry::RateLimited;

pub use gate::{check, gate};
pub use http_doors::{Gate, group};
use timed::Timed;

/// A client that sends no complete head for this long is disconnected, before the first request and between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// What a head may measure: 1,024 streams in one address fit.
const HEAD_BYTES: usize = 64 << 10;
/// Answers under way get this long when the service ends.
const GRACE: Duration = Duration::from_secs(2);
/// What the kernel holds for a client that does not read.
const SEND_BUFFER: usize = 256 << 10;

/// Clients that are refused at once because there is no place.
const REFUSALS: usize = 256;

/// Files that the rest of the process has open: logs, Parquet, databases.
const OTHER_FILES: u64 = 512;

/// What a server puts up with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; WebSockets have left this count.
    pub connections: usize,
    /// Connections and WebSockets of one address at once.
    pub per_address: usize,
    /// How long a client may take for what is written to it.
    pub write: Duration,
}

/// Raises the limit of open files as far as `connections` need it; systems begin with 1,024. Returns what is allowed.
fn allow_files(connections: usize) -> Option<u64> {
    let need = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|now| now < need) {
        let wanted = maximum.map_or(need, |most| most.min(need));
        // What was refused is reported with what is allowed then.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
    let allowed = getrlimit(Resource::Nofile).current;
    if allowed.is_some_and(|now| now < need) {
        tracing::warn!(
            allowed,
            need,
            "the connections of a server need more open files than this system allows (ulimit -Hn)"
        );
    }
    allowed
}

/// Serves until `shutdown`. `turned_away` hears of every connection that found no place.
pub fn run<'a>(
    listener: &'a TcpListener,
    router: Router,
    limits: Limits,
    turned_away: &'a (dyn Fn() + Sync),
    supervisor: &'a Supervisor,
    shutdown: Shutdown,
) -> BoxFuture<'a, ()> {
    Box::pin(accept(listener, router, limits, turned_away, supervisor, shutdown))
}

async fn accept(
    listener: &TcpListener,
    router: Router,
    limits: Limits,
    turned_away: &(dyn Fn() + Sync),
    supervisor: &Supervisor,
    shutdown: Shutdown,
) {
    allow_files(limits.connections);
    let places = Arc::new(Places::new(limits.connections, limits.per_address));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.wait() => break,
        };
        while tasks.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => {
                // Out of descriptors, most likely: others will end.
                static REFUSED: RateLimited = RateLimited::new(Duration::from_secs(30));
                if let Some(suppressed) = REFUSED.allow() {
                    tracing::warn!(error = %err, suppressed, "cannot accept a connection");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = match Places::take(&places, peer.ip()) {
            Ok(place) => place,
            Err(full) => {
                turned_away();
                // Beyond these a flood of connections gets no answer.
                if refusals.available_permits() > 0 {
                    let refusal = Arc::clone(&refusals);
                    tasks.spawn(async move {
                        let _held = refusal.acquire().await;
                        turn_away(stream, full).await;
                    });
                }
                continue;
            }
        };
        let (router, shutdown, supervisor) = (router.clone(), shutdown.clone(), supervisor.clone());
        tasks.spawn(async move {
            let served = connection(stream, peer, place, limits.write, router, shutdown);
            // A panic was reported; the client sees its connection end.
            drop(supervisor.once(Task::Client, "", served).await);
        });
    }
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::info!(clients = tasks.len(), "clients did not take their answers in time; they are disconnected");
    }
}

async fn turn_away(mut stream: TcpStream, full: Full) {
    let (status, what) = match full {
        Full::All => ("503 Service Unavailable", "Too many connections."),
        Full::OfAddress => ("429 Too Many Requests", "Too many connections of one address."),
    };
    let body = format!("{{\"code\":-1003,\"msg\":\"{what}\"}}");
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    let refusal = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What it asked is read, or closing would take the answer back.
        tokio::io::copy(&mut stream.take(HEAD_BYTES as u64), &mut tokio::io::sink()).await
    };
    // Best effort: the client is not known to us.
    let _ = tokio::time::timeout(GRACE, refusal).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    write: Duration,
    router: Router,
    shutdown: Shutdown,
) {
    // Without these it only works less well.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let upgraded = Arc::new(AtomicBool::new(false));
    let (place, of_address) = place.split();
    let stream = Timed::new(stream, write, Arc::clone(&upgraded), of_address);
    let service = WithPeer { inner: TowerToHyperService::new(router), peer, upgraded };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        // A client that breaks off is no news.
        _ = connection.as_mut() => {}
        () = shutdown.wait() => {
            connection.as_mut().graceful_shutdown();
            // Nor is one that ends now.
            let _ = connection.await;
        }
    }
    drop(place);
}

/// Tells requests whose they are, and the connection when it becomes a WebSocket.
struct WithPeer {
    inner: TowerToHyperService<Router>,
    peer: SocketAddr,
    upgraded: Arc<AtomicBool>,
}

impl Service<Request<Incoming>> for WithPeer {
    type Response = Response;
    type Error = Infallible;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if request.headers().contains_key(header::UPGRADE) {
            self.upgraded.store(true, Ordering::Relaxed);
        }
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests;
