//! Cleaning the archive: a zip of aggregates to Parquet, rows per second of CPU time, bytes per row, peak memory.
//!
//! The file is made up but shaped like a month of a busy USD-M symbol: aggregates in bursts at one price, prices that
//! walk in ticks, amounts of which many are round, times in ms, ids that count up, trade ids in runs of one to a few.
//!
//! Ours runs in a process of its own, so that its peak memory is its own: from the zip (digest against `.CHECKSUM`,
//! inflate, CRC, parse, order, duplicates, Parquet with the lake's 15 columns, digest, record, stats) and from the
//! bare CSV, which is what DuckDB and Polars read (`py/clean_baseline.py`; seven columns of the CSV, typed). The digest
//! of the CSV is known beforehand, as the manifest knows that of a downloaded file: the others do not digest either,
//! and their modules are loaded before the clock starts. The best of the rounds counts for everybody.
//!
//! `--rows 50000000` is the claim about memory; `--shuffled` puts the rows out of order, so they must be sorted.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use history::clean::pack::Packer;
use history::clean::plan::{Digests, plan};
use history::clean::unit::{Settings, digest};
use history::clean::zip::ZipReader;
use history::clean::{CleanJob, run as clean};
use lake::{Lake, WriteSettings};
use ops::memory::Level;
use serde::{Deserialize, Serialize};

use crate::rng::SeededRng;

/// Where the archive would have the file.
const FOLDER: &str = "data.binance.vision/data/futures/um/monthly/aggTrades/BTCUSDT";
const NAME: &str = "BTCUSDT-aggTrades-2024-08";
/// 2024-08-01 00:00 UTC, ms.
const START_MS: f64 = 1_722_470_400_000.0;
const MONTH_MS: f64 = 31.0 * 86_400_000.0;
/// Rows whose places are exchanged by `--shuffled`.
const WINDOW: usize = 1_000;

/// Arguments of `history`.
#[derive(clap::Args)]
pub struct Args {
    /// Rows of the file.
    #[arg(long, default_value_t = 12_000_000)]
    rows: u64,
    /// Rows out of order.
    #[arg(long)]
    shuffled: bool,
    /// Runs of ours; the best counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only ours: DuckDB and Polars hold far more than they are given when the file is large.
    #[arg(long)]
    alone: bool,
    /// Python with duckdb, polars and pyarrow.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Folder for the files, with room for about 90 bytes a row; kept when it is given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Cleans what is in this folder and reports it (used by the benchmark itself).
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            rows: 12_000_000,
            shuffled: false,
            rounds: 3,
            alone: false,
            python: "python3".into(),
            dir: None,
            inside: None,
        }
    }
}

/// What one run of ours took.
#[derive(Serialize, Deserialize)]
struct Took {
    rows: u64,
    cpu_s: f64,
    wall_s: f64,
    bytes_out: u64,
    peak_kib: u64,
}

/// Runs the row.
pub fn run(args: &Args) -> Result<()> {
    if let Some(dir) = &args.inside {
        println!("{}", serde_json::to_string(&inside(dir)?)?);
        return Ok(());
    }
    let base = args
        .dir
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("tapedeck-bench-history-{}", std::process::id())));
    let result = measure(args, &base);
    if args.dir.is_none() {
        let _ = std::fs::remove_dir_all(&base);
    }
    result
}

fn measure(args: &Args, base: &Path) -> Result<()> {
    let (zipped, bare) = (base.join("zip"), base.join("csv"));
    let zip = zipped.join(FOLDER).join(format!("{NAME}.zip"));
    let csv = bare.join(FOLDER).join(format!("{NAME}.csv"));
    for file in [&zip, &csv] {
        std::fs::create_dir_all(file.parent().context("a folder")?)?;
    }
    let csv_bytes = generate(args, &zip, (!args.alone).then_some(csv.as_path()))?;
    let zip_bytes = std::fs::metadata(&zip)?.len();
    println!(
        "history: {} aggregates, CSV {:.1} B/row, zip {:.1} B/row{}",
        args.rows,
        csv_bytes as f64 / args.rows as f64,
        zip_bytes as f64 / args.rows as f64,
        if args.shuffled { ", out of order" } else { "" }
    );
    inflate(args, &zip, csv_bytes)?;
    let from_zip = best(args, &zipped, "zip -> Parquet")?;
    if args.alone {
        return Ok(());
    }
    let from_csv = best(args, &bare, "CSV -> Parquet")?;
    baseline(args, &csv, &from_zip, &from_csv)
}

