//! `tapedeck collector`: service 1.

use anyhow::Context;

use super::{ServiceArg, runtime};
use crate::memory::MemoryMonitor;

/// Arguments of `tapedeck collector`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArg,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let (cfg, shutdown) = args.service.prepare("collector")?;
    runtime()?.block_on(async {
        shutdown.on_signals().context("cannot listen for signals")?;
        let (_monitor, pressure) = MemoryMonitor::start(&cfg.memory, "collector").context("watch the memory")?;
        crate::collect::run(cfg, shutdown, pressure).await
    })
}
