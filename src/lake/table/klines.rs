//! Tables `klines` (ours) and `venue_klines` (the exchange's own): candles, same columns.
//!
//! In `venue_klines` the `source` is always `venue` and the `revision` 0: the exchange sends the same open
//! candle again and again, and `seq` orders them.

use crate::column::{Kind, Spec, columns};
use model::row::VenueKline;

columns! {
    /// Columns of `klines` and `venue_klines`.
    Klines {
        interval: Words = Spec::new("interval", Kind::Word),
        open_time: Int64s = Spec::new("open_time", Kind::TimeUs),
        close_time: Int64s = Spec::new("close_time", Kind::TimeUs),
        open: Numbers = Spec::new("open", Kind::Number),
        high: Numbers = Spec::new("high", Kind::Number),
        low: Numbers = Spec::new("low", Kind::Number),
        close: Numbers = Spec::new("close", Kind::Number),
        volume: Numbers = Spec::new("volume", Kind::Number).null(),
        quote_volume: Numbers = Spec::new("quote_volume", Kind::Number).null(),
        trade_count: Int64s = Spec::new("trade_count", Kind::Int64).null(),
        taker_buy_volume: Numbers = Spec::new("taker_buy_volume", Kind::Number).null(),
        taker_buy_quote_volume: Numbers = Spec::new("taker_buy_quote_volume", Kind::Number).null(),
        first_trade_id: Int64s = Spec::new("first_trade_id", Kind::Int64).null(),
        last_trade_id: Int64s = Spec::new("last_trade_id", Kind::Int64).null(),
        is_final: Bools = Spec::new("is_final", Kind::Bool),
        source: Texts = Spec::new("source", Kind::Text),
        revision: Int32s = Spec::new("revision", Kind::Int32),
    }
}

/// A candle of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Kline {
    /// The candle, in the shape venues send it.
    pub bar: VenueKline,
    /// Where it came from (`live`, `official`, `rebuilt`).
    pub source: &'static str,
    /// 0 when first closed, plus 1 with every revision.
    pub revision: i32,
}

impl Klines {
    /// Appends a row; returns how many of its numbers a double cannot carry.
    pub(crate) fn push(&mut self, r: &VenueKline, source: &str, revision: i32) -> u32 {
        self.interval.push(r.interval.0);
        self.open_time.push(r.open_time_us);
        self.close_time.push(r.close_time_us);
        self.trade_count.push_opt(r.trade_count);
        self.first_trade_id.push_opt(r.first_trade_id);
        self.last_trade_id.push_opt(r.last_trade_id);
        self.is_final.push(r.is_final);
        self.source.push(source.as_bytes());
        self.revision.push(revision);
        self.open.push(r.open)
            + self.high.push(r.high)
            + self.low.push(r.low)
            + self.close.push(r.close)
            + self.volume.push_opt(r.volume)
            + self.quote_volume.push_opt(r.quote_volume)
            + self.taker_buy_volume.push_opt(r.taker_buy_volume)
            + self.taker_buy_quote_volume.push_opt(r.taker_buy_quote_volume)
    }
}
