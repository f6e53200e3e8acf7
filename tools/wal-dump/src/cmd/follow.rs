//! `wal-dump follow`: prints records as they come. Registers nowhere, holds nothing back; sleeps until the writer's bell.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use wal_format::{Position, SegmentDirs, Step, Waiter};

use super::dump::ShapeArgs;
use super::{Filter, Target};
use crate::Exit;
use crate::print;

/// Longest sleep at the tail: a log whose writer died and came back has another bell.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Arguments of `follow`.
#[derive(clap::Args)]
pub struct FollowArgs {
    /// Directory of one log. It may still be empty.
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Begin with the whole log instead of the records that come from now on.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    shape: ShapeArgs,
    /// Stop after this many records.
    #[arg(long, value_name = "RECORDS")]
    limit: Option<u64>,
}

/// Prints until interrupted, until `--to` is reached or `--limit` records are out.
pub fn run(args: &FollowArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    args.filter.check()?;
    let dir = Target::log(&args.log)?;
    let target = Target::Log(SegmentDirs::new(&dir));
    let mut start = args.filter.start(&target)?;
    let from_now = !args.all && args.filter.from.is_none();
    if from_now {
        // The footers name what is finished; only the open segment has to be walked.
        start = wal_format::list_segments(&dir)
            .with_context(|| format!("list {}", dir.display()))?
            .iter()
            .filter(|s| s.sealed)
            .map(|s| s.id)
            .max()
            .map(|segment| Position { segment, ..Position::START });
    }
    let mut reader = target.reader(start)?;
    let shape = args.shape.shape();
    let mut waiter = Waiter::new(&dir);
    let (mut live, mut left) = (!from_now, args.limit.unwrap_or(u64::MAX));
    let mut exit = Exit::Clean;
    while left > 0 {
        match reader.next().context("read the log")? {
            Step::Record(record) => {
                waiter.progressed();
                if args.filter.after(&record) {
                    break;
                }
                if live && !args.filter.before(&record) && args.filter.wants(&record) {
                    print::record(out, shape, &record)?;
                    left -= 1;
                }
            }
            Step::Lost(lost) => {
                if live {
                    exit = exit.max(Exit::Lost);
                    print::lost(out, shape, &lost)?;
                }
            }
            Step::Tail => {
                live = true;
                out.flush()?;
                waiter.pause(LONGEST_PAUSE);
            }
            Step::AwaitRepair { .. } => reader.skip_damaged(),
        }
    }
    Ok(exit)
}
