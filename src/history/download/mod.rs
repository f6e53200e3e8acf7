//! From the archive into the mirror: a producer lists and offers, workers lease and fetch, one manifest row per file.
//!
//! ```text
//!  list --offer--> manifest --lease--> worker --> .partial --proof, fsync, rename--> mirror
//!                     ^                  |
//!                     +-- retry later, dead letter, lost lease
//! ```
//! Several runs may share a manifest on Postgres, each with a mirror of its own or all with one: a lease says whose a
//! file is, and what a run that was killed has left is taken over by the next holder, within a file too.
//!
//! A file that fails never stops the others. A run ends when nothing of its selection is queued or leased by any worker;
//! stopped or killed, the next one goes on where it was. Never touches a file that is here and unchanged.

pub(crate) mod ask;
mod checksum;
mod fetch;
mod mark;
mod partial;
pub(crate) mod queue;
mod rate;
mod shared;
mod tally;
mod worker;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::ask::Asker;
use self::mark::DownloadWorker;
use self::queue::AsyncQueue;
use self::shared::Shared;
pub use self::shared::{DownloadJob, Watch};
pub use self::tally::{Summary, Tally};
use super::error::{HistoryError, Result};
use super::list::{Lister, Unknown};
use super::manifest::{self, Listed, Offer, Offered, Scope};
use super::mirror::Mirror;
use crate::settings::Settings;
use ops::clock;
use ops::shutdown::Shutdown;

/// Names that are not understood and that the summary shows.
const UNKNOWN_SHOWN: usize = 20;

/// Downloads a job's files; returns when nothing is left of it or `stop` was requested.
///
/// # Errors
/// When the mirror, the disk or the manifest cannot be used; a file that cannot be had is no error.
pub fn download(
    history: &Settings,
    job: DownloadJob,
    watch: Arc<dyn Watch>,
    stop: Shutdown,
) -> LocalBoxFuture<'_, Result<Summary>> {
    Box::pin(run(history, job, watch, stop))
}

async fn run(history: &Settings, job: DownloadJob, watch: Arc<dyn Watch>, stop: Shutdown) -> Result<Summary> {
    let started = Instant::now();
    let mut mirror = Mirror::open(history)?;
    let queue = AsyncQueue::open(&mirror, history).await?;
    let several = history.manifest.file().is_none();
    let mut hold = mirror.lock(several)?;
    let worker = DownloadWorker::new(&mirror.node, rand::random());
    let holder = format!("{}#{}", mirror.name, worker.word());
    let run = queue
        .with({
            let (mirror, alone) = (mirror.clone(), hold.alone);
            // The lock says that whoever leased these is gone; of other machines only time does.
            let gone = if several { format!("{}#{}", mirror.name, worker.of_node()) } else { mirror.name.clone() };
            let free_bytes = mirror.free_bytes()?.saturating_sub(history.min_free_bytes);
            move |q| {
                if alone {
                    q.recover(&gone)?;
                    manifest::sweep(&mirror.dir).map_err(HistoryError::file("sweep", &mirror.dir))?;
                }
                q.room(&mirror.name, free_bytes, &Scope::default())?;
                q.begin_run(&mirror.who, "download")
            }
        })
        .await?;
    if several {
        hold.share().map_err(HistoryError::file("share", &mirror.dir))?;
    }
    let first_day = today();
    let mut scope = Scope::of(&job.selection);
    if !job.selection.symbols.is_all() && scope.symbols.is_none() {
        scope.symbols = Some(BTreeSet::new());
    }
    let shared = Arc::new(Shared {
        mirror,
        worker,
        holder,
        queue: queue.clone(),
        asker: Asker::new(history)?,
        base_url: history.base_url.clone(),
        lease_s: history.lease_s,
        stall: Duration::from_secs(history.stall_timeout_s),
        min_free_bytes: history.min_free_bytes,
        scope: Mutex::new(scope),
        tally: Tally::default(),
        watch,
        all_listed: AtomicBool::new(false),
        patience: Mutex::default(),
        lost: Mutex::default(),
        news: Notify::new(),
        stop,
        fatal: Mutex::new(None),
        job,
    });
    let workers: Vec<_> =
        (0..history.download_workers).map(|n| tokio::spawn(worker::work(Arc::clone(&shared), n))).collect();
    let (unlisted, unknown) = produce(&shared, history.list_workers, &history.list_url, history.list_version).await;
    for worker in workers {
        if let Err(err) = worker.await {
            shared.give_up(HistoryError::step("a worker died")(err));
        }
    }
    let fatal = shared.fatal.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut summary = shared.tally.summary();
    summary.unlisted = unlisted;
    summary.unknown = unknown.count;
    summary.unknown_keys = unknown.first.into_iter().map(|key| key.key).take(UNKNOWN_SHOWN).collect();
    summary.seconds = started.elapsed().as_secs();
    summary.stopped = fatal.is_none() && shared.stop.requested();
    let outcome = match (&fatal, summary.stopped) {
        (Some(_), _) => "failed",
        (None, true) => "stopped",
        (None, false) => "done",
    };
    if outcome == "done" {
        // Whoever took these over has them: nobody resumes from ours any more.
        for (dest, mark) in shared.lost.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            mark::sweep(&dest, Some(&mark), None).map_err(HistoryError::file("sweep", &dest))?;
        }
    }
    let (report, mirror, by) = (serde_json::to_value(&summary)?, shared.mirror.clone(), shared.worker.word());
    let ended = queue
        .insist(move |q| {
            q.end_run(run, outcome, &report)?;
            manifest::export_days(q, (&mirror.name, &by), &mirror.dir, first_day, today())
        })
        .await;
    // What stopped the run says more than what it could not write afterwards.
    if let Some(fatal) = fatal {
        return Err(fatal);
    }
    ended.map_err(HistoryError::step("the list of what was downloaded"))?;
    let metrics = summary.prometheus(clock::wall_ns() / 1_000_000_000);
    let metrics_file = shared.mirror.dir.join(manifest::EXPORTS).join("download.prom");
    shared
        .mirror
        .publish(&metrics_file, metrics.as_bytes(), &shared.worker.word())
        .map_err(HistoryError::file("write", &metrics_file))?;
    Ok(summary)
}

