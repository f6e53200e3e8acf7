//! Candles: ns per trade through the actors at seven intervals, against loops that do the same sums with less around.
//!
//! The same seeded trades go through all rows, a block at a time, and only the work on a block is timed: a flat array
//! loop (seven bars per trade, nothing closed, nothing late), the actors as the service runs them (batches of 4,096,
//! visible after each batch, a swap every 100 ms), the same behind their queue and thread, a naive
//! hash map per (symbol, interval, open time), one message per trade to a tokio task; then DuckDB and Polars grouping
//! the same columns in memory, run by `py/klines_baseline.py`.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::Context;
use kline::{CandleJob, CandleWorker, DoubleBufferedKlineStore, FlatKlineStore, Item, LatestSlots, Shown};
use model::Num;
use model::{Interval, Tick};

/// Arguments of `klines`.
#[derive(Default, clap::Args)]
pub(crate) struct Args {
    /// Few trades: shows that it works, measures nothing.
    #[arg(long)]
    pub quick: bool,
    /// A Python with duckdb, polars, numpy and pyarrow; without them their rows are left out.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
}

const TRADES: usize = 20_000_000;
const TRADES_QUICK: usize = 100_000;
/// Trades in memory at once.
const BLOCK: usize = 1_000_000;
const SYMBOLS: u32 = 400;
/// As the service's feeds hand over at full speed.
const BATCH: usize = 4_096;
const SWAP_EVERY: Duration = Duration::from_millis(100);
const ROUNDS: usize = 3;

/// Seeded trades in time order over 100 minutes, busy symbols more often than quiet ones.
struct Trades {
    state: u64,
    made: usize,
    price: Vec<i64>,
    id: Vec<i64>,
}

impl Trades {
    fn new() -> Self {
        let price = vec![5_000_000_i64; SYMBOLS as usize];
        Self { state: 0x9E37_79B9_7F4A_7C15, made: 0, price, id: vec![0; SYMBOLS as usize] }
    }

    /// The next `n` trades, in place of what `out` holds.
    fn fill(&mut self, out: &mut Vec<Tick>, n: usize) {
        out.clear();
        for _ in 0..n {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            let r = self.state;
            // The smaller of two: low numbers come more often.
            let symbol = (r % u64::from(SYMBOLS)).min((r >> 20) % u64::from(SYMBOLS)) as usize;
            self.price[symbol] += (r >> 40) as i64 % 21 - 10;
            self.id[symbol] += 1;
            out.push(Tick {
                symbol_index: symbol as u32,
                ts_us: 1_722_816_000_000_000 + self.made as i64 * 300,
                price: Num { mantissa: self.price[symbol].into(), scale: 2 },
                amount: Num { mantissa: 1 + i128::from(r >> 50), scale: 3 },
                first_id: self.id[symbol],
                last_id: self.id[symbol],
                agg_id: -1,
                count: 1,
                taker_buy: r & 1 == 0,
            });
            self.made += 1;
        }
    }
}

#[derive(Clone, Copy)]
struct Bar {
    open_us: i64,
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    volume: i128,
    quote: i128,
    buy: i128,
    buy_quote: i128,
    count: u64,
    /// Trades of the bars before.
    closed: u64,
}

const NO_BAR: Bar = Bar {
    open_us: i64::MIN,
    open: 0,
    high: i64::MIN,
    low: i64::MAX,
    close: 0,
    volume: 0,
    quote: 0,
    buy: 0,
    buy_quote: 0,
    count: 0,
    closed: 0,
};

impl Bar {
    #[inline]
    fn add(&mut self, t: &Tick) {
        let (p, a) = (t.price.mantissa as i64, t.amount.mantissa);
        if self.count == 0 {
            self.open = p;
        }
        self.high = self.high.max(p);
        self.low = self.low.min(p);
        self.close = p;
        self.volume += a;
        let quote = a * i128::from(p);
        self.quote += quote;
        if t.taker_buy {
            self.buy += a;
            self.buy_quote += quote;
        }
        self.count += 1;
    }
}

