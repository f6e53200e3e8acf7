//! Tells the service manager how this process is, where there is one: ready, alive, stopping.
//!
//! The protocol is one datagram of `NAME=value` lines to the socket in `NOTIFY_SOCKET` (sd_notify(3)); the watchdog
//! wants one within every `WATCHDOG_USEC` (sd_watchdog_enabled(3)). Without these variables nothing happens, and
//! nothing here ever fails the process: it is the manager that restarts it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::shutdown::Shutdown;

/// Everything is open: the service does its work from now on.
pub fn ready() {
    send("READY=1");
}

/// Asked to stop; the rest is flushed.
pub fn stopping() {
    send("STOPPING=1");
}

/// Sends a sign of life twice per interval of the manager's watchdog until `shutdown`; sends none without one.
/// A runtime whose tasks do not get their turn sends none.
pub async fn watchdog(shutdown: Shutdown) {
    let mine = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
    let every = std::env::var("WATCHDOG_USEC").ok().and_then(|us| us.parse::<u64>().ok()).filter(|us| mine && *us > 0);
    let Some(us) = every else { return shutdown.wait().await };
    loop {
        send("WATCHDOG=1");
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(Duration::from_micros(us / 2)) => {}
        }
    }
}

fn send(text: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Some(name) = name.to_str() else { return };
    let address = match name.strip_prefix('@') {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(name),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address));
    if let Err(err) = sent {
        tracing::warn!(socket = name, error = %err, "cannot tell the service manager {text}");
    }
}
