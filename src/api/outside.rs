//! Both services from the outside: their logs, and their status over HTTP. For `tapedeck status`, demo and page; no locks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::Method;
use http_doors::reachable;
use serde::Serialize;
use tokio::time::timeout;
use wal_format::{Position, bytes_between};

use crate::settings::Settings;
use capture::{Capture, LAKE_READER};
use model::VenueId;
use net::dial::{Dialer, tls_config};
use net::http::HttpClient;
use net::server::Access;
use ops::BoxFuture;
use ops::status::{Status, VenueStatus};

/// How long a service may take to accept a connection, to send a first byte, and to send the whole response.
const CONNECT: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_secs(1);
const WHOLE: Duration = Duration::from_secs(5);
/// Longest answer read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The state of one log.
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
    /// What is wrong, as plain text.
    pub problem: Option<String>,
}

/// The state of one venue's log.
pub fn log_status(cfg: &Capture, venue: VenueId) -> LogStatus {
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

/// Why a service has no status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusError {
    /// Nothing answers there.
    Unreachable(SocketAddr),
    /// Another HTTP status than 200; for 401 with a hint about the token.
    Status(SocketAddr, u16, String),
    /// Another program answers.
    NotTapedeck(SocketAddr),
}

impl std::fmt::Display for StatusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StatusError::Unreachable(at) => write!(f, "not answering at http://{at}"),
            StatusError::Status(at, 401, why) => write!(f, "HTTP status 401 at http://{at}: {why}"),
            StatusError::Status(at, status, _) => write!(f, "answers with HTTP status {status} at http://{at}"),
            StatusError::NotTapedeck(at) => write!(f, "another program answers at http://{at}; expected Tapedeck"),
        }
    }
}

/// The status of every collector that answers; one request to each, whatever the number of its venues.
pub async fn collectors(cfg: &Capture) -> Vec<Status> {
    let mut all = Vec::new();
    for at in addresses(cfg) {
        all.extend(Service::collector(at).status::<Status>().await);
    }
    all
}

fn addresses(cfg: &Capture) -> BTreeSet<SocketAddr> {
    cfg.venues.keys().filter_map(|v| ops::status::address(&cfg.wal_root(), *v)).collect()
}

/// Why candles were interrupted, by venue, as the running compactor reports it.
pub async fn candle_breaks(api: &Settings) -> Vec<(String, String)> {
    let Ok(stats) = Service::compactor(api).json::<serde_json::Value>("/v1/klines/stats").await else {
        return Vec::new();
    };
    let feeds = stats.get("feeds").and_then(|f| f.as_object()).cloned().unwrap_or_default();
    let reports = feeds.iter().flat_map(|(venue, feed)| {
        let reports = feed.get("told").and_then(|t| t.as_array()).cloned().unwrap_or_default();
        reports.into_iter().filter_map(move |one| Some((venue.clone(), one.get("text")?.as_str()?.to_owned())))
    });
    reports.collect()
}

/// Why `/health` of running services is red, by service.
pub async fn problems(cfg: &Capture, api: &Settings) -> BTreeMap<&'static str, Vec<String>> {
    let mut all: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let services = addresses(cfg).into_iter().map(|at| ("collector", Service::collector(at)));
    for (name, service) in services.chain([("compactor", Service::compactor(api))]) {
        let Some((503, body)) = service.request("/health").await else { continue };
        let text = String::from_utf8_lossy(&body);
        all.entry(name).or_default().extend(text.lines().map(str::to_owned));
    }
    all
}

/// The venues of all these collectors.
pub fn by_venue(collectors: Vec<Status>) -> BTreeMap<VenueId, VenueStatus> {
    let all = collectors.into_iter().flat_map(|c| c.venues);
    all.filter_map(|v| Some((v.venue.parse().ok()?, v))).collect()
}

/// The compactor's own status.
///
/// # Errors
/// When the compactor does not respond, rejects the token, or is not Tapedeck.
pub async fn compactor(api: &Settings) -> Result<serde_json::Value, StatusError> {
    let status = Service::compactor(api).status::<serde_json::Value>().await?;
    if status.is_object() { Ok(status) } else { Err(StatusError::NotTapedeck(reachable(api.listen))) }
}

/// True when a Tapedeck service answers `/v1/status` at `listen`, an address of this configuration.
pub async fn is_ours(api: &Settings, listen: SocketAddr) -> bool {
    let service = if listen == api.listen { Service::compactor(api) } else { Service::collector(listen) };
    match service.status::<serde_json::Value>().await {
        Ok(status) => status.is_object(),
        // This shell lacks the token.
        Err(StatusError::Status(_, 401, _)) => api.token_env.is_some() || api.token_file.is_some(),
        Err(_) => false,
    }
}

