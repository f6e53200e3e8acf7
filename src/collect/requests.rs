//! What other processes ask of the collector: a snapshot, because the compactor found a gap in the depth updates of
//! a symbol and wants a fresh book after it; and an event in the log, because only the collector writes it.
//!
//! A request is an empty file `requests/snapshot-<symbol, percent-encoded>` in the log's directory. It is removed
//! when it is taken, and asking twice is asking once. An event is a file `requests/pressure-<ns>-<service>.json` with
//! its facts: the compactor's own pressure on memory, which so becomes a row of `events` like everything else, out
//! of the log and again in every replay. Taken once a second; never waited for.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use tracing::{debug, warn};
use wal_format::regular;

use super::feed::VenueFeed;
use capture::Capture;
use model::Channel;
use ops::chore;
use ops::memory::Change;
use ops::telemetry::RateLimited;

/// Directory of requests in the log's directory.
pub(crate) const REQUESTS_DIR: &str = "requests";
/// Name of a request for a snapshot, before the symbol.
pub(crate) const SNAPSHOT_PREFIX: &str = "snapshot-";
/// Name of a request for an event, before the time.
const PRESSURE_PREFIX: &str = "pressure-";
/// Kind of the event, of this process too.
pub(crate) const PRESSURE_EVENT: &str = "pressure";
/// A larger file is none of ours, bytes.
const EVENT_BYTES_MAX: u64 = 4_096;
/// Wishes taken at a time; the others stay for the next second.
const TAKEN_MAX: usize = 1_000;

static STUCK: RateLimited = RateLimited::new(Duration::from_secs(60));

/// Takes requests until the venue is to stop.
pub(super) async fn run(feed: &VenueFeed) {
    while !feed.pause(Duration::from_secs(1)).await {
        let dir = feed.requests.clone();
        let (symbols, events) = tokio::select! {
            biased;
            () = feed.stop.wait() => return,
            taken = chore::run(move || take(&dir)) => taken,
        };
        for detail in events {
            feed.log.note(0, PRESSURE_EVENT, detail);
        }
        if !symbols.is_empty() && feed.choice().channels.contains(&Channel::DepthSnapshot) {
            debug!(venue = %feed.id, count = symbols.len(), "order books are wanted");
            feed.snapshots.want(symbols.iter().map(String::as_str));
        }
    }
}

/// Leaves a change of this process's pressure for the collectors of all venues that have a log.
pub fn leave_pressure(cfg: &Capture, change: &Change) {
    for id in cfg.venues.keys() {
        let log = cfg.wal_dir(*id);
        if !log.is_dir() {
            continue;
        }
        let dir = log.join(REQUESTS_DIR);
        let path = dir.join(format!("{PRESSURE_PREFIX}{:020}-{}.json", change.at_ns, change.service));
        let bytes = change.detail().to_string();
        let written =
            std::fs::create_dir_all(&dir).and_then(|()| wal_format::durable::write_file(&path, bytes.as_bytes()));
        if let Err(err) = written {
            warn!(path = %path.display(), error = %err, "the pressure on memory will not be recorded in the log");
        }
    }
}

/// The symbols and the events that are wished for in `dir`; their files are gone afterwards.
fn take(dir: &Path) -> (Vec<String>, Vec<Value>) {
    let (mut symbols, mut events) = (Vec::new(), Vec::new());
    let Ok(entries) = std::fs::read_dir(dir) else { return (symbols, events) };
    let mut paths: Vec<PathBuf> = entries.flatten().take(TAKEN_MAX).map(|e| e.path()).collect();
    // Events in the order of their times.
    paths.sort();
    for path in paths {
        let (symbol, event) = (symbol_of(&path), event_of(&path));
        if symbol.is_none() && event.is_none() {
            continue;
        }
        match std::fs::remove_file(&path) {
            Ok(()) => {
                symbols.extend(symbol);
                events.extend(event);
            }
            // Taken anyway it would be taken every second.
            Err(err) => stuck(path, &err),
        }
    }
    (symbols, events)
}

/// The facts in the file of an event.
fn event_of(path: &Path) -> Option<Value> {
    path.file_name()?.to_str()?.strip_prefix(PRESSURE_PREFIX)?.strip_suffix(".json")?;
    serde_json::from_slice::<Value>(&regular::read(path, EVENT_BYTES_MAX).ok()?).ok().filter(Value::is_object)
}

fn stuck(path: PathBuf, err: &std::io::Error) {
    if let Some(suppressed) = STUCK.allow() {
        warn!(path = %path.display(), error = %err, suppressed, "cannot remove a request; it is not followed");
    }
}

fn symbol_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_prefix(SNAPSHOT_PREFIX)?;
    percent_decode_str(name).decode_utf8().ok().filter(|s| !s.is_empty()).map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ops::memory::Level;

    #[test]
    fn a_wish_is_taken_once_and_what_is_none_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(take(&dir.path().join("nowhere")).0.is_empty());
        for name in ["snapshot-BTCUSDT", "snapshot-%E5%B8%81%E5%AE%89USDT", "snapshot-", "snapshot-%E5", "note"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let mut taken = take(dir.path()).0;
        taken.sort();
        assert_eq!(taken, ["BTCUSDT", "币安USDT"]);
        assert!(take(dir.path()).0.is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_the_compactor_leaves_becomes_events_in_the_order_it_happened_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let toml = format!(
            "[data]\ndir = {:?}\n[venues.gate-spot]\nsymbols = [\"A_B\"]\nchannels = [\"trades\"]\n",
            dir.path().display().to_string()
        );
        let cfg = settings::from_text(&toml, Capture::read).unwrap();
        let id = model::VenueId::GateSpot;
        let change = |at_ns, to| Change {
            service: "compactor".into(),
            from: Level::Normal,
            to,
            at_ns,
            nearest: ops::memory::report::Limit::default(),
            stall_percent: 0.0,
            own_bytes: 7,
        };
        leave_pressure(&cfg, &change(5, Level::Elevated));
        let requests = cfg.wal_dir(id).join(REQUESTS_DIR);
        assert!(!requests.exists(), "there is no log to write it to");
        std::fs::create_dir_all(cfg.wal_dir(id)).unwrap();
        leave_pressure(&cfg, &change(1_000, Level::Critical));
        leave_pressure(&cfg, &change(999, Level::Elevated));
        for (name, text) in [("pressure-1.json", "no JSON"), ("pressure-2.json", "[1]"), ("pressure-3.txt", "{}")] {
            std::fs::write(requests.join(name), text).unwrap();
        }
        std::fs::write(requests.join("pressure-4.json"), format!("{{\"a\":\"{}\"}}", "x".repeat(5_000))).unwrap();
        let (symbols, events) = take(&requests);
        assert!(symbols.is_empty());
        let to: Vec<&str> = events.iter().map(|e| e["to"].as_str().unwrap()).collect();
        assert_eq!(to, ["elevated", "critical"]);
        assert_eq!((events[0]["service"].as_str(), events[0]["own_bytes"].as_u64()), (Some("compactor"), Some(7)));
        assert!(take(&requests).1.is_empty());
    }
}
