//! What comes from a venue: frames and what they are, heartbeats, how ids continue, why something cannot be decoded.

use model::{RestMeta, number};

/// What distinguishes streams in data frames, found without parsing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey<'a> {
    /// Stream or channel name, or what stands for it.
    pub channel: &'a [u8],
    /// Symbol, where the frame carries it apart from the channel; else empty.
    pub symbol: &'a [u8],
}

impl<'a> StreamKey<'a> {
    /// A stream whose name says everything.
    pub fn name(name: &'a [u8]) -> Self {
        Self { channel: name, symbol: b"" }
    }
}

/// How a frame arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// WebSocket text message.
    Text,
    /// WebSocket binary message.
    Binary,
    /// REST response body.
    Rest,
}

/// One stored frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// How it arrived.
    pub kind: FrameKind,
    /// Bytes as received.
    pub payload: &'a [u8],
    /// For [`FrameKind::Rest`].
    pub rest: Option<&'a RestMeta>,
}

/// A control frame, as far as the collector must understand it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The request with this id was accepted.
    Ack {
        /// Request id.
        id: Option<u64>,
    },
    /// The venue refused something.
    Error {
        /// Request id where sent.
        id: Option<u64>,
        /// The venue's code.
        code: i64,
        /// The venue's text.
        msg: String,
        /// The venue says that we ask too often: slow down, then ask again.
        throttled: bool,
    },
    /// The server is about to close: open a replacement at once.
    ServerShutdown,
    /// The connection may be used now, on venues where [`VenueSpec::waits_for_welcome`](super::VenueSpec::waits_for_welcome).
    Welcome,
    /// The answer to [`Streams::ping_message`](super::Streams::ping_message).
    Pong,
    /// Something else without rows.
    Other,
}

/// Who keeps the connection alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// The server sends protocol pings; the WebSocket layer answers.
    ServerPing {
        /// Interval in ms, as documented.
        every_ms: u64,
        /// A connection without a pong for this long is ended, ms.
        timeout_ms: u64,
    },
    /// The client sends [`Streams::ping_message`](super::Streams::ping_message).
    ClientText {
        /// Interval in ms; a token's own interval wins.
        every_ms: u64,
        /// The pong is due within this after the ping, ms.
        timeout_ms: u64,
    },
}

/// How the ids of a channel continue, for gap detection (EXCHANGES.md 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// Nothing can be concluded from the ids.
    None,
    /// Each trade id is the one before plus 1.
    TradeId,
    /// Each aggregate id is the one before plus 1.
    AggId,
    /// As [`Continuity::AggId`], and the first trade id is the last trade id before plus 1.
    AggIdAndTrades,
    /// First update id = final update id before, plus 1.
    DepthFirstFinal,
    /// Previous update id = final update id before.
    DepthPrevFinal,
}

/// A frame that cannot become rows; it is kept as a row of `frames` with this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the JSON (or binary message) it should be.
    #[error("malformed at byte {at}: {what}")]
    Malformed {
        /// Byte offset, as near as known.
        at: usize,
        /// What was expected.
        what: String,
    },
    /// A field that must be there is not.
    #[error("{message}: field {field} is missing or has the wrong type")]
    Field {
        /// Message type.
        message: &'static str,
        /// Field name.
        field: &'static str,
    },
    /// A number that cannot be kept exactly.
    #[error("{message}.{field}: {source}")]
    Number {
        /// Message type.
        message: &'static str,
        /// Field name.
        field: &'static str,
        /// Why.
        source: number::NumError,
    },
    /// A well-formed message of an unknown type.
    #[error("unknown message type {0:?}")]
    UnknownType(String),
    /// A REST answer that is not a success.
    #[error("HTTP status {0}")]
    HttpStatus(u16),
}

/// # Errors
/// When the venue refused the request: its body is no answer.
pub(crate) fn answered(meta: &RestMeta) -> Result<(), DecodeError> {
    if meta.status == 200 { Ok(()) } else { Err(DecodeError::HttpStatus(meta.status)) }
}

/// The reason why a REST body is no rows that comes without what is known of its request.
pub(crate) fn without_meta() -> DecodeError {
    DecodeError::Malformed { at: 0, what: "a REST body without its meta".to_owned() }
}

/// The symbol of a requested order book: bodies of books do not name it.
///
/// # Errors
/// When the request was about none.
pub(crate) fn book_symbol(meta: &RestMeta) -> Result<&str, DecodeError> {
    let symbol = meta.symbol.as_deref().filter(|s| !s.is_empty());
    symbol.ok_or(DecodeError::Field { message: "depth_snapshot", field: "symbol of the request" })
}
