//! `aggTrades`, `trades` and `historicalTrades` from the recent trades that are kept in memory for each symbol: the whole
//! range that was requested, or an error that says why not.
//!
//! What is exact depends on the channel that is recorded. With `trades`, every trade is returned as its own aggregate, and
//! the aggregate id `a` is the trade id, not Binance's aggregate id. With `agg_trades`, single trades are unknown and
//! `trades` is refused. Older trades are in the lake: a range that begins before the kept ones is refused.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::family::{Family, FoundSymbol};
use crate::app::{Shared, blocking};
use crate::error::{ApiError, ApiResult};
use crate::json::json;
use crate::outside;
use crate::params::{Params, SpotUnit};
use crate::text::{Decimals, Unit};
use crate::time::now_us;
use capture::Capture;
use kline::KlineHub;
use kline::recent::{Missing, TradeQuery, row_id};
use model::Interval;
use model::kline::{NO_ID, Tick, decimal};

/// By how much the venue's time of a feed may be behind now before the feed counts as behind, us.
const FRESH_US: i64 = 10_000_000;

pub(super) async fn spot_agg(app: State<Shared>, SpotUnit(unit): SpotUnit, params: Params) -> ApiResult<Response> {
    aggregates(app, params, Family::Spot, unit).await
}

pub(super) async fn usdm_agg(app: State<Shared>, params: Params) -> ApiResult<Response> {
    aggregates(app, params, Family::Usdm, Unit::Ms).await
}

pub(super) async fn spot(app: State<Shared>, SpotUnit(unit): SpotUnit, params: Params) -> ApiResult<Response> {
    single(app, params, Family::Spot, unit).await
}

pub(super) async fn usdm(app: State<Shared>, params: Params) -> ApiResult<Response> {
    single(app, params, Family::Usdm, Unit::Ms).await
}

/// Price, amount and quote amount of a trade as its venue prints them.
pub(crate) fn texts(venue: &str, t: &Tick) -> (String, String, String) {
    let d = Decimals::of(venue, t.price.scale, t.amount.scale);
    let (ps, amounts) = (u32::from(t.price.scale), u32::from(t.amount.scale));
    let quote = t.price.mantissa.checked_mul(t.amount.mantissa);
    (
        decimal(t.price.mantissa, ps, d.price),
        decimal(t.amount.mantissa, amounts, d.amount),
        quote.map(|quote| decimal(quote, ps + amounts, d.quote)).unwrap_or_default(),
    )
}

/// The id of the aggregate: its own, or that of the only trade in it.
pub(crate) fn agg_id(t: &Tick) -> i64 {
    row_id(t)
}

/// The range that was requested. `None`: an empty one.
fn query(params: &Params, family: Family) -> ApiResult<Option<TradeQuery>> {
    let limit = params.limit(500, 1_000, family == Family::Spot)?;
    let (from_id, start_us) = (params.number("fromId")?, params.time_us("startTime")?);
    let end_us = params.last_us("endTime")?;
    if from_id.is_some() && (start_us.is_some() || end_us.is_some()) && family == Family::Spot {
        return Err(ApiError::new(-1128, "Combination of optional parameters invalid."));
    }
    if let Some((start, end)) = start_us.zip(end_us) {
        if start > end {
            return if family == Family::Spot { Ok(None) } else { Err(ApiError::start_after_end()) };
        }
        if family == Family::Usdm && end - start > Interval::H1.len_us() {
            return Err(ApiError::new(
                -1127,
                "Lookup interval is too big. More than 1 hours between startTime and endTime.",
            ));
        }
    }
    Ok(Some(TradeQuery { from_id, start_us, end_us, limit, dense: true }))
}

