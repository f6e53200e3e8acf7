//! One worker: lease, fetch, say what came of it, until nothing is left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wal_format::error_chain;

use super::fetch::{Fetched, Fetcher, Miss};
use super::mark::{self, Mark};
use super::shared::Shared;
use super::tally::Tally;
use crate::download_error::What;
use crate::error::{HistoryError, Result};
use crate::manifest::{Done, Failed, Lease};
use ops::backoff::random;

/// How long to wait for news when the queue has nothing for us now.
const POLL: Duration = Duration::from_millis(250);
/// Between two looks whether memory is less tight.
const PAUSE: Duration = Duration::from_secs(1);
/// Every ten minutes a worker says why it does nothing.
const PAUSES_PER_WARNING: u64 = 600;

/// Works until the run is over, as one of several; it never has more than one lease.
pub(super) async fn work(shared: Arc<Shared>, number: usize) {
    // The last letter keeps 1 apart from 10.
    let holder = format!("{}-{number}.", shared.holder);
    while !shared.stop.requested() {
        match next(&shared, &holder).await {
            Ok(Some(lease)) => {
                if let Err(err) = one(&shared, lease).await {
                    shared.give_up(err);
                }
            }
            Ok(None) => return,
            Err(err) => shared.give_up(err),
        }
    }
}

/// The next file; `None` when the run is over.
async fn next(shared: &Shared, holder: &str) -> Result<Option<Lease>> {
    let mut paused = 0_u64;
    loop {
        if shared.stop.requested() {
            return Ok(None);
        }
        if shared.job.pressure.level().history_pauses() {
            shared.job.pressure.shed("history_paused");
            if paused.is_multiple_of(PAUSES_PER_WARNING) {
                tracing::warn!(paused_s = paused, "memory is critical: no further file starts until it recovers");
            }
            paused = paused.saturating_add(1);
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = shared.stop.wait() => {}
            }
            continue;
        }
        // Before the queue is asked: what is offered meanwhile is no end.
        let all_listed = shared.all_listed.load(Ordering::Acquire);
        let (holder, scope, lease_s) = (holder.to_owned(), shared.scope(), shared.lease_s);
        let asked_before = AtomicBool::new(false);
        let asked = shared.queue.insist(move |q| {
            if asked_before.swap(true, Ordering::Relaxed) {
                // The answer was lost with its connection, and with it, maybe, a lease that nobody knows of.
                q.recover(&holder)?;
            }
            let lease = q.lease(&holder, &scope, lease_s)?;
            let left = if lease.is_none() { q.pending(&scope)? } else { Default::default() };
            Ok((lease, left))
        });
        match asked.await? {
            (Some(lease), _) => return Ok(Some(lease)),
            // What others have leased may come back.
            (None, left) if all_listed && left.queued == 0 && left.leased == 0 => return Ok(None),
            (None, _) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = shared.news.notified() => {}
            () = shared.stop.wait() => {}
        }
    }
}

/// One leased file.
async fn one(shared: &Shared, lease: Lease) -> Result<()> {
    let fetcher = Fetcher {
        worker: &shared.worker,
        asker: &shared.asker,
        mirror: &shared.mirror,
        base_url: &shared.base_url,
        stall: shared.stall,
        min_free_bytes: shared.min_free_bytes,
    };
    let on_bytes = |bytes: u64| {
        shared.tally.received_bytes.fetch_add(bytes, Ordering::Relaxed);
        shared.watch.received(bytes);
    };
    let still_ours = || async {
        let lease = lease.clone();
        let held = shared.queue.insist(move |q| q.holds(&lease)).await;
        held.inspect_err(|err| tracing::warn!(error = %error_chain(err), "a lease counts as lost")).unwrap_or(false)
    };
    let fetched = tokio::select! {
        fetched = fetcher.fetch(&lease.row, still_ours, &on_bytes) => fetched,
        () = until_lost(shared, &lease) => Ok(None),
        () = shared.stop.wait() => {
            return shared.queue.insist(move |q| q.release(&lease)).await;
        }
    };
    match fetched {
        Ok(Some(Fetched { done, was_there })) => finish(shared, lease, done, was_there).await,
        Ok(None) => {
            lost(shared, &lease);
            Ok(())
        }
        Err(miss) if miss.failure.what == What::Disk => {
            let why = HistoryError::Disk { path: lease.row.listed.path.to_string(), failure: miss.failure };
            shared.queue.insist(move |q| q.release(&lease)).await?;
            Err(why)
        }
        Err(miss) => fail(shared, lease, miss).await,
    }
}

