//! Which of the two markets something is about, and the facts of both.

use super::super::{Heartbeat, Limits};

/// Which of the two markets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Market {
    Spot,
    Futures,
}

/// Spot and futures share what an address may do.
pub(super) const PACE_GROUP: &str = "kucoin";

/// The client pings; the token tells how often, and this is what it has told for years.
pub(super) const HEARTBEAT: Heartbeat = Heartbeat::ClientText { every_ms: 18_000, timeout_ms: 10_000 };

/// Both markets document: 30 new connections a minute, 100 client messages in 10 s on a socket, 100 symbols in a
/// subscribe message, 300 (or 400) topics on a spot socket, 24 h of life, REST weight 2000 in 30 s.
pub(super) fn limits() -> Limits {
    Limits {
        streams_per_connection: 300,
        params_per_subscribe: 100,
        subscribe_delay_ms: 200,
        global_subscribe_delay_ms: 150,
        connect_stagger_ms: 2000,
        connects_per_5_min: 140,
        messages_per_s: 8,
        lifetime_s: 23 * 3600,
        // Pongs come every 18 s.
        silence_timeout_s: 45,
        stream_silence_s: 60,
        rest_weight_per_window: 1900,
        rest_window_s: 30,
        snapshot_levels: 100,
    }
}
