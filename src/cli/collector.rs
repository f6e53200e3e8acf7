//! `tapedeck collector`: service 1.

use std::sync::Arc;

use anyhow::Context;

use super::service::{ServiceArg, serve};
use config::{ConfigErrors, room};
use ops::memory::MemoryMonitor;

/// Arguments of `tapedeck collector`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArg,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let (cfg, shutdown, supervisor) = args.service.prepare("collector")?;
    // Once something was recorded, whatever room there is is worth recording into.
    let disk = room::first(&cfg);
    if !disk.is_empty() && !cfg.capture.venues.keys().any(|id| cfg.capture.wal_dir(*id).exists()) {
        return Err(ConfigErrors(disk).into());
    }
    serve(async {
        shutdown.on_signals(&supervisor).context("cannot listen for signals")?;
        let reload = args.service.reload(&cfg, &supervisor, &shutdown)?;
        super::service::be_supervised(&supervisor, &shutdown);
        let (_monitor, pressure) =
            MemoryMonitor::start(&cfg.memory, "collector", &supervisor).context("cannot start the memory monitor")?;
        let (capture, settings) = (Arc::new(cfg.capture.clone()), cfg.collector.clone());
        let shipping = super::shipper::Shipping::start(&cfg, &supervisor)?;
        let recorded = collect::run(capture, settings, shutdown, pressure, Some(reload), supervisor.clone()).await;
        // The last record of each log is there by now.
        shipping.finish().await;
        recorded?;
        Ok(supervisor.verdict()?)
    })
}
