//! How things look on the screen: records, times, sizes, errors. Opens no file and decides nothing.

use std::fmt::Write as _;
use std::io::{self, Write};

use wal_format::{ClockPair, Kind, LostRange, RecordRef, Seal, plain};

/// The shape in which records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One readable line per record; long payloads are truncated.
    Text,
    /// One JSON object per record.
    Json,
    /// The payload bytes, each followed by a newline.
    Raw,
    /// A header line, then 16 bytes per line with offsets.
    Hex,
}

/// Text payloads longer than this are truncated in [`Shape::Text`].
const PREVIEW_CHARS: usize = 160;

/// Prints one record.
pub fn record(out: &mut impl Write, shape: Shape, r: &RecordRef<'_>) -> io::Result<()> {
    match shape {
        Shape::Raw => {
            out.write_all(r.payload)?;
            out.write_all(b"\n")
        }
        Shape::Text => {
            writeln!(out, "{}  {}", head(r), preview(r))
        }
        Shape::Hex => {
            writeln!(out, "{}", head(r))?;
            for (line, bytes) in r.payload.chunks(16).enumerate() {
                let hex = bytes.iter().fold(String::new(), |mut text, b| {
                    let _ = write!(text, "{b:02x} ");
                    text
                });
                let ascii: String =
                    bytes.iter().map(|b| if (0x20..0x7f).contains(b) { char::from(*b) } else { '.' }).collect();
                writeln!(out, "  {:08x}  {hex:<48} {ascii}", line * 16)?;
            }
            Ok(())
        }
        Shape::Json => {
            serde_json::to_writer(&mut *out, &json(r))?;
            out.write_all(b"\n")
        }
    }
}

/// Prints one lost range among the records.
pub fn lost(out: &mut impl Write, shape: Shape, lost: &LostRange) -> io::Result<()> {
    match shape {
        Shape::Json => {
            serde_json::to_writer(&mut *out, &lost_json(lost))?;
            out.write_all(b"\n")
        }
        // Raw output is payloads only: the lost range goes where errors go.
        Shape::Raw => {
            eprintln!("wal-dump: {lost}");
            Ok(())
        }
        Shape::Text | Shape::Hex => writeln!(out, "{:<14}  {lost}", lost.from.to_string()),
    }
}

/// A lost range as JSON.
pub fn lost_json(lost: &LostRange) -> serde_json::Value {
    serde_json::json!({
        "lost": {
            "from": lost.from.get(),
            "to": lost.exact.then_some(lost.to.get()),
            "count": lost.count(),
            "segment": lost.segment.0,
            "offset": lost.offset,
            "bytes": lost.bytes,
            "reason": lost.reason.as_str(),
            "below_durable": lost.below_durable,
        }
    })
}

fn head(r: &RecordRef<'_>) -> String {
    format!(
        "{:<14}  {}  conn {:<4} {:<11} {:>7} B",
        r.seq.to_string(),
        time(r.ts_recv_ns),
        r.conn,
        kind_name(r.kind_raw),
        r.payload.len(),
    )
}

/// The name of a kind byte as used by `--kind`.
pub fn kind_name(raw: u8) -> String {
    Kind::from_raw(raw).map_or_else(|| format!("kind_{raw}"), |kind| kind.as_str().into())
}

fn preview(r: &RecordRef<'_>) -> String {
    match r.kind() {
        Some(Kind::Clock) => match ClockPair::decode(r.payload) {
            Some(pair) => format!("wall {} mono {} ns", time(pair.wall_ns), pair.mono_ns),
            None => "malformed clock".into(),
        },
        Some(Kind::Sync) => match r.payload.first_chunk::<8>() {
            Some(seq) => format!("durable {}", wal_format::Seq(u64::from_le_bytes(*seq))),
            None => "malformed sync".into(),
        },
        Some(Kind::Rest) => match r.rest() {
            Some(rest) => format!("{} {}", text(rest.meta), text(rest.body)),
            None => "malformed rest".into(),
        },
        Some(Kind::Seal) => match Seal::decode(r.payload) {
            Some(seal) if seal.clean_end => "the writer closed the log".into(),
            Some(seal) => format!("next segment {}", seal.next),
            None => "malformed seal".into(),
        },
        _ => text(r.payload),
    }
}

