//! Planning, subscribing, listings and control frames.

use super::super::super::{Control, KlinesQuery, Limits, Verb, Want};
use super::*;
use model::{Channel, Interval, Symbol, SymbolKind};

fn wants(symbols: &[&str], channels: &[Channel]) -> Vec<Want> {
    let pair = |s: &&str| channels.iter().map(|c| Want { symbol: (*s).to_owned(), channel: *c }).collect::<Vec<_>>();
    symbols.iter().flat_map(pair).collect()
}

fn limits(streams_per_connection: usize, params_per_subscribe: usize) -> Limits {
    Limits { streams_per_connection, params_per_subscribe, ..of(Market::Usdm).spec.limits.clone() }
}

#[test]
fn spot_streams_share_combined_sockets_and_stay_with_their_symbol() {
    let all = of(Market::Spot).spec.channels;
    let plans = of(Market::Spot).streams.plan(&wants(&["BTCUSDT", "ETHUSDT", "币安人生USDT"], all), &limits(13, 200));
    let streams: Vec<_> = plans.iter().map(|p| p.streams.len()).collect();
    // 6 streams each (snapshots are REST): two symbols fit, the third goes to a socket of its own.
    assert_eq!(streams, [12, 6]);
    assert!(plans.iter().all(|p| p.path_and_query == "/stream" && p.wants.len() == p.streams.len()));
    assert_eq!(
        plans[0].streams[..6],
        [
            "btcusdt@trade", "btcusdt@aggTrade", "btcusdt@bookTicker", "btcusdt@depth@100ms", "btcusdt@ticker",
            "btcusdt@kline_1m"
        ]
    );
    assert_eq!(plans[1].streams[0], "币安人生usdt@trade");
    assert_eq!(plans[1].wants[0], [Want { symbol: "币安人生USDT".to_owned(), channel: Channel::Trades }]);
}

#[test]
fn usdm_sockets_serve_one_category_each() {
    let venue = of(Market::Usdm);
    let mut wanted = wants(&["BTCUSDT", "ETHUSDT"], venue.spec.channels);
    wanted.extend(wanted.clone());
    let plans = venue.streams.plan(&wanted, &venue.spec.limits);
    assert_eq!(plans.len(), 2);
    assert_eq!(plans[0].path_and_query, "/public/stream");
    assert_eq!(
        plans[0].streams,
        [
            "btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@100ms", "ethusdt@trade", "ethusdt@bookTicker",
            "ethusdt@depth@100ms"
        ]
    );
    assert_eq!(plans[1].path_and_query, "/market/stream");
    assert_eq!(
        plans[1].streams[..5],
        ["btcusdt@aggTrade", "btcusdt@markPrice@1s", "btcusdt@forceOrder", "btcusdt@ticker", "btcusdt@kline_1m"]
    );
    assert_eq!(plans, venue.streams.plan(&wanted, &venue.spec.limits));
}

