//! Sockets into the log. Never decodes a row, never queues a frame, never drops one silently.
//!
//! ```text
//!   listing --> plan --> slot --> connect --> session --append--> log --> wal-format
//!                          ^         |           |
//!                          +-- backoff, pace     +-- watchdog, bootstrap (snapshots over REST)
//! ```
//! - [`listing`]: symbols over REST; `wants`: symbols times channels, which the venue splits into connections.
//! - [`supervisor`]: all connections, as the listing changes; [`stream_table`]: the streams of one of them; [`strays`]: silent ones
//!   that another path may serve.
//! - [`slot`]: one line of a planned connection for its life; [`session`]: one socket of it.
//! - [`handshake`]: token, URL, headers; how it gets there, and what an address may do, is [`net`]'s; `rest`: its
//!   answers in the log.
//! - [`log`]: the log as the tasks share it. What is written besides frames: [`model::record`].
//! - [`watchdog`]: silence; [`metrics`] and [`latency`]: what is counted; [`status`], [`exposition`], [`stats`] and
//!   [`serve`]: what is said about it.
//! - [`reload`]: another configuration while recording: what of it is taken over.
//! - [`bootstrap`]: order book snapshots; [`requests`]: those that other processes ask for.
//!
//! One task per planned connection owns that socket; one task per venue owns the listing, one the snapshots, one
//! the clock tick. All of them share the [`log::SharedLog`]. The end is an order: stop connecting, close the
//! sockets, append what still arrives, write the ConnClose records, seal and close the log.
#![forbid(unsafe_code)]

mod bootstrap;
mod error;
mod exposition;
mod feed;
mod handshake;
mod latency;
mod listing;
pub(crate) mod log;
pub mod metrics;
mod reload;
mod requests;
pub(crate) mod rest;
mod serve;
mod session;
mod settings;
mod slot;
mod snapshots;
pub(crate) mod stats;
mod status;
mod strays;
mod stream_table;
mod supervisor;
#[cfg(test)]
mod tests;
mod wants;
mod watchdog;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};
use wal_format::lock::Role;
use wal_format::{LogWriter, OpenError};

pub use self::error::CollectError;
use self::feed::{Choice, VenueFeed};
use self::log::SharedLog;
use self::metrics::Metrics;
pub use self::reload::{Newer, Reload};
pub use self::requests::leave_pressure;
use self::session::{Cause, GapStart};
pub use self::settings::Settings;
use self::snapshots::Snapshots;
use self::strays::Strays;
use capture::{Capture, VenueConfig, Warning};
use model::{Channel, VenueId};
use net::budget::{self, Class};
use net::rest::RestClient;
use net::server;
use ops::BoxFuture;
use ops::backoff::{Backoff, random};
use ops::clock::Stamp;
use ops::health::{Health, WatchedLog, WrittenDisk};
use ops::memory::{Held, Pressure};
use ops::shutdown::Shutdown;
use ops::supervise::{self, Supervisor, Task};
use venue::{Venue, venue};

/// How long a log that takes no records is left alone at least.
const RESUME_AFTER: Duration = Duration::from_secs(5);
/// Closing handshakes take up to 3 s; whatever is not closed by then ends with its task.
const STOP_PATIENCE: Duration = Duration::from_secs(4);
/// Tasks that are aborted then get so long to end.
const ABORT_PATIENCE: Duration = Duration::from_millis(800);
/// The status server disconnects clients that have not read their response by then.
const ANSWER_PATIENCE: Duration = Duration::from_secs(3);

