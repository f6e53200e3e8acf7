//! The exchange's own REST paths over our candles, so that its clients work by base URL alone.
//!
//! `/api/v3` answers for spot (binance-spot, else binance-spot-sbe), `/fapi/v1` for USD-M. `/dapi/v1` knows no
//! symbol: clients that load all markets at once find an empty one.

pub(super) mod info;
mod klines;
mod ticker;
mod trades;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

pub(super) use trades::{agg_id, texts};

use super::error::{Answer, Refusal, json};
use super::params::SpotUnit;
use super::text::Unit;
use super::{Shared, now_us};
use kline::KlineHub;

/// Which of the exchange's APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `/api/v3`
    Spot,
    /// `/fapi/v1`
    Usdm,
}

/// One symbol of one venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub venue: &'static str,
    pub symbol: String,
    pub index: u32,
}

impl Family {
    /// Venues it answers for, the first one that has a symbol.
    pub fn venues(self) -> &'static [&'static str] {
        match self {
            Self::Spot => &["binance-spot", "binance-spot-sbe"],
            Self::Usdm => &["binance-usdm"],
        }
    }

    /// Where a symbol is looked for that is not recorded.
    pub fn first_venue(self) -> &'static str {
        match self {
            Self::Spot => "binance-spot",
            Self::Usdm => "binance-usdm",
        }
    }

    /// The symbol; -1121 for one we do not have.
    pub fn find(self, hub: &KlineHub, symbol: &str) -> Answer<Found> {
        let found = self.venues().iter().find_map(|venue| {
            let index = hub.registry().index(venue, symbol)?;
            Some(Found { venue, symbol: symbol.to_owned(), index })
        });
        found.ok_or_else(Refusal::symbol)
    }

    /// All symbols, each once, in the order of their places.
    pub fn all(self, hub: &KlineHub) -> Vec<Found> {
        let mut out: Vec<Found> = Vec::new();
        for (index, entry) in (0_u32..).zip(hub.registry().all()) {
            let Some(venue) = self.venues().iter().find(|v| **v == entry.venue) else { continue };
            // The first venue that has it answers for it.
            if self.find(hub, &entry.symbol).is_ok_and(|f| f.index == index) {
                out.push(Found { venue, symbol: entry.symbol, index });
            }
        }
        out
    }
}

pub(super) fn router() -> Router<Shared> {
    let spot = Router::new()
        .route("/ping", get(ping))
        .route("/time", get(spot_time))
        .route("/exchangeInfo", get(info::spot))
        .route("/klines", get(klines::spot))
        .route("/uiKlines", get(klines::spot))
        .route("/aggTrades", get(trades::spot_agg))
        .route("/trades", get(trades::spot))
        .route("/historicalTrades", get(trades::spot))
        .route("/ticker", get(ticker::spot_rolling))
        .route("/ticker/price", get(ticker::spot_price))
        .route("/ticker/24hr", get(ticker::spot_day))
        .route("/ticker/tradingDay", get(ticker::spot_trading_day))
        .route("/ticker/bookTicker", get(ticker::no_book))
        .route("/depth", get(ticker::no_book));
    let usdm = Router::new()
        .route("/ping", get(ping))
        .route("/time", get(time))
        .route("/exchangeInfo", get(info::usdm))
        .route("/klines", get(klines::usdm))
        .route("/continuousKlines", get(klines::continuous))
        .route("/aggTrades", get(trades::usdm_agg))
        .route("/trades", get(trades::usdm))
        .route("/historicalTrades", get(trades::usdm))
        .route("/ticker/price", get(ticker::usdm_price))
        .route("/ticker/24hr", get(ticker::usdm_day))
        .route("/ticker/bookTicker", get(ticker::no_book))
        .route("/depth", get(ticker::no_book));
    let price_v2 = Router::new().route("/ticker/price", get(ticker::usdm_price));
    let coinm =
        Router::new().route("/ping", get(ping)).route("/time", get(time)).route("/exchangeInfo", get(info::coinm));
    Router::new().nest("/api/v3", spot).nest("/fapi/v1", usdm).nest("/fapi/v2", price_v2).nest("/dapi/v1", coinm)
}

async fn ping() -> Response {
    json("{}".to_owned())
}

async fn spot_time(SpotUnit(unit): SpotUnit) -> Response {
    json(format!("{{\"serverTime\":{}}}", unit.of(now_us())))
}

async fn time() -> Response {
    spot_time(SpotUnit(Unit::Ms)).await
}

/// The hub, or that there is none.
pub(super) fn hub(app: &State<Shared>) -> Answer<std::sync::Arc<KlineHub>> {
    app.hub.clone().ok_or_else(Refusal::no_candles)
}
