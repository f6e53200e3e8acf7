//! Stopping, written once: whoever works watches one [`Shutdown`]; signals and parents trigger it.
//!
//! Triggering is sticky and may be repeated. A second signal while stopping ends the process at once
//! with exit code 130: what a killed process keeps is the log's promise, not this module's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::supervise::{Supervisor, Task};

/// A request to stop that any number of tasks can watch.
#[derive(Clone, Default)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    requested: AtomicBool,
    signals: AtomicUsize,
    notify: Notify,
}

impl Shutdown {
    /// A handle nobody has triggered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// True once somebody asked to stop.
    pub fn requested(&self) -> bool {
        self.inner.requested.load(Ordering::Acquire)
    }

    /// Asks everybody to stop.
    pub fn trigger(&self) {
        self.inner.requested.store(true, Ordering::Release);
        self.inner.notify.notify_waiters();
    }

    /// Returns when somebody asked to stop.
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

    /// Triggers on SIGINT and SIGTERM; the second one exits the process with code 130.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals(&self, supervisor: &Supervisor) -> std::io::Result<()> {
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let (me, mut first) = (self.clone(), Some(signal(kind)?));
            // Heard to the end of the process.
            supervisor.spawn(Task::Signals, "", &Shutdown::new(), move || {
                let (me, stream) = (me.clone(), first.take());
                async move {
                    let Some(mut stream) = stream.or_else(|| signal(kind).ok()) else { return };
                    while stream.recv().await.is_some() {
                        if me.inner.signals.fetch_add(1, Ordering::AcqRel) > 0 {
                            std::process::exit(130);
                        }
                        me.trigger();
                    }
                }
            });
        }
        Ok(())
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
