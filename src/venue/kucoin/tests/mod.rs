//! Tests of both KuCoin markets. Frames are those of `tests/data` (sources in `tests/data/SOURCES.md`).
#![allow(clippy::unwrap_used)]

mod golden;
mod property;
mod protocol;
mod recordings;

use std::io::Read;
use std::path::Path;

use super::super::reviewed::{meta, text};
use super::super::{DecodeError, Frame, FrameKind, Venue, venue};
use super::market::Market;
use model::{Decoded, Rows, VenueId};

fn of(market: Market) -> &'static Venue {
    venue(match market {
        Market::Spot => VenueId::KucoinSpot,
        Market::Futures => VenueId::KucoinFutures,
    })
}

/// A file of `tests/data`, unpacked.
fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name);
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    zstd::Decoder::new(file).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// The bodies of a file of `<url> -> <time>: <body>` lines, with their URLs.
fn bodies(name: &str) -> Vec<(String, String)> {
    let text = String::from_utf8(data(name)).unwrap();
    let line = |line: &str| {
        let (url, rest) = line.split_once(" -> ")?;
        let (_, body) = rest.split_once(": ")?;
        Some((url.to_owned(), body.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// The frames received in the recording of the spot market.
fn recorded() -> Vec<Vec<u8>> {
    let text = String::from_utf8(data("kucoin-spot/cryptofeed-KUCOIN.ws.1.0.symbols-A.zst")).unwrap();
    let received = |line: &str| {
        let (stamp, frame) = line.split_once(": ")?;
        let is_time = stamp.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        is_time.then(|| frame.as_bytes().to_vec())
    };
    text.lines().filter_map(received).collect()
}
