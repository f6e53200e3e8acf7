//! Nothing a venue or a broken disk can send makes the decoders panic, and the writing of a frame changes no row.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::golden::{goldens, lines};
use super::*;

fn market() -> impl Strategy<Value = Market> {
    prop_oneof![Just(Market::Spot), Just(Market::Futures)]
}

fn cases(n: u32) -> ProptestConfig {
    ProptestConfig { cases: n, ..ProptestConfig::default() }
}

/// Changes of some bytes: overwritten, inserted, removed, cut off, repeated.
fn damaged(frame: &str, damages: &[(u8, Index, Index, u8)]) -> Vec<u8> {
    let mut bytes = frame.as_bytes().to_vec();
    for (kind, at, to, byte) in damages {
        if bytes.is_empty() {
            break;
        }
        let (at, to) = (at.index(bytes.len()), to.index(bytes.len()));
        match kind {
            0 => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            2 => {
                bytes.remove(at);
            }
            3 => bytes.truncate(at),
            _ => {
                let part = bytes[at.min(to)..at.max(to)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
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
        damages in prop::collection::vec(
            (
                0..5_u8,
                any::<Index>(),
                any::<Index>(),
                prop_oneof![3 => any::<u8>(), 5 => prop::sample::select(&b"\"\\{}[],:0123456789.-eE \ntfnu"[..])],
            ),
            1..4,
        ),
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

/// Writes the same JSON otherwise: keys in another order, white space, escapes.
fn rewrite(value: &Value, dice: &mut dyn FnMut() -> u32, out: &mut String) {
    if dice().is_multiple_of(4) {
        out.push_str(" \t\n");
    }
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            for i in (1..keys.len()).rev() {
                keys.swap(i, dice() as usize % (i + 1));
            }
            out.push('{');
            for (n, key) in keys.into_iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                rewrite(&Value::from(key.clone()), dice, out);
                out.push_str(if dice().is_multiple_of(3) { " : " } else { ":" });
                rewrite(&map[key], dice, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                rewrite(item, dice, out);
            }
            out.push(']');
        }
        Value::String(text) => {
            out.push('"');
            for c in text.chars() {
                let mut units = [0; 2];
                if dice().is_multiple_of(6) || matches!(c, '"' | '\\') || c < ' ' {
                    for unit in c.encode_utf16(&mut units) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                } else {
                    out.push(c);
                }
            }
            out.push('"');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn dice(mut seed: u64) -> impl FnMut() -> u32 {
    move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u32
    }
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
