//! Nothing a venue or a broken disk can send makes the decoders panic, and the order of keys changes no row.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::super::super::hostile::{flood_with_unknown_names, throw_bytes, throw_damaged, write_otherwise};
use super::golden::{goldens, lines_of};
use super::*;

/// Every way into the markets for bytes from outside.
fn throw_at(market: Market, payload: &[u8]) {
    let venue = of(market);
    let mut rows = Rows::new();
    let decoded = venue.frames.decode(&text(payload), &mut rows);
    if decoded.is_ok() {
        for message in &rows.depth {
            let end = message.first_level as usize + message.level_count as usize;
            assert!(end <= rows.levels.len());
        }
    }
    let key = venue.frames.stream_of(payload, false);
    let control = venue.frames.control(payload);
    assert!(key.is_none() || control.is_none());
    assert!(control.is_none() || decoded == Ok(Decoded::Control));
    if let Some(key) = key {
        let _ = venue.frames.channel_of(key);
    }
    let _ = venue.rest.parse_listing(payload);
    let _ = venue.streams.parse_token(payload);
    let _ = std::str::from_utf8(payload).map(|url| venue.streams.redacted(url));
    for channel in ["depth_snapshot", "symbols", "token", "klines"] {
        let meta = meta(channel, "BTC-USDT");
        let frame = Frame { kind: FrameKind::Rest, payload, rest: Some(&meta) };
        let _ = venue.frames.decode(&frame, &mut Rows::new());
    }
}

thread_local! {
    static GOLDENS: Vec<(Market, &'static str)> = goldens().iter().map(|g| (g.market, g.frame)).collect();
}

#[test]
fn damaged_frames_never_panic() {
    throw_damaged(3000, &goldens(), throw_at);
}

#[test]
fn arbitrary_and_json_like_bytes_never_panic() {
    throw_bytes(&[Market::Spot, Market::Futures], throw_at);
}

#[test]
fn key_order_white_space_and_escapes_change_no_row() {
    // `Value` holds numbers as doubles: frames it would change are left out.
    write_otherwise(&goldens(), |golden, value| same_numbers(golden.frame, value), lines_of);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_value_in_any_field_never_panics(
        which in any::<Index>(),
        value in prop_oneof!["-?[0-9]{0,25}(\\.[0-9]{0,25})?(e-?[0-9]{1,3})?", "\"\\PC{0,20}\"", Just("null".to_owned()), Just("[]".to_owned())],
        field in any::<Index>(),
    ) {
        let (market, frame) = GOLDENS.with(|goldens| goldens[which.index(goldens.len())]);
        // The text between a colon and the next comma or brace is a value, more or less.
        let colons: Vec<usize> = frame.match_indices("\":").map(|(at, _)| at + 2).collect();
        let from = colons[field.index(colons.len())];
        let to = from + frame[from..].find([',', '}']).unwrap_or(0);
        throw_at(market, format!("{}{value}{}", &frame[..from], &frame[to..]).as_bytes());
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
            let decoded = of(golden.market).frames.decode(&frame, &mut Rows::new());
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
    let before = r#"{"topic":"/spotMarket/level1:A-B","type":"message","subject":"level1","data":{"asks":[],"bids":[],"timestamp":1,"#;
    flood_with_unknown_names(of(Market::Spot), before, "}}");
}
