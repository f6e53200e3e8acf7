//! What one append costs, against a bare loop that does the least any such log must do: copy,
//! CRC-32, 32-byte header, release store into a prefaulted mapping.
//!
//! `cargo run --release -p wal-format --example append_cost -- [dir] [MiB per round]`
//!
//! Both run in the same process, alternating. Times are of the appending thread's CPU, so that
//! other work on the machine disturbs less; the median of the rounds. Take the ratio, not the
//! number.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wal_format::sys::{Window, alloc};
use wal_format::{Append, ClockPair, Kind, LogOptions, LogWriter, SyncPolicy};

const ROUNDS: usize = 9;
const SEGMENT_BYTES: u64 = 128 << 20;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(|| std::env::temp_dir().join("append_cost"), PathBuf::from);
    let mib: u64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(96);
    std::fs::create_dir_all(&dir).unwrap();
    for len in [200, 1024] {
        let records = (mib << 20) / (32 + len as u64 + 7);
        let mut bare = Vec::new();
        let mut never = Vec::new();
        let mut interval = Vec::new();
        for _ in 0..ROUNDS {
            bare.push(bare_loop(&dir, len, records));
            never.push(log(&dir, len, records, SyncPolicy::Never));
            interval.push(log(&dir, len, records, SyncPolicy::INTERVAL_DEFAULT));
        }
        let bare = median(bare);
        println!("payload {len} B, {records} records per round, ns per record");
        println!("  bare loop          {bare:7.1}");
        for (name, times) in [("sync = never", never), ("sync = interval", interval)] {
            let time = median(times);
            println!("  {name:<18} {time:7.1}   {:.2} x", time / bare);
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn bare_loop(dir: &Path, len: usize, records: u64) -> f64 {
    let path = dir.join("bare");
    let file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    alloc::allocate(&file, SEGMENT_BYTES).unwrap();
    let window = Arc::new(Window::map(&file, SEGMENT_BYTES).unwrap());
    assert!(window.populate(0, SEGMENT_BYTES));
    let mut appender = window.appender().unwrap();
    let payload = vec![7; len];
    let commit = 1 << 31 | (32 + len as u32);
    let mut at = 4096;
    let started = cpu_ns();
    for n in 0..records {
        let total = appender.publish(at, commit, [n, n, 3], black_box(&payload), 5).unwrap();
        at += total as u64;
    }
    let took = cpu_ns() - started;
    std::fs::remove_file(&path).unwrap();
    took as f64 / records as f64
}

fn log(dir: &Path, len: usize, records: u64, sync: SyncPolicy) -> f64 {
    let dir = dir.join("log");
    let epoch = Instant::now();
    let mut options = LogOptions::new(Arc::new(move || ClockPair {
        wall_ns: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64),
        mono_ns: epoch.elapsed().as_nanos() as u64,
    }));
    options.sync = sync;
    options.prefault_bytes = SEGMENT_BYTES;
    let mut writer = LogWriter::open(&dir, options).unwrap();
    let stats = writer.stats();
    while stats.ready.get() < 2 || stats.prefaulted_bytes.get() < 2 * SEGMENT_BYTES - (1 << 20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let payload = vec![7; len];
    let ts = 1_900_000_000_000_000_000;
    let started = cpu_ns();
    for n in 0..records {
        let record = Append { ts_recv_ns: ts + n, conn: 3, kind: Kind::Data, flags: 0, payload: black_box(&payload) };
        black_box(writer.append(&record).unwrap());
    }
    let took = cpu_ns() - started;
    drop(writer);
    std::fs::remove_dir_all(&dir).unwrap();
    took as f64 / records as f64
}

fn cpu_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
