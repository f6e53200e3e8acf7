//! What is asked for: sockets and their streams, subscribe messages, REST requests.
//!
//! A stream is called `spot.trades BTC_USDT`: channel, blank, symbol. What a channel needs beside the symbol
//! (update speed, levels, interval) is the same for all its streams and stands here only.

use std::collections::{HashMap, HashSet};

use super::super::message::{self, percent_encode};
use super::super::{ConnectionPlan, Limits, Missing, RestRequest, SubscribeMessage, Verb, Want};
use super::market::Market;
use model::{Channel, Fill};

/// Symbols in one message; more work too, but one bad symbol spoils them all on futures.
pub(super) const MAX_SYMBOLS: usize = 100;
/// Levels of the order book changes; the snapshot must have as many.
const LEVELS: &str = "100";
/// Trades in one REST answer.
const PAGE: u32 = 1_000;
/// The venue serves no trades behind this many.
const MAX_TRADES: u32 = 100_000;
/// How far to look back for trades when nothing tells what was before them, s.
const LOOK_BACK_S: i64 = 600;

/// Splits wants into sockets of at most `streams_per_connection` streams, the streams of a symbol side by side
/// and on one socket where they fit. Symbols keep the order of their first want. Wants that are served by the
/// same stream make one stream.
pub(super) fn connections(market: Market, path: &str, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan> {
    let room = limits.streams_per_connection.max(1);
    let mut group_of: HashMap<&str, usize> = HashMap::new();
    let mut groups: Vec<Vec<(String, Vec<Want>)>> = Vec::new();
    let mut seen = HashSet::new();
    for want in wants {
        let Some(channel) = market.channel_name(want.channel) else { continue };
        if !seen.insert(want) {
            continue;
        }
        let group = *group_of.entry(&want.symbol).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        if let Some(members) = groups.get_mut(group) {
            let name = format!("{channel} {}", want.symbol);
            match members.iter_mut().find(|(stream, _)| *stream == name) {
                Some((_, served)) => served.push(want.clone()),
                None => members.push((name, vec![want.clone()])),
            }
        }
    }
    let mut plans: Vec<ConnectionPlan> = Vec::new();
    let mut left = 0;
    for members in groups {
        if members.len() > left {
            left = 0;
        }
        for (name, served) in members {
            if left == 0 {
                plans.push(ConnectionPlan { path_and_query: path.to_owned(), streams: Vec::new(), wants: Vec::new() });
                left = room;
            }
            if let Some(plan) = plans.last_mut() {
                plan.streams.push(name);
                plan.wants.push(served);
                left -= 1;
            }
        }
    }
    plans
}

/// `{"time":..,"id":..,"channel":..,"event":"subscribe","payload":[..]}`: many symbols per message where the
/// channel takes them, one where the payload has further words.
///
/// The venue refuses a `time` that is 60 s off: who keeps a message for long must write it anew.
/// Both verbs take the same payload.
pub(super) fn requests(
    market: Market,
    verb: Verb,
    streams: &[String],
    limits: &Limits,
    mut first_id: u64,
    now_s: i64,
) -> Vec<SubscribeMessage> {
    let event = verb.as_str();
    let mut channels: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
    for stream in streams {
        let Some((channel, symbol)) = stream.split_once(' ') else { continue };
        let item = (symbol, stream.as_str());
        match channels.iter_mut().find(|(c, _)| *c == channel) {
            Some((_, symbols)) => symbols.push(item),
            None => channels.push((channel, vec![item])),
        }
    }
    let mut messages = Vec::new();
    for (channel, symbols) in channels {
        let (before, behind) = words(market, channel);
        let alone = !before.is_empty() || !behind.is_empty();
        let size = if alone { 1 } else { limits.params_per_subscribe.clamp(1, MAX_SYMBOLS) };
        // Both are plain words or symbols of the listing; the array escapes them where they need it.
        let channel = serde_json::Value::from(channel);
        messages.extend(message::subscribe_messages(&symbols, size, &mut first_id, |symbols, id| {
            let payload: Vec<&str> = before.iter().chain(symbols).chain(behind).copied().collect();
            let payload = serde_json::Value::from(payload);
            format!(r#"{{"time":{now_s},"id":{id},"channel":{channel},"event":"{event}","payload":{payload}}}"#)
        }));
    }
    messages
}

/// What stands before and behind the symbol in the payload of a channel.
fn words(market: Market, channel: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match (market, market.channel_of(channel.as_bytes())) {
        (Market::Spot, Some(Channel::Depth)) => (&[], &["100ms"]),
        (Market::Futures, Some(Channel::Depth)) => (&[], &["100ms", LEVELS]),
        (_, Some(Channel::VenueKlines)) => (&["1m"], &[]),
        _ => (&[], &[]),
    }
}

/// The application's own ping; protocol pings of the server are answered by the WebSocket layer.
pub(super) fn ping(market: Market, id: u64, now_s: i64) -> String {
    format!(r#"{{"time":{now_s},"id":{id},"channel":"{}ping"}}"#, market.prefix())
}

/// All symbols of the market. The documentation gives contracts a `limit` of 100; without one all of them come
/// (302 in the recording of 2023), with one no more than that, so there is none.
pub(super) fn listing(market: Market) -> RestRequest {
    let path = match market {
        Market::Spot => "/api/v4/spot/currency_pairs",
        Market::Futures => "/api/v4/futures/usdt/contracts",
    };
    RestRequest { path_and_query: path.to_owned(), weight: 1, channel: "symbols".to_owned(), ..RestRequest::default() }
}

/// A whole book with its id, of as many levels as the changes have.
pub(super) fn snapshot(market: Market, symbol: &str, levels: u32) -> RestRequest {
    let encoded = percent_encode(symbol);
    let limit = levels.clamp(1, 100);
    let path_and_query = match market {
        Market::Spot => format!("/api/v4/spot/order_book?currency_pair={encoded}&limit={limit}&with_id=true"),
        Market::Futures => {
            format!("/api/v4/futures/usdt/order_book?contract={encoded}&interval=0&limit={limit}&with_id=true")
        }
    };
    RestRequest {
        path_and_query,
        weight: 1,
        channel: Channel::DepthSnapshot.as_str().to_owned(),
        symbol: Some(symbol.to_owned()),
        ..RestRequest::default()
    }
}

/// The trades of the seconds around a hole; neither market can be asked by id. The ids are sorted out when the
/// body is read.
pub(super) fn repair(market: Market, missing: &Missing<'_>) -> Option<RestRequest> {
    if missing.channel != Channel::Trades || missing.page.checked_mul(PAGE)? >= MAX_TRADES {
        return None;
    }
    let second = |us: i64| us.div_euclid(1_000_000);
    let before = missing.before_us.map(|us| second(us).saturating_add(1));
    let from = match (missing.after_us, before) {
        (Some(us), _) => second(us),
        (None, Some(before)) => before.saturating_sub(LOOK_BACK_S),
        (None, None) => return None,
    };
    // Ends at now when nothing tells otherwise.
    let to = before.map(|before| format!("&to={before}")).unwrap_or_default();
    let symbol = percent_encode(missing.symbol);
    let path_and_query = match market {
        Market::Spot => {
            let page = missing.page + 1;
            format!("/api/v4/spot/trades?currency_pair={symbol}&from={from}{to}&limit={PAGE}&page={page}")
        }
        Market::Futures => {
            let offset = missing.page * PAGE;
            format!("/api/v4/futures/usdt/trades?contract={symbol}&from={from}{to}&limit={PAGE}&offset={offset}")
        }
    };
    Some(RestRequest {
        path_and_query,
        weight: 1,
        channel: Channel::Trades.as_str().to_owned(),
        symbol: Some(missing.symbol.to_owned()),
        fill: Some(Fill { from: missing.from, to: missing.to }),
        ..RestRequest::default()
    })
}
