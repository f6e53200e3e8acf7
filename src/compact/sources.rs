//! Logs of other machines, read from their chunks: one worker for each log of a venue, also for one that comes later.
//!
//! A venue may have several logs there: of two collectors, or of one whose disk was lost and that began anew. Each is a log
//! of its own with files of its own in the lake, as two logs of one machine would be.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use wal_format::error_chain;

use crate::error::CompactError;
use crate::worker::{CompactWorker, VenueOutcome, log_name};
use fold::Mode;
use fold::gather::LogKind;
use lake::LakeStore;
use model::VenueId;
use ops::health::{Conditions, Reason};
use ops::shutdown::Shutdown;
use ops::supervise;
use ship::Chunks;

/// Between two looks for logs that are new.
const LOOK: Duration = Duration::from_secs(5);
/// Between two looks whether to stop.
const STOP_LOOK: Duration = Duration::from_millis(50);

type Done = oneshot::Receiver<Result<VenueOutcome, CompactError>>;

/// The logs of one venue in a store.
pub(super) struct Source {
    /// Which venue.
    pub(super) id: VenueId,
    /// Where their chunks lie.
    pub(super) store: Arc<dyn LakeStore>,
    /// Follow or drain.
    pub(super) mode: Mode,
    /// Asks to stop.
    pub(super) shutdown: Shutdown,
    /// What is wrong.
    pub(super) conditions: Conditions,
    /// Makes the worker of a log.
    pub(super) worker: Box<dyn Fn(LogKind, Chunks) -> CompactWorker + Send>,
}

impl Source {
    /// Works on a thread of its own; what all its workers did together is reported when they have ended.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(self) -> Result<Done, CompactError> {
        let (done, result) = oneshot::channel();
        let name = format!("compact-source-{}", self.id);
        let which = format!("of the chunks of {}", self.id);
        let work = move || {
            let ended = supervise::catch(|| self.run()).unwrap_or_else(|panicked| Err(panicked.into()));
            // Nobody listens only when the whole call was dropped.
            let _ = done.send(ended);
        };
        let thread = std::thread::Builder::new().name(name).spawn(work);
        thread.map_err(|source| CompactError::Thread { which, source })?;
        Ok(result)
    }

    fn run(&self) -> Result<VenueOutcome, CompactError> {
        let mut workers: BTreeMap<(String, [u8; 16]), Done> = BTreeMap::new();
        loop {
            match self.look(&mut workers) {
                Ok(()) => self.conditions.clear(Reason::StoreAway, self.id.as_str()),
                Err(err) if self.mode == Mode::Drain => return Err(err),
                Err(err) => {
                    let text = format!("the store of its chunks cannot be listed: {}", error_chain(&err));
                    if self.conditions.text(Reason::StoreAway, self.id.as_str()).is_none() {
                        tracing::warn!(venue = %self.id, "{text}; it is asked again");
                    }
                    self.conditions.raise(Reason::StoreAway, self.id.as_str(), text);
                }
            }
            if self.mode == Mode::Drain || !self.sleep() {
                break;
            }
        }
        let mut all = VenueOutcome::default();
        if workers.is_empty() {
            all.note = Some(format!(
                "there are no chunks of a log of {} in {}: nothing to do",
                self.id,
                self.store.place("").display()
            ));
        }
        let mut failed = None;
        for ((name, _), worker) in workers {
            match worker.blocking_recv() {
                Ok(Ok(done)) => {
                    all.parts = all.parts.saturating_add(done.parts);
                    all.rows = all.rows.saturating_add(done.rows);
                    all.records = all.records.saturating_add(done.records);
                    all.note = all.note.or(done.note);
                }
                Ok(Err(err)) => {
                    failed = failed.filter(|first: &CompactError| err.stopped() || !first.stopped()).or(Some(err))
                }
                Err(_) => failed = failed.or(Some(CompactError::ThreadGone { name })),
            }
        }
        failed.map_or(Ok(all), Err)
    }

    /// Starts a worker for each log that has none.
    fn look(&self, workers: &mut BTreeMap<(String, [u8; 16]), Done>) -> Result<(), CompactError> {
        for kind in [LogKind::Collected, LogKind::Repairs] {
            let name = log_name(self.id, kind);
            let logs = Chunks::of_venue(&self.store, &name).map_err(CompactError::step("look for chunks of logs"))?;
            for chunks in logs {
                let log = (name.clone(), chunks.log_uuid());
                let Entry::Vacant(free) = workers.entry(log) else { continue };
                tracing::info!(venue = %self.id, chunks = %chunks.place().display(), "compacting a log of another machine");
                free.insert((self.worker)(kind, chunks).start()?);
            }
        }
        Ok(())
    }

    /// Waits; false when asked to stop.
    fn sleep(&self) -> bool {
        let until = std::time::Instant::now() + LOOK;
        while std::time::Instant::now() < until && !self.shutdown.requested() {
            std::thread::sleep(STOP_LOOK);
        }
        !self.shutdown.requested()
    }
}
