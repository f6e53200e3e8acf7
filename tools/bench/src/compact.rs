//! Typed rows to Parquet: rows per second of CPU time and bytes per row.
//!
//! The rows are made up but shaped like recorded ones: 400 symbols of very different activity, trades in bursts of
//! one taker order, event times in ms, receive times with ns noise, ids that count up, prices that walk in ticks,
//! amounts of which many are round. Row groups of 131,072 rows, zstd 3, one thread.
//!
//! Rows printed per table: pushing into the buffer, encoding (sort, pages, zstd, file), both together, joining
//! staged pieces, and the parquet crate's own writer on the same sorted rows, with its defaults and with the
//! encodings it can do. CPU time is this thread's, so a busy machine disturbs less.
//!
//! `TAPEDECK_BENCH_NDJSON=<path>` also writes the trades as NDJSON for `py/compact_baseline.py`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use lake::read::TableFile;
use lake::{Common, Numeric, PieceFile, RowsChunk, Table, TableBuffer, WriteSettings, join_pieces, write_piece};
use model::row::{BookTicker, DepthUpdate, Level, Side, Trade};
use model::{Interner, Num, SymbolId};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::rng::SeededRng;

const SYMBOLS: usize = 400;
const GROUPS: usize = 8;
const ROUNDS: usize = 5;

/// One symbol's state.
struct Market {
    symbol: SymbolId,
    /// Price in ticks.
    ticks: i64,
    scale: u8,
    amount_scale: u8,
    id: i64,
    update: i64,
    /// Amounts at the best prices.
    best: [Num; 2],
    conn: i32,
}

/// Rows in log order, as a decoder gives them.
enum Row {
    Trade(Trade),
    Book(BookTicker),
    Depth(DepthUpdate, Vec<Level>),
}

struct Tape {
    rng: SeededRng,
    names: Interner,
    markets: Vec<Market>,
    /// Cumulative activity, for picking a symbol.
    weights: Vec<f64>,
    now_ns: i64,
    seq: i64,
}

impl Tape {
    fn new() -> Self {
        let mut rng = SeededRng(1);
        let mut names = Interner::new();
        let mut markets = Vec::new();
        let mut weights = Vec::new();
        let mut sum = 0.0;
        for i in 0..SYMBOLS {
            let symbol = names.intern(&format!("SYM{:03}USDT", (i * 149) % SYMBOLS));
            let scale = 1 + rng.below(5) as u8;
            markets.push(Market {
                symbol,
                ticks: 1_000 + rng.below(900_000) as i64,
                scale,
                amount_scale: rng.below(4) as u8,
                id: rng.below(5_000_000_000) as i64,
                update: rng.below(5_000_000_000_000) as i64,
                best: [Num::default(); 2],
                conn: 1 + (i / 134) as i32,
            });
            // The busiest symbol trades about 60 times as often as the quietest.
            sum += 1.0 / (i as f64 + 1.0).powf(0.7);
            weights.push(sum);
        }
        Self { rng, names, markets, weights, now_ns: 1_723_161_255_000_000_000, seq: 1 << 40 }
    }

    fn market(&mut self) -> usize {
        let at = self.rng.unit() * self.weights.last().copied().unwrap_or(1.0);
        self.weights.partition_point(|w| *w < at).min(self.markets.len() - 1)
    }

    /// Amounts as recorded: a third is the usual lot, a third small multiples of it, the rest anything.
    fn amount(&mut self, scale: u8) -> Num {
        let unit = 10_i64.pow(u32::from(scale));
        let mantissa = match self.rng.below(9) {
            0..=2 => unit,
            3..=5 => unit * (1 + self.rng.exp(5.0) as i64),
            _ => (unit as f64 * self.rng.exp(40.0)) as i64 + 1,
        };
        Num { mantissa: mantissa.into(), scale }
    }

