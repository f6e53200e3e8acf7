//! Section `[api]`: where the compactor listens, who may send requests, and how many.

use std::net::SocketAddr;
use std::path::PathBuf;

use ::settings::value::{bytes, filled, int, refuse, variable};
use ::settings::{KeyProblem, Section};
use capture::Capture;
use net::server::{Access, AccessError};
use serde::{Deserialize, Deserializer};

/// What the server reads of the configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Section `[api]`.
    pub api: Settings,
    /// What is recorded and where it lies.
    pub capture: Capture,
    /// Section `[klines]`.
    pub klines: kline::Settings,
    /// Section `[lake]`.
    pub lake: lake::Settings,
}

/// Section `[api]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the compactor serves.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Environment variable that holds the token every request must show.
    #[serde(deserialize_with = "variable")]
    pub token_env: Option<String>,
    /// File that holds it.
    #[serde(deserialize_with = "filled")]
    pub token_file: Option<PathBuf>,
    /// An address beyond loopback without a token is meant.
    pub insecure: bool,
    /// Origins of web pages that may send requests, as browsers write them.
    pub cors_origins: Vec<String>,
    /// Host names that both services accept beside `localhost` and their addresses.
    pub hosts: Vec<String>,
    /// Connections at once.
    #[serde(deserialize_with = "int::<1, 1_000_000, _, _>")]
    pub max_connections: usize,
    /// Of them what one address may have, WebSockets too, %.
    #[serde(deserialize_with = "int::<1, 100, _, _>")]
    pub address_share_percent: u64,
    /// WebSockets at once.
    #[serde(deserialize_with = "int::<0, 1_000_000, _, _>")]
    pub max_websockets: usize,
    /// Streams of one WebSocket.
    #[serde(deserialize_with = "int::<1, 100_000, _, _>")]
    pub max_subscriptions: usize,
    /// Messages a WebSocket client may send per second.
    #[serde(deserialize_with = "int::<1, 10_000, _, _>")]
    pub ws_messages_per_s: u32,
    /// Largest message of a WebSocket client, bytes.
    #[serde(rename = "max_message_kib", deserialize_with = "bytes::<1, 16_384, 10, _, _>")]
    pub max_message_bytes: usize,
    /// Largest request body, bytes.
    #[serde(rename = "max_body_kib", deserialize_with = "bytes::<0, 16_384, 10, _, _>")]
    pub max_body_bytes: u64,
    /// Request weight of one address in one minute.
    #[serde(deserialize_with = "int::<1, 100_000_000, _, _>")]
    pub weight_per_minute: u32,
    /// Seconds a client may take for what is written to it before it is disconnected.
    #[serde(deserialize_with = "int::<1, 3_600, _, _>")]
    pub slow_client_s: u64,
    /// Seconds between two pings to a WebSocket client.
    #[serde(deserialize_with = "int::<1, 3_600, _, _>")]
    pub ping_interval_s: u64,
}

impl Settings {
    /// The token that is required, where the section names one.
    ///
    /// # Errors
    /// When there is none, or one that is too short.
    pub fn access(&self) -> Result<Access, AccessError> {
        Access::load(self.token_env.as_deref(), self.token_file.as_deref())
    }

    /// Connections that one address may have.
    pub fn connections_per_address(&self) -> usize {
        let share = self.max_connections as u64 * self.address_share_percent;
        usize::try_from(share.div_ceil(100)).unwrap_or(usize::MAX)
    }
}

/// Replaces an address that cannot be used.
const FALLBACK: &str = "write \"127.0.0.1:8080\"";

fn address<'de, D: Deserializer<'de>>(d: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(d)?;
    text.parse().map_err(|_| refuse(format!("{text:?} is not an address"), FALLBACK))
}

impl Section for Settings {
    fn validate(&mut self) -> Vec<KeyProblem> {
        let mut wrong = Vec::new();
        if self.token_env.is_some() && self.token_file.is_some() {
            wrong.push(KeyProblem::new("token_file", "api.token_env names a token already", "keep one of them"));
        }
        let is_protected = self.token_env.is_some() || self.token_file.is_some();
        if !(self.listen.ip().is_loopback() || is_protected || self.insecure) {
            let fix = format!(
                "name a token by api.token_env or api.token_file; or write insecure = true where every client that reaches \
                 this address may read; or {FALLBACK}"
            );
            let what = format!("{} is not a loopback address, and nothing protects it", self.listen);
            wrong.push(KeyProblem::new("listen", what, fix));
        }
        for origin in &self.cors_origins {
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if !host.is_some_and(|h| !h.is_empty() && !h.contains('/')) {
                let fix = "write scheme, host and port as browsers do: \"https://charts.example.org\"";
                wrong.push(KeyProblem::new("cors_origins", format!("{origin:?} is no origin"), fix));
            }
        }
        for name in self.hosts.iter().filter(|name| name.is_empty() || name.contains(['/', ':', '*', ' '])) {
            let fix = "write a name alone: \"tape.example.org\"";
            wrong.push(KeyProblem::new("hosts", format!("{name:?} is no name"), fix));
        }
        wrong
    }
}
