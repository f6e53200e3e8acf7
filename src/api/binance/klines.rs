//! `klines`, `uiKlines` and `continuousKlines`: rows of twelve elements, oldest first.
//!
//! Without `startTime` the newest rows up to `endTime`, with it the oldest from there on; the open bar is a row like
//! any other (Binance API documentation, "Kline/Candlestick Data"). Rows are those that the database and memory have,
//! whether the symbol is recorded, was recorded, or is known from the archive alone.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;

use super::family::{Family, FoundSymbol, venues};
use super::info;
use crate::app::{Shared, blocking};
use crate::error::{ApiError, ApiResult, Failed};
use crate::json::json;
use crate::params::{Params, SpotUnit};
use crate::text::{self, Unit};
use kline::KlineHub;
use kline::db::HistoryQuery;
use model::KlineData;

pub(super) async fn spot(app: State<Shared>, SpotUnit(unit): SpotUnit, params: Params) -> ApiResult<Response> {
    rows(app, &params, "symbol", Family::Spot, unit).await
}

pub(super) async fn usdm(app: State<Shared>, params: Params) -> ApiResult<Response> {
    rows(app, &params, "symbol", Family::Usdm, Unit::Ms).await
}

/// Perpetuals are named like their pair; dated contracts come under `klines` with their own names.
pub(super) async fn continuous(app: State<Shared>, params: Params) -> ApiResult<Response> {
    let contract = params.need("contractType")?;
    let hub = app.hub()?;
    match FoundSymbol::find(Family::Usdm, &hub, params.symbol("pair")?) {
        Ok(found) if info::contract(&hub, &found) != contract => Err(ApiError::new(
            -1130,
            "Data sent for parameter 'contractType' is not valid: dated contracts have their candles under klines.",
        )),
        Err(_) if !contract.ends_with("PERPETUAL") => Err(ApiError::value("contractType")),
        _ => rows(app, &params, "pair", Family::Usdm, Unit::Ms).await,
    }
}

async fn rows(app: State<Shared>, params: &Params, name: &str, family: Family, unit: Unit) -> ApiResult<Response> {
    // As the exchange: a bad interval is reported before an unknown symbol.
    let symbol = params.symbol(name)?.to_owned();
    let interval = params.interval()?;
    let limit = match family {
        Family::Spot => params.limit(500, 1_000, true)?,
        Family::Usdm => params.limit(500, 1_500, false)?,
    };
    let (start_us, end_us) = (params.time_us("startTime")?, params.time_us("endTime")?);
    if family == Family::Spot {
        params.time_zone(interval)?;
    }
    let nothing = start_us.zip(end_us).is_some_and(|(start, end)| start > end);
    if nothing && family == Family::Usdm {
        return Err(ApiError::start_after_end());
    }
    let hub = app.hub()?;
    let body = blocking(&app, move || {
        let venue = FoundSymbol::find(family, &hub, &symbol).map(|found| found.venue);
        let known = venue.is_ok();
        // One that is not recorded is looked for in the archive, which is under the first name.
        let Some(first) = venue.ok().or_else(|| venues(family).next()) else { return Ok(None) };
        let query = |venue: &str, limit| HistoryQuery {
            start_us,
            end_us,
            newest_first: start_us.is_none(),
            ..HistoryQuery::of(venue, &symbol, interval, limit)
        };
        let bars = if nothing { Vec::new() } else { history(&hub, family, first, &query, limit)? };
        if bars.is_empty() && !known && !stored(&hub, family, &symbol)? {
            return Ok(None);
        }
        let mut body = String::with_capacity(2 + bars.len() * 180);
        body.push('[');
        for (at, bar) in bars.iter().enumerate() {
            if at > 0 {
                body.push(',');
            }
            text::row(&mut body, first, interval, bar, unit);
        }
        body.push(']');
        Ok(Some(body))
    })
    .await?;
    body.map(json).ok_or_else(ApiError::symbol)
}

/// Bars of all venues that record this market, those of `first` where several have one: what the archive has is under
/// the name of one of them only.
fn history(
    hub: &KlineHub,
    family: Family,
    first: &'static str,
    query: &dyn Fn(&str, usize) -> HistoryQuery,
    limit: usize,
) -> Result<Vec<KlineData>, Failed> {
    let mut bars: BTreeMap<i64, KlineData> = BTreeMap::new();
    let wanted = query(first, limit);
    for venue in venues(family).filter(|v| *v != first).chain([first]) {
        bars.extend(hub.history(&query(venue, limit))?.into_iter().map(|bar| (bar.open_time_us, bar)));
    }
    let skip = if wanted.newest_first { bars.len().saturating_sub(limit) } else { 0 };
    Ok(bars.into_values().skip(skip).take(limit).collect())
}

/// True when there is a bar of this symbol, of whatever interval.
fn stored(hub: &KlineHub, family: Family, symbol: &str) -> Result<bool, Failed> {
    for venue in venues(family) {
        if hub.last_bar(venue, symbol)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
