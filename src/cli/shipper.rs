//! `tapedeck shipper`: logs into an object store, in a process of its own. A collector with `[ship] dir` does it by itself; whoever comes
//! first has a log, the other one waits.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;

use super::service::{ServiceArg, serve};
use config::Config;
use ops::memory::MemoryMonitor;
use ops::shutdown::Shutdown;
use ops::supervise::{self, Supervisor};
use ship::ShipStats;

/// Arguments of `tapedeck shipper`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArg,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let (cfg, shutdown, supervisor) = args.service.prepare("shipper")?;
    if !cfg.capture.ship.is_on() {
        anyhow::bail!(
            "[ship] dir is empty: there is nowhere to ship to; name a directory or the URL of an object store"
        );
    }
    serve(async {
        shutdown.on_signals(&supervisor).context("cannot listen for signals")?;
        super::service::be_supervised(&supervisor, &shutdown);
        let _monitor =
            MemoryMonitor::start(&cfg.memory, "shipper", &supervisor).context("cannot start the memory monitor")?;
        let shipping = Shipping::start(&cfg, &supervisor)?;
        ops::notify::ready();
        shutdown.wait().await;
        shipping.finish().await;
        Ok(supervisor.verdict()?)
    })
}

/// The shippers of a service.
pub(super) struct Shipping {
    threads: Vec<JoinHandle<()>>,
    stop: Shutdown,
}

impl Shipping {
    /// Starts those that are configured.
    pub(super) fn start(cfg: &Config, supervisor: &Supervisor) -> anyhow::Result<Self> {
        let (stop, stats) = (Shutdown::new(), ShipStats::default());
        let mut threads = Vec::new();
        if cfg.capture.ship.is_on() {
            let store = s3::open(cfg.capture.ship.dir.as_ref(), &cfg.store)?;
            threads = ship::start(&Arc::new(cfg.capture.clone()), &store, &stats, supervisor, &stop)?;
            supervisor.counts(move |out| stats.expose(out));
        }
        Ok(Self { threads, stop })
    }

    /// Has what was read put, and waits for it.
    pub(super) async fn finish(self) {
        self.stop.trigger();
        // Their panics were reported by the supervisor.
        supervise::blocking(move || self.threads.into_iter().for_each(|thread| drop(thread.join()))).await;
    }
}
