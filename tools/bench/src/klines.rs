//! Candles: ns per trade through the actors at seven intervals, against loops that do the same sums with less around.
//!
//! The same seeded trades go through all rows: a flat array loop (seven bars per trade, nothing closed, nothing late),
//! the actors as the service runs them (batches of 512, one thread, visible after each batch), a naive hash map per
//! (symbol, interval, open time), and one message per trade to a tokio task.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tapedeck::kline::{
    DoubleBufferedKlineStore, FlatKlineStore, Interval, Item, Job, LatestSlots, Shown, Tick, Worker,
};
use tapedeck::venue::Num;

const TRADES: usize = 4_000_000;
const SYMBOLS: u32 = 400;
const BATCH: usize = 512;
const ROUNDS: usize = 3;

/// Seeded trades in time order over 20 minutes, busy symbols more often than quiet ones.
fn trades() -> Vec<Tick> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut price = vec![5_000_000_i64; SYMBOLS as usize];
    let mut id = vec![0_i64; SYMBOLS as usize];
    let start = 1_722_816_000_000_000_i64;
    (0..TRADES)
        .map(|i| {
            let r = random();
            // The smaller of two: low numbers come more often.
            let symbol = (r % u64::from(SYMBOLS)).min((r >> 20) % u64::from(SYMBOLS)) as usize;
            price[symbol] += (r >> 40) as i64 % 21 - 10;
            id[symbol] += 1;
            Tick {
                symbol_index: symbol as u32,
                ts_us: start + i as i64 * 300,
                price: Num { mantissa: price[symbol], scale: 2 },
                amount: Num { mantissa: 1 + (r >> 50) as i64, scale: 3 },
                first_id: id[symbol],
                last_id: id[symbol],
                agg_id: -1,
                count: 1,
                taker_buy: r & 1 == 0,
            }
        })
        .collect()
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
};

impl Bar {
    #[inline]
    fn add(&mut self, t: &Tick) {
        let (p, a) = (t.price.mantissa, i128::from(t.amount.mantissa));
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

fn flat_loop(trades: &[Tick]) -> u64 {
    let mut bars = vec![NO_BAR; SYMBOLS as usize * Interval::COUNT];
    for t in trades {
        for (i, interval) in Interval::ALL.into_iter().enumerate() {
            let bar = &mut bars[t.symbol_index as usize * Interval::COUNT + i];
            if t.ts_us.wrapping_sub(bar.open_us) as u64 >= interval.len_us() as u64 {
                *bar = Bar { open_us: interval.open_of(t.ts_us), ..NO_BAR };
            }
            bar.add(t);
        }
    }
    bars.iter().map(|b| b.count).sum()
}

fn hash_map(trades: &[Tick]) -> u64 {
    let mut bars: HashMap<(u32, usize, i64), Bar> = HashMap::new();
    for t in trades {
        for (i, interval) in Interval::ALL.into_iter().enumerate() {
            bars.entry((t.symbol_index, i, interval.open_of(t.ts_us))).or_insert(NO_BAR).add(t);
        }
    }
    bars.values().map(|b| b.count).sum()
}

fn shown() -> Shown {
    Shown { latest: Arc::new(LatestSlots::new()), whole: Arc::new(DoubleBufferedKlineStore::new()) }
}

/// As the service hands trades over, on this thread; a swap after every 30,000 trades (0.3 s at 100,000/s).
fn actors(trades: &[Tick]) -> u64 {
    let mut worker = Worker::new(shown());
    let mut batch = Vec::with_capacity(BATCH);
    let mut swapped = 0;
    for chunk in trades.chunks(BATCH) {
        batch.extend(chunk.iter().map(|t| Item::Tick(*t)));
        if let Some(mut empty) = worker.handle(Job::Batch(std::mem::take(&mut batch))) {
            empty.clear();
            batch = empty;
        }
        swapped += chunk.len();
        if swapped >= 30_000 {
            swapped = 0;
            worker.handle(Job::Swap);
        }
    }
    worker.totals().ticks
}

/// One message per trade to a task.
fn messages(trades: &[Tick]) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    Ok(runtime.block_on(async {
        let (send, mut receive) = tokio::sync::mpsc::channel::<Tick>(4096);
        let task = tokio::spawn(async move {
            let mut bars = vec![NO_BAR; SYMBOLS as usize * Interval::COUNT];
            while let Some(t) = receive.recv().await {
                for (i, interval) in Interval::ALL.into_iter().enumerate() {
                    let bar = &mut bars[t.symbol_index as usize * Interval::COUNT + i];
                    if t.ts_us.wrapping_sub(bar.open_us) as u64 >= interval.len_us() as u64 {
                        *bar = Bar { open_us: interval.open_of(t.ts_us), ..NO_BAR };
                    }
                    bar.add(&t);
                }
            }
            bars.iter().map(|b| b.count).sum::<u64>()
        });
        for t in trades {
            if send.send(*t).await.is_err() {
                break;
            }
        }
        drop(send);
        task.await.unwrap_or(0)
    }))
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs all rows.
pub(crate) fn run() -> anyhow::Result<()> {
    let trades = trades();
    println!("\nklines: {TRADES} trades, {SYMBOLS} symbols, {} intervals, ns per trade", Interval::COUNT);
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        for (row, times) in times.iter_mut().enumerate() {
            let start = Instant::now();
            let done = match row {
                0 => flat_loop(&trades),
                1 => actors(&trades),
                2 => hash_map(&trades),
                _ => messages(&trades)?,
            };
            times.push(start.elapsed().as_nanos() as f64 / TRADES as f64);
            std::hint::black_box(done);
        }
    }
    let [base, ours, map, message] = times.map(median);
    for (name, ns) in [
        ("flat array loop (baseline)", base),
        ("tapedeck actors, batches of 512, swaps", ours),
        ("hash map per bar", map),
        ("one message per trade to a tokio task", message),
    ] {
        println!("    {name:<44} {ns:>7.1}  ({:>5.1} M trades/s)  {:>5.2} x the loop", 1e3 / ns, ns / base);
    }
    let (mut worker, show) = {
        let show = shown();
        (Worker::new(show.clone()), show)
    };
    for chunk in trades.chunks(BATCH).take(2_000) {
        worker.handle(Job::Batch(chunk.iter().map(|t| Item::Tick(*t)).collect()));
    }
    worker.handle(Job::Swap);
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
