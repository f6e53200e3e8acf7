//! `wal-dump follow`: prints records as they come. Registers nowhere, holds nothing back.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use wal_format::{Backoff, Step};

use super::dump::ShapeArgs;
use super::{Filter, Target};
use crate::Exit;
use crate::print;

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
    let target = Target::Log(Target::log(&args.log)?);
    let mut start = args.filter.first_segment(&target)?;
    let from_now = !args.all && args.filter.from.is_none();
    if from_now && let Target::Log(dir) = &target {
        // The footers name what is finished; only the open segment has to be walked.
        start = wal_format::list_segments(dir)
            .with_context(|| format!("list {}", dir.display()))?
            .iter()
            .filter(|s| s.sealed)
            .map(|s| s.id)
            .max();
    }
    let mut reader = target.reader(start)?;
    let shape = args.shape.shape();
    let mut backoff = Backoff::new();
    let (mut live, mut left) = (!from_now, args.limit.unwrap_or(u64::MAX));
    let mut exit = Exit::Clean;
    while left > 0 {
        match reader.next().context("read the log")? {
            Step::Record(record) => {
                backoff.reset();
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
                    exit = exit.max(Exit::Holes);
                    print::lost(out, shape, &lost)?;
                }
            }
            Step::Tail => {
                live = true;
                out.flush()?;
                backoff.wait();
            }
            Step::AwaitRepair { .. } => reader.skip_damaged(),
        }
    }
    Ok(exit)
}