/// A running service.
struct Service {
    at: SocketAddr,
    access: Access,
    /// What to do after a 401.
    auth_hint: String,
}

impl Service {
    fn collector(at: SocketAddr) -> Service {
        let auth_hint = "a Tapedeck collector needs no token; another program may be listening".to_owned();
        Service { at, access: Access::default(), auth_hint }
    }

    /// Shows the token that the configuration names.
    fn compactor(api: &Settings) -> Service {
        let (access, auth_hint) = match api.access() {
            Ok(access) if access.requires_token() => (access, "the token from [api] was rejected".to_owned()),
            Ok(access) => (access, "set [api] token_env or token_file".to_owned()),
            Err(err) => (Access::default(), ops::chain(&err).replace('\n', ";")),
        };
        Service { at: reachable(api.listen), access, auth_hint }
    }

    async fn status<T: serde::de::DeserializeOwned>(&self) -> Result<T, StatusError> {
        self.json("/v1/status").await
    }

    async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, StatusError> {
        match self.request(path).await {
            None => Err(StatusError::Unreachable(self.at)),
            Some((200, body)) => serde_json::from_slice(&body).map_err(|_| StatusError::NotTapedeck(self.at)),
            Some((status, _)) => Err(StatusError::Status(self.at, status, self.auth_hint.clone())),
        }
    }

    /// Status and body of the response for `path`; `None` without a whole one in time.
    fn request<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<(u16, Vec<u8>)>> {
        Box::pin(async move {
            let mut dialer = Dialer::new(None);
            (dialer.limits.tcp, dialer.limits.answer) = (CONNECT, ANSWER);
            let client = HttpClient::new(dialer, tls_config(&[]).ok()?);
            let headers: Vec<_> =
                self.access.token().map(|t| ("authorization", format!("Bearer {t}"))).into_iter().collect();
            let url = format!("http://{}{path}", self.at);
            let answer = client.send(Method::GET, &url, &headers, ANSWER_BYTES_MAX);
            let answer = timeout(WHOLE, answer).await.ok()?.ok()?;
            Some((answer.status, answer.body))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read, Write};

    /// Answers each request with `status` unless it has `token`, then with an object; returns what was requested.
    fn serve(token: &'static str, refusal: &'static str) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let serve = move || {
            let mut requests = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 1024];
                let n = stream.read(&mut head).unwrap();
                let head = String::from_utf8_lossy(&head[..n]).into_owned();
                let answer = if head.contains(token) { "200 OK\r\n\r\n{\"venues\":{}}" } else { refusal };
                stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).unwrap();
                requests.push(head);
            }
            requests
        };
        (at, std::thread::spawn(serve))
    }

    fn config(at: SocketAddr, keys: &str) -> Settings {
        let text = format!("[api]\nlisten = \"{at}\"\n{keys}\n");
        settings::from_text(&text, |s, p| s.section("api", p)).unwrap()
    }

    #[tokio::test]
    async fn the_token_is_shown_and_an_answer_that_is_no_200_is_no_status() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let (at, server) =
            serve("authorization: Bearer 0123456789abcdef\r\n", "401 Unauthorized\r\n\r\n{\"code\":-2015}");
        let with = config(at, &format!("token_file = {:?}", file.display().to_string()));
        assert!(compactor(&with).await.unwrap().get("venues").is_some());
        // Without the token the 401 is reported with a hint; its JSON is not taken for a status.
        let why = compactor(&config(at, "")).await.unwrap_err();
        assert_eq!(why, StatusError::Status(at, 401, "set [api] token_env or token_file".into()));
        assert!(why.to_string().contains("HTTP status 401"), "{why}");
        assert_eq!(server.join().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn another_program_is_distinguished_from_an_unreachable_service() {
        let (at, server) = serve("never", "200 OK\r\n\r\n<html>");
        assert_eq!(compactor(&config(at, "")).await.unwrap_err(), StatusError::NotTapedeck(at));
        assert!(!is_ours(&config(at, ""), at).await);
        drop(server.join().unwrap());
        assert_eq!(compactor(&config(at, "")).await.unwrap_err(), StatusError::Unreachable(at));
        // What is reported can be opened.
        let everywhere = config(SocketAddr::new([0, 0, 0, 0].into(), at.port()), "insecure = true");
        assert_eq!(compactor(&everywhere).await.unwrap_err().to_string(), format!("not answering at http://{at}"));
    }
}
