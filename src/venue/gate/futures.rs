//! Gate USDT futures, WebSocket v4.
//!
//! Quirks: sizes count contracts (`quanto_multiplier` base units each) and their sign is the side; without a
//! header on the upgrade they are integers and parts of contracts are cut off silently; one unknown contract
//! spoils the whole subscribe message; an idle socket dies after about 30 s; mark price and funding come only
//! with the ticker, whose frames become rows of two tables.

use super::market::Market;
use super::venue::Gate;
use model::{Channel, VenueId};

/// The market; use it through [`super::super::venue`].
pub static FUTURES: Gate = Gate {
    market: Market::Futures,
    id: VenueId::GateFutures,
    channels: &[
        Channel::Trades,
        Channel::BookTicker,
        Channel::Depth,
        Channel::DepthSnapshot,
        Channel::MarkPrice,
        Channel::Liquidations,
        Channel::Tickers,
        Channel::VenueKlines,
    ],
    rest_base: "https://api.gateio.ws",
    ws_base: "wss://fx-ws.gateio.ws",
    ws_path: "/v4/ws/usdt",
    // Without it sizes are integers: fractions of a contract are cut off, a size below one reads 0.
    headers: &[("X-Gate-Size-Decimal", "1")],
};