    /// A frame of some market after `gap_ns` on average; other frames of the log take seqs in between.
    fn frame(&mut self, gap_ns: f64, others: u64) -> (usize, Common, i64) {
        self.now_ns += self.rng.exp(gap_ns) as i64 + 700;
        self.seq += 1 + self.rng.below(others) as i64;
        let m = self.market();
        let common = Common { ts_recv_ns: self.now_ns, seq: self.seq, conn: self.markets[m].conn, flags: 0 };
        // 2 ms and a little on the way; event times are whole ms.
        let latency = 2_000_000 + self.rng.exp(700_000.0) as i64;
        (m, common, (self.now_ns - latency) / 1_000_000 * 1_000)
    }

    fn trades(&mut self, n: usize) -> Vec<(Common, Row)> {
        let mut rows = Vec::with_capacity(n);
        while rows.len() < n {
            let (m, mut common, event_us) = self.frame(1_400_000.0, 9);
            let buy = self.rng.below(2) == 0;
            let step = self.rng.below(5) as i64 - 2;
            self.markets[m].ticks = (self.markets[m].ticks + step).max(100);
            // One taker order gives one or several trades. Recorded BTCUSDT and ETHUSDT: 3 to 4 on average, half of
            // all trades in orders that gave more than 10; the price repeats from trade to trade in 6 of 10.
            let burst = match self.rng.below(10) {
                0..=6 => 1 + self.rng.below(2) as usize,
                _ => 1 + self.rng.exp(9.0) as usize,
            };
            let trade_us = event_us - 1_000 * self.rng.below(2) as i64;
            for k in 0..burst.min(n - rows.len()) {
                let amount = self.amount(self.markets[m].amount_scale);
                if k > 0 {
                    self.seq += 1 + i64::from(self.rng.below(4) == 0);
                    self.now_ns += 300 + self.rng.below(3_000) as i64;
                    common.seq = self.seq;
                    common.ts_recv_ns = self.now_ns;
                }
                let market = &mut self.markets[m];
                market.id += 1;
                if self.rng.below(4) == 0 {
                    market.ticks += if buy { 1 } else { -1 };
                }
                let row = Trade {
                    symbol: market.symbol,
                    ts_event_us: Some(event_us),
                    ts_trade_us: Some(trade_us),
                    id: Some(market.id),
                    id_str: None,
                    price: Num { mantissa: market.ticks.into(), scale: market.scale },
                    amount,
                    side: if buy { Side::Buy } else { Side::Sell },
                    kind: None,
                };
                rows.push((common, Row::Trade(row)));
            }
        }
        rows
    }

    fn book_tickers(&mut self, n: usize) -> Vec<(Common, Row)> {
        (0..n)
            .map(|_| {
                let (m, common, event_us) = self.frame(120_000.0, 3);
                let side = self.rng.below(2) as usize;
                let amount = self.amount(self.markets[m].amount_scale);
                let moved = self.rng.below(6) == 0;
                let market = &mut self.markets[m];
                market.best[side] = amount;
                market.update += 1 + self.rng.below(900) as i64;
                if moved {
                    market.ticks = (market.ticks + self.rng.below(3) as i64 - 1).max(100);
                }
                let price = |ticks: i64| Some(Num { mantissa: ticks.into(), scale: market.scale });
                let row = BookTicker {
                    symbol: market.symbol,
                    ts_event_us: Some(event_us),
                    update_id: Some(market.update),
                    bid_price: price(market.ticks),
                    bid_amount: Some(market.best[0]),
                    ask_price: price(market.ticks + 1),
                    ask_amount: Some(market.best[1]),
                };
                (common, Row::Book(row))
            })
            .collect()
    }

