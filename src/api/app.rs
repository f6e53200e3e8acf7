//! What every answer may need: the hub, the status, the configuration, and what the server remembers between requests.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::cache::{QualityCache, SystemCache};
use super::counts::Counts;
use super::error::{ApiError, ApiResult, Failed};
use super::weights::Weights;
use super::ws::Dispatcher;
use crate::settings::{Config, Settings};
use kline::KlineHub;
use lake::Lake;
use net::server::{self, Access, Gate};
use ops::compactor::CompactorStatus;
use ops::memory::Held;
use ops::shutdown::Shutdown;
use ops::supervise::{self, Task};

/// Questions to the database at once; the rest wait.
const READS: usize = 8;

/// What every answer may need.
pub(crate) struct App {
    pub status: Arc<CompactorStatus>,
    pub hub: Option<Arc<KlineHub>>,
    pub cfg: Settings,
    pub config: Arc<Config>,
    pub lake: Lake,
    pub access: Access,
    pub dispatcher: Option<Arc<Dispatcher>>,
    pub reads: Semaphore,
    pub sockets: Arc<Semaphore>,
    pub weights: Weights,
    pub counts: Counts,
    pub gate: Gate,
    pub system_cache: SystemCache,
    pub reports: QualityCache,
    pub shutdown: Shutdown,
}

pub(crate) type Shared = Arc<App>;

/// The app of one server, and the task that pushes candles to its clients.
pub(crate) fn app(
    config: Arc<Config>,
    lake: Lake,
    access: Access,
    status: Arc<CompactorStatus>,
    hub: Option<Arc<KlineHub>>,
    shutdown: Shutdown,
) -> Shared {
    let cfg = config.api.clone();
    let gate = server::gate(cfg.listen, &cfg.hosts, &cfg.cors_origins, access.requires_token());
    let supervisor = status.supervisor();
    let dispatcher = hub.clone().map(|hub| Dispatcher::start(hub, supervisor.clone(), shutdown.clone()));
    if let Some(held) = dispatcher.as_ref().map(Arc::downgrade) {
        let waiting = move || held.upgrade().map_or(0, |d| d.waiting_bytes());
        status.pressure().probe("api_mailboxes", Held::Own, waiting);
    }
    Arc::new(App {
        status,
        hub,
        dispatcher,
        sockets: Arc::new(Semaphore::new(cfg.max_websockets)),
        cfg,
        config,
        lake,
        access,
        reads: Semaphore::new(READS),
        weights: Weights::default(),
        counts: Counts::default(),
        gate,
        system_cache: SystemCache::default(),
        reports: QualityCache::default(),
        shutdown,
    })
}

impl App {
    /// The hub, or that there is none.
    pub fn hub(&self) -> ApiResult<Arc<KlineHub>> {
        self.hub.clone().ok_or_else(ApiError::no_candles)
    }
}

/// Runs what may wait for the disk where it holds up no connection.
pub(crate) async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> ApiResult<T> {
    // Closed never: the semaphore lives as long as the app.
    let _permit = app.reads.acquire().await.map_err(|err| ApiError::internal(&err))?;
    let supervisor = app.status.supervisor().clone();
    match supervise::blocking(move || supervisor.attempt(Task::Client, "", work)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(why)) => Err(ApiError::internal(&*why)),
        Err(panicked) => Err(ApiError::internal(&panicked)),
    }
}
