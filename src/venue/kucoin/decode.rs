//! A stored frame to rows: REST bodies by their meta, frames of the socket by their topic and subject.

use super::super::message::{MessageName, Result, clip, unknown_type, utf8};
use super::super::{Control, Decode, Frame, FrameKind, StreamKey};
use super::field::Context;
use super::market::Market;
use super::{control, messages, rest, topic};
use crate::frame::without_meta;
use model::{Channel, Decoded, Rows};

impl Decode for Market {
    fn stream_of<'a>(&self, payload: &'a [u8], _binary: bool) -> Option<StreamKey<'a>> {
        topic::of_frame(payload).map(StreamKey::name)
    }

    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel> {
        topic::channel_of(*self, key)
    }

    fn symbol_of(&self, key: StreamKey<'_>) -> Option<String> {
        topic::symbol_of(*self, key)
    }

    fn control(&self, payload: &[u8]) -> Option<Control> {
        control::control(payload)
    }

    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded> {
        match (frame.kind, frame.rest) {
            (FrameKind::Rest, Some(meta)) => rest::decode(*self, frame.payload, meta, rows),
            (FrameKind::Rest, None) => Err(without_meta()),
            (FrameKind::Text | FrameKind::Binary, _) => one(*self, frame.payload, rows),
        }
    }
}

/// `{"type":"message","topic":"/market/match:BTC-USDT","subject":"trade.l3match","data":{..}}`, keys in any order.
fn one(market: Market, payload: &[u8], rows: &mut Rows) -> Result<Decoded> {
    const OF: MessageName = MessageName("message");
    let mut cx = Context::new(market, payload, rows);
    let top = cx.fields(OF.0, utf8(payload)?, &control::TOP)?;
    if control::reply(&top).is_some() {
        return Ok(Decoded::Control);
    }
    let [kind, name, subject, data, ..] = top;
    let kind = OF.word("type", kind)?;
    if kind != "message" {
        return unknown_type(&kind);
    }
    let name = OF.word("topic", name)?;
    let subject = OF.word("subject", subject)?;
    let topic = topic::split(&name);
    let Some(channel) = topic::channel(market, topic.prefix) else {
        // Call auctions (since 2026-08) and whatever comes next.
        cx.drift(&format!("topic {}", clip(topic.prefix)));
        return unknown_type(topic.prefix);
    };
    let Some(data) = data else {
        return OF.wrong("data");
    };
    let about = messages::About { topic: &topic, subject: &subject };
    if !messages::decode(&mut cx, channel, about, data)? {
        // A subject nobody knows yet under a topic we subscribed: counted, and the frame is kept.
        cx.drift(&format!("subject {}.{}", topic.prefix, clip(&subject)));
        return unknown_type(&subject);
    }
    Ok(Decoded::Rows(channel))
}