/// Records every configured venue until `shutdown`, then seals the logs; follows what `reload` brings meanwhile.
///
/// # Errors
/// One plain sentence with what to do when a log cannot be opened at the start; later only when a log cannot be
/// closed. A log that takes no records meanwhile stops its venue until it does again, and no other; so does a panic.
pub fn run(
    cfg: Arc<Capture>,
    settings: Settings,
    shutdown: Shutdown,
    pressure: Pressure,
    reload: Option<Reload>,
    supervisor: Supervisor,
) -> BoxFuture<'static, Result<(), CollectError>> {
    Box::pin(async move {
        let metrics = Arc::new(Metrics::supervised(cfg.venues.keys().copied(), supervisor.clone()).under(pressure));
        let listener = serve::bind(settings.listen).await;
        let ended = Shutdown::new();
        let health = Arc::new(health(&cfg, &settings));
        metrics.watched_by(Arc::clone(&health));
        supervisor.spawn(Task::Disks, "", &ended, {
            let (conditions, ended) = (supervisor.conditions().clone(), ended.clone());
            move || Arc::clone(&health).watch(conditions.clone(), ended.clone())
        });
        let mut server = None;
        if let Some(listener) = listener {
            // A directory that cannot be made is reported by whoever opens the log in it.
            let _ = std::fs::create_dir_all(cfg.wal_root());
            serve::announce(&cfg, &listener);
            let listener = Arc::new(listener.into_std()?);
            server = Some(supervisor.spawn(Task::Status, "", &ended, {
                let (metrics, ended) = (Arc::clone(&metrics), ended.clone());
                let gate = server::gate(settings.listen, &settings.hosts, &[], false);
                move || serve::serve(Arc::clone(&listener), gate.clone(), Arc::clone(&metrics), ended.clone())
            }));
        }
        let outcome = run_with(Arc::clone(&cfg), shutdown, metrics, reload).await;
        ended.trigger();
        if let Some(server) = server {
            serve::withdraw(&cfg);
            // A client that does not read its answer must not hold up the end.
            if tokio::time::timeout(ANSWER_PATIENCE, server).await.is_err() {
                warn!("clients of the status server did not take their answers in time");
            }
        }
        outcome
    })
}