/// What the loops fold trades into.
trait Fold {
    fn fold(&mut self, trades: &[Tick]);
    /// Everything handed over is done; the trades that all bars hold together.
    fn end(self: Box<Self>) -> u64;
}

struct Flat(Vec<Bar>);

impl Flat {
    fn new() -> Self {
        Self(vec![NO_BAR; SYMBOLS as usize * Interval::COUNT])
    }

    #[inline]
    fn add(&mut self, t: &Tick) {
        for (i, interval) in Interval::ALL.into_iter().enumerate() {
            let bar = &mut self.0[t.symbol_index as usize * Interval::COUNT + i];
            if t.ts_us.wrapping_sub(bar.open_us) as u64 >= interval.len_us() as u64 {
                // What is over is counted, no more.
                let closed = bar.closed + bar.count;
                *bar = Bar { open_us: interval.open_of(t.ts_us), closed, ..NO_BAR };
            }
            bar.add(t);
        }
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|b| b.count + b.closed).sum()
    }
}

impl Fold for Flat {
    fn fold(&mut self, trades: &[Tick]) {
        for t in trades {
            self.add(t);
        }
    }

    fn end(self: Box<Self>) -> u64 {
        self.count()
    }
}

struct Naive(HashMap<(u32, usize, i64), Bar>);

impl Fold for Naive {
    fn fold(&mut self, trades: &[Tick]) {
        for t in trades {
            for (i, interval) in Interval::ALL.into_iter().enumerate() {
                self.0.entry((t.symbol_index, i, interval.open_of(t.ts_us))).or_insert(NO_BAR).add(t);
            }
        }
    }

    fn end(self: Box<Self>) -> u64 {
        self.0.values().map(|b| b.count).sum()
    }
}

fn shown() -> Shown {
    Shown { latest: Arc::new(LatestSlots::new()), whole: Arc::new(DoubleBufferedKlineStore::new()) }
}

/// Hands trades over as a feed does: `send` gets each batch and gives an empty one back.
fn batches(
    trades: &[Tick],
    swapped: &mut Instant,
    mut send: impl FnMut(CandleJob) -> Vec<Item>,
    empty: Vec<Item>,
) -> Vec<Item> {
    let mut batch = empty;
    for chunk in trades.chunks(BATCH) {
        batch.extend(chunk.iter().map(|t| Item::Tick(*t)));
        batch = send(CandleJob::Batch(batch));
        batch.clear();
        if swapped.elapsed() >= SWAP_EVERY {
            *swapped = Instant::now();
            send(CandleJob::Swap);
        }
    }
    batch
}

/// The actors on this thread.
struct Actors {
    worker: CandleWorker,
    empty: Vec<Item>,
    swapped: Instant,
}

impl Fold for Actors {
    fn fold(&mut self, trades: &[Tick]) {
        let worker = &mut self.worker;
        let send = |job| {
            let back = worker.handle(job).unwrap_or_default();
            worker.report_changes(|updates, _| {
                std::hint::black_box(updates);
            });
            back
        };
        self.empty = batches(trades, &mut self.swapped, send, std::mem::take(&mut self.empty));
    }

    fn end(self: Box<Self>) -> u64 {
        self.worker.totals().ticks * Interval::COUNT as u64
    }
}

/// The actors on their own thread, behind the queue of the service.
struct Queued {
    jobs: std::sync::mpsc::SyncSender<CandleJob>,
    empties: std::sync::mpsc::Receiver<Vec<Item>>,
    worker: std::thread::JoinHandle<kline::Totals>,
    swapped: Instant,
}

impl Queued {
    fn start() -> Self {
        let (jobs, jobs_in) = sync_channel(64);
        let (empties_out, empties) = sync_channel(64);
        let worker = std::thread::spawn(move || {
            CandleWorker::new(shown()).run(&jobs_in, &empties_out, &AtomicU64::new(0), |_, updates, _| {
                std::hint::black_box(updates);
            })
        });
        Self { jobs, empties, worker, swapped: Instant::now() }
    }
}

