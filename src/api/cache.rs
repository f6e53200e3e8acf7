//! What the server read of the disk, so that many requests cost one reading.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quality::Reports;

/// How long an answer is cached.
const FRESH: Duration = Duration::from_secs(1);

/// The last answer.
#[derive(Default)]
pub(super) struct SystemCache {
    /// Held by the one request that reads.
    pub lock: tokio::sync::Mutex<()>,
    last: Mutex<Option<(Instant, Arc<str>)>>,
}

impl SystemCache {
    /// The last answer while it is fresh.
    pub fn fresh(&self) -> Option<Arc<str>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(at, _)| at.elapsed() < FRESH).map(|(_, body)| Arc::clone(body))
    }

    /// Caches an answer from now on.
    pub fn keep(&self, body: &Arc<str>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::clone(body)));
    }
}

/// Manifests that were read.
#[derive(Default)]
pub(super) struct QualityCache {
    /// Held by the one request that reads.
    pub lock: tokio::sync::Mutex<()>,
    /// What was read.
    pub read: Reports,
}