/// All that was requested, each as `print` writes it.
async fn answer(
    app: &State<Shared>,
    found: FoundSymbol,
    mut query: TradeQuery,
    single: bool,
    print: impl Fn(&mut String, &FoundSymbol, &Tick) + Send + 'static,
) -> ApiResult<Response> {
    let (hub, config) = (app.hub()?, Arc::clone(&app.config));
    let body = blocking(app, move || {
        let recent = hub.recent_trades(found.index);
        if single && recent.ticks.iter().any(|t| t.agg_id != NO_ID) {
            return Ok(Err(ApiError::new(
                -1000,
                "This venue is recorded with agg_trades only: single trades are not known, use aggTrades.",
            )));
        }
        // Where some are not made at the market, single trades are counted together with those.
        query.dense = found.has_all_ids() || recent.ticks.iter().any(|t| t.agg_id != NO_ID);
        match recent.select(&query) {
            Ok(ticks) => {
                let of_a_range = query.from_id.or(query.start_us).or(query.end_us).is_some();
                if of_a_range
                    && ticks.len() < query.limit
                    && let Some(known_until_us) = known_until(&hub, &config.capture, found.venue)
                    && query.end_us.is_none_or(|end| end > known_until_us)
                {
                    let msg = format!(
                        "Trades are known up to {} only (nothing is recorded, or it is still being read): request an earlier endTime or try again later.",
                        Unit::Ms.convert_us(known_until_us)
                    );
                    return Ok(Err(ApiError::with(StatusCode::SERVICE_UNAVAILABLE, -1001, msg)));
                }
                Ok(Ok(list(ticks, |out, t| print(out, &found, t))))
            }
            // Nothing came because nothing was traded yet.
            Err(Missing::All) if hub.last_bar(found.venue, &found.symbol)?.is_none() => Ok(Ok("[]".to_owned())),
            Err(missing) => Ok(Err(ApiError::new(
                -1130,
                format!("Not all of these trades are in memory: {missing}. Older trades are in the lake, table trades or agg_trades."),
            ))),
        }
    })
    .await?;
    body.map(json)
}

/// Up to when trades are known, us, where that is not now: nobody records, or what was recorded is still read.
fn known_until(hub: &KlineHub, config: &Capture, venue: &str) -> Option<i64> {
    let feeds = hub.stats().feeds;
    let (feed, id) = (feeds.get(venue), venue.parse().ok());
    let known_us = feed.and_then(|f| f.venue_now_us).unwrap_or(i64::MIN);
    if known_us > now_us() - FRESH_US {
        return None;
    }
    // A market may be silent for a while.
    let follows = feed.is_some_and(|f| f.activity == "live");
    let recorded = id.is_some_and(|id| outside::log_status(config, id).collector_running);
    (!follows || !recorded).then_some(known_us)
}

async fn aggregates(app: State<Shared>, params: Params, family: Family, unit: Unit) -> ApiResult<Response> {
    let found = FoundSymbol::find(family, &*app.hub()?, params.symbol("symbol")?)?;
    let Some(query) = query(&params, family)? else { return Ok(json("[]".to_owned())) };
    let last = if family == Family::Spot { ",\"M\":true" } else { "" };
    answer(&app, found, query, false, move |out, found, t| {
        let (price, amount, _) = texts(found.venue, t);
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{{\"a\":{},\"p\":\"{price}\",\"q\":\"{amount}\",\"f\":{},\"l\":{},\"T\":{},\"m\":{}{last}}}",
            agg_id(t),
            t.first_id,
            t.last_id,
            unit.convert_us(t.ts_us),
            !t.taker_buy
        );
    })
    .await
}

/// The exchange takes no range for `trades`; whoever gives one is not given other trades than those.
async fn single(app: State<Shared>, params: Params, family: Family, unit: Unit) -> ApiResult<Response> {
    let found = FoundSymbol::find(family, &*app.hub()?, params.symbol("symbol")?)?;
    let Some(query) = query(&params, family)? else { return Ok(json("[]".to_owned())) };
    let last = if family == Family::Spot { ",\"isBestMatch\":true" } else { "" };
    answer(&app, found, query, true, move |out, found, t| {
        let (price, amount, quote) = texts(found.venue, t);
        let _ = write!(
            out,
            "{{\"id\":{},\"price\":\"{price}\",\"qty\":\"{amount}\",\"quoteQty\":\"{quote}\",\"time\":{},\
             \"isBuyerMaker\":{}{last}}}",
            t.last_id,
            unit.convert_us(t.ts_us),
            !t.taker_buy
        );
    })
    .await
}

fn list(ticks: &[Tick], print: impl Fn(&mut String, &Tick)) -> String {
    let mut out = String::with_capacity(2 + ticks.len() * 120);
    out.push('[');
    for (at, tick) in ticks.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        print(&mut out, tick);
    }
    out.push(']');
    out
}