    fn depth(&mut self, n: usize) -> Vec<(Common, Row)> {
        let mut rows = Vec::new();
        let mut levels_made = 0;
        while levels_made < n {
            let (m, common, event_us) = self.frame(250_000.0, 4);
            let count = (1 + self.rng.exp(11.0) as usize).min(n - levels_made);
            let mut levels = Vec::with_capacity(count);
            let bids = self.rng.below(count as u64 + 1) as usize;
            let mut away = 0;
            for i in 0..count {
                if i == bids {
                    away = 0;
                }
                away += 1 + self.rng.exp(4.0) as i64;
                let amount =
                    if self.rng.below(4) == 0 { Num::default() } else { self.amount(self.markets[m].amount_scale) };
                let market = &self.markets[m];
                let bid = i < bids;
                levels.push(Level {
                    bid,
                    level: if bid { i } else { i - bids } as i32,
                    price: Num {
                        mantissa: (market.ticks + if bid { -away } else { away }).max(1).into(),
                        scale: market.scale,
                    },
                    amount,
                });
            }
            levels_made += count;
            let market = &mut self.markets[m];
            let before = market.update;
            market.update += 1 + self.rng.below(5_000) as i64;
            let row = DepthUpdate {
                symbol: market.symbol,
                ts_event_us: Some(event_us),
                first_update_id: Some(before + 1),
                final_update_id: Some(market.update),
                prev_update_id: Some(before),
                is_snapshot: false,
                first_level: 0,
                level_count: count as u32,
            };
            rows.push((common, Row::Depth(row, levels)));
        }
        rows
    }
}

/// Pushes all rows; a full row group goes to `full`, which gives its memory back.
fn push(
    buffer: &mut TableBuffer,
    rows: &[(Common, Row)],
    names: &Interner,
    group: usize,
    mut full: impl FnMut(RowsChunk) -> Option<RowsChunk>,
) {
    for (common, row) in rows {
        while buffer.len() >= group {
            if let Some(used) = full(buffer.take_first(group, names)) {
                buffer.recycle(used);
            }
        }
        match row {
            Row::Trade(r) => buffer.push(common, 0, r),
            Row::Book(r) => buffer.push(common, 0, r),
            Row::Depth(r, levels) => {
                buffer.push_depth(common, 0, r, levels);
            }
        }
    }
    while !buffer.is_empty() {
        if let Some(used) = full(buffer.take_first(group, names)) {
            buffer.recycle(used);
        }
    }
}

/// CPU time of this thread, ns; the wall clock where the kernel does not report it.
fn cpu_ns(since: &Instant) -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|t| t.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| since.elapsed().as_nanos() as f64)
}

/// Best of [`ROUNDS`], in ns per row.
fn best(rows: usize, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let before = cpu_ns(&start);
        run()?;
        best = best.min(cpu_ns(&start) - before);
    }
    Ok(best / rows as f64)
}

fn show(what: &str, ns_per_row: f64, bytes_per_row: Option<f64>) {
    let bytes = bytes_per_row.map_or(String::new(), |b| format!("{b:8.2} B/row"));
    println!("  {what:<44}{ns_per_row:8.1} ns/row {:7.2} M rows/s/core {bytes}", 1e3 / ns_per_row);
}

/// The parquet crate's writer on the rows of a piece, read back as arrow batches.
fn crate_writer(piece: &Path, dir: &Path, tuned: bool) -> Result<(f64, f64)> {
    let file = TableFile::open(piece)?;
    let batches: Vec<_> = file.batches(0)?.collect::<Result<_, _>>()?;
    let schema = file.table().schema(file.numeric(), file.version());
    let rows: usize = batches.iter().map(|b| b.num_rows()).sum();
    let mut p = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_data_page_row_count_limit(8_192);
    if tuned {
        for f in schema.fields() {
            let encoding = match f.data_type() {
                t if t.is_integer() || t.is_temporal() => Encoding::DELTA_BINARY_PACKED,
                t if t.is_floating() => Encoding::PLAIN,
                _ => continue,
            };
            p = p
                .set_column_dictionary_enabled(f.name().as_str().into(), false)
                .set_column_encoding(f.name().as_str().into(), encoding);
        }
    }
    let p = p.build();
    let path = dir.join("crate.parquet");
    let ns = best(rows, || {
        let mut w = ArrowWriter::try_new(File::create(&path)?, Arc::clone(&schema), Some(p.clone()))?;
        for b in &batches {
            w.write(b)?;
        }
        w.close()?;
        Ok(())
    })?;
    Ok((ns, std::fs::metadata(&path)?.len() as f64 / rows as f64))
}

