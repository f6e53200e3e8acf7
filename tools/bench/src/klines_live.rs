//! The candle service behind a log that another process writes: does it keep up, what does it take, how soon is a trade
//! visible.
//!
//! ```text
//!  writer process --log, bell--> this process: KlineService --> KlineHub::latest <-- a thread that looks every few us
//! ```
//! Append -> visible, exactly: from the instant read right before `LogWriter::append` in the writer to the end of the
//! first look of the watching thread at which `KlineHub::latest` of that symbol holds a trade id at least as high. It
//! is an upper bound: the time between two looks is in it (printed beside it). Baseline in the same run: a bare loop on
//! one thread in place of the service: tail, cut the frame's fields out by position, seven bars in a flat array.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use fold::Mode;
use kline::{KlineHub, KlineService};
use model::Interval;
use ops::shutdown::Shutdown;
use wal_format::{Kind, LogReader, Position, ReaderOptions, Step, Waiter};

use crate::append::{Latency, clock};
use crate::synth::{self, Place, Stamps, Writer};

/// Arguments of `klines-live`.
#[derive(Clone, clap::Args)]
pub(crate) struct Args {
    /// Seconds and low rates: shows that it works, measures nothing.
    #[arg(long)]
    pub quick: bool,
    /// Seconds at 100,000 trades/s.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Seconds at 20,000 trades/s; longer than a minute, so that bars of all symbols close in it.
    #[arg(long, default_value_t = 65)]
    latency_seconds: u64,
    /// Symbols.
    #[arg(long, default_value_t = 500)]
    symbols: usize,
}

impl Default for Args {
    fn default() -> Self {
        Self { quick: false, seconds: 30, latency_seconds: 65, symbols: 500 }
    }
}

/// Between two looks at the sampled symbols.
const LOOK: Duration = Duration::from_micros(10);
/// Trades of the first time are not counted: files, threads and symbols are new.
const WARM: Duration = Duration::from_secs(2);

/// CPU time of the threads of this process by name, s.
fn threads() -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let (name, stat) = (read("comm").trim().to_owned(), read("stat"));
        let ticks: Vec<f64> =
            stat.rsplit(')').next().unwrap_or("").split_whitespace().filter_map(|f| f.parse().ok()).collect();
        // utime and stime, counted as in `tail::cpu_seconds`.
        let used = (ticks.get(10).copied().unwrap_or(0.0) + ticks.get(11).copied().unwrap_or(0.0)) / 100.0;
        *out.entry(name).or_insert(0.0) += used;
    }
    out
}

/// Shares of a core by thread since `before`: those of the service, and all of them together.
fn shares(before: &BTreeMap<String, f64>, seconds: f64) -> (String, f64) {
    let mut all = 0.0;
    let mut text = Vec::new();
    for (name, used) in threads() {
        let share = (used - before.get(&name).copied().unwrap_or(0.0)) / seconds * 100.0;
        if name.starts_with("klines") {
            all += share;
            text.push(format!("{name} {share:.1}"));
        }
    }
    (text.join(", "), all)
}

/// Trades seen by somebody: symbol, first and last id, when.
type Seen = Vec<(usize, u64, u64, u64)>;

fn open(args: &synth::Args) -> anyhow::Result<()> {
    let _ = std::fs::remove_dir_all(&args.dir);
    std::fs::create_dir_all(&args.dir)?;
    Ok(())
}

/// Starts the service on the writer's log.
fn service(dir: &Path, shutdown: &Shutdown) -> anyhow::Result<KlineService> {
    let cfg = synth::config(dir)?.for_candles();
    KlineService::start(&cfg, Mode::Follow, shutdown)?.context("no candles of this configuration")
}

/// Records of the log, its own ones (clock readings) too.
fn appended(log: &Path) -> u64 {
    wal_format::control::read(log).map_or(0, |c| c.committed.seq.counter())
}

