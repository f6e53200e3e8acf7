//! KuCoin's REST on both markets: tokens, listings, books, the last trades; envelope, weights, refusals.
//!
//! Paths, weights and shapes are those of kucoin.com's REST pages. An error has HTTP status 200 or 4xx; its `code` decides.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::Value;

use crate::binance::Market;
use crate::history::{self, Listed, Trade};
use crate::http::{Answer, Head};
use crate::limits::{Knock, Verdict};
use crate::report::lock;
use crate::text::array;
use crate::venue::Venue;

/// What a client is to wait between pings, ms.
const PING_INTERVAL_MS: u64 = 18_000;
const PING_TIMEOUT_MS: u64 = 10_000;

/// Trades that are remembered.
const TRADES: usize = 100;

fn success(data: &str) -> Answer {
    Answer::json(200, format!(r#"{{"code":"200000","data":{data}}}"#))
}

fn error(status: u16, code: &str, msg: &str) -> Answer {
    Answer::json(status, format!(r#"{{"code":"{code}","msg":{}}}"#, Value::from(msg)))
}

/// The refusal of an address that did too much, `None` when it may pass.
pub(crate) fn turned_away(verdict: Verdict, now_ms: i64) -> Option<Answer> {
    let (status, wait_ms) = match verdict {
        Verdict::Pass => return None,
        Verdict::Throttled { wait_ms } => (429, wait_ms),
        Verdict::Banned { until_ms } => (418, (until_ms - now_ms).max(0) as u64),
    };
    let answer = error(status, "429000", "Too many requests in a short period of time, please retry later");
    Some(answer.with("gw-ratelimit-remaining", 0).with("gw-ratelimit-reset", wait_ms))
}

/// A status that a fault sets.
pub(crate) fn refusal(status: u16, retry_after_s: u32) -> Answer {
    match status {
        429 => error(429, "429000", "Too many requests in a short period of time, please retry later")
            .with("gw-ratelimit-remaining", 0)
            .with("gw-ratelimit-reset", u64::from(retry_after_s) * 1_000),
        404 => error(404, "404000", "Url Not Found"),
        400 => error(400, "400100", "symbol not exists"),
        _ => error(status, &format!("{status}000"), "error"),
    }
}

/// Answers a request.
pub(crate) fn answer(venue: &Venue, head: &Head, path: &str, from: IpAddr, now_ms: i64) -> Answer {
    let query = head.query();
    let symbol = query.iter().find(|(name, _)| name == "symbol").map(|(_, value)| value.as_str());
    let spot = venue.market == Market::Spot;
    let (weight, answer) = match (head.method.as_str(), path, spot) {
        ("POST", "/api/v1/bullet-public", _) => (10, bullet(venue, head)),
        ("GET", "/api/v1/timestamp", _) => (2, success(&venue.time_ms(now_ms).to_string())),
        ("GET", "/api/v1/symbols" | "/api/v2/symbols" | "/api/v1/contracts/active", _)
            if venue.recorded_listing(path).is_some() =>
        {
            (4, Answer::json(200, venue.recorded_listing(path).unwrap_or_default()))
        }
        ("GET", "/api/v1/symbols" | "/api/v2/symbols", true) => (4, success(&pairs(venue))),
        ("GET", "/api/v1/contracts/active", false) => (3, success(&contracts(venue, now_ms))),
        ("GET", "/api/v1/market/orderbook/level2_20", true) => (2, book(venue, symbol, 20, now_ms)),
        ("GET", "/api/v1/market/orderbook/level2_100", true) => (2, book(venue, symbol, 100, now_ms)),
        ("GET", "/api/v3/market/orderbook/level2", true) => (
            3,
            error(
                401,
                "400001",
                "Please check the header of your request for KC-API-KEY, KC-API-SIGN, KC-API-TIMESTAMP, KC-API-PASSPHRASE",
            ),
        ),
        ("GET", "/api/v1/level2/snapshot", false) => (3, book(venue, symbol, usize::MAX, now_ms)),
        ("GET", "/api/v1/market/histories", true) => (3, trades(venue, symbol, now_ms)),
        ("GET", "/api/v1/trade/history", false) => (5, trades(venue, symbol, now_ms)),
        ("GET", "/api/v1/market/candles", true) => (3, candles(venue, &query, now_ms)),
        ("GET", "/api/v1/kline/query", false) => (3, candles(venue, &query, now_ms)),
        _ => (1, refusal(404, 0)),
    };
    let (used, verdict) = {
        let mut counts = lock(&venue.limits);
        venue.doors.knock(from, Knock::Rest { weight }, &venue.allowance, now_ms, &mut counts)
    };
    let limit = venue.allowance.weight;
    let window = venue.allowance.weight_window_ms as i64;
    turned_away(verdict, now_ms)
        .unwrap_or_else(|| {
            answer
                .with("gw-ratelimit-remaining", limit.saturating_sub(used))
                .with("gw-ratelimit-reset", window - now_ms.rem_euclid(window))
        })
        .with("gw-ratelimit-limit", limit)
}

fn bullet(venue: &Venue, head: &Head) -> Answer {
    let token = venue.tokens.mint(&venue.id);
    let scheme = if venue.tls { "wss" } else { "ws" };
    let endpoint = format!("{scheme}://{}/{}/", head.reached_by, venue.id);
    let interval = venue.heartbeat.ping_interval_ms.unwrap_or(PING_INTERVAL_MS);
    // Nobody listens on the first port.
    let dead = std::iter::repeat_n("ws://127.0.0.1:1/", venue.dead_servers);
    let servers: Vec<String> = dead
        .chain([endpoint.as_str()])
        .map(|endpoint| {
            format!(
                r#"{{"endpoint":"{endpoint}","encrypt":{},"protocol":"websocket","pingInterval":{interval},"pingTimeout":{PING_TIMEOUT_MS}}}"#,
                endpoint.starts_with("wss:")
            )
        })
        .collect();
    success(&format!(r#"{{"token":"{token}","instanceServers":[{}]}}"#, servers.join(",")))
}

/// One unit of the last of so many decimals.
pub(crate) fn step(places: usize) -> String {
    crate::text::decimal(1, places, places)
}

fn pairs(venue: &Venue) -> String {
    array(&history::listed(venue), |text, Listed { symbol, trading, since_ms, price_places, amount_places }| {
        let (base, quote) = symbol.split_once('-').unwrap_or((symbol, "USDT"));
        let (tick, lot) = (step(*price_places), step(*amount_places));
        let start = if *since_ms > 0 { since_ms.to_string() } else { "null".to_owned() };
        let _ = write!(
            text,
            r#"{{"symbol":"{symbol}","name":"{symbol}","baseCurrency":"{base}","quoteCurrency":"{quote}","feeCurrency":"{quote}","market":"USDS","baseMinSize":"{lot}","quoteMinSize":"0.1","baseMaxSize":"10000000000","quoteMaxSize":"99999999","baseIncrement":"{lot}","quoteIncrement":"0.000001","priceIncrement":"{tick}","priceLimitRate":"0.1","minFunds":"0.1","isMarginEnabled":false,"enableTrading":{trading},"feeCategory":1,"makerFeeCoefficient":"1.00","takerFeeCoefficient":"1.00","st":false,"callauctionIsEnabled":false,"tradingStartTime":{start}}}"#
        );
    })
}

fn contracts(venue: &Venue, now_ms: i64) -> String {
    array(&history::listed(venue), |text, Listed { symbol, trading, since_ms, price_places, .. }| {
        let base = symbol.strip_suffix("USDTM").unwrap_or(symbol);
        let status = if *trading { "Open" } else { "Paused" };
        let open_ms = if *since_ms > 0 { *since_ms } else { 1_585_555_200_000 };
        let tick = step(*price_places);
        let countdown = 28_800_000 - now_ms.rem_euclid(28_800_000);
        let _ = write!(
            text,
            r#"{{"symbol":"{symbol}","rootSymbol":"USDT","type":"FFWCSX","firstOpenDate":{open_ms},"expireDate":null,"settleDate":null,"baseCurrency":"{base}","quoteCurrency":"USDT","settleCurrency":"USDT","maxOrderQty":1000000,"maxPrice":1000000.0,"lotSize":1,"tickSize":{tick},"indexPriceTickSize":{tick},"multiplier":0.001,"isInverse":false,"isQuanto":true,"status":"{status}","fundingFeeRate":0.000100,"predictedFundingFeeRate":0.000050,"fundingRateGranularity":28800000,"openInterest":"5191275","turnoverOf24h":2361994501.7,"volumeOf24h":23555.2,"markPrice":100.5,"indexPrice":100.4,"nextFundingRateTime":{countdown}}}"#
        );
    })
}

fn book(venue: &Venue, symbol: Option<&str>, limit: usize, now_ms: i64) -> Answer {
    let Some(symbol) = symbol.filter(|symbol| history::listed(venue).iter().any(|listed| listed.symbol == *symbol))
    else {
        return refusal(400, 0);
    };
    let spot = venue.market == Market::Spot;
    let view = history::book(venue, symbol, now_ms).unwrap_or_default();
    let side = |levels: &[(String, String)]| {
        let levels = levels.get(..limit.min(levels.len())).unwrap_or(&[]);
        array(levels, |text, (price, amount)| {
            let _ = if spot { write!(text, r#"["{price}","{amount}"]"#) } else { write!(text, "[{price},{amount}]") };
        })
    };
    let (bids, asks, id) = (side(&view.bids), side(&view.asks), view.id);
    success(&if spot {
        format!(r#"{{"time":{now_ms},"sequence":"{id}","bids":{bids},"asks":{asks}}}"#)
    } else {
        format!(r#"{{"sequence":{id},"symbol":"{symbol}","bids":{bids},"asks":{asks},"ts":{now_ms}000000}}"#)
    })
}

/// Spot: `[s, open, CLOSE, high, low, amount, turnover]` as texts, newest first, at most 1500. Futures: `[ms, open, high, low, close, lots]`
/// as numbers, oldest first, at most 500.
fn candles(venue: &Venue, query: &[(String, String)], now_ms: i64) -> Answer {
    let get = |name: &str| query.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str());
    let number = |name: &str| get(name).and_then(|text| text.parse::<i64>().ok());
    let spot = venue.market == Market::Spot;
    let (len_s, range) = if spot {
        let minutes = match get("type") {
            Some("1min") => Some(1),
            Some("1hour") => Some(60),
            Some("1day") => Some(1_440),
            _ => None,
        };
        (minutes.map(|m| m * 60), number("startAt").zip(number("endAt")))
    } else {
        (number("granularity").map(|m| m * 60), number("from").zip(number("to")).map(|(a, b)| (a / 1_000, b / 1_000)))
    };
    let (Some(symbol), Some(len_s), Some(range)) = (get("symbol"), len_s, range) else { return refusal(400, 0) };
    let mut bars = history::bars(venue, symbol, len_s, range, now_ms);
    if spot {
        bars.reverse();
    }
    bars.truncate(if spot { 1_500 } else { 500 });
    success(&array(&bars, |text, bar| {
        let (t, [open, high, low, close]) = (bar.open_s, &bar.prices);
        let _ = if spot {
            write!(text, r#"["{t}","{open}","{close}","{high}","{low}","{}","{}"]"#, bar.amount, bar.turnover)
        } else {
            write!(text, "[{},{open},{high},{low},{close},{}]", t * 1_000, bar.amount)
        };
    }))
}

fn trades(venue: &Venue, symbol: Option<&str>, now_ms: i64) -> Answer {
    let Some(symbol) = symbol else { return refusal(400, 0) };
    let all = history::trades(venue, symbol, now_ms);
    let newest: Vec<&Trade> = all.iter().rev().take(TRADES).collect();
    success(&array(&newest, |text, trade| {
        let Trade { id, name, price, amount, time_ns, sell } = trade;
        let side = if *sell { "sell" } else { "buy" };
        let _ = if venue.market == Market::Spot {
            write!(
                text,
                r#"{{"sequence":"{id}","price":"{price}","size":"{amount}","side":"{side}","time":{time_ns}}}"#
            )
        } else {
            write!(
                text,
                r#"{{"sequence":{id},"side":"{side}","size":{amount},"price":"{price}","takerOrderId":"137974138147991552","makerOrderId":"137972015297474560","tradeId":"{name}","ts":{time_ns}}}"#
            )
        };
    }))
}