/// Text if it is text, else hex; control characters never reach a terminal.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if plain::lines(text) == text => {
            let mut short: String =
                text.chars().take(PREVIEW_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
            if text.chars().nth(PREVIEW_CHARS).is_some() {
                short.push_str("...");
            }
            short
        }
        _ => hex(bytes, PREVIEW_CHARS / 2),
    }
}

fn hex(bytes: &[u8], most: usize) -> String {
    let mut text = String::with_capacity(bytes.len().min(most) * 2 + 3);
    for b in bytes.iter().take(most) {
        let _ = write!(text, "{b:02x}");
    }
    if bytes.len() > most {
        text.push_str("...");
    }
    text
}

fn json(r: &RecordRef<'_>) -> serde_json::Value {
    let mut object = serde_json::json!({
        "seq": r.seq.get(),
        "epoch": r.seq.epoch(),
        "counter": r.seq.counter(),
        "segment": r.position.segment.0,
        "offset": r.position.offset,
        "ts_recv_ns": r.ts_recv_ns,
        "conn": r.conn,
        "kind": kind_name(r.kind_raw),
        "flags": r.flags,
        "bytes": r.payload.len(),
    });
    let Some(map) = object.as_object_mut() else {
        return object;
    };
    let (name, bytes) = match r.rest() {
        Some(rest) => {
            map.insert("meta".into(), payload_json(rest.meta).1);
            ("body", rest.body)
        }
        None => ("payload", r.payload),
    };
    let (is_text, value) = payload_json(bytes);
    map.insert(if is_text { name.into() } else { format!("{name}_hex") }, value);
    object
}

/// The payload as a JSON string: exact text, or hex when it is not UTF-8.
fn payload_json(bytes: &[u8]) -> (bool, serde_json::Value) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (true, text.into()),
        Err(_) => (false, hex(bytes, usize::MAX).into()),
    }
}

/// UTC, nanoseconds.
pub fn time(ns: u64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(at) => format!("{at:.9}"),
        Err(_) => format!("{ns} ns"),
    }
}

/// Bytes with a binary unit: `12.3 MiB`.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// Hex of a log's uuid.
pub fn uuid(bytes: &[u8; 16]) -> String {
    hex(bytes, 16)
}

/// Whether the far end of stdout has gone away.
pub fn is_closed_pipe(err: &anyhow::Error) -> bool {
    err.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
            || cause
                .downcast_ref::<serde_json::Error>()
                .is_some_and(|e| e.io_error_kind() == Some(io::ErrorKind::BrokenPipe))
    })
}

/// An error whose fix is known. Printed as two lines.
#[derive(Debug)]
pub struct Advice {
    /// What failed and where.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl std::fmt::Display for Advice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Advice {}

/// Prints an error: one plain sentence, its causes, and the fix where one is known.
pub fn error(err: &anyhow::Error) {
    eprintln!("error: {}", plain::message(&format!("{err:#}")));
    if let Some(advice) = err.chain().find_map(|c| c.downcast_ref::<Advice>()) {
        eprintln!("fix:   {}", advice.fix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_and_a_binary_unit() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(128 << 20), "128.0 MiB");
        assert_eq!(size(3 << 40), "3.0 TiB");
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(text(b"plain"), "plain");
        assert_eq!(text(b"a\nb"), "a b");
        assert_eq!(text(b"\x1b[2J"), "1b5b324a");
        assert_eq!(text(&[0xff, 0x00]), "ff00");
    }

    #[test]
    fn times_are_utc_with_all_nanoseconds() {
        assert_eq!(time(1_800_000_000_123_456_789), "2027-01-15T08:00:00.123456789Z");
    }
}
