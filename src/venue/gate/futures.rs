//! Gate USDT futures, WebSocket v4.
//!
//! Quirks: sizes count contracts (`quanto_multiplier` base units each) and their sign is the side; without a
//! header on the upgrade they are integers and parts of contracts are cut off silently; one unknown contract
//! spoils the whole subscribe message; an idle socket dies after about 30 s; mark price and funding come only
//! with the ticker, whose frames become rows of two tables.

use super::super::{Continuity, KlinePage, Venue, VenueSpec};
use super::market::Market;
use super::spot;
use model::{Channel, VenueId};

/// Its facts: those of spot but for these.
const SPEC: VenueSpec = VenueSpec {
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
    ws_base: "wss://fx-ws.gateio.ws",
    // Without it sizes are integers: fractions of a contract are cut off, a size below one reads 0.
    headers: &[("X-Gate-Size-Decimal", "1")],
    symbols: 980,
    ids: &[
        // Not documented, and no recording at hand has a trade to show it.
        (Channel::Trades, Continuity::TradeId),
        (Channel::Depth, Continuity::DepthFirstFinal),
    ],
    counts_contracts: true,
    klines: Some(KlinePage { rows: 1999, days_max: None, omits_empty: true, from_the_start: false }),
    ..spot::SPEC
};

/// The market; use it through [`venue`](crate::venue).
pub(crate) static FUTURES: Venue =
    Venue { spec: &SPEC, streams: &Market::Futures, rest: &Market::Futures, frames: &Market::Futures };
