//! The manifest as async tasks use it: one connection, used by one of them at a time, on threads that may block.

use std::sync::{Arc, Mutex, PoisonError};

use std::time::Duration;

use wal_format::error_chain;

use crate::error::{HistoryError, Result};
use crate::manifest::Queue;
use crate::mirror::Mirror;
use crate::settings::Settings;

/// The wait after the first failure of a database; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// A server that restarts is back within the waits of so many tries.
const TRIES: u32 = 7;

/// See the module.
#[derive(Clone)]
pub(crate) struct AsyncQueue {
    queue: Arc<Kept>,
}

struct Kept(Mutex<Option<Box<dyn Queue>>>);

impl Drop for Kept {
    fn drop(&mut self) {
        // A connection to a server ends with a wait, which no async task may do.
        if let Some(queue) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = std::thread::spawn(move || drop(queue)).join();
        }
    }
}

impl AsyncQueue {
    /// Opens the manifest of a mirror.
    pub(crate) async fn open(mirror: &Mirror, config: &Settings) -> Result<Self> {
        let (mirror, config) = (mirror.clone(), config.clone());
        let queue = tokio::task::spawn_blocking(move || mirror.manifest(&config)).await??;
        Ok(Self { queue: Arc::new(Kept(Mutex::new(Some(queue)))) })
    }

    /// Runs `work` with the manifest.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Queue) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let queue = Arc::clone(&self.queue);
        let done = tokio::task::spawn_blocking(move || {
            let mut queue = queue.0.lock().unwrap_or_else(PoisonError::into_inner);
            work(queue.as_mut().ok_or(HistoryError::Missing("the manifest is closed"))?.as_mut())
        });
        done.await.map_err(HistoryError::step("a task of the manifest died"))?
    }

    /// Runs `work` with the manifest, again and again while the database fails: a connection that was lost is made
    /// again, and half a minute of a server that restarts ends no download. `work` may run twice.
    pub(crate) async fn insist<T: Send + 'static>(
        &self,
        work: impl Fn(&mut dyn Queue) -> Result<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let work = Arc::new(work);
        let mut failures = 0;
        loop {
            let once = Arc::clone(&work);
            match self.with(move |queue| once(queue)).await {
                Ok(done) => return Ok(done),
                Err(err) if failures + 1 >= TRIES => return Err(err),
                Err(err) => {
                    tracing::warn!(error = %error_chain(&err), "the manifest does not answer; trying again");
                    tokio::time::sleep(FIRST_WAIT * (1 << failures)).await;
                    failures += 1;
                }
            }
        }
    }
}
