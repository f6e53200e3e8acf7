//! KuCoin, classic protocol: what spot and futures share.
//!
//! ```text
//!  spot.rs, futures.rs   what tells the markets apart: channels, hosts, quirks
//!  market.rs             the venue that both of them are
//!  topic.rs              channels <-> topics, whose topic a frame is
//!  plan.rs               wants -> sockets, subscribe messages
//!  token.rs              the token every connection needs, and its URL
//!  control.rs            welcome, pong, acknowledgements, refusals
//!  listing.rs            symbols and contracts
//!  rest.rs               the envelope of REST bodies, stored bodies -> rows
//!  messages.rs, candle.rs, book.rs, field.rs   data of a frame -> rows
//! ```
//!
//! Facts are those of KuCoin's documentation (<https://www.kucoin.com/docs-new>) and of recorded frames. Frames come
//! with their keys in several orders and numbers come as numbers or as texts, so there is one decoder that takes
//! any valid JSON; what it refuses is kept as undecodable.

mod book;
mod candle;
mod control;
mod field;
pub mod futures;
mod klines;
mod listing;
mod market;
mod messages;
mod plan;
mod rest;
pub mod spot;
mod token;
mod topic;

#[cfg(test)]
mod tests;

use super::message::{self, Of, Raw, Result, clip, unknown_type, utf8};
use super::{DecodeError, Frame, FrameKind, Heartbeat, Limits};
use model::{Decoded, Rows};

/// Which of the two markets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Market {
    Spot,
    Futures,
}

/// Spot and futures share what an address may do.
const PACE_GROUP: &str = "kucoin";

/// The client pings; the token tells how often, and this is what it has told for years.
const HEARTBEAT: Heartbeat = Heartbeat::ClientText { every_ms: 18_000, timeout_ms: 10_000 };

/// Both markets document: 30 new connections a minute, 100 client messages in 10 s on a socket, 100 symbols in a
/// subscribe message, 300 (or 400) topics on a spot socket, 24 h of life, REST weight 2000 in 30 s.
fn limits() -> Limits {
    Limits {
        streams_per_connection: 300,
        params_per_subscribe: 100,
        subscribe_delay_ms: 200,
        global_subscribe_delay_ms: 150,
        connect_stagger_ms: 2000,
        connects_per_5_min: 140,
        messages_per_s: 8,
        lifetime_s: 23 * 3600,
        // Pongs come every 18 s.
        silence_timeout_s: 45,
        stream_silence_s: 60,
        rest_weight_per_window: 1900,
        rest_window_s: 30,
        snapshot_levels: 100,
    }
}

/// What decoding a frame needs at hand.
type Context<'f, 'r> = message::Context<'f, 'r, Market>;

/// Turns a stored frame into rows.
fn decode(market: Market, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded> {
    match (frame.kind, frame.rest) {
        (FrameKind::Rest, Some(meta)) => rest::decode(market, frame.payload, meta, rows),
        (FrameKind::Rest, None) => {
            Err(DecodeError::Malformed { at: 0, what: "a REST body without its meta".to_owned() })
        }
        (FrameKind::Text | FrameKind::Binary, _) => one(market, frame.payload, rows),
    }
}

/// `{"type":"message","topic":"/market/match:BTC-USDT","subject":"trade.l3match","data":{..}}`, keys in any order.
fn one(market: Market, payload: &[u8], rows: &mut Rows) -> Result<Decoded> {
    const OF: Of = Of("message");
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
        // A subject nobody knows yet under a topic we asked for: counted, and the frame is kept.
        cx.drift(&format!("subject {}.{}", topic.prefix, clip(&subject)));
        return unknown_type(&subject);
    }
    Ok(Decoded::Rows(channel))
}
