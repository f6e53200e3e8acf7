//! REST of Binance spot and USD-M: ping, time, exchangeInfo, depth (trades are `rest_trades`', candles `candles`'); weights, limits and the venue's error bodies.
//!
//! Symbols are those that play, with tick and step read off the recorded texts, plus a few that a client must cope with: halted,
//! quiet, dated, and one that is not ASCII.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::binance::Market;
use crate::http::{Answer, Head};
use crate::limits::{Knock, Verdict};
use crate::listing::Standing;
use crate::report::lock;
use crate::restamp::Warp;
use crate::venue::{Material, Venue};

/// Frames looked at for tick and step sizes.
const PROBED_FRAMES: usize = 20_000;

/// Listing time of the symbols that were there from the start.
const ONBOARD_MS: i64 = 1_569_398_400_000;

/// Quote assets that end a symbol.
const QUOTES: [&str; 11] = ["USDT", "USDC", "FDUSD", "TUSD", "BUSD", "EUR", "TRY", "BTC", "ETH", "BNB", "USD"];

/// HTTP 429 as the venue words it.
pub(crate) fn too_many(limit: u32, retry_after_s: u64) -> Answer {
    let msg = format!(
        "Too much request weight used; current limit is {limit} request weight per 1 MINUTE. \
         Please use WebSocket Streams for live updates to avoid polling the API."
    );
    error(429, -1003, &msg).with("Retry-After", retry_after_s)
}

/// HTTP 418 as the venue words it.
pub(crate) fn banned(until_ms: i64, retry_after_s: u64) -> Answer {
    let msg = format!(
        "Way too much request weight used; IP banned until {until_ms}. Please use WebSocket Streams for live updates to avoid bans."
    );
    error(418, -1003, &msg).with("Retry-After", retry_after_s)
}

/// The refusal of an address that did too much, `None` when it may pass.
pub(crate) fn turned_away(venue: &Venue, verdict: Verdict, now_ms: i64) -> Option<Answer> {
    let seconds = |ms: u64| ms.div_ceil(1_000).max(1);
    match verdict {
        Verdict::Pass => None,
        Verdict::Throttled { wait_ms } => Some(too_many(weight_limit(venue), seconds(wait_ms))),
        Verdict::Banned { until_ms } => Some(banned(until_ms, seconds((until_ms - now_ms).max(0) as u64))),
    }
}

/// Why an upgrade of the SBE venue is refused, if it is: no API key, or a first stream that the endpoint does not have.
pub(crate) fn refuse_sbe(venue: &Venue, head: &Head, path: &str) -> Option<Answer> {
    let key = head.header("x-mbx-apikey").unwrap_or("");
    if key.is_empty() {
        return Some(error(400, -2014, "The X-MBX-APIKEY header is missing."));
    }
    if venue.api_key.as_deref().is_some_and(|wanted| wanted != key) {
        return Some(error(400, -2015, "Invalid API-key, IP, or permissions for action."));
    }
    let query = head.query();
    let listed = query.iter().find(|(name, _)| name == "streams").map(|(_, list)| list.as_str());
    let seed = path.strip_prefix("/ws/").or(listed)?.split('/').next().filter(|seed| !seed.is_empty())?;
    let is_there = venue.universe.resolve(seed).is_some_and(|(stream, _)| {
        let symbol = venue.universe.info(stream).map_or_else(String::new, |info| info.symbol);
        venue.listings.standing(&symbol).is_none_or(|(standing, _)| standing != Standing::Absent)
    });
    (!is_there).then(|| error(400, -1121, "Invalid symbol."))
}

