//! The four frames, byte by byte, from the JSON that says the same: schema 1, version 0, little endian (`stream_1_0.xml` of
//! binance-spot-api-docs). Pure functions; `None` when the JSON is not what the channel says, or a value does not fit.

use serde::Deserialize;

const TRADES: u16 = 10000;
const BEST_BID_ASK: u16 = 10001;
const DEPTH_SNAPSHOT: u16 = 10002;
const DEPTH_DIFF: u16 = 10003;

/// Microseconds of a trade that the JSON dates to this millisecond.
fn transact_us(ms: i64) -> i64 {
    ms.saturating_mul(1_000).saturating_add(below_ms(ms))
}

/// Microseconds of an event: never before a trade of the same millisecond.
fn event_us(ms: i64) -> i64 {
    transact_us(ms).saturating_add(500)
}

fn below_ms(ms: i64) -> i64 {
    ms.wrapping_mul(7_919).rem_euclid(500)
}

#[derive(Deserialize)]
struct Trade<'a> {
    #[serde(rename = "E")]
    event_ms: i64,
    #[serde(rename = "T")]
    time_ms: i64,
    t: i64,
    p: &'a str,
    q: &'a str,
    m: bool,
}

#[derive(Deserialize)]
struct BookTicker<'a> {
    u: i64,
    b: &'a str,
    #[serde(rename = "B")]
    bid_amount: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_amount: &'a str,
}

type Level<'a> = (&'a str, &'a str);

#[derive(Deserialize)]
struct Diff<'a> {
    #[serde(rename = "E")]
    event_ms: i64,
    #[serde(rename = "U")]
    first: i64,
    u: i64,
    #[serde(borrow)]
    b: Vec<Level<'a>>,
    #[serde(borrow)]
    a: Vec<Level<'a>>,
}

#[derive(Deserialize)]
struct Snapshot<'a> {
    #[serde(rename = "lastUpdateId")]
    last: i64,
    #[serde(borrow)]
    bids: Vec<Level<'a>>,
    #[serde(borrow)]
    asks: Vec<Level<'a>>,
}

/// Trades of one taker order. Gives the first and last id; `None` when the JSON is not what the channel says, or a value is too large.
pub(super) fn trades(symbol: &str, datas: &[&[u8]], out: &mut Vec<u8>) -> Option<(i64, i64)> {
    let trades: Vec<Trade<'_>> = datas.iter().filter_map(|data| serde_json::from_slice(data).ok()).collect();
    let (first, last) = (trades.first()?, trades.last()?);
    let price = Exponent::over(trades.iter().map(|trade| trade.p));
    let amount = Exponent::over(trades.iter().map(|trade| trade.q));
    header(out, 18, TRADES);
    out.extend(event_us(last.event_ms).to_le_bytes());
    out.extend(transact_us(first.time_ms).to_le_bytes());
    out.extend([price.byte(), amount.byte()]);
    out.extend(25u16.to_le_bytes());
    out.extend(u32::try_from(trades.len()).ok()?.to_le_bytes());
    for trade in &trades {
        out.extend(trade.t.to_le_bytes());
        out.extend(price.mantissa(trade.p)?.to_le_bytes());
        out.extend(amount.mantissa(trade.q)?.to_le_bytes());
        out.push(u8::from(trade.m));
    }
    text(out, symbol)?;
    Some((first.t, last.t))
}

pub(super) fn best_bid_ask(symbol: &str, data: &[u8], time_ms: i64, out: &mut Vec<u8>) -> Option<(i64, i64)> {
    let top: BookTicker<'_> = serde_json::from_slice(data).ok()?;
    let price = Exponent::over([top.b, top.a].into_iter());
    let amount = Exponent::over([top.bid_amount, top.ask_amount].into_iter());
    header(out, 50, BEST_BID_ASK);
    out.extend(event_us(time_ms).to_le_bytes());
    out.extend(top.u.to_le_bytes());
    out.extend([price.byte(), amount.byte()]);
    for (exponent, value) in [(price, top.b), (amount, top.bid_amount), (price, top.a), (amount, top.ask_amount)] {
        out.extend(exponent.mantissa(value)?.to_le_bytes());
    }
    text(out, symbol)?;
    Some((top.u, top.u))
}

