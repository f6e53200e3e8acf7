//! The subcommands, one file each, and what they share: finding the log, choosing records.

pub mod bench;
pub mod chunks;
pub mod dump;
pub mod explain;
pub mod follow;
pub mod holes;
pub mod lag;
pub mod ls;
pub mod moment;
pub mod salvage;
pub mod stat;
pub mod verify;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use wal_format::verify::verify_log;
use wal_format::{LogReader, Position, ReaderOptions, RecordRef, SegmentDirs, SegmentId, Seq};

use crate::Exit;
use crate::print::{self, Advice};

/// Where to look, for commands that take a log or a file.
#[derive(clap::Args)]
pub struct PlaceArgs {
    /// Directory of one log, or one segment file, plain or archived; for verify and dump also a directory with the chunks
    /// of a shipped log, or one of them (.tdc).
    #[arg(value_name = "LOG|FILE")]
    pub path: PathBuf,
    /// A second directory with archived segments of the same log, for example data/archive/binance-spot/1a2b3c4d.
    #[arg(long, value_name = "DIR")]
    pub archive: Option<PathBuf>,
}

impl PlaceArgs {
    /// What is there.
    pub fn target(&self) -> anyhow::Result<Target> {
        match (Target::of(&self.path)?, &self.archive) {
            (Target::Log(dirs), Some(archive)) => {
                if !archive.is_dir() {
                    return Err(Advice {
                        what: format!("{} is no directory", archive.display()),
                        fix: "give the directory that holds the .wal.zst files of this log".into(),
                    }
                    .into());
                }
                Ok(Target::Log(SegmentDirs::with_archive(dirs.dir(), Some(archive))))
            }
            (target, _) => Ok(target),
        }
    }
}

/// What the user pointed at.
pub enum Target {
    /// The segments of one log.
    Log(SegmentDirs),
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
        // A FIFO, a socket, a device: nothing to wait for or to read without end.
        if let Err(err) = wal_format::regular::check(path)
            && !meta.is_dir()
        {
            return Err(Advice {
                what: format!("cannot read {}: {err}", path.display()),
                fix: "give the directory of one log, or one segment file".into(),
            }
            .into());
        }
        if is_log(path) {
            return Ok(Target::Log(SegmentDirs::new(path)));
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
            Target::Log(dirs) => Ok(dirs.dir().to_path_buf()),
            Target::File(file) => Err(Advice {
                what: format!("{} is a file, not a log", file.display()),
                fix: "this command wants the directory of one log; verify, dump and holes take a \
                      single segment"
                    .into(),
            }
            .into()),
        }
    }

    /// A reader over all of it, or of a log from a position on. Damage is stepped over and reported.
    pub fn reader(&self, from: Option<Position>) -> anyhow::Result<LogReader> {
        let options = ReaderOptions { follow_damaged: true, ..ReaderOptions::default() };
        match self {
            Target::Log(dirs) => {
                let options = ReaderOptions { archive: dirs.archive().map(Path::to_path_buf), ..options };
                LogReader::open(dirs.dir(), from.unwrap_or(Position::START), options)
                    .with_context(|| format!("open the log {}", dirs.dir().display()))
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
        "only segments written by Tapedeck can be read, <20 digits>.wal or .wal.zst; check the path"
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

    /// Where to begin so that no wanted record is before it and little else is read; `None` for the beginning.
    pub fn start(&self, target: &Target) -> anyhow::Result<Option<Position>> {
        match (target, self.from) {
            (Target::Log(dirs), Some(from)) => start_at(dirs, from),
            _ => Ok(None),
        }
    }
}

/// The nearest position at or before `from` that footers and their indexes know; `None` for the beginning.
pub fn start_at(dirs: &SegmentDirs, from: Point) -> anyhow::Result<Option<Position>> {
    let mut start = None;
    for segment in dirs.list().with_context(|| format!("list {}", dirs.dir().display()))? {
        if segment.foreign.is_some() {
            continue;
        }
        let Some(footer) = &segment.footer else { break };
        let over = match from {
            Point::Seq(seq) => footer.last_seq.is_some_and(|last| last < seq),
            Point::TimeNs(ns) => footer.records > 0 && footer.last_ts_ns < ns,
        };
        if over {
            start = Some(Position { segment: SegmentId(segment.id.0 + 1), ..Position::START });
            continue;
        }
        let entry = footer.index.iter().rev().find(|e| match from {
            Point::Seq(seq) => e.seq <= seq.get(),
            // Several records may have been received at the same instant.
            Point::TimeNs(ns) => e.ts_recv_ns < ns,
        });
        if let Some(entry) = entry {
            start = Some(Position { segment: segment.id, offset: entry.offset, seq: Seq(entry.seq) });
        }
        break;
    }
    Ok(start)
}

/// What the segments in `dir` are like, by their worst fault.
pub fn exit_of_log(dir: &Path) -> anyhow::Result<Exit> {
    let mut exit = Exit::Clean;
    verify_log(dir, false, |report| exit = exit.max(verify::exit_of(report.worst())))
        .with_context(|| format!("verify {}", dir.display()))?;
    Ok(exit)
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
