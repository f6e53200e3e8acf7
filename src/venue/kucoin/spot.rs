//! KuCoin spot, classic protocol.
//!
//! Quirks: best bid and ask (`/spotMarket/level1`) come without a sequence; a frame of `/market/level2` may carry
//! several changes and overlap the one before; whole books without a key end at 100 levels a side; only the last
//! 100 trades can be asked for again, so holes in trades are never repaired.

use super::market::Market;
use super::venue::Kucoin;
use model::{Channel, VenueId};

/// The market; use it through [`super::super::venue`].
pub static SPOT: Kucoin = Kucoin {
    market: Market::Spot,
    id: VenueId::KucoinSpot,
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
    listing_path: "/api/v2/symbols",
    listing_weight: 4,
};