/// Keeps the lease; returns when it is somebody else's.
async fn until_lost(shared: &Shared, lease: &Lease) {
    let pause = Duration::from_millis(shared.lease_s.saturating_mul(1_000) / 3);
    loop {
        tokio::time::sleep(pause).await;
        let (lease, lease_s) = (lease.clone(), shared.lease_s);
        match shared.queue.insist(move |q| q.keep(&lease, lease_s)).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(err) => tracing::warn!(error = %error_chain(&err), "a lease cannot be renewed"),
        }
    }
}

async fn finish(shared: &Shared, lease: Lease, done: Done, was_there: bool) -> Result<()> {
    shared.patience.lock().unwrap_or_else(PoisonError::into_inner).over();
    let size = done.size;
    let (path, kept) = (lease.row.listed.path.clone(), lease.clone());
    if !shared.queue.insist(move |q| q.finish(&lease, &done)).await? {
        lost(shared, &kept);
        return Ok(());
    }
    if was_there {
        Tally::one(&shared.tally.proven);
    } else {
        Tally::one(&shared.tally.ok);
    }
    shared.tally.ok_bytes.fetch_add(size, Ordering::Relaxed);
    shared.watch.file(&path, if was_there { "proven" } else { "here" }, size, None);
    shared.news.notify_waiters();
    Ok(())
}

fn lost(shared: &Shared, lease: &Lease) {
    tracing::warn!(file = %lease.row.listed.path, "another downloader took this file over: we were stopped, or history.lease_s is short");
    Tally::one(&shared.tally.lost);
    let mark = Mark { worker: shared.worker.clone(), attempt: lease.row.attempts };
    shared.lost.lock().unwrap_or_else(PoisonError::into_inner).push((shared.mirror.file(&lease.row.listed.path), mark));
    shared.news.notify_waiters();
}

async fn fail(shared: &Shared, lease: Lease, miss: Miss) -> Result<()> {
    let Miss { failure, gained } = miss;
    // A server that throttles is no fault of the file, unless it never gives anything.
    let excused = failure.what == What::Throttled
        && shared.patience.lock().unwrap_or_else(PoisonError::into_inner).once_more(Instant::now());
    let failures = match (excused, gained) {
        (true, _) => lease.row.failures,
        (false, true) => 1,
        (false, false) => lease.row.failures.saturating_add(1),
    };
    let retry = &shared.asker.retry;
    let dead = !excused && failures >= retry.attempts.min(failure.what.patience());
    let wait = retry.wait(failures.max(1), random());
    let error = failure.to_string();
    let failed = Failed {
        error: error.clone(),
        failures,
        wait_us: i64::try_from(wait.as_micros()).unwrap_or(i64::MAX / 2),
        dead,
    };
    let (path, dest) = (lease.row.listed.path.clone(), shared.mirror.file(&lease.row.listed.path));
    let mark = Mark { worker: shared.worker.clone(), attempt: lease.row.attempts };
    let kept = lease.clone();
    if !shared.queue.insist(move |q| q.fail(&lease, &failed)).await? {
        lost(shared, &kept);
        return Ok(());
    }
    if dead {
        // Nobody resumes it before somebody asks: it would only lie about.
        let swept = tokio::task::spawn_blocking(move || mark::sweep(&dest, Some(&mark), None)).await?;
        if let Err(err) = swept {
            tracing::warn!(file = %path, error = %err, "what is left of a download cannot be removed");
        }
        Tally::one(&shared.tally.failed);
    } else {
        Tally::one(&shared.tally.retries);
    }
    shared.watch.file(&path, if dead { "dead" } else { "retry" }, 0, Some(&error));
    shared.news.notify_waiters();
    Ok(())
}
