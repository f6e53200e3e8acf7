//! The envelope of every REST answer.
//!
//! ```text
//! {"code":"200000","data":..}                      an answer
//! {"code":"429000","msg":"too many requests"}      a refusal, with HTTP status 200 or not
//! ```
//! A refusal is not a book: it stays undecodable, with its code as the reason.

use super::super::message::{MessageName, Result, clip, utf8};
use super::super::{DecodeError, json};

const OF: MessageName = MessageName("REST answer");

/// The code of success.
const SUCCESS: &str = "200000";

/// What is in the envelope.
pub(super) fn data(body: &[u8]) -> Result<&str> {
    let [code, data, msg] = json::object(utf8(body)?, &["code", "data", "msg"], &mut |_| ())?;
    let Some(code) = code else {
        return OF.wrong("code");
    };
    let code = json::text_or_raw(code);
    if code != SUCCESS {
        let msg = msg.and_then(json::text).unwrap_or_default();
        return Err(DecodeError::Malformed {
            at: 0,
            what: format!("refused with code {}: {}", clip(&code), clip(&msg)),
        });
    }
    data.filter(|d| *d != "null").map_or_else(|| OF.wrong("data"), Ok)
}
