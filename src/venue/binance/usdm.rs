//! Binance USD-M futures, JSON streams.
//!
//! Quirks: a socket serves one category (`/public` or `/market`), a stream subscribed on the wrong one is
//! acknowledged and stays silent; `@trade` is not documented but served on `/public` (or `/market`, as one example of
//! Binance's SDK has it), so a silent stream is tried on the other path too; sockets without a category acknowledge and
//! stay silent since 2026-04-23 (binance-public-data#472); partial depth looks like depth changes, only the stream name
//! tells; since 2026-06-30 all-market streams carry COIN-M rows too (`st` is 2), which are left out; `forceOrder` is a
//! sample, of the largest or of the latest order of a second: the documents disagree; recordings before 2020 lack `a` in
//! aggTrade and `X` in trade.

use super::super::{ApiFamily, AtMarket, Continuity, Documented, Heartbeat, Limits, Per, Venue, VenueSpec};
use super::market::Market;
use super::spot::{self, PAGE};
use super::stream::Stream;
use model::{Channel, VenueId};

/// Its facts.
pub const SPEC: VenueSpec = VenueSpec {
    id: VenueId::BinanceUsdm,
    pace_group: "binance-usdm",
    api: Some(ApiFamily::Usdm),
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
    rest_base: "https://fapi.binance.com",
    ws_base: "wss://fstream.binance.com",
    headers: &[],
    api_key_header: None,
    waits_for_welcome: false,
    heartbeat: Heartbeat::ServerPing { every_ms: 180_000, timeout_ms: 600_000 },
    limits: Limits { messages_per_s: 8, silence_timeout_s: 240, rest_weight_per_window: 1900, ..spot::SPEC.limits },
    documented: Documented {
        messages: Some(Per { most: 10, window_s: 1 }),
        // Connects are not documented for futures: the number of spot.
        rest: Per { most: 2_400, window_s: 60 },
        source: "Binance USD-M, \"Websocket Market Streams\"; \"General Info\"",
        ..spot::SPEC.documented
    },
    throttling: spot::SPEC.throttling,
    symbols: 600,
    ids: &[
        // Not documented, but without a gap in every recording at hand, off-book trades included.
        (Channel::Trades, Continuity::TradeId),
        (Channel::AggTrades, Continuity::AggId),
        (Channel::Depth, Continuity::DepthPrevFinal),
    ],
    // `INSURANCE_FUND`, `ADL`, `NA`, and whatever else there will be, are beside the market.
    at_market: AtMarket::Only(&["MARKET"]),
    counts_contracts: false,
    repair: &[Channel::AggTrades],
    // Its candles count insurance-fund and ADL fills, which no stream has, so a seeded bar may hold more than the trades
    // recorded.
    seeding: &[Channel::AggTrades],
    klines: Some(PAGE),
};

/// The market; use it through [`venue`](crate::venue).
pub(crate) static USDM: Venue =
    Venue { spec: &SPEC, streams: &Market::Usdm, rest: &Market::Usdm, frames: &Market::Usdm };

/// Paths that each serve a part of the streams.
pub(super) const PATHS: [&str; 2] = [PUBLIC, MARKET];
const PUBLIC: &str = "/public/stream";
const MARKET: &str = "/market/stream";

/// Category and stream name after the lower-case symbol.
pub(super) fn stream(channel: Channel) -> Option<Stream> {
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
    Some(Stream { path, suffix })
}

/// Only these limits exist; any other one is refused.
pub(super) fn snapshot(levels: u32) -> (u32, u32) {
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
