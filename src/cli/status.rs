//! `tapedeck status`: what runs, how far behind, how much disk. Takes no lock and disturbs nobody.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;
use wal_format::{Position, bytes_between};

use super::{ConfigArg, load, need_venues, print_out};
use crate::config::Config;
use crate::venue::VenueId;

/// Arguments of `tapedeck status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What can be said of one log from the outside.
#[derive(Debug, Serialize)]
pub struct LogStatus {
    /// Venue.
    pub venue: &'static str,
    /// True while a collector holds the log's lock.
    pub collector_running: bool,
    /// Segments on disk, ready ones included.
    pub segments: usize,
    /// Bytes of allocated segments.
    pub segment_bytes: u64,
    /// Bytes committed and not yet acknowledged by the lake.
    pub unacked_bytes: Option<u64>,
    /// What is wrong, in plain words.
    pub problem: Option<String>,
}

/// Free bytes of the file system that holds `path` (or its nearest existing parent).
pub fn disk_free_bytes(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|p| p.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The state of one venue's log.
pub fn log_status(cfg: &Config, venue: VenueId) -> LogStatus {
    let dir = cfg.wal_dir(venue);
    let mut s = LogStatus {
        venue: venue.as_str(),
        collector_running: false,
        segments: 0,
        segment_bytes: 0,
        unacked_bytes: None,
        problem: None,
    };
    if !dir.exists() {
        s.problem = Some("nothing was recorded yet".into());
        return s;
    }
    match wal_format::log_state(&dir) {
        Ok(state) => {
            s.collector_running = state.writer_alive;
            s.segments = state.segments.len();
            s.segment_bytes = state.segments.iter().map(|g| g.bytes).sum();
            let ack = state.acks.iter().find(|a| a.reader == "lake").and_then(|a| a.ack.as_ref().ok()?.as_ref());
            if let Some(control) = wal_format::control::read(&dir) {
                let from = ack.map_or(Position::START, |a| a.position);
                s.unacked_bytes = Some(bytes_between(&state.segments, from, control.committed));
            }
        }
        Err(err) => s.problem = Some(err.to_string()),
    }
    if s.problem.is_none() && !s.collector_running {
        s.problem = Some("no collector is running".into());
    }
    s
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let cfg = load(&args.config.config)?;
    need_venues(&cfg, &args.config.config)?;
    let logs: Vec<LogStatus> = cfg.venues.keys().map(|v| log_status(&cfg, *v)).collect();
    let free = disk_free_bytes(&cfg.data_dir);
    let compactor = fetch_status(&cfg);
    if args.json {
        let all = serde_json::json!({"logs": logs, "disk_free_bytes": free, "compactor": compactor});
        return print_out(&format!("{all}\n"));
    }
    let mut text = String::new();
    for l in &logs {
        let unacked = l.unacked_bytes.map_or_else(|| "unknown".to_owned(), |b| format!("{:.1} MiB", mib(b)));
        writeln!(
            text,
            "{:<18} collector {:<8} {} segments, {:.0} MiB, not yet acked {unacked}{}",
            l.venue,
            if l.collector_running { "running" } else { "stopped" },
            l.segments,
            mib(l.segment_bytes),
            l.problem.as_ref().map_or_else(String::new, |p| format!("  [{p}]")),
        )?;
    }
    match &compactor {
        Some(status) => writeln!(text, "compactor          running at http://{}  {}", cfg.api.listen, summary(status))?,
        None => writeln!(text, "compactor          not answering at http://{}", cfg.api.listen)?,
    }
    if let Some(free) = free {
        writeln!(
            text,
            "disk               {:.1} GiB free at {}",
            free as f64 / f64::from(1 << 30),
            cfg.data_dir.display()
        )?;
    }
    print_out(&text)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn summary(status: &serde_json::Value) -> String {
    let venues = status.get("venues").and_then(|v| v.as_object());
    venues.map_or_else(String::new, |v| {
        v.iter()
            .map(|(name, s)| {
                format!("{name}: lag {} ms", s.get("lag_ms").map_or_else(|| "?".into(), ToString::to_string))
            })
            .collect::<Vec<_>>()
            .join(", ")
    })
}

/// The compactor's own words, when it answers within a second.
pub(crate) fn fetch_status(cfg: &Config) -> Option<serde_json::Value> {
    use std::io::{Read, Write};
    use std::time::Duration;
    let mut stream = std::net::TcpStream::connect_timeout(&cfg.api.listen, Duration::from_millis(500)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let request = format!("GET /v1/status HTTP/1.0\r\nHost: {}\r\n\r\n", cfg.api.listen);
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(4 << 20).read_to_end(&mut answer).ok()?;
    let body = answer.windows(4).position(|w| w == b"\r\n\r\n").and_then(|i| answer.get(i + 4..))?;
    serde_json::from_slice(body).ok()
}
