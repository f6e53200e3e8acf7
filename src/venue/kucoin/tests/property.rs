//! Nothing a venue or a broken disk can send makes the decoders panic, and the order of keys changes no row.

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
    if decoded.is_ok() {
        for message in &rows.depth {
            let end = message.first_level as usize + message.level_count as usize;
            assert!(end <= rows.levels.len());
        }
    }
    let key = venue.stream_of(payload, false);
    let control = venue.control(payload);
    assert!(key.is_none() || control.is_none());
    assert!(control.is_none() || decoded == Ok(Decoded::Control));
    if let Some(key) = key {
        let _ = venue.channel_of(key);
    }
    let _ = venue.parse_listing(payload);
    let _ = venue.parse_token(payload);
    let _ = std::str::from_utf8(payload).map(|url| venue.redacted(url));
    for channel in ["depth_snapshot", "symbols", "token", "klines"] {
        let meta = meta(channel, "BTC-USDT");
        let frame = Frame { kind: FrameKind::Rest, payload, rest: Some(&meta) };
        let _ = venue.decode(&frame, &mut Rows::new());
    }
}

thread_local! {
    static GOLDENS: std::rc::Rc<Vec<(Market, &'static str)>> =
        std::rc::Rc::new(goldens().iter().map(|g| (g.market, g.frame)).collect());
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn damaged_frames_never_panic(
        which in any::<Index>(),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let goldens = GOLDENS.with(|g| g.clone());
        let (market, frame) = goldens[which.index(goldens.len())];
        throw_at(market, &damaged(frame, &damages));
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn arbitrary_bytes_never_panic(market in market(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        throw_at(market, &bytes);
    }

    #[test]
    fn json_like_bytes_never_panic(market in market(), bytes in r#"[\[\]{},:"\\0-9.eE\-a-uA-X ]{0,80}"#) {
        throw_at(market, bytes.as_bytes());
    }

    #[test]
    fn any_value_in_any_field_never_panics(
        which in any::<Index>(),
        value in prop_oneof!["-?[0-9]{0,25}(\\.[0-9]{0,25})?(e-?[0-9]{1,3})?", "\"\\PC{0,20}\"", Just("null".to_owned()), Just("[]".to_owned())],
        field in any::<Index>(),
    ) {
        let goldens = GOLDENS.with(|g| g.clone());
        let (market, frame) = goldens[which.index(goldens.len())];
        // The text between a colon and the next comma or brace is a value, more or less.
        let colons: Vec<usize> = frame.match_indices("\":").map(|(at, _)| at + 2).collect();
        let from = colons[field.index(colons.len())];
        let to = from + frame[from..].find([',', '}']).unwrap_or(0);
        throw_at(market, format!("{}{value}{}", &frame[..from], &frame[to..]).as_bytes());
    }

    #[test]
    fn key_order_white_space_and_escapes_change_no_row(which in any::<Index>(), seed in any::<u64>()) {
        let all = goldens();
        let golden = &all[which.index(all.len())];
        let value = serde_json::from_str::<Value>(golden.frame).unwrap();
        // `Value` holds numbers as doubles: frames it would change are left out.
        if same_numbers(golden.frame, &value) {
            let mut other = String::new();
            rewrite(&value, &mut dice(seed), &mut other);
            let (mut a, mut b) = (Rows::new(), Rows::new());
            let before = of(golden.market).decode(&golden.as_frame(), &mut a);
            let frame = Frame { payload: other.as_bytes(), ..golden.as_frame() };
            let after = of(golden.market).decode(&frame, &mut b);
            prop_assert_eq!(lines(&before, &a), lines(&after, &b), "{}", other);
        }
    }
}

/// True when writing the value again keeps all of its numbers: the texts have equal lengths.
fn same_numbers(frame: &str, value: &Value) -> bool {
    value.to_string().len() == frame.len()
}

#[test]
fn most_reviewed_frames_survive_being_written_again() {
    let all = goldens();
    let kept = all.iter().filter(|g| same_numbers(g.frame, &serde_json::from_str(g.frame).unwrap())).count();
    assert!(kept * 4 > all.len() * 3, "{kept} of {}", all.len());
}

#[test]
fn every_truncation_of_every_reviewed_frame_is_refused() {
    for golden in goldens() {
        for end in 0..golden.frame.len() {
            let payload = &golden.frame.as_bytes()[..end];
            let frame = Frame { payload, ..golden.as_frame() };
            let decoded = of(golden.market).decode(&frame, &mut Rows::new());
            assert!(decoded.is_err(), "{}", String::from_utf8_lossy(payload));
        }
    }
}

#[test]
fn deep_nesting_is_refused_without_a_deep_stack() {
    for open in
        ["[", "{\"data\":", "{\"data\":[", "{\"type\":\"message\",\"topic\":\"/market/match:A\",\"data\":{\"b\":["]
    {
        throw_at(Market::Spot, open.repeat(200_000).as_bytes());
    }
}

#[test]
fn a_flood_of_unknown_names_leaves_little_behind() {
    let fields: Vec<String> = (0..100_000).map(|i| format!("\"unknown{i}\":{i}")).collect();
    let frame = format!(
        r#"{{"topic":"/spotMarket/level1:A-B","type":"message","subject":"level1","data":{{"asks":[],"bids":[],"timestamp":1,{}}}}}"#,
        fields.join(",")
    );
    let mut rows = Rows::new();
    for _ in 0..10 {
        of(Market::Spot).decode(&text(frame.as_bytes()), &mut rows).unwrap();
    }
    assert!(rows.drift.items.len() <= 64, "{}", rows.drift.items.len());
}
