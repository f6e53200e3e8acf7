//! Binance's REST paths over the recorded trades and candles, so that its clients work by base URL alone.
//!
//! `/api/v3` answers for spot (binance-spot, else binance-spot-sbe), `/fapi/v1` for USD-M. `/dapi/v1` knows no
//! symbol: clients that load all markets at once find an empty one.

mod family;
pub(super) mod info;
mod klines;
mod ticker;
mod trades;

use axum::Router;
use axum::response::Response;
use axum::routing::get;

pub(super) use family::{Family, FoundSymbol};
pub(super) use trades::{agg_id, texts};

use super::app::Shared;
use super::json::json;
use super::params::SpotUnit;
use super::text::Unit;
use super::time::now_us;

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
        .route("/ticker/24hr", get(ticker::spot_24hr))
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
        .route("/ticker/24hr", get(ticker::usdm_24hr))
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
    json(format!("{{\"serverTime\":{}}}", unit.convert_us(now_us())))
}

async fn time() -> Response {
    spot_time(SpotUnit(Unit::Ms)).await
}
