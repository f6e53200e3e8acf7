//! Binance spot, JSON streams.
//!
//! Quirks: `bookTicker` and partial depth frames carry no type and no time, partial depth not even a symbol, so
//! sockets are combined ones (`/stream`); a stream that does not exist is acknowledged and stays silent; the
//! server pings every 20 s; times are µs when the socket was opened with `timeUnit=MICROSECOND`; trades
//! recorded until 2023 carry the order ids `b` and `a`; symbols may be other than ASCII.

use super::super::{ApiFamily, AtMarket, Continuity, Documented, Heartbeat, KlinePage, Limits, Per, Venue, VenueSpec};
use super::market::Market;
use super::stream::Stream;
use model::{Channel, Throttling, UsedWeight, VenueId};

/// Candles of an answer. On futures 1000 rows cost 5 and 1500 rows 10.
pub(super) const PAGE: KlinePage = KlinePage { rows: 1000, days_max: None, omits_empty: false, from_the_start: true };

/// Its facts.
pub const SPEC: VenueSpec = VenueSpec {
    id: VenueId::BinanceSpot,
    // The SBE streams share it.
    pace_group: "binance-spot",
    api: Some(ApiFamily::Spot),
    channels: &[
        Channel::Trades,
        Channel::AggTrades,
        Channel::BookTicker,
        Channel::Depth,
        Channel::DepthSnapshot,
        Channel::Tickers,
        Channel::VenueKlines,
    ],
    rest_base: "https://api.binance.com",
    ws_base: "wss://stream.binance.com:9443",
    headers: &[],
    api_key_header: None,
    waits_for_welcome: false,
    heartbeat: Heartbeat::ServerPing { every_ms: 20_000, timeout_ms: 60_000 },
    limits: Limits {
        streams_per_connection: 200,
        params_per_subscribe: 200,
        subscribe_delay_ms: 250,
        global_subscribe_delay_ms: 100,
        connect_stagger_ms: 1000,
        connects_per_5_min: 200,
        messages_per_s: 4,
        lifetime_s: 23 * 3600,
        silence_timeout_s: 45,
        stream_silence_s: 60,
        rest_weight_per_window: 4800,
        rest_window_s: 60,
        snapshot_levels: 1000,
    },
    documented: Documented {
        streams_per_connection: Some(1024),
        params_per_subscribe: Some(1024),
        messages: Some(Per { most: 5, window_s: 1 }),
        connects: Some(Per { most: 300, window_s: 300 }),
        connections: None,
        lifetime_s: Some(86_400),
        message_bytes: Some(4_096),
        rest: Per { most: 6_000, window_s: 60 },
        source: "Binance spot, \"WebSocket Streams\", general information; \"LIMITS\"",
    },
    // `{"code":-1003,"msg":"Way too much request weight used; IP banned until 1796008942123. .."}`
    throttling: Throttling {
        resets: &[],
        refusals: &[("code", "-1003")],
        ban_until: Some(("msg", "banned until ")),
        used: &[
            UsedWeight { header: "X-MBX-USED-WEIGHT-1M", left: None, window_s: 60 },
            UsedWeight { header: "X-MBX-USED-WEIGHT", left: None, window_s: 60 },
        ],
    },
    symbols: 1_400,
    ids: &[
        (Channel::Trades, Continuity::TradeId),
        (Channel::AggTrades, Continuity::AggIdAndTrades),
        (Channel::Depth, Continuity::DepthFirstFinal),
    ],
    at_market: AtMarket::All,
    counts_contracts: false,
    repair: &[Channel::Trades, Channel::AggTrades],
    seeding: &[Channel::Trades, Channel::AggTrades],
    klines: Some(PAGE),
};

/// The market; use it through [`venue`](crate::venue).
pub static SPOT: Venue = Venue { spec: &SPEC, streams: &Market::Spot, rest: &Market::Spot, frames: &Market::Spot };

/// Stream name after the lower-case symbol.
pub(super) fn stream(channel: Channel) -> Option<Stream> {
    let name = match channel {
        Channel::Trades => "@trade",
        Channel::AggTrades => "@aggTrade",
        Channel::BookTicker => "@bookTicker",
        Channel::Depth => "@depth@100ms",
        Channel::Tickers => "@ticker",
        Channel::VenueKlines => "@kline_1m",
        Channel::DepthSnapshot | Channel::MarkPrice | Channel::Liquidations => return None,
    };
    Some(Stream { path: "/stream", suffix: name })
}

/// 1 to 5000 levels, each as asked.
pub(super) fn snapshot(levels: u32) -> (u32, u32) {
    let limit = levels.clamp(1, 5000);
    let weight = match limit {
        ..=100 => 5,
        101..=500 => 25,
        501..=1000 => 50,
        _ => 250,
    };
    (limit, weight)
}
