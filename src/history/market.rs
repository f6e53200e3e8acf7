//! The words of the archive's tree: markets, periods, kinds of files, intervals. Knows which of them go together,
//! never what is in a file.
//!
//! Source: the tree of data.binance.vision and the README of github.com/binance/binance-public-data.

use super::path::{DAY_US, day_us};
use model::words;

/// A word that names nothing here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no {what}; use {known}")]
pub struct UnknownName {
    what: &'static str,
    word: String,
    known: String,
}

impl UnknownName {
    pub(super) fn new(what: &'static str, word: &str, known: impl Iterator<Item = &'static str>) -> Self {
        Self { what, word: word.to_owned(), known: known.collect::<Vec<_>>().join(", ") }
    }
}

words! {
    /// A market of the archive.
    Market, "market of the archive", UnknownName {
        /// Spot.
        Spot = "spot",
        /// USD-margined futures.
        Um = "um",
        /// Coin-margined futures.
        Cm = "cm",
        /// Options.
        Option = "option",
    }
}

words! {
    /// What one file spans.
    Period, "period of the archive", UnknownName {
        /// One UTC day; there on the next day.
        Daily = "daily",
        /// One month; there in the first days of the next one.
        Monthly = "monthly",
    }
}

words! {
    /// What a file holds.
    Kind, "kind of archive file", UnknownName {
        /// Candles.
        Klines = "klines",
        /// Aggregate trades.
        AggTrades = "aggTrades",
        /// Trades.
        Trades = "trades",
        /// Candles of the index price.
        IndexPriceKlines = "indexPriceKlines",
        /// Candles of the mark price.
        MarkPriceKlines = "markPriceKlines",
        /// Candles of the premium index.
        PremiumIndexKlines = "premiumIndexKlines",
        /// Funding rates.
        FundingRate = "fundingRate",
        /// Summed order book by bands around the price.
        BookDepth = "bookDepth",
        /// Best bid and ask.
        BookTicker = "bookTicker",
        /// Open interest and ratios, every five minutes.
        Metrics = "metrics",
        /// Liquidations.
        LiquidationSnapshot = "liquidationSnapshot",
        /// Volatility index of options.
        BvolIndex = "BVOLIndex",
        /// Options by the end of the hour.
        EohSummary = "EOHSummary",
    }
}

words! {
    /// Interval of a candle in the archive.
    BarInterval, "interval of the archive", UnknownName {
        /// One second; spot only.
        S1 = "1s",
        /// One minute.
        M1 = "1m",
        /// Three minutes.
        M3 = "3m",
        /// Five minutes.
        M5 = "5m",
        /// A quarter of an hour.
        M15 = "15m",
        /// Half an hour.
        M30 = "30m",
        /// One hour.
        H1 = "1h",
        /// Two hours.
        H2 = "2h",
        /// Four hours.
        H4 = "4h",
        /// Six hours.
        H6 = "6h",
        /// Eight hours.
        H8 = "8h",
        /// Twelve hours.
        H12 = "12h",
        /// One day.
        D1 = "1d",
        /// Three days.
        D3 = "3d",
        /// One week, from Monday.
        W1 = "1w",
        /// One month.
        Mo1 = "1mo",
    }
}

impl BarInterval {
    /// Length in us; `None` for a month.
    pub fn micros(self) -> Option<i64> {
        const S: i64 = 1_000_000;
        Some(match self {
            BarInterval::S1 => S,
            BarInterval::M1 => 60 * S,
            BarInterval::M3 => 180 * S,
            BarInterval::M5 => 300 * S,
            BarInterval::M15 => 900 * S,
            BarInterval::M30 => 1_800 * S,
            BarInterval::H1 => 3_600 * S,
            BarInterval::H2 => 7_200 * S,
            BarInterval::H4 => 14_400 * S,
            BarInterval::H6 => 21_600 * S,
            BarInterval::H8 => 28_800 * S,
            BarInterval::H12 => 43_200 * S,
            BarInterval::D1 => 86_400 * S,
            BarInterval::D3 => 3 * 86_400 * S,
            BarInterval::W1 => 7 * 86_400 * S,
            BarInterval::Mo1 => return None,
        })
    }
}

