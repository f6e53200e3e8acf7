//! `tapedeck compactor`: log to Parquet, candles, and the HTTP server of both; `--drain` does what is there and exits.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::service::{ServiceArg, serve};
pub use compact::{self, Mode};
use config::Config;
use kline::KlineService;
use lake::Lake;
use ops::health::{Conditions, Reason};
use ops::memory::{MemoryMonitor, Pressure};
use ops::shutdown::Shutdown;
use ops::supervise::{self, Supervisor, Task};

/// Arguments of `tapedeck compactor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArg,
    /// Process the logs to their current end, publish everything including the open hour, and exit.
    #[arg(long)]
    drain: bool,
    /// Accept that acknowledged records of this log (a venue, or VENUE.repair) are in neither the lake nor the log, and go
    /// on; the next manifest names the lost range. Without it the compactor refuses that log. May be given several times.
    #[arg(long, value_name = "LOG")]
    accept_loss: Vec<String>,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let (cfg, shutdown, supervisor) = args.service.prepare("compactor")?;
    serve(async {
        shutdown.on_signals(&supervisor).context("cannot listen for signals")?;
        let reload = args.service.reload(&cfg, &supervisor, &shutdown)?;
        // Symbols come with the log, whoever chose them.
        let of_the_log = |key: &str| key.starts_with("venues.") && key.ends_with(".symbols");
        reload.report_only(&supervisor, &shutdown, of_the_log);
        super::service::be_supervised(&supervisor, &shutdown);
        let (_monitor, pressure) =
            MemoryMonitor::start(&cfg.memory, "compactor", &supervisor).context("cannot start the memory monitor")?;
        let shared_cfg = Arc::clone(&cfg);
        pressure.on_change(move |change| collect::leave_pressure(&shared_cfg.capture, change));
        let status = Arc::new(ops::compactor::CompactorStatus::supervised(pressure.clone(), supervisor.clone()));
        let mode = if args.drain { Mode::Drain } else { Mode::Follow };
        let mut compacted = cfg.for_compactor();
        for (id, dir) in &cfg.capture.sources {
            tracing::warn!(venue = %id, "its log is read from chunks: no candles are made of it in this version");
            let store = s3::open(dir.as_ref(), &cfg.store)?;
            Arc::make_mut(&mut compacted).sources.insert(*id, store);
        }
        if cfg.capture.ship.is_on() {
            Arc::make_mut(&mut compacted).shipped = Some(s3::open(cfg.capture.ship.dir.as_ref(), &cfg.store)?);
        }
        let lake = s3::lake(&cfg.lake, &cfg.store)?;
        let health = Arc::new(compact::health(&compacted));
        status.watched_by(Arc::clone(&health));
        status.accept_loss_of(args.accept_loss);
        if mode == Mode::Drain {
            let candles = candles(&cfg, mode, &shutdown, &pressure, &supervisor).await?;
            let outcome = compact::run(compacted.clone(), lake.clone(), mode, shutdown, status).await;
            let finished = finish(candles, compacted, lake, mode).await;
            supervisor.verdict()?;
            // What failed says more than what was asked to stop.
            return match (outcome, finished) {
                (Err(err), finished) if finished.is_ok() || !err.stopped() => Err(err.into()),
                (_, finished) => finished,
            };
        }
        // Bound before any work: a port in use is a plain refusal, not a half-started service.
        let access = cfg.api.access()?;
        let listener = api::bind(cfg.api.listen).await?;
        supervisor.spawn(Task::Disks, "", &shutdown, {
            let (conditions, stop) = (supervisor.conditions().clone(), shutdown.clone());
            move || Arc::clone(&health).watch(conditions.clone(), stop.clone())
        });
        supervisor.spawn(Task::Stats, "", &shutdown, {
            let (status, stop) = (Arc::clone(&status), shutdown.clone());
            move || compact::stats::run(Arc::clone(&status), stop.clone())
        });
        supervisor.spawn(Task::Bans, "", &shutdown, {
            let capture = Arc::new(cfg.capture.clone());
            let (conditions, stop) = (supervisor.conditions().clone(), shutdown.clone());
            move || compact::bans::watch(Arc::clone(&capture), conditions.clone(), stop.clone())
        });
        if cfg.lake.is_remote() {
            let (cfg, conditions, stop) = (Arc::clone(&cfg), supervisor.conditions().clone(), shutdown.clone());
            supervisor.spawn(Task::Store, "", &shutdown, move || {
                watch_store(Arc::clone(&cfg), conditions.clone(), stop.clone())
            });
        }
        let candles = candles(&cfg, mode, &shutdown, &pressure, &supervisor).await?;
        if candles.is_some() {
            let (cfg, stop) = (cfg.for_candles(), shutdown.clone());
            supervisor.spawn(Task::Nightly, "", &shutdown, move || kline::nightly(cfg.clone(), stop.clone()));
        }
        let hub = candles.as_ref().map(|c| Arc::clone(c.hub()));
        let server = tokio::spawn(api::serve(
            listener,
            cfg.for_api(),
            lake.clone(),
            access,
            status.clone(),
            hub,
            shutdown.clone(),
        ));
        ops::notify::ready();
        let outcome = compact::run(compacted.clone(), lake.clone(), mode, shutdown.clone(), status).await;
        shutdown.trigger();
        let finished = finish(candles, compacted, lake, mode).await;
        // It disconnects clients that do not read, and is restarted by a wrapper that never panics.
        server.await.context("the HTTP server of status and candles failed")?;
        supervisor.verdict()?;
        finished?;
        Ok(outcome.map(drop)?)
    })
}

