//! Tests of the binary frames: documented layout, recordings, later versions, hostile bytes.
#![allow(clippy::unwrap_used)]

mod hostile;
mod recordings;
mod vectors;

use super::super::super::{DecodeError, Frame, FrameKind, Venue, venue};
use super::encode::{Newer, Plain, encode};
use model::row::{BookTicker, DepthUpdate, Drift, Level, Trade};
use model::{Channel, Decoded, Num, Rows, SymbolId, VenueId};

fn sbe() -> &'static Venue {
    venue(VenueId::BinanceSpotSbe)
}

/// Rows of a frame, with the name of the symbol they are all of.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    trades: Vec<Trade>,
    tickers: Vec<BookTicker>,
    depth: Vec<DepthUpdate>,
    levels: Vec<Level>,
    symbol: String,
}

fn decode(payload: &[u8]) -> (Result<Decoded, DecodeError>, Seen, Drift) {
    let mut rows = Rows::new();
    let result = sbe().frames.decode(&Frame { kind: FrameKind::Binary, payload, rest: None }, &mut rows);
    assert!(rows.symbols.len() <= 1);
    let symbol = rows.symbols.name(SymbolId(0)).to_owned();
    let seen = Seen { trades: rows.trades, tickers: rows.book_tickers, depth: rows.depth, levels: rows.levels, symbol };
    (result, seen, rows.drift)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

/// A good frame of each message, and one as a later version may write it.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let newer = Newer { version: 1, root: 3, entry: 2, tail: 5 };
    let diff = Plain::Diff { event: 1, first: 2, last: 3, bids: vec![(1, 2); 3], asks: vec![(4, 5)] };
    let composed = [vectors::TRADES, vectors::BEST, vectors::SNAPSHOT, vectors::DIFF].map(hex);
    composed.into_iter().chain([encode(&diff, (-8, -8), "BTCUSDT", newer)]).collect()
}
