//! Nothing a venue or a broken disk can send makes the decoders panic, and the writing of a frame changes no row.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::super::super::hostile::{damage, damaged, dice, rewrite};
use super::golden::{goldens, lines};
use super::*;

fn market() -> impl Strategy<Value = Market> {
    prop_oneof![Just(Market::Spot), Just(Market::Futures)]
}

fn cases(n: u32) -> ProptestConfig {
    ProptestConfig { cases: n, ..ProptestConfig::default() }
}

/// Every way into the markets for bytes from outside.
fn throw_at(market: Market, payload: &[u8]) {
    let venue = of(market);
    let mut rows = Rows::new();
    let decoded = venue.decode(&text(payload), &mut rows);
    let control = venue.control(payload);
    if control.is_some() && std::str::from_utf8(payload).is_ok() {
        assert_eq!(decoded, Ok(Decoded::Control), "{}", String::from_utf8_lossy(payload));
    }
    if let (Some(key), Ok(Decoded::Rows(channel))) = (venue.stream_of(payload, false), &decoded) {
        let word = venue.channel_of(key);
        assert!(word.is_none() || word == Some(*channel), "{}", String::from_utf8_lossy(payload));
        let first = rows.trades.first().map(|r| r.symbol).or(rows.book_tickers.first().map(|r| r.symbol));
        let first = first.or(rows.depth.first().map(|r| r.symbol)).or(rows.tickers.first().map(|r| r.symbol));
        let first = first.or(rows.liquidations.first().map(|r| r.symbol));
        if let Some(first) = first.or(rows.venue_klines.first().map(|r| r.symbol)) {
            assert_eq!(rows.symbols.name(first).as_bytes(), key.symbol, "{}", String::from_utf8_lossy(payload));
        }
    }
    let _ = venue.parse_listing(payload);
    for channel in ["depth_snapshot", "symbols", "trades", "klines"] {
        let _ = decode_rest(market, payload, &meta(channel, "BTC_USDT"));
    }
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn damaged_frames_never_panic(
        which in any::<Index>(),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let all = GOLDENS.with(|g| g.clone());
        let (market, frame) = all[which.index(all.len())];
        throw_at(market, &damaged(frame, &damages));
    }
}

thread_local! {
    static GOLDENS: std::rc::Rc<Vec<(Market, &'static str)>> =
        std::rc::Rc::new(goldens().iter().map(|g| (g.market, g.frame)).collect());
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn arbitrary_bytes_never_panic(market in market(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        throw_at(market, &bytes);
    }

    #[test]
    fn json_like_bytes_never_panic(market in market(), bytes in r#"[\[\]{},:"\\0-9.eE\-a-uA-X_ ]{0,80}"#) {
        throw_at(market, bytes.as_bytes());
        let wrapped = format!(r#"{{"channel":"futures.trades","event":"update","result":[{{{bytes}"#);
        throw_at(market, wrapped.as_bytes());
    }

    #[test]
    fn key_order_white_space_and_escapes_change_no_row(which in any::<Index>(), seed in any::<u64>()) {
        let all = goldens();
        let golden = &all[which.index(all.len())];
        let value: Value = serde_json::from_str(golden.frame).unwrap();
        let mut other = String::new();
        rewrite(&value, &mut dice(seed), &mut other);
        let (mut a, mut b) = (Rows::new(), Rows::new());
        let before = of(golden.market).decode(&golden.as_frame(), &mut a);
        let frame = Frame { payload: other.as_bytes(), ..golden.as_frame() };
        let after = of(golden.market).decode(&frame, &mut b);
        prop_assert_eq!(lines(&before, &a), lines(&after, &b), "{}", other);
    }

    #[test]
    fn times_keep_their_microseconds_in_every_unit(us in 100_000_000_000_000..10_000_000_000_000_000_i64) {
        let to_micros = |mantissa, scale| super::super::field::to_micros(Num { mantissa, scale });
        prop_assert_eq!(to_micros(us, 6), Some(us));
        prop_assert_eq!(to_micros(us, 3), Some(us));
        prop_assert_eq!(to_micros(us, 0), Some(us));
        prop_assert_eq!(to_micros(us * 100, 2), Some(us));
        prop_assert_eq!(to_micros(-us, 3), None);
    }
}

#[test]
fn every_truncation_of_every_reviewed_frame_is_refused() {
    for golden in goldens().iter().filter(|g| g.frame.len() < 600) {
        for end in 0..golden.frame.len() {
            let cut = &golden.frame.as_bytes()[..end];
            let frame = Frame { payload: cut, ..golden.as_frame() };
            let decoded = of(golden.market).decode(&frame, &mut Rows::new());
            assert!(decoded.is_err(), "{}", String::from_utf8_lossy(cut));
            throw_at(golden.market, cut);
        }
    }
}

#[test]
fn deep_nesting_is_refused_without_a_deep_stack() {
    for open in ["[", "{\"result\":", r#"{"channel":"spot.trades","event":"update","result":["#] {
        for market in MARKETS {
            throw_at(market, open.repeat(100_000).as_bytes());
        }
    }
}

#[test]
fn a_flood_of_unknown_names_leaves_little_behind() {
    let fields: Vec<String> = (0..100_000).map(|i| format!("\"unknown{i}\":{i}")).collect();
    let frame = format!(
        r#"{{"time":1,"channel":"spot.tickers","event":"update","result":{{"currency_pair":"A_B",{}}}}}"#,
        fields.join(",")
    );
    let mut rows = Rows::new();
    for _ in 0..10 {
        of(Market::Spot).decode(&text(frame.as_bytes()), &mut rows).unwrap();
    }
    assert!(rows.drift.items.len() <= 64, "{}", rows.drift.items.len());
}
