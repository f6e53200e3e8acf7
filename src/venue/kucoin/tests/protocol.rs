//! Planning, subscribing, tokens, listings and control frames.

use super::super::super::{Control, Heartbeat, Limits, Method, StreamKey, Token, Verb, Want};
use super::*;
use model::{Channel, SymbolKind};

fn wants(symbols: &[&str], channels: &[Channel]) -> Vec<Want> {
    let pair = |s: &&str| channels.iter().map(|c| Want { symbol: (*s).to_owned(), channel: *c }).collect::<Vec<_>>();
    symbols.iter().flat_map(pair).collect()
}

fn limits(streams_per_connection: usize, params_per_subscribe: usize) -> Limits {
    Limits { streams_per_connection, params_per_subscribe, ..of(Market::Spot).spec.limits.clone() }
}

#[test]
fn topics_of_a_symbol_share_a_socket_and_stand_channel_by_channel() {
    let venue = of(Market::Spot);
    let mut wanted = wants(&["BTC-USDT", "ETH-USDT", "币-USDT"], venue.spec.channels);
    wanted.extend(wanted.clone());
    // 5 topics each (snapshots are REST): two symbols fit, the third goes to a socket of its own.
    let plans = venue.streams.plan(&wanted, &limits(12, 100));
    assert_eq!(plans.iter().map(|p| p.streams.len()).collect::<Vec<_>>(), [10, 5]);
    assert_eq!(
        plans[0].streams,
        [
            "/market/match:BTC-USDT",
            "/market/match:ETH-USDT",
            "/spotMarket/level1:BTC-USDT",
            "/spotMarket/level1:ETH-USDT",
            "/market/level2:BTC-USDT",
            "/market/level2:ETH-USDT",
            "/market/snapshot:BTC-USDT",
            "/market/snapshot:ETH-USDT",
            "/market/candles:BTC-USDT_1min",
            "/market/candles:ETH-USDT_1min",
        ]
    );
    assert_eq!(plans[1].streams[0], "/market/match:币-USDT");
    for (stream, want) in plans.iter().flat_map(|p| p.streams.iter().zip(p.wants.iter().flatten())) {
        assert!(stream.contains(&want.symbol), "{stream} {want:?}");
        let (key, rest) = venue.streams.stream_key(stream);
        let key = StreamKey { channel: &key, symbol: &rest };
        assert_eq!(venue.frames.channel_of(key), Some(want.channel));
    }
    assert_eq!(plans, venue.streams.plan(&wanted, &limits(12, 100)));
}

#[test]
fn futures_have_topics_of_their_own() {
    let venue = of(Market::Futures);
    let plans = venue.streams.plan(&wants(&["XBTUSDTM"], Channel::ALL), &venue.spec.limits);
    assert_eq!(plans.len(), 1);
    assert_eq!(
        plans[0].streams,
        [
            "/contractMarket/execution:XBTUSDTM",
            "/contractMarket/tickerV2:XBTUSDTM",
            "/contractMarket/level2:XBTUSDTM",
            "/contract/instrument:XBTUSDTM",
            "/contractMarket/snapshot:XBTUSDTM",
            "/contractMarket/limitCandle:XBTUSDTM_1min",
        ]
    );
    let subscribed = venue.spec.channels.iter().filter(|c| **c != Channel::DepthSnapshot);
    assert!(plans[0].wants.iter().flatten().map(|w| w.channel).eq(subscribed.copied()));
}

