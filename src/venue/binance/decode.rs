//! A stored frame to rows: REST bodies by their meta, frames of the socket by the fast path or else the general one.

use super::super::{Control, Decode, DecodeError, Frame, FrameKind, StreamKey};
use super::market::Market;
use super::{control, fast, general, rest, stream};
use crate::frame::without_meta;
use model::{Channel, Decoded, Rows};

impl Decode for Market {
    fn stream_of<'a>(&self, payload: &'a [u8], _binary: bool) -> Option<StreamKey<'a>> {
        control::stream_of(payload).map(StreamKey::name)
    }

    fn channel_of(&self, key: StreamKey<'_>) -> Option<Channel> {
        control::channel_of(key.channel)
    }

    fn symbol_of(&self, key: StreamKey<'_>) -> Option<String> {
        stream::symbol_of(std::str::from_utf8(key.channel).ok()?).filter(|symbol| !symbol.starts_with('!'))
    }

    fn control(&self, payload: &[u8]) -> Option<Control> {
        control::control(payload)
    }

    fn decode(&self, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
        match (frame.kind, frame.rest) {
            (FrameKind::Rest, Some(meta)) => rest::decode(*self, frame.payload, meta, rows),
            (FrameKind::Rest, None) => Err(without_meta()),
            (FrameKind::Text | FrameKind::Binary, _) => match fast::decode(*self, frame.payload, rows) {
                Some(channel) => Ok(Decoded::Rows(channel)),
                None => general::decode(*self, frame.payload, rows),
            },
        }
    }
}
