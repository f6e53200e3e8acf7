//! `wal-dump verify`: walks every segment and names each fault.

use std::io::Write;

use anyhow::Context;
use wal_format::verify::{SegmentReport, Severity, verify_file, verify_shelf};

use super::{PlaceArgs, Target, foreign};
use crate::Exit;

/// Prints one line per segment and one per fault; the exit code is the worst of them.
pub fn run(place: &PlaceArgs, deep: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let mut exit = Exit::Clean;
    let mut failed = None;
    let (mut segments, mut records) = (0_u64, 0_u64);
    let mut each = |report: SegmentReport| {
        segments += 1;
        records += report.records;
        if let Some(worst) = report.worst() {
            exit = exit.max(exit_of(worst));
        }
        if failed.is_none()
            && let Err(err) = print(out, &report)
        {
            failed = Some(err);
        }
    };
    match place.target()? {
        Target::Log(shelf) => {
            verify_shelf(&shelf, deep, &mut each).with_context(|| format!("verify {}", shelf.dir().display()))?;
        }
        Target::File(file) => {
            let report = verify_file(&file, deep).map_err(|err| foreign(err.into()))?;
            each(report);
        }
    }
    if let Some(err) = failed {
        return Err(err.into());
    }
    writeln!(out, "{segments} segments, {records} records: {}", word(exit))?;
    Ok(exit)
}

/// The exit code of the worst fault.
pub fn exit_of(severity: Severity) -> Exit {
    match severity {
        Severity::TornTail => Exit::TornTail,
        Severity::Damage => Exit::Holes,
        Severity::BelowDurable => Exit::LossBelowDurable,
        Severity::Unreadable => Exit::Unreadable,
    }
}

fn word(exit: Exit) -> &'static str {
    match exit {
        Exit::Clean => "clean",
        Exit::TornTail => "whole, except that the end is open",
        Exit::Holes => "damaged",
        Exit::LossBelowDurable => "records are lost that were known to be on disk",
        Exit::Unreadable => "not everything can be read",
    }
}

fn print(out: &mut impl Write, report: &SegmentReport) -> std::io::Result<()> {
    let range = match (report.first_seq, report.last_seq) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        (None, Some(last)) => last.to_string(),
        _ => "-".into(),
    };
    writeln!(out, "segment {:<8} {:<8} {:>9} records  {range}", report.id.0, report.state.as_str(), report.records)?;
    for fault in &report.faults {
        let name = match fault.severity {
            Severity::TornTail => "open",
            Severity::Damage => "damage",
            Severity::BelowDurable => "LOSS",
            Severity::Unreadable => "UNREADABLE",
        };
        writeln!(out, "  {name} at offset {}: {}", fault.offset, fault.what)?;
    }
    Ok(())
}
