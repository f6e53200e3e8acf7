//! The threads that make candles, started and ended together.
//!
//! ```text
//!  one feed thread per venue --jobs (bounded, blocking)--> worker      scheduler --Swap--> worker
//!          \--commits------------------------------------> database thread
//!           \--wants--> seeder, one per venue that gives seeds --seeds of bars--> the same feed thread
//! ```

use std::sync::atomic::AtomicU64;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use wal_format::error_chain;

use super::actor::{CandleWorker, Shown};
use super::consumer::{self, Consumer};
use super::db::{self, CandleDb};
use super::error::KlineError;
use super::hub::KlineHub;
use super::message::CandleJob;
use super::recent::RECENT;
use super::registry::SymbolPeriodRegistry;
use super::seeder::SeedRequest;
use super::settings::Config;
use super::store::{DoubleBufferedKlineStore, LatestSlots};
use super::{seeder, stats};
use fold::Mode;
use model::{Channel, VenueId};
use ops::clock;
use ops::memory::{Held, Pressure};
use ops::shutdown::Shutdown;
use ops::supervise::{Supervisor, Task};

/// Jobs that may wait for the worker; then feeds wait, and the log holds what they have not read.
const JOBS: usize = 64;
/// Emptied batches kept for reuse.
const EMPTIES: usize = 64;

/// Running candles.
pub struct KlineService {
    hub: Arc<KlineHub>,
    feeds: Vec<JoinHandle<Result<(), KlineError>>>,
    others: Vec<JoinHandle<()>>,
    ended: Shutdown,
}

impl KlineService {
    /// Starts what is configured; `None` when no configured venue has a source for candles.
    ///
    /// # Errors
    /// A plain sentence when the database cannot be opened or a thread not be started.
    pub fn start(cfg: &Arc<Config>, mode: Mode, shutdown: &Shutdown) -> Result<Option<KlineService>, KlineError> {
        Self::start_under(cfg, mode, shutdown, &Pressure::default(), &Supervisor::default())
    }

    /// [`KlineService::start`] in a process whose memory is watched: the tighter it is, the rarer are swaps.
    ///
    /// # Errors
    /// As [`KlineService::start`].
    pub fn start_under(
        cfg: &Arc<Config>,
        mode: Mode,
        shutdown: &Shutdown,
        pressure: &Pressure,
        supervisor: &Supervisor,
    ) -> Result<Option<KlineService>, KlineError> {
        if cfg.capture.candles.is_empty() {
            return Ok(None);
        }
        wal_format::durable::create_dir_all(&cfg.capture.data_dir)
            .map_err(|source| KlineError::Make { path: cfg.capture.data_dir.clone(), source })?;
        let database = db::open(cfg.klines.database.reveal(), &cfg.capture.data_dir).map_err(|source| {
            KlineError::Database { shown: cfg.klines.database.to_string(), source: Box::new(source) }
        })?;
        Self::over(database, cfg, mode, shutdown, pressure, supervisor).map(Some)
    }

    /// As [`KlineService::start_under`], with candles stored in `database`.
    fn over(
        mut database: Box<dyn CandleDb>,
        cfg: &Arc<Config>,
        mode: Mode,
        shutdown: &Shutdown,
        pressure: &Pressure,
        supervisor: &Supervisor,
    ) -> Result<KlineService, KlineError> {
        let sources = &cfg.capture.candles;
        // Before the lake lets segments go: a database that is not what was acknowledged needs them again.
        let held = |id: &VenueId| {
            consumer::hold_back(&cfg.capture, *id, database.as_mut()).unwrap_or_else(|err| {
                let error = error_chain(&err);
                tracing::warn!(venue = %id, error, "cannot compare the candle database with the acknowledged position; starting without that check");
                None
            })
        };
        let found: Vec<Option<(consumer::Break, String)>> = sources.keys().map(held).collect();
        let registry = Arc::new(SymbolPeriodRegistry::load(database.load_registry()?));
        let shown = Shown { latest: Arc::new(LatestSlots::new()), whole: Arc::new(DoubleBufferedKlineStore::new()) };
        let (jobs, jobs_in) = sync_channel(JOBS);
        let (empties_out, empties) = sync_channel(EMPTIES);
        let (commits, commits_in) = sync_channel(sources.len());
        let queued = Arc::new(AtomicU64::new(0));
        let hub = Arc::new(KlineHub::new(
            registry,
            shown.clone(),
            jobs.clone(),
            Arc::clone(&queued),
            (cfg.klines.database.reveal(), &cfg.capture.data_dir),
            Duration::from_millis(cfg.klines.swap_interval_ms),
        ));
        let held = Arc::downgrade(&hub);
        pressure.probe("klines", Held::Own, move || held.upgrade().map_or(0, |hub| hub.bytes_estimate()));
        let mut threads = Threads { supervisor, ended: Shutdown::new(), started: Vec::new() };
        let publisher = Arc::clone(&hub);
        threads.needed(Task::Bars, move || {
            CandleWorker::new(shown).run(&jobs_in, &empties_out, &queued, |items, updates, totals| {
                publisher.visible(items, clock::wall_ns);
                publisher.publish_trades(items);
                publisher.publish(updates, totals);
            });
        })?;
        threads.needed(Task::CandleDb, move || consumer::write(database, &commits_in))?;
        let (swapper, pressure) = (Arc::clone(&hub), pressure.clone());
        let every = Duration::from_millis(cfg.klines.swap_interval_ms);
        threads.kept(Task::Swap, "", move |stop| swap(&swapper, &pressure, every, stop))?;
        let hub_of_stats = Arc::clone(&hub);
        let every = Duration::from_secs(cfg.klines.stats_interval_s);
        threads.kept(Task::CandleStats, "", move |stop| stats::run(&hub_of_stats, every, stop))?;
        let empties = Arc::new(Mutex::new(empties));
        let mut feeds = Vec::new();
        for (number, ((&id, &source), found)) in (0_u32..).zip(sources.iter().zip(found)) {
            let consumer = Consumer {
                cfg: Arc::clone(cfg),
                id,
                venue: venue::venue(id),
                source,
                number,
                hub: Arc::clone(&hub),
                empties: Arc::clone(&empties),
                commits: commits.clone(),
                seeder: threads.seeder(cfg, id, source, mode)?,
                mode,
                supervisor: supervisor.clone(),
                shutdown: shutdown.clone(),
                found: Mutex::new(found),
            };
            let thread = std::thread::Builder::new().name(format!("klines-{id}"));
            feeds.push(thread.spawn(move || consumer.run()).map_err(KlineError::Thread)?);
        }
        Ok(KlineService { hub, feeds, others: threads.started, ended: threads.ended })
    }