pub(super) fn depth_diff(symbol: &str, data: &[u8], out: &mut Vec<u8>) -> Option<(i64, i64)> {
    let diff: Diff<'_> = serde_json::from_slice(data).ok()?;
    header(out, 26, DEPTH_DIFF);
    out.extend(event_us(diff.event_ms).to_le_bytes());
    out.extend(diff.first.to_le_bytes());
    out.extend(diff.u.to_le_bytes());
    sides(out, symbol, &diff.b, &diff.a)?;
    Some((diff.first, diff.u))
}

/// A REST depth answer; gives its id.
pub(super) fn depth_snapshot(symbol: &str, body: &[u8], time_ms: i64, out: &mut Vec<u8>) -> Option<i64> {
    let book: Snapshot<'_> = serde_json::from_slice(body).ok()?;
    header(out, 18, DEPTH_SNAPSHOT);
    out.extend(event_us(time_ms).to_le_bytes());
    out.extend(book.last.to_le_bytes());
    sides(out, symbol, &book.bids, &book.asks)?;
    Some(book.last)
}

fn sides(out: &mut Vec<u8>, symbol: &str, bids: &[Level<'_>], asks: &[Level<'_>]) -> Option<()> {
    let levels = || bids.iter().chain(asks);
    let (price, amount) =
        (Exponent::over(levels().map(|level| level.0)), Exponent::over(levels().map(|level| level.1)));
    out.extend([price.byte(), amount.byte()]);
    for side in [bids, asks] {
        out.extend(16u16.to_le_bytes());
        out.extend(u16::try_from(side.len()).ok()?.to_le_bytes());
        for (at, size) in side {
            out.extend(price.mantissa(at)?.to_le_bytes());
            out.extend(amount.mantissa(size)?.to_le_bytes());
        }
    }
    text(out, symbol)
}

fn header(out: &mut Vec<u8>, block_bytes: u16, template: u16) {
    for word in [block_bytes, template, 1, 0] {
        out.extend(word.to_le_bytes());
    }
}

fn text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    out.push(u8::try_from(text.len()).ok()?);
    out.extend_from_slice(text.as_bytes());
    Some(())
}

/// Decimals shared by some values.
#[derive(Clone, Copy)]
struct Exponent(usize);

impl Exponent {
    /// As few decimals as keep every value.
    fn over<'a>(values: impl Iterator<Item = &'a str>) -> Exponent {
        Exponent(values.map(|value| fraction(value).trim_end_matches('0').len()).max().unwrap_or(0))
    }

    fn byte(self) -> u8 {
        (-(self.0 as i8)).to_le_bytes()[0]
    }

    fn mantissa(self, value: &str) -> Option<i64> {
        let whole = value.split('.').next()?;
        let fraction = fraction(value);
        let kept = fraction.get(..self.0.min(fraction.len()))?;
        format!("{whole}{kept:0<width$}", width = self.0).parse().ok()
    }
}

