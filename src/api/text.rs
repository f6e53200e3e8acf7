//! Bars as text: rows as the exchange's REST prints them, stream events, and our own objects. Exact decimals; no
//! float is ever made.
//!
//! Spot prints 8 decimals, USD-M the symbol's precision: the decimals of its own trades, and their sum for quote
//! volumes (Binance API documentation, "Kline/Candlestick Data"; crosscheck rows in tests/data). A product that has
//! more decimals is printed whole.

use std::fmt::Write;

use super::error::{ApiError, ApiResult};
use kline::db::Source;
use model::interval::Interval;
use model::kline::{FINAL, FLAT, GAP, KlineData, SEEDED, decimal};
use venue::ApiFamily;

/// What times are counted in. Spot's clients choose (header `X-MBX-TIME-UNIT`, `timeUnit` of a socket); all else is ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unit {
    #[default]
    Ms,
    Us,
}

impl Unit {
    /// The unit of a name, in any case; -1194 for another name.
    pub fn parse(word: &str) -> ApiResult<Unit> {
        match word.to_ascii_uppercase().as_str() {
            "MILLISECOND" => Ok(Self::Ms),
            "MICROSECOND" => Ok(Self::Us),
            _ => Err(ApiError::new(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")),
        }
    }

    /// A time, given in us, in this unit.
    pub fn convert_us(self, us: i64) -> i64 {
        if self == Self::Us { us } else { us.div_euclid(1_000) }
    }

    /// The last instant of a bar.
    pub fn close(self, interval: Interval, open_us: i64) -> i64 {
        self.convert_us(interval.next(open_us).saturating_sub(1))
    }
}

/// Decimals a venue prints at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimals {
    pub price: u32,
    pub amount: u32,
    pub quote: u32,
}

impl Decimals {
    /// Of this venue, for a bar or trade with these scales.
    pub fn of(venue: &str, price_scale: u8, amount_scale: u8) -> Self {
        if ApiFamily::of(venue) == Some(ApiFamily::Spot) {
            return Self { price: 8, amount: 8, quote: 8 };
        }
        let (price, amount) = (u32::from(price_scale), u32::from(amount_scale));
        Self { price, amount, quote: price + amount }
    }
}

/// The numbers of a bar as decimal text.
pub(super) struct Texts {
    pub open: String,
    pub high: String,
    pub low: String,
    pub close: String,
    pub volume: String,
    pub quote_volume: String,
    pub taker_buy_volume: String,
    pub taker_buy_quote_volume: String,
}

impl Texts {
    /// As `venue` prints them.
    pub fn of(venue: &str, bar: &KlineData) -> Self {
        let d = Decimals::of(venue, bar.price_scale, bar.amount_scale);
        let (ps, amounts) = (u32::from(bar.price_scale), u32::from(bar.amount_scale));
        let price = |p: i64| decimal(p.into(), ps, d.price);
        let amount = |v: i128| decimal(v, amounts, d.amount);
        let quote = |v: i128| decimal(v, ps + amounts, d.quote);
        Self {
            open: price(bar.open),
            high: price(bar.high),
            low: price(bar.low),
            close: price(bar.close),
            volume: amount(bar.volume),
            quote_volume: quote(bar.quote_volume),
            taker_buy_volume: amount(bar.taker_buy_volume),
            taker_buy_quote_volume: quote(bar.taker_buy_quote_volume),
        }
    }
}

/// Appends the twelve elements of a REST row.
pub(super) fn row(out: &mut String, venue: &str, interval: Interval, bar: &KlineData, unit: Unit) {
    let t = Texts::of(venue, bar);
    let (open, close) = (unit.convert_us(bar.open_time_us), unit.close(interval, bar.open_time_us));
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "[{open},\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",{close},\"{}\",{},\"{}\",\"{}\",\"0\"]",
        t.open,
        t.high,
        t.low,
        t.close,
        t.volume,
        t.quote_volume,
        bar.trade_count,
        t.taker_buy_volume,
        t.taker_buy_quote_volume
    );
}

/// A bar for an event of a stream. `symbol` is JSON text with its quotes.
pub(super) struct Bar<'a> {
    pub venue: &'a str,
    pub symbol: &'a str,
    pub interval: Interval,
    pub bar: &'a KlineData,
    pub unit: Unit,
}

