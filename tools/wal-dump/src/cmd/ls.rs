//! `wal-dump ls`: one line per segment.

use std::io::Write;

use anyhow::Context;
use wal_format::{SealedBy, SegmentInfo};

use super::{PlaceArgs, Target};
use crate::Exit;
use crate::print;
use crate::print::Advice;

/// Lists the segments by their headers and footers; walks nothing.
pub fn run(place: &PlaceArgs, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let dirs = match place.target()? {
        Target::Log(dirs) => dirs,
        Target::File(file) => {
            let what = format!("{} is a file, not a log", file.display());
            return Err(Advice { what, fix: "ls wants the directory of one log".into() }.into());
        }
    };
    let segments = dirs.list().with_context(|| format!("list {}", dirs.dir().display()))?;
    if !json {
        writeln!(
            out,
            "{:>8}  {:<8} {:>5} {:<4}  {:<14}  {:<14}  {:>9}  {:>10}  first received",
            "segment", "state", "epoch", "run", "first", "last", "records", "data"
        )?;
    }
    let mut exit = Exit::Clean;
    for segment in &segments {
        if segment.unreadable() || segment.foreign.is_some() {
            exit = exit.max(Exit::Unreadable);
        }
        if json {
            serde_json::to_writer(&mut *out, &line_json(segment))?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}", line(segment))?;
        }
    }
    Ok(exit)
}

fn line(s: &SegmentInfo) -> String {
    let seq = |seq: Option<wal_format::Seq>| seq.map_or_else(|| "-".into(), |s| s.to_string());
    let footer = s.footer.as_ref();
    format!(
        "{:>8}  {:<8} {:>5} {:<4}  {:<14}  {:<14}  {:>9}  {:>10}  {}{}{}",
        s.id.0,
        match s.archived {
            _ if s.foreign.is_some() => "foreign",
            true => "archived",
            false => s.state.as_str(),
        },
        s.epoch.map_or_else(|| "-".into(), |e| e.to_string()),
        s.incarnation.map_or_else(|| "-".into(), |i| i.short()),
        seq(footer.and_then(|f| f.first_seq)),
        seq(footer.and_then(|f| f.last_seq)),
        footer.map_or_else(|| "-".into(), |f| f.records.to_string()),
        footer.map_or_else(|| "-".into(), |f| print::size(f.end_offset)),
        footer.filter(|f| f.records > 0).map_or_else(|| "-".into(), |f| print::time(f.first_ts_ns)),
        s.unreachable
            .as_ref()
            .or(s.spilled.as_ref().map(|p| p.display().to_string()).as_ref())
            .map_or_else(String::new, |more| format!("  -> {more}")),
        s.foreign.as_ref().map_or_else(String::new, |why| format!("  {why}")),
    )
}

fn line_json(s: &SegmentInfo) -> serde_json::Value {
    let footer = s.footer.as_ref();
    serde_json::json!({
        "segment": s.id.0,
        "path": s.path.display().to_string(),
        "spilled": s.spilled.as_ref().map(|p| p.display().to_string()),
        "bytes": s.bytes,
        "state": s.state.as_str(),
        "archived": s.archived,
        "unreachable": s.unreachable,
        "epoch": s.epoch,
        "incarnation": s.incarnation.map(|i| i.to_string()),
        "foreign": s.foreign.as_ref().map(|why| why.to_string()),
        "first_seq": footer.and_then(|f| f.first_seq).map(|s| s.get()),
        "last_seq": footer.and_then(|f| f.last_seq).map(|s| s.get()),
        "records": footer.map(|f| f.records),
        "data_end": footer.map(|f| f.end_offset),
        "first_ts_ns": footer.map(|f| f.first_ts_ns),
        "last_ts_ns": footer.map(|f| f.last_ts_ns),
        "next": footer.map(|f| f.next.0),
        "holes": footer.map(|f| f.holes_total),
        "sealed_by_recovery": footer.map(|f| f.sealed_by == SealedBy::Recovery),
        "synced": footer.map(|f| f.synced),
    })
}
