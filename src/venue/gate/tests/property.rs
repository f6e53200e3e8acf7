//! Nothing a venue or a broken disk can send makes the decoders panic, and the writing of a frame changes no row.

use proptest::prelude::*;

use super::super::super::hostile::{flood_with_unknown_names, throw_bytes, throw_damaged, write_otherwise};
use super::golden::{goldens, lines_of};
use super::*;

/// Every way into the markets for bytes from outside.
fn throw_at(market: Market, payload: &[u8]) {
    let venue = of(market);
    let mut rows = Rows::new();
    let decoded = venue.frames.decode(&text(payload), &mut rows);
    let control = venue.frames.control(payload);
    if control.is_some() && std::str::from_utf8(payload).is_ok() {
        assert_eq!(decoded, Ok(Decoded::Control), "{}", String::from_utf8_lossy(payload));
    }
    if let (Some(key), Ok(Decoded::Rows(channel))) = (venue.frames.stream_of(payload, false), &decoded) {
        let word = venue.frames.channel_of(key);
        assert!(word.is_none() || word == Some(*channel), "{}", String::from_utf8_lossy(payload));
        let first = rows.trades.first().map(|r| r.symbol).or(rows.book_tickers.first().map(|r| r.symbol));
        let first = first.or(rows.depth.first().map(|r| r.symbol)).or(rows.tickers.first().map(|r| r.symbol));
        let first = first.or(rows.liquidations.first().map(|r| r.symbol));
        // Where items are left out, the first row need not be of the first item.
        let whole = rows.rejects.is_empty();
        if let Some(first) = first.or(rows.venue_klines.first().map(|r| r.symbol)).filter(|_| whole) {
            assert_eq!(rows.symbols.name(first).as_bytes(), key.symbol, "{}", String::from_utf8_lossy(payload));
        }
    }
    let _ = venue.rest.parse_listing(payload);
    for channel in ["depth_snapshot", "symbols", "trades", "klines"] {
        let _ = decode_rest(market, payload, &meta(channel, "BTC_USDT"));
    }
}

#[test]
fn damaged_frames_never_panic() {
    throw_damaged(3000, &goldens(), throw_at);
}

#[test]
fn arbitrary_and_json_like_bytes_never_panic() {
    throw_bytes(&MARKETS, |market, bytes| {
        throw_at(market, bytes);
        let wrapped = [br#"{"channel":"futures.trades","event":"update","result":[{"#, bytes].concat();
        throw_at(market, &wrapped);
    });
}

#[test]
fn key_order_white_space_and_escapes_change_no_row() {
    write_otherwise(&goldens(), |_, _| true, lines_of);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn times_keep_their_microseconds_in_every_unit(us in 100_000_000_000_000..10_000_000_000_000_000_i64) {
        let to_micros =
            |mantissa: i64, scale| super::super::field::to_micros(Num { mantissa: mantissa.into(), scale });
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
            let decoded = of(golden.market).frames.decode(&frame, &mut Rows::new());
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
    let before = r#"{"time":1,"channel":"spot.tickers","event":"update","result":{"currency_pair":"A_B","#;
    flood_with_unknown_names(of(Market::Spot), before, "}}");
}
