//! `wal-dump lag`: how far every reader is behind, and which segments it holds back.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use wal_format::{
    LogReader, LogState, Position, ReaderOptions, SegmentInfo, SegmentState, Step, bytes_between, log_state,
};

use super::Target;
use crate::Exit;
use crate::print;

/// One reader's position against the end of the log.
struct Reader {
    name: String,
    at: Result<Option<At>, String>,
}

struct At {
    position: Position,
    note: String,
    bytes_behind: u64,
    records_behind: Option<u64>,
    /// Receive time of the next record it has to acknowledge; `None` if it has them all.
    next_ts_ns: Option<u64>,
}

/// Prints readers, then segments with who holds them.
pub fn run(log: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let dir = Target::log(log)?;
    let state = log_state(&dir).with_context(|| format!("look at {}", dir.display()))?;
    let end = state.control.as_ref().map(|c| c.committed);
    let readers: Vec<Reader> = state
        .acks
        .iter()
        .map(|ack| Reader {
            name: ack.reader.clone(),
            at: match &ack.ack {
                Ok(Some(a)) => Ok(Some(behind(&dir, &state, end, a.position, a.note.clone()))),
                Ok(None) => Ok(None),
                Err(err) => Err(err.to_string()),
            },
        })
        .collect();
    if json {
        serde_json::to_writer_pretty(&mut *out, &as_json(&state, &readers))?;
        writeln!(out)?;
    } else {
        text(out, &state, &readers)?;
    }
    let unreadable = readers.iter().any(|r| r.at.is_err());
    Ok(if unreadable { Exit::Unreadable } else { Exit::Clean })
}

fn behind(dir: &Path, state: &LogState, end: Option<Position>, position: Position, note: String) -> At {
    let bytes_behind = end.map_or(0, |end| bytes_between(&state.segments, position, end));
    let records_behind = end
        .filter(|end| end.seq.epoch() == position.seq.epoch())
        .map(|end| end.seq.next().get().saturating_sub(position.seq.get()));
    let options = ReaderOptions { follow_damaged: true, chunk_bytes: 64 * 1024, ..ReaderOptions::default() };
    let next_ts_ns = LogReader::open(dir, position, options).ok().and_then(|mut reader| {
        // A few lost ranges may come before it.
        for _ in 0..8 {
            match reader.next() {
                Ok(Step::Record(record)) => return Some(record.ts_recv_ns),
                Ok(Step::Lost(_)) => {}
                _ => return None,
            }
        }
        None
    });
    At { position, note, bytes_behind, records_behind, next_ts_ns }
}

/// Seconds from `from` to the newest record.
fn seconds(state: &LogState, from: Option<u64>) -> f64 {
    let newest = state.control.as_ref().map_or(0, |c| c.committed_ts_ns);
    from.map_or(0.0, |from| newest.saturating_sub(from) as f64 / 1e9)
}

/// Readers that have not passed the segment, and why each of them holds it.
fn holders(state: &LogState, segment: &SegmentInfo, readers: &[Reader]) -> Vec<(String, String)> {
    let end = segment.footer.as_ref().map_or(u64::MAX, |f| f.end_offset);
    let mut held = Vec::new();
    for reader in readers {
        let why = match &reader.at {
            Err(err) => Some(format!("its ack cannot be read: {err}")),
            Ok(None) => Some("it never acknowledged anything".to_owned()),
            Ok(Some(at)) if at.position.segment < segment.id => Some(format!(
                "it is in segment {}, {:.1} s behind the newest record",
                at.position.segment,
                seconds(state, at.next_ts_ns)
            )),
            Ok(Some(at)) if at.position.segment == segment.id && at.position.offset < end => {
                let left = segment.footer.as_ref().map_or(0, |f| f.end_offset.saturating_sub(at.position.offset));
                Some(if left > 0 {
                    format!("it is inside at byte {}, {} before the end", at.position.offset, print::size(left))
                } else {
                    format!("it is inside at byte {}", at.position.offset)
                })
            }
            Ok(Some(_)) => None,
        };
        held.extend(why.map(|why| (reader.name.clone(), why)));
    }
    held
}

