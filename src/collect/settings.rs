//! Section `[collector]`: where the collector listens.

use std::net::SocketAddr;

use ::settings::Section;
use ::settings::value::refuse;
use serde::{Deserialize, Deserializer};

/// Section `[collector]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the collector serves status, health and metrics.
    #[serde(deserialize_with = "loopback")]
    pub listen: SocketAddr,
    /// Names under which it may be asked: `hosts` of `[api]`.
    #[serde(skip)]
    pub hosts: Vec<String>,
    /// Minutes of a part: of `[lake]`.
    #[serde(skip)]
    pub part_minutes: u64,
    /// Seconds between two acknowledgements of the compactor: of `[lake]`.
    #[serde(skip)]
    pub ack_interval_s: u64,
}

impl Section for Settings {}

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
