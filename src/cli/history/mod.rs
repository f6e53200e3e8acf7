//! `tapedeck history`: the exchange's archive, mirrored. One file per action.

mod choice;
mod status;

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
    /// What is here, what waits, what failed and what to do about it; the last runs.
    Status(status::Args),
}

pub(super) fn run(args: Args) -> Result<()> {
    match args.what {
        What::Status(args) => status::run(args),
    }
}
