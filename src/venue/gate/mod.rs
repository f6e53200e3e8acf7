//! Gate v4: what spot and USDT futures share.
//!
//! ```text
//!  spot.rs, futures.rs   what tells the markets apart: channels, hosts, quirks
//!  market.rs             the venue that both of them are
//!  plan.rs               wants -> sockets, subscribe messages, REST requests
//!  control.rs, scan.rs   acknowledgements, refusals, notices, whose stream a frame is
//!  listing.rs            currency pairs and contracts -> symbols
//!  messages.rs, book.rs  frames -> rows
//!  field.rs              times, ids and sizes as Gate writes them
//!  rest.rs               stored REST bodies -> rows
//! ```
//!
//! Every frame is `{"time":..,"time_ms":..,"channel":"spot.trades","event":"update","result":..}`; futures put
//! their rows into an array. Facts are those of Gate's documentation, "Spot WebSocket v4", "Futures WebSocket
//! v4" and "API v4", and of the recordings in `tests/data`.

mod book;
mod control;
mod field;
pub mod futures;
mod klines;
mod listing;
mod market;
mod messages;
mod plan;
mod rest;
mod scan;
pub mod spot;

#[cfg(test)]
mod tests;

use super::message::{Context, clip, unknown_type, utf8};
use super::{DecodeError, Frame, FrameKind, json};
use model::{Channel, Decoded, Rows};

/// Which of the two markets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Market {
    Spot,
    Futures,
}

impl Market {
    /// What the name of every channel of the market begins with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Spot => "spot.",
            Self::Futures => "futures.",
        }
    }

    /// Name of the WebSocket channel; `None` where there is none.
    fn channel_name(self, channel: Channel) -> Option<&'static str> {
        Some(match (self, channel) {
            (Self::Spot, Channel::Trades) => "spot.trades",
            (Self::Spot, Channel::BookTicker) => "spot.book_ticker",
            (Self::Spot, Channel::Depth) => "spot.order_book_update",
            (Self::Spot, Channel::Tickers) => "spot.tickers",
            (Self::Spot, Channel::VenueKlines) => "spot.candlesticks",
            (Self::Futures, Channel::Trades) => "futures.trades",
            (Self::Futures, Channel::BookTicker) => "futures.book_ticker",
            (Self::Futures, Channel::Depth) => "futures.order_book_update",
            // Mark price and funding are sent nowhere else.
            (Self::Futures, Channel::Tickers | Channel::MarkPrice) => "futures.tickers",
            (Self::Futures, Channel::Liquidations) => "futures.public_liquidates",
            (Self::Futures, Channel::VenueKlines) => "futures.candlesticks",
            (Self::Spot, Channel::MarkPrice | Channel::Liquidations) => return None,
            (_, Channel::AggTrades | Channel::DepthSnapshot) => return None,
        })
    }

    /// The channel that a WebSocket channel feeds; [`Channel::Tickers`] where it feeds two.
    fn channel_of(self, name: &[u8]) -> Option<Channel> {
        let all = [
            Channel::Trades,
            Channel::BookTicker,
            Channel::Depth,
            Channel::Tickers,
            Channel::VenueKlines,
            Channel::Liquidations,
        ];
        all.into_iter().find(|c| self.channel_name(*c).is_some_and(|n| n.as_bytes() == name))
    }
}

/// Turns a stored frame into rows.
fn decode(market: Market, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
    match (frame.kind, frame.rest) {
        (FrameKind::Rest, Some(meta)) => rest::decode(market, frame.payload, meta, rows),
        (FrameKind::Rest, None) => {
            Err(DecodeError::Malformed { at: 0, what: "a REST body without its meta".to_owned() })
        }
        (FrameKind::Text | FrameKind::Binary, _) => decode_frame(market, frame.payload, rows),
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

/// Calls `row` for the object, or for every object of the array (in 2021 of the array inside the array): those do not
/// depend on each other.
fn each<'a, 'f, 'r>(
    cx: &mut messages::Cx<'f, 'r>,
    result: &'a str,
    row: &mut dyn FnMut(&mut messages::Cx<'f, 'r>, &'a str) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    if json::is_array(result) { cx.items(result, row) } else { row(cx, result) }
}