#[test]
fn no_socket_exceeds_its_limit_and_no_want_is_lost() {
    let venue = of(Market::Usdm);
    let names: Vec<String> = (0..137).map(|i| format!("S{i}USDT")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let wanted = wants(&names, venue.spec.channels);
    for room in [0, 1, 2, 3, 4, 5, 7, 200, 100_000] {
        let plans = venue.streams.plan(&wanted, &limits(room, 200));
        assert!(plans.iter().all(|p| !p.streams.is_empty() && p.streams.len() <= room.clamp(1, 1024)));
        let mut planned: Vec<Want> = plans.into_iter().flat_map(|p| p.wants).flatten().collect();
        let mut expected: Vec<Want> = wanted.iter().filter(|w| w.channel != Channel::DepthSnapshot).cloned().collect();
        planned.sort();
        expected.sort();
        assert_eq!(planned, expected);
    }
}

#[test]
fn subscribe_messages_keep_the_size_limit_and_count_ids() {
    let streams = ["a@trade", "b@trade", "\"币\"@trade"].map(str::to_owned);
    let messages = of(Market::Spot).streams.messages(Verb::Subscribe, &streams, &limits(200, 2), 7, 0);
    let messages: Vec<&str> = messages.iter().map(|m| m.text.as_str()).collect();
    assert_eq!(
        messages,
        [
            r#"{"method":"SUBSCRIBE","params":["a@trade","b@trade"],"id":7}"#,
            r#"{"method":"SUBSCRIBE","params":["\"币\"@trade"],"id":8}"#,
        ]
    );
    assert!(of(Market::Spot).streams.messages(Verb::Subscribe, &[], &limits(200, 0), 1, 0).is_empty());
}

#[test]
fn snapshot_requests_cost_what_the_venue_charges() {
    let spot = |n| of(Market::Spot).rest.snapshot_request("币USDT", n).unwrap();
    assert_eq!(spot(1000).path_and_query, "/api/v3/depth?symbol=%E5%B8%81USDT&limit=1000");
    assert_eq!([1, 100, 101, 1000, 9999].map(|n| spot(n).weight), [5, 5, 25, 50, 250]);
    assert_eq!(spot(9999).path_and_query, "/api/v3/depth?symbol=%E5%B8%81USDT&limit=5000");
    let usdm = |n| of(Market::Usdm).rest.snapshot_request("BTCUSDT_261225", n).unwrap();
    assert_eq!(usdm(60).path_and_query, "/fapi/v1/depth?symbol=BTCUSDT_261225&limit=100");
    assert_eq!([0, 50, 60, 500, 1000, 5000].map(|n| usdm(n).weight), [2, 2, 5, 10, 20, 20]);
    assert_eq!(usdm(60).symbol.as_deref(), Some("BTCUSDT_261225"));
}

#[test]
fn control_frames_are_distinguished_from_data() {
    let venue = of(Market::Spot);
    let refused = |id, code, msg: &str| {
        Some(Control::Error { id, code, msg: msg.to_owned(), throttled: msg.contains("Too many") })
    };
    let table: [(&str, Option<Control>); 14] = [
        (r#"{"result":null,"id":1}"#, Some(Control::Ack { id: Some(1) })),
        (r#"{ "id" : 12 , "result" : null }"#, Some(Control::Ack { id: Some(12) })),
        (r#"{"result":["a@trade"],"id":"3"}"#, Some(Control::Ack { id: Some(3) })),
        (r#"{"result":null,"id":null}"#, Some(Control::Ack { id: None })),
        (r#"{"code":2,"msg":"Invalid \"x\"","id":4}"#, refused(Some(4), 2, "Invalid \"x\"")),
        (r#"{"error":{"code":-3,"msg":"bad"},"id":5}"#, refused(Some(5), -3, "bad")),
        (r#"{"error":"Too many requests"}"#, refused(None, 0, "Too many requests")),
        (r#"{"e":"serverShutdown","E":1770123456789}"#, Some(Control::ServerShutdown)),
        (
            r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}"#,
            Some(Control::ServerShutdown),
        ),
        (r#"{"stream":"btcusdt@trade","data":{"e":"trade"}}"#, None),
        (r#"{ "stream":"btcusdt@trade","data":{"e":"trade"}}"#, None),
        (r#"{"u":1,"s":"A","b":"1","B":"1","a":"1","A":"1"}"#, None),
        ("pong", None),
        ("", None),
    ];
    for (frame, expected) in table {
        assert_eq!(venue.frames.control(frame.as_bytes()), expected, "{frame}");
        let decoded = venue.frames.decode(&text(frame.as_bytes()), &mut Rows::new());
        assert_eq!(expected.is_some(), decoded == Ok(Decoded::Control), "{frame}");
    }
}

#[test]
fn the_stream_of_a_frame_is_found_without_parsing() {
    let venue = of(Market::Usdm);
    let stream = |frame: &'static str| {
        venue.frames.stream_of(frame.as_bytes(), false).map(|s| std::str::from_utf8(s.channel).unwrap())
    };
    assert_eq!(stream(r#"{"stream":"btcusdt@depth@100ms","data":{}}"#), Some("btcusdt@depth@100ms"));
    assert_eq!(stream(r#"{"stream":"币usdt@trade","data":{"#), Some("币usdt@trade"));
    assert_eq!(stream(r#"{"stream":"!serverShutdown","data":{}}"#), None);
    assert_eq!(stream(r#"{"stream":""#), None);
    assert_eq!(stream(r#"{"result":null,"id":1}"#), None);
}

#[test]
fn the_stream_of_a_frame_with_blanks_or_its_keys_in_another_order_is_known_too() {
    let venue = of(Market::Spot);
    for frame in [
        r#"{"stream": "btcusdt@trade", "data": {"e": "trade"}}"#,
        r#" { "data" : {"stream":"x"}, "stream" : "btcusdt@trade" } "#,
        r#"{"data":{},"new":[1],"stream":"btcusdt@trade"}"#,
    ] {
        let key = venue.frames.stream_of(frame.as_bytes(), false).unwrap();
        assert_eq!(venue.frames.channel_of(key), Some(Channel::Trades), "{frame}");
    }
    for none in [
        r#"{ "stream":"!serverShutdown","data":{}}"#,
        r#"{ "stream":7,"data":{}}"#,
        r#"{ "stream":"a@trade"}"#,
        r#"{"id":1,"result":{"stream":"a@trade","data":{}}}"#,
    ] {
        assert_eq!(venue.frames.stream_of(none.as_bytes(), false), None, "{none}");
    }
}

/// The body of a `<url> -> <time>: <body>` line.
fn body(file: &str) -> Vec<u8> {
    let bytes = data(file);
    let line = bytes.split(|b| *b == b'\n').next().unwrap();
    line[line.windows(3).position(|w| w == b": {").unwrap() + 2..].to_vec()
}

#[test]
fn recorded_listings_give_every_symbol_with_its_steps() {
    let spot = body("binance-spot/cryptofeed-BINANCE.0.exchangeInfo.zst");
    let symbols = of(Market::Spot).rest.parse_listing(&spot).unwrap().symbols;
    let count = spot.windows(11).filter(|w| w == b"\"baseAsset\"").count();
    assert_eq!(symbols.len(), count);
    let btc = symbols.iter().find(|s| s.name == "BTCUSDT").unwrap();
    assert_eq!((&*btc.base, &*btc.quote, &*btc.status, btc.trading), ("BTC", "USDT", "TRADING", true));
    assert_eq!(btc.tick_size.unwrap().to_string(), "0.01");
    assert_eq!(btc.lot_size.unwrap().to_string(), "0.00001");
    assert_eq!((btc.kind, btc.listing_time_ms), (SymbolKind::Spot, None));
    assert!(symbols.iter().any(|s| s.status == "BREAK" && !s.trading));

    let usdm = body("binance-usdm/cryptofeed-BINANCE_FUTURES.0.exchangeInfo.zst");
    let symbols = of(Market::Usdm).rest.parse_listing(&usdm).unwrap().symbols;
    let btc = symbols.iter().find(|s| s.name == "BTCUSDT").unwrap();
    assert_eq!((btc.kind, btc.listing_time_ms), (SymbolKind::Perpetual, Some(1_569_398_400_000)));
    // In the year 2100.
    assert_eq!(btc.end_time_ms, Some(4_133_404_800_000));
    assert_eq!(btc.tick_size.unwrap().to_string(), "0.01");
    assert_eq!(btc.lot_size.unwrap().to_string(), "0.001");
    assert!(symbols.iter().any(|s| s.name.contains('_') && s.kind == SymbolKind::Dated));
    assert!(symbols.iter().all(|s| (s.kind == SymbolKind::Dated) == s.name.contains('_')));
}

#[test]
fn stored_listings_become_rows_of_symbols() {
    let meta = RestMeta { channel: "symbols".to_owned(), ..depth_meta("") };
    let payload = body("binance-usdm/cryptofeed-BINANCE_FUTURES.0.exchangeInfo.zst");
    let frame = Frame { kind: FrameKind::Rest, payload: &payload, rest: Some(&meta) };
    let mut rows = Rows::new();
    assert_eq!(of(Market::Usdm).frames.decode(&frame, &mut rows), Ok(Decoded::Symbols));
    assert_eq!(rows.listings, of(Market::Usdm).rest.parse_listing(&payload).unwrap().symbols);
}

#[test]
fn new_words_of_an_entry_are_none_of_our_business_and_a_refusal_is_no_listing() {
    let listing = |entry: &str| of(Market::Usdm).rest.parse_listing(format!(r#"{{"symbols":[{entry}]}}"#).as_bytes());
    let good = r#"{"symbol":"X币USDT","status":"NEW_WORD","baseAsset":"X币","quoteAsset":"USDT","contractType":"TRADIFI_PERPETUAL","onboardDate":1,"more":{"a":[1]},"filters":[{"filterType":"NEW"},{"filterType":"PRICE_FILTER","tickSize":"0.10"}]}"#;
    let listed = listing(good).unwrap();
    assert!(listed.rejects.is_empty(), "{:?}", listed.rejects);
    let symbols = listed.symbols;
    assert_eq!((symbols[0].trading, symbols[0].kind), (false, SymbolKind::Perpetual));
    assert_eq!((symbols[0].tick_size.unwrap().to_string(), symbols[0].lot_size), ("0.1".to_owned(), None));
    let pending = listing(&good.replace("TRADIFI_PERPETUAL", "")).unwrap();
    assert!(pending.rejects.is_empty() && pending.symbols[0].kind == SymbolKind::Perpetual, "{:?}", pending.rejects);
    assert!(listing(&good.replace("symbol\"", "simbol\"")).is_err(), "no entry has a name");
    for refusal in [r#"{"code":-1003,"msg":"Too many requests"}"#, r#"{"symbols":{}}"#, r#"{"symbols":null}"#, "[]", ""]
    {
        assert!(of(Market::Usdm).rest.parse_listing(refusal.as_bytes()).is_err(), "{refusal}");
    }
}

#[test]
fn the_events_of_trading_sessions_are_an_open_set_kept_as_frames() {
    for event in ["EquityUpdate", "CommodityUpdate", "KR_EquityUpdate", "HK_EquityUpdate", "FxUpdate", "Anything"] {
        let frame = format!(
            r#"{{"stream":"tradingSession","data":{{"e":"{event}","E":1770123456789,"t":1,"T":2,"S":"OPEN","M":"x"}}}}"#
        );
        let mut rows = Rows::new();
        let decoded = of(Market::Usdm).frames.decode(&text(frame.as_bytes()), &mut rows);
        assert_eq!(decoded, Err(DecodeError::UnknownType(event.to_owned())));
        assert!(rows.is_empty());
    }
}

/// A line of the constructed file.
fn constructed(kind: &str) -> String {
    let file = String::from_utf8(super::data("binance-coinm/constructed.tsv")).unwrap();
    let found = file.lines().find_map(|line| line.strip_prefix(&format!("constructed\t{kind}\t")).map(str::to_owned));
    found.unwrap()
}

#[test]
fn coinm_asks_dapi_and_reads_its_own_words_for_contracts() {
    let venue = of(Market::Coinm);
    assert_eq!(venue.rest.listing_request().path_and_query, "/dapi/v1/exchangeInfo");
    assert_eq!(
        venue.rest.snapshot_request("BTCUSD_PERP", 1_000).unwrap().path_and_query,
        "/dapi/v1/depth?symbol=BTCUSD_PERP&limit=1000"
    );
    let plans = venue.streams.plan(&wants(&["BTCUSD_PERP"], venue.spec.channels), &venue.spec.limits);
    assert_eq!(plans.len(), 1, "one path serves all");
    assert_eq!((plans[0].path_and_query.as_str(), plans[0].streams[0].as_str()), ("/stream", "btcusd_perp@trade"));
    let symbols = venue.rest.parse_listing(constructed("symbols").as_bytes()).unwrap().symbols;
    let facts = |s: &Symbol| {
        (s.name.clone(), s.kind.as_str(), s.contract_size.map(|n| n.to_string()), s.status.clone(), s.trading)
    };
    let expected = |name: &str, kind, size: &str, status: &str, trading| {
        (name.to_owned(), kind, Some(size.to_owned()), status.to_owned(), trading)
    };
    assert_eq!(facts(&symbols[0]), expected("BTCUSD_PERP", "inverse_perpetual", "100", "TRADING", true));
    assert_eq!(facts(&symbols[1]), expected("ETHUSD_261225", "inverse_dated", "10", "PENDING_TRADING", false));
    assert_eq!((symbols[0].base.as_str(), symbols[0].quote.as_str()), ("BTC", "USD"));
}

#[test]
fn candles_of_coinm_have_contracts_and_no_quote_volume_and_are_asked_for_in_200_days() {
    let venue = of(Market::Coinm);
    let row = venue.rest.parse_klines(constructed("klines").as_bytes()).unwrap().rows.remove(0);
    assert_eq!(
        (row.volume.unwrap().to_string(), row.taker_buy_volume.unwrap().to_string()),
        ("206".into(), "119".into())
    );
    assert_eq!((row.quote_volume, row.taker_buy_quote_volume, row.trade_count), (None, None, Some(48)));
    let asked = KlinesQuery {
        symbol: "BTCUSD_PERP",
        interval: Interval::M1,
        first_us: 60_000_000,
        last_us: 120_000_000,
        limit: 2,
    };
    let asked = venue.rest.klines_request(&asked).unwrap();
    assert_eq!(
        asked.path_and_query,
        "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1m&startTime=60000&endTime=120000&limit=2"
    );
    let page = venue.spec.klines.unwrap();
    assert_eq!([Interval::M1, Interval::D1, Interval::W1].map(|i| page.rows_of(i)), [1_000, 200, 28]);
}

#[test]
fn rows_of_the_other_family_are_left_out_on_both_markets() {
    for (market, st, rows) in [(Market::Usdm, 1, 1), (Market::Usdm, 2, 0), (Market::Coinm, 2, 1), (Market::Coinm, 1, 0)]
    {
        let frame = format!(
            r#"{{"e":"trade","E":5,"T":4,"s":"BTCUSD_PERP","t":9,"p":"1.5","q":"2","X":"MARKET","m":false,"st":{st}}}"#
        );
        let (seen, fast) = super::both(market, frame.as_bytes());
        assert_eq!((seen.tables.0.0.len(), fast), (rows, rows == 1), "{market:?} {st}");
        assert_eq!(seen.drift.items.is_empty(), rows == 1);
    }
}