fn measure(table: Table, numeric: Numeric, rows: &[(Common, Row)], names: &Interner, dir: &Path) -> Result<()> {
    let settings = WriteSettings { numeric, ..WriteSettings::default() };
    let group = settings.group_rows(table);
    println!("{table}, {numeric}, zstd {}", settings.zstd_level);
    let mut buffer = TableBuffer::new(table, &settings);
    let mut chunks = Vec::new();
    push(&mut buffer, rows, names, group, |c| {
        chunks.push(c);
        None
    });
    let total = chunks.iter().map(RowsChunk::rows).sum();
    let pushed = best(total, || {
        push(&mut buffer, rows, names, group, Some);
        Ok(())
    })?;
    show("push into the buffer", pushed, None);
    let piece = |i: usize| dir.join(format!("{i}.parquet"));
    let encoded = best(total, || {
        for (i, c) in chunks.iter().enumerate() {
            write_piece(&piece(i), c, &settings, &[])?;
        }
        Ok(())
    })?;
    let crc = |path: &Path| -> anyhow::Result<u32> { Ok(crc32fast::hash(&std::fs::read(path)?)) };
    let pieces: Vec<_> = (0..chunks.len())
        .map(piece)
        .map(|path| Ok(PieceFile { crc32: Some(crc(&path)?), path }))
        .collect::<anyhow::Result<_>>()?;
    let joined = dir.join("joined.parquet");
    let info = join_pieces(&joined, table, &pieces, None, &settings, &[])?;
    let size = info.bytes as f64 / info.rows as f64;
    show("encode to a file", encoded, None);
    show("both", pushed + encoded, Some(size));
    let join = best(total, || {
        join_pieces(&joined, table, &pieces, None, &settings, &[])?;
        Ok(())
    })?;
    show("join staged pieces (copied, digested)", join, None);
    for (what, tuned) in [("parquet crate, defaults", false), ("parquet crate, delta and plain", true)] {
        let (ns, bytes) = crate_writer(&piece(0), dir, tuned)?;
        show(what, ns, Some(bytes));
    }
    Ok(())
}

/// Trades as lines of JSON, flat: DuckDB's structs take the frame's `t` and `T` for one field.
fn write_ndjson(path: &Path, rows: &[(Common, Row)], names: &Interner) -> Result<()> {
    let mut out = BufWriter::new(File::create(path).with_context(|| path.display().to_string())?);
    for (c, row) in rows {
        let Row::Trade(r) = row else { continue };
        writeln!(
            out,
            r#"{{"ts_recv_ns":{},"seq":{},"conn":{},"e":"trade","event_ms":{},"s":"{}","id":{},"p":"{}","q":"{}","trade_ms":{},"m":{}}}"#,
            c.ts_recv_ns,
            c.seq,
            c.conn,
            r.ts_event_us.unwrap_or_default() / 1_000,
            names.name(r.symbol),
            r.id.unwrap_or_default(),
            r.price,
            r.amount,
            r.ts_trade_us.unwrap_or_default() / 1_000,
            r.side == Side::Sell
        )?;
    }
    out.flush()?;
    Ok(())
}

/// Runs and prints every row of this benchmark.
///
/// # Errors
/// When a file cannot be written.
pub fn run() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("tapedeck-bench-compact-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let done = run_in(&dir);
    std::fs::remove_dir_all(&dir)?;
    done
}

fn run_in(dir: &Path) -> Result<()> {
    let rows = GROUPS * WriteSettings::default().row_group_rows;
    println!("{rows} rows of {SYMBOLS} symbols, best of {ROUNDS}, CPU time of one thread");
    let mut tape = Tape::new();
    let trades = tape.trades(rows);
    if let Some(path) = std::env::var_os("TAPEDECK_BENCH_NDJSON") {
        write_ndjson(Path::new(&path), &trades, &tape.names)?;
    }
    for numeric in [Numeric::Double, Numeric::Decimal] {
        measure(Table::Trades, numeric, &trades, &tape.names, dir)?;
    }
    drop(trades);
    let books = tape.book_tickers(rows);
    measure(Table::BookTicker, Numeric::Double, &books, &tape.names, dir)?;
    drop(books);
    let depth = tape.depth(rows);
    measure(Table::Depth, Numeric::Double, &depth, &tape.names, dir)
}
