//! `tapedeck collector`: service 1.

use anyhow::Context;

use super::{ConfigArg, load, need_venues, runtime, stop_with_parent};
use crate::shutdown::Shutdown;

/// Arguments of `tapedeck collector`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Stop cleanly when stdin closes (for a parent process that may die).
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let cfg = load(&args.config.config)?;
    need_venues(&cfg, &args.config.config)?;
    crate::telemetry::init(&cfg.log);
    let shutdown = Shutdown::new();
    if args.stop_with_stdin {
        stop_with_parent(shutdown.clone());
    }
    runtime()?.block_on(async {
        shutdown.on_signals().context("cannot listen for signals")?;
        crate::collect::run(cfg, shutdown).await
    })
}
