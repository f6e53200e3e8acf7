//! Binance JSON markets: what spot and USD-M share.
//!
//! ```text
//!  spot.rs, usdm.rs, spot_sbe.rs   the markets: names of streams, hosts, limits, quirks
//!  market.rs          what both JSON markets do alike, given these facts
//!  plan.rs            wants -> sockets, subscribe messages, REST requests
//!  control.rs         acknowledgements, refusals, serverShutdown, whose stream a frame is
//!  listing.rs         exchangeInfo -> symbols
//!  fast.rs, scan.rs   frames in the documented key order -> rows, byte by byte
//!  general.rs, messages.rs, field.rs   the same rows from any valid JSON, or the reason why not
//!  rest.rs, repair.rs stored REST bodies -> rows; the requests for missing trades
//!  klines.rs          candles over REST
//!  sbe/               binary frames of spot -> rows
//! ```
//!
//! A frame goes to `fast` first; whatever it does not recognise goes to `general`, which alone decides that a
//! frame is bad. Both give the same rows; `tests/property.rs` holds them to it.

mod control;
mod fast;
mod field;
mod general;
mod klines;
mod listing;
pub mod market;
mod messages;
mod plan;
mod repair;
mod rest;
mod rules;
mod sbe;
mod scan;
pub mod spot;
pub mod spot_sbe;
pub mod usdm;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use sbe::samples as binary_samples;

use super::{DecodeError, Frame, FrameKind};
use model::{Decoded, Rows};

/// Which of the two JSON markets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Market {
    Spot,
    Usdm,
}

/// Turns a stored frame into rows: the fast path, else the general one.
fn decode(market: Market, frame: &Frame<'_>, rows: &mut Rows) -> Result<Decoded, DecodeError> {
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

/// A time sent in ms, or in µs where the socket was opened with `timeUnit=MICROSECOND`, as µs.
///
/// 10^14 ms is the year 5138 and 10^14 µs is 1973, so the magnitude tells the unit.
#[inline(always)]
fn to_micros(sent: i64) -> Option<i64> {
    match sent {
        0..100_000_000_000_000 => Some(sent * 1000),
        100_000_000_000_000.. => Some(sent),
        _ => None,
    }
}

/// What the part of a stream name behind the symbol says about depth frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Book {
    /// Changes: `@depth`, `@depth@100ms`, or no stream name known.
    Changes,
    /// The best levels as a whole: `@depth5`, `@depth20@100ms`.
    Whole,
    /// The book with RPI orders, which must not be mixed with the other.
    Rpi,
}

/// Tells partial depth from changes on USD-M, where both look the same.
#[inline]
fn book_of(stream: &[u8]) -> Book {
    let kind = stream.split(|b| *b == b'@').nth(1).unwrap_or_default();
    match kind.strip_prefix(b"depth") {
        Some(b"") => Book::Changes,
        Some(levels) if levels.iter().all(u8::is_ascii_digit) => Book::Whole,
        _ if kind == b"rpiDepth" => Book::Rpi,
        _ => Book::Changes,
    }
}
