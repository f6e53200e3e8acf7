//! Section `[collector]`: where the collector listens.

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer};
use settings::Section;
use settings::value::refuse;

/// Section `[collector]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collector {
    /// Where the collector serves status, health and metrics.
    #[serde(deserialize_with = "loopback")]
    pub listen: SocketAddr,
}

impl Section for Collector {}

fn loopback<'de, D: Deserializer<'de>>(d: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(d)?;
    match text.parse::<SocketAddr>() {
        Ok(addr) if addr.ip().is_loopback() => Ok(addr),
        Ok(addr) => Err(refuse(
            format!("{addr} is not a loopback address, and this version has no token to protect it"),
            "write \"127.0.0.1:8081\" and put a reverse proxy in front",
        )),
        Err(_) => Err(refuse(format!("{text:?} is not an address"), "write \"127.0.0.1:8081\"")),
    }
}
