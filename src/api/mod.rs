//! What the compactor serves over HTTP: `/health`, `/metrics`, `/v1/status`. It writes no files and holds no state.
//!
//! Loopback only (the configuration refuses anything else in this version). Answers are computed from the status
//! that the compactor publishes; a slow client delays nobody.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::compact::CompactorStatus;
use crate::shutdown::Shutdown;

#[derive(Clone)]
struct App {
    status: Arc<CompactorStatus>,
}

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
pub async fn serve(listener: TcpListener, status: Arc<CompactorStatus>, shutdown: Shutdown) {
    let app = Router::new()
        .route("/", get(index))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status_json))
        .with_state(App { status });
    let served = axum::serve(listener, app).with_graceful_shutdown(async move { shutdown.wait().await }).await;
    if let Err(err) = served.context("serve HTTP") {
        tracing::error!(error = %format!("{err:#}"), "the status server stopped; the compactor goes on");
    }
}

async fn index() -> &'static str {
    "Tapedeck compactor\n\n/health     200 while every venue's log is followed, 503 with the reason otherwise\n/metrics    Prometheus text\n/v1/status  JSON\n"
}

async fn health(State(app): State<App>) -> impl IntoResponse {
    let problems = app.status.problems();
    if problems.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", problems.join("\n")))
    }
}

async fn metrics(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.status.prometheus())
}

async fn status_json(State(app): State<App>) -> impl IntoResponse {
    axum::Json(app.status.snapshot())
}
