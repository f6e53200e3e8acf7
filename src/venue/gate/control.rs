//! Frames that are not market data, and whose stream a data frame is.
//!
//! ```text
//! {"time":..,"id":7,"channel":"spot.trades","event":"subscribe","error":null,"result":{"status":"success"}}
//! {"time":..,"channel":"spot.trades","event":"subscribe","error":{"code":2,"message":".."},"result":null}
//! {"time":..,"channel":"spot.pong","event":"","error":null,"result":null}
//! {"time":..,"channel":"spot.system","event":"update","result":{"type":"upgrade","msg":".."}}
//! ```
//! Only `error` says whether a request was accepted: `result` may be missing. Recordings before 2023 have
//! neither `error` nor `id` in an acknowledgement.

use super::super::{Control, StreamKey, json};
use super::scan;

/// Keys of the outermost object of a frame.
pub(super) const TOP: [&str; 11] =
    ["time", "time_ms", "channel", "event", "result", "error", "id", "payload", "conn_id", "trace_id", "request_id"];

/// Longest symbol taken as one.
const MAX_SYMBOL: usize = 128;

/// Understands a control frame; `None` for data and for what is not JSON.
pub(super) fn control(payload: &[u8]) -> Option<Control> {
    if stream_of(payload).is_some() {
        return None;
    }
    let text = std::str::from_utf8(payload).ok()?;
    of(&json::object(text, &TOP, &mut |_| ()).ok()?)
}

/// The control frame that has these values of [`TOP`]; `None` when it is none.
pub(super) fn of(top: &json::Values<'_, 11>) -> Option<Control> {
    let [_, _, channel, event, result, error, id, ..] = top.map(|v| v.filter(|v| *v != "null"));
    let id = id.and_then(json::quoted_int);
    if let Some(error) = error {
        return Some(refused(id, error));
    }
    let channel = channel.and_then(json::text)?;
    let (_, name) = channel.split_once('.')?;
    let event = event.and_then(json::text);
    match (name, event.as_deref()) {
        ("pong", _) => Some(Control::Pong),
        ("system", _) => {
            let [kind] = json::object(result?, &["type"], &mut |_| ()).ok()?;
            let upgrade = kind.and_then(json::text).as_deref() == Some("upgrade");
            Some(if upgrade { Control::ServerShutdown } else { Control::Other })
        }
        (_, Some("subscribe" | "unsubscribe")) => Some(Control::Ack { id }),
        _ => None,
    }
}

/// An answer without an id says at least which channel and event it is about, most often the payload too.
pub(super) fn may_answer(payload: &[u8], request: &str) -> bool {
    const KEYS: [&str; 3] = ["channel", "event", "payload"];
    let answer = std::str::from_utf8(payload).ok().and_then(|text| json::object(text, &KEYS, &mut |_| ()).ok());
    let (Some(answer), Ok(request)) = (answer, json::object(request, &KEYS, &mut |_| ())) else { return true };
    let value = |raw: &str| serde_json::from_str::<serde_json::Value>(raw).ok();
    let said = |raw: &str| !matches!(raw, "null" | "\"\"" | "[]");
    answer.iter().zip(request).all(|(answer, asked)| match (answer.filter(|raw| said(raw)), asked) {
        (Some(answer), Some(asked)) => value(answer) == value(asked),
        _ => true,
    })
}

/// `{"code":2,"message":".."}`, or a bare text.
fn refused(id: Option<u64>, error: &str) -> Control {
    let (code, msg) = match json::object(error, &["code", "message", "label"], &mut |_| ()) {
        Ok([code, message, label]) => (code.and_then(json::int), message.or(label)),
        Err(_) => (None, Some(error)),
    };
    let msg = msg.map(|m| json::text_or_raw(m).into_owned()).unwrap_or_default();
    let code = code.unwrap_or_default();
    // The codes 1 to 4 (bad body, bad argument, server, authentication) do not say it; the text does.
    let words = msg.to_ascii_lowercase().replace('_', " ");
    let throttled = code == 429 || ["too many", "rate limit", "too frequent"].iter().any(|w| words.contains(w));
    Control::Error { id, code, msg, throttled }
}

/// Channel and symbol of a data frame, without parsing it; of its first row where it has several.
#[inline]
pub(super) fn stream_of(payload: &[u8]) -> Option<StreamKey<'_>> {
    let (mut channel, mut result) = (None, None);
    let mut data = false;
    let mut members = scan::Members::of(payload)?;
    while let Some((key, rest)) = members.next_key() {
        match key {
            b"channel" => channel = Some(scan::inside(rest)?),
            b"event" => {
                if !matches!(scan::inside(rest)?, b"update" | b"all") {
                    return None;
                }
                data = true;
            }
            b"error" if !rest.starts_with(b"null") => return None,
            b"result" => {
                result = Some(rest);
                if channel.is_some() && data {
                    // What follows matters no more, and this value is the long one.
                    break;
                }
            }
            _ => {}
        }
        members.skip_value(rest)?;
    }
    let (channel, mut row) = (channel.filter(|_| data)?, result?);
    while let Some(inner) = row.strip_prefix(b"[") {
        row = inner.trim_ascii_start();
    }
    let symbol = symbol_of(channel, row)?;
    let plain = (1..=MAX_SYMBOL).contains(&symbol.len()) && !symbol.contains(&b'\\');
    plain.then_some(StreamKey { channel, symbol })
}

/// The symbol of a row of `channel`.
fn symbol_of<'a>(channel: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let dot = channel.iter().position(|b| *b == b'.')?;
    let wanted: &[u8] = match (channel.get(..dot)?, channel.get(dot + 1..)?) {
        (_, b"order_book_update" | b"book_ticker") | (b"spot", b"order_book") => b"s",
        (_, b"candlesticks") => b"n",
        (b"spot", _) => b"currency_pair",
        (b"futures", _) => b"contract",
        _ => return None,
    };
    let mut members = scan::Members::of(row)?;
    while let Some((key, rest)) = members.next_key() {
        if key == wanted {
            let value = scan::inside(rest)?;
            return match wanted {
                // `1m_BTC_USDT`.
                b"n" => value.get(value.iter().position(|b| *b == b'_')? + 1..),
                _ => Some(value),
            };
        }
        members.skip_value(rest)?;
    }
    None
}
