//! SIGHUP, written once: read your configuration again. Stopping is the business of [`crate::shutdown`] alone.
//!
//! The kernel sends the same signal when the terminal of a process goes away. A service that is run by hand ends
//! then, as it would without this module, but cleanly; to keep it running use `nohup` or a service manager.

use std::io::IsTerminal;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::shutdown::Shutdown;
use crate::supervise::{Supervisor, Task};

/// Gives one message per request to read the configuration again; requests that come while one waits are that one.
/// `shutdown` is triggered when the terminal went away instead.
///
/// # Errors
/// When the signal handler cannot be installed.
pub fn hangups(shutdown: &Shutdown, supervisor: &Supervisor) -> std::io::Result<mpsc::Receiver<()>> {
    let mut first = Some(signal(SignalKind::hangup())?);
    let had_terminal = std::io::stdin().is_terminal();
    let shutdown = shutdown.clone();
    let (sender, receiver) = mpsc::channel(1);
    // Heard to the end of the process.
    supervisor.spawn(Task::Hangup, "", &Shutdown::new(), move || {
        let (shutdown, sender, signals) = (shutdown.clone(), sender.clone(), first.take());
        async move {
            let Some(mut signals) = signals.or_else(|| signal(SignalKind::hangup()).ok()) else { return };
            while signals.recv().await.is_some() {
                // A terminal that hung up is none any more.
                if had_terminal && !std::io::stdin().is_terminal() {
                    shutdown.trigger();
                } else {
                    // Full: it is requested already.
                    let _ = sender.try_send(());
                }
            }
        }
    });
    Ok(receiver)
}
