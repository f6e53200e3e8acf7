//! What the collector serves over HTTP: `/health`, `/metrics`, `/v1/status`; and where others find it.
//!
//! Recording comes first: a port that is in use is a warning and another port, never a refusal to start. The
//! address that was taken is in one small file per venue beside the logs; a file that a killed collector left
//! after is overwritten by the next one and believed by nobody who gets no answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tracing::{info, warn};
use wal_format::plain;

use super::metrics::Metrics;
use capture::Capture;
use net::server::{self, Gate, Limits};
use ops::exposition;
use ops::shutdown::Shutdown;
use ops::status::address_file;

/// Clients of a collector are a few programs of this machine.
const LIMITS: Limits = Limits { connections: 256, per_address: 128, write: Duration::from_secs(10) };

/// Binds `[collector] listen`, or any free port when that one is in use. `None` = none at all.
pub(super) async fn bind(listen: SocketAddr) -> Option<TcpListener> {
    match TcpListener::bind(listen).await {
        Ok(listener) => return Some(listener),
        Err(err) => warn!(%listen, error = %err, "cannot listen at [collector] listen; taking any free port instead"),
    }
    match TcpListener::bind(SocketAddr::new(listen.ip(), 0)).await {
        Ok(listener) => Some(listener),
        Err(err) => {
            warn!(error = %err, "the collector records without status and metrics");
            None
        }
    }
}

/// Says where `listener` listens, for every venue of `cfg`.
pub(super) fn announce(cfg: &Capture, listener: &TcpListener) {
    let Ok(address) = listener.local_addr() else { return };
    info!(%address, "status and metrics");
    for venue in cfg.venues.keys() {
        let path = address_file(&cfg.wal_root(), *venue);
        if let Err(err) = std::fs::write(&path, format!("{address}\n")) {
            warn!(path = %path.display(), error = %err, "`tapedeck status` will not find this collector");
        }
    }
}

/// Takes back what [`announce`] said.
pub(super) fn withdraw(cfg: &Capture) {
    for venue in cfg.venues.keys() {
        // Nothing depends on it: whoever reads a stale one gets no answer.
        let _ = std::fs::remove_file(address_file(&cfg.wal_root(), *venue));
    }
}

/// Serves until `shutdown`.
pub(super) async fn serve(listener: Arc<std::net::TcpListener>, gate: Gate, metrics: Arc<Metrics>, shutdown: Shutdown) {
    let listener = match listener.try_clone().and_then(TcpListener::from_std) {
        Ok(listener) => listener,
        Err(err) => return warn!(error = %err, "the status server cannot listen"),
    };
    let supervisor = metrics.supervisor().clone();
    let app = Router::new()
        .route("/", get(index))
        .route("/health", get(health))
        .route("/metrics", get(prometheus))
        .route("/v1/status", get(status))
        .layer(from_fn_with_state(Arc::new(gate), check))
        .with_state(metrics);
    server::run(&listener, app, LIMITS, &|| (), &supervisor, shutdown).await;
}

/// Answers pages of other hosts, and names that are none of ours, with why not.
async fn check(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match server::check(&gate, &parts) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err((status, why)) => (status, format!("{why}\n")).into_response(),
    }
}

async fn index() -> &'static str {
    "Tapedeck collector\n\n/health     200 while everything flows, 503 with the reasons otherwise\n/metrics    Prometheus text\n/v1/status  JSON\n"
}

async fn health(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    let problems = metrics.problems();
    if problems.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        // People read it in a terminal: what venues say stays in its line.
        let problems: Vec<_> = problems.iter().map(|problem| plain::line(problem)).collect();
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", problems.join("\n")))
    }
}

async fn prometheus(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], metrics.prometheus())
}

async fn status(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    axum::Json(metrics.status())
}
