//! Binary market data of Binance spot (SBE, schema `stream_1_0.xml`): frames to rows.
//!
//! ```text
//!  layout.rs     the bytes of a message: header, root block, groups, symbol; no meaning
//!  messages.rs   the four known messages to rows
//! ```
//! Facts are those of Binance's "SBE Market Data Streams" page and its schema file (id 1, version 0). Within one
//! schema id messages only grow: at the end of blocks, at the end of group entries, after the symbol. All of
//! that is skipped by the lengths in the frame and counted as drift; a message is never refused for being newer.

mod layout;
mod messages;

#[cfg(test)]
mod encode;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::samples;

use super::super::{DecodeError, StreamKey};
use layout::{Fault, Message, Template};
use model::row::Rows;
use model::{Channel, Decoded};

/// Turns a binary frame into rows.
pub(super) fn decode(payload: &[u8], rows: &mut Rows) -> Result<Decoded, DecodeError> {
    match Message::split(payload) {
        Ok(message) => messages::decode(&message, payload, rows).map(Decoded::Rows),
        Err(fault) => {
            let error = fault.into_error();
            if let DecodeError::UnknownType(what) = &error {
                rows.drift.note(what, payload);
            }
            Err(error)
        }
    }
}

/// The template id as sent and the symbol of a frame; the symbol is empty when the frame of a known template is
/// too damaged to have one.
pub(super) fn stream_of(payload: &[u8]) -> Option<StreamKey<'_>> {
    let symbol = match Message::split(payload) {
        Ok(message) => message.symbol.as_bytes(),
        Err(Fault::Schema(_) | Fault::Template(_) | Fault::Header) => return None,
        Err(Fault::Cut { .. } | Fault::Symbol { .. }) => b"",
    };
    Some(StreamKey { channel: payload.get(2..4)?, symbol })
}

/// The channel of a template id as sent.
pub(super) fn channel_of(template: &[u8]) -> Option<Channel> {
    let id = u16::from_le_bytes(template.try_into().ok()?);
    Template::known(id).map(Template::channel)
}

/// The template id, as sent, of the frames of the stream after the `@` of `stream`.
pub(super) fn template_of(stream: &str) -> Option<[u8; 2]> {
    let template = match stream.split_once('@')?.1 {
        "trade" => Template::Trades,
        "bestBidAsk" => Template::BestBidAsk,
        "depth20" => Template::DepthSnapshot,
        "depth" => Template::DepthDiff,
        _ => return None,
    };
    Some((template as u16).to_le_bytes())
}
