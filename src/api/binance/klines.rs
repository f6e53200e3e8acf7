//! `klines`, `uiKlines` and `continuousKlines`: rows of twelve elements, oldest first.
//!
//! Without `startTime` the newest rows up to `endTime`, with it the oldest from there on; the open bar is a row like
//! any other (Binance API documentation, "Kline/Candlestick Data").

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::super::error::{Answer, Refusal, json};
use super::super::params::Params;
use super::super::{Shared, blocking, text};
use super::{Family, Found, hub};
use crate::kline::db::HistoryQuery;

pub(super) async fn spot(app: State<Shared>, headers: HeaderMap, params: Params) -> Answer<Response> {
    let found = Family::Spot.find(&*hub(&app)?, params.symbol("symbol")?);
    let micros = headers.get("x-mbx-time-unit").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"microsecond"));
    rows(app, params, found, Family::Spot, micros).await
}

pub(super) async fn usdm(app: State<Shared>, params: Params) -> Answer<Response> {
    let found = Family::Usdm.find(&*hub(&app)?, params.symbol("symbol")?);
    rows(app, params, found, Family::Usdm, false).await
}

/// Perpetuals are named like their pair; dated contracts come under `klines` with their own names.
pub(super) async fn continuous(app: State<Shared>, params: Params) -> Answer<Response> {
    let found = Family::Usdm.find(&*hub(&app)?, params.symbol("pair")?);
    match params.need("contractType")? {
        "PERPETUAL" | "TRADIFI_PERPETUAL" => {}
        _ => return Err(Refusal::value("contractType")),
    }
    rows(app, params, found, Family::Usdm, false).await
}

async fn rows(
    app: State<Shared>,
    params: Params,
    found: Answer<Found>,
    family: Family,
    micros: bool,
) -> Answer<Response> {
    // As the exchange: a bad interval is told before an unknown symbol.
    let interval = params.interval()?;
    let found = found?;
    let limit = match family {
        Family::Spot => params.limit(500, 1_000, true)?,
        _ => params.limit(500, 1_500, false)?,
    };
    let (start_us, end_us) = (params.time_us("startTime")?, params.time_us("endTime")?);
    if family == Family::Spot {
        params.time_zone(interval)?;
    }
    if start_us.zip(end_us).is_some_and(|(start, end)| start > end) {
        return Err(match family {
            Family::Spot => Refusal::new(-1128, "Combination of optional parameters invalid."),
            _ => Refusal::new(-1023, "Start time is greater than end time."),
        });
    }
    let hub = hub(&app)?;
    let query = HistoryQuery {
        venue: found.venue.to_owned(),
        symbol: found.symbol,
        interval,
        start_us,
        end_us,
        limit,
        newest_first: start_us.is_none(),
    };
    let body = blocking(&app, move || {
        let bars = hub.history(&query)?;
        let mut body = String::with_capacity(2 + bars.len() * 180);
        body.push('[');
        for (at, bar) in bars.iter().enumerate() {
            if at > 0 {
                body.push(',');
            }
            text::row(&mut body, found.venue, interval, bar, micros);
        }
        body.push(']');
        Ok(body)
    })
    .await?;
    Ok(json(body))
}
