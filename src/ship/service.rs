//! Shippers as part of a service: one thread for each log, under the supervisor.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use capture::Capture;
use lake::LakeStore;
use ops::backoff::{Backoff, random};
use ops::shutdown::Shutdown;
use ops::supervise::{Supervisor, Task};
use wal_format::error_chain;

use crate::shipper::{LogShipper, ShipError};
use crate::stats::ShipStats;

/// Longest pause before a shipper starts over.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Between two looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Shipping cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ShipStartError {
    /// No thread can be had.
    #[error("cannot start the shipper of {log}")]
    Thread {
        /// Of which log.
        log: String,
        /// Why not.
        source: io::Error,
    },
}

/// Ships every configured log until `shutdown`; what was read by then is put first. Nothing when `[ship] dir` is empty.
///
/// # Errors
/// When a thread cannot be started.
pub fn start(
    cfg: &Arc<Capture>,
    store: &Arc<dyn LakeStore>,
    stats: &ShipStats,
    supervisor: &Supervisor,
    shutdown: &Shutdown,
) -> Result<Vec<JoinHandle<()>>, ShipStartError> {
    let mut threads = Vec::new();
    if !cfg.ship.is_on() {
        return Ok(threads);
    }
    for id in cfg.venues.keys().copied() {
        for dir in [cfg.wal_dir(id), cfg.repair_dir(id)] {
            let log = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let shipper = LogShipper {
                venue: log.clone(),
                dir: dir.clone(),
                store: Arc::clone(store),
                chunk_ns: cfg.ship.chunk_s.saturating_mul(1_000_000_000),
                chunk_bytes: usize::try_from(cfg.ship.chunk_bytes).unwrap_or(usize::MAX),
                level: cfg.ship.zstd_level,
                only: cfg.ship.only.then_some(cfg.wal.retention_hours),
                stats: stats.of(&log, supervisor.conditions()),
                shutdown: shutdown.clone(),
            };
            let (name, watched, stop) = (log.clone(), supervisor.clone(), shutdown.clone());
            let work = move || keep(&shipper, &watched, &name, &stop);
            let thread = supervisor.thread(Task::Ship, &log, shutdown, work);
            threads.push(thread.map_err(|source| ShipStartError::Thread { log: log.clone(), source })?);
        }
    }
    Ok(threads)
}

/// Ships one log until `stop`, over failures. What is no failure but an alarm ends it until somebody starts the service again.
fn keep(shipper: &LogShipper, supervisor: &Supervisor, log: &str, stop: &Shutdown) {
    let mut backoff = Backoff::up_to(PAUSE_MAX);
    while !stop.requested() {
        let began = std::time::Instant::now();
        let err = match shipper.run() {
            Ok(()) => return,
            Err(err @ ShipError::Stopped) => {
                tracing::warn!(log, "{err}");
                return;
            }
            Err(err) => err,
        };
        let why = error_chain(&err);
        if err.is_alarm() {
            tracing::error!(log, error = %why, "nothing more is shipped of this log; its segments stay");
            shipper.stats.stands(Some(why));
            while !stop.requested() {
                std::thread::sleep(LOOK);
            }
            return;
        }
        backoff.good(began.elapsed());
        let wait = backoff.next(&mut random);
        tracing::warn!(log, error = %why, wait_ms = wait.as_millis() as u64, "shipping failed, going on from what is acknowledged");
        let until = std::time::Instant::now() + wait;
        while std::time::Instant::now() < until && !stop.requested() {
            std::thread::sleep(LOOK.min(wait));
        }
        supervisor.again(Task::Ship, log);
    }
}