/// Between two looks whether the store answers.
const STORE_EVERY: Duration = Duration::from_secs(30);

/// Looks, until `shutdown`, whether the store of the lake answers, and, until that is known, whether it can hold a lake.
/// Each look tries for as long as every request does (`[store] retry_s`), so a short failure is none.
async fn watch_store(cfg: Arc<Config>, conditions: Conditions, shutdown: Shutdown) {
    let mut proven = false;
    let work = async {
        loop {
            let asked = Arc::clone(&cfg);
            let found = supervise::blocking(move || s3::probe(&asked.lake, &asked.store, !proven)).await;
            let wrong = match &found {
                Ok(probe) => probe.wrong.first().map(|(what, fix)| format!("{what}; {fix}")),
                Err(err) => Some(err.to_string()),
            };
            proven |= wrong.is_none();
            let kept = "what is published waits, and the log keeps its segments";
            let text = wrong.map(|wrong| format!("{}: {wrong}; {kept}", cfg.lake.dir.display()));
            if let Some(text) = &text {
                tracing::warn!(error = %text, "the store of the lake is not to be used");
            }
            conditions.set(Reason::StoreAway, "", text);
            tokio::time::sleep(STORE_EVERY).await;
        }
    };
    tokio::select! {
        biased;
        // A look may end wherever it is.
        () = shutdown.wait() => {}
        () = work => {}
    }
}

/// Starts the candles where a client of a database server may block.
async fn candles(
    cfg: &Config,
    mode: Mode,
    shutdown: &Shutdown,
    pressure: &Pressure,
    supervisor: &Supervisor,
) -> anyhow::Result<Option<KlineService>> {
    let (cfg, shutdown, pressure) = (cfg.for_candles(), shutdown.clone(), pressure.clone());
    let supervisor = supervisor.clone();
    let start = move || KlineService::start_under(&cfg, mode, &shutdown, &pressure, &supervisor);
    Ok(supervise::blocking(start).await?)
}

/// Waits for the candles' last checkpoint, and deletes what both readers have passed by now.
async fn finish(
    candles: Option<KlineService>,
    cfg: Arc<compact::Config>,
    lake: Lake,
    mode: Mode,
) -> anyhow::Result<()> {
    supervise::blocking(move || {
        if let Some(candles) = candles {
            candles.join()?;
        }
        compact::retire_all(&cfg, &lake, mode);
        if mode == Mode::Drain
            && let Err(err) = compact::retention::RetentionSweeper::default().sweep(&cfg, &lake, ops::clock::wall_ns())
        {
            tracing::warn!(error = %wal_format::error_chain(&err), "retention could not look through the lake");
        }
        Ok(())
    })
    .await
}
