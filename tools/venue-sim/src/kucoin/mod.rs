//! KuCoin's classic protocol on both markets: tokens, welcome, topics, acks, errors, pings. No sockets.
//!
//! Texts are those of kucoin.com's "WebSocket API" and "Error code" pages. Quirks kept as on the real venue: an unknown symbol is
//! acked and stays silent, also inside a list; over the message limit an error 509 precedes close 1000 "Bye"; so does silence of a
//! minute. Stricter than the real venue: a token opens one connection, so that a client which reuses an old one is found out.

pub(crate) mod frames;
pub(crate) mod recorded;
pub(crate) mod rest;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::binance::Market;
use crate::names::Names;
use crate::protocol::Reaction;
use crate::report::{lock, wall_ns};
use crate::venue::Venue;

/// Symbols that one subscribe message may join.
const TOPICS_PER_MESSAGE: usize = 100;

const SPOT_TOPICS: [&str; 8] = [
    "/market/match",
    "/market/ticker",
    "/market/level2",
    "/market/candles",
    "/market/snapshot",
    "/spotMarket/level1",
    "/spotMarket/level2Depth5",
    "/spotMarket/level2Depth50",
];

const FUTURES_TOPICS: [&str; 8] = [
    "/contractMarket/execution",
    "/contractMarket/tickerV2",
    "/contractMarket/level2",
    "/contractMarket/level2Depth5",
    "/contractMarket/level2Depth50",
    "/contractMarket/limitCandle",
    "/contractMarket/snapshot",
    "/contract/instrument",
];

/// Tokens that wait for their connection; beyond it somebody only requests tokens.
const OPEN_MAX: usize = 10_000;

/// Tokens handed out and not used yet.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    minted: AtomicU64,
    open: Mutex<HashMap<String, Instant>>,
}

impl Tokens {
    /// A new token.
    pub fn mint(&self, venue: &str) -> String {
        let number = self.minted.fetch_add(1, Ordering::AcqRel) + 1;
        // Nobody guesses one: it may replace the token of the whole server.
        let secret = RandomState::new().hash_one(number);
        let token = format!("2neAiuYvAU61ZDXANAGAsiL4-{venue}-{number}-{secret:016x}==");
        let mut open = lock(&self.open);
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(token.clone(), Instant::now());
        token
    }

    /// True when the token was handed out, is young enough and opens its first connection.
    fn take(&self, token: &str, life: Duration) -> bool {
        lock(&self.open).remove(token).is_some_and(|minted| minted.elapsed() <= life)
    }
}

/// The protocol state of one connection.
#[derive(Debug)]
pub(crate) struct KucoinSession {
    pub names: Names,
    connect_id: String,
    is_known: bool,
    topics: &'static [&'static str],
}

impl KucoinSession {
    /// The session of an upgrade; a bad token is reported in the first message.
    pub fn open(venue: &Venue, query: &[(String, String)]) -> KucoinSession {
        let get = |name: &str| query.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value.as_str());
        let life = Duration::from_millis(venue.token_life_ms);
        KucoinSession {
            names: Names::new(&venue.universe),
            connect_id: get("connectId").to_owned(),
            is_known: venue.tokens.take(get("token"), life),
            topics: if venue.market == Market::Spot { &SPOT_TOPICS } else { &FUTURES_TOPICS },
        }
    }

    /// Welcome, or the refusal of the token.
    pub fn greeting(&self) -> Reaction {
        let id = Value::from(self.connect_id.as_str());
        if self.is_known {
            return Reaction { reply: Some(format!(r#"{{"id":{id},"type":"welcome"}}"#)), ..Reaction::default() };
        }
        Reaction { close: Some((1000, "Bye")), ..error(&id, 401, "token is invalid") }
    }

    /// The last words to a client that sends too much.
    pub fn too_many_messages(&self) -> Reaction {
        let id = Value::from(self.connect_id.as_str());
        Reaction { close: Some((1000, "Bye")), ..error(&id, 509, "exceed max permits per second") }
    }

    /// Handles one message.
    pub fn on_text(&mut self, text: &[u8], venue: &Venue, streams_max: usize) -> Reaction {
        let Ok(message) = serde_json::from_slice::<Value>(text) else {
            return error(&Value::from(self.connect_id.as_str()), 400, "json error");
        };
        let id = match message.get("id") {
            // Numbers come back as text.
            Some(Value::Number(number)) => Value::from(number.to_string()),
            Some(id) => id.clone(),
            None => Value::from(""),
        };
        match message.get("type").and_then(Value::as_str) {
            Some("ping") => Reaction {
                reply: Some(format!(r#"{{"id":{id},"type":"pong","timestamp":{}}}"#, wall_ns() / 1_000)),
                is_pong: true,
                ..Reaction::default()
            },
            Some(kind @ ("subscribe" | "unsubscribe")) => {
                let Some(topic) = message.get("topic").and_then(Value::as_str).filter(|topic| !topic.is_empty()) else {
                    return error(&id, 406, "topic is required");
                };
                let wants_ack = message.get("response").and_then(Value::as_bool).unwrap_or(false);
                self.topic(kind == "subscribe", topic, venue, streams_max, &id, wants_ack)
            }
            _ => error(&id, 415, "type is not supported"),
        }
    }

    fn topic(
        &mut self,
        is_on: bool,
        topic: &str,
        venue: &Venue,
        streams_max: usize,
        id: &Value,
        wants_ack: bool,
    ) -> Reaction {
        let (prefix, symbols) = topic.split_once(':').unwrap_or((topic, ""));
        if !self.topics.contains(&prefix) {
            return error(id, 404, &format!("topic {topic} is not found"));
        }
        if symbols.split(',').any(str::is_empty) {
            return error(id, 400, &format!("topic {topic} is invalid"));
        }
        let names: Vec<String> = symbols.split(',').map(|symbol| format!("{prefix}:{symbol}")).collect();
        if names.len() > TOPICS_PER_MESSAGE {
            let text = format!("exceed max subscription count limitation of {TOPICS_PER_MESSAGE} per time");
            return error(id, 509, &text);
        }
        let new = names.iter().filter(|name| !self.names.has(name)).count();
        if is_on && self.names.count() + new > streams_max {
            return error(id, 509, &format!("exceed max subscription count limitation of {streams_max} per session"));
        }
        let mut reaction =
            Reaction { reply: wants_ack.then(|| format!(r#"{{"id":{id},"type":"ack"}}"#)), ..Reaction::default() };
        for name in &names {
            if is_on {
                reaction.added.extend(self.names.add(name, &venue.universe, |exact| exact));
            } else {
                reaction.removed.extend(self.names.remove(name));
            }
        }
        reaction
    }
}

fn error(id: &Value, code: u16, text: &str) -> Reaction {
    Reaction {
        reply: Some(format!(r#"{{"id":{id},"type":"error","code":{code},"data":{}}}"#, Value::from(text))),
        ..Reaction::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_one_connection_while_it_is_young() {
        let tokens = Tokens::default();
        let (first, second) = (tokens.mint("kucoin-spot"), tokens.mint("kucoin-spot"));
        assert_ne!(first, second);
        assert!(tokens.take(&first, Duration::from_secs(60)));
        assert!(!tokens.take(&first, Duration::from_secs(60)), "it was used");
        assert!(!tokens.take("guessed", Duration::from_secs(60)));
        std::thread::sleep(Duration::from_millis(2));
        assert!(!tokens.take(&second, Duration::ZERO), "it is too old");
    }
}
