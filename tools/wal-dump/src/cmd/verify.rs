//! `wal-dump verify`: walks every segment, looks at the files beside them, and names each fault.

use std::io::Write;

use anyhow::Context;
use wal_format::slots::SlotState;
use wal_format::verify::{Fault, FileReport, SegmentReport, Severity, verify_dirs, verify_file, verify_files};

use super::{PlaceArgs, Target, foreign};
use crate::Exit;

/// Prints one line per segment and file and one per fault; the exit code is the worst of them.
pub fn run(place: &PlaceArgs, deep: bool, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    if let Some(chunks) = super::chunks::find(place)? {
        return super::chunks::verify(&chunks, json, out);
    }
    let mut exit = Exit::Clean;
    let mut failed = None;
    let (mut segments, mut records) = (0_u64, 0_u64);
    let mut each = |report: SegmentReport| {
        segments += 1;
        records += report.records;
        exit = exit.max(exit_of(report.worst()));
        if failed.is_none()
            && let Err(err) = segment(out, json, &report)
        {
            failed = Some(err);
        }
    };
    let mut files = Vec::new();
    match place.target()? {
        Target::Log(dirs) => {
            let verify = || format!("verify {}", dirs.dir().display());
            let ends = verify_dirs(&dirs, deep, &mut each).with_context(verify)?;
            files = verify_files(dirs.dir(), &ends).with_context(verify)?;
        }
        Target::File(path) => {
            let report = verify_file(&path, deep).map_err(|err| foreign(err.into()))?;
            each(report);
        }
    }
    if let Some(err) = failed {
        return Err(err.into());
    }
    for report in &files {
        exit = exit.max(exit_of(report.worst()));
        file(out, json, report)?;
    }
    if json {
        let sum = serde_json::json!({ "segments": segments, "records": records, "exit": exit as u8, "verdict": summary(exit) });
        line(out, &sum)?;
    } else {
        writeln!(out, "{segments} segments, {records} records: {}", summary(exit))?;
    }
    Ok(exit)
}

/// The exit code of the worst fault.
pub fn exit_of(worst: Option<Severity>) -> Exit {
    match worst {
        None => Exit::Clean,
        Some(Severity::TornTail) => Exit::TornTail,
        Some(Severity::Damage) => Exit::Lost,
        Some(Severity::DurableLost) => Exit::DurableLost,
        Some(Severity::Unreadable) => Exit::Unreadable,
    }
}

fn summary(exit: Exit) -> &'static str {
    match exit {
        Exit::Clean => "clean",
        Exit::TornTail => "whole, except that the end is open",
        Exit::Lost => "damaged",
        Exit::DurableLost => "records are lost that were known to be on disk",
        Exit::Unreadable => "not everything can be read",
    }
}

fn name(severity: Severity) -> &'static str {
    match severity {
        Severity::TornTail => "open",
        Severity::Damage => "damage",
        Severity::DurableLost => "LOST",
        Severity::Unreadable => "UNREADABLE",
    }
}

fn segment(out: &mut impl Write, json: bool, report: &SegmentReport) -> std::io::Result<()> {
    if json {
        let value = serde_json::json!({
            "segment": report.id.0,
            "path": report.path.display().to_string(),
            "state": report.state.as_str(),
            "records": report.records,
            "first_seq": report.first_seq.map(|seq| seq.get()),
            "last_seq": report.last_seq.map(|seq| seq.get()),
            "end_offset": report.end_offset,
            "faults": faults_json(&report.faults),
        });
        return line(out, &value);
    }
    let range = match (report.first_seq, report.last_seq) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        (None, Some(last)) => last.to_string(),
        _ => "-".into(),
    };
    writeln!(out, "segment {:<8} {:<8} {:>9} records  {range}", report.id.0, report.state.as_str(), report.records)?;
    faults(out, &report.faults)
}

fn file(out: &mut impl Write, json: bool, report: &FileReport) -> std::io::Result<()> {
    if json {
        let value = serde_json::json!({
            "file": report.name,
            "path": report.path.display().to_string(),
            "slots": report.slots.as_ref().map(|slots| slots.each_ref().map(slot)),
            "says": report.says,
            "faults": faults_json(&report.faults),
        });
        return line(out, &value);
    }
    write!(out, "{:<16} {}", report.name, report.says)?;
    if let Some([first, second]) = &report.slots {
        write!(out, " (slots: {}, {})", slot(first), slot(second))?;
    }
    writeln!(out)?;
    faults(out, &report.faults)
}

fn slot(slot: &SlotState) -> String {
    match slot {
        SlotState::Empty => "empty".into(),
        SlotState::Valid(slot) => format!("generation {}", slot.generation),
        SlotState::Newer(version) => format!("version {version}"),
        SlotState::Damaged => "damaged".into(),
    }
}

fn faults(out: &mut impl Write, faults: &[Fault]) -> std::io::Result<()> {
    for fault in faults {
        writeln!(out, "  {} at offset {}: {}", name(fault.severity), fault.offset, fault.what)?;
    }
    Ok(())
}

fn faults_json(faults: &[Fault]) -> Vec<serde_json::Value> {
    let one = |f: &Fault| serde_json::json!({ "severity": name(f.severity), "offset": f.offset, "what": f.what });
    faults.iter().map(one).collect()
}

fn line(out: &mut impl Write, value: &serde_json::Value) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}
