//! SIGINT and SIGTERM ask a service to stop.
//!
//! A second signal while stopping ends the process at once with exit code 130: what a killed process keeps is the log's
//! promise, not this module's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::shutdown::Shutdown;
use crate::supervise::{Supervisor, Task};

impl Shutdown {
    /// Triggers on SIGINT and SIGTERM; the second one exits the process with code 130.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals(&self, supervisor: &Supervisor) -> std::io::Result<()> {
        let heard = Arc::new(AtomicUsize::new(0));
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let (me, heard, mut first) = (self.clone(), Arc::clone(&heard), Some(signal(kind)?));
            // Heard to the end of the process.
            supervisor.spawn(Task::Signals, "", &Shutdown::new(), move || {
                let (me, heard, stream) = (me.clone(), Arc::clone(&heard), first.take());
                async move {
                    let Some(mut stream) = stream.or_else(|| signal(kind).ok()) else { return };
                    while stream.recv().await.is_some() {
                        if heard.fetch_add(1, Ordering::AcqRel) > 0 {
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
