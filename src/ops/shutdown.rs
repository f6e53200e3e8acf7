//! Stopping, written once: every task watches one [`Shutdown`]; signals ([`crate::signals`]) and parents trigger it.
//!
//! Triggering is sticky and may be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// A request to stop that any number of tasks can watch.
#[derive(Clone, Default)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    requested: AtomicBool,
    notify: Notify,
}

impl Shutdown {
    /// A handle not triggered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// True once a stop was requested.
    pub fn requested(&self) -> bool {
        self.inner.requested.load(Ordering::Acquire)
    }

    /// Asks all tasks to stop.
    pub fn trigger(&self) {
        self.inner.requested.store(true, Ordering::Release);
        self.inner.notify.notify_waiters();
    }

    /// Returns when a stop was requested.
    ///
    /// # Cancel safety
    /// Safe: nothing is consumed.
    pub async fn wait(&self) {
        loop {
            let notified = self.inner.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.requested() {
                return;
            }
            notified.await;
        }
    }
}

impl std::fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shutdown").field(&self.requested()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_waiter_that_comes_after_the_trigger_returns_at_once() {
        let s = Shutdown::new();
        s.trigger();
        s.wait().await;
        assert!(s.requested());
    }

    #[tokio::test]
    async fn a_waiter_that_came_before_the_trigger_is_woken() {
        let s = Shutdown::new();
        let t = tokio::spawn({
            let s = s.clone();
            async move { s.wait().await }
        });
        tokio::task::yield_now().await;
        s.trigger();
        t.await.expect("the waiter does not panic");
    }
}
