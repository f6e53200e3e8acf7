//! `aggTrades` and `trades`: the most recent trades that the feed keeps of a symbol.
//!
//! Which of the two is exact depends on what candles are made of. From single trades, each is its own aggregate
//! with its own id; from aggregates, single trades are not known and `trades` is refused. Older ones than the
//! kept few are in the lake, not here.

use std::fmt::Write;

use axum::extract::State;
use axum::response::Response;

use super::super::error::{Answer, Refusal, json};
use super::super::params::Params;
use super::super::text::Decimals;
use super::super::{Shared, blocking};
use super::{Family, Found, hub};
use crate::kline::data::{NO_ID, Tick, decimal};

pub(super) async fn spot_agg(app: State<Shared>, params: Params) -> Answer<Response> {
    aggregates(app, params, Family::Spot).await
}

pub(super) async fn usdm_agg(app: State<Shared>, params: Params) -> Answer<Response> {
    aggregates(app, params, Family::Usdm).await
}

pub(super) async fn spot(app: State<Shared>, params: Params) -> Answer<Response> {
    single(app, params, Family::Spot).await
}

pub(super) async fn usdm(app: State<Shared>, params: Params) -> Answer<Response> {
    single(app, params, Family::Usdm).await
}

/// Price, amount and quote amount of a trade as its venue prints them.
pub(in crate::api) fn texts(venue: &str, t: &Tick) -> (String, String, String) {
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
pub(in crate::api) fn agg_id(t: &Tick) -> i64 {
    if t.agg_id == NO_ID { t.last_id } else { t.agg_id }
}

async fn kept(app: &State<Shared>, found: &Found, limit: usize) -> Answer<Vec<Tick>> {
    let (hub, index) = (hub(app)?, found.index);
    blocking(app, move || Ok(hub.recent_trades(index, limit))).await
}

async fn aggregates(app: State<Shared>, params: Params, family: Family) -> Answer<Response> {
    let found = family.find(&*hub(&app)?, params.symbol("symbol")?)?;
    let limit = params.limit(500, 1_000, family == Family::Spot)?;
    let (from_id, start, end) = (params.number("fromId")?, params.time_us("startTime")?, params.time_us("endTime")?);
    if from_id.is_some() && (start.is_some() || end.is_some()) && family == Family::Spot {
        return Err(Refusal::new(-1128, "Combination of optional parameters invalid."));
    }
    if start.zip(end).is_some_and(|(s, e)| s > e) {
        return Err(Refusal::new(-1128, "Combination of optional parameters invalid."));
    }
    let mut ticks = kept(&app, &found, usize::MAX).await?;
    ticks.retain(|t| {
        from_id.is_none_or(|id| agg_id(t) >= id)
            && start.is_none_or(|s| t.ts_us >= s)
            && end.is_none_or(|e| t.ts_us <= e)
    });
    // From somewhere on: the oldest; otherwise the newest.
    if from_id.is_none() && start.is_none() {
        ticks.drain(..ticks.len().saturating_sub(limit));
    }
    ticks.truncate(limit);
    let last = if family == Family::Spot { ",\"M\":true" } else { "" };
    Ok(json(list(&ticks, |out, t| {
        let (price, amount, _) = texts(found.venue, t);
        let _ = write!(
            out,
            "{{\"a\":{},\"p\":\"{price}\",\"q\":\"{amount}\",\"f\":{},\"l\":{},\"T\":{},\"m\":{}{last}}}",
            agg_id(t),
            t.first_id,
            t.last_id,
            t.ts_us.div_euclid(1_000),
            !t.taker_buy
        );
    })))
}

async fn single(app: State<Shared>, params: Params, family: Family) -> Answer<Response> {
    let found = family.find(&*hub(&app)?, params.symbol("symbol")?)?;
    let limit = params.limit(500, 1_000, family == Family::Spot)?;
    let ticks = kept(&app, &found, limit).await?;
    if ticks.iter().any(|t| t.agg_id != NO_ID) {
        return Err(Refusal::new(
            -1000,
            "Candles of this venue are made of aggregates: single trades are not known here, use aggTrades.",
        ));
    }
    let last = if family == Family::Spot { ",\"isBestMatch\":true" } else { "" };
    Ok(json(list(&ticks, |out, t| {
        let (price, amount, quote) = texts(found.venue, t);
        let _ = write!(
            out,
            "{{\"id\":{},\"price\":\"{price}\",\"qty\":\"{amount}\",\"quoteQty\":\"{quote}\",\"time\":{},\
             \"isBuyerMaker\":{}{last}}}",
            t.last_id,
            t.ts_us.div_euclid(1_000),
            !t.taker_buy
        );
    })))
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
