//! Sockets and their streams, subscribe messages, pings.
//!
//! A stream is called `spot.trades BTC_USDT`: channel, blank, symbol. What a channel needs beside the symbol
//! (update speed, levels, interval) is the same for all its streams and stands here only.

use super::super::{ConnectionPlan, Limits, Streams, SubscribeMessage, Verb, Want, message, plan};
use super::control;
use super::market::Market;
use model::Channel;

/// Symbols in one message; more work too, but one bad symbol spoils them all on futures.
pub(super) const MAX_SYMBOLS: usize = 100;
/// Levels of the order book changes; the snapshot must have as many.
const LEVELS: &str = "100";

impl Streams for Market {
    /// Sockets of at most `streams_per_connection` streams.
    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan> {
        let room = limits.streams_per_connection.max(1);
        plan::connections(wants, room, |want| {
            Some((self.ws_path(), format!("{} {}", self.channel_name(want.channel)?, want.symbol)))
        })
    }

    /// `{"time":..,"id":..,"channel":..,"event":"subscribe","payload":[..]}`: many symbols per message where the
    /// channel takes them, one where the payload has further words.
    ///
    /// The venue refuses a `time` that is 60 s off: who keeps a message for long must write it again.
    /// Both verbs take the same payload.
    fn messages(
        &self,
        verb: Verb,
        streams: &[String],
        limits: &Limits,
        mut first_id: u64,
        now_s: i64,
    ) -> Vec<SubscribeMessage> {
        let event = verb.as_str();
        let mut messages = Vec::new();
        for (channel, symbols) in plan::by_beginning(streams, |stream| stream.split_once(' ')) {
            let (before, behind) = words(*self, channel);
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

    fn may_answer(&self, payload: &[u8], request: &str) -> bool {
        control::may_answer(payload, request)
    }

    fn stream_key(&self, stream: &str) -> (Vec<u8>, Vec<u8>) {
        let (channel, symbol) = stream.split_once(' ').unwrap_or((stream, ""));
        (channel.as_bytes().to_vec(), symbol.as_bytes().to_vec())
    }

    /// The application's own ping; protocol pings of the server are answered by the WebSocket layer.
    fn ping_message(&self, id: u64, now_s: i64) -> Option<String> {
        Some(format!(r#"{{"time":{now_s},"id":{id},"channel":"{}ping"}}"#, self.prefix()))
    }
}

/// What stands before and after the symbol in the payload of a channel.
fn words(market: Market, channel: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match (market, market.channel_named(channel.as_bytes())) {
        (Market::Spot, Some(Channel::Depth)) => (&[], &["100ms"]),
        (Market::Futures, Some(Channel::Depth)) => (&[], &["100ms", LEVELS]),
        (_, Some(Channel::VenueKlines)) => (&["1m"], &[]),
        _ => (&[], &[]),
    }
}