/// Bytes of CSV per second out of the zip, checked; in blocks as the cleaner takes them.
fn inflate(args: &Args, zip: &Path, csv_bytes: u64) -> Result<()> {
    let mut block = vec![0; 256 * 1024];
    let mut best = f64::MAX;
    for _ in 0..args.rounds.max(1) {
        let (cpu, mut reader) = (crate::tail::cpu_seconds(), ZipReader::open(zip)?);
        while reader.read(&mut block)? > 0 {}
        best = best.min(crate::tail::cpu_seconds() - cpu);
    }
    println!("    inflate and CRC: {:.2} GB/s", csv_bytes as f64 / 1e9 / best);
    Ok(())
}

fn best(args: &Args, dir: &Path, what: &str) -> Result<Took> {
    let mut best: Option<Took> = None;
    for _ in 0..args.rounds.max(1) {
        let _ = std::fs::remove_dir_all(dir.join("lake"));
        let out = Command::new(std::env::current_exe()?).arg("history").arg("--inside").arg(dir).output()?;
        let text = String::from_utf8_lossy(&out.stdout);
        let line = text.lines().find(|l| l.starts_with('{')).with_context(|| {
            format!("no figures: {}", String::from_utf8_lossy(&out.stderr).lines().last().unwrap_or("no reason"))
        })?;
        let took: Took = serde_json::from_str(line)?;
        if best.as_ref().is_none_or(|b| took.cpu_s < b.cpu_s) {
            best = Some(took);
        }
    }
    let took = best.context("no round")?;
    anyhow::ensure!(took.rows == args.rows, "{} rows came out", took.rows);
    println!(
        "    ours, {what}: {:.2} M rows/s/core (wall {:.1} s), {:.2} B/row, peak {:.0} MiB",
        took.rows as f64 / took.cpu_s / 1e6,
        took.wall_s,
        took.bytes_out as f64 / took.rows as f64,
        took.peak_kib as f64 / 1024.0
    );
    Ok(took)
}

/// Cleans the mirror in `dir` with one worker.
fn inside(dir: &Path) -> Result<Took> {
    let level = || Level::Normal;
    let settings = Settings {
        lake: Lake::open(&dir.join("lake")),
        write: WriteSettings::default(),
        by_day: false,
        chunk_rows: 50_000,
        stream_rows: [5_000_000, 2_000_000, 1_000_000],
        workers: 1,
        level: &level,
        force: true,
        forget_gone: false,
    };
    let mut plan = plan(dir, &Default::default(), &Digests::new())?;
    if plan.units.is_empty() {
        plan.bare_csv(dir)?;
        for file in plan.units.values_mut().flatten() {
            file.sha256 = Some(digest(&file.file)?);
        }
    }
    let (cpu, wall) = (crate::tail::cpu_seconds(), Instant::now());
    let summary = clean(&CleanJob { settings, plan, on_month: &|_| {} })?;
    anyhow::ensure!(summary.failed.is_empty() && summary.refused.is_empty(), "{summary:?}");
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let peak_kib = peak.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0);
    Ok(Took {
        rows: summary.rows,
        cpu_s: crate::tail::cpu_seconds() - cpu,
        wall_s: wall.elapsed().as_secs_f64(),
        bytes_out: summary.bytes_out,
        peak_kib,
    })
}

