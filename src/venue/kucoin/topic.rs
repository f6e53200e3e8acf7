//! Topics: the names under which KuCoin sends things, and whose topic a frame is. Parses no data.

use super::super::StreamKey;
use super::market::Market;
use model::Channel;

/// The only candle interval that is subscribed, as KuCoin writes it after the symbol.
const CANDLE: &str = "_1min";

/// A topic taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topic<'a> {
    /// What stands before the colon.
    pub(super) prefix: &'a str,
    /// What stands after it, the interval of candles included.
    pub(super) rest: &'a str,
}

pub(super) fn split(name: &str) -> Topic<'_> {
    let (prefix, rest) = name.split_once(':').unwrap_or((name, ""));
    Topic { prefix, rest }
}

/// The prefix a channel is subscribed under; `None` for what the market has no topic for.
fn prefix(market: Market, channel: Channel) -> Option<&'static str> {
    Some(match (market, channel) {
        (Market::Spot, Channel::Trades) => "/market/match",
        (Market::Spot, Channel::BookTicker) => "/spotMarket/level1",
        (Market::Spot, Channel::Depth) => "/market/level2",
        (Market::Spot, Channel::Tickers) => "/market/snapshot",
        (Market::Spot, Channel::VenueKlines) => "/market/candles",
        (Market::Futures, Channel::Trades) => "/contractMarket/execution",
        (Market::Futures, Channel::BookTicker) => "/contractMarket/tickerV2",
        (Market::Futures, Channel::Depth) => "/contractMarket/level2",
        (Market::Futures, Channel::MarkPrice) => "/contract/instrument",
        (Market::Futures, Channel::Tickers) => "/contractMarket/snapshot",
        (Market::Futures, Channel::VenueKlines) => "/contractMarket/limitCandle",
        _ => return None,
    })
}

/// The channel of a prefix. `/market/ticker` is an older best bid and ask, found in recordings only.
pub(super) fn channel(market: Market, word: &str) -> Option<Channel> {
    let known = Channel::ALL.iter().copied().find(|c| prefix(market, *c) == Some(word));
    known.or_else(|| (market == Market::Spot && word == "/market/ticker").then_some(Channel::BookTicker))
}

/// The stream of a symbol on a channel: its topic.
pub(super) fn stream(market: Market, channel: Channel, symbol: &str) -> Option<String> {
    let interval = if channel == Channel::VenueKlines { CANDLE } else { "" };
    prefix(market, channel).map(|prefix| format!("{prefix}:{symbol}{interval}"))
}

/// The channel of a stream key.
pub(super) fn channel_of(market: Market, key: StreamKey<'_>) -> Option<Channel> {
    let name = std::str::from_utf8(key.channel).ok()?;
    channel(market, split(name).prefix)
}

/// The symbol of a stream key.
pub(super) fn symbol_of(market: Market, key: StreamKey<'_>) -> Option<String> {
    let topic = split(std::str::from_utf8(key.channel).ok()?);
    let symbol = match channel(market, topic.prefix)? {
        Channel::VenueKlines => topic.rest.rsplit_once('_')?.0,
        _ => topic.rest,
    };
    (!symbol.is_empty() && symbol != "all").then(|| symbol.to_owned())
}

/// Bytes at both ends of a frame in which its topic and its type stand.
const HEAD: usize = 192;
const TAIL: usize = 320;

/// The topic of a data frame: near its start (`{"topic":..`, `{"type":"message","topic":..`) or, until about 2022,
/// near its end after the data.
#[inline]
pub(super) fn of_frame(payload: &[u8]) -> Option<&[u8]> {
    const TOPIC: &[u8] = br#""topic":""#;
    const MESSAGE: &[u8] = br#""type":"message""#;
    let head = payload.get(..payload.len().min(HEAD))?;
    let tail = payload.get(payload.len().saturating_sub(TAIL)..)?;
    let after = match memchr::memmem::find(head, TOPIC) {
        Some(at) => payload.get(at + TOPIC.len()..)?,
        None => tail.get(memchr::memmem::rfind(tail, TOPIC)? + TOPIC.len()..)?,
    };
    let name = after.get(..memchr::memchr(b'"', after.get(..after.len().min(256))?)?)?;
    if name.is_empty() || name.contains(&b'\\') {
        return None;
    }
    let data = memchr::memmem::find(head, MESSAGE).or_else(|| memchr::memmem::find(tail, MESSAGE));
    data.map(|_| name)
}
