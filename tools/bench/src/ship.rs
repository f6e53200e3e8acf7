//! The shipper: ns of CPU per frame from a log of recorded frames to chunks in a directory: read, check, pack, put, acknowledge.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ops::shutdown::Shutdown;
use ship::{LogShipper, LogStats};

use crate::endtoend::record;
use crate::tail::cpu_seconds;

const ROUNDS: usize = 15;

/// Runs all rows.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = std::env::current_dir()?.join("target/bench-ship");
    println!(
        "\nlog of recorded frames -> chunks of 4 MiB in a directory (read, CRC, zstd, put, fsync, ack), best of {ROUNDS}"
    );
    for (venue, recordings) in [
        ("binance-spot", ["binance-spot/hft-btcusdt_20240808.zst", "binance-spot/hft-btcusdt_20240809.zst"]),
        ("binance-usdm", ["binance-usdm/hft-btcusdt_20240808.zst", "binance-usdm/hft-ethusdt_20240808.zst"]),
    ] {
        for level in [1, 3] {
            let (mut best, mut line) = (f64::MAX, String::new());
            for _ in 0..ROUNDS {
                let _ = std::fs::remove_dir_all(&root);
                let dir = root.join("wal");
                let frames = record(&dir, &recordings)? as f64;
                let shipper = LogShipper {
                    venue: venue.to_owned(),
                    dir,
                    store: Arc::new(lake::LocalStore::new(root.join("store"))),
                    chunk_ns: 3_600_000_000_000,
                    chunk_bytes: 4 << 20,
                    level,
                    only: None,
                    stats: Arc::new(LogStats::default()),
                    shutdown: Shutdown::new(),
                };
                let (cpu, start) = (cpu_seconds(), Instant::now());
                // It stops at the end of the log; the last chunk is put then.
                std::thread::scope(|scope| {
                    let shipping = scope.spawn(|| shipper.run());
                    std::thread::sleep(Duration::from_millis(20));
                    shipper.shutdown.trigger();
                    shipping.join().map_err(|_| anyhow::anyhow!("the shipper panicked"))?.map_err(anyhow::Error::from)
                })?;
                let (cpu, wall) = (cpu_seconds() - cpu, start.elapsed().as_secs_f64());
                if cpu < best {
                    best = cpu;
                    let bytes = shipper.stats.bytes() as f64;
                    line = format!(
                        "    {venue:<14} level {level}: {:.0} ns per frame, {:.1} times smaller ({frames} frames, {} chunks, wall {wall:.2} s)",
                        cpu * 1e9 / frames.max(1.0),
                        bytes / (shipper.stats.packed_bytes() as f64).max(1.0),
                        shipper.stats.chunks()
                    );
                }
            }
            println!("{line}");
        }
    }
    let _ = std::fs::remove_dir_all(&root);
    Ok(())
}