/// Why a segment is still there although no reader holds it, or that one does.
fn verdict(state: &LogState, segment: &SegmentInfo, readers: &[Reader]) -> String {
    let own = state.segments.iter().filter(|s| s.foreign.is_none());
    let newest_sealed = own.filter(|s| s.sealed).map(|s| s.id).max();
    let held = holders(state, segment, readers);
    match segment.state {
        _ if segment.foreign.is_some() => "foreign: not of this log, passed by and never deleted".into(),
        SegmentState::Ready => "ready: allocated ahead, empty".into(),
        SegmentState::Unreadable => "cannot be read: never deleted automatically".into(),
        SegmentState::Unreachable => {
            format!("cannot be reached: {}", segment.unreachable.as_deref().unwrap_or("no reason is known"))
        }
        SegmentState::Open if state.writer_alive => "open: the writer is at work in it".into(),
        SegmentState::Open => "open, and no writer is alive: recovery seals it at the next start".into(),
        SegmentState::Sealed if readers.is_empty() => "no reader has registered: nothing is deleted".into(),
        SegmentState::Sealed if !held.is_empty() => {
            let held: Vec<String> = held.into_iter().map(|(name, why)| format!("{name} ({why})")).collect();
            format!("held by {}", held.join(", "))
        }
        SegmentState::Sealed if Some(segment.id) == newest_sealed => {
            "passed by every reader; stays as the anchor of the numbering".into()
        }
        SegmentState::Sealed => "passed by every reader; waits for the compactor, its retention or the archive".into(),
    }
}

fn text(out: &mut impl Write, state: &LogState, readers: &[Reader]) -> anyhow::Result<()> {
    if readers.is_empty() {
        writeln!(out, "no reader has registered here")?;
    }
    for reader in readers {
        match &reader.at {
            Ok(Some(at)) => {
                let records = at.records_behind.map_or_else(|| "-".into(), |n| n.to_string());
                let note = if at.note.is_empty() { String::new() } else { format!("; {}", at.note) };
                writeln!(
                    out,
                    "{}: {records} records, {}, {:.1} s behind; at {} in segment {} byte {}{note}",
                    reader.name,
                    print::size(at.bytes_behind),
                    seconds(state, at.next_ts_ns),
                    at.position.seq,
                    at.position.segment,
                    at.position.offset
                )?;
            }
            Ok(None) => writeln!(out, "{}: never acknowledged anything", reader.name)?,
            Err(err) => writeln!(out, "{}: {err}", reader.name)?,
        }
    }
    for segment in &state.segments {
        writeln!(
            out,
            "segment {:<6} {:>10}  {}",
            segment.id.0,
            print::size(segment.bytes),
            verdict(state, segment, readers)
        )?;
    }
    Ok(())
}

fn as_json(state: &LogState, readers: &[Reader]) -> serde_json::Value {
    serde_json::json!({
        "writer_alive": state.writer_alive,
        "readers": readers.iter().map(|reader| match &reader.at {
            Ok(Some(at)) => serde_json::json!({
                "reader": reader.name,
                "segment": at.position.segment.0,
                "offset": at.position.offset,
                "seq": at.position.seq.get(),
                "records_behind": at.records_behind,
                "bytes_behind": at.bytes_behind,
                "seconds_behind": seconds(state, at.next_ts_ns),
                "note": at.note,
            }),
            Ok(None) => serde_json::json!({ "reader": reader.name }),
            Err(err) => serde_json::json!({ "reader": reader.name, "error": err }),
        }).collect::<Vec<_>>(),
        "segments": state.segments.iter().map(|segment| serde_json::json!({
            "segment": segment.id.0,
            "bytes": segment.bytes,
            "state": segment.state.as_str(),
            "why": verdict(state, segment, readers),
            "held_by": if segment.sealed {
                holders(state, segment, readers).into_iter().map(|(name, _)| name).collect()
            } else {
                Vec::new()
            },
        })).collect::<Vec<_>>(),
    })
}
