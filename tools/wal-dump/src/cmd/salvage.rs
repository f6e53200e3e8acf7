//! `wal-dump salvage`: what can still be read of a damaged log, reported, or with `--out` written as a whole log.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use wal_format::salvage::{Salvaged, salvage_file, salvage_log};
use wal_format::{LogReader, LostReason, Position, ReaderOptions, Step};

use super::{PlaceArgs, Target, exit_of_log};
use crate::Exit;

/// Arguments of `salvage`.
#[derive(clap::Args)]
pub struct SalvageArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Write a new log to this directory, which must be empty or absent. Without it nothing is written.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What a log gives and what it lacks.
#[derive(Default)]
struct Count {
    records: u64,
    lost_ranges: u64,
    worst: Option<Exit>,
    lost: u64,
    /// The end of a lost range is not known.
    inexact: bool,
}

/// Reports or writes. The exit code is that of what was or would be salvaged.
pub fn run(args: &SalvageArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    let target = args.place.target()?;
    let Some(dir) = &args.out else {
        let count = count(target.reader(None)?)?;
        if args.json {
            serde_json::to_writer(&mut *out, &json(&count, &[], None))?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}; nothing was written, --out DIR writes it as a log", sentence(&count))?;
        }
        return Ok(exit(&count));
    };
    let done = match &target {
        Target::Log(dirs) => salvage_log(dirs, dir),
        Target::File(file) => salvage_file(file, dir),
    };
    let (segments, repair) = done.context("salvage")?;
    let options = ReaderOptions { follow_damaged: true, ..ReaderOptions::default() };
    let count = count(LogReader::open(dir, Position::START, options).context("read what was salvaged")?)?;
    if args.json {
        serde_json::to_writer(&mut *out, &json(&count, &segments, Some(repair.repaired())))?;
        writeln!(out)?;
    } else {
        for segment in &segments {
            let what = if segment.written { "written" } else { "left out: nothing says how to read it" };
            writeln!(out, "segment {:<6} {what}", segment.id.0)?;
            for fault in &segment.faults {
                writeln!(out, "  was damaged {fault}")?;
            }
        }
        for failure in &repair.failures {
            writeln!(out, "{failure}")?;
        }
        writeln!(out, "{} segments repaired; {} in {}", repair.repaired(), sentence(&count), dir.display())?;
    }
    let unreadable = segments.iter().any(|s| !s.written) || !repair.failures.is_empty();
    Ok(if unreadable { Exit::Unreadable } else { exit(&count).max(exit_of_log(dir)?) })
}

fn count(mut reader: LogReader) -> anyhow::Result<Count> {
    let mut count = Count::default();
    loop {
        match reader.next().context("read the log")? {
            Step::Record(_) => count.records += 1,
            // A reader of one file knows nothing of the one before it.
            Step::Lost(lost) if lost.reason == LostReason::MissingSegment && lost.from.get() == 0 => {}
            Step::Lost(lost) => {
                count.lost_ranges += 1;
                count.worst = count.worst.max(Some(Exit::of(&lost)));
                count.lost += lost.count().unwrap_or(0);
                count.inexact |= !lost.exact;
            }
            Step::Tail => return Ok(count),
            Step::AwaitRepair { .. } => reader.skip_damaged(),
        }
    }
}

fn exit(count: &Count) -> Exit {
    count.worst.unwrap_or(Exit::Clean)
}

fn sentence(count: &Count) -> String {
    let more = if count.inexact { " or more" } else { "" };
    format!("{} records can be read, {}{more} are lost in {} places", count.records, count.lost, count.lost_ranges)
}

fn json(count: &Count, segments: &[Salvaged], repaired: Option<usize>) -> serde_json::Value {
    serde_json::json!({
        "records": count.records,
        "lost": count.lost,
        "lost_exact": !count.inexact,
        "losses": count.lost_ranges,
        "repaired": repaired,
        "segments": segments.iter().map(|s| serde_json::json!({
            "segment": s.id.0,
            "source": s.source.display().to_string(),
            "written": s.written,
            "faults": s.faults,
        })).collect::<Vec<_>>(),
    })
}
