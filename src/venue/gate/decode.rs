//! A stored frame to rows: REST bodies by their meta, frames of the socket by their channel and event.

use super::super::message::{Context, clip, unknown_type, utf8};
use super::super::{Control, Decode, DecodeError, Frame, FrameKind, StreamKey, json};
use super::market::Market;
use super::{book, control, field, messages, rest};
use crate::frame::without_meta;
use model::{Channel, Decoded, Rows};

impl Decode for Market {
    fn stream_of<'a>(&self, payload: &'a [u8], _binary: bool) -> Option<StreamKey<'a>> {
        control::stream_of(payload)
    }

    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel> {
        self.channel_named(key.channel)
    }

    fn control(&self, payload: &[u8]) -> Option<Control> {
        control::control(payload)
    }

    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
        match (frame.kind, frame.rest) {
            (FrameKind::Rest, Some(meta)) => rest::decode(*self, frame.payload, meta, rows),
            (FrameKind::Rest, None) => Err(without_meta()),
            (FrameKind::Text | FrameKind::Binary, _) => decode_frame(*self, frame.payload, rows),
        }
    }
}

fn decode_frame(market: Market, payload: &[u8], rows: &mut Rows) -> Result<Decoded, DecodeError> {
    let text = utf8(payload)?;
    let mut cx = Context::new(market, payload, rows);
    let top = cx.fields("frame", text, &control::TOP)?;
    if control::of(&top).is_some() {
        return Ok(Decoded::Control);
    }
    let [time, time_ms, channel, event, result, ..] = top;
    let (Some(channel), Some(result)) = (channel.and_then(json::word), result) else {
        return unknown_type("");
    };
    let sent = messages::Sent { us: field::sent(time, time_ms)? };
    let known = channel.strip_prefix(market.prefix());
    let decoded = match (known.unwrap_or_default(), event.and_then(json::text).as_deref()) {
        ("trades", Some("update")) => {
            each(&mut cx, result, &mut |cx, row| messages::trade(cx, row, sent)).map(|()| Channel::Trades)
        }
        ("book_ticker", Some("update")) => {
            each(&mut cx, result, &mut messages::book_ticker).map(|()| Channel::BookTicker)
        }
        ("order_book_update", Some("update")) => each(&mut cx, result, &mut book::update).map(|()| Channel::Depth),
        // Whole books: not subscribed, but recorded by others.
        ("order_book", Some("update")) if market == Market::Spot => {
            each(&mut cx, result, &mut |cx, row| book::whole(cx, row, None)).map(|()| Channel::Depth)
        }
        ("order_book", Some("all")) if market == Market::Futures => {
            each(&mut cx, result, &mut |cx, row| book::whole(cx, row, None)).map(|()| Channel::Depth)
        }
        ("tickers", Some("update")) => {
            each(&mut cx, result, &mut |cx, row| messages::ticker(cx, row, sent)).map(|()| Channel::Tickers)
        }
        ("candlesticks", Some("update")) => {
            each(&mut cx, result, &mut |cx, row| messages::candle(cx, row, sent)).map(|()| Channel::VenueKlines)
        }
        ("public_liquidates", Some("update")) if market == Market::Futures => {
            each(&mut cx, result, &mut messages::liquidation).map(|()| Channel::Liquidations)
        }
        _ => {
            cx.drift(&format!("channel {}", clip(&channel)));
            return unknown_type(&channel);
        }
    };
    decoded.map(Decoded::Rows)
}

/// Calls `row` for the object, or for every object of the array (in 2021 Gate sent an array inside the array). One object
/// that is no row does not cost the others.
fn each<'a, 'f, 'r>(
    cx: &mut messages::Cx<'f, 'r>,
    result: &'a str,
    row: &mut dyn FnMut(&mut messages::Cx<'f, 'r>, &'a str) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    if json::is_array(result) { cx.items(result, row) } else { row(cx, result) }
}