/// The UTC day of now.
fn today() -> jiff::civil::Date {
    let s = i64::try_from(clock::wall_ns() / 1_000_000_000).unwrap_or(0);
    let now = jiff::Timestamp::from_second(s).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    now.to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// Lists and offers; answers how many folders could not be listed, and what is not understood.
async fn produce(shared: &Arc<Shared>, workers: usize, list_url: &str, version: u64) -> (u64, Unknown) {
    let lister = Lister::new(&shared.asker, list_url, version, workers);
    let names = |names: &BTreeSet<String>| {
        let mut scope = shared.scope.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(symbols) = &mut scope.symbols {
            symbols.extend(names.iter().cloned());
        }
        Ok(())
    };
    let walk = lister.walk(&shared.job.selection, shared.job.auto, names, async |files| offer(shared, files).await);
    let done = tokio::select! {
        done = walk => done,
        () = shared.stop.wait() => Ok(()),
    };
    if let Err(err) = done {
        shared.give_up(err);
    }
    shared.all_listed.store(true, Ordering::Release);
    shared.news.notify_waiters();
    (lister.problems().len() as u64, lister.unknown())
}

async fn offer(shared: &Arc<Shared>, files: Vec<Listed>) -> Result<()> {
    let (base_url, mirror, retry_dead) = (shared.base_url.clone(), shared.mirror.clone(), shared.job.retry_dead);
    let (files, offered) = shared
        .queue
        .insist(move |q| {
            let is_there = |row: &manifest::FileRow| {
                std::fs::metadata(mirror.file(&row.listed.path)).is_ok_and(|m| m.len() == row.listed.size)
            };
            let offer = Offer { base_url: &base_url, holder: &mirror.name, retry_dead, is_there: &is_there };
            let offered = q.offer(&files, &offer)?;
            let none_to_do = files.iter().zip(&offered).filter(|(_, o)| !o.is_work());
            let names = none_to_do.map(|(file, _)| file.path.name()).collect();
            if let Some(folder) = files.first().and_then(|f| mirror.file(&f.path).parent().map(Path::to_owned)) {
                mark::sweep_of(&folder, &names).map_err(HistoryError::file("sweep", &folder))?;
            }
            Ok((files.clone(), offered))
        })
        .await?;
    let tally = &shared.tally;
    for (file, offered) in files.iter().zip(offered) {
        Tally::one(&tally.listed);
        match offered {
            Offered::Here => Tally::one(&tally.skipped),
            Offered::Dead => Tally::one(&tally.dead_before),
            Offered::Changed => Tally::one(&tally.changed),
            Offered::New | Offered::Waiting | Offered::Vanished | Offered::Revived => {}
        }
        if offered.is_work() {
            Tally::one(&tally.queued);
            tally.queued_bytes.fetch_add(file.size, Ordering::Relaxed);
        }
    }
    let (queued, bytes) = (tally.queued.load(Ordering::Relaxed), tally.queued_bytes.load(Ordering::Relaxed));
    room(shared, bytes).await?;
    shared.watch.listed(queued, bytes);
    shared.news.notify_waiters();
    Ok(())
}

/// Fails when what is queued fits neither on this disk nor, where several mirrors share the manifest, on all of theirs;
/// better now than in an hour.
async fn room(shared: &Shared, queued_bytes: u64) -> Result<()> {
    let done = shared.tally.ok_bytes.load(Ordering::Relaxed);
    let under_way = shared.tally.received_bytes.load(Ordering::Relaxed).saturating_sub(done);
    let ours = shared.mirror.free_bytes()?;
    let free = ours.saturating_sub(shared.min_free_bytes);
    let left = queued_bytes.saturating_sub(done).saturating_sub(under_way);
    if left <= free {
        return Ok(());
    }
    // Others may have brought some of it, or have room.
    let (mirror, scope) = (shared.mirror.name.clone(), shared.scope());
    let room = shared.queue.insist(move |q| q.room(&mirror, free, &scope)).await?;
    let left = room.left_bytes.saturating_sub(under_way);
    if left > free.saturating_add(room.elsewhere_bytes) {
        return Err(HistoryError::NoRoom {
            left_bytes: left,
            free_bytes: ours,
            dir: shared.mirror.dir.clone(),
            min_free_bytes: shared.min_free_bytes,
            elsewhere_bytes: room.elsewhere_bytes,
        });
    }
    Ok(())
}