fn fraction(value: &str) -> &str {
    value.split_once('.').map_or("", |(_, fraction)| fraction)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::hex;

    /// 1767225600123 ms with the microseconds of this module.
    const EVENT: i64 = 1_767_225_600_123;

    fn le(value: i64) -> String {
        hex(&value.to_le_bytes())
    }

    // The layouts below are written out by hand from the schema.

    #[test]
    fn one_taker_order_is_one_trades_frame() {
        let trade = |id: i64, price: &str, amount: &str, maker: bool| {
            format!(
                r#"{{"e":"trade","E":{EVENT},"s":"BTCUSDT","t":{id},"p":"{price}","q":"{amount}","T":{EVENT},"m":{maker},"M":true}}"#
            )
        };
        let frames = [
            trade(5_000_000_001, "90000.12000000", "0.00150000", true),
            trade(5_000_000_002, "90000.13000000", "0.25000000", true),
        ];
        let mut out = Vec::new();
        let ids = trades("BTCUSDT", &[frames[0].as_bytes(), frames[1].as_bytes()], &mut out);
        assert_eq!(ids, Some((5_000_000_001, 5_000_000_002)));
        let expected = [
            "1200102701000000",
            &le(transact_us(EVENT) + 500),
            &le(transact_us(EVENT)),
            "fefc190002000000",
            "01f2052a010000004c548900000000000f0000000000000001",
            "02f2052a010000004d54890000000000c40900000000000001",
            "0742544355534454",
        ]
        .concat();
        assert_eq!(hex(&out), expected);
        assert_eq!(transact_us(EVENT) / 1_000, EVENT);
    }

    #[test]
    fn a_book_ticker_becomes_a_best_bid_ask() {
        let data = r#"{"u":81234567890,"s":"BTCUSDT","b":"90000.11000000","B":"1.20000000","a":"90000.12000000","A":"0.34000000"}"#;
        let mut out = Vec::new();
        let ids = best_bid_ask("BTCUSDT", data.as_bytes(), EVENT, &mut out);
        assert_eq!(ids, Some((81_234_567_890, 81_234_567_890)));
        let expected = [
            "3200112701000000",
            &le(event_us(EVENT)),
            "d222f5e912000000fefe",
            "4b54890000000000",
            "7800000000000000",
            "4c54890000000000",
            "2200000000000000",
            "0742544355534454",
        ]
        .concat();
        assert_eq!(hex(&out), expected);
    }

    #[test]
    fn a_depth_update_keeps_its_ids_deletions_and_empty_sides() {
        let data = format!(
            r#"{{"e":"depthUpdate","E":{EVENT},"s":"BTCUSDT","U":81234567892,"u":81234567899,"b":[["90000.11000000","0.00000000"]],"a":[]}}"#
        );
        let mut out = Vec::new();
        assert_eq!(depth_diff("BTCUSDT", data.as_bytes(), &mut out), Some((81_234_567_892, 81_234_567_899)));
        let expected = [
            "1a00132701000000",
            &le(event_us(EVENT)),
            "d422f5e912000000db22f5e912000000fe00",
            "100001004b548900000000000000000000000000",
            "10000000",
            "0742544355534454",
        ]
        .concat();
        assert_eq!(hex(&out), expected);
    }

    #[test]
    fn a_snapshot_carries_both_sides_with_their_own_exponents() {
        let body = r#"{"lastUpdateId":81234567891,"bids":[["90000.11","1.2"]],"asks":[["90000.12","0.34"],["90000.20","0.00001"]]}"#;
        let mut out = Vec::new();
        assert_eq!(depth_snapshot("BTCUSDT", body.as_bytes(), EVENT, &mut out), Some(81_234_567_891));
        let expected = [
            "1200122701000000",
            &le(event_us(EVENT)),
            "d322f5e912000000fefb",
            "100001004b54890000000000c0d4010000000000",
            "100002004c54890000000000d0840000000000005454890000000000",
            "0100000000000000",
            "0742544355534454",
        ]
        .concat();
        assert_eq!(hex(&out), expected);
    }

    #[test]
    fn a_value_that_does_not_fit_gives_no_frame() {
        assert_eq!(Exponent(8).mantissa("92233720369.00000000"), None);
        assert_eq!(Exponent(0).mantissa("92233720369.00000000"), Some(92_233_720_369));
        assert_eq!((Exponent(5).mantissa("0.34"), Exponent(2).mantissa("7")), (Some(34_000), Some(700)));
        assert_eq!(trades("X", &[b"{}"], &mut Vec::new()), None);
    }
}