#[test]
fn no_socket_exceeds_its_limit_and_no_want_is_lost() {
    for market in [Market::Spot, Market::Futures] {
        let venue = of(market);
        let names: Vec<String> = (0..137).map(|i| format!("S{i}-USDT")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let wanted = wants(&names, venue.spec.channels);
        for room in [0, 1, 2, 3, 4, 5, 7, 200, 100_000] {
            let plans = venue.streams.plan(&wanted, &limits(room, 100));
            let most = if market == Market::Spot { room.min(400) } else { room };
            assert!(plans.iter().all(|p| !p.streams.is_empty() && p.streams.len() <= most.max(1)));
            assert!(plans.iter().all(|p| p.streams.len() == p.wants.len()));
            let mut planned: Vec<Want> = plans.into_iter().flat_map(|p| p.wants).flatten().collect();
            let mut expected: Vec<Want> =
                wanted.iter().filter(|w| w.channel != Channel::DepthSnapshot).cloned().collect();
            planned.sort();
            expected.sort();
            assert_eq!(planned, expected);
        }
    }
}

#[test]
fn subscribe_messages_parse_back_to_the_topics_they_were_made_of() {
    let venue = of(Market::Spot);
    let names: Vec<String> = (0..57).map(|i| format!("S{i}-\"币\"")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (size, most) in [(0, 1), (7, 7), (100, 100), (5000, 100)] {
        let limits = limits(1000, size);
        let plan = &venue.streams.plan(&wants(&names, venue.spec.channels), &limits)[0];
        let messages = venue.streams.messages(Verb::Subscribe, &plan.streams, &limits, 40, 0);
        let mut topics = Vec::new();
        for (n, message) in messages.iter().enumerate() {
            let value: serde_json::Value = serde_json::from_str(&message.text).unwrap();
            assert_eq!(value["id"], (40 + n).to_string());
            assert_eq!(value["type"], "subscribe");
            assert_eq!((&value["privateChannel"], &value["response"]), (&false.into(), &true.into()));
            let (prefix, symbols) = value["topic"].as_str().unwrap().split_once(':').unwrap();
            assert!(symbols.split(',').count() <= most);
            topics.extend(symbols.split(',').map(|s| format!("{prefix}:{s}")));
        }
        assert_eq!(topics, plan.streams);
    }
    let mixed = ["/market/match:A-B", "/market/level2:A-B", "/market/match:C-D"].map(str::to_owned);
    let texts: Vec<String> =
        venue.streams.messages(Verb::Subscribe, &mixed, &limits(300, 100), 7, 0).into_iter().map(|m| m.text).collect();
    assert_eq!(
        texts,
        [
            r#"{"id":"7","type":"subscribe","topic":"/market/match:A-B,C-D","privateChannel":false,"response":true}"#,
            r#"{"id":"8","type":"subscribe","topic":"/market/level2:A-B","privateChannel":false,"response":true}"#,
        ]
    );
    assert!(venue.streams.messages(Verb::Subscribe, &[], &limits(300, 100), 1, 0).is_empty());
}

#[test]
fn books_are_asked_for_by_encoded_symbol_at_their_weight() {
    let spot = |n| of(Market::Spot).rest.snapshot_request("币-USDT", n).unwrap();
    assert_eq!(spot(100).path_and_query, "/api/v1/market/orderbook/level2_100?symbol=%E5%B8%81-USDT");
    assert_eq!(spot(20).path_and_query, "/api/v1/market/orderbook/level2_20?symbol=%E5%B8%81-USDT");
    assert_eq!((spot(5000).weight, spot(5000).method), (2, Method::Get));
    assert_eq!(spot(1).symbol.as_deref(), Some("币-USDT"));
    let futures = of(Market::Futures).rest.snapshot_request("XBTUSDTM", 100).unwrap();
    assert_eq!(futures.path_and_query, "/api/v1/level2/snapshot?symbol=XBTUSDTM");
    assert_eq!((futures.weight, &*futures.channel), (3, "depth_snapshot"));
}

#[test]
fn a_connection_is_made_with_a_token_and_kept_by_pings() {
    let body = br#"{"code":"200000","data":{"token":"2neAiu-4_x==.a/b+c","instanceServers":[{"endpoint":"wss://ws-api-spot.kucoin.com/","encrypt":true,"protocol":"websocket","pingInterval":18000,"pingTimeout":10000},{"endpoint":"wss://other/","pingInterval":"1","pingTimeout":"1"}]}}"#;
    for market in [Market::Spot, Market::Futures] {
        let venue = of(market);
        let request = venue.streams.token_request().unwrap();
        assert_eq!((request.method, &*request.path_and_query), (Method::Post, "/api/v1/bullet-public"));
        assert_eq!((request.weight, &*request.channel), (10, "token"));
        let token = venue.streams.parse_token(body).unwrap();
        assert_eq!(
            token,
            Token {
                token: "2neAiu-4_x==.a/b+c".to_owned(),
                servers: vec![
                    crate::TokenServer {
                        endpoint: "wss://ws-api-spot.kucoin.com/".to_owned(),
                        ping_interval_ms: 18_000,
                        ping_timeout_ms: 10_000
                    },
                    crate::TokenServer {
                        endpoint: "wss://other/".to_owned(),
                        ping_interval_ms: 1_000,
                        ping_timeout_ms: 1_000
                    },
                ],
            },
            "every server, in the venue's order"
        );
        let plan = &venue.streams.plan(&wants(&["A-B"], &[Channel::Trades]), &venue.spec.limits)[0];
        let url = |base: &str| venue.streams.connect_url(base, plan, Some(&token), "1 7");
        let query = "token=2neAiu-4_x==.a%2Fb%2Bc&connectId=1%207";
        assert_eq!(url(&token.servers[0].endpoint), format!("wss://ws-api-spot.kucoin.com/?{query}"));
        assert_eq!(url("wss://ws-api-spot.kucoin.com"), format!("wss://ws-api-spot.kucoin.com/?{query}"));
        assert_eq!(url("ws://127.0.0.1:9/kucoin-spot"), format!("ws://127.0.0.1:9/kucoin-spot?{query}"));
        assert_eq!(url("wss://h/endpoint?acl=1"), format!("wss://h/endpoint?acl=1&{query}"));
        assert_eq!(venue.streams.connect_url("wss://h/", plan, None, "x"), "wss://h/?connectId=x");
        assert_eq!(venue.streams.redacted(&url("wss://h/")), "wss://h/?token=REDACTED&connectId=1%207");
        assert_eq!(venue.streams.redacted("wss://h/path"), "wss://h/path");
        assert!(venue.spec.waits_for_welcome);
        assert_eq!(venue.spec.heartbeat, Heartbeat::ClientText { every_ms: 18_000, timeout_ms: 10_000 });
        assert_eq!(venue.streams.ping_message(5, 0).unwrap(), r#"{"id":"5","type":"ping"}"#);
        assert_eq!(venue.spec.pace_group, "kucoin");
        let meta = meta("token", "");
        let frame = Frame { kind: FrameKind::Rest, payload: body, rest: Some(&meta) };
        assert_eq!(venue.frames.decode(&frame, &mut Rows::new()), Ok(Decoded::Control));
    }
}

#[test]
fn what_is_no_token_is_refused_and_its_times_are_kept_in_bounds() {
    let good = r#"{"code":"200000","data":{"token":"t","instanceServers":[{"endpoint":"ws://h/","pingInterval":0,"pingTimeout":999999999}]}}"#;
    let parse = |body: &str| of(Market::Spot).streams.parse_token(body.as_bytes());
    let token = parse(good).unwrap();
    let server = &token.servers[0];
    assert_eq!((server.ping_interval_ms, server.ping_timeout_ms), (1_000, 50_000));
    let one_odd =
        good.replace("[{", r#"[{"endpoint":7},null,{"endpoint":"http://h/","pingInterval":1,"pingTimeout":1},{"#);
    assert_eq!(parse(&one_odd).unwrap(), token, "odd servers cost only themselves");
    for (from, to) in [
        (r#""t","#, r#""","#),
        (r#""t","#, "7,"),
        ("token", "tokem"),
        ("200000", "429000"),
        ("ws://h/", "http://h/"),
        (r#"[{"endpoint":"ws://h/","pingInterval":0,"pingTimeout":999999999}]"#, "[]"),
        (":0,", ":-1,"),
        ("\"pingInterval\":0,", ""),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert!(parse(&bad).is_err(), "{bad}");
    }
    let refused = parse(r#"{"code":"429000","msg":"Too many requests"}"#).unwrap_err().to_string();
    assert!(refused.contains("429000") && refused.contains("Too many requests"), "{refused}");
}

#[test]
fn control_frames_are_distinguished_from_data() {
    let refused = |id, code, msg: &str, throttled| Some(Control::Error { id, code, msg: msg.to_owned(), throttled });
    let table: [(&str, Option<Control>); 17] = [
        (r#"{"id":"hQvf8jkno","type":"welcome"}"#, Some(Control::Welcome)),
        (r#"{"id":"1545910590801","type":"pong","timestamp":1767225600123456}"#, Some(Control::Pong)),
        (r#"{"id":"10","type":"ack"}"#, Some(Control::Ack { id: Some(10) })),
        (r#"{ "type" : "ack", "id" : 11 }"#, Some(Control::Ack { id: Some(11) })),
        (r#"{"id":null,"type":"ack"}"#, Some(Control::Ack { id: None })),
        (
            r#"{"id":"12","type":"error","code":404,"data":"topic /market/xx is not found"}"#,
            refused(Some(12), 404, "topic /market/xx is not found", false),
        ),
        (
            r#"{"id":"13","type":"error","code":"401","data":"token \"x\""}"#,
            refused(Some(13), 401, "token \"x\"", false),
        ),
        (
            r#"{"id":"16","type":"error","code":509,"data":"exceed max subscription count limitation of 300 per session"}"#,
            refused(Some(16), 509, "exceed max subscription count limitation of 300 per session", false),
        ),
        // The server names no request of ours when it throttles.
        (
            r#"{"id":"695c00a2a02344126eb870a6","type":"error","code":509,"data":"exceed max permits per second"}"#,
            refused(None, 509, "exceed max permits per second", true),
        ),
        (
            r#"{"id":"14","type":"error","code":509,"data":"exceed max permits per second"}"#,
            refused(Some(14), 509, "exceed max permits per second", true),
        ),
        (r#"{"id":"15","type":"error","code":"429","data":{"a":1}}"#, refused(Some(15), 429, r#"{"a":1}"#, true)),
        (r#"{"type":"error"}"#, refused(None, 0, "", false)),
        (r#"{"topic":"/market/match:A-B","type":"message","subject":"x","data":{}}"#, None),
        (r#"{ "topic" : "/market/match:A-B", "type" : "message" }"#, None),
        (r#"{"type":"notice"}"#, None),
        ("pong", None),
        ("", None),
    ];
    for market in [Market::Spot, Market::Futures] {
        for (frame, expected) in &table {
            assert_eq!(&of(market).frames.control(frame.as_bytes()), expected, "{frame}");
            let decoded = of(market).frames.decode(&text(frame.as_bytes()), &mut Rows::new());
            assert_eq!(expected.is_some(), decoded == Ok(Decoded::Control), "{frame}");
        }
    }
}

#[test]
fn the_topic_of_a_frame_is_found_without_parsing() {
    let venue = of(Market::Spot);
    let topic = |frame: &str| {
        let key = venue.frames.stream_of(frame.as_bytes(), false)?;
        assert!(key.symbol.is_empty());
        Some(std::str::from_utf8(key.channel).unwrap().to_owned())
    };
    let long = format!(r#"{{"data":{{"x":"{}"}},"subject":"s","topic":"/a:币","type":"message"}}"#, "x".repeat(9000));
    assert_eq!(topic(&long).as_deref(), Some("/a:币"));
    assert_eq!(
        topic(r#"{"id":"6298917d75470d00010885b0","type":"message","topic":"/b:C","data":{"#).as_deref(),
        Some("/b:C")
    );
    assert_eq!(topic(r#"{"topic":"/b:C","type":"error"}"#), None);
    assert_eq!(topic(r#"{"topic":"","type":"message"}"#), None);
    assert_eq!(topic(r#"{"type":"message","topic":"/b"#), None);
    assert_eq!(topic(r#"{"id":"1","type":"ack"}"#), None);
}

#[test]
fn the_recorded_listing_of_spot_gives_every_pair_with_its_steps() {
    let (_, body) = bodies("kucoin-spot/cryptofeed-KUCOIN.0.symbols.zst").swap_remove(0);
    let venue = of(Market::Spot);
    let symbols = venue.rest.parse_listing(body.as_bytes()).unwrap().symbols;
    assert_eq!(symbols.len(), body.matches("\"baseCurrency\"").count());
    let pair = symbols.iter().find(|s| s.name == "REQ-ETH").unwrap();
    assert_eq!((&*pair.base, &*pair.quote, &*pair.status, pair.trading), ("REQ", "ETH", "enabled", true));
    assert_eq!(pair.tick_size.unwrap().to_string(), "0.0000001");
    assert_eq!(pair.lot_size.unwrap().to_string(), "0.0001");
    assert_eq!((pair.kind, pair.listing_time_ms, pair.contract_size), (SymbolKind::Spot, None, None));
    assert!(symbols.iter().any(|s| !s.trading && s.status == "disabled"));

    let meta = meta("symbols", "");
    let frame = Frame { kind: FrameKind::Rest, payload: body.as_bytes(), rest: Some(&meta) };
    let mut rows = Rows::new();
    assert_eq!(venue.frames.decode(&frame, &mut rows), Ok(Decoded::Symbols));
    assert_eq!(rows.listings, symbols);
}

/// The shape of `/api/v1/contracts/active` in the documentation: numbers are JSON numbers.
const CONTRACTS: &str = r#"{"code":"200000","data":[
{"symbol":"XBTUSDTM","rootSymbol":"USDT","type":"FFWCSX","firstOpenDate":1585555200000,"expireDate":null,"baseCurrency":"XBT","quoteCurrency":"USDT","settleCurrency":"USDT","maxPrice":1000000.0,"lotSize":1,"tickSize":0.1,"multiplier":0.001,"isInverse":false,"status":"Open","markPrice":90445.02,"nextFundingRateTime":17752926,"openInterest":"6273644"},
{"symbol":"XBTUSDM","type":"FFWCSX","firstOpenDate":1552638575000,"expireDate":null,"baseCurrency":"XBT","quoteCurrency":"USD","lotSize":1,"tickSize":0.1,"multiplier":-1.0,"isInverse":true,"status":"Open"},
{"symbol":"XBTMZ25","type":"FFICSX","firstOpenDate":1735286400000,"expireDate":1766736000000,"baseCurrency":"XBT","quoteCurrency":"USD","lotSize":1,"tickSize":1E-1,"multiplier":-1.0,"isInverse":true,"status":"BeingSettled"},
{"symbol":"1000BONKUSDTM","type":"NEW","firstOpenDate":1700000000000,"expireDate":1766736000000,"baseCurrency":"1000BONK","quoteCurrency":"USDT","lotSize":1,"tickSize":1E-7,"multiplier":100.0,"isInverse":false,"status":"Paused"}
]}"#;

#[test]
fn contracts_tell_their_size_kind_and_status() {
    let symbols = of(Market::Futures).rest.parse_listing(CONTRACTS.as_bytes()).unwrap().symbols;
    let facts: Vec<_> = symbols
        .iter()
        .map(|s| {
            let size = s.contract_size.unwrap().to_string();
            (&*s.name, s.kind, &*s.status, s.trading, size, s.tick_size.unwrap().to_string())
        })
        .collect();
    let row = |name, kind, status, size: &str, tick: &str| {
        (name, kind, status, status == "Open", size.to_owned(), tick.to_owned())
    };
    assert_eq!(
        facts,
        [
            row("XBTUSDTM", SymbolKind::Perpetual, "Open", "0.001", "0.1"),
            row("XBTUSDM", SymbolKind::InversePerpetual, "Open", "1", "0.1"),
            row("XBTMZ25", SymbolKind::InverseDated, "BeingSettled", "1", "0.1"),
            row("1000BONKUSDTM", SymbolKind::Dated, "Paused", "100", "0.0000001"),
        ]
    );
    assert_eq!(symbols[0].listing_time_ms, Some(1_585_555_200_000));
    assert_eq!((symbols[0].end_time_ms, symbols[2].end_time_ms), (None, Some(1_766_736_000_000)));
    assert_eq!((&*symbols[0].base, &*symbols[0].quote), ("XBT", "USDT"));
    assert_eq!(symbols[0].lot_size.unwrap().to_string(), "1");
}

#[test]
fn a_refusal_is_no_listing_and_new_words_of_an_entry_are_none_of_our_business() {
    let refused = CONTRACTS.replace("\"code\":\"200000\"", "\"code\":\"400100\"");
    assert!(of(Market::Futures).rest.parse_listing(refused.as_bytes()).is_err());
    let spot = r#"{"code":"200000","data":[{"symbol":"A-B","baseCurrency":"A","quoteCurrency":"B","enableTrading":false,"tradingStartTime":1767225600000,"priceIncrement":"0.10","baseIncrement":"","assetClass":"new"}]}"#;
    let listing = of(Market::Spot).rest.parse_listing(spot.as_bytes()).unwrap();
    assert!(listing.rejects.is_empty(), "{:?}", listing.rejects);
    let pair = &listing.symbols[0];
    assert_eq!((pair.listing_time_ms, pair.lot_size), (Some(1_767_225_600_000), None));
    assert_eq!((pair.tick_size.unwrap().to_string(), pair.trading), ("0.1".to_owned(), false));
}

#[test]
fn times_of_every_unit_become_microseconds() {
    let expected = Some(1_767_225_600_123_456);
    assert_eq!(super::super::field::to_micros(1_767_225_600_123_456_789), expected);
    assert_eq!(super::super::field::to_micros(1_767_225_600_123_456), expected);
    assert_eq!(super::super::field::to_micros(1_767_225_600_123), Some(1_767_225_600_123_000));
    assert_eq!(super::super::field::to_micros(1_767_225_600), Some(1_767_225_600_000_000));
    assert_eq!(super::super::field::to_micros(i64::MAX), Some(i64::MAX / 1000));
    assert_eq!((super::super::field::to_micros(0), super::super::field::to_micros(-1)), (Some(0), None));
}

#[test]
fn a_topic_that_nobody_asked_for_is_kept_as_a_frame_and_noted_as_drift() {
    let frame = r#"{"type":"message","topic":"/callauction/callauctionData:BTC-USDT","subject":"callauction.callauctionData","data":{"symbol":"BTC-USDT"}}"#;
    let mut rows = Rows::new();
    let frame = Frame { kind: FrameKind::Text, payload: frame.as_bytes(), rest: None };
    let unknown = of(Market::Spot).frames.decode(&frame, &mut rows);
    assert_eq!(unknown, Err(DecodeError::UnknownType("/callauction/callauctionData".to_owned())));
    assert!(
        rows.drift.items.keys().any(|what| what.contains("/callauction/callauctionData")),
        "{:?}",
        rows.drift.items
    );
}