impl BarInterval {
    /// The candle of its grid that a time lies in: open time and the first instant after it, us. Weeks begin on
    /// Monday, months on their first day; where three days are counted from is not documented, so any midnight will do.
    pub(crate) fn candle_of(self, us: i64) -> Option<(i64, i64)> {
        let floor = |phase: i64, len: i64| us.checked_sub(us.checked_sub(phase)?.rem_euclid(len));
        let (open, len) = match (self, self.micros()) {
            (BarInterval::W1, Some(len)) => (floor(4 * DAY_US, len)?, len),
            (BarInterval::D3, Some(len)) => (floor(0, DAY_US)?, len),
            (_, Some(len)) => (floor(0, len)?, len),
            (_, None) => {
                let at = jiff::Timestamp::from_microsecond(us).ok()?;
                let first = jiff::tz::Offset::UTC.to_datetime(at).date().first_of_month();
                let next = first.last_of_month().tomorrow().ok()?;
                return Some((day_us(first), day_us(next)));
            }
        };
        Some((open, open.checked_add(len)?))
    }
}

impl Market {
    /// The folders of the market below `data/`.
    pub fn folder(self) -> &'static str {
        match self {
            Market::Spot => "spot",
            Market::Um => "futures/um",
            Market::Cm => "futures/cm",
            Market::Option => "option",
        }
    }
}

impl Kind {
    /// True where files lie in a folder per interval.
    pub(crate) fn has_intervals(self) -> bool {
        matches!(self, Kind::Klines | Kind::IndexPriceKlines | Kind::MarkPriceKlines | Kind::PremiumIndexKlines)
    }

    /// True where the archive has, or had, such files.
    pub fn exists(self, market: Market, period: Period) -> bool {
        let futures = matches!(market, Market::Um | Market::Cm);
        match self {
            Kind::Klines | Kind::AggTrades | Kind::Trades => futures || market == Market::Spot,
            Kind::IndexPriceKlines | Kind::MarkPriceKlines | Kind::PremiumIndexKlines | Kind::BookTicker => futures,
            Kind::FundingRate => futures && period == Period::Monthly,
            Kind::BookDepth | Kind::Metrics => futures && period == Period::Daily,
            Kind::LiquidationSnapshot => market == Market::Cm && period == Period::Daily,
            Kind::BvolIndex | Kind::EohSummary => market == Market::Option && period == Period::Daily,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_word_reads_back_and_a_wrong_one_names_the_right_ones() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse::<Kind>().unwrap(), *kind);
        }
        for interval in BarInterval::ALL {
            assert_eq!(interval.as_str().parse::<BarInterval>().unwrap(), *interval);
        }
        let err = "usdm".parse::<Market>().unwrap_err().to_string();
        assert!(err.contains("\"usdm\" is no market") && err.contains("spot, um, cm, option"), "{err}");
    }

    #[test]
    fn candles_open_on_the_grid_of_their_interval() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        let open = |interval: BarInterval, text: &str| {
            let (open, end) = interval.candle_of(at(text)).unwrap();
            let utc = |us| jiff::Timestamp::from_microsecond(us).unwrap().to_string();
            (utc(open), utc(end))
        };
        let found = open(BarInterval::H4, "2018-02-09T09:28:14.789Z");
        assert_eq!(found, ("2018-02-09T08:00:00Z".into(), "2018-02-09T12:00:00Z".into()));
        let found = open(BarInterval::W1, "2024-02-29T12:00:00Z");
        assert_eq!(found, ("2024-02-26T00:00:00Z".into(), "2024-03-04T00:00:00Z".into()));
        let found = open(BarInterval::Mo1, "2024-02-29T23:59:59Z");
        assert_eq!(found, ("2024-02-01T00:00:00Z".into(), "2024-03-01T00:00:00Z".into()));
        let found = open(BarInterval::D3, "2024-02-29T00:00:00Z");
        assert_eq!(found, ("2024-02-29T00:00:00Z".into(), "2024-03-03T00:00:00Z".into()));
        assert_eq!(BarInterval::M1.candle_of(i64::MAX), None);
    }

    #[test]
    fn kinds_stand_only_where_the_archive_has_them() {
        assert!(Kind::Klines.exists(Market::Spot, Period::Monthly));
        assert!(!Kind::FundingRate.exists(Market::Um, Period::Daily));
        assert!(!Kind::Metrics.exists(Market::Spot, Period::Daily));
        assert!(Kind::LiquidationSnapshot.exists(Market::Cm, Period::Daily));
        assert!(!Kind::LiquidationSnapshot.exists(Market::Um, Period::Daily));
        for kind in Kind::ALL {
            let any = Market::ALL.iter().any(|m| Period::ALL.iter().any(|p| kind.exists(*m, *p)));
            assert!(any, "{kind} exists nowhere");
        }
    }
}
