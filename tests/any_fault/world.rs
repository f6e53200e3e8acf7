//! The data directories that faults are applied to, and everything that is known about what is in them.
//!
//! ```text
//!  run 1: trades 1..=1500  -> published (an hour ago), segments retired          snapshot `older`
//!  run 2: trades ..=3500   -> published up to the hour, the open hour staged     snapshot `base`
//!  a stranger: another log of the same venue with trades of its own             `stranger`
//! ```
//!
//! Trades are of one symbol with ids 1..; price and amount follow from the id, so a wrong value shows as well as a missing
//! or doubled row, without asking the code under test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use lake::read::TableFile;
use wal_format::{Append, ClockPair, Kind, LogOptions, LogWriter};

use crate::support::logs::copy_tree;
use crate::support::{Service, both, free_port, tapedeck, wait_until};

pub const VENUE: &str = "binance-spot";
const HOUR_NS: u64 = 3_600_000_000_000;
/// Trades of run 1.
pub const FIRST: i64 = 1_500;
/// Trades of both runs.
pub const ALL: i64 = 3_500;
/// Trades that are recorded after a fault.
pub const AFTER: i64 = 200;
/// Ids of the stranger begin here.
pub const STRANGER: i64 = 1_000_000;

/// The worlds, made once for all faults.
pub struct Worlds {
    _root: tempfile::TempDir,
    pub base: PathBuf,
    pub older: PathBuf,
    pub stranger: PathBuf,
}

/// A copy of a data directory that one fault may do with as it likes.
pub struct Data {
    _root: tempfile::TempDir,
    pub dir: PathBuf,
    pub config: PathBuf,
}

pub fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

/// What the trade with this id says.
fn price(id: i64) -> f64 {
    100.0 + (id % 7) as f64 + (id % 100) as f64 / 100.0
}

fn amount(id: i64) -> f64 {
    (1 + id % 13) as f64
}

fn frame(id: i64, ts_ns: u64) -> Vec<u8> {
    let (ms, cents) = (ts_ns / 1_000_000, 100 * (100 + id % 7) + id % 100);
    let pad = "x".repeat(300);
    format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{ms},"s":"BTCUSDT","t":{id},"p":"{}.{:02}","q":"{}","T":{ms},"m":false,"M":true,"x":"{pad}"}}}}"#,
        cents / 100,
        cents % 100,
        1 + id % 13
    )
    .into_bytes()
}