/// Any other status that a fault sets.
pub(crate) fn refusal(venue: &Venue, status: u16, retry_after_s: u32, now_ms: i64) -> Answer {
    match status {
        429 => too_many(weight_limit(venue), u64::from(retry_after_s)),
        418 => banned(now_ms + i64::from(retry_after_s) * 1_000, u64::from(retry_after_s)),
        400 => error(400, -1121, "Invalid symbol."),
        451 => error(451, 0, "Service unavailable from a restricted location according to 'b. Eligibility' in terms."),
        _ => Answer { body: b"<html><body><h1>Error</h1></body></html>".to_vec(), ..Answer::json(status, "") }
            .with("Content-Type", "text/html"),
    }
}

pub(crate) fn error(status: u16, code: i32, msg: &str) -> Answer {
    Answer::json(status, format!(r#"{{"code":{code},"msg":{}}}"#, Value::from(msg)))
}

fn weight_limit(venue: &Venue) -> u32 {
    venue.allowance.weight
}

/// Answers a request below the venue's prefix.
pub(crate) fn answer(venue: &Venue, head: &Head, path: &str, from: IpAddr, now_ms: i64) -> Answer {
    let query = head.query();
    let get = |name: &str| {
        query.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str()).filter(|v| !v.is_empty())
    };
    let (weight, answer) = match path.strip_prefix(venue.market.rest_prefix()) {
        _ if head.method != "GET" => (1, error(405, -1000, "Request method is not supported.")),
        Some("/ping") => (1, Answer::json(200, "{}")),
        Some("/time") => (1, Answer::json(200, format!(r#"{{"serverTime":{}}}"#, venue.time_ms(now_ms)))),
        Some("/exchangeInfo") => {
            (if venue.market == Market::Spot { 20 } else { 1 }, exchange_info(venue, &get, now_ms))
        }
        Some("/depth") => {
            let limit = get("limit");
            (depth_weight(venue.market, limit), depth(venue, get("symbol"), limit, now_ms))
        }
        Some(other) => {
            let trades = crate::rest_trades::answer(venue, head, other, &get);
            let answered = trades.or_else(|| crate::candles::answer(venue, other, &get));
            answered.unwrap_or_else(|| (1, refusal(venue, 404, 0, now_ms)))
        }
        None => (1, refusal(venue, 404, 0, now_ms)),
    };
    let (used, verdict) = {
        let mut counts = lock(&venue.limits);
        venue.doors.knock(from, Knock::Rest { weight }, &venue.allowance, now_ms, &mut counts)
    };
    let answer = turned_away(venue, verdict, now_ms).unwrap_or(answer);
    answer.with("X-MBX-USED-WEIGHT-1M", used)
}

fn depth_weight(market: Market, limit: Option<&str>) -> u32 {
    let limit = limit.and_then(|limit| limit.parse().ok());
    match market {
        Market::Spot => match limit.unwrap_or(100u32) {
            0..=100 => 5,
            101..=500 => 25,
            501..=1000 => 50,
            _ => 250,
        },
        Market::Usdm | Market::Coinm => match limit.unwrap_or(500) {
            0..=50 => 2,
            51..=100 => 5,
            101..=500 => 10,
            _ => 20,
        },
    }
}

fn depth(venue: &Venue, symbol: Option<&str>, limit: Option<&str>, now_ms: i64) -> Answer {
    let Some(symbol) = symbol else {
        return error(400, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.");
    };
    let limit = match (venue.market, limit.map(str::parse::<usize>)) {
        (Market::Spot, None) => 100,
        (_, None) => 500,
        (Market::Spot, Some(Ok(limit))) if limit > 0 => limit.min(5_000),
        (Market::Usdm | Market::Coinm, Some(Ok(limit @ (5 | 10 | 20 | 50 | 100 | 500 | 1_000)))) => limit,
        (Market::Usdm | Market::Coinm, Some(Ok(limit))) => {
            return error(400, -4021, &format!("{limit} is not valid depth limit."));
        }
        _ => {
            return error(400, -1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.");
        }
    };
    if !has_symbol(venue, symbol) {
        return error(400, -1121, "Invalid symbol.");
    }
    let body = match &venue.material {
        Material::Recorded(timeline) => {
            let (position, warp) = {
                let progress = lock(&venue.progress);
                ((progress.round, progress.index), progress.warp)
            };
            // Before the first frame the times of this run are not fixed yet: a snapshot says "now" as the frames will.
            let warp = warp.or_else(|| venue.restamp.then(|| Warp::starting(timeline, now_ms)));
            crate::book::depth(&mut lock(&venue.books), timeline, symbol, limit, position, warp.as_ref())
        }
        Material::SeededMarket(_) => None,
        Material::Recording(recall) => recall.depth(symbol, limit),
        Material::Generated(market_state) => market_state.latest(symbol).map(|(id, bid)| {
            let time_ms = (venue.market != Market::Spot).then_some(now_ms);
            let places = (market_state.decimals.price, market_state.decimals.amount);
            crate::book::synthetic(id, time_ms, bid, places, limit)
        }),
    };
    match body {
        Some(body) => Answer::json(200, body),
        // A symbol that is listed but never plays has an empty book, as a brand-new one has.
        None => {
            let times =
                if venue.market != Market::Spot { format!(r#""E":{now_ms},"T":{now_ms},"#) } else { String::new() };
            Answer::json(200, format!(r#"{{"lastUpdateId":-1,{times}"bids":[],"asks":[]}}"#))
        }
    }
}

struct Listed {
    base: String,
    quote: String,
    status: &'static str,
    contract: &'static str,
    delivery_ms: i64,
    onboard_ms: i64,
    tick: String,
    step: String,
}

fn split_symbol(symbol: &str) -> (String, String) {
    let pair = symbol.split('_').next().unwrap_or(symbol);
    QUOTES
        .iter()
        .find_map(|quote| {
            Some((pair.strip_suffix(quote).filter(|base| !base.is_empty())?.to_owned(), (*quote).to_owned()))
        })
        .unwrap_or_else(|| (pair.to_owned(), "USDT".to_owned()))
}

/// Whether a symbol is listed, whatever its status.
pub(crate) fn has_symbol(venue: &Venue, symbol: &str) -> bool {
    if let Material::Recording(recall) = &venue.material {
        return recall.has(symbol);
    }
    match venue.listings.standing(symbol) {
        Some((standing, _)) => standing != Standing::Absent,
        None => listing(venue).contains_key(symbol),
    }
}

fn listing(venue: &Venue) -> BTreeMap<String, Listed> {
    let spot = venue.market == Market::Spot;
    let mut listed = BTreeMap::new();
    let halted = if spot { "BREAK" } else { "SETTLING" };
    let mut add = |symbol: &str, status, contract, tick: &str, step: &str| {
        let (base, quote) = split_symbol(symbol);
        let delivery_ms = if contract == "CURRENT_QUARTER" { 1_798_185_600_000 } else { 4_133_404_800_000 };
        let (tick, step) = (tick.to_owned(), step.to_owned());
        let (status, onboard_ms) = match venue.listings.standing(symbol) {
            Some((Standing::Absent, _)) => return,
            Some((Standing::Halted, _)) => (halted, ONBOARD_MS),
            Some((Standing::Trading, since_ms)) if since_ms > 0 => (status, since_ms),
            _ => (status, ONBOARD_MS),
        };
        let info = Listed { base, quote, status, contract, delivery_ms, onboard_ms, tick, step };
        listed.insert(symbol.to_owned(), info);
    };
    let (tick, step) = match venue.market {
        Market::Spot => ("0.01000000", "0.00001000"),
        Market::Usdm => ("0.10", "0.001"),
        Market::Coinm => ("0.1", "1"),
    };
    if venue.extra_symbols && venue.market == Market::Coinm {
        add("SRMUSD_PERP", halted, "PERPETUAL", tick, step);
        add("QUIETUSD_PERP", "TRADING", "PERPETUAL", tick, step);
        add("BTCUSD_261225", "TRADING", "CURRENT_QUARTER", tick, step);
    } else if venue.extra_symbols {
        let quiet = "TRADING";
        add("SRMUSDT", halted, "PERPETUAL", tick, step);
        add("LUNABTC", halted, "PERPETUAL", tick, step);
        add("QUIETEUR", quiet, "PERPETUAL", tick, step);
        add("\u{5e01}\u{5b89}\u{4eba}\u{751f}USDT", quiet, "PERPETUAL", tick, step);
        if spot {
            add("BIFIUSDC", "CANCEL_ONLY", "", tick, step);
        } else {
            add("BTCUSDT_261225", quiet, "CURRENT_QUARTER", tick, step);
            add("NEXTUSDT", "PENDING_TRADING", "PERPETUAL", tick, step);
        }
    }
    match &venue.material {
        Material::Recorded(timeline) => {
            let mut places: BTreeMap<&str, Places> = BTreeMap::new();
            for frame in timeline.frames.iter().take(PROBED_FRAMES) {
                let symbol = timeline.streams.get(frame.stream as usize).map_or("", |info| info.symbol.as_str());
                places.entry(symbol).or_default().probe(timeline.data(frame));
            }
            for symbol in timeline.symbols() {
                let (tick, step) =
                    places.get(symbol.as_str()).map_or((tick.to_owned(), step.to_owned()), Places::sizes);
                add(&symbol, "TRADING", "PERPETUAL", &tick, &step);
            }
        }
        Material::SeededMarket(_) => {}
        Material::Recording(recall) => {
            for (symbol, (price, amount)) in recall.symbols() {
                add(&symbol, "TRADING", "PERPETUAL", &size(price, price), &size(amount, amount));
            }
        }
        Material::Generated(market_state) => {
            let d = market_state.decimals;
            let (tick, step) = (size(d.tick_decimals, d.price), size(d.lot_decimals, d.amount));
            for symbol in &market_state.symbols {
                add(symbol, "TRADING", "PERPETUAL", &tick, &step);
            }
        }
    }
    listed
}

/// Decimals seen in the texts of one symbol: used and printed.
#[derive(Default)]
struct Places {
    price: (usize, usize),
    amount: (usize, usize),
}

impl Places {
    fn probe(&mut self, data: &[u8]) {
        for (key, price) in [(b"\"p\":\"", true), (b"\"q\":\"", false), (b"\"a\":\"", true), (b"\"A\":\"", false)] {
            let Some(at) = memchr::memmem::find(data, key).map(|at| at + key.len()) else { continue };
            let text = data.get(at..).unwrap_or(&[]);
            let text = text.get(..memchr::memchr(b'"', text).unwrap_or(0)).unwrap_or(&[]);
            let fraction = memchr::memchr(b'.', text).and_then(|dot| text.get(dot + 1..)).unwrap_or(&[]);
            let used = fraction.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
            let places = if price { &mut self.price } else { &mut self.amount };
            *places = (places.0.max(used), places.1.max(fraction.len()));
        }
    }

    fn sizes(&self) -> (String, String) {
        (size(self.price.0, self.price.1), size(self.amount.0, self.amount.1))
    }
}

/// 10^-used, printed with `places` decimals.
fn size(used: usize, places: usize) -> String {
    crate::text::decimal(1, used, places.max(used))
}

/// The recorded body with the wanted symbols, each as it was recorded.
fn recorded_info(body: Vec<u8>, wanted: Option<&[String]>, status: Option<&str>) -> Answer {
    #[derive(Deserialize)]
    struct Row<'a> {
        symbol: std::borrow::Cow<'a, str>,
        status: Option<std::borrow::Cow<'a, str>>,
    }
    if wanted.is_none() && status.is_none() {
        return Answer::json(200, body);
    }
    let Ok(mut object) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(&body) else {
        return Answer::json(200, body);
    };
    let rows: Vec<Box<RawValue>> =
        object.get("symbols").and_then(|rows| serde_json::from_str(rows.get()).ok()).unwrap_or_default();
    let mut found = 0;
    let mut kept = Vec::new();
    for raw in &rows {
        let Ok(row) = serde_json::from_str::<Row<'_>>(raw.get()) else { continue };
        if wanted.is_none_or(|wanted| wanted.iter().any(|name| *name == row.symbol)) {
            found += 1;
            if status.is_none_or(|status| row.status.as_deref() == Some(status)) {
                kept.push(raw.get());
            }
        }
    }
    if wanted.is_some_and(|wanted| found < wanted.len()) {
        return error(400, -1121, "Invalid symbol.");
    }
    if let Ok(rows) = RawValue::from_string(format!("[{}]", kept.join(","))) {
        object.insert("symbols".to_owned(), rows);
    }
    Answer::json(200, serde_json::to_vec(&object).unwrap_or(body))
}

fn exchange_info<'q>(venue: &Venue, get: &dyn Fn(&str) -> Option<&'q str>, now_ms: i64) -> Answer {
    let now_ms = venue.time_ms(now_ms);
    let mut listed = listing(venue);
    let wanted: Option<Vec<String>> = match (get("symbol"), get("symbols")) {
        (Some(symbol), _) => Some(vec![symbol.to_owned()]),
        (None, Some(list)) => match serde_json::from_str(list) {
            Ok(list) => Some(list),
            Err(_) => return error(400, -1100, "Illegal characters found in parameter 'symbols'."),
        },
        (None, None) => None,
    };
    let recorded = match &venue.material {
        Material::Recording(recall) => recall.listing_of(&format!("{}/exchangeInfo", venue.market.rest_prefix())),
        _ => None,
    };
    if let Some(body) = recorded {
        // USD-M ignores these parameters.
        let spot = venue.market == Market::Spot;
        return recorded_info(body, wanted.as_deref().filter(|_| spot), get("symbolStatus").filter(|_| spot));
    }
    // USD-M ignores these parameters.
    if let (Market::Spot, Some(wanted)) = (venue.market, wanted) {
        if wanted.iter().any(|symbol| !listed.contains_key(symbol)) {
            return error(400, -1121, "Invalid symbol.");
        }
        listed.retain(|symbol, _| wanted.contains(symbol));
    }
    if let (Market::Spot, Some(status)) = (venue.market, get("symbolStatus")) {
        listed.retain(|_, symbol| symbol.status == status);
    }
    let mut body = match venue.market {
        Market::Spot => format!(
            r#"{{"timezone":"UTC","serverTime":{now_ms},"rateLimits":[{{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":{}}},{{"rateLimitType":"RAW_REQUESTS","interval":"MINUTE","intervalNum":5,"limit":300000}}],"exchangeFilters":[],"symbols":["#,
            weight_limit(venue)
        ),
        Market::Coinm => format!(
            r#"{{"timezone":"UTC","serverTime":{now_ms},"rateLimits":[{{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":{}}}],"exchangeFilters":[],"symbols":["#,
            weight_limit(venue)
        ),
        Market::Usdm => format!(
            r#"{{"timezone":"UTC","serverTime":{now_ms},"futuresType":"U_MARGINED","rateLimits":[{{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":{}}}],"exchangeFilters":[],"assets":[{{"asset":"USDT","marginAvailable":true,"autoAssetExchange":"-10000"}}],"symbols":["#,
            weight_limit(venue)
        ),
    };
    for (index, (symbol, info)) in listed.iter().enumerate() {
        let Listed { base, quote, status, contract, delivery_ms, onboard_ms, tick, step } = info;
        if index > 0 {
            body.push(',');
        }
        let filters = format!(
            r#"[{{"filterType":"PRICE_FILTER","minPrice":"{tick}","maxPrice":"1000000.00","tickSize":"{tick}"}},{{"filterType":"LOT_SIZE","minQty":"{step}","maxQty":"9000.000","stepSize":"{step}"}}"#
        );
        let _ = match venue.market {
            Market::Spot => write!(
                body,
                r#"{{"symbol":"{symbol}","status":"{status}","baseAsset":"{base}","baseAssetPrecision":8,"quoteAsset":"{quote}","quotePrecision":8,"quoteAssetPrecision":8,"orderTypes":["LIMIT","LIMIT_MAKER","MARKET"],"icebergAllowed":true,"isSpotTradingAllowed":true,"isMarginTradingAllowed":true,"filters":{filters},{{"filterType":"NOTIONAL","minNotional":"5.00000000","maxNotional":"9000000.00000000"}}],"permissions":[],"permissionSets":[["SPOT","MARGIN"]],"defaultSelfTradePreventionMode":"EXPIRE_MAKER"}}"#
            ),
            Market::Coinm => {
                let (pair, size) = (venue.market.pair(symbol), venue.market.contract_size(symbol));
                write!(
                    body,
                    r#"{{"symbol":"{symbol}","pair":"{pair}","contractType":"{contract}","deliveryDate":{delivery_ms},"onboardDate":{onboard_ms},"contractStatus":"{status}","contractSize":{size},"marginAsset":"{base}","maintMarginPercent":"2.5000","requiredMarginPercent":"5.0000","baseAsset":"{base}","quoteAsset":"{quote}","pricePrecision":1,"quantityPrecision":0,"baseAssetPrecision":8,"quotePrecision":8,"equalQtyPrecision":4,"triggerProtect":"0.0500","underlyingType":"BASE_VOLUME_SCALE","underlyingSubType":[],"filters":{filters},{{"filterType":"MARKET_LOT_SIZE","minQty":"{step}","maxQty":"60000","stepSize":"{step}"}}],"orderTypes":["LIMIT","MARKET","STOP"],"timeInForce":["GTC","IOC","FOK","GTX"]}}"#
                )
            }
            Market::Usdm => {
                let pair = symbol.split('_').next().unwrap_or(symbol);
                write!(
                    body,
                    r#"{{"symbol":"{symbol}","pair":"{pair}","contractType":"{contract}","deliveryDate":{delivery_ms},"onboardDate":{onboard_ms},"status":"{status}","maintMarginPercent":"2.5000","requiredMarginPercent":"5.0000","baseAsset":"{base}","quoteAsset":"{quote}","marginAsset":"{quote}","pricePrecision":2,"quantityPrecision":3,"baseAssetPrecision":8,"quotePrecision":8,"underlyingType":"BASE_VOLUME_SCALE","underlyingSubType":["PoW"],"triggerProtect":"0.0500","filters":{filters},{{"filterType":"MARKET_LOT_SIZE","minQty":"{step}","maxQty":"120.000","stepSize":"{step}"}},{{"filterType":"MIN_NOTIONAL","notional":"5"}}],"orderTypes":["LIMIT","MARKET","STOP"],"timeInForce":["GTC","IOC","FOK","GTX"]}}"#
                )
            }
        };
    }
    body.push_str("]}");
    Answer::json(200, body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_are_read_off_the_texts() {
        let mut places = Places::default();
        places.probe(br#"{"p":"61837.63000000","q":"0.02000000"}"#);
        places.probe(br#"{"b":"1","B":"1","a":"61837.60000000","A":"0.00012000"}"#);
        assert_eq!(places.sizes(), ("0.01000000".to_owned(), "0.00001000".to_owned()));
    }

    #[test]
    fn symbols_split_at_their_quote_asset() {
        assert_eq!(split_symbol("BTCUSDT"), ("BTC".into(), "USDT".into()));
        assert_eq!(split_symbol("ETHBTC"), ("ETH".into(), "BTC".into()));
        assert_eq!(split_symbol("BTCUSDT_261225"), ("BTC".into(), "USDT".into()));
    }
}
