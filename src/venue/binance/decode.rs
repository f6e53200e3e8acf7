//! A stored frame to rows: REST bodies by their meta, frames of the socket by the fast path or else the general one.

use super::super::{DecodeError, Frame, FrameKind};
use super::market::Market;
use super::{fast, general, rest};
use model::{Decoded, Rows};

/// Turns a stored frame into rows: the fast path, else the general one.
pub(super) fn decode(market: Market, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
    match (frame.kind, frame.rest) {
        (FrameKind::Rest, Some(meta)) => rest::decode(market, frame.payload, meta, rows),
        (FrameKind::Rest, None) => {
            Err(DecodeError::Malformed { at: 0, what: "a REST body without its meta".to_owned() })
        }
        (FrameKind::Text | FrameKind::Binary, _) => match fast::decode(market, frame.payload, rows) {
            Some(channel) => Ok(Decoded::Rows(channel)),
            None => general::decode(market, frame.payload, rows),
        },
    }
}
