//! Binance spot, JSON streams.
//!
//! Quirks: `bookTicker` and partial depth frames carry no type and no time, partial depth not even a symbol, so
//! sockets are combined ones (`/stream`); a stream that does not exist is acknowledged and stays silent; the
//! server pings every 20 s; times are µs when the socket was opened with `timeUnit=MICROSECOND`; trades
//! recorded until 2023 carry the order ids `b` and `a`; symbols may be other than ASCII.

use super::super::{Continuity, Limits};
use super::market::Market;
use super::plan;
use super::venue::Binance;
use model::{Channel, VenueId};

/// The market; use it through [`super::super::venue`].
pub const SPOT: Binance = Binance {
    market: Market::Spot,
    id: VenueId::BinanceSpot,
    channels: &[
        Channel::Trades,
        Channel::AggTrades,
        Channel::BookTicker,
        Channel::Depth,
        Channel::DepthSnapshot,
        Channel::Tickers,
        Channel::VenueKlines,
    ],
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
    rest_base: "https://api.binance.com",
    ws_base: "wss://stream.binance.com:9443",
    listing: ("/api/v3/exchangeInfo?showPermissionSets=false", 20),
    stream,
    paths: &[],
    snapshot_path: "/api/v3/depth",
    snapshot,
    continuity,
};

/// Stream name behind the lower-case symbol.
fn stream(channel: Channel) -> Option<plan::Stream> {
    let name = match channel {
        Channel::Trades => "@trade",
        Channel::AggTrades => "@aggTrade",
        Channel::BookTicker => "@bookTicker",
        Channel::Depth => "@depth@100ms",
        Channel::Tickers => "@ticker",
        Channel::VenueKlines => "@kline_1m",
        Channel::DepthSnapshot | Channel::MarkPrice | Channel::Liquidations => return None,
    };
    Some(plan::Stream { path: "/stream", suffix: name })
}

/// 1 to 5000 levels, each as asked.
fn snapshot(levels: u32) -> (u32, u32) {
    let limit = levels.clamp(1, 5000);
    let weight = match limit {
        ..=100 => 5,
        101..=500 => 25,
        501..=1000 => 50,
        _ => 250,
    };
    (limit, weight)
}

fn continuity(channel: Channel) -> Continuity {
    match channel {
        Channel::Trades => Continuity::TradeId,
        Channel::AggTrades => Continuity::AggIdAndTrades,
        Channel::Depth => Continuity::DepthFirstFinal,
        _ => Continuity::None,
    }
}
