//! `tapedeck collector`: service 1.

use anyhow::Context;

use super::{ServiceArg, runtime};

/// Arguments of `tapedeck collector`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArg,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let (cfg, shutdown) = args.service.prepare()?;
    runtime()?.block_on(async {
        shutdown.on_signals().context("cannot listen for signals")?;
        crate::collect::run(cfg, shutdown).await
    })
}
