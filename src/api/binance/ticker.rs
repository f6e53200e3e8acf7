//! `ticker/price`, and the tickers over a window: `ticker/24hr`, `ticker`, `ticker/tradingDay`; 501 for quotes and books.
//!
//! A window is summed from stored one-minute bars, not across a gap in the recording, unless by their ids at most 1 in 100 of
//! the trades are missing. `openTime` is the requested minute,
//! or that in which recording began, or the first complete one after the last gap; without one the request is refused
//! (-1130). A window ends at the newest recorded time of the venue, not at our clock. A symbol without trades in it has its
//! last price and zero volume.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::family::{Family, FoundSymbol};
use super::info;
use crate::app::{Shared, blocking};
use crate::error::{ApiError, ApiResult, Failed};
use crate::json::{json, json_text};
use crate::params::{Params, SpotUnit};
use crate::text::{Decimals, Unit};
use crate::time::now_us;
use kline::KlineHub;
use kline::db::HistoryQuery;
use model::kline::{GAP, NO_ID, decimal};
use model::{Interval, KlineData};

const MINUTE_US: i64 = Interval::M1.len_us();
const HOUR_US: i64 = Interval::H1.len_us();
const DAY_US: i64 = Interval::D1.len_us();
/// Longest request, in one-minute bars: a day of a few hundred symbols, some seconds of work.
const MINUTES_MAX: i64 = 600_000;

pub(super) async fn spot_price(app: State<Shared>, params: Params) -> ApiResult<Response> {
    price(&app, &params, Family::Spot).await
}

pub(super) async fn usdm_price(app: State<Shared>, params: Params) -> ApiResult<Response> {
    price(&app, &params, Family::Usdm).await
}

pub(super) async fn spot_24hr(app: State<Shared>, SpotUnit(unit): SpotUnit, params: Params) -> ApiResult<Response> {
    let kind = Kind::Spot24hr { full: full(&params)? };
    summaries(app, &params, Family::Spot, Window { kind, unit, len_us: DAY_US, utc_offset_us: 0 }).await
}

pub(super) async fn usdm_24hr(app: State<Shared>, params: Params) -> ApiResult<Response> {
    let kind = Kind::Usdm24hr;
    summaries(app, &params, Family::Usdm, Window { kind, unit: Unit::Ms, len_us: DAY_US, utc_offset_us: 0 }).await
}

/// `ticker`: a rolling window of `windowSize`.
pub(super) async fn spot_rolling(app: State<Shared>, SpotUnit(unit): SpotUnit, params: Params) -> ApiResult<Response> {
    let kind = Kind::Rolling { full: full(&params)? };
    let word = params.get("windowSize")?.unwrap_or("1d");
    let len_us = window_us(word).ok_or_else(|| ApiError::value("windowSize"))?;
    need_symbols(&params)?;
    summaries(app, &params, Family::Spot, Window { kind, unit, len_us, utc_offset_us: 0 }).await
}

/// `ticker/tradingDay`: since midnight of `timeZone`.
pub(super) async fn spot_trading_day(
    app: State<Shared>,
    SpotUnit(unit): SpotUnit,
    params: Params,
) -> ApiResult<Response> {
    let kind = Kind::TradingDay { full: full(&params)? };
    let zone_us = params.zone_us()?.unwrap_or(0);
    need_symbols(&params)?;
    summaries(app, &params, Family::Spot, Window { kind, unit, len_us: DAY_US, utc_offset_us: zone_us }).await
}

/// The API serves what is made of trades; quotes and books are in the lake.
pub(super) async fn no_book() -> ApiError {
    ApiError::with(
        StatusCode::NOT_IMPLEMENTED,
        -1000,
        "Quotes and order books are not served here: they are in the lake, tables book_ticker and depth.",
    )
}

/// `1m` to `59m`, `1h` to `23h`, `1d` to `7d`.
fn window_us(word: &str) -> Option<i64> {
    let (digits, unit) = word.split_at_checked(word.len().checked_sub(1)?)?;
    let (len, most) = match unit {
        "m" => (MINUTE_US, 59),
        "h" => (HOUR_US, 23),
        "d" => (DAY_US, 7),
        _ => return None,
    };
    let n: i64 = digits.parse().ok()?;
    (digits.bytes().all(|b| b.is_ascii_digit()) && (1..=most).contains(&n)).then_some(n * len)
}

