//! `tapedeck compactor`: service 2, and `--drain`.

use std::sync::Arc;

use anyhow::Context;

use super::{ConfigArg, load, need_venues, runtime, stop_with_parent};
use crate::compact::{self, Mode};
use crate::shutdown::Shutdown;

/// Arguments of `tapedeck compactor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Work the logs off to their present end, publish everything, the open hour too, and exit.
    #[arg(long)]
    drain: bool,
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
        let status = Arc::new(compact::CompactorStatus::default());
        let mode = if args.drain { Mode::Drain } else { Mode::Follow };
        if mode == Mode::Drain {
            return compact::run(cfg, mode, shutdown, status).await.map(drop);
        }
        // Bound before any work: a port in use is a plain refusal, not a half-started service.
        let listener = crate::api::bind(cfg.api.listen).await?;
        let server = tokio::spawn(crate::api::serve(listener, cfg.clone(), status.clone(), shutdown.clone()));
        let outcome = compact::run(cfg, mode, shutdown.clone(), status).await;
        shutdown.trigger();
        server.await.context("the status server ended badly")?;
        outcome.map(drop)
    })
}
