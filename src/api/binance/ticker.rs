//! `ticker/price`, `ticker/24hr` of one symbol, and why there is no `ticker/bookTicker`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::error::{Answer, Refusal, json};
use super::super::params::Params;
use super::super::text::{Decimals, json_text};
use super::super::{Shared, blocking, now_ms};
use super::{Family, Found, hub};
use crate::kline::data::{NO_ID, decimal};
use crate::kline::db::HistoryQuery;
use crate::kline::{Interval, KlineData, KlineHub};

const MINUTES_OF_A_DAY: usize = 1_440;

pub(super) async fn spot_price(app: State<Shared>, params: Params) -> Answer<Response> {
    price(&app, &params, Family::Spot)
}

pub(super) async fn usdm_price(app: State<Shared>, params: Params) -> Answer<Response> {
    price(&app, &params, Family::Usdm)
}

pub(super) async fn spot_day(app: State<Shared>, params: Params) -> Answer<Response> {
    day(app, params, Family::Spot).await
}

pub(super) async fn usdm_day(app: State<Shared>, params: Params) -> Answer<Response> {
    day(app, params, Family::Usdm).await
}

/// Candles are made of trades alone; the book is in the lake.
pub(super) async fn no_book() -> Refusal {
    Refusal::with(
        StatusCode::NOT_IMPLEMENTED,
        -1000,
        "Quotes are not served here: they are in the lake, table book_ticker.",
    )
}

/// One symbol's last price as an object; without a price yet, nothing.
fn one(hub: &KlineHub, found: &Found, family: Family) -> Option<String> {
    let bar = hub.latest(found.index)?[Interval::M1.index()];
    if bar.is_empty() {
        return None;
    }
    let d = Decimals::of(found.venue, bar.price_scale, bar.amount_scale);
    let price = decimal(bar.close.into(), bar.price_scale.into(), d.price);
    let time = if family == Family::Usdm { format!(",\"time\":{}", now_ms()) } else { String::new() };
    Some(format!("{{\"symbol\":{},\"price\":\"{price}\"{time}}}", json_text(&found.symbol)))
}

fn price(app: &State<Shared>, params: &Params, family: Family) -> Answer<Response> {
    let hub = hub(app)?;
    if params.get("symbol")?.is_some() {
        let found = family.find(&hub, params.symbol("symbol")?)?;
        // A symbol that never traded has no price, which the exchange treats as no symbol.
        return one(&hub, &found, family).map(json).ok_or_else(Refusal::symbol);
    }
    let chosen = match params.list("symbols")? {
        Some(list) => list.iter().map(|s| family.find(&hub, s)).collect::<Answer<Vec<_>>>()?,
        None => family.all(&hub),
    };
    let prices: Vec<String> = chosen.iter().filter_map(|f| one(&hub, f, family)).collect();
    Ok(json(format!("[{}]", prices.join(","))))
}

/// The last 1,440 minutes that have bars not older than a day; no quotes in it.
async fn day(app: State<Shared>, params: Params, family: Family) -> Answer<Response> {
    let hub = hub(&app)?;
    let found = family.find(&hub, params.symbol("symbol")?)?;
    let body = blocking(&app, move || {
        let query = HistoryQuery {
            venue: found.venue.to_owned(),
            symbol: found.symbol.clone(),
            interval: Interval::M1,
            start_us: None,
            end_us: None,
            limit: MINUTES_OF_A_DAY,
            newest_first: true,
        };
        Ok(summary(&found, &hub.history(&query)?))
    })
    .await?;
    body.map(json).ok_or_else(Refusal::symbol)
}

fn summary(found: &Found, bars: &[KlineData]) -> Option<String> {
    let last = bars.last()?;
    let from = last.open_time_us - Interval::D1.len_us();
    let bars: Vec<&KlineData> = bars.iter().filter(|b| b.open_time_us > from).collect();
    let first = bars.first()?;
    // Bars of one symbol may have grown in scale: all at the last, which is the largest.
    let (ps, amounts) = (last.price_scale, last.amount_scale);
    let p = |b: &KlineData, v: i64| i128::from(v) * 10_i128.pow(u32::from(ps.saturating_sub(b.price_scale)));
    let a = |b: &KlineData, v: i128| v * 10_i128.pow(u32::from(amounts.saturating_sub(b.amount_scale)));
    let q = |b: &KlineData, v: i128| {
        let by = u32::from(ps.saturating_sub(b.price_scale)) + u32::from(amounts.saturating_sub(b.amount_scale));
        v * 10_i128.pow(by)
    };
    let open = p(first, first.open);
    let close = p(last, last.close);
    let high = bars.iter().map(|b| p(b, b.high)).max()?;
    let low = bars.iter().map(|b| p(b, b.low)).min()?;
    let volume: i128 = bars.iter().map(|b| a(b, b.volume)).sum();
    let quote: i128 = bars.iter().map(|b| q(b, b.quote_volume)).sum();
    let count: u64 = bars.iter().map(|b| b.trade_count).sum();
    let ids = |f: fn(&KlineData) -> i64| bars.iter().map(|b| f(b)).filter(|id| *id != NO_ID).collect::<Vec<_>>();
    let first_id = ids(|b| b.first_trade_id).into_iter().min().unwrap_or(NO_ID);
    let last_id = ids(|b| b.last_trade_id).into_iter().max().unwrap_or(NO_ID);
    let d = Decimals::of(found.venue, ps, amounts);
    let price = |v: i128| decimal(v, ps.into(), d.price);
    // Three decimals each: per cent, and the average price as the venue prints prices.
    let percent = if open == 0 { 0 } else { (close - open) * 100_000 / open };
    let average = if volume == 0 { close } else { quote / volume };
    Some(format!(
        "{{\"symbol\":{},\"priceChange\":\"{}\",\"priceChangePercent\":\"{}\",\"weightedAvgPrice\":\"{}\",\
         \"prevClosePrice\":\"{}\",\"lastPrice\":\"{}\",\"openPrice\":\"{}\",\"highPrice\":\"{}\",\"lowPrice\":\"{}\",\
         \"volume\":\"{}\",\"quoteVolume\":\"{}\",\"openTime\":{},\"closeTime\":{},\"firstId\":{first_id},\
         \"lastId\":{last_id},\"count\":{count}}}",
        json_text(&found.symbol),
        price(close - open),
        decimal(percent, 3, 3),
        price(average),
        price(open),
        price(close),
        price(open),
        price(high),
        price(low),
        decimal(volume, amounts.into(), d.amount),
        decimal(quote, u32::from(ps) + u32::from(amounts), d.quote),
        first.open_time_us.div_euclid(1_000),
        Interval::M1.close_of(last.open_time_us).div_euclid(1_000)
    ))
}