/// Backlog second by second at a rate.
fn backlog(place: Place, args: &synth::Args) -> anyhow::Result<f64> {
    open(args)?;
    let log = synth::config(&args.dir)?.capture.wal_dir(synth::VENUE);
    let shutdown = Shutdown::new();
    let candles = service(&args.dir, &shutdown)?;
    let hub = Arc::clone(candles.hub());
    let mut writer = Writer::start(place, args)?;
    let (before, start) = (threads(), Instant::now());
    println!(
        "    {}/s over {} symbols: records of the log not in the candles yet, once a second",
        args.per_s, args.symbols
    );
    let (mut ahead, mut cpu) = (Vec::new(), (String::new(), 0.0));
    while !writer.done()? {
        std::thread::sleep(Duration::from_millis(100));
        // The log first: what comes between the two is not behind.
        let log = appended(&log);
        ahead.push((start.elapsed().as_secs_f64(), log.saturating_sub(hub.stats().ticks) as f64));
        if ahead.len() % 10 == 0 {
            cpu = shares(&before, start.elapsed().as_secs_f64());
        }
    }
    writer.join()?;
    let total = args.per_s * args.seconds + args.symbols as u64;
    let (ended, seconds) = (Instant::now(), start.elapsed().as_secs_f64());
    while hub.stats().ticks < total {
        anyhow::ensure!(ended.elapsed() < Duration::from_secs(60), "{} of {total} trades", hub.stats().ticks);
        std::thread::sleep(Duration::from_millis(1));
    }
    let caught_up = ended.elapsed();
    // The log's own records come at an even rate; they are no trades and never in the candles.
    let own = appended(&log).saturating_sub(total) as f64 / seconds;
    let behind: Vec<u64> = ahead.iter().map(|(at, n)| (n - own * at).round().max(0.0) as u64).collect();
    let each: Vec<String> = behind.iter().skip(9).step_by(10).map(u64::to_string).collect();
    println!("      {}", each.join(" "));
    let warm = WARM.as_millis() as usize / 100;
    println!(
        "      of 10 looks a second after the first {} s: most {}, mean {:.0}; the last trade was in {:.0} ms after the \
         writer's end",
        WARM.as_secs(),
        behind.iter().skip(warm).max().unwrap_or(&0),
        behind.iter().skip(warm).sum::<u64>() as f64 / behind.len().saturating_sub(warm).max(1) as f64,
        caught_up.as_secs_f64() * 1e3
    );
    println!("      CPU of the service {:.1} % of a core ({})", cpu.1, cpu.0);
    let stats = hub.stats();
    println!(
        "      {} trades, {} bars closed, {} revised, {} refused",
        stats.ticks, stats.closed, stats.revised, stats.refused
    );
    shutdown.trigger();
    candles.join()?;
    std::fs::remove_dir_all(&args.dir)?;
    Ok(cpu.1)
}

/// Looks at the sampled symbols until stopped; returns what it saw, and the times between looks.
fn watch(hub: &KlineHub, symbols: usize, stop: &AtomicBool) -> (Seen, Vec<u64>) {
    // Without this a sleep of 10 us takes 60; it only makes the measuring finer.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let (mut seen, mut gaps) = (Vec::new(), Vec::new());
    let mut places: Vec<(usize, Option<u32>, u64)> = synth::sampled(symbols).map(|s| (s, None, 0)).collect();
    let mut before = clock().mono_ns;
    while !stop.load(Ordering::Relaxed) {
        for (symbol, index, last) in &mut places {
            if index.is_none() {
                *index = hub.registry().index(synth::VENUE.as_str(), &synth::name(*symbol));
            }
            let Some(bars) = index.and_then(|i| hub.latest(i)) else { continue };
            // A bar that has just begun has no trade; the longest ones have.
            let newest = bars.iter().map(|b| b.last_trade_id).max().and_then(|id| u64::try_from(id).ok()).unwrap_or(0);
            if newest > *last {
                seen.push((*symbol, *last + 1, newest, clock().mono_ns));
                *last = newest;
            }
        }
        std::thread::sleep(LOOK);
        let now = clock().mono_ns;
        gaps.push(now - before);
        before = now;
    }
    (seen, gaps)
}

