//! What is asked for over WebSocket: sockets with their topics, and the messages that subscribe them.

use std::collections::{HashMap, HashSet};

use super::super::{
    ConnectionPlan, DecodeError, Limits, RestRequest, Streams, SubscribeMessage, Token, Verb, Want, message,
};
use super::market::Market;
use super::spot::{MAX_SYMBOLS, MAX_TOPICS};
use super::{token, topic};
use model::Channel;

impl Streams for Market {
    /// Sockets of at most `streams_per_connection` topics. The topics of a symbol stay on one socket where they fit; on a
    /// socket they stand channel by channel, so that few messages subscribe them. Symbols keep the order of their first
    /// want; a want that comes twice counts once.
    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan> {
        let most = if *self == Market::Spot { MAX_TOPICS } else { usize::MAX };
        let room = limits.streams_per_connection.clamp(1, most);
        let mut seen = HashSet::new();
        let mut group_of: HashMap<&str, usize> = HashMap::new();
        let mut groups: Vec<Vec<(String, &Want)>> = Vec::new();
        for want in wants {
            let Some(stream) = topic::stream(*self, want.channel, &want.symbol) else {
                continue;
            };
            if !seen.insert(want) {
                continue;
            }
            let group = *group_of.entry(&want.symbol).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(group) {
                group.push((stream, want));
            }
        }
        let mut sockets: Vec<Vec<(String, &Want)>> = Vec::new();
        for group in groups {
            let whole = sockets.last().is_some_and(|s| s.len() + group.len() <= room);
            let mut open = whole;
            for member in group {
                match sockets.last_mut().filter(|s| open && s.len() < room) {
                    Some(socket) => socket.push(member),
                    None => sockets.push(vec![member]),
                }
                open = true;
            }
        }
        sockets.into_iter().map(one).collect()
    }

    /// `{"id":"7","type":"subscribe","topic":"/market/match:BTC-USDT,ETH-USDT","privateChannel":false,"response":true}`:
    /// one topic prefix and at most `params_per_subscribe` symbols each.
    fn messages(
        &self,
        verb: Verb,
        streams: &[String],
        limits: &Limits,
        mut first_id: u64,
        _now_s: i64,
    ) -> Vec<SubscribeMessage> {
        let mut prefixes: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
        for stream in streams {
            let topic = topic::split(stream);
            let item = (topic.rest, stream.as_str());
            match prefixes.iter_mut().find(|(prefix, _)| *prefix == topic.prefix) {
                Some((_, symbols)) => symbols.push(item),
                None => prefixes.push((topic.prefix, vec![item])),
            }
        }
        let kind = verb.as_str();
        let size = limits.params_per_subscribe.clamp(1, MAX_SYMBOLS);
        let mut messages = Vec::new();
        for (prefix, symbols) in prefixes {
            messages.extend(message::subscribe_messages(&symbols, size, &mut first_id, |symbols, id| {
                let topic = serde_json::Value::from(format!("{prefix}:{}", symbols.join(",")));
                format!(r#"{{"id":"{id}","type":"{kind}","topic":{topic},"privateChannel":false,"response":true}}"#)
            }));
        }
        messages
    }

    fn token_request(&self) -> Option<RestRequest> {
        Some(token::request())
    }

    fn parse_token(&self, body: &[u8]) -> Result<Token, DecodeError> {
        token::parse(body)
    }

    fn connect_url(&self, ws_base: &str, _plan: &ConnectionPlan, token: Option<&Token>, connect_id: &str) -> String {
        token::connect_url(ws_base, token, connect_id)
    }

    fn redacted(&self, url: &str) -> String {
        token::redacted(url)
    }

    /// `{"id":"8","type":"ping"}`.
    fn ping_message(&self, id: u64, _now_s: i64) -> Option<String> {
        Some(format!(r#"{{"id":"{id}","type":"ping"}}"#))
    }
}

/// One socket, its topics channel by channel.
fn one(mut members: Vec<(String, &Want)>) -> ConnectionPlan {
    members.sort_by_key(|(_, want)| Channel::ALL.iter().position(|c| *c == want.channel));
    let wants = members.iter().map(|(_, want)| vec![(*want).clone()]).collect();
    let streams = members.into_iter().map(|(stream, _)| stream).collect();
    // The endpoint comes with the token, whole.
    ConnectionPlan { path_and_query: String::new(), streams, wants }
}
