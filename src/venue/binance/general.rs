//! Any valid JSON frame to rows, or the reason why not.
//!
//! Takes keys in any order, white space, escapes, unknown fields and old layouts. Slower than the fast path and
//! the judge over it: what this refuses is kept as undecodable.

use super::super::message::{MAX_NOTES, clip, unknown_type, utf8};
use super::super::{DecodeError, json};
use super::field::Context;
use super::market::Market;
use super::stream::{Book, book_of};
use super::{control, messages, stream};
use model::{Channel, Decoded, Rows};

/// Turns a WebSocket message into rows.
pub(super) fn decode(market: Market, payload: &[u8], rows: &mut Rows) -> Result<Decoded, DecodeError> {
    let text = utf8(payload)?;
    let mut cx = Context::new(market, payload, rows);
    if json::is_array(text) {
        return many(&mut cx, text);
    }
    let mut unknown = Vec::new();
    let top = json::object(text, &control::TOP, &mut |key| {
        if unknown.len() < MAX_NOTES {
            unknown.push(format!("field combined.{}", clip(key)));
        }
    })?;
    if let [Some(stream), Some(data), ..] = top {
        unknown.iter().for_each(|what| cx.drift(what));
        cx.stream = json::word(stream);
        if json::is_array(data) {
            return many(&mut cx, data);
        }
        return one(&mut cx, data);
    }
    if control::reply(&top).is_some() {
        return Ok(Decoded::Control);
    }
    one(&mut cx, text)
}

/// One message: by its type, or by its shape where spot sends no type.
fn one(cx: &mut Context<'_, '_>, data: &str) -> Result<Decoded, DecodeError> {
    let [e, id, symbol, last] = json::object(data, &["e", "u", "s", "lastUpdateId"], &mut |_| ())?;
    let channel = match e.map(|e| json::text(e).ok_or(e)) {
        Some(Ok(word)) => match &*word {
            "trade" => messages::trade(cx, data).map(|()| Channel::Trades)?,
            "aggTrade" => messages::agg_trade(cx, data).map(|()| Channel::AggTrades)?,
            "bookTicker" => messages::book_ticker(cx, data).map(|()| Channel::BookTicker)?,
            "depthUpdate" => {
                let book = cx.stream.as_deref().map_or(Book::Changes, |s| book_of(s.as_bytes()));
                match (cx.market, book) {
                    (_, Book::Rpi) => return unknown_type("rpiDepth"),
                    (Market::Usdm | Market::Coinm, Book::Whole) => messages::depth(cx, data, true)?,
                    _ => messages::depth(cx, data, false)?,
                }
                Channel::Depth
            }
            "markPriceUpdate" => messages::mark_price(cx, data).map(|()| Channel::MarkPrice)?,
            "forceOrder" => messages::force_order(cx, data).map(|()| Channel::Liquidations)?,
            "24hrTicker" | "24hrMiniTicker" => messages::ticker(cx, data).map(|()| Channel::Tickers)?,
            "kline" => messages::kline(cx, data).map(|()| Channel::VenueKlines)?,
            "serverShutdown" => return Ok(Decoded::Control),
            other => return unknown_type(other),
        },
        Some(Err(raw)) => return unknown_type(raw),
        None if last.is_some() => {
            let symbol = cx.stream.as_deref().and_then(stream::symbol_of);
            let symbol = symbol.ok_or(DecodeError::Field { message: "partial depth", field: "stream" })?;
            messages::whole_book(cx, data, &symbol)?;
            Channel::Depth
        }
        None if id.is_some() && symbol.is_some() => messages::book_ticker(cx, data).map(|()| Channel::BookTicker)?,
        None => return unknown_type(""),
    };
    Ok(Decoded::Rows(channel))
}

/// An array of messages of one type (`!markPrice@arr`), each of its own.
fn many(cx: &mut Context<'_, '_>, data: &str) -> Result<Decoded, DecodeError> {
    let mut all: Option<Decoded> = None;
    cx.items(data, &mut |cx, element| {
        let before = cx.rows.len();
        let decoded = one(cx, element)?;
        match all {
            Some(first) if first != decoded && cx.rows.len() > before => {
                Err(DecodeError::Malformed { at: 0, what: "an array of several message types".to_owned() })
            }
            _ => {
                all = all.or(Some(decoded));
                Ok(())
            }
        }
    })?;
    if let Some(decoded) = all {
        return Ok(decoded);
    }
    match cx.stream.as_deref().map(|s| s.split('@').next()) {
        Some(Some("!markPrice")) => Ok(Decoded::Rows(Channel::MarkPrice)),
        Some(Some("!ticker" | "!miniTicker")) => Ok(Decoded::Rows(Channel::Tickers)),
        Some(Some("!forceOrder")) => Ok(Decoded::Rows(Channel::Liquidations)),
        _ => unknown_type("[]"),
    }
}
