//! `wal-dump explain`: why a byte is what it is, or what happened at a moment; in plain sentences.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use wal_format::{SegmentDirs, is_log_dir};

use super::moment::{Moment, Question};
use super::{PlaceArgs, Target, foreign};
use crate::Exit;
use crate::print::{self, Advice};

/// Arguments of `explain`.
#[derive(clap::Args)]
pub struct ExplainArgs {
    /// FILE@OFFSET: why that byte is valid or not. With --at: a log, a directory of logs or a data directory.
    #[arg(value_name = "FILE@OFFSET|DIR", default_value = ".")]
    what: String,
    /// What happened at this receive time? RFC 3339; UTC without an offset: 2026-11-21T12:03:07.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<u64>,
    /// Look at frames that name this symbol, in the venue's own spelling; case does not matter.
    #[arg(long, requires = "at")]
    symbol: Option<String>,
    /// Seconds before and after the moment.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    around: f64,
    /// Frames to show before and after the moment.
    #[arg(long, default_value_t = 3, value_name = "FRAMES")]
    frames: usize,
    /// A second directory with archived segments of the log; found by itself below a data directory.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// One JSON object per log, or for the byte, instead of text.
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> Result<u64, String> {
    let zoned = text.parse::<jiff::Timestamp>().ok();
    let utc = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let at = zoned.or_else(|| utc().map(|z| z.timestamp()));
    at.and_then(|at| u64::try_from(at.as_nanosecond()).ok())
        .ok_or_else(|| "expected a time such as 2026-11-21T12:03:07 (UTC)".into())
}

/// Explains; the exit code says whether what was looked at is whole.
pub fn run(args: &ExplainArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    match args.at {
        None => byte(args, out),
        Some(at_ns) => moment(args, at_ns, out),
    }
}

fn byte(args: &ExplainArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    let asked = args.what.rsplit_once('@').and_then(|(file, offset)| Some((file, offset.parse::<u64>().ok()?)));
    let Some((file, offset)) = asked else {
        return Err(Advice {
            what: format!("{:?} names no byte", args.what),
            fix: "write FILE@OFFSET, for example 00000000000000000004.wal@8192, or ask --at TIME".into(),
        }
        .into());
    };
    if !matches!(Target::of(Path::new(file))?, Target::File(_)) {
        return Err(Advice { what: format!("{file} is a directory"), fix: "name one segment file".into() }.into());
    }
    let said = wal_format::explain::explain(Path::new(file), offset).map_err(|err| foreign(err.into()))?;
    if args.json {
        let line = serde_json::json!({
            "segment": said.segment.0, "offset": said.offset, "valid": said.valid, "seq": said.seq.map(|s| s.get()),
            "from": said.from, "to": said.to, "sentences": said.sentences,
        });
        serde_json::to_writer(&mut *out, &line)?;
        writeln!(out)?;
    } else {
        let word = if said.valid { "valid" } else { "not valid" };
        writeln!(out, "segment {} byte {}: {word}", said.segment, said.offset)?;
        for sentence in &said.sentences {
            writeln!(out, "  {sentence}")?;
        }
    }
    Ok(if said.valid { Exit::Clean } else { Exit::Lost })
}

fn moment(args: &ExplainArgs, at_ns: u64, out: &mut impl Write) -> anyhow::Result<Exit> {
    let question = Question {
        at_ns,
        around_ns: (args.around.clamp(0.0, 86_400.0) * 1e9) as u64,
        symbol: args.symbol.clone(),
        frames: args.frames,
    };
    let mut exit = Exit::Clean;
    for (name, dirs) in logs(Path::new(&args.what), args.archive.as_deref())? {
        let moment = Moment::look(&dirs, &question).with_context(|| format!("read the log {name}"))?;
        if args.json {
            serde_json::to_writer(&mut *out, &moment.json(&name, &question))?;
            writeln!(out)?;
        } else {
            writeln!(out, "{name}, {} s before and after {}:", args.around, print::time(at_ns))?;
            for line in moment.sentences(&question) {
                writeln!(out, "  {line}")?;
            }
        }
        exit = moment.lost.iter().map(Exit::of).fold(exit, Exit::max);
    }
    Ok(exit)
}

/// The logs that `dir` is, or holds, or holds below `wal/`; each with its archive where one is found.
fn logs(dir: &Path, archive: Option<&Path>) -> anyhow::Result<Vec<(String, SegmentDirs)>> {
    let name = |dir: &Path| {
        let full = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
        full.file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    if is_log_dir(dir) {
        let place = PlaceArgs { path: dir.to_path_buf(), archive: archive.map(Path::to_path_buf) };
        return match place.target()? {
            Target::Log(dirs) if archive.is_some() => Ok(vec![(name(dir), dirs)]),
            _ => Ok(vec![(name(dir), with_own_archive(dir))]),
        };
    }
    for inside in [dir.to_path_buf(), dir.join("wal")] {
        let mut found: Vec<PathBuf> =
            std::fs::read_dir(&inside).into_iter().flatten().flatten().map(|e| e.path()).collect();
        found.retain(|path| path.is_dir() && is_log_dir(path));
        found.sort();
        if !found.is_empty() {
            return Ok(found.iter().map(|path| (name(path), with_own_archive(path))).collect());
        }
    }
    // Says what is wrong with it.
    Target::of(dir)?;
    Err(Advice { what: format!("{} is not a log", dir.display()), fix: "name the directory of one log".into() }.into())
}

/// The log in `<data>/wal/<name>` with what lies in `<data>/archive/<name>/<first eight digits of its uuid>`.
fn with_own_archive(dir: &Path) -> SegmentDirs {
    let full = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
    let uuid = wal_format::lineage(dir).ok().flatten().map(|lineage| lineage.log_uuid());
    let archive = uuid.and_then(|uuid| {
        let log8: String = print::uuid(&uuid).chars().take(8).collect();
        Some(full.parent()?.parent()?.join("archive").join(full.file_name()?).join(log8))
    });
    SegmentDirs::with_archive(dir, archive.as_deref().filter(|dir| dir.is_dir()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_an_offset_is_utc() {
        assert_eq!(time("1970-01-01T00:00:07"), Ok(7_000_000_000));
        assert_eq!(time("1970-01-01T01:00:07+01:00"), Ok(7_000_000_000));
        assert_eq!(time("1970-01-01T00:00:07.5Z"), Ok(7_500_000_000));
        assert!(time("12:03:07").is_err() && time("1969-01-01T00:00:00").is_err());
    }
}