impl Fold for Queued {
    fn fold(&mut self, trades: &[Tick]) {
        let (jobs, empties) = (&self.jobs, &self.empties);
        let send = |job| {
            // The worker ends after its last sender.
            let _ = jobs.send(job);
            empties.try_recv().unwrap_or_else(|_| Vec::with_capacity(BATCH))
        };
        batches(trades, &mut self.swapped, send, Vec::with_capacity(BATCH));
        // All of it done: queried after the last batch.
        let (out, answer) = sync_channel(1);
        let reply = Box::new(move |ticks| {
            let _ = out.send(ticks);
        });
        let _ = self.jobs.send(CandleJob::Recent { symbol_index: 0, reply });
        let _ = answer.recv();
    }

    fn end(self: Box<Self>) -> u64 {
        let Queued { jobs, empties, worker, .. } = *self;
        drop((jobs, empties));
        worker.join().map_or(0, |t| t.ticks) * Interval::COUNT as u64
    }
}

/// One message per trade to a task.
struct Messages {
    runtime: tokio::runtime::Runtime,
    send: tokio::sync::mpsc::Sender<Tick>,
    task: tokio::task::JoinHandle<u64>,
}

impl Messages {
    fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
        let (send, mut receive) = tokio::sync::mpsc::channel::<Tick>(4096);
        let task = runtime.spawn(async move {
            let mut flat = Flat::new();
            while let Some(t) = receive.recv().await {
                flat.add(&t);
            }
            flat.count()
        });
        Ok(Self { runtime, send, task })
    }
}

impl Fold for Messages {
    fn fold(&mut self, trades: &[Tick]) {
        let send = &self.send;
        self.runtime.block_on(async {
            for t in trades {
                // The task ends after its last sender.
                let _ = send.send(*t).await;
            }
        });
    }

    fn end(self: Box<Self>) -> u64 {
        let Messages { runtime, send, task } = *self;
        drop(send);
        runtime.block_on(task).unwrap_or(0)
    }
}

const ROWS: [&str; 5] = [
    "flat array loop (baseline)",
    "tapedeck actors, batches of 4,096, swaps",
    "the same behind their queue, two threads",
    "hash map per bar",
    "one message per trade to a tokio task",
];

fn fold(row: usize) -> anyhow::Result<Box<dyn Fold>> {
    Ok(match row {
        0 => Box::new(Flat::new()),
        1 => Box::new(Actors {
            worker: CandleWorker::new(shown()),
            empty: Vec::with_capacity(BATCH),
            swapped: Instant::now(),
        }),
        2 => Box::new(Queued::start()),
        3 => Box::new(Naive(HashMap::new())),
        _ => Box::new(Messages::start()?),
    })
}

/// ns per trade of one row over `n` trades; checks that it counted every trade in every interval.
fn measure(row: usize, n: usize) -> anyhow::Result<f64> {
    let (mut trades, mut block, mut spent) = (Trades::new(), Vec::new(), 0);
    let mut fold = fold(row)?;
    let mut left = n;
    while left > 0 {
        trades.fill(&mut block, left.min(BLOCK));
        left -= block.len();
        let start = Instant::now();
        fold.fold(&block);
        spent += start.elapsed().as_nanos();
    }
    let start = Instant::now();
    let counted = fold.end();
    spent += start.elapsed().as_nanos();
    anyhow::ensure!(counted == (n * Interval::COUNT) as u64, "{}: {counted} of {n} trades x intervals", ROWS[row]);
    Ok(spent as f64 / n as f64)
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The trades as one file of little-endian numbers per column.
fn columns(dir: &Path, n: usize) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    let file = |name: &str| -> anyhow::Result<_> {
        Ok(std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(dir.join(name))?))
    };
    let (mut symbol, mut ts, mut price) = (file("symbol.u32")?, file("ts.i64")?, file("price.i64")?);
    let (mut amount, mut buy) = (file("amount.i64")?, file("buy.u8")?);
    let (mut trades, mut block, mut left) = (Trades::new(), Vec::new(), n);
    while left > 0 {
        trades.fill(&mut block, left.min(BLOCK));
        left -= block.len();
        for t in &block {
            symbol.write_all(&t.symbol_index.to_le_bytes())?;
            ts.write_all(&t.ts_us.to_le_bytes())?;
            price.write_all(&(t.price.mantissa as i64).to_le_bytes())?;
            amount.write_all(&(t.amount.mantissa as i64).to_le_bytes())?;
            buy.write_all(&[u8::from(t.taker_buy)])?;
        }
    }
    for mut f in [symbol, ts, price, amount, buy] {
        f.flush()?;
    }
    Ok(())
}

