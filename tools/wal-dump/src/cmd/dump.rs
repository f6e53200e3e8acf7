//! `wal-dump dump`: prints records, and the lost ranges between them.

use std::io::Write;

use anyhow::Context;
use wal_format::Step;

use super::{Filter, PlaceArgs};
use crate::Exit;
use crate::print::{self, Shape};

/// Arguments of `dump`.
#[derive(clap::Args)]
pub struct DumpArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    shape: ShapeArgs,
    /// Stop after this many records.
    #[arg(long, value_name = "RECORDS")]
    limit: Option<u64>,
}

/// One of three shapes; text without any.
#[derive(clap::Args)]
#[group(multiple = false)]
pub struct ShapeArgs {
    /// One JSON object per record.
    #[arg(long)]
    json: bool,
    /// Only the payloads, byte for byte, each followed by a newline.
    #[arg(long)]
    raw: bool,
    /// A header line and a hex dump per record.
    #[arg(long)]
    hex: bool,
}

impl ShapeArgs {
    /// The chosen shape.
    pub fn shape(&self) -> Shape {
        match (self.json, self.raw, self.hex) {
            (true, _, _) => Shape::Json,
            (_, true, _) => Shape::Raw,
            (_, _, true) => Shape::Hex,
            _ => Shape::Text,
        }
    }
}

/// Prints what is there now and stops at the tail.
pub fn run(args: &DumpArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    args.filter.check()?;
    if let Some(chunks) = super::chunks::find(&args.place)? {
        return super::chunks::dump(&chunks, &args.filter, args.shape.shape(), args.limit, out);
    }
    let target = args.place.target()?;
    let mut reader = target.reader(args.filter.start(&target)?)?;
    let shape = args.shape.shape();
    let (mut exit, mut left) = (Exit::Clean, args.limit.unwrap_or(u64::MAX));
    while left > 0 {
        match reader.next().context("read the log")? {
            Step::Record(record) => {
                if args.filter.after(&record) {
                    break;
                }
                if !args.filter.before(&record) && args.filter.wants(&record) {
                    print::record(out, shape, &record)?;
                    left -= 1;
                }
            }
            Step::Lost(lost) => {
                exit = exit.max(Exit::Lost);
                print::lost(out, shape, &lost)?;
            }
            Step::Tail => break,
            Step::AwaitRepair { .. } => reader.skip_damaged(),
        }
    }
    Ok(exit)
}
