//! Binance USD-M futures, JSON streams.
//!
//! Quirks: a socket serves one category (`/public` or `/market`), a stream asked for in the wrong one is
//! acknowledged and stays silent; `@trade` is not documented but served on `/public` (or `/market`, as one example of
//! Binance's SDK has it), so a silent stream is tried on the other path too; sockets without a category acknowledge and
//! stay silent since 2026-04-23 (binance-public-data#472); partial depth looks like depth changes, only the stream name
//! tells; since 2026-06-30 all-market streams carry COIN-M rows too (`st` is 2), which are left out; `forceOrder` is a
//! sample, of the largest or of the latest order of a second: the documents disagree; recordings before 2020 lack `a` in
//! aggTrade and `X` in trade.

use super::super::{Continuity, Limits};
use super::market::Market;
use super::plan;
use super::venue::Binance;
use model::{Channel, VenueId};

/// The market; use it through [`super::super::venue`].
pub const USDM: Binance = Binance {
    market: Market::Usdm,
    id: VenueId::BinanceUsdm,
    channels: &[
        Channel::Trades,
        Channel::AggTrades,
        Channel::BookTicker,
        Channel::Depth,
        Channel::DepthSnapshot,
        Channel::MarkPrice,
        Channel::Liquidations,
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
        messages_per_s: 8,
        lifetime_s: 23 * 3600,
        silence_timeout_s: 240,
        stream_silence_s: 60,
        rest_weight_per_window: 1900,
        rest_window_s: 60,
        snapshot_levels: 1000,
    },
    rest_base: "https://fapi.binance.com",
    ws_base: "wss://fstream.binance.com",
    listing: ("/fapi/v1/exchangeInfo", 1),
    stream,
    paths: &[PUBLIC, MARKET],
    snapshot_path: "/fapi/v1/depth",
    snapshot,
    continuity,
};

const PUBLIC: &str = "/public/stream";
const MARKET: &str = "/market/stream";

/// Category and stream name behind the lower-case symbol.
fn stream(channel: Channel) -> Option<plan::Stream> {
    let (path, suffix) = match channel {
        Channel::Trades => (PUBLIC, "@trade"),
        Channel::AggTrades => (MARKET, "@aggTrade"),
        Channel::BookTicker => (PUBLIC, "@bookTicker"),
        Channel::Depth => (PUBLIC, "@depth@100ms"),
        Channel::MarkPrice => (MARKET, "@markPrice@1s"),
        Channel::Liquidations => (MARKET, "@forceOrder"),
        Channel::Tickers => (MARKET, "@ticker"),
        Channel::VenueKlines => (MARKET, "@kline_1m"),
        Channel::DepthSnapshot => return None,
    };
    Some(plan::Stream { path, suffix })
}

/// Only these limits exist; any other one is refused.
fn snapshot(levels: u32) -> (u32, u32) {
    match levels {
        ..=5 => (5, 2),
        6..=10 => (10, 2),
        11..=20 => (20, 2),
        21..=50 => (50, 2),
        51..=100 => (100, 5),
        101..=500 => (500, 10),
        _ => (1000, 20),
    }
}

fn continuity(channel: Channel) -> Continuity {
    match channel {
        // Not documented, but without a hole in every recording at hand, off-book trades included.
        Channel::Trades => Continuity::TradeId,
        Channel::AggTrades => Continuity::AggId,
        Channel::Depth => Continuity::DepthPrevFinal,
        _ => Continuity::None,
    }
}
