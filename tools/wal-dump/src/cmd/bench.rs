//! `wal-dump bench`: how fast this machine reads, verifies and compresses this log. Writes nothing.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context;
use wal_format::archive::estimate;
use wal_format::verify::{verify_dirs, verify_file};
use wal_format::{Step, list_segments};

use super::{PlaceArgs, Target};
use crate::Exit;
use crate::print;

/// Arguments of `bench`.
#[derive(clap::Args)]
pub struct BenchArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Stop each measurement after about this many seconds.
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    seconds: u64,
    /// zstd levels to try on the sealed segments; may be given several times.
    #[arg(long, value_name = "LEVEL", default_values_t = [1, 3, 6])]
    level: Vec<i32>,
    /// One JSON object per line instead of text.
    #[arg(long)]
    json: bool,
}

/// One measurement.
struct Row {
    what: String,
    bytes: u64,
    records: u64,
    took: Duration,
    ratio: Option<f64>,
}

/// Reads, verifies, compresses in memory; a line each.
pub fn run(args: &BenchArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    let target = args.place.target()?;
    let most = Duration::from_secs(args.seconds.max(1));
    let mut rows = vec![read(&target, most)?, verify(&target)?];
    for level in &args.level {
        rows.extend(compress(&target, *level, most)?);
    }
    for row in rows {
        let seconds = row.took.as_secs_f64().max(1e-9);
        let (bytes_s, records_s) = (row.bytes as f64 / seconds, row.records as f64 / seconds);
        if args.json {
            let line = serde_json::json!({
                "what": row.what, "bytes": row.bytes, "records": row.records, "seconds": seconds,
                "bytes_per_s": bytes_s, "records_per_s": records_s, "ratio": row.ratio,
            });
            serde_json::to_writer(&mut *out, &line)?;
            writeln!(out)?;
            continue;
        }
        let ratio = row.ratio.map_or_else(String::new, |ratio| format!("  {ratio:.2} times smaller"));
        let records = if row.records > 0 { format!("  {records_s:>12.0} records/s") } else { String::new() };
        let rate = print::size(bytes_s as u64);
        writeln!(
            out,
            "{:<16} {:>10} in {seconds:>7.3} s  {rate:>11}/s{records}{ratio}",
            row.what,
            print::size(row.bytes)
        )?;
    }
    Ok(Exit::Clean)
}

fn read(target: &Target, most: Duration) -> anyhow::Result<Row> {
    let mut reader = target.reader(None)?;
    let (mut bytes, mut records) = (0, 0);
    let began = Instant::now();
    loop {
        match reader.next().context("read the log")? {
            Step::Record(record) => {
                records += 1;
                bytes += record.payload.len() as u64 + 32;
                if records % 4096 == 0 && began.elapsed() > most {
                    break;
                }
            }
            Step::Lost(_) => {}
            Step::Tail => break,
            Step::AwaitRepair { .. } => reader.skip_damaged(),
        }
    }
    Ok(Row { what: "read".into(), bytes, records, took: began.elapsed(), ratio: None })
}

fn verify(target: &Target) -> anyhow::Result<Row> {
    let (mut bytes, mut records) = (0, 0);
    let began = Instant::now();
    let mut each = |report: wal_format::verify::SegmentReport| {
        bytes += report.end_offset;
        records += report.records;
    };
    match target {
        Target::Log(dirs) => {
            verify_dirs(dirs, true, each).context("verify")?;
        }
        Target::File(file) => each(verify_file(file, true).context("verify")?),
    }
    Ok(Row { what: "verify --deep".into(), bytes, records, took: began.elapsed(), ratio: None })
}

fn compress(target: &Target, level: i32, most: Duration) -> anyhow::Result<Option<Row>> {
    let segments: Vec<_> = match target {
        Target::Log(dirs) => list_segments(dirs.dir()).context("list the log")?,
        Target::File(_) => return Ok(None),
    };
    let began = Instant::now();
    let (mut bytes, mut packed) = (0, 0);
    for segment in segments.iter().filter(|s| s.sealed) {
        let (plain, small) = estimate(&segment.path, level).context("compress")?;
        bytes += plain;
        packed += small;
        if began.elapsed() > most {
            break;
        }
    }
    if packed == 0 {
        return Ok(None);
    }
    let ratio = Some(bytes as f64 / packed as f64);
    Ok(Some(Row { what: format!("zstd {level}"), bytes, records: 0, took: began.elapsed(), ratio }))
}
