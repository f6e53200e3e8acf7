//! The whole way of the compactor: a log of recorded frames into published Parquet, by `compact::run` in drain mode.
//!
//! CPU time of the process, so that the work of both cores counts; the comparison with DuckDB, Polars and pyarrow on
//! equal rows is `tools/bench/py/compact_baseline.py`.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use config::Config;
use fold::Mode;
use ops::compactor::CompactorStatus;
use ops::shutdown::Shutdown;
use wal_format::{Append, Kind, LogWriter, SyncPolicy};

use crate::append::{clock, options};
use crate::tail::cpu_seconds;

const ROUNDS: usize = 15;

/// Appends every frame of the recordings once: what repeats would be other work than the market gives.
pub(crate) fn record(dir: &Path, recordings: &[&str]) -> anyhow::Result<u64> {
    let mut log = LogWriter::open(dir, options(SyncPolicy::Never))?;
    let base = clock().wall_ns;
    let mut frames = 0;
    for name in recordings {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name);
        let file = std::fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let text = zstd::decode_all(file).with_context(|| format!("unpack {}", path.display()))?;
        for line in text.split(|b| *b == b'\n') {
            let Some(payload) = line.splitn(2, |b| *b == b' ').nth(1) else { continue };
            if payload.starts_with(b"{\"stream\"") {
                let ts_recv_ns = base + frames;
                log.append(&Append { ts_recv_ns, conn: 1, kind: Kind::Data, flags: 0, payload })?;
                frames += 1;
            }
        }
    }
    log.close()?;
    Ok(frames)
}

fn drain(config: &Arc<compact::Config>) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = Arc::new(CompactorStatus::default());
    let lake = lake::Lake::open(&config.lake.dir);
    runtime.block_on(compact::run(config.clone(), lake, Mode::Drain, Shutdown::new(), status.clone()))?;
    let snapshot = serde_json::to_value(status.snapshot())?;
    let venues = snapshot.get("venues").and_then(|v| v.as_object()).context("status without venues")?;
    Ok(venues.values().filter_map(|v| v.get("rows_total")?.as_u64()).sum())
}

/// Runs all rows.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = std::env::current_dir()?.join("target/bench-endtoend");
    println!(
        "\nlog of recorded frames -> published Parquet (read, CRC, decode, gap check, SHA-256, sort, zstd 3, fsync), best of {ROUNDS}"
    );
    for (venue, recordings) in [
        ("binance-spot", ["binance-spot/hft-btcusdt_20240808.zst", "binance-spot/hft-btcusdt_20240809.zst"]),
        ("binance-usdm", ["binance-usdm/hft-btcusdt_20240808.zst", "binance-usdm/hft-ethusdt_20240808.zst"]),
    ] {
        let mut best = f64::MAX;
        let mut line = String::new();
        for _ in 0..ROUNDS {
            let _ = std::fs::remove_dir_all(&root);
            let frames = record(&root.join("wal").join(venue), &recordings)?;
            let config = Config::from_toml(&format!(
                "[data]\ndir = {:?}\n[venues.{venue}]\nsymbols = [\"*\"]\nchannels = [\"trades\"]\n",
                root.display().to_string()
            ))?
            .for_compactor();
            let (cpu, start) = (cpu_seconds(), Instant::now());
            let rows = drain(&config)?;
            let (cpu, wall) = (cpu_seconds() - cpu, start.elapsed().as_secs_f64());
            if cpu < best {
                best = cpu;
                line = format!(
                    "    {venue:<14} {frames} frames, {rows} rows: {:.2} M rows/s/core, {:.2} M frames/s/core (CPU {cpu:.2} s, wall {wall:.2} s)",
                    rows as f64 / cpu / 1e6,
                    frames as f64 / cpu / 1e6
                );
            }
        }
        println!("{line}");
    }
    std::fs::remove_dir_all(&root)?;
    Ok(())
}
