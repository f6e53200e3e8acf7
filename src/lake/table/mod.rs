//! The tables: one file each, with its columns and how a decoded row is pushed (`columns!`).
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

pub(crate) use agg_trades::AggTrades;
pub use book_depth::BookDepth;
pub(crate) use book_depth::BookDepths;
pub(crate) use book_ticker::BookTickers;
pub(crate) use common::{CommonColumns, CommonRow};
pub(crate) use depth::{DepthLevel, Depths};
pub use events::Event;
pub(crate) use events::Events;
pub use frames::FrameRow;
pub(crate) use frames::Frames;
pub use funding_rate::FundingRate;
pub(crate) use funding_rate::FundingRates;
pub use klines::Kline;
pub(crate) use klines::Klines;
pub(crate) use liquidations::Liquidations;
pub(crate) use mark_price::MarkPrices;
pub use metrics::Metrics;
pub(crate) use metrics::MetricsRows;
pub use symbols::Listed;
pub(crate) use symbols::Symbols;
pub(crate) use tickers::Tickers;
pub(crate) use trades::Trades;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use super::column::{Column, Kind, Spec};
use super::{Numeric, SchemaVersion};
use model::SymbolId;

/// A row as a venue or the archive gives it.
pub trait Row {
    /// Its interned symbol; `None` only in tables whose `symbol` may be null.
    fn symbol(&self) -> Option<SymbolId>;
    /// Exchange event time, us.
    fn ts_event_us(&self) -> Option<i64>;
    /// Time of the match, us, of rows that have one.
    fn ts_trade_us(&self) -> Option<i64> {
        None
    }
    /// Appends what it says to the columns of its table, and returns how many of its numbers these cannot carry; `None`
    /// when they are those of another table.
    fn append(&self, version: SchemaVersion, body: &mut Body) -> Option<u32>;
}

