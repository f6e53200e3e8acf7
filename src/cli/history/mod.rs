//! `tapedeck history`: Binance's historical data, mirrored. One file per action.

mod choice;
mod clean;
mod download;
mod list;
mod progress;
mod status;
mod verify;

use anyhow::Result;
use clap::Subcommand;

/// Arguments of `tapedeck history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What the archive has, what is here, what differs; changes nothing.
    List(list::Args),
    /// Mirrors the chosen files; goes on where it was stopped or killed.
    Download(download::Args),
    /// Turns mirrored files into tables of a lake: typed, in order, without duplicates; rejected lines go to a quarantine.
    Clean(clean::Args),
    /// Proves the cleaned files: digests, rows, gaps, candles against trades, overlap with the live lake.
    Verify(verify::Args),
    /// What is here, what waits, what failed and what to do about it; the last runs.
    Status(status::Args),
}

pub(super) fn run(args: Args) -> Result<()> {
    match args.what {
        What::List(args) => list::run(args),
        What::Download(args) => download::run(args),
        What::Clean(args) => clean::run(&args),
        What::Verify(args) => verify::run(&args),
        What::Status(args) => status::run(args),
    }
}
