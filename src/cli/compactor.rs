//! `tapedeck compactor`: service 2, and `--drain`.

use std::sync::Arc;

use anyhow::Context;

use super::{ServiceArg, runtime};
use crate::compact::{self, Mode};
use crate::config::Config;
use crate::health::Health;
use crate::kline::KlineService;
use crate::memory::{MemoryMonitor, Pressure};
use crate::shutdown::Shutdown;

/// Arguments of `tapedeck compactor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArg,
    /// Work the logs off to their present end, publish everything, the open hour too, and exit.
    #[arg(long)]
    drain: bool,
    /// Go on with this log (a venue, or VENUE.repair) although what was acknowledged is neither in the lake nor in the
    /// log: the loss is told in the next manifest. Without it such a log stops. May be given several times.
    #[arg(long, value_name = "LOG")]
    accept_loss: Vec<String>,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let (cfg, shutdown) = args.service.prepare("compactor")?;
    runtime()?.block_on(async {
        shutdown.on_signals().context("cannot listen for signals")?;
        let reload = args.service.reload(&shutdown)?;
        // Symbols come with the log, whoever chose them.
        let of_the_log = |key: &str| key.starts_with("venues.") && key.ends_with(".symbols");
        tokio::spawn(reload.only_tell(Arc::clone(&cfg), shutdown.clone(), of_the_log));
        super::be_supervised(&shutdown);
        let (_monitor, pressure) = MemoryMonitor::start(&cfg.memory, "compactor").context("watch the memory")?;
        let told = Arc::clone(&cfg);
        pressure.on_change(move |change| crate::collect::leave_pressure(&told, change));
        let status = Arc::new(compact::CompactorStatus::new(pressure.clone()));
        let mode = if args.drain { Mode::Drain } else { Mode::Follow };
        let health = Arc::new(Health::of_compactor(&cfg));
        status.watched_by(Arc::clone(&health));
        status.accept_loss_of(args.accept_loss);
        if mode == Mode::Drain {
            let candles = candles(&cfg, mode, &shutdown, &pressure).await?;
            let outcome = compact::run(cfg.clone(), mode, shutdown, status).await;
            finish(candles, cfg, mode).await?;
            return outcome.map(drop);
        }
        // Bound before any work: a port in use is a plain refusal, not a half-started service.
        let access = crate::api::Access::load(&cfg.api)?;
        let listener = crate::api::bind(cfg.api.listen).await?;
        let watch = tokio::spawn(health.watch(shutdown.clone()));
        let told = tokio::spawn(compact::stats::run(Arc::clone(&status), shutdown.clone()));
        let candles = candles(&cfg, mode, &shutdown, &pressure).await?;
        let nightly = candles.as_ref().map(|_| tokio::spawn(crate::kline::nightly(cfg.clone(), shutdown.clone())));
        let hub = candles.as_ref().map(|c| Arc::clone(c.hub()));
        let server =
            tokio::spawn(crate::api::serve(listener, cfg.clone(), access, status.clone(), hub, shutdown.clone()));
        crate::notify::ready();
        let outcome = compact::run(cfg.clone(), mode, shutdown.clone(), status).await;
        shutdown.trigger();
        if let Some(nightly) = nightly {
            nightly.await.context("the nightly comparison ended badly")?;
        }
        finish(candles, cfg, mode).await?;
        server.await.context("the status server ended badly")?;
        watch.await.context("the watch over the disk ended badly")?;
        told.await.context("the statistics ended badly")?;
        outcome.map(drop)
    })
}

/// Starts the candles where a client of a database server may block.
async fn candles(
    cfg: &Arc<Config>,
    mode: Mode,
    shutdown: &Shutdown,
    pressure: &Pressure,
) -> anyhow::Result<Option<KlineService>> {
    let (cfg, shutdown, pressure) = (Arc::clone(cfg), shutdown.clone(), pressure.clone());
    let start = move || KlineService::start_under(&cfg, mode, &shutdown, &pressure);
    tokio::task::spawn_blocking(start).await.context("start the candles")?
}

/// Waits for the candles' last checkpoint, and deletes what both readers have passed by now.
async fn finish(candles: Option<KlineService>, cfg: Arc<Config>, mode: Mode) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || {
        if let Some(candles) = candles {
            candles.join()?;
        }
        compact::retire_all(&cfg, mode);
        if mode == Mode::Drain
            && let Err(err) = compact::retention::Keeper::default().sweep(&cfg, crate::clock::wall_ns())
        {
            tracing::warn!(error = %format!("{err:#}"), "cannot look for what is too old");
        }
        Ok(())
    })
    .await
    .context("end the candles")?
}
