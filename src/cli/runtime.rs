//! The async runtime of commands and services.

use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;

/// The runtime of a service: the machine's cores, named threads.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tapedeck")
        .build()
        .map(Runtime)
        .context("cannot start the async runtime")
}

/// See [`runtime`].
pub(crate) struct Runtime(tokio::runtime::Runtime);

impl Runtime {
    /// Runs `work` to its end. In a box: tokio's scheduler is compiled again for every kind of future that it is given.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        let mut outcome = None;
        let work: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(async { outcome = Some(work.await) });
        self.0.block_on(work);
        outcome.expect("it ran to its end")
    }

    /// Ends it; what still blocks after `patience` is left behind.
    pub(crate) fn shutdown_timeout(self, patience: Duration) {
        self.0.shutdown_timeout(patience);
    }
}
