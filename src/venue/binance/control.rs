//! Frames that are not market data, and whose stream a data frame is.
//!
//! ```text
//! {"result":null,"id":1}                                    accepted
//! {"code":2,"msg":"Invalid request: ...","id":1}            refused
//! {"error":{"code":2,"msg":"..."},"id":1}                   refused, as some endpoints write it
//! {"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}
//! ```

use super::super::{Control, json};
use model::Channel;

/// Keys of the outermost object of a frame.
pub(super) const TOP: [&str; 8] = ["stream", "data", "e", "result", "id", "code", "msg", "error"];

/// The stream name of a combined data frame: found at once where it starts as documented.
#[inline]
pub(super) fn stream_of(payload: &[u8]) -> Option<&[u8]> {
    let name = match payload.strip_prefix(br#"{"stream":""#) {
        Some(rest) => rest.get(..memchr::memchr(b'"', rest.get(..rest.len().min(256))?)?)?,
        None => stream_elsewhere(payload)?,
    };
    let plain = !name.is_empty() && !name.contains(&b'\\') && name != b"!serverShutdown";
    plain.then_some(name)
}

/// The same where there are blanks, or the keys are in another order; but for such frames every stream would be silent.
#[cold]
fn stream_elsewhere(payload: &[u8]) -> Option<&[u8]> {
    let [stream, data] = json::object(std::str::from_utf8(payload).ok()?, &["stream", "data"], &mut |_| ()).ok()?;
    data?;
    Some(stream?.strip_prefix('"')?.strip_suffix('"')?.as_bytes())
}

/// The channel of a stream name, by the name after the symbol.
pub(super) fn channel_of(stream: &[u8]) -> Option<Channel> {
    Some(match stream.split(|b| *b == b'@').nth(1)? {
        b"trade" => Channel::Trades,
        b"aggTrade" => Channel::AggTrades,
        b"bookTicker" => Channel::BookTicker,
        b"markPrice" => Channel::MarkPrice,
        b"forceOrder" => Channel::Liquidations,
        b"ticker" | b"miniTicker" => Channel::Tickers,
        w if w.starts_with(b"depth") => Channel::Depth,
        w if w.starts_with(b"kline") => Channel::VenueKlines,
        _ => return None,
    })
}

/// Understands a control frame; `None` for data and for what is not JSON.
pub(super) fn control(payload: &[u8]) -> Option<Control> {
    if stream_of(payload).is_some() {
        return None;
    }
    let text = std::str::from_utf8(payload).ok()?;
    let top = json::object(text, &TOP, &mut |_| ()).ok()?;
    if let [Some(_), Some(data), ..] = top {
        let [e] = json::object(data, &["e"], &mut |_| ()).ok()?;
        return is_shutdown(e).then_some(Control::ServerShutdown);
    }
    if is_shutdown(top[2]) {
        return Some(Control::ServerShutdown);
    }
    reply(&top)
}

/// Understands a text frame of a socket whose data is binary: whatever accepts nothing refuses something.
/// `None` for what is not text.
pub(super) fn text_beside_binary(payload: &[u8]) -> Option<Control> {
    if let Some(known) = control(payload) {
        return Some(known);
    }
    let text = std::str::from_utf8(payload).ok()?.trim();
    if text.is_empty() || text.contains(|c: char| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let msg = text.chars().take(200).collect();
    Some(Control::Error { id: None, code: 0, msg, throttled: text.contains("Too many") })
}

fn is_shutdown(e: Option<&str>) -> bool {
    e.and_then(json::text).as_deref() == Some("serverShutdown")
}

/// The answer to a request, from the values of [`TOP`]; `None` when it is none.
pub(super) fn reply(top: &json::Values<'_, 8>) -> Option<Control> {
    let [stream, data, e, result, id, code, msg, error] = *top;
    if stream.is_some() || data.is_some() || e.is_some() {
        return None;
    }
    let id = id.and_then(json::quoted_int);
    let error = error.filter(|e| *e != "null");
    if let Some(error) = error {
        let inside = json::object(error, &["code", "msg"], &mut |_| ());
        let (code, msg) = match inside {
            Ok([code, msg]) => (code, msg),
            Err(_) => (None, Some(error)),
        };
        return Some(refused(id, code, msg));
    }
    if code.is_some() {
        return Some(refused(id, code, msg));
    }
    result.map(|_| Control::Ack { id })
}

fn refused(id: Option<u64>, code: Option<&str>, msg: Option<&str>) -> Control {
    let msg = msg.map(|m| json::text_or_raw(m).into_owned()).unwrap_or_default();
    Control::Error { id, code: code.and_then(json::int).unwrap_or_default(), throttled: msg.contains("Too many"), msg }
}
