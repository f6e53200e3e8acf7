//! Gate spot, WebSocket v4.
//!
//! Quirks: the id of a trade counts the trades of all markets, `id_market` (since 2025) those of one; candles
//! have the quote volume under `v`; the first push of a book may be the whole book without saying so; the server
//! pings, and announces an upgrade on `spot.system` before it closes.

use super::market::Market;
use super::venue::Gate;
use model::{Channel, VenueId};

/// The market; use it through [`super::super::venue`].
pub static SPOT: Gate = Gate {
    market: Market::Spot,
    id: VenueId::GateSpot,
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
    ws_path: "/ws/v4/",
    headers: &[],
};
