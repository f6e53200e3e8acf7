//! Who plays in the demo: what each simulated exchange sends, and what is recorded of it.
//!
//! Six venues play real recordings of themselves (SBE frames are made of the recorded spot ones: same trades, same
//! books, binary); for `binance-coinm` and `kucoin-futures` only single recorded frames exist, so a seeded market is
//! generated in their shapes. Channels are those that the recordings hold.

use std::path::{Path, PathBuf};

use venue_sim::{RecordingFile, SimVenue, Source};

use model::{Channel, VenueId};
use venue::{Want, venue};

/// Frames of a generated market when everything is played once.
const GENERATED_FRAMES: u64 = 20_000;
/// Frames per second of a generated market at its own pace.
const GENERATED_PER_S: u64 = 400;

/// One venue of the demo.
pub(super) struct Part {
    /// Which one.
    pub id: VenueId,
    /// Recordings below the directory that holds them; none = a generated market.
    recordings: &'static [&'static str],
    /// Symbols that are played and recorded.
    pub symbols: &'static [&'static str],
    /// Channels that are recorded.
    pub channels: &'static [Channel],
}

const BINANCE: &[Channel] = &[Channel::Trades, Channel::BookTicker, Channel::Depth, Channel::DepthSnapshot];

/// All parts, in the order of the design.
pub(super) const CAST: &[Part] = &[
    Part {
        id: VenueId::BinanceSpot,
        recordings: &["binance-spot/hft-btcusdt_20240808.zst", "binance-spot/hft-btcusdt_20240809.zst"],
        symbols: &["BTCUSDT"],
        channels: BINANCE,
    },
    Part {
        id: VenueId::BinanceSpotSbe,
        recordings: &["binance-spot/hft-btcusdt_20240809.zst"],
        symbols: &["BTCUSDT"],
        channels: BINANCE,
    },
    Part {
        id: VenueId::BinanceUsdm,
        recordings: &["binance-usdm/hft-btcusdt_20240808.zst", "binance-usdm/hft-ethusdt_20240808.zst"],
        symbols: &["BTCUSDT", "ETHUSDT"],
        channels: BINANCE,
    },
    Part {
        id: VenueId::BinanceCoinm,
        recordings: &[],
        symbols: &["BTCUSD_PERP", "ETHUSD_PERP"],
        channels: &[
            Channel::Trades,
            Channel::AggTrades,
            Channel::BookTicker,
            Channel::Depth,
            Channel::DepthSnapshot,
            Channel::MarkPrice,
            Channel::Liquidations,
        ],
    },
    Part {
        id: VenueId::KucoinSpot,
        recordings: &["kucoin-spot/cryptofeed-KUCOIN.ws.1.0.symbols-A.zst"],
        symbols: &["BCHSV-USDT", "CAPP-BTC", "COV-BTC", "NRG-BTC", "SNX-BTC"],
        channels: &[Channel::Trades, Channel::Depth, Channel::DepthSnapshot, Channel::VenueKlines],
    },
    Part {
        id: VenueId::KucoinFutures,
        recordings: &[],
        symbols: &["ETHUSDTM", "SOLUSDTM", "XBTUSDTM"],
        channels: &[
            Channel::Trades,
            Channel::BookTicker,
            Channel::Depth,
            Channel::DepthSnapshot,
            Channel::MarkPrice,
            Channel::VenueKlines,
        ],
    },
    Part {
        id: VenueId::GateSpot,
        recordings: &["gate-spot/cryptofeed-GATEIO.ws.1.0.symbols-A.zst"],
        symbols: &["DIS_USDT", "FAST_USDT", "HAI_ETH", "INK_USDT", "OMG_USDT", "QTUM3S_USDT"],
        channels: &[Channel::Trades, Channel::Depth, Channel::DepthSnapshot, Channel::Tickers, Channel::VenueKlines],
    },
    Part {
        id: VenueId::GateFutures,
        recordings: &["gate-futures/cryptofeed-GATEIO_FUTURES.ws.1.0.symbols-A.zst"],
        symbols: &["DIA_USDT", "LIT_USDT", "OMG_USDT", "PHB_USDT", "QUICK_USDT", "RDNT_USDT"],
        channels: &[Channel::BookTicker, Channel::Depth, Channel::DepthSnapshot],
    },
];

impl Part {
    /// The part of a venue.
    pub(super) fn of(id: VenueId) -> Option<&'static Part> {
        CAST.iter().find(|p| p.id == id)
    }

    /// True when it plays what was recorded.
    pub(super) fn is_recorded(&self) -> bool {
        !self.recordings.is_empty()
    }

    /// What the simulator plays; it waits for every stream that the collector will subscribe.
    pub(super) fn on_stage(&self, files: &Path, once: bool) -> SimVenue {
        let word = self.id.as_str();
        let source = if self.is_recorded() {
            let file = |f: &&str| RecordingFile::new(word, files.join(f));
            Source::Recordings(self.recordings.iter().map(file).collect())
        } else {
            Source::Generated(venue_sim::config::Market {
                symbols: self.symbols.iter().map(|s| (*s).to_owned()).collect(),
                channels: self.channels.iter().map(|c| c.as_str().to_owned()).collect(),
                frames_per_s: GENERATED_PER_S,
                total_frames: once.then_some(GENERATED_FRAMES),
                start_ms: None,
            })
        };
        SimVenue { expected: self.streams(), ..SimVenue::playing(word, source) }
    }

    /// The streams the collector subscribes.
    fn streams(&self) -> Vec<String> {
        let venue = venue(self.id);
        let wants: Vec<Want> = self
            .symbols
            .iter()
            .flat_map(|s| self.channels.iter().map(|c| Want { symbol: (*s).to_owned(), channel: *c }))
            .collect();
        venue.streams.plan(&wants, &venue.spec.limits).into_iter().flat_map(|p| p.streams).collect()
    }
}

/// Where the recordings are: in the working directory's clone, else in the one this was built from.
pub(super) fn recordings_dir() -> anyhow::Result<PathBuf> {
    let here = PathBuf::from("tests/data");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for dir in [&here, &source] {
        if dir.join("SOURCES.md").exists() {
            return Ok(dir.clone());
        }
    }
    anyhow::bail!(
        "cannot find the recordings\n  where: {} and {}\n  fix:   run the demo inside a clone of the repository",
        here.display(),
        source.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_venue_has_a_part_with_streams_and_files_that_exist() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        for id in VenueId::ALL {
            let Some(part) = Part::of(*id) else { panic!("{id} is not in the demo") };
            assert!(!part.streams().is_empty(), "{id}");
            assert!(part.recordings.iter().all(|f| dir.join(f).exists()), "{id}");
        }
    }
}
