//! Gate spot, WebSocket v4.
//!
//! Quirks: the id of a trade counts the trades of all markets, `id_market` (since 2025) those of one; candles
//! have the quote volume under `v`; the first push of a book may be the whole book without saying so; the server
//! pings, and announces an upgrade on `spot.system` before it closes.

use super::super::{AtMarket, Continuity, Documented, Heartbeat, KlinePage, Limits, Per, Venue, VenueSpec};
use super::market::Market;
use super::plan::MAX_SYMBOLS;
use model::{Channel, Throttling, UsedWeight, VenueId};

/// Its facts.
pub(super) const SPEC: VenueSpec = VenueSpec {
    id: VenueId::GateSpot,
    pace_group: "gate",
    api: None,
    channels: &[
        Channel::Trades,
        Channel::BookTicker,
        Channel::Depth,
        Channel::DepthSnapshot,
        Channel::Tickers,
        Channel::VenueKlines,
    ],
    rest_base: "https://api.gateio.ws",
    ws_base: "wss://api.gateio.ws",
    headers: &[],
    api_key_header: None,
    waits_for_welcome: false,
    // The venue requires a ping every 10 to 15 s.
    heartbeat: Heartbeat::ClientText { every_ms: 15_000, timeout_ms: 30_000 },
    // How many messages and streams a socket takes is not documented.
    limits: Limits {
        streams_per_connection: 200,
        params_per_subscribe: MAX_SYMBOLS,
        subscribe_delay_ms: 300,
        global_subscribe_delay_ms: 100,
        connect_stagger_ms: 500,
        connects_per_5_min: 200,
        messages_per_s: 4,
        lifetime_s: 23 * 3600,
        silence_timeout_s: 60,
        stream_silence_s: 60,
        rest_weight_per_window: 180,
        rest_window_s: 10,
        snapshot_levels: 100,
    },
    documented: Documented {
        streams_per_connection: None,
        params_per_subscribe: None,
        messages: None,
        connects: None,
        connections: Some(300),
        lifetime_s: None,
        message_bytes: None,
        // Per endpoint.
        rest: Per { most: 200, window_s: 10 },
        source: "Gate, \"APIv4\" frequency limit; \"WebSocket v4\"",
    },
    // `{"label":"TOO_MANY_REQUESTS","message":".."}`; the reset is in s since 1970.
    throttling: Throttling {
        resets: &[("X-Gate-RateLimit-Reset-Timestamp", 1)],
        refusals: &[("label", "TOO_MANY_REQUESTS")],
        ban_until: None,
        used: &[UsedWeight {
            header: "X-Gate-RateLimit-Limit",
            left: Some("X-Gate-RateLimit-Requests-Remain"),
            window_s: 10,
        }],
    },
    symbols: 2_300,
    ids: &[
        // `id_market`; older recordings have none and so no test.
        (Channel::Trades, Continuity::TradeId),
        (Channel::Depth, Continuity::DepthFirstFinal),
    ],
    at_market: AtMarket::AllBut(&["internal"]),
    counts_contracts: false,
    repair: &[Channel::Trades],
    // Candles have neither trade counts nor taker volumes.
    seeding: &[],
    klines: Some(KlinePage { rows: 999, days_max: None, omits_empty: true, from_the_start: false }),
};

/// The market; use it through [`venue`](crate::venue).
pub static SPOT: Venue = Venue { spec: &SPEC, streams: &Market::Spot, rest: &Market::Spot, frames: &Market::Spot };
