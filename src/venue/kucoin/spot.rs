//! KuCoin spot, classic protocol.
//!
//! Quirks: best bid and ask (`/spotMarket/level1`) come without a sequence; a frame of `/market/level2` may carry
//! several changes and overlap the one before; whole books without a key end at 100 levels a side; only the last
//! 100 trades can be requested again, so gaps in trades are never repaired.

use super::super::{AtMarket, Continuity, Documented, Heartbeat, KlinePage, Limits, Per, Venue, VenueSpec};
use super::market::Market;
use model::{Channel, Throttling, UsedWeight, VenueId};

/// Topics KuCoin takes on one spot socket at most: 300 on the error page, 400 on the limits page.
pub(super) const MAX_TOPICS: usize = 400;

/// Symbols KuCoin takes in one subscribe message.
pub(super) const MAX_SYMBOLS: usize = 100;

/// Its facts.
pub(super) const SPEC: VenueSpec = VenueSpec {
    id: VenueId::KucoinSpot,
    pace_group: "kucoin",
    api: None,
    channels: &[
        Channel::Trades,
        Channel::BookTicker,
        Channel::Depth,
        Channel::DepthSnapshot,
        Channel::Tickers,
        Channel::VenueKlines,
    ],
    rest_base: "https://api.kucoin.com",
    ws_base: "wss://ws-api-spot.kucoin.com",
    headers: &[],
    api_key_header: None,
    waits_for_welcome: true,
    // The client pings; the token says how often, and this is what it has said for years.
    heartbeat: Heartbeat::ClientText { every_ms: 18_000, timeout_ms: 10_000 },
    limits: Limits {
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
    },
    documented: Documented {
        streams_per_connection: Some(MAX_TOPICS),
        params_per_subscribe: Some(MAX_SYMBOLS),
        messages: Some(Per { most: 100, window_s: 10 }),
        connects: Some(Per { most: 30, window_s: 60 }),
        connections: Some(800),
        lifetime_s: Some(86_400),
        message_bytes: None,
        rest: Per { most: 2_000, window_s: 30 },
        source: "KuCoin, \"Rate Limit\"; \"Classic Websocket API\"",
    },
    // `{"code":"429000","msg":"Too many requests"}`, with HTTP status 200 too; the reset is in ms.
    throttling: Throttling {
        resets: &[("gw-ratelimit-reset", 1_000)],
        refusals: &[("code", "429???")],
        ban_until: None,
        used: &[UsedWeight { header: "gw-ratelimit-limit", left: Some("gw-ratelimit-remaining"), window_s: 30 }],
    },
    symbols: 1_200,
    // A frame begins at or before the id expected and ends at or after it.
    ids: &[(Channel::Depth, Continuity::DepthFirstFinal)],
    at_market: AtMarket::All,
    counts_contracts: false,
    // Only the last 100 trades can be requested again.
    repair: &[],
    // Candles have neither trade counts nor taker volumes.
    seeding: &[],
    klines: Some(KlinePage { rows: 1500, days_max: None, omits_empty: true, from_the_start: false }),
};

/// The market; use it through [`venue`](crate::venue).
pub static SPOT: Venue = Venue { spec: &SPEC, streams: &Market::Spot, rest: &Market::Spot, frames: &Market::Spot };