/// `r: Trade => Trades, ..`: which columns hold a row, and what the common ones need of it.
macro_rules! row {
    ($r:ident: $Row:ty => $columns:ident, symbol: $symbol:expr, ts_event: $ts_event:expr $(, ts_trade: $ts_trade:expr)?) => {
        impl $crate::table::Row for $Row {
            #[inline]
            fn symbol(&self) -> Option<model::SymbolId> {
                let $r = self;
                $symbol
            }

            #[inline]
            fn ts_event_us(&self) -> Option<i64> {
                let $r = self;
                let _ = $r; // some rows have no time
                $ts_event
            }

            $(#[inline]
            fn ts_trade_us(&self) -> Option<i64> {
                let $r = self;
                $ts_trade
            })?

            #[inline]
            fn append(&self, version: $crate::SchemaVersion, body: &mut $crate::table::Body) -> Option<u32> {
                match &mut body.0 {
                    $crate::table::Columns::$columns(columns) => Some(columns.push(version, self)),
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use row;

/// Every struct of columns that tables are made of, with what can be done to any of them.
macro_rules! bodies {
    ($($columns:ident)+) => {
        #[derive(Debug)]
        pub(crate) enum Columns {
            $($columns($columns)),+
        }

        /// The columns of one table beyond the common ones.
        #[derive(Debug)]
        pub struct Body(pub(crate) Columns);

        impl Body {
            pub(crate) fn take(&mut self, n: usize, since: u32, out: &mut Vec<Column>) {
                match &mut self.0 { $(Columns::$columns(b) => b.take(n, since, out)),+ }
            }

            pub(crate) fn recycle(&mut self, since: u32, used: &mut impl Iterator<Item = Column>) {
                match &mut self.0 { $(Columns::$columns(b) => b.recycle(since, used)),+ }
            }

            pub(crate) fn bytes_held(&self) -> usize {
                match &self.0 { $(Columns::$columns(b) => b.bytes_held()),+ }
            }

            #[inline]
            pub(crate) fn text_bytes(&self, n: usize) -> usize {
                match &self.0 { $(Columns::$columns(b) => b.text_bytes(n)),+ }
            }
        }
    };
}

bodies! {
    Trades AggTrades BookTickers Depths MarkPrices Liquidations Tickers Klines Symbols Events Frames BookDepths MetricsRows
    FundingRates
}

/// Declares the tables: variant, name in paths and manifests, columns. Their order is that of [`Table::ALL`] and of the
/// rows in a manifest: new ones come last.
macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident = $word:literal: $columns:ident;)+) => {
        /// One kind of row in the lake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Table {
            $($(#[$doc])* #[serde(rename = $word)] $table),+
        }

        impl Table {
            /// Every table, in the order of the design; those that only the archive has come last.
            pub const ALL: &'static [Table] = &[$(Table::$table),+];

            /// The name used in paths.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$table => $word),+ }
            }

            /// Its columns beyond the common ones.
            fn own(self) -> &'static [Spec] {
                match self { $(Self::$table => $columns::SPECS),+ }
            }

            /// Those columns, without a row.
            pub(crate) fn body(self, numeric: Numeric) -> Body {
                Body(match self { $(Self::$table => Columns::$columns($columns::new(numeric))),+ })
            }
        }
    };
}

tables! {
    /// Every single trade.
    Trades = "trades": Trades;
    /// Aggregated trades.
    AggTrades = "agg_trades": AggTrades;
    /// Best bid and ask.
    BookTicker = "book_ticker": BookTickers;
    /// Order book changes and snapshots, one row per level.
    Depth = "depth": Depths;
    /// Mark price and funding.
    MarkPrice = "mark_price": MarkPrices;
    /// Forced orders.
    Liquidations = "liquidations": Liquidations;
    /// 24 h statistics.
    Tickers = "tickers": Tickers;
    /// Our own candles.
    Klines = "klines": Klines;
    /// The exchange's own candles.
    VenueKlines = "venue_klines": Klines;
    /// Listings.
    Symbols = "symbols": Symbols;
    /// Connects, gaps, rotations ...
    Events = "events": Events;
    /// Frames that did not decode.
    Frames = "frames": Frames;
    /// Archive: candles of the mark price.
    MarkPriceKlines = "mark_price_klines": Klines;
    /// Archive: candles of the index price.
    IndexPriceKlines = "index_price_klines": Klines;
    /// Archive: candles of the premium index.
    PremiumIndexKlines = "premium_index_klines": Klines;
    /// Archive: depth within bands around the mid price.
    BookDepth = "book_depth": BookDepths;
    /// Archive: open interest and long/short ratios.
    Metrics = "metrics": MetricsRows;
    /// Archive: funding that was paid.
    FundingRate = "funding_rate": FundingRates;
}

impl Table {
    /// True where `symbol` may be null.
    pub(crate) fn symbol_nullable(self) -> bool {
        matches!(self, Self::Events | Self::Frames)
    }

    /// All columns of `version`, in order: for each version up to it, common ones and then the table's own.
    pub(crate) fn specs(self, version: SchemaVersion) -> Vec<Spec> {
        let of = |all: &'static [Spec], since| all.iter().copied().filter(move |spec| spec.since == since);
        let mut specs: Vec<Spec> =
            version.all().flat_map(|since| of(CommonColumns::SPECS, since).chain(of(self.own(), since))).collect();
        if self.symbol_nullable()
            && let Some(symbol) = specs.first_mut()
        {
            symbol.nullable = true;
        }
        specs
    }

    /// The names of its columns in `version`, in order.
    pub fn columns(self, version: SchemaVersion) -> Vec<&'static str> {
        self.specs(version).iter().map(|spec| spec.name).collect()
    }

    /// The versions of its schema: those that gave it columns.
    pub fn versions(self) -> Vec<SchemaVersion> {
        let mut all: Vec<u32> = self.specs(SchemaVersion::NEWEST).iter().map(|spec| spec.since).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter().map(SchemaVersion).collect()
    }

    /// The schema as readers see it: plain strings, µs UTC timestamps, doubles or DECIMAL(38, 18).
    pub fn schema(self, numeric: Numeric, version: SchemaVersion) -> SchemaRef {
        let field = |s: &Spec| Field::new(s.name, arrow_type(s.kind, numeric), s.nullable);
        Arc::new(Schema::new(self.specs(version).iter().map(field).collect::<Vec<_>>()))
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
        let names = |t: Table, version| t.columns(version).join(" ");
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
            let first = format!("{common} {own}");
            assert_eq!(names(t, SchemaVersion::FIRST), first, "{t}: columns of a version never change");
            let added = match t {
                Table::Trades | Table::AggTrades | Table::Liquidations => "ts instrument venue base_amount",
                _ => "ts instrument venue",
            };
            assert_eq!(names(t, SchemaVersion::SECOND), format!("{first} {added}"), "{t}");
            assert_eq!(t.versions(), [SchemaVersion::FIRST, SchemaVersion::SECOND], "{t}");
        }
        assert_eq!(SchemaVersion::NEWEST, SchemaVersion::SECOND, "the columns of a newer version are to be here too");
        assert_eq!(Table::ALL.len(), 18);
    }

    #[test]
    fn common_columns_have_the_types_of_the_contract() {
        let us = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for t in Table::ALL {
            let s = t.schema(Numeric::Double, SchemaVersion::NEWEST);
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
