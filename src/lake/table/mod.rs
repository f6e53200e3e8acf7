//! The tables: one file each, with its columns and how a decoded row is pushed.
//!
//! Column names, types and their order are a contract (DESIGN 7). Common columns come first, then the
//! table's own; `exchange`, `date` and `hour` are in the path, never columns.
//!
//! Nullable are: `ts_event` everywhere (some venues send none), `symbol` in `events` and `frames` (a connect
//! has none), and what the rows of [`model::row`] hold as an `Option`. Everything else is required.

mod agg_trades;
mod book_depth;
mod book_ticker;
mod common;
mod depth;
mod events;
mod frames;
mod funding_rate;
mod klines;
mod liquidations;
mod mark_price;
mod metrics;
mod symbols;
mod tickers;
mod trades;

pub use book_depth::BookDepth;
pub use events::Event;
pub use frames::FrameRow;
pub use funding_rate::FundingRate;
pub use klines::Kline;
pub use metrics::Metrics;

pub(crate) use agg_trades::AggTrades;
pub(crate) use book_depth::BookDepths;
pub(crate) use book_ticker::BookTickers;
pub(crate) use common::CommonColumns;
pub(crate) use depth::Depths;
pub(crate) use events::Events;
pub(crate) use frames::Frames;
pub(crate) use funding_rate::FundingRates;
pub(crate) use klines::Klines;
pub(crate) use liquidations::Liquidations;
pub(crate) use mark_price::MarkPrices;
pub(crate) use metrics::MetricsRows;
pub(crate) use symbols::Symbols;
pub(crate) use tickers::Tickers;
pub(crate) use trades::Trades;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use super::Numeric;
use super::column::{Kind, Spec};

/// One kind of row in the lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Every single trade.
    Trades,
    /// Aggregated trades.
    AggTrades,
    /// Best bid and ask.
    BookTicker,
    /// Order book changes and snapshots, one row per level.
    Depth,
    /// Mark price and funding.
    MarkPrice,
    /// Forced orders.
    Liquidations,
    /// 24 h statistics.
    Tickers,
    /// Our own candles.
    Klines,
    /// The exchange's own candles.
    VenueKlines,
    /// Listings.
    Symbols,
    /// Connects, gaps, rotations ...
    Events,
    /// Frames that did not decode.
    Frames,
    /// Archive: candles of the mark price.
    MarkPriceKlines,
    /// Archive: candles of the index price.
    IndexPriceKlines,
    /// Archive: candles of the premium index.
    PremiumIndexKlines,
    /// Archive: depth within bands around the mid price.
    BookDepth,
    /// Archive: open interest and long/short ratios.
    Metrics,
    /// Archive: funding that was paid.
    FundingRate,
}

impl Table {
    /// Every table, in the order of the design; those that only the archive has come last.
    pub const ALL: &'static [Table] = &[
        Table::Trades,
        Table::AggTrades,
        Table::BookTicker,
        Table::Depth,
        Table::MarkPrice,
        Table::Liquidations,
        Table::Tickers,
        Table::Klines,
        Table::VenueKlines,
        Table::Symbols,
        Table::Events,
        Table::Frames,
        Table::MarkPriceKlines,
        Table::IndexPriceKlines,
        Table::PremiumIndexKlines,
        Table::BookDepth,
        Table::Metrics,
        Table::FundingRate,
    ];

    /// The word used in paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::AggTrades => "agg_trades",
            Self::BookTicker => "book_ticker",
            Self::Depth => "depth",
            Self::MarkPrice => "mark_price",
            Self::Liquidations => "liquidations",
            Self::Tickers => "tickers",
            Self::Klines => "klines",
            Self::VenueKlines => "venue_klines",
            Self::Symbols => "symbols",
            Self::Events => "events",
            Self::Frames => "frames",
            Self::MarkPriceKlines => "mark_price_klines",
            Self::IndexPriceKlines => "index_price_klines",
            Self::PremiumIndexKlines => "premium_index_klines",
            Self::BookDepth => "book_depth",
            Self::Metrics => "metrics",
            Self::FundingRate => "funding_rate",
        }
    }

    /// True where `symbol` may be null.
    pub(crate) fn symbol_nullable(self) -> bool {
        matches!(self, Self::Events | Self::Frames)
    }

    /// All columns, in order.
    pub(crate) fn specs(self) -> Vec<Spec> {
        let own = match self {
            Self::Trades => Trades::SPECS,
            Self::AggTrades => AggTrades::SPECS,
            Self::BookTicker => BookTickers::SPECS,
            Self::Depth => Depths::SPECS,
            Self::MarkPrice => MarkPrices::SPECS,
            Self::Liquidations => Liquidations::SPECS,
            Self::Tickers => Tickers::SPECS,
            Self::Klines
            | Self::VenueKlines
            | Self::MarkPriceKlines
            | Self::IndexPriceKlines
            | Self::PremiumIndexKlines => Klines::SPECS,
            Self::Symbols => Symbols::SPECS,
            Self::Events => Events::SPECS,
            Self::Frames => Frames::SPECS,
            Self::BookDepth => BookDepths::SPECS,
            Self::Metrics => MetricsRows::SPECS,
            Self::FundingRate => FundingRates::SPECS,
        };
        let mut specs = CommonColumns::SPECS.to_vec();
        if self.symbol_nullable()
            && let Some(symbol) = specs.first_mut()
        {
            symbol.nullable = true;
        }
        specs.extend_from_slice(own);
        specs
    }

    /// The schema as readers see it: plain strings, µs UTC timestamps, doubles or DECIMAL(38, 18).
    pub fn schema(self, numeric: Numeric) -> SchemaRef {
        let fields: Vec<Field> =
            self.specs().iter().map(|s| Field::new(s.name, arrow_type(s.kind, numeric), s.nullable)).collect();
        Arc::new(Schema::new(fields))
    }
}

