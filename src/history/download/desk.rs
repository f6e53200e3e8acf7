//! The manifest as async tasks use it: one connection, used by one of them at a time, on threads that may block.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::config::History;
use crate::history::manifest::Queue;
use crate::history::mirror::Mirror;

/// See the module.
#[derive(Clone)]
pub(crate) struct Desk {
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

impl Desk {
    /// Opens the manifest of a mirror.
    pub(crate) async fn open(mirror: &Mirror, config: &History) -> Result<Self> {
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
            work(queue.as_mut().context("the manifest is closed")?.as_mut())
        });
        done.await.context("a task of the manifest died")?
    }
}
