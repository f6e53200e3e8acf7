//! What the compactor serves: candles over REST and WebSocket, the page, `/health`, `/metrics`, `/v1/status`. It
//! writes no files; a slow client delays nobody.
//!
//! ```text
//!  connection --> http_server: how many --> guard: who, how often, which host and origin --> binance | native | ws | page
//!                                                                                  \-> KlineHub
//! ```
#![forbid(unsafe_code)]

mod binance;
mod error;
mod guard;
mod metrics;
mod native;
pub mod outside;
mod page;
mod params;
mod quality;
mod system;
#[cfg(test)]
mod tests;
mod text;
mod ws;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use wal_format::plain;

use compact::CompactorStatus;
use config::{Api, Config};
use kline::KlineHub;
use net::server as http_server;
use net::server::Gate;
use ops::memory::Held;
use ops::shutdown::Shutdown;
use ops::supervise::{self, Task};

use error::{Answer, Refusal};
use net::server::Access;

/// Questions to the database at once; the rest wait.
const READS: usize = 8;

/// What every answer may need.
pub(crate) struct App {
    pub status: Arc<CompactorStatus>,
    pub hub: Option<Arc<KlineHub>>,
    pub cfg: Api,
    pub config: Arc<Config>,
    pub access: Access,
    dispatcher: Option<Arc<ws::Dispatcher>>,
    reads: Semaphore,
    sockets: Arc<Semaphore>,
    weights: guard::Weights,
    counts: metrics::Counts,
    gate: Gate,
    looks: system::Looks,
    reports: quality::Looks,
    shutdown: Shutdown,
}

type Shared = Arc<App>;

/// Binds the address of `[api] listen`.
///
/// # Errors
/// A plain sentence that names the address and the key, for a port in use among others.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|err| {
        let why = match err.kind() {
            std::io::ErrorKind::AddrInUse => "the port is in use by another process".to_owned(),
            std::io::ErrorKind::PermissionDenied => "no permission for this port".to_owned(),
            _ => err.to_string(),
        };
        anyhow::anyhow!(
            "cannot listen on {listen}: {why}\n  where: [api] listen\n  fix:   stop that process, or set another address (TAPEDECK__API__LISTEN=\"127.0.0.1:8081\")"
        )
    })
}

/// Serves until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    config: Arc<Config>,
    access: Access,
    status: Arc<CompactorStatus>,
    hub: Option<Arc<KlineHub>>,
    shutdown: Shutdown,
) {
    let supervisor = status.supervisor().clone();
    let app = app(config, access, status, hub, shutdown.clone());
    supervisor.keep(Task::Api, "", &shutdown, || listen(&listener, &app, shutdown.clone())).await;
}

/// Takes connections until `shutdown`.
async fn listen(listener: &TcpListener, app: &Shared, shutdown: Shutdown) {
    let limits = http_server::Limits {
        connections: app.cfg.max_connections,
        per_address: app.cfg.connections_per_address(),
        write: Duration::from_secs(app.cfg.slow_client_s),
    };
    let turned_away = || app.counts.turned_away();
    http_server::run(listener, router(app.clone()), limits, turned_away, app.status.supervisor(), shutdown).await;
}

fn app(
    config: Arc<Config>,
    access: Access,
    status: Arc<CompactorStatus>,
    hub: Option<Arc<KlineHub>>,
    shutdown: Shutdown,
) -> Shared {
    let cfg = config.api.clone();
    let gate = http_server::gate(cfg.listen, &cfg.hosts, &cfg.cors_origins, access.asks());
    let supervisor = status.supervisor();
    let dispatcher = hub.clone().map(|hub| ws::Dispatcher::start(hub, supervisor.clone(), shutdown.clone()));
    if let Some(held) = dispatcher.as_ref().map(Arc::downgrade) {
        let waiting = move || held.upgrade().map_or(0, |d| d.waiting_bytes());
        status.pressure().probe("api_mailboxes", Held::Own, waiting);
    }
    Arc::new(App {
        status,
        hub,
        dispatcher,
        sockets: Arc::new(Semaphore::new(cfg.max_websockets)),
        cfg,
        config,
        access,
        reads: Semaphore::new(READS),
        weights: guard::Weights::default(),
        counts: metrics::Counts::default(),
        gate,
        looks: system::Looks::default(),
        reports: quality::Looks::default(),
        shutdown,
    })
}

fn router(app: Shared) -> Router {
    let router = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics_text))
        .merge(binance::router())
        .merge(native::router())
        .merge(system::router())
        .merge(quality::router())
        .merge(page::router())
        .merge(ws::router())
        .fallback(nothing)
        .method_not_allowed_fallback(nothing);
    guard::around(router, app.clone()).with_state(app)
}

/// Wall time, us since epoch.
fn now_us() -> i64 {
    i64::try_from(ops::clock::wall_ns() / 1_000).unwrap_or(i64::MAX)
}

/// Wall time, ms since epoch.
fn now_ms() -> i64 {
    now_us() / 1_000
}

/// Runs what may wait for the disk where it holds up no connection.
async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Answer<T> {
    // Closed never: the semaphore lives as long as the app.
    let _permit = app.reads.acquire().await.map_err(|e| Refusal::internal(&e.into()))?;
    let supervisor = app.status.supervisor().clone();
    match supervise::blocking(move || supervisor.attempt(Task::Client, "", work)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(why)) => Err(Refusal::internal(&why)),
        Err(panicked) => Err(Refusal::internal(&panicked.into())),
    }
}

/// As the exchange answers to paths it does not know; below its own paths with what there is.
async fn nothing(method: Method, uri: Uri) -> Refusal {
    let path = uri.path();
    let shaped = ["/api/", "/fapi/", "/dapi/", "/sapi/", "/futures/", "/ws-"].iter().any(|p| path.starts_with(p));
    let why = if shaped { ": candles and trades are served here, see /v1/openapi.json" } else { "" };
    Refusal::with(StatusCode::NOT_FOUND, -5000, format!("Path {path}, Method {method} is invalid{why}"))
}

async fn health(State(app): State<Shared>) -> impl IntoResponse {
    let mut problems = app.status.problems();
    if let Some(hub) = &app.hub {
        let sick = |(venue, f): (String, kline::hub::FeedStatus)| {
            let why = f.reason.filter(|_| f.activity == "retrying")?;
            Some(format!("{venue}: the candles failed and will try again: {why}"))
        };
        problems.extend(hub.stats().feeds.into_iter().filter_map(sick));
    }
    if problems.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        // People read it in a terminal: what venues say stays in its line.
        let problems: Vec<_> = problems.iter().map(|problem| plain::line(problem)).collect();
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", problems.join("\n")))
    }
}

async fn metrics_text(State(app): State<Shared>) -> impl IntoResponse {
    let mut text = app.status.prometheus();
    metrics::write(&mut text, &app);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
