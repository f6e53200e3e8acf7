//! `wal-dump stat`: the log as a whole, without a lock and without walking it.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use wal_format::{Lineage, LineageError, LogState, SegmentState, Seq, log_state};

use super::Target;
use crate::Exit;
use crate::print;

/// Prints writer, segments, readers.
pub fn run(log: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let dir = Target::log(log)?;
    let state = log_state(&dir).with_context(|| format!("look at {}", dir.display()))?;
    let whose = wal_format::lineage(&dir);
    if json {
        serde_json::to_writer_pretty(&mut *out, &as_json(&state, &whose))?;
        writeln!(out)?;
    } else {
        text(out, &dir, &state, &whose)?;
    }
    let unreadable = state.segments.iter().any(|s| s.unreadable() || s.foreign.is_some())
        || !state.quarantined.is_empty()
        || whose.is_err();
    Ok(if unreadable { Exit::Unreadable } else { Exit::Clean })
}

/// Whose log it is, as far as it is known.
type Whose = Result<Option<Lineage>, LineageError>;

fn count(state: &LogState, wanted: SegmentState) -> usize {
    state.segments.iter().filter(|s| s.state == wanted).count()
}

fn text(out: &mut impl Write, dir: &Path, state: &LogState, whose: &Whose) -> anyhow::Result<()> {
    writeln!(out, "log       {}", dir.display())?;
    match whose {
        Ok(Some(lineage)) => {
            writeln!(out, "uuid      {}", print::uuid(&lineage.log_uuid()))?;
            if let Some(run) = lineage.runs().next_back() {
                writeln!(out, "newest    {run}")?;
            }
        }
        Ok(None) => writeln!(out, "uuid      -")?,
        Err(err) => writeln!(out, "uuid      {err}")?,
    }
    match (&state.control, state.writer_alive) {
        (Some(c), true) => writeln!(
            out,
            "writer    pid {}, epoch {}, last sign of life {}",
            c.pid,
            c.epoch,
            print::time(c.heartbeat.wall_ns)
        )?,
        (Some(c), false) => writeln!(
            out,
            "writer    none; epoch {} {} {}",
            c.epoch,
            if c.closed { "was closed about" } else { "ended without being closed after" },
            print::time(c.heartbeat.wall_ns)
        )?,
        (None, true) => writeln!(out, "writer    alive (no CONTROL page)")?,
        (None, false) => writeln!(out, "writer    none")?,
    }
    if let Some(c) = &state.control {
        writeln!(
            out,
            "committed {} in segment {} at offset {}, received {}",
            c.committed.seq,
            c.committed.segment,
            c.committed.offset,
            print::time(c.committed_ts_ns)
        )?;
        let durable = if c.durable == Seq(0) { "nothing of this epoch yet".into() } else { c.durable.to_string() };
        writeln!(out, "durable   {durable}, failed syncs {}", c.sync_errors)?;
    }
    let bytes: u64 = state.segments.iter().map(|s| s.bytes).sum();
    writeln!(
        out,
        "segments  {}: {} sealed, {} open, {} ready, {} damaged, {} unreachable; {}",
        state.segments.len(),
        count(state, SegmentState::Sealed),
        count(state, SegmentState::Open),
        count(state, SegmentState::Ready),
        count(state, SegmentState::Unreadable),
        count(state, SegmentState::Unreachable),
        print::size(bytes)
    )?;
    for segment in &state.segments {
        if let Some(why) = &segment.unreachable {
            writeln!(out, "segment   {} cannot be reached: {why}", segment.id)?;
        }
    }
    for ack in &state.acks {
        match &ack.ack {
            Ok(Some(a)) => {
                writeln!(
                    out,
                    "reader    {}: segment {} offset {} seq {}{}",
                    ack.reader,
                    a.position.segment,
                    a.position.offset,
                    a.position.seq,
                    behind(state, a.position.seq)
                )?;
            }
            Ok(None) => writeln!(out, "reader    {}: nothing acknowledged yet", ack.reader)?,
            Err(err) => writeln!(out, "reader    {}: {err}", ack.reader)?,
        }
    }
    for (path, why) in state.segments.iter().filter_map(|s| Some((&s.path, s.foreign.as_ref()?))) {
        writeln!(out, "foreign   {}: {why}", path.display())?;
    }
    for path in &state.quarantined {
        writeln!(out, "quarantined {}", path.display())?;
    }
    Ok(())
}

fn lag(state: &LogState, seq: Seq) -> Option<u64> {
    let committed = state.control.as_ref()?.committed.seq;
    // The next seq to read is one past the last record when nothing is left.
    (committed.epoch() == seq.epoch()).then(|| committed.next().get().saturating_sub(seq.get()))
}

fn behind(state: &LogState, seq: Seq) -> String {
    lag(state, seq).map_or_else(String::new, |records| format!(", {records} records behind"))
}

fn as_json(state: &LogState, whose: &Whose) -> serde_json::Value {
    let lineage = whose.as_ref().ok().and_then(Option::as_ref);
    let foreign = state.segments.iter().filter_map(|s| Some((s, s.foreign.as_ref()?)));
    serde_json::json!({
        "uuid": lineage.map(|lineage| print::uuid(&lineage.log_uuid())),
        "uuid_error": whose.as_ref().err().map(ToString::to_string),
        "runs": lineage.map(|lineage| lineage.runs().map(|run| serde_json::json!({
            "epoch": run.epoch,
            "incarnation": run.incarnation.to_string(),
        })).collect::<Vec<_>>()),
        "foreign": foreign.map(|(s, why)| serde_json::json!({
            "path": s.path.display().to_string(),
            "why": why.to_string(),
        })).collect::<Vec<_>>(),
        "writer_alive": state.writer_alive,
        "control": state.control.as_ref().map(|c| serde_json::json!({
            "pid": c.pid,
            "epoch": c.epoch,
            "committed_segment": c.committed.segment.0,
            "committed_offset": c.committed.offset,
            "committed_seq": c.committed.seq.get(),
            "committed_ts_ns": c.committed_ts_ns,
            "durable_seq": (c.durable != Seq(0)).then_some(c.durable.get()),
            "heartbeat_wall_ns": c.heartbeat.wall_ns,
            "sync_errors": c.sync_errors,
            "roll_stalls": c.roll_stalls,
            "closed": c.closed,
        })),
        "segments": {
            "sealed": count(state, SegmentState::Sealed),
            "open": count(state, SegmentState::Open),
            "ready": count(state, SegmentState::Ready),
            "damaged": count(state, SegmentState::Unreadable),
            "unreachable": state.segments.iter().filter_map(|s| {
                s.unreachable.as_ref().map(|why| serde_json::json!({ "segment": s.id.0, "why": why }))
            }).collect::<Vec<_>>(),
            "bytes": state.segments.iter().map(|s| s.bytes).sum::<u64>(),
        },
        "readers": state.acks.iter().map(|ack| match &ack.ack {
            Ok(Some(a)) => serde_json::json!({
                "reader": ack.reader,
                "segment": a.position.segment.0,
                "offset": a.position.offset,
                "seq": a.position.seq.get(),
                "incarnation": a.incarnation.to_string(),
                "generation": a.generation,
                "records_behind": lag(state, a.position.seq),
            }),
            Ok(None) => serde_json::json!({ "reader": ack.reader }),
            Err(err) => serde_json::json!({ "reader": ack.reader, "error": err.to_string() }),
        }).collect::<Vec<_>>(),
        "quarantined": state.quarantined.iter().map(|p| p.display().to_string()).collect::<Vec<_>>(),
    })
}
