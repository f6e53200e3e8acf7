//! Tail latency across processes: from before the append in one process to the record in the hands of a reader in
//! another, by the one monotonic clock of the machine. Baseline in the same run: the same reader with a plain 50 us
//! sleep instead of the log's bell.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wal_format::{Append, Kind, LogReader, LogWriter, Position, ReaderOptions, Step, SyncPolicy, Waiter};

use crate::append::{Latency, clock, options};
use crate::brokers::{Broker, Client, Server};

/// Arguments of `tail`.
#[derive(Default, clap::Args)]
pub(crate) struct Args {
    /// Be the writing process (used by the benchmark itself).
    #[arg(long, hide = true, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Records per second of the writing process.
    #[arg(long, hide = true, default_value_t = 0)]
    per_s: u64,
    /// Be the process that adds to this broker (used by the benchmark itself).
    #[arg(long, hide = true)]
    broker: Option<Broker>,
    /// Port of the broker.
    #[arg(long, hide = true, default_value_t = 0)]
    port: u16,
}

const SECONDS: u64 = 5;

fn write(dir: &Path, per_s: u64) -> anyhow::Result<()> {
    let mut log = LogWriter::open(dir, options(SyncPolicy::INTERVAL_DEFAULT))?;
    let notifier = log.notifier();
    paced(per_s, |payload, now| {
        log.append(&Append { ts_recv_ns: now, conn: 1, kind: Kind::Data, flags: 0, payload })?;
        notifier.notify();
        Ok(())
    })?;
    log.close()?;
    Ok(())
}

/// Calls `add` with a stamped payload and the wall time at the given rate.
fn paced(per_s: u64, mut add: impl FnMut(&[u8], u64) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut payload = [0_u8; 200];
    let start = Instant::now();
    for i in 0..per_s * SECONDS {
        let due = Duration::from_nanos(i * 1_000_000_000 / per_s);
        while let Some(left) = due.checked_sub(start.elapsed()) {
            // Sleep through most of a long wait: the writer must not take the reader's core.
            if left > Duration::from_micros(200) {
                std::thread::sleep(left - Duration::from_micros(100));
            } else {
                std::thread::yield_now();
            }
        }
        let now = clock();
        payload[..8].copy_from_slice(&now.mono_ns.to_le_bytes());
        add(&payload, now.wall_ns)?;
    }
    Ok(())
}

/// CPU time of this process, s.
pub(crate) fn cpu_seconds() -> f64 {
    let t = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> =
        t.rsplit(')').next().unwrap_or("").split_whitespace().filter_map(|f| f.parse().ok()).collect();
    // utime and stime are at positions 14 and 15; the state letter does not parse, so two fewer than counted from 3.
    (fields.get(10).copied().unwrap_or(0.0) + fields.get(11).copied().unwrap_or(0.0)) / 100.0
}