impl Bar<'_> {
    /// The object `k`; `symbol` is its member `"s":..,` where it has one.
    fn k(&self, symbol: &str) -> String {
        let (bar, interval) = (self.bar, self.interval);
        let t = Texts::of(self.venue, bar);
        let (open, close) = (self.unit.convert_us(bar.open_time_us), self.unit.close(interval, bar.open_time_us));
        format!(
            "{{\"t\":{open},\"T\":{close},{symbol}\"i\":\"{interval}\",\"f\":{},\"L\":{},\"o\":\"{}\",\"c\":\"{}\",\
             \"h\":\"{}\",\"l\":\"{}\",\"v\":\"{}\",\"n\":{},\"x\":{},\"q\":\"{}\",\"V\":\"{}\",\"Q\":\"{}\",\"B\":\"0\"}}",
            bar.first_trade_id,
            bar.last_trade_id,
            t.open,
            t.close,
            t.high,
            t.low,
            t.volume,
            bar.trade_count,
            bar.is_final(),
            t.quote_volume,
            t.taker_buy_volume,
            t.taker_buy_quote_volume
        )
    }
}

/// A `kline` event.
pub(super) fn event(bar: &Bar<'_>, now_us: i64) -> String {
    let (symbol, now) = (bar.symbol, bar.unit.convert_us(now_us));
    format!("{{\"e\":\"kline\",\"E\":{now},\"s\":{symbol},\"k\":{}}}", bar.k(&format!("\"s\":{symbol},")))
}

/// A `continuous_kline` event: the pair and its contract instead of the symbol.
pub(super) fn continuous(bar: &Bar<'_>, contract: &str, now_us: i64) -> String {
    let now = bar.unit.convert_us(now_us);
    format!(
        "{{\"e\":\"continuous_kline\",\"E\":{now},\"ps\":{},\"ct\":\"{contract}\",\"k\":{}}}",
        bar.symbol,
        bar.k("")
    )
}

/// Our own object. `symbol` is JSON text with its quotes; `source` is who made the bar, where that is known.
pub(super) fn object(venue: &str, symbol: &str, interval: Interval, bar: &KlineData, source: Option<Source>) -> String {
    let t = Texts::of(venue, bar);
    let open = bar.open_time_us.div_euclid(1_000);
    let close = interval.close_of(bar.open_time_us).div_euclid(1_000);
    let has = |flag: u16| bar.flags & flag != 0;
    format!(
        "{{\"venue\":\"{venue}\",\"symbol\":{symbol},\"interval\":\"{interval}\",\"open_time\":{open},\
         \"close_time\":{close},\"open\":\"{}\",\"high\":\"{}\",\"low\":\"{}\",\"close\":\"{}\",\"volume\":\"{}\",\
         \"quote_volume\":\"{}\",\"trades\":{},\"taker_buy_volume\":\"{}\",\"taker_buy_quote_volume\":\"{}\",\
         \"first_trade_id\":{},\"last_trade_id\":{},\"revision\":{},\"final\":{},\"gap\":{},\"seeded\":{},\
         \"flat\":{}{}}}",
        t.open,
        t.high,
        t.low,
        t.close,
        t.volume,
        t.quote_volume,
        bar.trade_count,
        t.taker_buy_volume,
        t.taker_buy_quote_volume,
        bar.first_trade_id,
        bar.last_trade_id,
        bar.revision,
        has(FINAL),
        has(GAP),
        has(SEEDED),
        has(FLAT),
        source.map(|source| format!(",\"source\":\"{}\"", source.as_str())).unwrap_or_default()
    )
}

