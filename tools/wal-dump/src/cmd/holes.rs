//! `wal-dump holes`: every lost range, nothing else.

use std::io::Write;

use anyhow::Context;
use wal_format::Step;

use super::PlaceArgs;
use crate::Exit;
use crate::print::{self, Shape};

/// Walks the log and lists what is missing. A quiet run means that nothing is.
pub fn run(place: &PlaceArgs, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let mut reader = place.target()?.reader(None)?;
    let shape = if json { Shape::Json } else { Shape::Text };
    let mut exit = Exit::Clean;
    loop {
        match reader.next().context("read the log")? {
            Step::Record(_) => {}
            Step::Lost(lost) => {
                exit = exit.max(Exit::of(&lost));
                print::lost(out, shape, &lost)?;
            }
            Step::Tail => return Ok(exit),
            Step::AwaitRepair { .. } => reader.skip_damaged(),
        }
    }
}
