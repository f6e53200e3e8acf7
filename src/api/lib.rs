//! What the compactor serves: candles over REST and WebSocket, the page, `/health`, `/metrics`, `/v1/status`. It
//! writes no files; a slow client delays no other.
//!
//! ```text
//!  connection --> net::server: how many --> guard: who, how often, which host and origin --> binance | native | ws | page
//!                                                                                  \-> KlineHub
//! ```
#![forbid(unsafe_code)]

mod app;
mod binance;
mod cache;
mod counts;
mod error;
mod guard;
mod json;
mod metrics;
mod native;
pub mod outside;
mod page;
mod params;
mod quality;
mod settings;
mod system;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod weights;
mod ws;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use wal_format::plain;

use app::{Shared, app};
use error::nothing;
use kline::KlineHub;
use lake::Lake;
use net::server::{self, Access};
use ops::compactor::CompactorStatus;
use ops::shutdown::Shutdown;
use ops::supervise::Task;
use ops::{BoxFuture, exposition};
pub use settings::{Config, Settings};

/// The address of `[api] listen` cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {listen}: {why}\n  where: [api] listen\n  fix:   stop that process, or set another address (TAPEDECK__API__LISTEN=\"127.0.0.1:8081\")"
)]
pub struct ListenError {
    listen: SocketAddr,
    why: String,
}

/// Binds the address of `[api] listen`.
///
/// # Errors
/// A plain sentence that names the address and the key, for a port in use among others.
pub async fn bind(listen: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(listen).await.map_err(|err| {
        let why = match err.kind() {
            std::io::ErrorKind::AddrInUse => "the port is in use by another process".to_owned(),
            std::io::ErrorKind::PermissionDenied => "no permission for this port".to_owned(),
            _ => err.to_string(),
        };
        ListenError { listen, why }
    })
}

/// Serves until `shutdown`.
pub fn serve(
    listener: TcpListener,
    config: Arc<Config>,
    lake: Lake,
    access: Access,
    status: Arc<CompactorStatus>,
    hub: Option<Arc<KlineHub>>,
    shutdown: Shutdown,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let supervisor = status.supervisor().clone();
        let app = app(config, lake, access, status, hub, shutdown.clone());
        supervisor.keep(Task::Api, "", &shutdown, || listen(&listener, &app, shutdown.clone())).await;
    })
}

/// Takes connections until `shutdown`.
async fn listen(listener: &TcpListener, app: &Shared, shutdown: Shutdown) {
    let limits = server::Limits {
        connections: app.cfg.max_connections,
        per_address: app.cfg.connections_per_address(),
        write: Duration::from_secs(app.cfg.slow_client_s),
    };
    let turned_away = || app.counts.turned_away();
    server::run(listener, router(app.clone()), limits, &turned_away, app.status.supervisor(), shutdown).await;
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

async fn health(State(app): State<Shared>) -> impl IntoResponse {
    let problems = app.status.problems();
    if problems.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        // People read it in a terminal: what venues say stays in its line.
        let problems: Vec<_> = problems.iter().map(|problem| plain::line(problem)).collect();
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", problems.join("\n")))
    }
}

async fn metrics_text(State(app): State<Shared>) -> impl IntoResponse {
    let text = exposition::text(|out| {
        app.status.expose(out);
        metrics::expose(out, &app);
    });
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text)
}