/// DuckDB and Polars on the same trades; their rows, or why there are none.
fn databases(python: &Path, n: usize, base: f64, ours: f64) -> anyhow::Result<()> {
    let dir = std::env::current_dir()?.join("target/bench-klines");
    columns(&dir, n)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("py/klines_baseline.py");
    let run = Command::new(python).arg(script).arg(&dir).output();
    std::fs::remove_dir_all(&dir)?;
    let output = match run {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            println!("    DuckDB, Polars: not run: {}", why.trim().lines().last().unwrap_or("no reason given"));
            return Ok(());
        }
        Err(why) => {
            println!("    DuckDB, Polars: not run: {}: {why}", python.display());
            return Ok(());
        }
    };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let row: serde_json::Value = serde_json::from_str(line).context("a row of klines_baseline.py")?;
        let (name, ns) = (row["row"].as_str().unwrap_or("?"), row["ns_per_trade"].as_f64().unwrap_or(f64::NAN));
        print(name, ns, base);
        println!("    {:<44} {:>24.2} x the actors", "", ns / ours);
    }
    Ok(())
}

fn print(name: &str, ns: f64, base: f64) {
    println!("    {name:<44} {ns:>7.1}  ({:>5.1} M trades/s)  {:>5.2} x the loop", 1e3 / ns, ns / base);
}

/// Runs all rows.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (n, rounds) = if args.quick { (TRADES_QUICK, 1) } else { (TRADES, ROUNDS) };
    println!(
        "\nklines: {n} trades, {SYMBOLS} symbols, {} intervals, ns per trade, median of {rounds}",
        Interval::COUNT
    );
    let mut times: [Vec<f64>; ROWS.len()] = Default::default();
    for _ in 0..rounds {
        for (row, times) in times.iter_mut().enumerate() {
            times.push(measure(row, n)?);
        }
    }
    let times = times.map(median);
    for (name, ns) in ROWS.into_iter().zip(times) {
        print(name, ns, times[0]);
    }
    databases(&args.python, n, times[0], times[1])?;
    whole()
}

/// What a reader of all bars pays.
fn whole() -> anyhow::Result<()> {
    let show = shown();
    let (mut worker, mut block) = (CandleWorker::new(show.clone()), Vec::new());
    Trades::new().fill(&mut block, 100_000);
    for chunk in block.chunks(BATCH) {
        worker.handle(CandleJob::Batch(chunk.iter().map(|t| Item::Tick(*t)).collect()));
    }
    worker.handle(CandleJob::Swap);
    let mut out = FlatKlineStore::default();
    let start = Instant::now();
    for _ in 0..1_000 {
        std::hint::black_box(show.whole.read(&mut out));
    }
    println!(
        "    a consistent copy of all {} bars: {:.1} us",
        out.symbols() * Interval::COUNT,
        start.elapsed().as_micros() as f64 / 1e3
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_row_counts_every_trade_in_every_interval() {
        for row in 0..ROWS.len() {
            assert!(measure(row, 30_000).unwrap() > 0.0);
        }
    }
}
