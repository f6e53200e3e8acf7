//! Connections: how many there are, how long they may think, and how they end. Knows nothing of what is served.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Shared;
use crate::shutdown::Shutdown;
use crate::supervise::Task;

/// A client that sends no complete head for this long is cut.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// What a head may measure: 1,024 streams in one address fit.
const HEAD_BYTES: usize = 64 << 10;
/// Answers under way get this long when the service ends.
const GRACE: Duration = Duration::from_secs(2);
/// What the kernel holds for a client that does not read.
const SEND_BUFFER: usize = 256 << 10;

/// Files that the rest of the process has open: logs, Parquet, databases.
const OTHER_FILES: u64 = 512;

/// Raises the limit of open files as far as `connections` need it; systems begin with 1,024. Returns what is allowed.
fn allow_files(connections: usize) -> Option<u64> {
    let need = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|now| now < need) {
        let wanted = maximum.map_or(need, |most| most.min(need));
        // What was refused is told by what is allowed then.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
    let allowed = getrlimit(Resource::Nofile).current;
    if allowed.is_some_and(|now| now < need) {
        tracing::warn!(
            allowed,
            need,
            "[api] max_connections needs more open files than this system allows (ulimit -Hn)"
        );
    }
    allowed
}

/// Serves until `shutdown`, at most `max` connections at once (WebSockets are counted on their own).
pub(super) async fn run(listener: &TcpListener, router: Router, max: usize, app: Shared, shutdown: Shutdown) {
    allow_files(max);
    let places = Arc::new(Semaphore::new(max));
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
                tracing::warn!(error = %err, "cannot take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            app.counts.turned_away();
            tasks.spawn(turn_away(stream));
            continue;
        };
        let (router, shutdown, supervisor) = (router.clone(), shutdown.clone(), app.status.supervisor().clone());
        tasks.spawn(async move {
            let served = supervisor.once(Task::Client, "", connection(stream, peer, router, shutdown)).await;
            // A panic was told; the client sees its connection end.
            drop((served, place));
        });
    }
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::info!(clients = tasks.len(), "clients did not take their answers in time; they are cut");
    }
}

async fn turn_away(mut stream: TcpStream) {
    let body = "{\"code\":-1003,\"msg\":\"Too many connections.\"}";
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    // Best effort: the client is not known to us.
    let _ = tokio::time::timeout(GRACE, stream.write_all(answer.as_bytes())).await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, shutdown: Shutdown) {
    // Without these it only works less well.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let service = WithPeer { inner: TowerToHyperService::new(router), peer };
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
}

/// Tells requests whose they are.
struct WithPeer {
    inner: TowerToHyperService<Router>,
    peer: SocketAddr,
}

impl Service<Request<Incoming>> for WithPeer {
    type Response = Response;
    type Error = Infallible;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_grows_with_the_connections_and_never_shrinks() {
        let before = getrlimit(Resource::Nofile);
        let allowed = allow_files(1_500);
        let most = before.maximum.unwrap_or(u64::MAX).min(1_500 + OTHER_FILES);
        assert!(allowed.is_none_or(|now| now >= most && now >= before.current.unwrap_or(0)), "{allowed:?}");
        assert_eq!(allow_files(1), allowed);
    }
}
