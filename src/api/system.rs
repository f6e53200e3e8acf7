//! `/v1/system` and `/v1/streams`: both services at one look, for the page. Logs, disk and memory are read from the
//! outside; the collectors say themselves how their streams are. Looked at once a second at most, under any load.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use serde_json::{Value, json};

use super::app::{Shared, blocking};
use super::error::{ApiError, ApiResult, Failed};
use super::json::json as answer;
use super::params::Params;
use super::time::now_ms;
use crate::outside::{self, LogStatus};
use crate::settings::Config;
use kline::KlineHub;
use model::VenueId;
use ops::host::{self, ProcessMemory};
use ops::status::{ConnStatus, Status, StreamStatus, VenueStatus};

/// Streams that do not flow, named per connection in the summary; `/v1/streams` names all.
const NAMED_MAX: usize = 20;

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/v1/system", get(system)).route("/v1/streams", get(streams))
}

async fn system(State(app): State<Shared>) -> ApiResult<Response> {
    if let Some(body) = app.system_cache.fresh() {
        return Ok(answer(body.to_string()));
    }
    // One reads, the others wait for what it finds; none of them holds a place of those who read candles.
    let _one = app.system_cache.lock.lock().await;
    if let Some(body) = app.system_cache.fresh() {
        return Ok(answer(body.to_string()));
    }
    let (state, collectors) = (Arc::clone(&app), outside::collectors(&app.config.capture).await);
    let body: Arc<str> = blocking(&app, move || Ok(look(&state, collectors)?.to_string().into())).await?;
    app.system_cache.keep(&body);
    Ok(answer(body.to_string()))
}

fn look(app: &Shared, collectors: Vec<Status>) -> Result<Value, Failed> {
    let cfg = &app.config;
    let snapshot = app.status.snapshot();
    let memory: Vec<_> =
        snapshot.memory.into_iter().chain(collectors.iter().filter_map(|c| c.memory.clone())).collect();
    let collectors = outside::by_venue(collectors);
    let logs: Vec<LogStatus> = cfg.capture.venues.keys().map(|v| outside::log_status(&cfg.capture, *v)).collect();
    let feeds: Vec<FeedView> = cfg.capture.venues.keys().map(|v| FeedView::of(*v, collectors.get(v))).collect();
    let own = std::process::id();
    let mut processes =
        vec![Process { name: "compactor", pid: own, venues: Vec::new(), memory: host::process_memory(own) }];
    for log in logs.iter().filter(|l| l.collector_running) {
        let Some(pid) = log.collector_pid else { continue };
        match processes.iter_mut().find(|p| p.pid == pid && p.name == "collector") {
            Some(process) => process.venues.push(log.venue),
            None => processes.push(Process {
                name: "collector",
                pid,
                venues: vec![log.venue],
                memory: host::process_memory(pid),
            }),
        }
    }
    Ok(json!({
        "now": now_ms(),
        "version": env!("CARGO_PKG_VERSION"),
        "data_dir": cfg.capture.data_dir.display().to_string(),
        "disk": host::disk(&cfg.capture.data_dir),
        "machine": host::machine_memory(),
        "processes": serde_json::to_value(&processes)?,
        "memory": serde_json::to_value(memory)?,
        "logs": serde_json::to_value(&logs)?,
        "feeds": serde_json::to_value(&feeds)?,
        "compactor": serde_json::to_value(snapshot.venues)?,
        "candles": app.hub.as_deref().map(KlineHub::stats),
        "candles_bytes": candle_bytes(cfg),
        "clients": app.counts.websockets.load(Relaxed),
    }))
}

/// Bytes of the embedded database with its own log; `None` for a server.
fn candle_bytes(cfg: &Config) -> Option<u64> {
    let file = cfg.capture.data_dir.join(cfg.klines.database.file()?);
    let size = |suffix: &str| {
        let mut name = file.clone().into_os_string();
        name.push(suffix);
        std::fs::metadata(name).map_or(0, |m| m.len())
    };
    Some(size("") + size("-wal"))
}

#[derive(Serialize)]
struct Process {
    name: &'static str,
    pid: u32,
    venues: Vec<&'static str>,
    memory: Option<ProcessMemory>,
}

/// How one venue is recorded, in short.
#[derive(Serialize)]
struct FeedView {
    venue: &'static str,
    /// The collector answers.
    answers: bool,
    failed: Option<String>,
    no_listing: Option<String>,
    connections: Vec<ConnectionView>,
}

#[derive(Serialize)]
struct ConnectionView {
    slot: usize,
    line: u32,
    state: Value,
    why: Option<String>,
    streams: usize,
    flowing: usize,
    frames: u64,
    /// Since anything came on it, ms.
    age_ms: Option<u64>,
    /// Some of those that do not flow.
    still: Vec<StreamStatus>,
}

impl FeedView {
    fn of(venue: VenueId, status: Option<&VenueStatus>) -> Self {
        Self {
            venue: venue.as_str(),
            answers: status.is_some(),
            failed: status.and_then(|s| s.failed.clone()),
            no_listing: status.and_then(|s| s.no_listing.clone()),
            connections: status.map_or_else(Vec::new, |s| s.connections.iter().map(ConnectionView::of).collect()),
        }
    }
}

impl ConnectionView {
    fn of(c: &ConnStatus) -> Self {
        let still = || c.streams.iter().filter(|s| s.why.is_some());
        Self {
            slot: c.slot,
            line: c.line,
            state: serde_json::to_value(c.state).unwrap_or_default(),
            why: c.why.clone(),
            streams: c.streams.len(),
            flowing: c.streams.len() - still().count(),
            frames: c.streams.iter().map(|s| s.frames).sum(),
            age_ms: c.streams.iter().filter_map(|s| s.age_ms).min(),
            still: still().take(NAMED_MAX).cloned().collect(),
        }
    }
}

/// Every stream of one venue with its age, and why one does not flow.
async fn streams(State(app): State<Shared>, params: Params) -> ApiResult<Response> {
    let venue: VenueId = params.need("venue")?.parse().map_err(|_| ApiError::value("venue"))?;
    if !app.config.capture.venues.contains_key(&venue) {
        return Err(ApiError::value("venue"));
    }
    let status = outside::by_venue(outside::collectors(&app.config.capture).await).remove(&venue);
    Ok(answer(json!({"venue": venue.as_str(), "collector": status}).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ops::status::ConnState;

    #[test]
    fn a_connection_is_summed_up_with_those_that_do_not_flow_named() {
        let stream = |n: u64, why: Option<&str>| StreamStatus {
            stream: format!("s{n}"),
            frames: n,
            last_ns: 1,
            age_ms: Some(100 * n),
            why: why.map(str::to_owned),
        };
        let mut streams: Vec<StreamStatus> = (1..=3).map(|n| stream(n, None)).collect();
        streams.extend((4..100).map(|n| stream(n, Some("silent for 90 s"))));
        let all = ConnStatus { slot: 2, line: 0, conn: 5, state: ConnState::Live, why: None, streams };
        let c = ConnectionView::of(&all);
        assert_eq!((c.streams, c.flowing, c.age_ms, c.still.len()), (99, 3, Some(100), NAMED_MAX));
        assert_eq!((c.still[0].stream.as_str(), c.frames), ("s4", (1..100).sum()));
        let silent = FeedView::of(VenueId::GateSpot, None);
        assert!(!silent.answers && silent.connections.is_empty());
    }
}
