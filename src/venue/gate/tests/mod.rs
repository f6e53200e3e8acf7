//! Tests of both Gate markets. Frames are those of `tests/data` (sources in `tests/data/SOURCES.md`).
#![allow(clippy::unwrap_used)]

mod golden;
mod property;
mod protocol;
mod recordings;
mod requests;

use std::io::Read;
use std::path::Path;

use super::super::reviewed::{meta, text};
use super::super::{Control, DecodeError, Frame, FrameKind, Limits, Missing, Venue, Want, venue};
use super::market::Market;
use model::{Channel, Decoded, Fill, Num, RestMeta, Rows, VenueId};

const MARKETS: [Market; 2] = [Market::Spot, Market::Futures];

fn of(market: Market) -> &'static Venue {
    venue(match market {
        Market::Spot => VenueId::GateSpot,
        Market::Futures => VenueId::GateFutures,
    })
}

fn decode_rest(market: Market, body: &[u8], meta: &RestMeta) -> (Result<Decoded, DecodeError>, Rows) {
    let mut rows = Rows::new();
    let result = of(market).frames.decode(&Frame { kind: FrameKind::Rest, payload: body, rest: Some(meta) }, &mut rows);
    (result, rows)
}

/// A file of `tests/data`, unpacked.
fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name);
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut text = String::new();
    if name.ends_with(".zst") {
        zstd::Decoder::new(file).unwrap().read_to_string(&mut text).unwrap();
    } else {
        std::io::BufReader::new(file).read_to_string(&mut text).unwrap();
    }
    text
}

/// The received frames of a market's recording, in order.
fn recorded(market: Market) -> Vec<String> {
    let text = data(match market {
        Market::Spot => "gate-spot/cryptofeed-GATEIO.ws.1.0.symbols-A.zst",
        Market::Futures => "gate-futures/cryptofeed-GATEIO_FUTURES.ws.1.0.symbols-A.zst",
    });
    // Sent frames begin with the URL, received ones with the time.
    let received = text.lines().filter(|l| l.starts_with(|c: char| c.is_ascii_digit()));
    received.map(|l| l.split_once(": ").unwrap().1.to_owned()).collect()
}

/// Subscribe messages that the recorder sent.
fn sent(market: Market) -> Vec<String> {
    let text = data(match market {
        Market::Spot => "gate-spot/cryptofeed-GATEIO.ws.1.0.symbols-A.zst",
        Market::Futures => "gate-futures/cryptofeed-GATEIO_FUTURES.ws.1.0.symbols-A.zst",
    });
    text.lines().filter(|l| l.contains(" <- ")).map(|l| l.split_once(": ").unwrap().1.to_owned()).collect()
}

/// REST bodies of a recording: `<url> -> <time>: <body>` per line.
fn bodies(name: &str) -> Vec<(String, String)> {
    let text = data(name);
    let answers = text.lines().filter(|l| l.starts_with("https"));
    answers.map(|l| l.split_once(": ").unwrap()).map(|(url, body)| (url.to_owned(), body.to_owned())).collect()
}

fn num(text: &str) -> Num {
    Num::parse(text.as_bytes()).unwrap().normalized()
}
