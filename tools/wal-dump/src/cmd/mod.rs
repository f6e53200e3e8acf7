//! The subcommands, one file each, and what they share: finding the log, choosing records.

pub mod dump;
pub mod follow;
pub mod holes;
pub mod ls;
pub mod stat;
pub mod verify;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use wal_format::{LogReader, Position, ReaderOptions, RecordRef, SegmentId, Seq, list_segments};

use crate::print::{self, Advice};

/// What the user pointed at.
pub enum Target {
    /// The directory of one log.
    Log(PathBuf),
    /// One segment file, wherever it lies.
    File(PathBuf),
}

impl Target {
    /// Looks at `path` and says what it is, or what is wrong with it.
    pub fn of(path: &Path) -> anyhow::Result<Target> {
        let meta = std::fs::metadata(path).map_err(|err| Advice {
            what: format!("cannot look at {}: {err}", path.display()),
            fix: "give the directory of one log, for example data/wal/binance-spot".into(),
        })?;
        if meta.is_file() {
            return Ok(Target::File(path.to_path_buf()));
        }
        if is_log(path) {
            return Ok(Target::Log(path.to_path_buf()));
        }
        let mut logs: Vec<String> = std::fs::read_dir(path)
            .with_context(|| format!("list {}", path.display()))?
            .filter_map(Result::ok)
            .filter(|e| is_log(&e.path()))
            .map(|e| e.path().display().to_string())
            .collect();
        logs.sort();
        Err(Advice {
            what: format!("{} is not a log: it holds no segment", path.display()),
            fix: if logs.is_empty() {
                "give the directory of one log, for example data/wal/binance-spot".into()
            } else {
                format!("there are logs inside it; name one: {}", logs.join(", "))
            },
        }
        .into())
    }

    /// As [`Target::of`], for commands that need a whole log.
    pub fn log(path: &Path) -> anyhow::Result<PathBuf> {
        match Target::of(path)? {
            Target::Log(dir) => Ok(dir),
            Target::File(file) => Err(Advice {
                what: format!("{} is a file, not a log", file.display()),
                fix: "this command wants the directory of one log; verify, dump and holes take a \
                      single segment"
                    .into(),
            }
            .into()),
        }
    }

    /// A reader over all of it, or from `segment` on. Damage is stepped over and reported.
    pub fn reader(&self, segment: Option<SegmentId>) -> anyhow::Result<LogReader> {
        let options = ReaderOptions { follow_damaged: true, ..ReaderOptions::default() };
        match self {
            Target::Log(dir) => {
                let from = Position { segment: segment.unwrap_or(Position::START.segment), ..Position::START };
                LogReader::open(dir, from, options).with_context(|| format!("open the log {}", dir.display()))
            }
            Target::File(file) => LogReader::open_file(file, options).map_err(|err| foreign(err.into())),
        }
    }
}

fn is_log(path: &Path) -> bool {
    path.is_dir() && wal_format::is_log_dir(path)
}

fn foreign(err: anyhow::Error) -> anyhow::Error {
    let what = format!("{err:#}");
    let fix = if what.contains("newer") {
        "use the wal-dump of the version that wrote it"
    } else {
        "only <20 digits>.wal files written by Tapedeck can be read; check the path"
    };
    Advice { what, fix: fix.into() }.into()
}

/// A point in a log: a number or a receive time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A record number.
    Seq(Seq),
    /// Receive time, ns UTC.
    TimeNs(u64),
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((epoch, counter)) = text.split_once(':')
            && let (Ok(epoch), Ok(counter)) = (epoch.parse::<u32>(), counter.parse::<u64>())
        {
            if epoch >= 1 << 24 || counter >= 1 << 40 {
                return Err("an epoch has 24 bits and a counter 40".into());
            }
            return Ok(Point::Seq(Seq::new(epoch, counter)));
        }
        if let Ok(number) = text.parse::<u64>() {
            return Ok(Point::Seq(Seq(number)));
        }
        text.parse::<jiff::Timestamp>()
            .ok()
            .and_then(|at| u64::try_from(at.as_nanosecond()).ok())
            .map(Point::TimeNs)
            .ok_or_else(|| "expected a seq such as 3:1200 or a time such as 2026-01-31T14:00:00Z".into())
    }
}

/// Which records are wanted.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Filter {
    /// First record wanted: its seq (epoch:counter or one number) or a receive time (RFC 3339).
    #[arg(long, value_name = "SEQ|TIME")]
    pub from: Option<Point>,
    /// Records before this one only: a seq or a receive time, exclusive.
    #[arg(long, value_name = "SEQ|TIME")]
    pub to: Option<Point>,
    /// Only these connections; may be given several times.
    #[arg(long, value_name = "CONN")]
    pub conn: Vec<u32>,
    /// Only these kinds: data, rest, conn_open, conn_close, subscribe, clock, epoch_start, sync,
    /// gap, seal, event; may be given several times.
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<String>,
}

impl Filter {
    /// Refuses kinds that do not exist, before anything is read.
    pub fn check(&self) -> anyhow::Result<()> {
        for kind in &self.kind {
            if !(0..=u8::MAX).any(|raw| print::kind_name(raw) == *kind) {
                return Err(Advice {
                    what: format!("there is no kind {kind}"),
                    fix: "wal-dump dump --help lists the kinds".into(),
                }
                .into());
            }
        }
        Ok(())
    }

    /// Whether the record lies before the wanted range.
    pub fn before(&self, r: &RecordRef<'_>) -> bool {
        match self.from {
            Some(Point::Seq(seq)) => r.seq < seq,
            Some(Point::TimeNs(ns)) => r.ts_recv_ns < ns,
            None => false,
        }
    }

    /// Whether the record lies after the wanted range; all later ones do too.
    pub fn after(&self, r: &RecordRef<'_>) -> bool {
        match self.to {
            Some(Point::Seq(seq)) => r.seq >= seq,
            Some(Point::TimeNs(ns)) => r.ts_recv_ns >= ns,
            None => false,
        }
    }

    /// Whether a record inside the range is wanted.
    pub fn wants(&self, r: &RecordRef<'_>) -> bool {
        (self.conn.is_empty() || self.conn.contains(&r.conn))
            && (self.kind.is_empty() || self.kind.contains(&print::kind_name(r.kind_raw)))
    }

    /// The last segment that begins at or before `from`, by the footers; `None` to start at the
    /// first one.
    pub fn first_segment(&self, target: &Target) -> anyhow::Result<Option<SegmentId>> {
        let (Target::Log(dir), Some(from)) = (target, self.from) else {
            return Ok(None);
        };
        let segments = list_segments(dir).with_context(|| format!("list {}", dir.display()))?;
        Ok(segments
            .iter()
            .take_while(|s| {
                s.footer.as_ref().is_some_and(|f| match from {
                    Point::Seq(seq) => f.last_seq.is_some_and(|last| last < seq),
                    Point::TimeNs(ns) => f.records > 0 && f.last_ts_ns < ns,
                })
            })
            .last()
            .map(|s| SegmentId(s.id.0 + 1)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_point_is_a_seq_or_a_time() {
        assert_eq!("3:12".parse(), Ok(Point::Seq(Seq::new(3, 12))));
        assert_eq!("77".parse(), Ok(Point::Seq(Seq(77))));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(Point::TimeNs(1_000_000_000)));
        for bad in ["", "x", "3:", "3:-1", "99999999:1", "1960-01-01T00:00:00Z"] {
            assert!(bad.parse::<Point>().is_err(), "{bad}");
        }
    }
}
