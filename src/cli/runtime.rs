//! The async runtime of commands and services.

use anyhow::Context;

/// The runtime of a service: the machine's cores, named threads.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tapedeck")
        .build()
        .context("cannot start the async runtime")
}
