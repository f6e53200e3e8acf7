//! Tables `klines` (ours) and `venue_klines` (the exchange's own): candles, same columns.
//!
//! In `venue_klines` the `source` is always `venue` and the `revision` 0: the exchange sends the same open
//! candle again and again, and `seq` orders them.

use crate::SchemaVersion;
use crate::column::columns;
use crate::table::{Body, Row, row};
use model::SymbolId;
use model::row::VenueKline;

columns! {
    /// Columns of `klines` and `venue_klines`.
    Klines of r: Kline<'_> {
        interval: Word = r.bar.interval.0;
        open_time: TimeUs = r.bar.candle.open_time_us;
        close_time: TimeUs = r.bar.close_time_us;
        open: Number = r.bar.candle.open;
        high: Number = r.bar.candle.high;
        low: Number = r.bar.candle.low;
        close: Number = r.bar.candle.close;
        volume: Number or null = r.bar.candle.volume;
        quote_volume: Number or null = r.bar.candle.quote_volume;
        trade_count: Int64 or null = r.bar.candle.trade_count;
        taker_buy_volume: Number or null = r.bar.candle.taker_buy_volume;
        taker_buy_quote_volume: Number or null = r.bar.candle.taker_buy_quote_volume;
        first_trade_id: Int64 or null = r.bar.first_trade_id;
        last_trade_id: Int64 or null = r.bar.last_trade_id;
        is_final: Bool = r.bar.is_final;
        source: Text = r.source;
        revision: Int32 = r.revision;
    }
}

row!(r: Kline<'_> => Klines, symbol: Some(r.bar.symbol), ts_event: r.bar.ts_event_us);

/// A row of `venue_klines`.
impl Row for VenueKline {
    fn symbol(&self) -> Option<SymbolId> {
        Some(self.symbol)
    }

    fn ts_event_us(&self) -> Option<i64> {
        self.ts_event_us
    }

    fn append(&self, version: SchemaVersion, body: &mut Body) -> Option<u32> {
        Kline { bar: self, source: "venue", revision: 0 }.append(version, body)
    }
}

/// A row of a table of candles.
#[derive(Clone, Debug, PartialEq)]
pub struct Kline<'a> {
    /// The candle, in the shape venues send it.
    pub bar: &'a VenueKline,
    /// Where it came from (`live`, `official`, `rebuilt`; `venue`, `archive`).
    pub source: &'static str,
    /// 0 when first closed, plus 1 with every revision.
    pub revision: i32,
}