fn measure(root: &Path, per_s: u64, plain: bool) -> anyhow::Result<(Latency, f64)> {
    let dir = root.join("tail");
    let _ = std::fs::remove_dir_all(&dir);
    let mut writer = Command::new(std::env::current_exe()?)
        .args(["tail", "--per-s", &per_s.to_string(), "--write"])
        .arg(&dir)
        .stdout(Stdio::null())
        .spawn()?;
    while wal_format::list_segments(&dir).map_or(true, |s| s.is_empty()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut reader = LogReader::open(&dir, Position::START, ReaderOptions::default())?;
    let mut samples = Vec::with_capacity((per_s * SECONDS) as usize);
    let mut waiter = Waiter::new(&dir);
    let cpu = cpu_seconds();
    while (samples.len() as u64) < per_s * SECONDS {
        match reader.next()? {
            Step::Record(r) => {
                waiter.progressed();
                if r.kind() == Some(Kind::Data)
                    && let Some(sent) = r.payload.first_chunk::<8>()
                {
                    samples.push(clock().mono_ns.saturating_sub(u64::from_le_bytes(*sent)));
                }
            }
            _ if plain => std::thread::sleep(Duration::from_micros(50)),
            _ => waiter.pause(Duration::from_secs(1)),
        }
    }
    let used = (cpu_seconds() - cpu) / SECONDS as f64;
    writer.wait()?;
    std::fs::remove_dir_all(&dir)?;
    Ok((Latency::new(samples), used))
}

/// The same through a broker; `None` when it is not installed.
fn broker(root: &Path, per_s: u64, broker: Broker) -> anyhow::Result<Option<Latency>> {
    let dir = root.join("broker");
    let _ = std::fs::remove_dir_all(&dir);
    let Some(server) = Server::start(broker, &dir)? else { return Ok(None) };
    let mut reader = Client::connect(broker, server.port)?;
    reader.follow()?;
    let name = clap::ValueEnum::to_possible_value(&broker).map(|v| v.get_name().to_owned()).unwrap_or_default();
    let mut writer = Command::new(std::env::current_exe()?)
        .args(["tail", "--per-s", &per_s.to_string(), "--broker", &name, "--port", &server.port.to_string()])
        .stdout(Stdio::null())
        .spawn()?;
    let mut samples = Vec::with_capacity((per_s * SECONDS) as usize);
    while (samples.len() as u64) < per_s * SECONDS {
        reader.next(&mut |payload| {
            if let Some(sent) = payload.first_chunk::<8>() {
                samples.push(clock().mono_ns.saturating_sub(u64::from_le_bytes(*sent)));
            }
        })?;
    }
    writer.wait()?;
    drop(server);
    std::fs::remove_dir_all(&dir)?;
    Ok(Some(Latency::new(samples)))
}

/// CPU share of a reader on a log where nothing happens.
fn idle(root: &Path) -> anyhow::Result<f64> {
    let dir = root.join("idle");
    let log = LogWriter::open(&dir, options(SyncPolicy::Never))?;
    let mut reader = LogReader::open(&dir, Position::START, ReaderOptions::default())?;
    let mut waiter = Waiter::new(&dir);
    let (cpu, start) = (cpu_seconds(), Instant::now());
    while start.elapsed() < Duration::from_secs(3) {
        match reader.next()? {
            Step::Record(_) => waiter.progressed(),
            _ => waiter.pause(Duration::from_secs(1)),
        }
    }
    let used = (cpu_seconds() - cpu) / start.elapsed().as_secs_f64();
    log.close()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(used)
}

/// Runs all rows, or the writing side.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(dir) = &args.write {
        return write(dir, args.per_s);
    }
    if let Some(broker) = args.broker {
        let mut client = Client::connect(broker, args.port)?;
        return paced(args.per_s, |payload, _| client.add(payload));
    }
    let root = std::env::current_dir()?.join("target/bench-tail");
    std::fs::create_dir_all(&root)?;
    println!("\ntail latency across processes, {SECONDS} s each, us");
    for per_s in [1_000, 20_000] {
        for (name, plain) in [("50 us polling (baseline)", true), ("tapedeck", false)] {
            let (l, cpu) = measure(&root, per_s, plain)?;
            println!(
                "    {per_s:>6}/s  {name:<26} p50 {:>7.1}  p99 {:>7.1}  p99.9 {:>8.1}  reader {:>4.1} % of a core",
                l.at(0.5) as f64 / 1e3,
                l.at(0.99) as f64 / 1e3,
                l.at(0.999) as f64 / 1e3,
                cpu * 100.0
            );
        }
        for (name, which) in
            [("Redis streams, XREAD BLOCK", Broker::Redis), ("NATS JetStream, file, push", Broker::Nats)]
        {
            match broker(&root, per_s, which) {
                Ok(Some(l)) => println!(
                    "    {per_s:>6}/s  {name:<26} p50 {:>7.1}  p99 {:>7.1}  p99.9 {:>8.1}",
                    l.at(0.5) as f64 / 1e3,
                    l.at(0.99) as f64 / 1e3,
                    l.at(0.999) as f64 / 1e3,
                ),
                Ok(None) => println!("    {per_s:>6}/s  {name:<26} not installed"),
                Err(err) => println!("    {per_s:>6}/s  {name:<26} failed: {err:#}"),
            }
        }
    }
    println!("    idle tail: {:.2} % of a core", idle(&root)? * 100.0);
    std::fs::remove_dir_all(&root)?;
    Ok(())
}
