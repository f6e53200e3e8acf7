//! Binance COIN-M futures, JSON streams.
//!
//! As USD-M but for this: one path serves all streams (`/stream`); amounts count contracts of 100 USD for BTC and 10 USD
//! for all others, which the listing gives (`contractSize`); margin and profit are in the base asset, so what candles and
//! tickers give beside the contracts (`q`, `Q`, field 7 and 10 of REST candles) is a volume in the base asset, and the
//! quote volume is contracts times their size, whatever the price. `ps` is the pair (`BTCUSD` of `BTCUSD_PERP`). The
//! status of a symbol is in `contractStatus`. Since 2026-06-30 all-market streams carry USD-M rows too (`st` is 1),
//! which are left out, and the REST weight of an address is shared with USD-M. Candles are requested in at most 200 days.
//!
//! Source: Binance's documentation of COIN-M futures, "Market Data Endpoints" and "WebSocket Market Streams".

use super::super::{Continuity, Documented, KlinePage, Venue, VenueSpec};
use super::market::Market;
use super::stream::Stream;
use super::{spot, usdm};
use model::{Channel, VenueId};

/// Its facts: those of USD-M but for these. The pace is shared with it.
const SPEC: VenueSpec = VenueSpec {
    id: VenueId::BinanceCoinm,
    // Clients know no API of ours with contracts in it.
    api: None,
    rest_base: "https://dapi.binance.com",
    ws_base: "wss://dstream.binance.com",
    documented: Documented {
        source: "Binance COIN-M, \"WebSocket Market Streams\"; \"General Info\"",
        ..usdm::SPEC.documented
    },
    symbols: 60,
    ids: &[
        // As on USD-M; no recording at hand shows it.
        (Channel::Trades, Continuity::TradeId),
        (Channel::AggTrades, Continuity::AggId),
        (Channel::Depth, Continuity::DepthPrevFinal),
    ],
    counts_contracts: true,
    klines: Some(KlinePage { days_max: Some(200), from_the_start: false, ..spot::PAGE }),
    ..usdm::SPEC
};

/// The market; use it through [`venue`](crate::venue).
pub static COINM: Venue = Venue { spec: &SPEC, streams: &Market::Coinm, rest: &Market::Coinm, frames: &Market::Coinm };

/// Stream name after the lower-case symbol: that of USD-M, all on one path.
pub(super) fn stream(channel: Channel) -> Option<Stream> {
    usdm::stream(channel).map(|stream| Stream { path: "/stream", ..stream })
}
