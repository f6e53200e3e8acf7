//! What can be said of both services from the outside: their logs, their disk, their memory, and their own words over
//! HTTP. Read by `tapedeck status`, the demo and the page; takes no lock and disturbs nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use wal_format::{Position, bytes_between};

use crate::collect::status::{Status, VenueStatus};
use crate::config::Config;
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
    match wal_format::log_state(&dir) {
        Ok(state) => {
            s.collector_running = state.writer_alive;
            s.segments = state.segments.len();
            s.segment_bytes = state.segments.iter().map(|g| g.bytes).sum();
            s.spilled_segments = state.segments.iter().filter(|g| g.spilled.is_some()).count();
            let ack = state.acks.iter().find(|a| a.reader == "lake").and_then(|a| a.ack.as_ref().ok()?.as_ref());
            if let Some(control) = wal_format::control::read(&dir) {
                let from = ack.map_or(Position::START, |a| a.position);
                s.unacked_bytes = Some(bytes_between(&state.segments, from, control.committed));
                s.collector_pid = Some(control.pid);
            }
        }
        Err(err) => s.problem = Some(err.to_string()),
    }
    if s.problem.is_none() && !s.collector_running {
        s.problem = Some("no collector is running".into());
    }
    s
}

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// What a process without privileges may still write.
    pub free_bytes: u64,
    /// Size.
    pub total_bytes: u64,
}

/// The file system that holds `path` (or its nearest existing parent).
pub fn disk(path: &Path) -> Option<Disk> {
    let existing = path.ancestors().find(|p| p.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(Disk { free_bytes: bytes(stat.f_bavail), total_bytes: bytes(stat.f_blocks) })
}

/// Memory of one process, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProcessMemory {
    /// All that is resident.
    pub resident_bytes: u64,
    /// Its own: heap and stacks.
    pub own_bytes: u64,
    /// Pages of mapped files, the log's above all; the kernel takes them back when it needs them.
    pub mapped_bytes: u64,
}

/// Memory of a process; `None` where the kernel does not tell (Linux does).
pub fn process_memory(pid: u32) -> Option<ProcessMemory> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(ProcessMemory {
        resident_bytes: kib_field(&text, "VmRSS:")?,
        own_bytes: kib_field(&text, "RssAnon:")?,
        mapped_bytes: kib_field(&text, "RssFile:")?.saturating_add(kib_field(&text, "RssShmem:").unwrap_or(0)),
    })
}

/// Memory of the machine, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MachineMemory {
    /// All there is.
    pub total_bytes: u64,
    /// What processes could still get without swapping.
    pub available_bytes: u64,
}

/// Memory of the machine; `None` where the kernel does not tell.
pub fn machine_memory() -> Option<MachineMemory> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name| kib_field(&text, name);
    Some(MachineMemory { total_bytes: field("MemTotal:")?, available_bytes: field("MemAvailable:")? })
}

/// A line such as `VmRSS:  123 kB` (proc(5)), in bytes.
fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1_024)
}

/// The own words of every collector that answers; each is asked once, however many venues it records.
pub fn collectors(cfg: &Config) -> Vec<Status> {
    let at: BTreeSet<SocketAddr> =
        cfg.venues.keys().filter_map(|v| crate::collect::address(&cfg.wal_root(), *v)).collect();
    at.into_iter().filter_map(|at| serde_json::from_slice(&fetch(at)?).ok()).collect()
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
    let mut stream = TcpStream::connect_timeout(&listen, CONNECT).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    let request = format!("GET /v1/status HTTP/1.0\r\nHost: {listen}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).ok()?;
    let body = answer.windows(4).position(|w| w == b"\r\n\r\n").map(|i| i + 4)?;
    Some(answer.split_off(body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn figures_of_the_kernel_are_read_as_bytes() {
        let text = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t 512 kB\n";
        assert_eq!((kib_field(text, "VmRSS:"), kib_field(text, "RssAnon:")), (Some(2 << 20), Some(512 << 10)));
        assert_eq!(kib_field(text, "RssFile:"), None);
        let own = process_memory(std::process::id()).unwrap();
        assert!(own.own_bytes > 0 && own.resident_bytes >= own.own_bytes, "{own:?}");
        assert_eq!(process_memory(u32::MAX), None);
        let here = disk(Path::new("/no/such/place")).unwrap();
        assert!(here.total_bytes >= here.free_bytes && here.total_bytes > 0);
    }
}
