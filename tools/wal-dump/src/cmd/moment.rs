//! What a log knows about a moment: what happened to connections and clock, which frames came, where it was silent,
//! what is missing.
//!
//! Reads only the records around the moment; where they begin, footers and their indexes say.

use std::collections::{BTreeSet, VecDeque};

use anyhow::Context;
use serde_json::Value;
use wal_format::{
    ClockPair, Kind, LogReader, LostRange, Position, ReaderOptions, RecordRef, Seal, SegmentDirs, Seq, Step, plain,
};

use super::{Point, start_at};
use crate::print::{self, Shape};

/// A step of the wall clock against the monotonic one that is worth a sentence, ns.
const CLOCK_STEP_NS: i128 = 50_000_000;
/// A silence below this is not reported, ns.
const SILENCE_NS: u64 = 1_000_000_000;

/// What is asked.
pub struct Question {
    /// The moment, ns since 1970-01-01 UTC.
    pub at_ns: u64,
    /// How far around it, ns.
    pub around_ns: u64,
    /// Only frames that name it.
    pub symbol: Option<String>,
    /// Frames to show on each side.
    pub frames: usize,
}

impl Question {
    fn begin_ns(&self) -> u64 {
        self.at_ns.saturating_sub(self.around_ns)
    }

    fn end_ns(&self) -> u64 {
        self.at_ns.saturating_add(self.around_ns)
    }
}

/// Frames of one kind in the window.
#[derive(Default)]
struct Frames {
    count: u64,
    conns: BTreeSet<u32>,
    last_before: Option<(u64, Seq)>,
    first_after: Option<(u64, Seq)>,
    newest_ns: u64,
    /// Longest time without one: from, to.
    silence: (u64, u64),
}

impl Frames {
    fn came(&mut self, r: &RecordRef<'_>, at_ns: u64) {
        if self.count > 0 && r.ts_recv_ns.saturating_sub(self.newest_ns) > self.silence.1.saturating_sub(self.silence.0)
        {
            self.silence = (self.newest_ns, r.ts_recv_ns);
        }
        self.count += 1;
        self.conns.insert(r.conn);
        self.newest_ns = r.ts_recv_ns;
        if r.ts_recv_ns <= at_ns {
            self.last_before = Some((r.ts_recv_ns, r.seq));
        } else if self.first_after.is_none() {
            self.first_after = Some((r.ts_recv_ns, r.seq));
        }
    }
}

/// What was found.
#[derive(Default)]
pub struct Moment {
    /// What happened, with its receive time.
    events: Vec<(u64, String)>,
    /// Lost ranges in the window, a sentence each.
    pub lost: Vec<LostRange>,
    all: Frames,
    wanted: Frames,
    shown: VecDeque<String>,
    shown_after: Vec<String>,
    /// Receive times of the last record before the window and the first after it.
    before_ns: Option<u64>,
    after_ns: Option<u64>,
    clock: Option<ClockPair>,
}

impl Moment {
    /// Looks at the log.
    pub fn look(dirs: &SegmentDirs, q: &Question) -> anyhow::Result<Moment> {
        let options =
            ReaderOptions { follow_damaged: true, archive: dirs.archive().map(Into::into), ..ReaderOptions::default() };
        let start = start_at(dirs, Point::TimeNs(q.begin_ns()))?;
        let mut reader = LogReader::open(dirs.dir(), start.unwrap_or(Position::START), options)?;
        // What footers know need not be read.
        let segments = dirs.list().context("list the log")?;
        let own = segments.iter().filter(|s| s.foreign.is_none());
        let over = own.filter_map(|s| s.footer.as_ref()).filter(|f| f.records > 0).map(|f| f.last_ts_ns);
        let mut moment = Moment { before_ns: over.filter(|ns| *ns < q.begin_ns()).max(), ..Moment::default() };
        let mut lost = Vec::new();
        loop {
            match reader.next().context("read the log")? {
                Step::Record(r) if r.ts_recv_ns > q.end_ns() => {
                    moment.after_ns = Some(r.ts_recv_ns);
                    // A lost range that ends here may have begun inside.
                    moment.lost.append(&mut lost);
                    return Ok(moment);
                }
                Step::Record(r) if r.ts_recv_ns < q.begin_ns() => {
                    lost.clear();
                    moment.before_ns = Some(r.ts_recv_ns);
                    if r.kind() == Some(Kind::Clock) {
                        moment.clock = ClockPair::decode(r.payload);
                    }
                }
                Step::Record(r) => {
                    moment.lost.append(&mut lost);
                    moment.record(&r, q);
                }
                Step::Lost(l) => lost.push(l),
                Step::Tail => {
                    moment.lost.append(&mut lost);
                    return Ok(moment);
                }
                Step::AwaitRepair { .. } => reader.skip_damaged(),
            }
        }
    }

