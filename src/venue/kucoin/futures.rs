//! KuCoin futures, classic protocol.
//!
//! Quirks: amounts are lots (see the contract size in `symbols`); a frame of `/contractMarket/level2` carries one
//! change as text; mark prices and funding rates are JSON numbers on one topic under two subjects; there is no
//! public stream of liquidations; only the last 100 trades can be asked for again.

use super::market::Market;
use super::venue::Kucoin;
use model::{Channel, VenueId};

/// The market; use it through [`super::super::venue`].
pub static FUTURES: Kucoin = Kucoin {
    market: Market::Futures,
    id: VenueId::KucoinFutures,
    channels: &[
        Channel::Trades,
        Channel::BookTicker,
        Channel::Depth,
        Channel::DepthSnapshot,
        Channel::MarkPrice,
        Channel::Tickers,
        Channel::VenueKlines,
    ],
    rest_base: "https://api-futures.kucoin.com",
    ws_base: "wss://ws-api-futures.kucoin.com",
    listing_path: "/api/v1/contracts/active",
    listing_weight: 3,
};
