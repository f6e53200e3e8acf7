//! What can be said of both services from the outside: their logs, and their own words over HTTP. Read by `tapedeck status`, the demo and the page; takes no lock and disturbs nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Serialize;
use wal_format::{Position, bytes_between};

use crate::collect::status::{Status, VenueStatus};
use crate::config::{Config, LAKE_READER};
use crate::venue::VenueId;

/// How long a service may take to accept a connection, and to answer.
const CONNECT: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_secs(1);
/// Longest answer read.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// What can be said of one log from the outside.
#[derive(Debug, Serialize)]
pub struct LogStatus {
    /// Venue.
    pub venue: &'static str,
    /// True while a collector holds the log's lock.
    pub collector_running: bool,
    /// Process id of the collector that runs, or ran last.
    pub collector_pid: Option<u32>,
    /// Segments on disk, ready ones included.
    pub segments: usize,
    /// Bytes of allocated segments.
    pub segment_bytes: u64,
    /// Of the segments, those on another disk (`wal.spill_dirs`).
    pub spilled_segments: usize,
    /// Bytes committed and not yet acknowledged by the lake.
    pub unacked_bytes: Option<u64>,
    /// What is wrong, in plain words.
    pub problem: Option<String>,
}

/// The state of one venue's log.
pub fn log_status(cfg: &Config, venue: VenueId) -> LogStatus {
    let dir = cfg.wal_dir(venue);
    let mut s = LogStatus {
        venue: venue.as_str(),
        collector_running: false,
        collector_pid: None,
        segments: 0,
        segment_bytes: 0,
        spilled_segments: 0,
        unacked_bytes: None,
        problem: None,
    };
    if !dir.exists() {
        s.problem = Some("nothing was recorded yet".into());
        return s;
    }
    let mut repairing = None;
    match wal_format::log_state(&dir) {
        Ok(state) => {
            s.collector_running = state.writer_alive;
            repairing = state.repairing;
            s.segments = state.segments.len();
            s.segment_bytes = state.segments.iter().map(|g| g.bytes).sum();
            s.spilled_segments = state.segments.iter().filter(|g| g.spilled.is_some()).count();
            let needed = |id| {
                state.acks.iter().filter_map(|a| a.ack.as_ref().ok()?.as_ref()).any(|a| a.position.segment <= id)
                    || state.acks.is_empty()
            };
            let away = state.segments.iter().find(|g| g.unreachable.is_some() && needed(g.id));
            s.problem =
                away.and_then(|g| Some(format!("segment {} cannot be reached: {}", g.id, g.unreachable.as_ref()?)));
            let ack = state.acks.iter().find(|a| a.reader == LAKE_READER).and_then(|a| a.ack.as_ref().ok()?.as_ref());
            if let Some(control) = wal_format::control::read(&dir) {
                let from = ack.map_or(Position::START, |a| a.position);
                s.unacked_bytes = Some(bytes_between(&state.segments, from, control.committed));
                s.collector_pid = Some(control.pid);
            }
        }
        Err(err) => s.problem = Some(err.to_string()),
    }
    if s.problem.is_none() && !s.collector_running {
        let pid = repairing.and_then(|by| by.pid).map_or_else(String::new, |pid| format!(" by process {pid}"));
        s.problem = Some(match repairing {
            Some(_) => format!("no collector is running; the end of its log is being repaired{pid}"),
            None => "no collector is running".into(),
        });
    }
    s
}

/// The own words of every collector that answers; each is asked once, however many venues it records.
pub fn collectors(cfg: &Config) -> Vec<Status> {
    let at = addresses(cfg).into_iter();
    at.filter_map(|at| serde_json::from_slice(&fetch(at)?).ok()).collect()
}

fn addresses(cfg: &Config) -> BTreeSet<SocketAddr> {
    cfg.venues.keys().filter_map(|v| crate::collect::address(&cfg.wal_root(), *v)).collect()
}

/// Why candles did not simply go on, by venue, as the compactor that runs tells it.
pub fn candle_breaks(cfg: &Config) -> Vec<(String, String)> {
    let Some((200, body)) = ask(cfg.api.listen, "/v1/klines/stats") else { return Vec::new() };
    let stats: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let feeds = stats.get("feeds").and_then(|f| f.as_object()).cloned().unwrap_or_default();
    let told = feeds.iter().flat_map(|(venue, feed)| {
        let told = feed.get("told").and_then(|t| t.as_array()).cloned().unwrap_or_default();
        told.into_iter().filter_map(move |one| Some((venue.clone(), one.get("text")?.as_str()?.to_owned())))
    });
    told.collect()
}

/// Why `/health` of the services that run is red, by service; nothing of those that are well.
pub fn problems(cfg: &Config) -> BTreeMap<&'static str, Vec<String>> {
    let mut all: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let services = addresses(cfg).into_iter().map(|at| ("collector", at));
    for (service, at) in services.chain([("compactor", cfg.api.listen)]) {
        let Some((503, body)) = ask(at, "/health") else { continue };
        let text = String::from_utf8_lossy(&body);
        all.entry(service).or_default().extend(text.lines().map(str::to_owned));
    }
    all
}

/// The venues of all these collectors.
pub fn by_venue(collectors: Vec<Status>) -> BTreeMap<VenueId, VenueStatus> {
    let all = collectors.into_iter().flat_map(|c| c.venues);
    all.filter_map(|v| Some((v.venue.parse().ok()?, v))).collect()
}

/// The compactor's own words, when it answers within a second.
pub fn compactor(cfg: &Config) -> Option<serde_json::Value> {
    serde_json::from_slice(&fetch(cfg.api.listen)?).ok()
}

/// The body of `/v1/status` at `listen`, when it comes within a second.
pub(crate) fn fetch(listen: SocketAddr) -> Option<Vec<u8>> {
    Some(ask(listen, "/v1/status")?.1)
}

/// Status and body of the answer for `path` at `listen`, when it comes within a second.
fn ask(listen: SocketAddr, path: &str) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&listen, CONNECT).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {listen}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).ok()?;
    let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
    let body = answer.windows(4).position(|w| w == b"\r\n\r\n").map(|i| i + 4)?;
    Some((status, answer.split_off(body)))
}