    fn record(&mut self, r: &RecordRef<'_>, q: &Question) {
        match r.kind() {
            Some(Kind::Data | Kind::Rest) => {
                self.all.came(r, q.at_ns);
                if q.symbol.as_ref().is_some_and(|symbol| !names(r.payload, symbol.as_bytes())) {
                    return;
                }
                self.wanted.came(r, q.at_ns);
                self.show(r, q);
            }
            Some(Kind::Clock) => {
                let now = ClockPair::decode(r.payload);
                if let (Some(before), Some(now)) = (self.clock, now) {
                    let wall = i128::from(now.wall_ns) - i128::from(before.wall_ns);
                    let step = wall - (i128::from(now.mono_ns) - i128::from(before.mono_ns));
                    if step.abs() > CLOCK_STEP_NS {
                        let text = format!("The wall clock stepped by {:+.3} s.", step as f64 / 1e9);
                        self.events.push((r.ts_recv_ns, text));
                    }
                }
                self.clock = now.or(self.clock);
            }
            Some(Kind::EpochStart) => {
                // Another run: its monotonic clock may be another one.
                self.clock = None;
                self.events.push((r.ts_recv_ns, sentence(r)));
            }
            Some(Kind::Sync) => {}
            _ => self.events.push((r.ts_recv_ns, sentence(r))),
        }
    }