/// [`run`] with metrics that the caller can look at meanwhile.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    cfg: Arc<Capture>,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
    reload: Option<Reload>,
) -> Result<(), CollectError> {
    if cfg.venues.is_empty() {
        return Err(CollectError::NoVenue);
    }
    for Warning { key, what, fix } in cfg.warnings() {
        warn!(key, fix, "{what}");
    }
    let tls = net::dial::tls_config(&cfg.tls.extra_roots)?;
    // All logs first: a collector that would record only a part of what is configured does not start.
    let mut feeds = Vec::new();
    for (id, config) in &cfg.venues {
        match feed(&cfg, *id, config, &tls, &metrics).await {
            Ok(feed) => feeds.push(Arc::new(feed)),
            Err(err) => {
                for opened in feeds {
                    close(&opened).await?;
                }
                return Err(err);
            }
        }
    }
    record_pressure(&metrics, &feeds, &shutdown);
    if let Some(reload) = reload {
        reload.follow(&feeds, &metrics, &shutdown);
    }
    ops::notify::ready();
    let mut venues = JoinSet::new();
    for feed in feeds {
        venues.spawn(keep(feed, shutdown.clone()));
    }
    let mut failures = Vec::new();
    while let Some(done) = venues.join_next().await {
        match done {
            Ok(Ok(())) => {}
            Ok(Err(err)) => failures.push(err.to_string()),
            Err(err) => {
                error!(error = %err, "the task that starts a venue again panicked; the venue is not recorded any more");
                failures.push(format!("a venue's task failed: {err}"));
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(CollectError::Unclean(failures)) }
}

/// Every change of the pressure on memory becomes an event of every log, so that its readers know.
fn record_pressure(metrics: &Metrics, feeds: &[Arc<VenueFeed>], shutdown: &Shutdown) {
    let logs: Vec<_> = feeds.iter().map(|f| Arc::clone(&f.log)).collect();
    let (sender, changes) = mpsc::channel::<serde_json::Value>(64);
    metrics.pressure().on_change(move |change| {
        // Full: the logs have not taken 64 changes, which is reported elsewhere.
        let _ = sender.try_send(change.detail());
    });
    metrics.supervisor().each(Task::Pressure, changes, shutdown, move |detail| {
        for log in &logs {
            log.note(0, requests::PRESSURE_EVENT, detail.clone());
        }
        std::future::ready(())
    });
}

/// Records a venue until `shutdown`, over failures of its log and panics of its tasks: while it takes no records the
/// sockets are closed, when it does again everything is opened again and the time between is a gap. Then closes the log.
async fn keep(mut feed: Arc<VenueFeed>, shutdown: Shutdown) -> Result<(), CollectError> {
    let supervisor = feed.metrics.supervisor().clone();
    let of = feed.id.as_str();
    let mut backoff = Backoff::default();
    let mut gap = None;
    loop {
        let started = Instant::now();
        let recorded = supervisor.once(Task::Venue, of, record_until(&feed, gap, &shutdown)).await;
        let stopped_ns = Stamp::now().0;
        // What a panic left running ends too.
        feed.stop.trigger();
        backoff.good(started.elapsed());
        let mut least = if recorded.is_ok() { RESUME_AFTER } else { Duration::ZERO };
        while !shutdown.requested() {
            let wait = backoff.next(&mut random).max(std::mem::replace(&mut least, RESUME_AFTER));
            tokio::select! {
                () = shutdown.wait() => break,
                () = tokio::time::sleep(wait) => {}
            }
            let stop = Shutdown::new();
            let resume = supervise::blocking({
                let (log, stop) = (Arc::clone(&feed.log), stop.clone());
                move || log.resume(&stop)
            });
            if let Ok(Some(from_ns)) = supervisor.once(Task::Venue, of, resume).await {
                warn!(venue = %feed.id, "the log takes records; recording goes on with a gap");
                supervisor.again(Task::Venue, of);
                // 0: the log was well, a task of this venue was not.
                gap = Some(GapStart { cause: Cause::Log, from_ns: if from_ns == 0 { stopped_ns } else { from_ns } });
                feed = Arc::new(feed.again(stop));
                break;
            }
        }
        if shutdown.requested() {
            return close(&feed).await;
        }
    }
}

/// [`record`], which ends soon after `shutdown` whatever the other side does.
async fn record_until(feed: &Arc<VenueFeed>, gap: Option<GapStart>, shutdown: &Shutdown) {
    let patience = async {
        tokio::select! {
            () = shutdown.wait() => feed.stop.trigger(),
            () = feed.stop.wait() => {}
        }
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    let holders = Arc::strong_count(feed);
    tokio::select! {
        () = record(feed, gap) => return,
        () = patience => warn!(venue = %feed.id, "not every connection closed in time; the others are aborted"),
    }
    // An aborted task ends when it is next polled, which may be on another thread, and then appends its ConnClose record:
    // before the log is closed.
    let end = Instant::now() + ABORT_PATIENCE;
    while Arc::strong_count(feed) > holders && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Opens the log of a venue and gathers what its tasks need.
async fn feed(
    cfg: &Capture,
    id: VenueId,
    config: &VenueConfig,
    tls: &Arc<ClientConfig>,
    metrics: &Metrics,
) -> Result<VenueFeed, CollectError> {
    let pressure = metrics.pressure();
    let venue = venue(id);
    let api_key = api_key(venue, config)?;
    let metrics = metrics.venue(id).cloned().unwrap_or_default();
    metrics.expects(config.limits.stream_silence_s);
    let dir = cfg.wal_dir(id);
    let options = cfg.log_options();
    let (segment_bytes, of) = (options.segment_bytes, Arc::clone(&metrics));
    pressure.probe("log_segments", Held::Mapped, move || {
        // The open one, and those made ahead of need.
        of.writer_stats().map_or(0, |s| (1 + s.ready.get()) * segment_bytes)
    });
    let exchange = cfg.exchange(config);
    let rest = RestClient::new(&exchange, tls, Class::Live);
    let writer = supervise::blocking({
        let (dir, options) = (dir.clone(), options.clone());
        move || LogWriter::open(&dir, options)
    });
    let writer = writer.await.map_err(|err| explain(id, &dir, &err))?;
    let stop = Shutdown::new();
    Ok(VenueFeed {
        id,
        venue,
        config: config.clone(),
        log: Arc::new(SharedLog::new(id, writer, options, Arc::clone(&metrics), stop.clone())),
        metrics,
        budgets: [0, 1].map(|line| budget::of(&exchange, line)),
        rest: Arc::new(rest),
        snapshots: Snapshots::default(),
        strays: Strays::default(),
        dialers: exchange.dialers(),
        tls: Arc::clone(tls),
        stop,
        conns: Arc::new(AtomicU32::new(1)),
        api_key,
        requests: cfg.wal_dir(id).join(requests::REQUESTS_DIR),
        chosen: Arc::new(watch::Sender::new(Arc::new(Choice::of(config)))),
    })
}

/// The user's key, out of the environment variable that the configuration names.
fn api_key(venue: &Venue, config: &VenueConfig) -> Result<Option<String>, CollectError> {
    let id = config.id;
    let refused = |what, fix| Err(CollectError::Start { what, place: format!("[venues.{id}] api_key_env"), fix });
    let Some(name) = &config.api_key_env else {
        if !venue.spec.needs_api_key() {
            return Ok(None);
        }
        let fix = "put a key (market data needs no permissions) into an environment variable and write its name as api_key_env";
        return refused(format!("{id} is only served with an API key"), fix.to_owned());
    };
    match std::env::var(name) {
        Ok(key) if !key.trim().is_empty() => Ok(Some(key.trim().to_owned())),
        _ => refused(
            format!("the environment variable {name} holds no API key"),
            format!("set {name}, or remove api_key_env when the venue needs none"),
        ),
    }
}

/// Records one venue until it is to stop.
async fn record(feed: &Arc<VenueFeed>, gap: Option<GapStart>) {
    let mut helpers = JoinSet::new();
    helpers.spawn(helper(Task::Clock, feed, tick));
    let mut choices = feed.chosen.subscribe();
    if let Some(recorded) = listing::first(feed, &mut choices).await {
        let plans = feed.venue.streams.plan(&recorded.wants, &feed.config.limits);
        let streams: usize = plans.iter().map(|p| p.streams.len()).sum();
        info!(venue = %feed.id, streams, connections = plans.len(), "recording");
        listing::warn_of_connections(feed, &recorded.wants);
        let channels = &recorded.choice.channels;
        if channels.contains(&Channel::DepthSnapshot) && !channels.contains(&Channel::Depth) {
            // No connection will ask for them.
            let books = recorded.wants.iter().filter(|w| w.channel == Channel::DepthSnapshot);
            feed.snapshots.want(books.map(|w| w.symbol.as_str()));
        }
        let (sender, changes) = mpsc::channel(1);
        helpers.spawn(helper(Task::Requests, feed, |feed| async move { requests::run(&feed).await }));
        helpers.spawn(helper(Task::Snapshots, feed, |feed| async move { bootstrap::run(&feed).await }));
        helpers.spawn({
            let feed = Arc::clone(feed);
            async move {
                let (supervisor, of) = (feed.metrics.supervisor(), feed.id.as_str());
                supervisor.again(Task::Listing, of);
                let refreshed = supervisor.once(Task::Listing, of, listing::refresh(&feed, recorded, choices, sender));
                if refreshed.await.is_err() {
                    // What was known of the listing is gone with it: the venue starts again.
                    feed.stop.trigger();
                }
            }
        });
        supervisor::keep(feed, plans, gap, changes).await;
    }
    while let Some(ended) = helpers.join_next().await {
        if let Err(err) = ended {
            error!(venue = %feed.id, error = %err, "the task that starts a helper again panicked");
        }
    }
}

/// A task beside the connections of a venue, started again after a panic until the venue is to stop.
fn helper<F: Future<Output = ()> + Send>(
    task: Task,
    feed: &Arc<VenueFeed>,
    work: fn(Arc<VenueFeed>) -> F,
) -> impl Future<Output = ()> + Send + use<F> {
    let feed = Arc::clone(feed);
    async move {
        let supervisor = feed.metrics.supervisor().clone();
        supervisor.keep(task, feed.id.as_str(), &feed.stop, || work(Arc::clone(&feed))).await;
    }
}

async fn close(feed: &Arc<VenueFeed>) -> Result<(), CollectError> {
    let feed = Arc::clone(feed);
    let supervisor = feed.metrics.supervisor().clone();
    let of = feed.id.as_str();
    supervisor.once(Task::Venue, of, supervise::blocking(move || feed.log.close())).await?
}

/// Once a second: clock records, and whether the exchange bans us; once a minute: a line of statistics.
async fn tick(feed: Arc<VenueFeed>) {
    let mut reporter = stats::StatsReporter::new(&feed.metrics, Stamp::now().0);
    for second in 1_u64.. {
        if feed.pause(Duration::from_secs(1)).await || feed.log.tick().is_err() {
            return;
        }
        // Also one that another process received: REST waits for its end silently.
        (0..feed.config.lines).for_each(|line| feed.report_ban(line));
        if second % stats::EVERY_S == 0 {
            reporter.report(feed.id, &feed.metrics, Stamp::now().0);
        }
    }
}

/// A log that cannot be opened, as a person must read it: what, where, what to do.
fn explain(id: VenueId, dir: &Path, err: &OpenError) -> CollectError {
    let (what, fix) = match err {
        OpenError::LockHeld { role: Role::Repair, pid, .. } => (
            format!(
                "a compactor of an earlier version is repairing the log of {id}{}",
                pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
            ),
            "wait until it is done, or update it",
        ),
        OpenError::LockHeld { pid, .. } => (
            format!(
                "the log of {id} is in use by another process{}",
                pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
            ),
            "stop that collector, or give this one its own [data] dir",
        ),
        OpenError::NoSpace { needed, available, .. } => (
            format!(
                "the disk has no room for the log of {id}: one segment needs {needed} bytes, {} are free",
                available.map_or_else(|| "too few".to_owned(), |n| n.to_string())
            ),
            "free space, choose another [data] dir, or lower wal.segment_mib and wal.ready_segments",
        ),
        OpenError::ForeignFile { path } => (
            format!("{} is in the way: it is not a file of the log of {id}", path.display()),
            "move that file away, or choose another [data] dir",
        ),
        other => {
            // The whole chain: "cannot create X" without "permission denied" helps nobody.
            let text = format!("the log of {id} cannot be opened: {}", ops::chain(other));
            (text, "check that the directory exists, that this user may write there, and that the disk is healthy")
        }
    };
    CollectError::Start { what, place: dir.display().to_string(), fix: fix.to_owned() }
}

/// What is watched beside the sockets: the disk of the log, and whether the log is read off.
fn health(cfg: &Capture, settings: &Settings) -> Health {
    let segments = (1 + cfg.wal.ready_segments as u64) * cfg.venues.len().max(1) as u64;
    let disk = WrittenDisk { what: "log", dir: cfg.wal_root(), needs_bytes: segments * (cfg.wal.segment_mib << 20) };
    let log = |id: &VenueId| WatchedLog {
        venue: *id,
        dir: cfg.wal_dir(*id),
        readers: cfg.readers(*id),
        // A reader that acknowledges this rarely is not there.
        patience_ns: (3 * settings.ack_interval_s).max(900) * 1_000_000_000,
    };
    Health::new(vec![disk], cfg.venues.keys().map(log).collect(), settings.part_minutes)
}