fn full(params: &Params) -> ApiResult<bool> {
    match params.get("type")? {
        None | Some("FULL") => Ok(true),
        Some("MINI") => Ok(false),
        Some(_) => Err(ApiError::value("type")),
    }
}

fn need_symbols(params: &Params) -> ApiResult<()> {
    if params.get("symbol")?.is_none() && params.get("symbols")?.is_none() {
        return Err(ApiError::new(-1128, "Either symbol or symbols must be sent."));
    }
    Ok(())
}

/// The requested symbols; true for `symbol`, whose response is no array.
fn chosen(hub: &KlineHub, params: &Params, family: Family) -> ApiResult<(Vec<FoundSymbol>, bool)> {
    let status = info::status(params)?;
    let fits = |f: &FoundSymbol| status.is_none_or(|s| info::listed(hub, f).is_some_and(|facts| facts.status == s));
    match (params.get("symbol")?, params.list("symbols")?) {
        (Some(_), Some(_)) => Err(ApiError::combination()),
        (Some(_), None) => {
            let found = FoundSymbol::find(family, hub, params.symbol("symbol")?)?;
            if !fits(&found) {
                return Err(ApiError::new(-1220, "The symbol's status does not match the requested symbolStatus."));
            }
            Ok((vec![found], true))
        }
        (None, Some(list)) => {
            let found = list.iter().map(|s| FoundSymbol::find(family, hub, s)).collect::<ApiResult<Vec<_>>>()?;
            Ok((found.into_iter().filter(fits).collect(), false))
        }
        (None, None) => Ok((FoundSymbol::all(family, hub).into_iter().filter(fits).collect(), false)),
    }
}

/// The newest recorded time of the venue, us.
fn venue_now_us(hub: &KlineHub, found: &FoundSymbol) -> i64 {
    hub.stats().feeds.get(found.venue).and_then(|feed| feed.venue_now_us).unwrap_or_else(now_us)
}

/// One symbol's last price as an object; `None` without a price yet.
fn one(hub: &KlineHub, found: &FoundSymbol, family: Family) -> Result<Option<String>, Failed> {
    let Some(bar) = hub.last_bar(found.venue, &found.symbol)? else { return Ok(None) };
    let d = Decimals::of(found.venue, bar.price_scale, bar.amount_scale);
    let price = decimal(bar.close.into(), bar.price_scale.into(), d.price);
    let time = match family {
        Family::Usdm => format!(",\"time\":{}", Unit::Ms.convert_us(venue_now_us(hub, found))),
        Family::Spot => String::new(),
    };
    Ok(Some(format!("{{\"symbol\":{},\"price\":\"{price}\"{time}}}", json_text(&found.symbol))))
}

async fn price(app: &State<Shared>, params: &Params, family: Family) -> ApiResult<Response> {
    let hub = app.hub()?;
    let (chosen, alone) = chosen(&hub, params, family)?;
    let prices = blocking(app, move || {
        let each = chosen.iter().map(|f| one(&hub, f, family));
        Ok(each.collect::<Result<Vec<_>, Failed>>()?.into_iter().flatten().collect::<Vec<_>>())
    })
    .await?;
    // A symbol that never traded has no price, which the exchange treats as no symbol.
    shown(prices, alone)
}

fn shown(objects: Vec<String>, alone: bool) -> ApiResult<Response> {
    match (objects.first(), alone) {
        (Some(object), true) => Ok(json(object.clone())),
        (None, true) => Err(ApiError::symbol()),
        (_, false) => Ok(json(format!("[{}]", objects.join(",")))),
    }
}

/// Which ticker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Spot24hr { full: bool },
    Rolling { full: bool },
    TradingDay { full: bool },
    Usdm24hr,
}

/// The window of a ticker.
#[derive(Clone, Copy, Debug)]
struct Window {
    kind: Kind,
    unit: Unit,
    len_us: i64,
    utc_offset_us: i64,
}

