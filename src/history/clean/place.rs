//! Where things of the cleaned archive lie.
//!
//! ```text
//! <history.dir>/lake/<table>/exchange=<venue>/<SYMBOL>[-<interval>]/month=YYYY-MM/<name>-<YYYY-MM or date>.parquet
//! <history.dir>/lake/_manifests/<table>/exchange=<venue>/<SYMBOL>[-<interval>]/YYYY-MM.json           record
//! <history.dir>/lake/_quarantine/<table>/exchange=<venue>/<SYMBOL>[-<interval>]/YYYY-MM.jsonl         rejected
//! <history.dir>/lake/_stats/<table>/exchange=<venue>/<SYMBOL>[-<interval>]/stats.json
//! <history.dir>/lake/.staging/                                                                        being written
//! ```
//! Beside the live lake and not in it: its folders end in hours of receipt, and readers of a whole table refuse
//! folders with other keys. For the same reason the files of days lie in the folder of their month: what was cleaned
//! with one `file_per` can be read beside what was cleaned with the other. The symbol is a plain folder, because `symbol=` would meet the column of that name.

use jiff::civil::Date;

use crate::{BarInterval, Kind, Market};
use lake::Table;
use model::VenueId;

/// One month of one series: what is cleaned at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unit {
    /// The series.
    pub series: Series,
    /// First of the month.
    pub month: Date,
}

/// All months of one kind of file of one symbol.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    /// Market.
    pub market: Market,
    /// Kind of file.
    pub kind: Kind,
    /// The exchange's own spelling.
    pub symbol: String,
    /// Interval of candles.
    pub interval: Option<BarInterval>,
}

/// The table of a kind of file; `None` for kinds that are only mirrored.
pub(crate) fn table(kind: Kind) -> Option<Table> {
    Some(match kind {
        Kind::Klines => Table::VenueKlines,
        Kind::AggTrades => Table::AggTrades,
        Kind::Trades => Table::Trades,
        Kind::IndexPriceKlines => Table::IndexPriceKlines,
        Kind::MarkPriceKlines => Table::MarkPriceKlines,
        Kind::PremiumIndexKlines => Table::PremiumIndexKlines,
        Kind::FundingRate => Table::FundingRate,
        Kind::BookDepth => Table::BookDepth,
        Kind::BookTicker => Table::BookTicker,
        Kind::Metrics => Table::Metrics,
        Kind::LiquidationSnapshot => Table::Liquidations,
        Kind::BvolIndex | Kind::EohSummary => return None,
    })
}

/// The venue name of a market, that of the live lake where it has one.
pub fn venue(market: Market) -> &'static str {
    match market {
        Market::Spot => VenueId::BinanceSpot.as_str(),
        Market::Um => VenueId::BinanceUsdm.as_str(),
        Market::Cm => VenueId::BinanceCoinm.as_str(),
        Market::Option => "binance-option",
    }
}

impl Series {
    /// `BTCUSDT`, `BTCUSDT-1m`.
    pub fn name(&self) -> String {
        match self.interval {
            Some(interval) => format!("{}-{interval}", self.symbol),
            None => self.symbol.clone(),
        }
    }

    /// `<table>/exchange=<venue>/<name>`; `None` for kinds that are only mirrored.
    pub fn folder(&self) -> Option<String> {
        Some(format!("{}/exchange={}/{}", table(self.kind)?, venue(self.market), self.name()))
    }
}

impl Unit {
    /// `YYYY-MM`.
    pub fn month_word(&self) -> String {
        format!("{:04}-{:02}", self.month.year(), self.month.month())
    }

    /// The month before of the same series.
    pub fn before(&self) -> Option<Unit> {
        let month = self.month.yesterday().ok()?.first_of_month();
        Some(Unit { series: self.series.clone(), month })
    }

    /// Folder of its files, below the lake.
    pub fn folder(&self) -> Option<String> {
        Some(format!("{}/month={}", self.series.folder()?, self.month_word()))
    }

    /// A file, below the lake. `day`: `None` for the whole month.
    pub fn file(&self, day: Option<Date>) -> Option<String> {
        let date = day.map_or_else(|| self.month_word(), |d| d.to_string());
        Some(format!("{}/{}-{date}.parquet", self.folder()?, self.series.name()))
    }

    /// The record, below the lake.
    pub fn record(&self) -> Option<String> {
        Some(format!("_manifests/{}/{}.json", self.series.folder()?, self.month_word()))
    }

    /// Rejected lines, below the lake.
    pub fn quarantine(&self) -> Option<String> {
        Some(format!("_quarantine/{}/{}.jsonl", self.series.folder()?, self.month_word()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_are_the_documented_ones() {
        let series = Series {
            market: Market::Um,
            kind: Kind::Klines,
            symbol: "BTCUSDT".into(),
            interval: Some(BarInterval::M1),
        };
        let unit = Unit { series, month: jiff::civil::date(2024, 8, 1) };
        assert_eq!(
            unit.file(None).unwrap(),
            "venue_klines/exchange=binance-usdm/BTCUSDT-1m/month=2024-08/BTCUSDT-1m-2024-08.parquet"
        );
        assert_eq!(
            unit.file(Some(jiff::civil::date(2024, 8, 9))).unwrap(),
            "venue_klines/exchange=binance-usdm/BTCUSDT-1m/month=2024-08/BTCUSDT-1m-2024-08-09.parquet"
        );
        assert_eq!(unit.record().unwrap(), "_manifests/venue_klines/exchange=binance-usdm/BTCUSDT-1m/2024-08.json");
        assert_eq!(
            unit.quarantine().unwrap(),
            "_quarantine/venue_klines/exchange=binance-usdm/BTCUSDT-1m/2024-08.jsonl"
        );
        assert!(table(Kind::EohSummary).is_none());
    }
}