    /// Where candles are read.
    pub fn hub(&self) -> &Arc<KlineHub> {
        &self.hub
    }

    /// Waits for the feeds (they end on shutdown, or when drained), then ends the rest. Blocks.
    ///
    /// # Errors
    /// When a feed could not store what it read: a restart goes on at its last checkpoint.
    pub fn join(self) -> Result<(), KlineError> {
        let mut ended = Ok(());
        for feed in self.feeds {
            let of_feed = feed.join().unwrap_or_else(|_| Err(KlineError::ThreadPanicked));
            ended = ended.and(of_feed);
        }
        self.ended.trigger();
        self.hub.job(CandleJob::Stop);
        for other in self.others {
            // Its panics were reported; nothing is lost that was committed.
            let _ = other.join();
        }
        ended
    }
}

/// The threads that work for the feeds, and end with the service.
struct Threads<'a> {
    supervisor: &'a Supervisor,
    ended: Shutdown,
    started: Vec<JoinHandle<()>>,
}

impl Threads<'_> {
    /// One whose panic stops the service: what it holds cannot be built again beside those who feed it.
    fn needed(&mut self, task: Task, work: impl FnOnce() + Send + 'static) -> Result<(), KlineError> {
        let supervisor = self.supervisor.clone();
        // A panic was reported, and its consequence drawn.
        let watched = move || drop(supervisor.attempt(task, "", work));
        let thread = std::thread::Builder::new().name(task.name().to_owned());
        self.started.push(thread.spawn(watched).map_err(KlineError::Thread)?);
        Ok(())
    }

    /// One that restarts after a panic, until it must stop.
    fn kept(
        &mut self,
        task: Task,
        of: &str,
        mut work: impl FnMut(&Shutdown) + Send + 'static,
    ) -> Result<(), KlineError> {
        let stop = self.ended.clone();
        let thread = self.supervisor.thread(task, of, &self.ended, move || work(&stop));
        self.started.push(thread.map_err(KlineError::Thread)?);
        Ok(())
    }

    /// The seeder of first bars of `id`; `None` where the venue gives no seeds.
    fn seeder(
        &mut self,
        cfg: &Arc<Config>,
        id: VenueId,
        source: Channel,
        mode: Mode,
    ) -> Result<Option<UnboundedSender<SeedRequest>>, KlineError> {
        let Some(config) = cfg.capture.venues.get(&id).cloned() else { return Ok(None) };
        let venue = venue::venue(id);
        if !cfg.klines.seed || mode != Mode::Follow || !venue.spec.seeding.contains(&source) {
            return Ok(None);
        }
        let (wants, mut wanted) = unbounded_channel();
        let cfg = Arc::clone(cfg);
        self.kept(Task::Seeds, id.as_str(), move |stop| {
            if let Err(err) = seeder::run(&cfg.capture, &config, venue, source, &mut wanted, stop) {
                let error = error_chain(&err);
                tracing::error!(venue = %id, error, "the first bars stay marked as incomplete: no request for the trades before them is possible");
            }
            // Nobody can want anything any more, or the venue gives no seeds: no news when the service ends.
            while !stop.requested() {
                std::thread::sleep(Duration::from_millis(20));
            }
        })?;
        Ok(Some(wants))
    }
}

/// Shows what changed every `every`, less often when memory is tight.
fn swap(hub: &KlineHub, pressure: &Pressure, every: Duration, stop: &Shutdown) {
    let mut next = Instant::now();
    let mut kept = RECENT;
    while !stop.requested() {
        let level = pressure.level();
        let most = level.recent_trades(RECENT);
        if std::mem::replace(&mut kept, most) != most {
            if most < RECENT {
                pressure.shed("recent_trades_forgotten");
            }
            if !hub.job(CandleJob::KeepRecent(most)) {
                return;
            }
        }
        let factor = level.push_factor();
        if factor > 1 {
            pressure.shed("swaps_slowed");
        }
        next += every * factor;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        if !hub.job(CandleJob::Swap) {
            return;
        }
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
