//! Tests of both Binance markets. Frames are those of `tests/data` (sources in `tests/data/SOURCES.md`).
#![allow(clippy::unwrap_used)]

mod golden;
mod property;
mod protocol;
mod recordings;
mod repair;

use std::io::Read;
use std::path::Path;

use super::super::reviewed::{meta, text};
use super::super::{DecodeError, Frame, FrameKind, Venue, venue};
use super::market::Market;
use model::row::{AggTrade, BookTicker, DepthUpdate, Drift, Level, Liquidation, MarkPrice, Ticker, Trade, VenueKline};
use model::{Decoded, RestMeta, Rows, SymbolId, VenueId};

fn of(market: Market) -> &'static Venue {
    venue(match market {
        Market::Spot => VenueId::BinanceSpot,
        Market::Usdm => VenueId::BinanceUsdm,
        Market::Coinm => VenueId::BinanceCoinm,
    })
}

fn depth_meta(symbol: &str) -> RestMeta {
    meta("depth_snapshot", symbol)
}

/// A file of `tests/data`, unpacked.
pub(super) fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name);
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    if name.ends_with(".zst") {
        zstd::Decoder::new(file).unwrap().read_to_end(&mut bytes).unwrap();
    } else {
        std::io::BufReader::new(file).read_to_end(&mut bytes).unwrap();
    }
    bytes
}

/// A tape line without the receive time in front; `None` for lines that are not received frames.
pub(super) fn frame_of(line: &[u8]) -> Option<&[u8]> {
    let space = line.iter().position(|b| *b == b' ')?;
    let (stamp, frame) = line.split_at(space);
    let stamp = stamp.strip_suffix(b":").unwrap_or(stamp);
    let is_time = stamp.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    is_time.then(|| &frame[1..])
}

/// The recorded frames of a market as the recordings hold them.
fn recorded(market: Market) -> Vec<Vec<u8>> {
    let files: &[&str] = match market {
        Market::Spot => &[
            "binance-spot/hft-btcusdt_20230405.dat.zst",
            "binance-spot/hft-btcusdt_20240808.zst",
            "binance-spot/cryptofeed-BINANCE.ws.1.0",
        ],
        Market::Usdm => {
            &["binance-usdm/hft-btcusdt_20240808.zst", "binance-usdm/cryptofeed-BINANCE_FUTURES.ws.1.0.zst"]
        }
        // Only single frames of it were found: they are in the golden file.
        Market::Coinm => &[],
    };
    let mut frames = Vec::new();
    for file in files {
        let bytes = data(file);
        frames.extend(bytes.split(|b| *b == b'\n').filter_map(frame_of).map(<[u8]>::to_vec));
    }
    frames
}

/// Rows of one table each, made comparable with their names.
type Tables = (
    (Vec<Trade>, Vec<AggTrade>, Vec<BookTicker>, Vec<DepthUpdate>, Vec<Level>),
    (Vec<MarkPrice>, Vec<Liquidation>, Vec<Ticker>, Vec<VenueKline>),
);

#[derive(Debug, PartialEq)]
struct Seen {
    result: Result<Decoded, DecodeError>,
    tables: Tables,
    names: Vec<String>,
    drift: Drift,
}

fn seen(decode: impl FnOnce(&mut Rows) -> Result<Decoded, DecodeError>) -> Seen {
    let mut rows = Rows::new();
    let result = decode(&mut rows);
    let mut names = Vec::new();
    if result.is_err() {
        rows.clear();
    } else {
        let ids = 0..rows.symbols.len() as u32;
        names.extend(ids.map(|i| rows.symbols.name(SymbolId(i)).to_owned()));
    }
    Seen {
        result,
        tables: (
            (rows.trades, rows.agg_trades, rows.book_tickers, rows.depth, rows.levels),
            (rows.mark_prices, rows.liquidations, rows.tickers, rows.venue_klines),
        ),
        names,
        drift: rows.drift,
    }
}

/// Decodes by both paths and insists that they agree; says whether the fast one took the frame.
fn both(market: Market, payload: &[u8]) -> (Seen, bool) {
    let mut fast = false;
    let whole = seen(|rows| {
        let mut alone = Rows::new();
        fast = super::fast::decode(market, payload, &mut alone).is_some();
        assert!(fast || (alone.is_empty() && alone.depth.is_empty()), "left a part of a frame");
        of(market).frames.decode(&text(payload), rows)
    });
    let general = seen(|rows| super::general::decode(market, payload, rows));
    assert_eq!(whole, general, "the paths differ on {}", String::from_utf8_lossy(payload));
    (whole, fast)
}
