//! Append: what one record costs, how fast many go, how long the slow ones take.
//!
//! Baselines in the same run: a bare loop (copy, CRC, header, release store into a prefaulted mapping: the least that a
//! checksummed mapped log can do), a file with one `write` per record, and a buffered file with fdatasync every 100 ms.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wal_format::{Append, ClockPair, Kind, LogOptions, LogWriter, SyncPolicy};

/// Arguments of `append`.
#[derive(Default, clap::Args)]
pub(crate) struct Args {
    #[cfg(feature = "rivals")]
    /// Be the process that appends to walrus (used by the benchmark itself): mmap or fd.
    #[arg(long, hide = true)]
    walrus: Option<String>,
    /// How many records that process appends.
    #[arg(long, hide = true, default_value_t = 0)]
    records: u64,
}

const RECORDS: u64 = 1_500_000;
const ROUNDS: usize = 5;

/// Sorted samples in ns.
pub(crate) struct Latency(Vec<u64>);

impl Latency {
    pub(crate) fn new(mut samples: Vec<u64>) -> Latency {
        samples.sort_unstable();
        Latency(samples)
    }

    pub(crate) fn at(&self, quantile: f64) -> u64 {
        let i = ((self.0.len() as f64 * quantile) as usize).min(self.0.len().saturating_sub(1));
        self.0.get(i).copied().unwrap_or(0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn over(&self, ns: u64) -> usize {
        self.0.len() - self.0.partition_point(|s| *s <= ns)
    }
}

/// Wall and monotonic time for the writer.
pub(crate) fn clock() -> ClockPair {
    ops::clock::now()
}

pub(crate) fn options(sync: SyncPolicy) -> LogOptions {
    let mut o = LogOptions::new(Arc::new(clock));
    o.sync = sync;
    o
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied().unwrap_or(f64::NAN)
}

fn ours(dir: &Path, payload: &[u8], sync: SyncPolicy) -> anyhow::Result<f64> {
    ours_n(dir, payload, sync, RECORDS)
}

fn ours_n(dir: &Path, payload: &[u8], sync: SyncPolicy, records: u64) -> anyhow::Result<f64> {
    let mut log = LogWriter::open(dir, options(sync))?;
    std::thread::sleep(Duration::from_millis(200));
    let base = clock().wall_ns;
    let start = Instant::now();
    for i in 0..records {
        log.append(&Append { ts_recv_ns: base + i, conn: 1, kind: Kind::Data, flags: 0, payload })?;
    }
    let ns = start.elapsed().as_nanos() as f64 / records as f64;
    log.close()?;
    std::fs::remove_dir_all(dir)?;
    Ok(ns)
}

fn write_each(path: &Path, payload: &[u8]) -> anyhow::Result<f64> {
    let mut file = File::create(path)?;
    let mut record = vec![0_u8; 32 + payload.len()];
    let n = RECORDS / 5;
    let start = Instant::now();
    for i in 0..n {
        record[..8].copy_from_slice(&i.to_le_bytes());
        record[32..].copy_from_slice(payload);
        let crc = crc32fast::hash(&record[8..]);
        record[8..12].copy_from_slice(&crc.to_le_bytes());
        file.write_all(&record)?;
    }
    let ns = start.elapsed().as_nanos() as f64 / n as f64;
    std::fs::remove_file(path)?;
    Ok(ns)
}

fn buffered(path: &Path, payload: &[u8]) -> anyhow::Result<f64> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let start = Instant::now();
    let mut synced = Instant::now();
    for i in 0..RECORDS {
        let mut head = [0_u8; 32];
        head[..8].copy_from_slice(&i.to_le_bytes());
        head[8..12].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        file.write_all(&head)?;
        file.write_all(payload)?;
        if i % 1024 == 0 && synced.elapsed() > Duration::from_millis(100) {
            file.flush()?;
            file.get_ref().sync_data()?;
            synced = Instant::now();
        }
    }
    file.flush()?;
    let ns = start.elapsed().as_nanos() as f64 / RECORDS as f64;
    drop(file);
    std::fs::remove_file(path)?;
    Ok(ns)
}

/// Every append timed, paced at `per_s` (0 = as fast as possible).
fn latency(dir: &Path, payload: &[u8], sync: SyncPolicy, per_s: u64, seconds: u64) -> anyhow::Result<(Latency, u64)> {
    let mut log = LogWriter::open(dir, options(sync))?;
    let wait = matches!(sync, SyncPolicy::Every).then(|| log.sync_handle());
    std::thread::sleep(Duration::from_millis(200));
    let mut samples = Vec::with_capacity((per_s.max(200_000) * seconds) as usize);
    let start = Instant::now();
    let limit = Duration::from_secs(seconds);
    let mut i = 0_u64;
    while start.elapsed() < limit {
        if let Some(due) = (i * 1_000_000_000).checked_div(per_s).map(Duration::from_nanos) {
            while start.elapsed() < due {
                std::hint::spin_loop();
            }
        }
        let at = Instant::now();
        let seq = log.append(&Append { ts_recv_ns: clock().wall_ns, conn: 1, kind: Kind::Data, flags: 0, payload })?;
        if let Some(wait) = &wait {
            wait.wait_durable(seq)?;
        }
        samples.push(at.elapsed().as_nanos() as u64);
        i += 1;
    }
    let rolls = log.stats().roll_stalls.get();
    log.close()?;
    std::fs::remove_dir_all(dir)?;
    Ok((Latency::new(samples), rolls))
}

/// Runs all rows.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    #[cfg(not(feature = "rivals"))]
    let Args { .. } = args;
    #[cfg(feature = "rivals")]
    if let Some(backend) = &args.walrus {
        return crate::rivals::walrus_here(backend, &[7_u8; 200], args.records);
    }
    let root = std::env::current_dir()?.join("target/bench-append");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&root)?;
    let interval = SyncPolicy::INTERVAL_DEFAULT;
    println!("\nappend: {RECORDS} records, medians of {ROUNDS} rounds, ns per record (MB/s of payload)");
    for size in [200_usize, 1024] {
        let payload: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
        let (mut bare, mut cold, mut never, mut intv, mut each, mut buf) =
            (vec![], vec![], vec![], vec![], vec![], vec![]);
        for _ in 0..ROUNDS {
            bare.push(wal_format::sys::baseline::bare_loop(&root.join("bare"), &payload, RECORDS, true)?);
            cold.push(wal_format::sys::baseline::bare_loop(&root.join("bare"), &payload, RECORDS, false)?);
            never.push(ours(&root.join("log"), &payload, SyncPolicy::Never)?);
            intv.push(ours(&root.join("log"), &payload, interval)?);
            each.push(write_each(&root.join("each"), &payload)?);
            buf.push(buffered(&root.join("buffered"), &payload)?);
        }
        let base = median(bare);
        println!("  {size} B");
        for (name, ns) in [
            ("bare loop, prefaulted (baseline)", base),
            ("bare loop that faults its pages in as it goes", median(cold)),
            ("tapedeck, sync never", median(never)),
            ("tapedeck, sync interval", median(intv)),
            ("one write per record", median(each)),
            ("buffered, fdatasync 100 ms (loses its buffer when killed)", median(buf)),
        ] {
            println!("    {name:<60} {ns:>8.1}  ({:>7.0})  {:>6.2} x the loop", size as f64 * 1e3 / ns, ns / base);
        }
    }
    println!("  200 B through what others use, 200,000 records, one run each");
    let payload = vec![7_u8; 200];
    let few = 200_000;
    let loop_ns = wal_format::sys::baseline::bare_loop(&root.join("bare"), &payload, few, true)?;
    let sqlite = crate::peers::sqlite(&root.join("sqlite"), &payload, few)?;
    let mut rows = vec![("SQLite, WAL mode, batches of 1,000 (a kill loses the batch)", sqlite)];
    #[cfg(feature = "rivals")]
    rows.extend(crate::rivals::rows(&root, &payload, few)?);
    #[cfg(not(feature = "rivals"))]
    println!("    (okaywal, raft-engine, mrecordlog, walrus: build with --features rivals)");
    rows.push(("tapedeck, sync interval, each record", ours_n(&root.join("log"), &payload, interval, few)?));
    for (name, ns) in rows {
        println!("    {name:<60} {ns:>8.1}  ({:>7.0})  {:>6.2} x the loop", 200.0 * 1e3 / ns, ns / loop_ns);
    }
    println!("\nappend latency, 200 B, each append timed (the clock costs about 50 ns of it)");
    let payload = vec![7_u8; 200];
    for (name, sync, per_s, seconds) in [
        ("never, unpaced", SyncPolicy::Never, 0, 2),
        ("interval, unpaced", interval, 0, 2),
        ("never, 50,000/s", SyncPolicy::Never, 50_000, 5),
        ("roll, 50,000/s", SyncPolicy::Roll, 50_000, 5),
        ("interval, 50,000/s", interval, 50_000, 10),
        ("every (waits for the disk)", SyncPolicy::Every, 0, 3),
    ] {
        let (l, rolls) = latency(&root.join("log"), &payload, sync, per_s, seconds)?;
        println!(
            "    {name:<30} p50 {:>8} ns  p99 {:>8}  p99.9 {:>9}  max {:>10}  over 1 ms: {}, over 10 ms: {}, roll stalls: {rolls}",
            l.at(0.5),
            l.at(0.99),
            l.at(0.999),
            l.at(1.0),
            l.over(1_000_000),
            l.over(10_000_000),
        );
    }
    let _ = std::fs::remove_dir_all(&root);
    Ok(())
}
