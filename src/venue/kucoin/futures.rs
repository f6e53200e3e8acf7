//! KuCoin futures, classic protocol.
//!
//! Quirks: amounts are lots (see the contract size in `symbols`); a frame of `/contractMarket/level2` carries one
//! change as text; mark prices and funding rates are JSON numbers on one topic under two subjects; there is no
//! public stream of liquidations; only the last 100 trades can be requested again.

use super::super::{Continuity, Documented, KlinePage, Venue, VenueSpec};
use super::market::Market;
use super::spot;
use model::{Channel, VenueId};

/// Its facts: those of spot but for these.
const SPEC: VenueSpec = VenueSpec {
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
    documented: Documented { streams_per_connection: None, ..spot::SPEC.documented },
    symbols: 500,
    // One change a frame, first and final id are its sequence.
    ids: &[(Channel::Depth, Continuity::DepthFirstFinal)],
    counts_contracts: true,
    klines: Some(KlinePage { rows: 500, days_max: None, omits_empty: true, from_the_start: true }),
    ..spot::SPEC
};

/// The market; use it through [`venue`](crate::venue).
pub(crate) static FUTURES: Venue =
    Venue { spec: &SPEC, streams: &Market::Futures, rest: &Market::Futures, frames: &Market::Futures };
