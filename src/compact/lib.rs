//! The log into the lake, exactly once: tail -> decode -> route -> stage -> publish -> ack -> retire.
//!
//! ```text
//!  wal/<venue> --tail--> record --decode--> rows --route--> table buffers
//!                           |                                 | full row groups, and all at a checkpoint
//!                           +--> account, payload hash        v
//!                                                   .staging/<part>/  pieces + state        (stage)
//!                                                             | hour over
//!                                                             v
//!                        Parquet files, then the manifest, which is the commit               (publish)
//!                                                             |
//!                                       ack  -->  unlink segments                            (retire)
//! ```
//!
//! A *part* is a contiguous range of one log inside one hour; where parts end is a function of the log and of
//! `[lake] part_minutes` (`src/fold/hour.rs`). A *piece* is a staged share of a part, hidden from readers. A
//! *checkpoint* stages all of memory and writes a state.
//!
//! Why rows come out exactly once: rows are a fold over the log ([`fold::gather::Gatherer`]) whose whole memory is in
//! the state that every checkpoint writes and in the continuation that every manifest carries. Whatever instruction the
//! process dies at, the next start finds the newest of these, clears away all that came after it, and folds on
//! ([`resume`]). Published names depend only on where a part begins, so publishing again gives the same files.
//!
//! Why nothing is lost: a position is acknowledged only when its part is published, and a segment goes only when
//! manifests on disk cover it ([`retire`], [`evidence`]). So the log always holds everything after the newest
//! manifest; pieces and states are a cache that makes restarts cheap, and one that cannot be used is quarantined.
#![forbid(unsafe_code)]

mod abandoned;
mod archive;
pub mod bans;
pub mod chain;
mod chunk_retention;
mod error;
mod evidence;
pub mod failpoint;
mod lifecycle;
mod missing;
mod place;
mod publish;
mod quarantine;
pub mod repair;
pub mod replay;
mod resume;
pub mod retention;
mod retirable;
mod retire;
mod session;
mod settings;
mod snapshots;
mod sources;
mod stage;
pub mod stats;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::repair::Repairer;
use crate::repair::queue::RepairQueue;
use capture::VenueConfig;
pub use fold::Mode;
use fold::gather;
use lake::Lake;
use model::VenueId;
use ops::compactor::CompactorStatus;
use ops::health::{Health, WrittenDisk};
use ops::shutdown::Shutdown;
use ops::supervise::{self, Supervisor, Task};
use ops::{BoxFuture, chore};
use wal_format::error_chain;

pub use error::CompactError;
pub use missing::EvidenceMissing;
pub use retire::retire_all;
pub use settings::{Config, write_settings};

pub use worker::VenueOutcome;

/// What the compactor did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// By venue name; repair logs as `<venue>.repair`.
    pub venues: BTreeMap<String, VenueOutcome>,
}

/// Compacts the logs of all configured venues into `lake`, one thread for each log (what was collected, what was
/// repaired), and repairs what is missing while it follows; a venue that fails does not stop the others.
///
/// # Errors
/// After all have ended: the failure of the first venue that failed.
pub fn run(
    cfg: Arc<Config>,
    lake: Lake,
    mode: Mode,
    shutdown: Shutdown,
    status: Arc<CompactorStatus>,
) -> BoxFuture<'static, Result<Outcome, CompactError>> {
    Box::pin(async move {
        warn_about_other_logs(&cfg);
        let left = lake.clone();
        for note in supervise::blocking(move || replay::rewrite::finish(&left)).await? {
            tracing::warn!("{note}");
        }
        let supervisor = status.supervisor().clone();
        // Of those who work for the workers: they end with them, also when these end by themselves.
        let ended = Shutdown::new();
        if mode == Mode::Follow {
            let (cfg, lake, stop) = (cfg.clone(), lake.clone(), ended.clone());
            supervisor.spawn(Task::Retention, "", &ended, move || keep_limits(cfg.clone(), lake.clone(), stop.clone()));
        }
        let (archiver, archiving) = match (cfg.capture.wal.archive_level(), mode) {
            (Some(_), Mode::Follow) => {
                let archiver = Arc::new(archive::Archiver::new(cfg.clone(), lake.clone(), status.clone()));
                let thread = supervisor.thread(Task::Archive, "", &ended, {
                    let archiver = archiver.clone();
                    move || archiver.run()
                });
                (
                    Some(archiver),
                    Some(thread.map_err(|source| CompactError::Thread {
                        which: "that archives segments".to_owned(),
                        source,
                    })?),
                )
            }
            _ => (None, None),
        };
        let mut workers = Vec::new();
        let mut repairs = Vec::new();
        for (id, config) in &cfg.capture.venues {
            let id = *id;
            // A drain is over when the logs are: nothing new is fetched.
            let repair_queue = (mode == Mode::Follow && config.repair).then(Arc::<RepairQueue>::default);
            if let Some(repair_queue) = &repair_queue {
                repairs.push(repairer(&cfg, config, repair_queue, &supervisor, &ended)?);
            }
            let worker = {
                let (lake, cfg, archiver) = (lake.clone(), cfg.clone(), archiver.clone());
                let (shutdown, status) = (shutdown.clone(), status.clone());
                move |kind, chunks| {
                    let worker = worker::CompactWorker {
                        lake: lake.clone(),
                        accept_loss: false,
                        cfg: cfg.clone(),
                        id,
                        venue: venue::venue(id),
                        kind,
                        chunks,
                        repair_queue: repair_queue.clone(),
                        archiver: archiver.clone(),
                        mode,
                        shutdown: shutdown.clone(),
                        status: status.clone(),
                    };
                    worker::CompactWorker { accept_loss: status.accepts_loss(&worker.name()), ..worker }
                }
            };
            let repairs = worker(gather::LogKind::Repairs, None);
            workers.push((repairs.name(), repairs.start()?));
            match cfg.sources.get(&id) {
                None => {
                    let collected = worker(gather::LogKind::Collected, None);
                    workers.push((collected.name(), collected.start()?));
                }
                Some(store) => {
                    let source = sources::Source {
                        id,
                        store: Arc::clone(store),
                        mode,
                        shutdown: shutdown.clone(),
                        conditions: status.conditions().clone(),
                        worker: Box::new(move |kind, chunks| worker(kind, Some(chunks))),
                    };
                    workers.push((id.to_string(), source.start()?));
                }
            }
        }
        let mut outcome = Outcome::default();
        let mut failed = None;
        for (name, result) in workers {
            match result.await {
                Ok(Ok(done)) => {
                    if let Some(note) = &done.note {
                        eprintln!("{}", wal_format::plain::message(note));
                    }
                    outcome.venues.insert(name, done);
                }
                // What failed says more than what was asked to stop.
                Ok(Err(err)) => {
                    failed = failed.filter(|first: &CompactError| err.stopped() || !first.stopped()).or(Some(err))
                }
                // The thread sends whatever becomes of it.
                Err(_) => failed = failed.or(Some(CompactError::ThreadGone { name })),
            }
        }
        ended.trigger();
        for repairer in repairs {
            // What it is at is requested again by the next start.
            if tokio::time::timeout(STOP_PATIENCE, repairer).await.is_err() {
                tracing::warn!("a repair did not end in time; it is requested again after the next start");
            }
        }
        if let (Some(archiver), Some(thread)) = (archiver, archiving) {
            archiver.close();
            // Its panics were reported by its supervisor.
            drop(supervise::blocking(move || thread.join()).await);
        }
        match failed {
            None => Ok(outcome),
            Some(err) => Err(err),
        }
    })
}