/// Times from append to seen, ns, after the first seconds.
fn latencies(stamps: &Stamps, seen: &Seen) -> Vec<u64> {
    let first = stamps.values().filter_map(|s| s.first()).min().copied().unwrap_or(0);
    let from = first + WARM.as_nanos() as u64;
    let mut out = Vec::new();
    for (symbol, low, high, at) in seen {
        for id in *low..=*high {
            let stamp = stamps.get(symbol).and_then(|s| s.get(usize::try_from(id).ok()?.checked_sub(1)?));
            if let Some(stamp) = stamp.filter(|s| **s >= from) {
                out.push(at.saturating_sub(*stamp));
            }
        }
    }
    out
}

fn print(name: &str, per_s: u64, l: &Latency, n: usize) {
    let us = |q: f64| l.at(q) as f64 / 1e3;
    println!(
        "    {per_s:>6}/s  {name:<34} p50 {:>7.1}  p99 {:>7.1}  p99.9 {:>8.1}  max {:>8.1} us  ({n} trades)",
        us(0.5),
        us(0.99),
        us(0.999),
        us(1.0)
    );
}

/// Append -> visible through the service.
fn visible(place: Place, args: &synth::Args) -> anyhow::Result<Latency> {
    open(args)?;
    let shutdown = Shutdown::new();
    let candles = service(&args.dir, &shutdown)?;
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (hub, stop, symbols) = (Arc::clone(candles.hub()), Arc::clone(&stop), args.symbols);
        std::thread::Builder::new().name("watch".into()).spawn(move || watch(&hub, symbols, &stop))?
    };
    let mut writer = Writer::start(place, args)?;
    let (before, start) = (threads(), Instant::now());
    let mut cpu = (String::new(), 0.0);
    while !writer.done()? {
        std::thread::sleep(Duration::from_millis(100));
        cpu = shares(&before, start.elapsed().as_secs_f64());
    }
    writer.join()?;
    let total = args.per_s * args.seconds + args.symbols as u64;
    while candles.hub().stats().ticks < total {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(20));
    stop.store(true, Ordering::Relaxed);
    let (seen, gaps) = watcher.join().map_err(|_| anyhow::anyhow!("the watching thread panicked"))?;
    let samples = latencies(&synth::stamps(&args.dir)?, &seen);
    let (n, closed) = (samples.len(), candles.hub().stats().closed);
    anyhow::ensure!(n > 0, "no sampled trade was seen");
    let (l, gaps) = (Latency::new(samples), Latency::new(gaps));
    print("tapedeck: in KlineHub::latest", args.per_s, &l, n);
    println!(
        "             CPU {:.1} % of a core ({}); {closed} bars closed; between two looks p50 {:.1}, p99 {:.1} us",
        cpu.1,
        cpu.0,
        gaps.at(0.5) as f64 / 1e3,
        gaps.at(0.99) as f64 / 1e3
    );
    shutdown.trigger();
    candles.join()?;
    std::fs::remove_dir_all(&args.dir)?;
    Ok(l)
}

/// The digits between a key and the next quote or comma, without the point.
pub(crate) fn digits(payload: &[u8], key: &[u8]) -> i64 {
    let Some(at) = memchr::memmem::find(payload, key) else { return 0 };
    let mut n = 0_i64;
    for b in payload.get(at + key.len()..).unwrap_or_default() {
        match b {
            b'0'..=b'9' => n = n * 10 + i64::from(b - b'0'),
            b'.' => {}
            _ => break,
        }
    }
    n
}