impl Window {
    /// First and last instant, us.
    fn bounds(&self, now_us: i64) -> (i64, i64) {
        match self.kind {
            Kind::TradingDay { .. } => {
                let midnight = (now_us + self.utc_offset_us).div_euclid(DAY_US) * DAY_US - self.utc_offset_us;
                (midnight, midnight + DAY_US - 1)
            }
            // "The effective window will be up to 59999 ms wider" (Binance API documentation, "Rolling window").
            Kind::Rolling { .. } => (Interval::M1.open_of(now_us - self.len_us), now_us),
            // Whole minutes of the last 24 hours.
            Kind::Spot24hr { .. } | Kind::Usdm24hr => (Interval::M1.open_of(now_us - self.len_us) + MINUTE_US, now_us),
        }
    }
}

async fn summaries(app: State<Shared>, params: &Params, family: Family, window: Window) -> ApiResult<Response> {
    let hub = app.hub()?;
    let (chosen, alone) = chosen(&hub, params, family)?;
    let minutes = i64::try_from(chosen.len()).unwrap_or(i64::MAX).saturating_mul(window.len_us / MINUTE_US);
    if !alone && minutes > MINUTES_MAX {
        return Err(ApiError::new(
            -1000,
            format!("{} symbols are too many for one request: name fewer with symbols=[..].", chosen.len()),
        ));
    }
    let objects = blocking(&app, move || {
        let mut objects = Vec::new();
        for found in &chosen {
            match summary(&hub, found, window)? {
                Ok(object) => objects.extend(object),
                Err(refusal) if alone => return Ok(Err(refusal)),
                // A list leaves out symbols without a complete minute.
                Err(_) => {}
            }
        }
        Ok(Ok(objects))
    })
    .await??;
    shown(objects, alone)
}

/// The sums of some bars at the same scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sums {
    price_scale: u8,
    amount_scale: u8,
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    volume: i128,
    quote: i128,
    count: u64,
    first_id: i64,
    last_id: i64,
}

/// Adds bars up, each at the scale of the one with most decimals; `None` for numbers that do not fit then.
fn add_up(bars: &[KlineData]) -> Option<Sums> {
    let price_scale = bars.iter().map(|b| b.price_scale).max()?;
    let amount_scale = bars.iter().map(|b| b.amount_scale).max()?;
    let mut sums: Option<Sums> = None;
    for bar in bars {
        let b = bar.rescaled(price_scale, amount_scale)?;
        let s = sums.get_or_insert(Sums {
            price_scale,
            amount_scale,
            open: b.open,
            high: b.high,
            low: b.low,
            close: b.close,
            volume: 0,
            quote: 0,
            count: 0,
            first_id: NO_ID,
            last_id: NO_ID,
        });
        (s.high, s.low, s.close) = (s.high.max(b.high), s.low.min(b.low), b.close);
        s.volume = s.volume.checked_add(b.volume)?;
        s.quote = s.quote.checked_add(b.quote_volume)?;
        s.count = s.count.checked_add(b.trade_count)?;
        if s.first_id == NO_ID {
            s.first_id = b.first_trade_id;
        }
        s.last_id = s.last_id.max(b.last_trade_id);
    }
    sums
}

/// `a / b`, to the nearest; halves away from zero.
fn ratio(a: i128, b: i128) -> Option<i128> {
    let half = b.checked_abs()? / 2;
    let half = if (a < 0) == (b < 0) { half } else { -half };
    a.checked_add(if b < 0 { -half } else { half })?.checked_div(b)
}

/// Tolerated share of missing trades: 1 in 100.
const MISSING_ONE_IN: i64 = 100;

/// Missing and total trades of these bars, by trade ids; `None` without ids.
fn missing(bars: &[KlineData]) -> Option<(i64, i64)> {
    let (mut missing, mut all) = (0_i64, 0_i64);
    let (mut last_id, mut without_id) = (None::<i64>, 0_i64);
    for bar in bars {
        let count = i64::try_from(bar.trade_count).ok()?;
        if bar.first_trade_id == NO_ID || bar.last_trade_id == NO_ID {
            // A minute without trades, or the venue's own candle, which is complete.
            if bar.flags & GAP != 0 {
                return None;
            }
            without_id = without_id.checked_add(count)?;
            all = all.checked_add(count)?;
            continue;
        }
        let span = bar.last_trade_id.checked_sub(bar.first_trade_id)?.checked_add(1)?;
        let before = last_id.map_or(Some(0), |last| bar.first_trade_id.checked_sub(last)?.checked_sub(1));
        let before = before?.checked_sub(without_id)?.max(0);
        missing = missing.checked_add(span.checked_sub(count)?.max(0))?.checked_add(before)?;
        all = all.checked_add(span)?.checked_add(before)?;
        (last_id, without_id) = (Some(bar.last_trade_id), 0);
    }
    last_id.map(|_| (missing, all))
}

