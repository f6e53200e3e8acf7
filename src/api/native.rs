//! Our own paths, `/v1/*`, for every venue. `openapi.json` beside this file describes them and the exchange-shaped
//! ones; a test holds the two together.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::app::{Shared, blocking};
use super::error::{ApiError, ApiResult};
use super::json::{json as answer, json_text};
use super::params::Params;
use super::text;
use super::ws::Filter;
use kline::db::{GapQuery, HistoryQuery, Source};
use kline::{FlatKlineStore, KlineHub};
use model::{Interval, VenueId};

/// The document of all paths.
pub(super) const OPENAPI: &str = include_str!("openapi.json");
const LIMIT: usize = 500;
const LIMIT_MAX: usize = 5_000;

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/venues", get(venues))
        .route("/v1/symbols", get(symbols))
        .route("/v1/klines", get(klines))
        .route("/v1/klines/stats", get(stats))
        .route("/v1/snapshot", get(snapshot))
        .route("/v1/gaps", get(gaps))
        .route("/v1/openapi.json", get(|| async { answer(OPENAPI.to_owned()) }))
}

async fn status(State(app): State<Shared>) -> impl IntoResponse {
    axum::Json(app.status.snapshot())
}

async fn venues(app: State<Shared>) -> ApiResult<Response> {
    let hub = app.hub()?;
    let all = hub.registry().all();
    let mut venues: Vec<Value> = Vec::new();
    for (venue, feed) in hub.stats().feeds {
        let symbols = all.iter().filter(|s| s.venue == venue).count();
        venues.push(json!({"venue": venue, "symbols": symbols, "feed": feed}));
    }
    Ok(axum::Json(venues).into_response())
}

async fn symbols(app: State<Shared>, params: Params) -> ApiResult<Response> {
    let hub = app.hub()?;
    let wanted = venue(&hub, &params)?;
    let mut out: Vec<Value> = Vec::new();
    for (index, entry) in (0_u32..).zip(hub.registry().all()) {
        if wanted.as_ref().is_none_or(|v| *v == entry.venue) {
            let facts = hub.registry().facts(index);
            let mut listing = json!(facts.as_deref());
            if let (Some(members), Some(facts)) = (listing.as_object_mut(), &facts) {
                members.insert("rules".to_owned(), serde_json::from_str(&facts.rules).unwrap_or(Value::Null));
            }
            out.push(json!({
                "venue": entry.venue,
                "symbol": entry.symbol,
                "symbol_index": index,
                "listing_time": entry.listing_time_ms,
                "listing": listing,
            }));
        }
    }
    Ok(axum::Json(out).into_response())
}

/// `venue`, when it is one that has symbols or a feed.
fn venue(hub: &KlineHub, params: &Params) -> ApiResult<Option<String>> {
    let Some(venue) = params.get("venue")? else { return Ok(None) };
    let known = hub.stats().feeds.contains_key(venue) || hub.registry().all().iter().any(|s| s.venue == venue);
    if known { Ok(Some(venue.to_owned())) } else { Err(ApiError::value("venue")) }
}

/// `venue`, `symbols` and `intervals`, the last two with commas between.
pub(super) fn filter(hub: &KlineHub, params: &Params) -> ApiResult<Filter> {
    let venue = venue(hub, params)?;
    let symbols: Option<Vec<String>> = params.get("symbols")?.map(|s| s.split(',').map(str::to_owned).collect());
    if let Some(symbols) = &symbols {
        let all = hub.registry().all();
        let known = |s: &String| all.iter().any(|e| e.symbol == *s && venue.as_ref().is_none_or(|v| *v == e.venue));
        if !symbols.iter().all(known) {
            return Err(ApiError::symbol());
        }
    }
    let intervals = match params.get("intervals")? {
        None => None,
        Some(list) => {
            let each = list.split(',').map(|i| Interval::parse(i).ok_or_else(ApiError::interval));
            Some(each.collect::<ApiResult<Vec<_>>>()?)
        }
    };
    Ok(Filter { venue, symbols, intervals })
}

