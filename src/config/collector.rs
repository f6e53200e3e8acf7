//! Section `[collector]`: where the collector listens.

use std::net::SocketAddr;

use super::reader::Reader;

/// Section `[collector]`.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Where the collector serves status, health and metrics.
    pub listen: SocketAddr,
}

/// Reads the section.
pub(super) fn read(r: &mut Reader<'_>) -> Collector {
    Collector { listen: listen(r, "collector.listen", 8081) }
}

fn listen(r: &mut Reader<'_>, key: &str, port: u16) -> SocketAddr {
    let text = r.text(key);
    let fallback = SocketAddr::from(([127, 0, 0, 1], port));
    match text.parse::<SocketAddr>() {
        Ok(addr) if addr.ip().is_loopback() => addr,
        Ok(addr) => {
            r.problem(
                key,
                format!("{addr} is not a loopback address, and this version has no token to protect it"),
                format!("write \"{fallback}\" and put a reverse proxy in front"),
            );
            fallback
        }
        Err(_) => {
            r.problem(key, format!("{text:?} is not an address"), format!("write \"{fallback}\""));
            fallback
        }
    }
}