/// Index of the first bar after the last gap or absent minute; 0 when no more than the tolerated share is missing.
fn first_complete(bars: &[KlineData]) -> usize {
    if missing(bars).is_some_and(|(missing, all)| missing <= all / MISSING_ONE_IN) {
        return 0;
    }
    let lacks = bars.iter().rposition(|bar| bar.flags & GAP != 0).map_or(0, |at| at + 1);
    let follows = |pair: &[KlineData]| matches!(pair, [a, b] if a.open_time_us + MINUTE_US == b.open_time_us);
    let jumps = bars.windows(2).rposition(|pair| !follows(pair)).map_or(0, |at| at + 1);
    lacks.max(jumps)
}

/// The outer error is a failure of ours, the inner one a refusal; `None` = never traded.
fn summary(hub: &KlineHub, found: &FoundSymbol, window: Window) -> Result<ApiResult<Option<String>>, Failed> {
    let newest = |start_us, limit| HistoryQuery {
        start_us,
        newest_first: true,
        ..HistoryQuery::of(found.venue, &found.symbol, Interval::M1, limit)
    };
    // The venue's time is reported less often than bars change.
    let newest_us = hub.history(&newest(None, 1))?.pop().map_or(i64::MIN, |b| b.open_time_us);
    let now_us = venue_now_us(hub, found).max(newest_us);
    let (from_us, to_us) = window.bounds(now_us);
    let limit = usize::try_from(window.len_us / MINUTE_US).unwrap_or(usize::MAX).saturating_add(3);
    // The minute before has the price at which the window opens.
    let mut bars = hub.history(&newest(Some(from_us - MINUTE_US), limit))?;
    let mut earlier = bars.first().is_some_and(|b| b.open_time_us < from_us).then(|| bars.remove(0));
    let whole = first_complete(&bars);
    let gap = bars.drain(..whole).next_back();
    if let Some(gap) = gap {
        // The price right after a gap is unknown.
        earlier = None;
        if bars.is_empty() {
            let (from, to) =
                (window.unit.convert_us(gap.open_time_us), window.unit.convert_us(gap.open_time_us + MINUTE_US));
            let msg = format!(
                "Trades between {from} and {to} are missing, without a complete minute since: try again later."
            );
            return Ok(Err(ApiError::new(-1130, msg)));
        }
    }
    let opened = bars.first().map_or(from_us, |b| b.open_time_us);
    if bars.is_empty() {
        let Some(last) = hub.last_bar(found.venue, &found.symbol)? else { return Ok(Ok(None)) };
        bars.push(KlineData::flat(from_us, last.close, last.price_scale, last.amount_scale));
    }
    let sums =
        add_up(&bars).ok_or_else(|| format!("the bars of {} have more digits than a sum can hold", found.symbol))?;
    let ends = if matches!(window.kind, Kind::TradingDay { .. }) { to_us } else { now_us };
    let last_amount = || {
        let recent = hub.recent_trades(found.index).ticks.pop()?;
        (recent.last_id == sums.last_id && recent.last_id != NO_ID)
            .then_some((recent.amount.mantissa, recent.amount.scale))
    };
    let before = earlier.filter(|b| b.open_time_us + MINUTE_US == opened).map(|b| (b.close, b.price_scale));
    let extras = Extras { last_amount: last_amount(), before };
    Ok(Ok(Some(object(found, &sums, &extras, window, (opened, ends)))))
}

/// Optional fields besides the sums.
#[derive(Clone, Copy, Debug, Default)]
struct Extras {
    /// Amount of the last trade, and its scale.
    last_amount: Option<(i128, u8)>,
    /// Price right before the window, and its scale.
    before: Option<(i64, u8)>,
}

