//! Frames that are not market data.
//!
//! ```text
//! {"id":"hQvf8jkno","type":"welcome"}
//! {"id":"1545910590801","type":"pong","timestamp":1767225600123456}
//! {"id":"10","type":"ack"}
//! {"id":"12","type":"error","code":404,"data":"topic /market/xx is not found"}
//! {"id":"695c..a6","type":"error","code":509,"data":"exceed max permits per second"}
//! {"id":"14","type":"error","code":509,"data":"exceed max subscription count limitation of 400 per session"}
//! ```
//! A throttle names no request of ours, and may be followed by a close with code 1000 and reason `Bye`. The code of an
//! error is a number or a text. An unknown symbol is acknowledged and stays silent.

use super::super::message::Raw;
use super::super::{Control, json};
use super::topic;

/// Keys of the outermost object of a frame.
pub(super) const TOP: [&str; 10] =
    ["type", "topic", "subject", "data", "id", "code", "sn", "userId", "channelType", "timestamp"];

/// Characters of a refusal that are kept.
const MAX_TEXT: usize = 300;

/// Understands a control frame; `None` for data and for what is not JSON.
pub(super) fn control(payload: &[u8]) -> Option<Control> {
    if topic::of_frame(payload).is_some() {
        return None;
    }
    let text = std::str::from_utf8(payload).ok()?;
    let top = json::object(text, &TOP, &mut |_| ()).ok()?;
    reply(&top.map(|v| v.filter(|v| *v != "null")))
}

/// What a control frame says, from the values of [`TOP`]; `None` when it is none.
pub(super) fn reply(top: &json::Values<'_, 10>) -> Option<Control> {
    let [kind, _, _, data, id, code, ..] = *top;
    let id = id.and_then(json::quoted_int::<i64>).and_then(|id| u64::try_from(id).ok());
    Some(match &*kind.and_then(json::text)? {
        "welcome" => Control::Welcome,
        "pong" => Control::Pong,
        "ack" => Control::Ack { id },
        "error" => refused(id, code, data),
        _ => return None,
    })
}

fn refused(id: Option<u64>, code: Raw<'_>, data: Raw<'_>) -> Control {
    let code = code.and_then(json::quoted_int::<i64>).unwrap_or_default();
    let msg = data.map(json::text_or_raw).unwrap_or_default();
    // 509 is the WebSocket's own word for "too many", 429 and 429000 are those of HTTP and of the gateway. Too many
    // symbols in a message or topics on a socket stay too many, however often they are requested.
    let throttled = matches!(code, 509 | 429 | 429_000..=429_999) && !msg.contains("count limitation");
    Control::Error { id, code, msg: msg.chars().take(MAX_TEXT).collect(), throttled }
}
