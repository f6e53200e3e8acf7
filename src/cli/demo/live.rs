//! The live lines of the demo: one per venue and second, from the same sources an operator would ask.
//!
//! WAL bytes come from the log's control page; frames, rows and lag from the compactor's `/v1/status`, so frames/s is the
//! rate at which frames are compacted.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Instant;

use wal_format::{Position, bytes_between};

use api::outside;
use config::Config;
use model::VenueId;

/// What one poll showed.
pub(super) struct Tick {
    /// True when a log grew or the compactor handled frames since the poll before.
    pub progressed: bool,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    /// Frames the compactor has handled.
    frames: u64,
    /// Number of the last committed record: moves whenever the log grows.
    seq: u64,
}

pub(super) struct Live {
    last: BTreeMap<VenueId, Seen>,
    at: Instant,
    /// Lines printed before, to go back over them on a terminal.
    printed: usize,
    redraw: bool,
}

impl Live {
    pub(super) fn new() -> Live {
        Live { last: BTreeMap::new(), at: Instant::now(), printed: 0, redraw: std::io::stderr().is_terminal() }
    }

    pub(super) async fn tick(&mut self, cfg: &Config) -> Tick {
        let seconds = self.at.elapsed().as_secs_f64().max(1e-3);
        self.at = Instant::now();
        let status = outside::compactor(&cfg.api).await.ok();
        let mut lines = Vec::new();
        let mut progressed = false;
        for id in cfg.capture.venues.keys() {
            let dir = cfg.capture.wal_dir(*id);
            let before = self.last.get(id).copied().unwrap_or_default();
            let control = wal_format::control::read(&dir);
            let bytes = control.as_ref().map_or(0, |c| {
                let segments = wal_format::list_segments(&dir).unwrap_or_default();
                bytes_between(&segments, Position::START, c.committed)
            });
            let compactor = status.as_ref().and_then(|s| s.get("venues")?.get(id.as_str()));
            let number = |key: &str| compactor.and_then(|c| c.get(key)?.as_u64());
            let now = Seen {
                frames: number("frames").unwrap_or(before.frames),
                seq: control.map_or(before.seq, |c| c.committed.seq.get()),
            };
            progressed |= now.seq != before.seq || now.frames != before.frames;
            self.last.insert(*id, now);
            lines.push(format!(
                "{:<14} {:>10} frames/s   WAL {:>9}   {:>11} rows   lag {:>8}",
                id.as_str(),
                grouped(((now.frames - before.frames.min(now.frames)) as f64 / seconds).round() as u64),
                size(bytes),
                number("rows_total").map_or_else(|| "-".into(), grouped),
                number("lag_ms").map_or_else(|| "-".into(), |ms| format!("{ms} ms")),
            ));
        }
        if self.redraw && self.printed > 0 {
            eprint!("\x1b[{}A", self.printed);
        }
        for line in &lines {
            eprintln!("{}{line}", if self.redraw { "\x1b[2K" } else { "" });
        }
        self.printed = lines.len();
        Tick { progressed }
    }
}

/// 1234567 as `1,234,567`.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Bytes in the unit that reads best.
pub(super) fn size(bytes: u64) -> String {
    const MIB: f64 = (1_u64 << 20) as f64;
    let mib = bytes as f64 / MIB;
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.2} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
        assert_eq!(size(3 << 20), "3.0 MiB");
        assert_eq!(size(5 << 30), "5.00 GiB");
    }
}