/// The least that can be done with the log: one thread, no checks, nothing closed. Returns its CPU share, %.
fn bare(place: Place, args: &synth::Args) -> anyhow::Result<(f64, Latency)> {
    open(args)?;
    let log = synth::config(&args.dir)?.capture.wal_dir(synth::VENUE);
    let writer = Writer::start(place, args)?;
    while wal_format::list_segments(&log).map_or(true, |s| s.is_empty()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (symbols, total) = (args.symbols, args.per_s * args.seconds + args.symbols as u64);
    let reader = std::thread::Builder::new().name("klines-bare".into()).spawn(move || -> anyhow::Result<_> {
        let mut reader = LogReader::open(&log, Position::START, ReaderOptions::default())?;
        let mut waiter = Waiter::new(&log);
        // Open time, open, high, low, close, volume, quote volume, and both of buying takers.
        let mut bars = vec![[0_i128; 9]; symbols * Interval::COUNT];
        let sampled: Vec<bool> = {
            let mut all = vec![false; symbols];
            synth::sampled(symbols).for_each(|s| all[s] = true);
            all
        };
        let (mut seen, mut count): (Seen, u64) = (Vec::new(), 0);
        let start = Instant::now();
        let before = threads();
        while count < total {
            match reader.next()? {
                Step::Record(r) => {
                    waiter.progressed();
                    if r.kind() != Some(Kind::Data) {
                        continue;
                    }
                    count += 1;
                    let p = r.payload;
                    let symbol = digits(p, b"\"s\":\"S") as usize;
                    let (price, amount) = (i128::from(digits(p, b"\"p\":\"")), i128::from(digits(p, b"\"q\":\"")));
                    let (ts, buy) = (digits(p, b"\"T\":") * 1_000, p.ends_with(b"false}}"));
                    for interval in Interval::ALL {
                        let Some(bar) = bars.get_mut(symbol * Interval::COUNT + interval.index()) else { continue };
                        let open = i128::from(interval.open_of(ts));
                        if bar[0] != open {
                            *bar = [open, price, price, price, price, 0, 0, 0, 0];
                        }
                        (bar[2], bar[3], bar[4]) = (bar[2].max(price), bar[3].min(price), price);
                        bar[5] += amount;
                        bar[6] += amount * price;
                        if buy {
                            bar[7] += amount;
                            bar[8] += amount * price;
                        }
                    }
                    if sampled.get(symbol) == Some(&true) {
                        let id = digits(p, b"\"l\":") as u64;
                        seen.push((symbol, id, id, clock().mono_ns));
                    }
                }
                _ => waiter.pause(Duration::from_millis(5)),
            }
        }
        std::hint::black_box(&bars);
        let share = shares(&before, start.elapsed().as_secs_f64()).1;
        Ok((share, seen))
    })?;
    let (share, seen) = reader.join().map_err(|_| anyhow::anyhow!("the bare loop panicked"))??;
    writer.join()?;
    let samples = latencies(&synth::stamps(&args.dir)?, &seen);
    std::fs::remove_dir_all(&args.dir)?;
    Ok((share, Latency::new(samples)))
}

fn root() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_dir()?.join("target/bench-klines-live"))
}

/// Runs all rows in `dir`.
fn all(place: Place, dir: PathBuf, args: &Args) -> anyhow::Result<()> {
    let (high, low, seconds, latency_seconds) =
        if args.quick { (5_000, 1_000, 3, 3) } else { (100_000, 20_000, args.seconds, args.latency_seconds) };
    let load = |per_s, seconds| synth::Args { dir: dir.clone(), per_s, seconds, symbols: args.symbols };
    println!("\nlive candles: log written by another process, {} symbols, {} intervals", args.symbols, Interval::COUNT);
    let ours = backlog(place, &load(high, seconds))?;
    let (share, _) = bare(place, &load(high, seconds.min(10)))?;
    println!("      a bare loop on one thread: {share:.1} % of a core; the service {:.2} x of it", ours / share);
    println!("    append -> visible");
    let l = visible(place, &load(low, latency_seconds))?;
    let (share, base) = bare(place, &load(low, latency_seconds.min(20)))?;
    print("bare loop: in the reader's hands", low, &base, base.len());
    println!("             CPU {share:.1} % of a core");
    let ratio = |q: f64| l.at(q) as f64 / base.at(q).max(1) as f64;
    println!("    ratio to the bare loop: p50 {:.2}, p99 {:.2}", ratio(0.5), ratio(0.99));
    Ok(())
}

/// Runs all rows.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    all(Place::Process, root()?, args)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_rows_of_a_small_log_see_every_trade() {
        let dir = tempfile::tempdir().unwrap();
        let args = synth::Args { dir: dir.path().join("live"), per_s: 500, seconds: 3, symbols: 40 };
        backlog(Place::Thread, &args).unwrap();
        assert!(visible(Place::Thread, &args).unwrap().len() > 0);
        assert!(bare(Place::Thread, &args).unwrap().1.len() > 0);
    }
}
