//! What is subscribed over WebSocket: sockets with their topics, and the messages that subscribe them.

use super::super::{
    ConnectionPlan, DecodeError, Limits, RestRequest, Streams, SubscribeMessage, Token, Verb, Want, message, plan,
};
use super::market::Market;
use super::spot::{MAX_SYMBOLS, MAX_TOPICS};
use super::{token, topic};
use model::Channel;

impl Streams for Market {
    /// Sockets of at most `streams_per_connection` topics, channel by channel, so that few messages subscribe them.
    fn plan(&self, wants: &[Want], limits: &Limits) -> Vec<ConnectionPlan> {
        let most = if *self == Market::Spot { MAX_TOPICS } else { usize::MAX };
        let room = limits.streams_per_connection.clamp(1, most);
        // The endpoint comes with the token, whole.
        let stream_of = |want: &Want| Some(("", topic::stream(*self, want.channel, &want.symbol)?));
        let mut plans = plan::connections(wants, room, stream_of);
        for plan in &mut plans {
            let (streams, wants) = (std::mem::take(&mut plan.streams), std::mem::take(&mut plan.wants));
            let mut members: Vec<_> = streams.into_iter().zip(wants).collect();
            members.sort_by_key(|(_, served)| {
                let channel = served.first().map(|want| want.channel);
                Channel::ALL.iter().position(|c| Some(*c) == channel)
            });
            (plan.streams, plan.wants) = members.into_iter().unzip();
        }
        plans
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
        let kind = verb.as_str();
        let size = limits.params_per_subscribe.clamp(1, MAX_SYMBOLS);
        let mut messages = Vec::new();
        for (prefix, symbols) in plan::by_beginning(streams, |stream| {
            let topic = topic::split(stream);
            Some((topic.prefix, topic.rest))
        }) {
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
