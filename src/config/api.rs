//! Section `[api]`: where the compactor listens, who may ask, and how much.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::reader::Reader;

/// Section `[api]`.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where the compactor serves.
    pub listen: SocketAddr,
    /// Environment variable that holds the token every request must show.
    pub token_env: Option<String>,
    /// File that holds it.
    pub token_file: Option<PathBuf>,
    /// An address beyond loopback without a token is meant.
    pub insecure: bool,
    /// Origins of web pages that may ask, as browsers write them.
    pub cors_origins: Vec<String>,
    /// Names under which both services may be asked beside `localhost` and their addresses.
    pub hosts: Vec<String>,
    /// Connections at once.
    pub max_connections: usize,
    /// Of them what one address may have, WebSockets too, %.
    pub address_share_percent: u64,
    /// WebSockets at once.
    pub max_websockets: usize,
    /// Streams of one WebSocket.
    pub max_subscriptions: usize,
    /// Messages a WebSocket client may send per second.
    pub ws_messages_per_s: u32,
    /// Largest message of a WebSocket client, bytes.
    pub max_message_bytes: usize,
    /// Largest request body, bytes.
    pub max_body_bytes: u64,
    /// Request weight of one address in one minute.
    pub weight_per_minute: u32,
    /// Seconds a client may take for what is written to it before it is cut.
    pub slow_client_s: u64,
    /// Seconds between two pings to a WebSocket client.
    pub ping_interval_s: u64,
}

impl Api {
    /// Connections that one address may have.
    pub fn connections_per_address(&self) -> usize {
        let share = self.max_connections as u64 * self.address_share_percent;
        usize::try_from(share.div_ceil(100)).unwrap_or(usize::MAX)
    }
}

/// Reads the section.
pub(super) fn read(r: &mut Reader<'_>) -> Api {
    let named = |text: String| (!text.is_empty()).then_some(text);
    let (token_env, token_file) = (r.variable("api.token_env"), named(r.text("api.token_file")).map(PathBuf::from));
    let insecure = r.yes("api.insecure");
    if token_env.is_some() && token_file.is_some() {
        r.problem("api.token_file", "api.token_env names a token already".into(), "keep one of them".into());
    }
    let text = r.text("api.listen");
    let fallback = SocketAddr::from(([127, 0, 0, 1], 8080));
    let listen = match text.parse::<SocketAddr>() {
        Ok(addr) if addr.ip().is_loopback() || token_env.is_some() || token_file.is_some() || insecure => addr,
        Ok(addr) => {
            r.problem(
                "api.listen",
                format!("{addr} is not a loopback address, and nothing protects it"),
                format!(
                    "name a token by api.token_env or api.token_file; or write insecure = true where everybody who \
                     reaches this address may read; or write \"{fallback}\""
                ),
            );
            fallback
        }
        Err(_) => {
            r.problem("api.listen", format!("{text:?} is not an address"), format!("write \"{fallback}\""));
            fallback
        }
    };
    let cors_origins = r.texts("api.cors_origins");
    for origin in &cors_origins {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if !host.is_some_and(|h| !h.is_empty() && !h.contains('/')) {
            r.problem(
                "api.cors_origins",
                format!("{origin:?} is no origin"),
                "write scheme, host and port as browsers do: \"https://charts.example.org\"".into(),
            );
        }
    }
    let hosts = r.texts("api.hosts");
    for name in &hosts {
        if name.is_empty() || name.contains(['/', ':', '*', ' ']) {
            r.problem("api.hosts", format!("{name:?} is no name"), "write a name alone: \"tape.example.org\"".into());
        }
    }
    let int = |r: &mut Reader<'_>, key: &str, min: u64, max: u64| r.int(key, min, max) as usize;
    Api {
        listen,
        token_env,
        token_file,
        insecure,
        cors_origins,
        hosts,
        max_connections: int(r, "api.max_connections", 1, 1_000_000),
        address_share_percent: r.int("api.address_share_percent", 1, 100),
        max_websockets: int(r, "api.max_websockets", 0, 1_000_000),
        max_subscriptions: int(r, "api.max_subscriptions", 1, 100_000),
        ws_messages_per_s: u32::try_from(r.int("api.ws_messages_per_s", 1, 10_000)).unwrap_or(10),
        max_message_bytes: int(r, "api.max_message_kib", 1, 16_384) << 10,
        max_body_bytes: r.int("api.max_body_kib", 0, 16_384) << 10,
        weight_per_minute: u32::try_from(r.int("api.weight_per_minute", 1, 100_000_000)).unwrap_or(6_000),
        slow_client_s: r.int("api.slow_client_s", 1, 3_600),
        ping_interval_s: r.int("api.ping_interval_s", 1, 3_600),
    }
}
