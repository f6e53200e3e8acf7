//! The names of venues and channels, as configuration, paths and columns have them.

use crate::words;

words! {
    /// One exchange market with one protocol.
    VenueId, "venue", UnknownName {
        /// Binance spot, JSON streams.
        BinanceSpot = "binance-spot",
        /// Binance spot, SBE streams.
        BinanceSpotSbe = "binance-spot-sbe",
        /// Binance USD-M futures.
        BinanceUsdm = "binance-usdm",
        /// Binance COIN-M futures.
        BinanceCoinm = "binance-coinm",
        /// KuCoin spot.
        KucoinSpot = "kucoin-spot",
        /// KuCoin futures.
        KucoinFutures = "kucoin-futures",
        /// Gate spot.
        GateSpot = "gate-spot",
        /// Gate USDT futures.
        GateFutures = "gate-futures",
    }
}

words! {
    /// What is subscribed, by venue-neutral names.
    Channel, "channel", UnknownName {
        /// Every single trade.
        Trades = "trades",
        /// Aggregated trades.
        AggTrades = "agg_trades",
        /// Best bid and ask.
        BookTicker = "book_ticker",
        /// Order book changes.
        Depth = "depth",
        /// Whole order books over REST.
        DepthSnapshot = "depth_snapshot",
        /// Mark price and funding.
        MarkPrice = "mark_price",
        /// Forced orders.
        Liquidations = "liquidations",
        /// 24 h statistics.
        Tickers = "tickers",
        /// The venue's own candles.
        VenueKlines = "venue_klines",
    }
}

/// A name that is none of the known ones, with the nearest known one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {got:?}; did you mean {nearest:?}? known: {known}")]
pub struct UnknownName {
    /// What kind of name.
    pub what: &'static str,
    /// What was written.
    pub got: String,
    /// The nearest known name.
    pub nearest: String,
    /// All known names.
    pub known: String,
}

impl UnknownName {
    /// `got` is no name of `known`.
    pub fn new(what: &'static str, got: &str, known: impl Iterator<Item = &'static str> + Clone) -> Self {
        let nearest = known.clone().min_by_key(|k| strsim::levenshtein(k, got)).unwrap_or_default();
        Self { what, got: got.to_owned(), nearest: nearest.to_owned(), known: known.collect::<Vec<_>>().join(", ") }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_name_reads_back_and_a_wrong_one_names_the_nearest() {
        for id in VenueId::ALL {
            assert_eq!(id.as_str().parse(), Ok(*id));
        }
        for channel in Channel::ALL {
            assert_eq!(channel.as_str().parse(), Ok(*channel));
        }
        assert_eq!("binance-usd-m".parse::<VenueId>().unwrap_err().nearest, "binance-usdm");
        assert_eq!("agg_trade".parse::<Channel>().unwrap_err().nearest, "agg_trades");
    }
}