pub(crate) fn arrow_type(kind: Kind, numeric: Numeric) -> DataType {
    match kind {
        Kind::Int32 => DataType::Int32,
        Kind::Int64 => DataType::Int64,
        Kind::TimeUs | Kind::RecvUs => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Kind::Number => match numeric {
            Numeric::Double => DataType::Float64,
            Numeric::Decimal => DataType::Decimal128(38, 18),
        },
        Kind::Word | Kind::Side | Kind::Text => DataType::Utf8,
        Kind::Binary => DataType::Binary,
        Kind::Bool => DataType::Boolean,
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Table {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|t| t.as_str() == s).ok_or_else(|| format!("unknown table {s:?}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The contract of DESIGN 7, written out once more: a renamed or reordered column must fail here.
    #[test]
    fn column_names_and_order_are_the_contract() {
        let names = |t: Table| {
            t.schema(Numeric::Double).fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>().join(" ")
        };
        let common = "symbol ts_event ts_recv ts_recv_ns seq row_in_frame conn flags";
        let klines = "interval open_time close_time open high low close volume quote_volume trade_count \
                      taker_buy_volume taker_buy_quote_volume first_trade_id last_trade_id is_final source revision";
        for (t, own) in [
            (Table::Trades, "id id_str price amount side ts_trade type"),
            (Table::AggTrades, "agg_id first_id last_id price amount side ts_trade"),
            (Table::BookTicker, "update_id bid_price bid_amount ask_price ask_amount"),
            (
                Table::Depth,
                "first_update_id final_update_id prev_update_id is_snapshot side price amount level last_in_frame",
            ),
            (Table::MarkPrice, "mark_price index_price settle_price funding_rate next_funding_time"),
            (Table::Liquidations, "side price avg_price amount filled status"),
            (Table::Tickers, "open high low last volume quote_volume count"),
            (Table::Klines, klines),
            (Table::VenueKlines, klines),
            (Table::Symbols, "base quote status listing_time tick_size lot_size contract_size kind"),
            (Table::Events, "kind detail"),
            (Table::Frames, "channel encoding payload reason"),
            (Table::MarkPriceKlines, klines),
            (Table::IndexPriceKlines, klines),
            (Table::PremiumIndexKlines, klines),
            (Table::BookDepth, "percentage depth notional"),
            (
                Table::Metrics,
                "open_interest open_interest_value toptrader_count_ratio toptrader_sum_ratio long_short_ratio \
                 taker_volume_ratio",
            ),
            (Table::FundingRate, "interval_hours funding_rate"),
        ] {
            assert_eq!(names(t), format!("{common} {own}"), "{t}");
        }
        assert_eq!(Table::ALL.len(), 18);
    }

    #[test]
    fn common_columns_have_the_types_of_the_contract() {
        let us = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for t in Table::ALL {
            let s = t.schema(Numeric::Double);
            let types: Vec<_> = s.fields().iter().take(8).map(|f| f.data_type().clone()).collect();
            assert_eq!(
                types,
                [
                    DataType::Utf8,
                    us.clone(),
                    us.clone(),
                    DataType::Int64,
                    DataType::Int64,
                    DataType::Int32,
                    DataType::Int32,
                    DataType::Int32
                ]
            );
            let nullable: Vec<_> = s.fields().iter().take(8).map(|f| f.is_nullable()).collect();
            assert!(nullable[1] && nullable[2..].iter().all(|n| !n));
            assert_eq!(nullable[0], t.symbol_nullable());
            assert_eq!(t.as_str().parse::<Table>().unwrap(), *t);
        }
    }
}
