//! What both services do around their work: configuration and logging before it, signs of life, the end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::config_arg::{ConfigArg, load, need_venues};
use super::runtime::runtime;
use collect::{Newer, Reload};
use config::{Config, ConfigErrors, Problem, places};
use ops::shutdown::Shutdown;
use ops::supervise::{Supervisor, Task};

/// The arguments of a long-running service.
#[derive(Debug, clap::Args)]
pub struct ServiceArg {
    #[command(flatten)]
    config: ConfigArg,
    /// Stop cleanly when stdin closes (for a parent process that may die).
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

impl ServiceArg {
    /// Reads the configuration again at every SIGHUP; call it before anything that takes time.
    pub(super) fn reload(
        &self,
        started: &Arc<Config>,
        supervisor: &Supervisor,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Reload> {
        let asked = ops::hangup::hangups(shutdown, supervisor).context("cannot listen for SIGHUP")?;
        let (path, started) = (self.config.config.clone(), Arc::clone(started));
        Ok(Reload::new(asked, move || {
            let cfg = load(&path)?;
            match need_venues(&cfg, &path) {
                Ok(()) => Ok(Newer { capture: cfg.capture.clone(), changed: started.changed(&cfg) }),
                Err(err) => Err(ConfigErrors(vec![Problem {
                    key: "--config".into(),
                    origin: String::new(),
                    what: format!("{err:#}"),
                    fix: "correct the file and send SIGHUP again".into(),
                }])),
            }
        }))
    }

    /// Configuration, logging and the request to stop, ready for the service.
    pub(super) fn prepare(&self, service: &str) -> anyhow::Result<(Arc<Config>, Shutdown, Supervisor)> {
        let cfg = load(&self.config.config)?;
        need_venues(&cfg, &self.config.config)?;
        ops::telemetry::init(&cfg.log);
        let venues = cfg.capture.venues.keys().map(|v| v.as_str()).collect::<Vec<_>>().join(" ");
        tracing::info!(service, version = env!("CARGO_PKG_VERSION"), venues, data = %cfg.capture.data_dir.display(), "starting");
        let wrong = places::check(&cfg).into_iter().chain(places::largest_frame(&cfg));
        for Problem { key, what, fix, .. } in wrong {
            tracing::warn!(key, fix, "{what}");
        }
        let shutdown = Shutdown::new();
        let supervisor = Supervisor::of_service(shutdown.clone());
        if self.stop_with_stdin {
            stop_with_parent(&shutdown, &supervisor)?;
        }
        Ok((cfg, shutdown, supervisor))
    }
}

/// Runs a service. Helper threads that hang when it has ended (a resolver, a dead mount) do not keep the process.
pub(super) fn serve(service: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(service);
    runtime.shutdown_timeout(HELPERS_PATIENCE);
    outcome
}

/// They are not waited for any more.
const HELPERS_PATIENCE: Duration = Duration::from_millis(200);

/// Signs of life for the service manager, and a notice when the service was asked to stop.
pub(super) fn be_supervised(supervisor: &Supervisor, shutdown: &Shutdown) {
    // Alive until the process ends: a long last flush is no hang.
    let never = Shutdown::new();
    supervisor.spawn(Task::Notify, "alive", &never.clone(), move || ops::notify::watchdog(never.clone()));
    let asked = shutdown.clone();
    supervisor.spawn(Task::Notify, "stopping", shutdown, move || {
        let asked = asked.clone();
        async move {
            asked.wait().await;
            ops::notify::stopping();
        }
    });
}

/// Stops a service when the process that started it goes away: its stdin closes.
fn stop_with_parent(shutdown: &Shutdown, supervisor: &Supervisor) -> anyhow::Result<()> {
    let asked = shutdown.clone();
    let watch = supervisor.thread(Task::Parent, "", shutdown, move || {
        // Whatever ends it: nobody is there any more.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        asked.trigger();
    });
    watch.map(drop).context("watch the parent process")
}