/// Who fetches what is missing of one venue, until `ended`. Fails only when the first one cannot be made.
fn repairer(
    cfg: &Arc<Config>,
    config: &VenueConfig,
    repair_queue: &Arc<RepairQueue>,
    supervisor: &Supervisor,
    ended: &Shutdown,
) -> Result<JoinHandle<()>, CompactError> {
    let id = config.id;
    let (cfg, config, repair_queue, stop) = (cfg.clone(), config.clone(), repair_queue.clone(), ended.clone());
    let make = move || Repairer::new(&cfg, &config, venue::venue(id), repair_queue.clone(), stop.clone());
    let mut first = Some(make()?);
    Ok(supervisor.spawn(Task::Repair, id.as_str(), ended, move || {
        let repairer = first.take().map_or_else(&make, Ok);
        async move {
            match repairer {
                Ok(repairer) => repairer.run().await,
                Err(err) => tracing::error!(venue = %id, error = %error_chain(&err), "nothing is repaired"),
            }
        }
    }))
}

/// How long those who work for the workers may take to end.
const STOP_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// Between two looks at age, size and disk.
const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(60);
/// Chunks are listed, request by request, once in so many looks.
const CHUNKS_EVERY: u32 = 10;

/// Removes archived segments and hours of the lake as configured, once a minute, until `shutdown`.
async fn keep_limits(cfg: Arc<Config>, lake: Lake, shutdown: Shutdown) {
    let work = async {
        let mut sweeper = retention::RetentionSweeper::default();
        let mut sweeps = 0_u32;
        loop {
            let (cfg, lake) = (cfg.clone(), lake.clone());
            let chunks = (cfg.clone(), lake.clone());
            let far = lake.local().is_none();
            let sweep = move || {
                let swept = sweeper.sweep(&cfg, &lake, ops::clock::wall_ns());
                (sweeper, swept)
            };
            // A store that does not answer is no reason to look at no disk.
            let (back, swept) = if far { supervise::blocking(sweep).await } else { chore::run(sweep).await };
            if let Err(err) = swept {
                tracing::warn!(error = %error_chain(&err), "cannot look for what is too old");
            }
            if sweeps.is_multiple_of(CHUNKS_EVERY) {
                let swept =
                    supervise::blocking(move || chunk_retention::sweep(&chunks.0, &chunks.1, ops::clock::wall_ns()));
                match swept.await {
                    Ok(0) => {}
                    Ok(deleted) => tracing::info!(deleted, "deleted chunks that the lake covers"),
                    Err(err) => tracing::warn!(error = %error_chain(&err), "cannot look for chunks that may go"),
                }
            }
            sweeps = sweeps.wrapping_add(1);
            sweeper = back;
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    };
    tokio::select! {
        biased;
        // A sweep may end wherever it is.
        () = shutdown.wait() => {}
        () = work => {}
    }
}

/// Logs of venues that are not configured are left alone; silence about them would look like lost data.
fn warn_about_other_logs(cfg: &Config) {
    let Ok(entries) = std::fs::read_dir(cfg.capture.wal_root()) else { return };
    for entry in entries.flatten().filter(|e| e.path().is_dir()) {
        let name = entry.file_name();
        let of = |id: &VenueId| name == *id.as_str() || name == *format!("{id}.repair");
        if !cfg.capture.venues.keys().any(of) {
            tracing::warn!(log = %entry.path().display(), "this log is of no configured venue and is not compacted");
        }
    }
}

/// What is watched beside the logs: the disk of the lake. It needs room for the hour it joins beside its pieces.
pub fn health(cfg: &Config) -> Health {
    let what = if cfg.lake.is_remote() { "staging" } else { "lake" };
    let disk = WrittenDisk { what, dir: cfg.lake.work_dir().to_owned(), needs_bytes: 1 << 30 };
    Health::new(vec![disk], Vec::new(), cfg.lake.part_minutes)
}
