//! What all tasks of one download run share: its job, what it asks with, how it ends.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::ask::{Asker, Patience};
use super::mark::{DownloadWorker, Mark};
use super::queue::AsyncQueue;
use super::tally::Tally;
use crate::error::HistoryError;
use crate::manifest::Scope;
use crate::mirror::Mirror;
use crate::path::ArchivePath;
use crate::select::Selection;
use ops::memory::Pressure;
use ops::shutdown::Shutdown;

/// What to download.
#[derive(Clone, Debug)]
pub struct DownloadJob {
    /// Which files.
    pub selection: Selection,
    /// Monthly files where they are, daily ones for the rest.
    pub auto: bool,
    /// Files on the dead-letter list get another chance.
    pub retry_dead: bool,
    /// Where memory is critical no further file is begun.
    pub pressure: Pressure,
}

/// What a run reports while it works. Called from many tasks.
pub trait Watch: Send + Sync {
    /// A series was listed: so many files and bytes are to be downloaded in all.
    fn listed(&self, files: u64, bytes: u64);
    /// Bytes came.
    fn received(&self, bytes: u64);
    /// A file came to an end: `here`, `proven`, `retry`, `dead`, and what went wrong.
    fn file(&self, path: &ArchivePath, state: &'static str, bytes: u64, error: Option<&str>);
}

/// What all tasks of a run share.
pub(super) struct Shared {
    pub(super) job: DownloadJob,
    pub(super) mirror: Mirror,
    pub(super) worker: DownloadWorker,
    /// What the names of those begin with who hold our leases.
    pub(super) holder: String,
    pub(super) queue: AsyncQueue,
    pub(super) asker: Asker,
    pub(super) base_url: String,
    pub(super) lease_s: u64,
    pub(super) stall: Duration,
    pub(super) min_free_bytes: u64,
    pub(super) scope: Mutex<Scope>,
    pub(super) tally: Tally,
    pub(super) watch: Arc<dyn Watch>,
    /// The producer has offered everything.
    pub(super) all_listed: AtomicBool,
    /// Since when there were only throttled answers.
    pub(super) patience: Mutex<Patience>,
    /// Attempts whose file another worker took over.
    pub(super) lost: Mutex<Vec<(PathBuf, Mark)>>,
    /// Something new is in the queue, or something ended.
    pub(super) news: Notify,
    /// Ends the run: a signal, or a failure that every file would share.
    pub(super) stop: Shutdown,
    pub(super) fatal: Mutex<Option<HistoryError>>,
}

impl Shared {
    pub(super) fn scope(&self) -> Scope {
        self.scope.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the run for a reason that no file has.
    pub(super) fn give_up(&self, why: HistoryError) {
        let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        fatal.get_or_insert(why);
        drop(fatal);
        self.stop.trigger();
        self.news.notify_waiters();
    }
}
