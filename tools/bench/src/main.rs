//! Measures Tapedeck against named baselines in one run, and prints ratios. Run by hand:
//! `cargo run --release -p tapedeck-bench -- <what>`. Nothing here asserts a time.
#![forbid(unsafe_code)]

mod append;
mod brokers;
mod compact;
mod decode;
mod endtoend;
mod history;
mod klines;
mod klines_live;
mod peers;
#[cfg(feature = "rivals")]
mod rivals;
mod rng;
mod serve;
mod ship;
mod synth;
mod tail;

use clap::{Parser, Subcommand};

/// Benchmarks of Tapedeck; ratios from one run on this machine.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Append: ns per record, MB/s and latency percentiles by policy and size, against a bare loop and buffered files.
    Append(append::Args),
    /// Tail latency across processes, against 50 us polling, Redis streams and NATS JetStream.
    Tail(tail::Args),
    /// Decode: ns per frame by message type, against sonic-rs, serde_json and a hand-written scan.
    Decode,
    /// Compact: typed rows to Parquet, rows per second and core and bytes per row.
    Compact,
    /// The compactor's whole way: a log of recorded frames to published Parquet.
    Endtoend,
    /// The shipper: ns of CPU per frame from a log of recorded frames to chunks in a directory.
    Ship,
    /// Cleaning the archive: a zip of aggregates to Parquet, against DuckDB and Polars on the same CSV; peak memory.
    History(history::Args),
    /// Candles: ns per trade through the actors, against a flat array loop, a hash map and one message per trade.
    Klines(klines::Args),
    /// Candles of a log that another process writes: backlog and CPU at 100,000 trades/s, append -> visible at 20,000/s.
    KlinesLive(klines_live::Args),
    /// Pushes to 1,000 WebSocket clients: delay after the swap, with and without clients that never read.
    Serve(serve::Args),
    /// Writes generated trades into a log (used by the benchmarks themselves).
    #[command(hide = true)]
    Synth(synth::Args),
    /// Everything, one after the other.
    All,
}

fn main() -> anyhow::Result<()> {
    let what = Cli::parse().what;
    hardware();
    match what {
        What::Append(args) => append::run(&args),
        What::Tail(args) => tail::run(&args),
        What::Decode => decode::run(),
        What::Compact => compact::run(),
        What::Endtoend => endtoend::run(),
        What::Ship => ship::run(),
        What::History(args) => history::run(&args),
        What::Klines(args) => klines::run(&args),
        What::KlinesLive(args) => klines_live::run(&args),
        What::Serve(args) => serve::run(&args),
        What::Synth(args) => synth::write(&args),
        What::All => {
            append::run(&append::Args::default())?;
            tail::run(&tail::Args::default())?;
            decode::run()?;
            compact::run()?;
            endtoend::run()?;
            ship::run()?;
            history::run(&history::Args::default())?;
            klines::run(&klines::Args::default())?;
            klines_live::run(&klines_live::Args::default())?;
            serve::run(&serve::Args::default())
        }
    }
}

/// What the numbers were taken on, so that two printed runs can be compared.
fn hardware() {
    let read = |p: &str| std::fs::read_to_string(p).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|l| l.strip_prefix("model name")).map_or("?", |l| l.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    println!("cpu: {model}, {cores} cores, Linux {}", kernel.trim());
}
