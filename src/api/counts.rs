//! What the server counts of itself; [`super::metrics`] shows it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the server counts of itself.
#[derive(Default)]
pub(super) struct Counts {
    /// HTTP requests.
    pub requests: AtomicU64,
    /// Requests refused for their weight.
    pub limited: AtomicU64,
    /// Connections over the limit.
    pub turned_away: AtomicU64,
    /// WebSockets open now.
    pub websockets: AtomicU64,
    /// WebSocket clients disconnected because they were too slow.
    pub slow: AtomicU64,
    /// Messages written to WebSocket clients.
    pub pushed: AtomicU64,
    /// Messages that a newer state of the same bar replaced before they were written.
    pub conflated: AtomicU64,
}

impl Counts {
    pub fn request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub fn limited(&self) {
        self.limited.fetch_add(1, Relaxed);
    }

    pub fn turned_away(&self) {
        self.turned_away.fetch_add(1, Relaxed);
    }
}
