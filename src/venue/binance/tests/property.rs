//! The two paths agree on everything, and nothing a venue or a broken disk can send makes them panic.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::Value;

use super::super::super::hostile::{flood_with_unknown_names, throw_bytes, throw_damaged, write_otherwise};
use super::super::super::reviewed::Golden;
use super::golden::{goldens, lines_of};
use super::*;

fn market() -> impl Strategy<Value = Market> {
    prop_oneof![Just(Market::Spot), Just(Market::Usdm), Just(Market::Coinm)]
}

/// Decimals as venues write them, and as nobody should.
fn decimal() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "(0|[1-9][0-9]{0,8})(\\.[0-9]{1,8})?",
        2 => "[0-9]{1,12}\\.[0-9]{1,12}",
        1 => "-?[0-9]{0,20}(\\.[0-9]{0,20})?(e-?[0-9]{1,3})?",
    ]
}

fn symbol() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Z0-9]{2,12}(_[0-9]{6})?",
        1 => "[\\u{4e00}-\\u{4e20}A-Z]{1,6}",
        1 => "\\PC{0,140}",
    ]
}

fn integer() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0..10_000_000_000_000_000_i64).prop_map(|i| i.to_string()),
        1 => any::<i64>().prop_map(|i| i.to_string()),
        1 => "0?[0-9]{1,20}(\\.0|e1)?",
    ]
}