fn object(found: &FoundSymbol, s: &Sums, extras: &Extras, window: Window, (opened, ends): (i64, i64)) -> String {
    let (ps, amounts) = (u32::from(s.price_scale), u32::from(s.amount_scale));
    let d = Decimals::of(found.venue, s.price_scale, s.amount_scale);
    let price = |v: i64| decimal(v.into(), ps, d.price);
    let change = i128::from(s.close) - i128::from(s.open);
    // The percentage has three decimals, the average as many as the venue's prices.
    let percent = ratio(change.saturating_mul(100_000), s.open.into()).unwrap_or(0);
    let finer = d.price.max(ps);
    let average = s.quote.checked_mul(10_i128.pow(finer - ps)).and_then(|q| ratio(q, s.volume)).unwrap_or(0);
    let mut members = vec![format!("\"symbol\":{}", json_text(&found.symbol))];
    let mut put = |name: &str, text: String| members.push(format!("\"{name}\":\"{text}\""));
    let (full, day) = match window.kind {
        Kind::Spot24hr { full } => (full, full),
        Kind::Usdm24hr => (true, true),
        Kind::Rolling { full } | Kind::TradingDay { full } => (full, false),
    };
    if full {
        put("priceChange", decimal(change, ps, d.price));
        put("priceChangePercent", decimal(percent, 3, 3));
        put("weightedAvgPrice", decimal(average, finer, d.price));
    }
    if let Some((before, scale)) = extras.before.filter(|_| matches!(window.kind, Kind::Spot24hr { full: true })) {
        put("prevClosePrice", decimal(before.into(), scale.into(), d.price));
    }
    put("lastPrice", price(s.close));
    if let Some((amount, scale)) = extras.last_amount.filter(|_| day) {
        put("lastQty", decimal(amount, scale.into(), d.amount));
    }
    put("openPrice", price(s.open));
    put("highPrice", price(s.high));
    put("lowPrice", price(s.low));
    put("volume", decimal(s.volume, amounts, d.amount));
    put("quoteVolume", decimal(s.quote, ps + amounts, d.quote));
    format!(
        "{{{},\"openTime\":{},\"closeTime\":{},\"firstId\":{},\"lastId\":{},\"count\":{}}}",
        members.join(","),
        window.unit.convert_us(opened),
        window.unit.convert_us(ends),
        s.first_id,
        s.last_id,
        s.count
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::*;

    fn bar(minute: i64, price: i64, amount: i128, scales: (u8, u8)) -> KlineData {
        KlineData {
            open_time_us: minute * MINUTE_US,
            volume: amount,
            quote_volume: i128::from(price) * amount,
            trade_count: 2,
            first_trade_id: minute * 2,
            last_trade_id: minute * 2 + 1,
            flags: 0,
            ..KlineData::flat(0, price, scales.0, scales.1)
        }
    }

    #[test]
    fn bars_of_different_scales_add_up_whichever_comes_last() {
        // 100 with two decimals and 2 with five; in between the venue's own candle with eight of each.
        let bars = [
            bar(1, 10_000, 200_000, (2, 5)),
            KlineData { open_time_us: 2 * MINUTE_US, ..bar(2, 10_000_000_000, 200_000_000, (8, 8)) },
            KlineData { open_time_us: 3 * MINUTE_US, ..bar(3, 10_000, 200_000, (2, 5)) },
        ];
        let s = add_up(&bars).unwrap();
        assert_eq!((s.price_scale, s.amount_scale, s.high, s.low), (8, 8, 10_000_000_000, 10_000_000_000));
        assert_eq!((s.volume, s.quote, s.count), (600_000_000, 6_000_000_000_000_000_000, 6));
        assert_eq!((s.first_id, s.last_id), (2, 7));
        assert_eq!(add_up(&[bar(1, i64::MAX, 1, (2, 2)), bar(2, 1, 1, (9, 2))]), None);
    }

    #[test]
    fn nothing_is_added_up_over_a_gap_or_an_absent_minute() {
        let bars =
            [1, 2, 3, 4].map(|minute| KlineData { open_time_us: minute * MINUTE_US, ..bar(minute, 1, 1, (0, 0)) });
        assert_eq!(first_complete(&bars), 0);
        let lacks = |at: usize| {
            let mut bars = bars;
            bars[at].flags |= GAP;
            bars[at].trade_count -= 1;
            bars
        };
        assert_eq!([0, 1, 3].map(|at| first_complete(&lacks(at))), [1, 2, 4]);
        assert_eq!(first_complete(&[bars[0], bars[2], bars[3]]), 1);
        assert_eq!(first_complete(&[]), 0);
        // Nobody knows how many where there are no ids.
        let without = lacks(1).map(|bar| KlineData { first_trade_id: NO_ID, last_trade_id: NO_ID, ..bar });
        assert_eq!(first_complete(&without), 2);
    }

    #[test]
    fn one_trade_in_a_hundred_may_be_missing_and_a_halt_is_no_gap() {
        let mut day: Vec<KlineData> = (1..=100)
            .map(|minute| KlineData { open_time_us: minute * MINUTE_US, ..bar(minute, 1, 1, (0, 0)) })
            .collect();
        let mut lacks = |at: usize| {
            day[at].flags |= GAP;
            day[at].trade_count -= 1;
            first_complete(&day)
        };
        assert_eq!([lacks(5), lacks(70), lacks(40)], [0, 0, 71], "of 200 trades");
        let halted = [bar(1, 1, 1, (0, 0)), KlineData { open_time_us: 90 * MINUTE_US, ..bar(2, 1, 1, (0, 0)) }];
        assert_eq!(first_complete(&halted), 0);
    }

    #[test]
    fn a_day_prints_as_the_exchange_prints_it_and_says_only_what_is_known() {
        let found = FoundSymbol { venue: "binance-spot", symbol: "BTCUSDT".into(), index: 0 };
        let over = |kind| Window { kind, unit: Unit::Us, len_us: DAY_US, utc_offset_us: 0 };
        let s = add_up(&[bar(1, 300, 1, (2, 0)), bar(2, 200, 2, (2, 0))]).unwrap();
        let read = |kind, extras: &Extras| -> Value {
            serde_json::from_str(&object(&found, &s, extras, over(kind), (60_000_000, 121_000_001))).unwrap()
        };
        let day = read(Kind::Spot24hr { full: true }, &Extras { last_amount: Some((1, 0)), before: Some((5, 1)) });
        for (name, want) in [
            ("priceChange", "-1.00000000"),
            ("priceChangePercent", "-33.333"),
            ("weightedAvgPrice", "2.33333333"),
            ("prevClosePrice", "0.50000000"),
            ("lastQty", "1.00000000"),
            ("highPrice", "3.00000000"),
            ("volume", "3.00000000"),
        ] {
            assert_eq!(day[name], want, "{name}");
        }
        assert_eq!((&day["openTime"], &day["closeTime"]), (&60_000_000.into(), &121_000_001.into()));
        let unknown = read(Kind::Spot24hr { full: true }, &Extras::default());
        assert!(unknown.get("prevClosePrice").is_none() && unknown.get("lastQty").is_none());
        let mini = read(Kind::Rolling { full: false }, &Extras { last_amount: Some((1, 0)), before: Some((5, 1)) });
        assert_eq!(mini.as_object().unwrap().len(), 12, "{mini}");
    }

    #[test]
    fn windows_begin_on_a_minute_and_days_at_midnight_of_a_zone() {
        assert_eq!(["1m", "59m", "23h", "7d"].map(window_us), [1, 59, 23 * 60, 7 * 1_440].map(|m| Some(m * MINUTE_US)));
        assert_eq!(["0m", "60m", "24h", "8d", "d", "", "+1m", "1w", "1µ"].map(window_us), [None; 9]);
        let now = 5 * DAY_US + 10 * HOUR_US + 90_000_000;
        let over = |kind, len_us, utc_offset_us| Window { kind, unit: Unit::Ms, len_us, utc_offset_us }.bounds(now);
        assert_eq!(over(Kind::Rolling { full: true }, HOUR_US, 0).0, 5 * DAY_US + 9 * HOUR_US + MINUTE_US);
        assert_eq!(over(Kind::Usdm24hr, DAY_US, 0).0, 4 * DAY_US + 10 * HOUR_US + 2 * MINUTE_US);
        assert_eq!(over(Kind::TradingDay { full: true }, DAY_US, 0), (5 * DAY_US, 6 * DAY_US - 1));
        assert_eq!(over(Kind::TradingDay { full: true }, DAY_US, -11 * HOUR_US).0, 4 * DAY_US + 11 * HOUR_US);
    }
}