/// DuckDB and Polars on the same CSV, in this run.
fn baseline(args: &Args, csv: &Path, from_zip: &Took, from_csv: &Took) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("py/clean_baseline.py");
    let out = Command::new(&args.python).arg(script).arg(csv).arg(args.rounds.to_string()).output();
    let out = match out {
        Ok(out) if out.status.success() => out,
        Ok(out) => {
            let text = String::from_utf8_lossy(&out.stderr).into_owned();
            println!("    DuckDB, Polars: not run: {}", text.lines().last().unwrap_or("no reason"));
            return Ok(());
        }
        Err(why) => {
            println!("    DuckDB, Polars: not run: {}: {why}", args.python.display());
            return Ok(());
        }
    };
    let speed = |t: &Took| t.rows as f64 / t.cpu_s;
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let report: serde_json::Value = serde_json::from_str(line)?;
        let figure = |name: &str| report[name].as_f64().unwrap_or(0.0);
        let theirs = args.rows as f64 / figure("cpu_s");
        println!(
            "    {}: {:.2} M rows/s/core from the CSV, {:.2} B/row, peak {:.0} MiB; ours is {:.2} x from the CSV, {:.2} x \
             from the zip",
            report["tool"].as_str().unwrap_or("?"),
            theirs / 1e6,
            figure("bytes_per_row"),
            figure("peak_mib"),
            speed(from_csv) / theirs,
            speed(from_zip) / theirs
        );
    }
    Ok(())
}

/// Writes the zip with its checksum, and the bare CSV where one is wanted; returns the bytes of the CSV.
fn generate(args: &Args, zip: &Path, csv: Option<&Path>) -> Result<u64> {
    let mut packer = Packer::new(BufWriter::new(File::create(zip)?), &format!("{NAME}.csv"))?;
    let mut bare = csv.map(File::create).transpose()?.map(BufWriter::new);
    let mut rng = SeededRng(8);
    let (mut ticks, mut trade_id, mut at_ms) = (640_000_i64, 5_200_000_000_u64, START_MS);
    let mut burst = 0;
    let mut sell = false;
    let mut bytes = 0;
    let pause = MONTH_MS * 0.95 / args.rows as f64;
    let mut lines: Vec<String> = Vec::with_capacity(WINDOW);
    let mut write = |lines: &mut Vec<String>| -> Result<()> {
        let text = lines.concat();
        bytes += text.len() as u64;
        packer.write_all(text.as_bytes())?;
        if let Some(bare) = &mut bare {
            bare.write_all(text.as_bytes())?;
        }
        lines.clear();
        Ok(())
    };
    let header = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n";
    write(&mut vec![header.to_owned()])?;
    for i in 0..args.rows {
        if burst == 0 {
            // One taker order moves through several prices; two aggregates on average.
            burst = 1 + rng.exp(1.5) as u64;
            at_ms += rng.exp(pause * 2.0);
            sell = rng.below(2) == 0;
            ticks += rng.below(5) as i64 - 2;
        } else {
            ticks += if sell { -1 } else { 1 };
        }
        burst -= 1;
        let amount = match rng.below(9) {
            0..=2 => 1 + rng.below(5),
            3..=5 => 2 + rng.exp(20.0) as u64,
            _ => 1 + rng.exp(300.0) as u64,
        };
        let last = trade_id + rng.exp(0.9) as u64;
        lines.push(format!(
            "{},{}.{},{}.{:03},{trade_id},{last},{},{sell}\n",
            2_300_000_000 + i,
            ticks / 10,
            ticks % 10,
            amount / 1_000,
            amount % 1_000,
            at_ms as i64
        ));
        trade_id = last + 1;
        if lines.len() == WINDOW {
            if args.shuffled {
                for k in (1..WINDOW).rev() {
                    lines.swap(k, rng.below(k as u64 + 1) as usize);
                }
            }
            write(&mut lines)?;
        }
    }
    write(&mut lines)?;
    if let Some(mut bare) = bare {
        bare.flush()?;
    }
    packer.finish()?;
    let checksum = format!("{}  {NAME}.zip\n", digest(zip)?);
    std::fs::write(zip.with_file_name(format!("{NAME}.zip.CHECKSUM")), checksum)?;
    Ok(bytes)
}