/// A message in the documented order: some keys optional, values good and bad.
fn message() -> impl Strategy<Value = String> {
    let parts = (
        (0..7_u8, any::<u16>()),
        symbol(),
        prop::collection::vec(integer(), 8),
        prop::collection::vec(decimal(), 12),
        (any::<bool>(), prop_oneof![9 => Just("1"), 1 => Just("2"), 1 => Just("3")]),
    );
    parts.prop_map(|((kind, optional), symbol, i, d, (flag, st))| {
        let s = Value::from(symbol.clone());
        let opt = |bit: u32, text: String| if optional >> bit & 1 == 1 { text } else { String::new() };
        let ps = opt(0, format!(r#","ps":{s}"#));
        let st = opt(1, format!(r#","st":{st}"#));
        let levels = |from: usize| {
            let n = usize::from(optional >> 8) % 4;
            let level = |k: usize| format!(r#"["{}","{}"]"#, d[(from + k) % 12], d[(from + k + 1) % 12]);
            (0..n).map(level).collect::<Vec<_>>().join(",")
        };
        match kind {
            0 => format!(
                r#"{{"e":"trade","E":{},"s":{s},"t":{},"p":"{}","q":"{}"{},"T":{},"m":{flag},"M":true}}"#,
                i[0],
                i[1],
                d[0],
                d[1],
                opt(2, format!(r#","b":{},"a":{}"#, i[2], i[3])),
                i[4]
            ),
            1 => format!(
                r#"{{"e":"trade","E":{},"T":{},"s":{s},"t":{},"p":"{}","q":"{}"{},"m":{flag}{st}}}"#,
                i[0],
                i[1],
                i[2],
                d[0],
                d[1],
                opt(2, r#","X":"INSURANCE_FUND""#.to_owned())
            ),
            2 => format!(
                r#"{{"e":"aggTrade","E":{},{},"p":"{}","q":"{}"{},"f":{},"l":{},"T":{},"m":{flag}{}{st}}}"#,
                i[0],
                if optional & 8 == 0 { format!(r#""a":{},"s":{s}"#, i[1]) } else { format!(r#""s":{s},"a":{}"#, i[1]) },
                d[0],
                d[1],
                opt(4, format!(r#","nq":"{}""#, d[2])),
                i[2],
                i[3],
                i[4],
                opt(5, r#","M":true"#.to_owned())
            ),
            3 => format!(
                r#"{{{}"u":{},"s":{s}{ps},"b":"{}","B":"{}","a":"{}","A":"{}"{}{st}}}"#,
                opt(3, r#""e":"bookTicker","#.to_owned()),
                i[0],
                d[0],
                d[1],
                d[2],
                d[3],
                opt(4, format!(r#","T":{},"E":{}"#, i[1], i[2]))
            ),
            4 | 5 => format!(
                r#"{{"e":"depthUpdate","E":{}{},"s":{s}{ps}{st},"U":{},"u":{}{},"b":[{}],"a":[{}]}}"#,
                i[0],
                opt(2, format!(r#","T":{}"#, i[1])),
                i[2],
                i[3],
                opt(2, format!(r#","pu":{}"#, i[4])),
                levels(0),
                levels(5)
            ),
            _ => format!(
                r#"{{"e":"markPriceUpdate","E":{},"s":{s},"p":"{}"{}{}{}{},"r":"{}","T":{}{st}}}"#,
                i[0],
                d[0],
                opt(2, format!(r#","ap":"{}""#, d[1])),
                opt(3, format!(r#","P":"{}""#, d[2])),
                opt(4, format!(r#","i":"{}""#, d[3])),
                opt(5, format!(r#","P":"{}""#, d[4])),
                d[5],
                i[1]
            ),
        }
    })
}

fn combined() -> impl Strategy<Value = String> {
    let stream = prop_oneof![
        Just(None),
        (
            "[a-z]{1,6}",
            prop_oneof![
                Just("@trade"),
                Just("@depth@100ms"),
                Just("@depth20@100ms"),
                Just("@depth5"),
                Just("@rpiDepth@500ms"),
                Just("@depthx"),
                Just("")
            ]
        )
            .prop_map(Some),
    ];
    (message(), stream).prop_map(|(message, stream)| match stream {
        None => message,
        Some((s, kind)) => format!(r#"{{"stream":"{s}{kind}","data":{message}}}"#),
    })
}

/// Every way into the markets for bytes from outside.
fn throw_at(market: Market, payload: &[u8]) {
    both(market, payload);
    let venue = of(market);
    let _ = venue.frames.control(payload);
    let _ = venue.frames.stream_of(payload, false);
    let _ = venue.rest.parse_listing(payload);
    for channel in ["depth_snapshot", "symbols", "klines"] {
        let meta = RestMeta { channel: channel.to_owned(), ..depth_meta("BTCUSDT") };
        let frame = Frame { kind: FrameKind::Rest, payload, rest: Some(&meta) };
        let _ = venue.frames.decode(&frame, &mut Rows::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn both_paths_agree_on_generated_frames(market in market(), frame in combined()) {
        both(market, frame.as_bytes());
    }
}

#[test]
fn both_paths_agree_on_damaged_frames() {
    throw_damaged(4000, &goldens(), throw_at);
}

#[test]
fn arbitrary_and_json_like_bytes_never_panic() {
    throw_bytes(&[Market::Spot, Market::Usdm, Market::Coinm], throw_at);
}

#[test]
fn key_order_white_space_and_escapes_change_no_row() {
    // A doubled key is lost on the way through `Value`.
    let once = |golden: &Golden<Market>, _: &Value| {
        let decoded = of(golden.market).frames.decode(&golden.as_frame(), &mut Rows::new());
        !matches!(decoded, Err(DecodeError::Malformed { .. }))
    };
    write_otherwise(&goldens(), once, lines_of);
}

#[test]
fn generated_frames_take_both_paths_in_every_kind() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut fast_channels, mut general) = (std::collections::BTreeSet::new(), 0);
    for _ in 0..3000 {
        let frame = combined().new_tree(&mut runner).unwrap().current();
        for market in [Market::Spot, Market::Usdm] {
            let (seen, fast) = both(market, frame.as_bytes());
            match seen.result {
                Ok(Decoded::Rows(channel)) if fast => {
                    fast_channels.insert((market == Market::Spot, channel));
                }
                Ok(_) => general += 1,
                Err(_) => {}
            }
        }
    }
    assert!(general > 100, "{general}");
    assert!(fast_channels.len() >= 9, "{fast_channels:?}");
}

#[test]
fn a_long_reason_is_cut_short() {
    let body = format!(r#"{{"symbols":["{}"]}}"#, "x".repeat(100_000));
    let refused = of(Market::Spot).rest.parse_listing(body.as_bytes()).unwrap_err();
    assert!(refused.to_string().len() < 300);
}

#[test]
fn every_truncation_of_every_reviewed_frame_is_refused_or_read_alike() {
    for golden in goldens().iter().filter(|g| g.frame.len() < 600) {
        for end in 0..golden.frame.len() {
            let (seen, _) = both(golden.market, &golden.frame.as_bytes()[..end]);
            assert!(seen.result.is_err(), "{}", &golden.frame.get(..end).unwrap_or("cut in a character"));
        }
    }
}

#[test]
fn deep_nesting_is_refused_without_a_deep_stack() {
    for open in ["[", "{\"e\":", "{\"data\":[", "{\"stream\":\"a\",\"data\":{\"b\":["] {
        let frame = open.repeat(200_000);
        throw_at(Market::Spot, frame.as_bytes());
    }
}

#[test]
fn a_flood_of_unknown_names_leaves_little_behind() {
    flood_with_unknown_names(of(Market::Spot), r#"{"e":"24hrTicker","s":"A","c":"1","#, "}");
}