/// Times under either of two names: ours, and those of exchange clients.
fn range(params: &Params) -> ApiResult<(Option<i64>, Option<i64>)> {
    let (start, end) = (params.time_us("start")?, params.time_us("end")?);
    if start.zip(end).is_some_and(|(s, e)| s > e) {
        return Err(ApiError::new(-1128, "start is later than end."));
    }
    Ok((start, end))
}

async fn klines(app: State<Shared>, params: Params) -> ApiResult<Response> {
    let hub = app.hub()?;
    let venue: VenueId = params.need("venue")?.parse().map_err(|_| ApiError::value("venue"))?;
    // Other venues spell symbols in other ways: whatever is registered, or stored, is one.
    let symbol = params.need("symbol")?.to_owned();
    let interval = params.interval()?;
    let (start_us, end_us) = range(&params)?;
    let limit = params.limit(LIMIT, LIMIT_MAX, false)?;
    let newest_first = start_us.is_none();
    let body = blocking(&app, move || {
        let name = json_text(&symbol);
        let query = HistoryQuery { venue: venue.to_string(), symbol, interval, start_us, end_us, limit, newest_first };
        let bars = hub.history_with_source(&query)?;
        let known = !bars.is_empty() || hub.registry().index(&query.venue, &query.symbol).is_some();
        if !known && hub.last_bar(&query.venue, &query.symbol)?.is_none() {
            return Ok(None);
        }
        Ok(Some(array(bars.iter().map(|b| text::object(&query.venue, &name, interval, &b.bar, Some(b.source))))))
    })
    .await?;
    body.map(answer).ok_or_else(ApiError::symbol)
}

/// A JSON array.
fn array(objects: impl Iterator<Item = String>) -> String {
    format!("[{}]", objects.collect::<Vec<_>>().join(","))
}

/// All open bars of one instant.
async fn snapshot(app: State<Shared>, params: Params) -> ApiResult<Response> {
    let hub = app.hub()?;
    let filter = filter(&hub, &params)?;
    let body = blocking(&app, move || {
        let mut whole = FlatKlineStore::default();
        let swap = hub.whole(&mut whole);
        let mut objects = Vec::new();
        for (index, entry) in (0_u32..).zip(hub.registry().all()) {
            let Some(bars) = whole.symbol(index) else { continue };
            let name = json_text(&entry.symbol);
            for (interval, bar) in Interval::ALL.into_iter().zip(bars).filter(|(_, b)| !b.is_empty()) {
                if filter.has(&entry.venue, &entry.symbol, interval) {
                    objects.push(text::object(&entry.venue, &name, interval, bar, Some(Source::Live)));
                }
            }
        }
        Ok(format!("{{\"swap\":{swap},\"klines\":{}}}", array(objects.into_iter())))
    })
    .await?;
    Ok(answer(body))
}

async fn gaps(app: State<Shared>, params: Params) -> ApiResult<Response> {
    let hub = app.hub()?;
    let venue = venue(&hub, &params)?;
    let interval = match params.get("interval")? {
        Some(_) => Some(params.interval()?),
        None => None,
    };
    let (start_us, end_us) = range(&params)?;
    let query = GapQuery {
        venue,
        symbol: params.get("symbol")?.map(str::to_owned),
        interval,
        start_us,
        end_us,
        limit: params.limit(LIMIT, LIMIT_MAX, false)?,
    };
    let body = blocking(&app, move || {
        let bars = hub.gaps(&query)?;
        // Who made a bar is not read here.
        Ok(array(bars.iter().map(|b| text::object(&b.venue, &json_text(&b.symbol), b.interval, &b.bar, None))))
    })
    .await?;
    Ok(answer(body))
}

async fn stats(app: State<Shared>) -> ApiResult<Response> {
    Ok(axum::Json(app.hub()?.stats()).into_response())
}
