//! Gate's REST on both markets: listings, books with their id, trades by time window and page; limits and refusals.
//!
//! Paths and shapes are those of gate.com's API v4 pages. Sizes of contracts are decimal texts when the request has the header
//! `X-Gate-Size-Decimal: 1`. Simpler than the real venue: its 200 requests in 10 s count for all endpoints together.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::Value;

use crate::binance::Market;
use crate::history::{self, Listed, Trade};
use crate::http::{Answer, Head};
use crate::kucoin::rest::step;
use crate::limits::{Knock, Verdict};
use crate::report::lock;
use crate::text::array;
use crate::venue::Venue;

/// Most trades of one answer, and the furthest that pages reach.
const TRADES_MAX: usize = 1_000;
const REACH: usize = 100_000;

fn error(status: u16, label: &str, message: &str) -> Answer {
    Answer::json(status, format!(r#"{{"label":"{label}","message":{}}}"#, Value::from(message)))
}

fn too_many(status: u16, limit: u32, reset_ms: i64) -> Answer {
    error(status, "TOO_MANY_REQUESTS", "Request Rate Limit Exceeded")
        .with("X-Gate-RateLimit-Requests-Remain", 0)
        .with("X-Gate-RateLimit-Limit", limit)
        .with("X-Gate-RateLimit-Reset-Timestamp", reset_ms.div_euclid(1_000) + 1)
}

/// The refusal of an address that did too much, `None` when it may pass.
pub(crate) fn turned_away(venue: &Venue, verdict: Verdict, now_ms: i64) -> Option<Answer> {
    let limit = venue.allowance.weight;
    match verdict {
        Verdict::Pass => None,
        Verdict::Throttled { wait_ms } => Some(too_many(429, limit, now_ms + wait_ms as i64)),
        Verdict::Banned { until_ms } => Some(too_many(418, limit, until_ms)),
    }
}

/// A status that a fault sets.
pub(crate) fn refusal(venue: &Venue, status: u16, retry_after_s: u32, now_ms: i64) -> Answer {
    match status {
        418 | 429 => too_many(status, venue.allowance.weight, now_ms + i64::from(retry_after_s) * 1_000),
        404 => error(404, "NOT_FOUND", "not found"),
        400 => error(400, "INVALID_PARAM_VALUE", "invalid parameter"),
        _ => error(status, "SERVER_ERROR", "error"),
    }
}

/// Whether a symbol is listed, whatever its state.
pub(crate) fn is_listed(venue: &Venue, symbol: &str) -> bool {
    history::listed(venue).iter().any(|listed| listed.symbol == symbol)
}

/// Answers a request.
pub(crate) fn answer(venue: &Venue, head: &Head, path: &str, from: IpAddr, now_ms: i64) -> Answer {
    let query = head.query();
    let get = |name: &str| query.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str());
    let decimal = head.header("x-gate-size-decimal") == Some("1");
    let answer = match (path, venue.market) {
        _ if head.method != "GET" => error(405, "METHOD_NOT_ALLOWED", "method not allowed"),
        ("/api/v4/spot/time", _) => Answer::json(200, format!(r#"{{"server_time":{}}}"#, venue.time_ms(now_ms))),
        ("/api/v4/spot/currency_pairs" | "/api/v4/futures/usdt/contracts", _)
            if venue.recorded_listing(path).is_some() =>
        {
            Answer::json(200, venue.recorded_listing(path).unwrap_or_default())
        }
        ("/api/v4/spot/currency_pairs", Market::Spot) => Answer::json(200, pairs(venue)),
        ("/api/v4/futures/usdt/contracts", Market::Usdm) => Answer::json(200, contracts(venue, now_ms)),
        ("/api/v4/spot/order_book", Market::Spot) => book(venue, get("currency_pair"), &get, decimal, now_ms),
        ("/api/v4/futures/usdt/order_book", Market::Usdm) => book(venue, get("contract"), &get, decimal, now_ms),
        ("/api/v4/spot/trades", Market::Spot) => trades(venue, get("currency_pair"), &get, decimal, now_ms),
        ("/api/v4/futures/usdt/trades", Market::Usdm) => trades(venue, get("contract"), &get, decimal, now_ms),
        ("/api/v4/spot/candlesticks", Market::Spot) => candles(venue, get("currency_pair"), &get, decimal, now_ms),
        ("/api/v4/futures/usdt/candlesticks", Market::Usdm) => candles(venue, get("contract"), &get, decimal, now_ms),
        _ => refusal(venue, 404, 0, now_ms),
    };
    let (used, verdict) = {
        let mut counts = lock(&venue.limits);
        venue.doors.knock(from, Knock::Rest { weight: 1 }, &venue.allowance, now_ms, &mut counts)
    };
    turned_away(venue, verdict, now_ms).unwrap_or_else(|| {
        let window = venue.allowance.weight_window_ms as i64;
        let reset_ms = (now_ms.div_euclid(window) + 1) * window;
        answer
            .with("X-Gate-RateLimit-Requests-Remain", venue.allowance.weight.saturating_sub(used))
            .with("X-Gate-RateLimit-Limit", venue.allowance.weight)
            .with("X-Gate-RateLimit-Reset-Timestamp", reset_ms / 1_000)
    })
}

fn pairs(venue: &Venue) -> String {
    array(history::listed(venue), |text, Listed { symbol, trading, since_ms, price_places, amount_places }| {
        let (base, quote) = symbol.rsplit_once('_').unwrap_or((&symbol, "USDT"));
        let status = if trading { "tradable" } else { "untradable" };
        let start_s = since_ms / 1_000;
        let _ = write!(
            text,
            r#"{{"id":"{symbol}","base":"{base}","base_name":"{base}","quote":"{quote}","quote_name":"{quote}","fee":"0.2","min_base_amount":"{}","min_quote_amount":"3","max_quote_amount":"5000000","amount_precision":{amount_places},"precision":{price_places},"trade_status":"{status}","sell_start":{start_s},"buy_start":{start_s},"delisting_time":0,"type":"normal","trade_url":"","st_tag":false}}"#,
            step(amount_places)
        );
    })
}

fn contracts(venue: &Venue, now_ms: i64) -> String {
    array(history::listed(venue), |text, Listed { symbol, trading, since_ms, price_places, amount_places }| {
        let status = if trading { "trading" } else { "delisted" };
        let start_s = if since_ms > 0 { since_ms / 1_000 } else { 1_546_300_800 };
        let next_s = (now_ms.div_euclid(28_800_000) + 1) * 28_800;
        let (tick, least) = (step(price_places), step(amount_places));
        let is_decimal = amount_places > 0;
        let _ = write!(
            text,
            r#"{{"name":"{symbol}","type":"direct","quanto_multiplier":"0.0001","order_price_round":"{tick}","mark_price_round":"{tick}","mark_price":"100.5","index_price":"100.4","last_price":"100.5","order_size_min":"{least}","order_size_max":"1000000","enable_decimal":{is_decimal},"funding_rate":"0.0001","funding_interval":28800,"funding_next_apply":{next_s},"funding_offset":0,"create_time":{start_s},"launch_time":{start_s},"status":"{status}","in_delisting":false,"contract_type":"","is_pre_market":false,"trade_size":"417015","position_size":"1327595","orderbook_id":1,"trade_id":1}}"#
        );
    })
}

type Get<'a, 'q> = &'a dyn Fn(&str) -> Option<&'q str>;

/// A size as this request wants it.
fn size(text: &str, decimal: bool) -> String {
    if decimal {
        format!("\"{text}\"")
    } else {
        String::from_utf8_lossy(crate::gate::sizes::whole(text.as_bytes())).into_owned()
    }
}

fn book(venue: &Venue, symbol: Option<&str>, get: Get<'_, '_>, decimal: bool, now_ms: i64) -> Answer {
    let spot = venue.market == Market::Spot;
    let Some(symbol) = symbol.filter(|symbol| is_listed(venue, symbol)) else {
        return if spot {
            error(400, "INVALID_CURRENCY_PAIR", "Invalid currency pair")
        } else {
            error(400, "CONTRACT_NOT_FOUND", "contract not found")
        };
    };
    let Ok(limit) = get("limit").unwrap_or("10").parse::<usize>() else { return refusal(venue, 400, 0, now_ms) };
    let view = history::book(venue, symbol, now_ms).unwrap_or_default();
    let side = |levels: &[(String, String)]| {
        array(levels.iter().take(limit.min(100)), |text, (price, amount)| {
            let _ = if spot {
                write!(text, r#"["{price}","{amount}"]"#)
            } else {
                write!(text, r#"{{"s":{},"p":"{price}"}}"#, size(amount, decimal))
            };
        })
    };
    let id = if get("with_id") == Some("true") { format!(r#""id":{},"#, view.id) } else { String::new() };
    let time = if spot { now_ms.to_string() } else { crate::text::decimal(now_ms, 3, 3) };
    let (bids, asks) = (side(&view.bids), side(&view.asks));
    Answer::json(200, format!(r#"{{{id}"current":{time},"update":{time},"asks":{asks},"bids":{bids}}}"#))
}

/// Spot: `[s, turnover, close, high, low, open, amount, closed]` as texts. Futures: objects. Oldest first.
fn candles(venue: &Venue, symbol: Option<&str>, get: Get<'_, '_>, decimal: bool, now_ms: i64) -> Answer {
    let Some(symbol) = symbol.filter(|symbol| is_listed(venue, symbol)) else {
        return book(venue, None, get, decimal, now_ms);
    };
    let len_s = match get("interval") {
        Some("1m") => 60,
        Some("1h") => 3_600,
        Some("1d") => 86_400,
        _ => return refusal(venue, 400, 0, now_ms),
    };
    let number = |name: &str| get(name).and_then(|text| text.parse::<i64>().ok());
    let Some(range) = number("from").zip(number("to")) else { return refusal(venue, 400, 0, now_ms) };
    let bars = history::bars(venue, symbol, len_s, range, now_ms);
    Answer::json(
        200,
        array(&bars, |text, bar| {
            let (t, [open, high, low, close], amount) = (bar.open_s, &bar.prices, &bar.amount);
            let _ = if venue.market == Market::Spot {
                write!(text, r#"["{t}","{}","{close}","{high}","{low}","{open}","{amount}","true"]"#, bar.turnover)
            } else {
                write!(
                    text,
                    r#"{{"t":{t},"v":{},"c":"{close}","h":"{high}","l":"{low}","o":"{open}","sum":"{}"}}"#,
                    size(amount, decimal),
                    bar.turnover
                )
            };
        }),
    )
}

/// Newest first, of the seconds `from..=to`, by page on spot and by offset on futures.
fn trades(venue: &Venue, symbol: Option<&str>, get: Get<'_, '_>, decimal: bool, now_ms: i64) -> Answer {
    let spot = venue.market == Market::Spot;
    let Some(symbol) = symbol.filter(|symbol| is_listed(venue, symbol)) else {
        return book(venue, None, get, decimal, now_ms);
    };
    let number = |name: &str, usual: i64| get(name).map_or(Some(usual), |text| text.parse::<i64>().ok());
    let (Some(from), Some(to), Some(limit), Some(page), Some(offset)) = (
        number("from", i64::MIN),
        number("to", i64::MAX),
        number("limit", 100),
        number("page", 1),
        number("offset", 0),
    ) else {
        return refusal(venue, 400, 0, now_ms);
    };
    let usable = |value: i64, least: i64| usize::try_from(value).ok().filter(|_| value >= least);
    let (Some(limit), Some(page), Some(offset)) = (usable(limit, 1), usable(page, 1), usable(offset, 0)) else {
        return refusal(venue, 400, 0, now_ms);
    };
    let skip = if spot { limit.saturating_mul(page - 1) } else { offset };
    if limit > TRADES_MAX || skip > REACH {
        return refusal(venue, 400, 0, now_ms);
    }
    let mut all = history::trades(venue, symbol, now_ms);
    all.retain(|trade| (from..=to).contains(&trade.time_ns.div_euclid(1_000_000_000)));
    Answer::json(
        200,
        array(all.iter().rev().skip(skip).take(limit), |text, trade| {
            let Trade { id, name, price, amount, time_ns, sell } = trade;
            let (seconds, ms) = (time_ns / 1_000_000_000, crate::text::decimal(time_ns / 1_000, 3, 3));
            let _ = if spot {
                let side = if *sell { "sell" } else { "buy" };
                write!(
                    text,
                    r#"{{"id":"{name}","create_time":"{seconds}","create_time_ms":"{ms}","currency_pair":"{symbol}","side":"{side}","amount":"{amount}","price":"{price}","sequence_id":"{id}"}}"#
                )
            } else {
                let size = size(&format!("{}{amount}", if *sell { "-" } else { "" }), decimal);
                let exact = crate::text::decimal(time_ns / 1_000_000, 3, 3);
                write!(
                    text,
                    r#"{{"id":{id},"create_time":{seconds},"create_time_ms":{exact},"contract":"{symbol}","size":{size},"price":"{price}"}}"#
                )
            };
        }),
    )
}