/// The intervals there are, as a sentence needs them.
pub(super) fn intervals() -> String {
    Interval::ALL.map(Interval::as_str).join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::json::json_text;

    /// A bar of decimal texts: open, high, low, close, volume, quote, taker volume, taker quote.
    fn bar(open_ms: i64, n: u64, scales: (u8, u8), t: [&str; 8]) -> KlineData {
        let whole = |text: &str, scale: u32| -> i128 {
            let (a, b) = text.split_once('.').unwrap_or((text, ""));
            let padded = format!("{a}{b:0<width$}", width = scale as usize);
            let (kept, dropped) = padded.split_at(a.len() + scale as usize);
            assert!(dropped.bytes().all(|c| c == b'0'), "{text} at {scale}");
            kept.parse().unwrap()
        };
        let (p, a) = (u32::from(scales.0), u32::from(scales.1));
        let price = |i: usize| i64::try_from(whole(t[i], p)).unwrap();
        KlineData {
            open_time_us: open_ms * 1_000,
            open: price(0),
            high: price(1),
            low: price(2),
            close: price(3),
            volume: whole(t[4], a),
            quote_volume: whole(t[5], p + a),
            taker_buy_volume: whole(t[6], a),
            taker_buy_quote_volume: whole(t[7], p + a),
            trade_count: n,
            price_scale: scales.0,
            amount_scale: scales.1,
            ..KlineData::default()
        }
    }

    #[test]
    fn rows_print_as_the_exchange_printed_them() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/data/binance-spot/rest-klines-1m-BTCUSDT-2020-05-06.json"
        );
        let real = std::fs::read_to_string(path).unwrap();
        let rows: Vec<Vec<serde_json::Value>> = serde_json::from_str(&real).unwrap();
        assert!(rows.len() > 3);
        let mut ours = String::from("[");
        for row_ in &rows {
            let s = |i: usize| row_[i].as_str().unwrap();
            let t = [s(1), s(2), s(3), s(4), s(5), s(7), s(9), s(10)];
            // Trades of that market have 2 and 6 decimals.
            let b = bar(row_[0].as_i64().unwrap(), row_[8].as_u64().unwrap(), (2, 6), t);
            if ours.len() > 1 {
                ours.push(',');
            }
            row(&mut ours, "binance-spot", Interval::M1, &b, Unit::Ms);
        }
        ours.push(']');
        assert_eq!(ours, real.trim());
    }

    #[test]
    fn rows_of_futures_print_with_the_precision_of_the_symbol() {
        for (file, scales) in [
            ("usdm-BTCUSDT-1m-2024-08-08T2340_2024-08-09T0005", (2, 3)),
            ("usdm-TRXUSDT-1m-2025-03-03T2355_2025-03-04T0017", (5, 0)),
        ] {
            let path = format!("{}/../../tests/data/crosscheck/{file}.official.csv", env!("CARGO_MANIFEST_DIR"));
            for line in std::fs::read_to_string(path).unwrap().lines().skip(1) {
                let c: Vec<&str> = line.split(',').collect();
                let t = [c[1], c[2], c[3], c[4], c[5], c[7], c[9], c[10]];
                let mut ours = String::new();
                let b = bar(c[0].parse().unwrap(), c[8].parse().unwrap(), scales, t);
                row(&mut ours, "binance-usdm", Interval::M1, &b, Unit::Ms);
                assert_eq!(ours.replace(['[', ']', '"'], ""), line, "{file}");
            }
        }
    }

    #[test]
    fn an_event_of_a_flat_bar_has_the_keys_and_ids_of_the_exchange() {
        let b = KlineData::flat(1_700_000_040_000_000, 3_700_000, 2, 3);
        let bar = |unit| Bar { venue: "binance-spot", symbol: "\"BTCUSDT\"", interval: Interval::M1, bar: &b, unit };
        let e: serde_json::Value = serde_json::from_str(&event(&bar(Unit::Ms), 1_700_000_041_000_999)).unwrap();
        let want = serde_json::json!({"e":"kline","E":1_700_000_041_000_i64,"s":"BTCUSDT","k":{
            "t":1_700_000_040_000_i64,"T":1_700_000_099_999_i64,"s":"BTCUSDT","i":"1m","f":-1,"L":-1,
            "o":"37000.00000000","c":"37000.00000000","h":"37000.00000000","l":"37000.00000000","v":"0.00000000",
            "n":0,"x":false,"q":"0.00000000","V":"0.00000000","Q":"0.00000000","B":"0"}});
        assert_eq!(e, want);
        let us: serde_json::Value = serde_json::from_str(&event(&bar(Unit::Us), 1_700_000_041_000_999)).unwrap();
        assert_eq!(us["E"], 1_700_000_041_000_999_i64);
        assert_eq!(
            (&us["k"]["t"], &us["k"]["T"]),
            (&1_700_000_040_000_000_i64.into(), &1_700_000_099_999_999_i64.into())
        );
        let pair: serde_json::Value =
            serde_json::from_str(&continuous(&bar(Unit::Ms), "PERPETUAL", 1_700_000_041_000_999)).unwrap();
        let mut k = want["k"].clone();
        k.as_object_mut().unwrap().remove("s");
        assert_eq!(
            pair,
            serde_json::json!({"e":"continuous_kline","E":1_700_000_041_000_i64,"ps":"BTCUSDT","ct":"PERPETUAL","k":k})
        );
        let o: serde_json::Value =
            serde_json::from_str(&object("gate-spot", &json_text("A\"B"), Interval::W1, &b, Some(Source::Live)))
                .unwrap();
        assert_eq!((o["symbol"].as_str(), o["flat"].as_bool()), (Some("A\"B"), Some(true)));
        assert_eq!(o["source"], "live");
        let unknown = object("gate-spot", &json_text("A"), Interval::W1, &b, None);
        assert!(serde_json::from_str::<serde_json::Value>(&unknown).unwrap().get("source").is_none(), "{unknown}");
    }
}