    fn show(&mut self, r: &RecordRef<'_>, q: &Question) {
        if r.ts_recv_ns > q.at_ns && self.shown_after.len() >= q.frames {
            return;
        }
        let mut line = Vec::new();
        if print::record(&mut line, Shape::Text, r).is_err() {
            return;
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if r.ts_recv_ns > q.at_ns {
            self.shown_after.push(line);
        } else {
            self.shown.push_back(line);
            if self.shown.len() > q.frames {
                self.shown.pop_front();
            }
        }
    }

    /// The answer.
    pub fn sentences(&self, q: &Question) -> Vec<String> {
        let mut out: Vec<String> = self.events.iter().map(|(ts, text)| format!("{}  {text}", clock(*ts))).collect();
        if self.all.count == 0 && self.events.is_empty() {
            out.push(self.nothing());
        } else {
            if let Some(symbol) = &q.symbol {
                out.extend(self.wanted.sentences(symbol, q.at_ns));
            }
            out.extend(self.all.sentences("All frames", q.at_ns));
        }
        if !self.shown.is_empty() || !self.shown_after.is_empty() {
            out.push("Frames around the moment:".into());
            out.extend(self.shown.iter().chain(&self.shown_after).map(|line| format!("  {line}")));
        }
        if self.lost.is_empty() {
            out.push("No record of the log is missing here.".into());
        } else {
            out.extend(self.lost.iter().map(|lost| format!("Records are missing: {lost}.")));
        }
        out
    }

    fn nothing(&self) -> String {
        let time = |ts: Option<u64>| ts.map(print::time);
        match (time(self.before_ns), time(self.after_ns)) {
            (Some(before), Some(after)) => {
                format!("Nothing was recorded in this time: the record before is of {before}, the next one of {after}.")
            }
            (Some(before), None) => format!("Nothing was recorded in this time: the log ends at {before}."),
            (None, Some(after)) => format!("Nothing of this time is in the log: it begins at {after}."),
            (None, None) => "The log has no records.".into(),
        }
    }

    /// The answer for scripts.
    pub fn json(&self, name: &str, q: &Question) -> Value {
        let at = |found: Option<(u64, Seq)>| {
            found.map(|(ts, seq)| serde_json::json!({ "ts_recv_ns": ts, "seq": seq.get() }))
        };
        let frames = |f: &Frames| {
            serde_json::json!({
                "frames": f.count, "conns": f.conns, "last_before": at(f.last_before), "first_after": at(f.first_after),
                "longest_silence_ns": f.silence.1 - f.silence.0, "silence_from_ns": f.silence.0,
            })
        };
        serde_json::json!({
            "log": name, "at_ns": q.at_ns, "around_ns": q.around_ns, "symbol": q.symbol,
            "events": self.events.iter().map(|(ts, text)| serde_json::json!({ "ts_recv_ns": ts, "text": text })).collect::<Vec<_>>(),
            "of_symbol": q.symbol.as_ref().map(|_| frames(&self.wanted)),
            "all": frames(&self.all),
            "lost": self.lost.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "record_before_ns": self.before_ns, "record_after_ns": self.after_ns,
        })
    }
}

impl Frames {
    fn sentences(&self, name: &str, at_ns: u64) -> Vec<String> {
        if self.count == 0 {
            return vec![format!("{name}: none came in this time.")];
        }
        let conns: Vec<String> = self.conns.iter().map(u32::to_string).collect();
        let word = if conns.len() == 1 { "connection" } else { "connections" };
        let mut text = format!("{name}: {} came on {word} {}", self.count, conns.join(", "));
        match self.last_before {
            Some((ts, seq)) => text.push_str(&format!("; the last before is {seq}, {} earlier", span(at_ns - ts))),
            None => text.push_str("; none before the moment"),
        }
        match self.first_after {
            Some((ts, seq)) => text.push_str(&format!(", the first after is {seq}, {} later.", span(ts - at_ns))),
            None => text.push_str(", none after it."),
        }
        let mut out = vec![text];
        let silence = self.silence.1 - self.silence.0;
        if silence >= SILENCE_NS {
            let (from, to) = (clock(self.silence.0), clock(self.silence.1));
            out.push(format!("{name}: the longest silence was {}, from {from} to {to}.", span(silence)));
        }
        out
    }
}

fn span(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

/// The time of the day, ms.
fn clock(ns: u64) -> String {
    let full = print::time(ns);
    full.split_once('T').map_or(full.clone(), |(_, time)| time.chars().take(12).collect())
}

/// Whether `payload` holds `word`, whatever the case of its letters.
fn names(payload: &[u8], word: &[u8]) -> bool {
    !word.is_empty() && payload.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word))
}

/// One record that is no frame, as a sentence.
fn sentence(r: &RecordRef<'_>) -> String {
    let object: Value = serde_json::from_slice(r.payload).unwrap_or(Value::Null);
    let rest = details(&object);
    match r.kind() {
        Some(Kind::ConnOpen) => format!("Connection {} opened{rest}.", r.conn),
        Some(Kind::ConnClose) => format!("Connection {} closed{rest}.", r.conn),
        Some(Kind::Subscribe) => format!("Connection {} subscribed{rest}.", r.conn),
        Some(Kind::Gap) => format!("The recorder knows of missing frames{rest}."),
        Some(Kind::Event) => format!("Event{rest}."),
        Some(Kind::EpochStart) => format!("A writer started, epoch {}{rest}.", r.seq.epoch()),
        Some(Kind::Seal) => match Seal::decode(r.payload) {
            Some(seal) if seal.clean_end => "The writer closed the log.".into(),
            Some(seal) => format!("Segment {} was full; the log goes on in segment {}.", r.position.segment, seal.next),
            None => "A segment ended.".into(),
        },
        _ => format!("A record of kind {}, {} bytes.", print::kind_name(r.kind_raw), r.payload.len()),
    }
}

/// `: key value, key value`; long texts are truncated, nulls left out.
fn details(object: &Value) -> String {
    const LONGEST: usize = 120;
    let Some(map) = object.as_object() else { return String::new() };
    let parts: Vec<String> = map
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let shown: String = text.chars().take(LONGEST).collect();
            let more = if text.chars().nth(LONGEST).is_some() { "..." } else { "" };
            format!("{} {}{more}", plain::line(&key.replace('_', " ")), plain::line(&shown))
        })
        .collect();
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}