/// One run of a writer: trades `ids` received from `from_ns` on, `step_ns` apart; closed in order.
pub fn record(log: &Path, ids: std::ops::RangeInclusive<i64>, from_ns: u64, step_ns: u64) -> Result<(), String> {
    let now = Arc::new(AtomicU64::new(from_ns));
    let clock = {
        let now = now.clone();
        Arc::new(move || {
            let wall_ns = now.load(Ordering::Relaxed);
            ClockPair { wall_ns, mono_ns: wall_ns.saturating_sub(from_ns) + 1 }
        })
    };
    let mut options = LogOptions::new(clock);
    options.segment_bytes = 128 << 10;
    options.ready_segments = 1;
    let mut log = LogWriter::open(log, options).map_err(|e| e.to_string())?;
    let mut put = |kind, ts_recv_ns, payload: &[u8]| {
        log.append(&Append { ts_recv_ns, conn: 1, kind, flags: 0, payload }).map(drop).map_err(|e| e.to_string())
    };
    put(Kind::ConnOpen, from_ns, br#"{"url":"ws://recording/stream","streams":1}"#)?;
    for (i, id) in ids.enumerate() {
        let ts = from_ns + i as u64 * step_ns;
        now.store(ts, Ordering::Relaxed);
        put(Kind::Data, ts, &frame(id, ts))?;
    }
    log.close().map_err(|e| e.to_string())
}

fn write_config(root: &Path) -> PathBuf {
    let config = root.join("tape.toml");
    let text = format!(
        "[data]\ndir = {:?}\n[wal]\nsegment_mib = 1\nready_segments = 1\n[lake]\nrow_group_rows = 1000\nack_interval_s = 1\nidle_stage_s = 1\n[klines]\nsource = {{ binance-spot = \"trades\" }}\nseed = false\nflush_interval_s = 1\n[api]\nlisten = \"127.0.0.1:{}\"\n[venues.{VENUE}]\nsymbols = [\"BTCUSDT\"]\nchannels = [\"trades\"]\nrepair = false\nrest_url = \"http://127.0.0.1:1\"\nws_url = \"ws://127.0.0.1:1\"\n",
        root.join("data").display().to_string(),
        free_port(),
    );
    std::fs::write(&config, text).unwrap();
    config
}

impl Worlds {
    pub fn make() -> Worlds {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let made = Data::empty();
        let now = wall_ns();
        let hour = now / HOUR_NS * HOUR_NS;
        // Run 1 is in the hour before; run 2 begins there and goes on in this one.
        record(&made.log(), 1..=FIRST, hour - HOUR_NS / 2, 100_000_000).unwrap();
        let out = made.drain();
        assert!(out.status.success(), "{}", both(&out));
        copy_tree(&made.dir, &at("older"));
        let from = hour - 200_000_000_000;
        let step = (now - from) / (ALL - FIRST + 1) as u64;
        record(&made.log(), FIRST + 1..=ALL, from, step).unwrap();
        let service = Service::start("compactor", &made.config, &[]);
        let staging = made.dir.join("lake/.staging");
        wait_until("the open hour is staged", || {
            let states = files(&staging).into_iter().filter(|p| p.extension().is_some_and(|e| e == "json"));
            states.count() > 0 && made.dir.join("klines.db").exists()
        });
        service.stop();
        copy_tree(&made.dir, &at("base"));
        let other = Data::empty();
        record(&other.log(), STRANGER..=STRANGER + 1_200, hour - HOUR_NS / 2, 100_000_000).unwrap();
        let out = other.drain();
        assert!(out.status.success(), "{}", both(&out));
        record(&other.log(), STRANGER + 1_201..=STRANGER + 1_600, now - 1_000_000_000, 1_000_000).unwrap();
        copy_tree(&other.dir, &at("stranger"));
        Worlds { base: at("base"), older: at("older"), stranger: at("stranger"), _root: root }
    }
}

impl Data {
    fn empty() -> Data {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        std::fs::create_dir_all(&dir).unwrap();
        Data { config: write_config(root.path()), dir, _root: root }
    }

    pub fn copy_of(from: &Path) -> Data {
        let data = Data::empty();
        copy_tree(from, &data.dir);
        data
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("wal").join(VENUE)
    }

    pub fn drain(&self) -> Output {
        self.drain_with(&[])
    }

    pub fn drain_with(&self, env: &[(&str, &str)]) -> Output {
        let mut command = tapedeck();
        command.args(["compactor", "--drain", "--config"]).arg(&self.config).envs(env.iter().copied());
        limited(command)
    }

    pub fn verify(&self) -> Output {
        let mut command = tapedeck();
        command.args(["verify", "--config"]).arg(&self.config);
        limited(command)
    }

    /// Records more after whatever happened: the writer comes first.
    pub fn record_more(&self) -> Result<(), String> {
        let (log, (done, result)) = (self.log(), std::sync::mpsc::channel());
        // On a thread of its own: a writer that hangs is a finding.
        std::thread::spawn(move || done.send(record(&log, ALL + 1..=ALL + AFTER, wall_ns(), 1_000)));
        result.recv_timeout(std::time::Duration::from_secs(60)).unwrap_or_else(|_| Err(String::new()))
    }
}

/// Runs to the end, or is killed after a minute and a half: a command that hangs is a finding, not a hanging suite.
pub fn limited(mut command: std::process::Command) -> Output {
    use std::process::Stdio;
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watch = std::thread::spawn({
        let done = done.clone();
        move || {
            for _ in 0..900 {
                std::thread::sleep(std::time::Duration::from_millis(100));
                if done.load(Ordering::Acquire) {
                    return;
                }
            }
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    let out = child.wait_with_output().unwrap();
    done.store(true, Ordering::Release);
    drop(watch);
    out
}

/// Every regular file below `dir`, in name order; links and odd files are left out.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(t) if t.is_dir() => todo.push(entry.path()),
                Ok(t) if t.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Ids of the trades in a file of the lake: id -> (how often, wrong values). `None` when it cannot be read.
pub fn ids_of(path: &Path) -> Option<BTreeMap<i64, (u32, bool)>> {
    let file = TableFile::open(path).ok()?;
    let mut ids: BTreeMap<i64, (u32, bool)> = BTreeMap::new();
    for group in 0..file.groups() {
        for batch in file.batches(group).ok()? {
            let batch = batch.ok()?;
            let id = batch.column_by_name("id")?.as_primitive_opt::<Int64Type>()?;
            let p = batch.column_by_name("price")?.as_primitive_opt::<Float64Type>()?;
            let q = batch.column_by_name("amount")?.as_primitive_opt::<Float64Type>()?;
            for i in 0..id.len() {
                let entry = ids.entry(id.value(i)).or_default();
                entry.0 += 1;
                let n = id.value(i);
                entry.1 |= (p.value(i) - price(n)).abs() > 1e-9 || (q.value(i) - amount(n)).abs() > 1e-9;
            }
        }
    }
    Some(ids)
}

fn scan(bytes: &[u8], ids: &mut BTreeSet<i64>) {
    let mark = b"\"s\":\"BTCUSDT\",\"t\":";
    let mut rest = bytes;
    while let Some(at) = memchr::memmem::find(rest, mark) {
        rest = &rest[at + mark.len()..];
        let end = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
        if let Some(id) = std::str::from_utf8(&rest[..end]).ok().and_then(|t| t.parse().ok()) {
            ids.insert(id);
        }
    }
}

/// Ids whose frames stand in a log file, raw or archived, by their bytes alone.
pub fn ids_in_logs_of(path: &Path) -> BTreeSet<i64> {
    let mut ids = BTreeSet::new();
    let Ok(mut bytes) = std::fs::read(path) else { return ids };
    if path.extension().is_some_and(|e| e == "zst") {
        bytes = zstd::decode_all(bytes.as_slice()).unwrap_or_default();
    }
    scan(&bytes, &mut ids);
    ids
}
