//! What is requested: plans, subscribe messages, REST requests, and the answers to repairs.

use serde_json::Value;

use super::*;
use crate::Verb;

fn limits(streams: usize, params: usize) -> Limits {
    Limits { streams_per_connection: streams, params_per_subscribe: params, ..of(Market::Spot).spec.limits.clone() }
}

fn wants(symbols: &[&str], channels: &[Channel]) -> Vec<Want> {
    let all = symbols.iter().flat_map(|s| channels.iter().map(|c| Want { symbol: (*s).to_owned(), channel: *c }));
    all.collect()
}

/// Streams that a subscribe message names, by the documentation's shape of the payload.
fn streams_of(message: &Value) -> Vec<String> {
    let channel = message["channel"].as_str().unwrap();
    let payload: Vec<&str> = message["payload"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    let symbols = match channel.split_once('.').unwrap().1 {
        "candlesticks" => {
            assert_eq!((payload.len(), payload[0]), (2, "1m"));
            &payload[1..]
        }
        "order_book_update" => {
            let words: &[&str] = if channel.starts_with("spot") { &["100ms"] } else { &["100ms", "100"] };
            assert_eq!(&payload[1..], words);
            &payload[..1]
        }
        _ => &payload[..],
    };
    symbols.iter().map(|s| format!("{channel} {s}")).collect()
}

#[test]
fn subscribe_messages_parse_back_to_the_streams_of_the_plan() {
    let symbols = ["BTC_USDT", "龙虾_USDT", "ETH_USDT", "A\"B_USDT", "XRP_USDT"];
    for market in MARKETS {
        let venue = of(market);
        let wants = wants(&symbols, venue.spec.channels);
        let plans = venue.streams.plan(&wants, &limits(7, 2));
        let mut seen = Vec::new();
        for plan in &plans {
            assert!(plan.streams.len() <= 7 && plan.streams.len() == plan.wants.len());
            let messages = venue.streams.messages(Verb::Subscribe, &plan.streams, &limits(7, 2), 5, 1_700_000_000);
            let mut asked = Vec::new();
            for (nth, message) in messages.iter().enumerate() {
                let message: Value = serde_json::from_str(&message.text).unwrap();
                assert_eq!(message["event"], "subscribe");
                assert_eq!(message["id"], 5 + nth as u64);
                assert_eq!(message["time"], 1_700_000_000);
                assert!(message["payload"].as_array().unwrap().len() <= 3);
                asked.extend(streams_of(&message));
            }
            let mut expected = plan.streams.clone();
            asked.sort();
            expected.sort();
            assert_eq!(asked, expected);
            seen.extend(asked);
        }
        seen.sort();
        seen.dedup();
        let channels = if market == Market::Spot { 5 } else { 6 };
        assert_eq!(seen.len(), symbols.len() * channels, "{market:?}: every stream once");
        let path = if market == Market::Spot { "/ws/v4/" } else { "/v4/ws/usdt" };
        assert!(plans.iter().all(|p| p.path_and_query == path));
        assert!(venue.streams.plan(&wants, &limits(0, 0)).iter().all(|p| p.streams.len() == 1));
    }
}

#[test]
fn no_message_has_more_than_a_hundred_symbols_whatever_is_configured() {
    let symbols: Vec<String> = (0..250).map(|i| format!("A{i}_USDT")).collect();
    let streams: Vec<String> = symbols.iter().map(|s| format!("futures.trades {s}")).collect();
    let messages = of(Market::Futures).streams.messages(Verb::Subscribe, &streams, &limits(1000, 5000), 1, 0);
    let sizes: Vec<usize> = messages
        .iter()
        .map(|m| serde_json::from_str::<Value>(&m.text).unwrap()["payload"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn mark_price_and_tickers_share_one_stream_and_symbols_stay_together() {
    let venue = of(Market::Futures);
    let all = wants(&["A_B", "C_D"], &[Channel::MarkPrice, Channel::Tickers, Channel::Trades, Channel::Trades]);
    let plans = venue.streams.plan(&all, &limits(3, 100));
    let streams: Vec<&[String]> = plans.iter().map(|p| p.streams.as_slice()).collect();
    assert_eq!(streams, [["futures.tickers A_B", "futures.trades A_B"], ["futures.tickers C_D", "futures.trades C_D"]]);
    let channels = |wants: &[Want]| wants.iter().map(|w| w.channel).collect::<Vec<_>>();
    assert_eq!(channels(&plans[0].wants[0]), [Channel::MarkPrice, Channel::Tickers], "it serves both");
    assert_eq!(channels(&plans[0].wants[1]), [Channel::Trades]);
    // A symbol of more streams than a socket has room for is cut, never dropped.
    let plans = venue.streams.plan(&wants(&["A_B"], venue.spec.channels), &limits(4, 100));
    assert_eq!(plans.iter().map(|p| p.streams.len()).collect::<Vec<_>>(), [4, 2]);
    assert_eq!(
        of(Market::Spot).streams.plan(&wants(&["A_B"], &[Channel::MarkPrice, Channel::AggTrades]), &limits(9, 9)),
        []
    );
}

#[test]
fn the_recorder_of_the_tapes_subscribed_as_we_do() {
    for market in MARKETS {
        let theirs: Vec<Value> = sent(market).iter().map(|m| serde_json::from_str(m).unwrap()).collect();
        for channel in ["trades", "candlesticks"] {
            let name = format!("{}{channel}", market.prefix());
            let of_channel = |m: &&Value| m["channel"] == name.as_str();
            let theirs: Vec<&Value> = theirs.iter().filter(of_channel).collect();
            let streams: Vec<String> = theirs.iter().flat_map(|m| streams_of(m)).collect();
            let ours = of(market).streams.messages(Verb::Subscribe, &streams, &limits(200, 100), 1, 0);
            let ours: Vec<Value> = ours.iter().map(|m| serde_json::from_str(&m.text).unwrap()).collect();
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(theirs) {
                assert_eq!((&ours["event"], &ours["payload"]), (&theirs["event"], &theirs["payload"]));
            }
        }
    }
}

#[test]
fn the_upgrade_of_futures_asks_for_decimal_sizes() {
    assert_eq!(of(Market::Futures).spec.headers(None), [("X-Gate-Size-Decimal", "1".to_owned())]);
    assert_eq!(of(Market::Futures).spec.headers(None), of(Market::Futures).spec.headers(None));
    assert!(of(Market::Spot).spec.headers(None).is_empty() && of(Market::Spot).spec.headers(None).is_empty());
}

#[test]
fn pings_are_those_of_the_market_and_both_markets_share_a_pace() {
    let ping = of(Market::Spot).streams.ping_message(3, 1_700_000_000).unwrap();
    assert_eq!(ping, r#"{"time":1700000000,"id":3,"channel":"spot.ping"}"#);
    assert!(of(Market::Futures).streams.ping_message(3, 1).unwrap().contains(r#""futures.ping""#));
    assert_eq!(of(Market::Spot).spec.pace_group, of(Market::Futures).spec.pace_group);
}

#[test]
fn requests_name_their_symbol_percent_encoded() {
    let path =
        |market: Market, symbol: &str, levels| of(market).rest.snapshot_request(symbol, levels).unwrap().path_and_query;
    assert_eq!(
        path(Market::Spot, "BTC_USDT", 1000),
        "/api/v4/spot/order_book?currency_pair=BTC_USDT&limit=100&with_id=true"
    );
    assert_eq!(
        path(Market::Futures, "龙虾_USDT", 20),
        "/api/v4/futures/usdt/order_book?contract=%E9%BE%99%E8%99%BE_USDT&interval=0&limit=20&with_id=true"
    );
    assert_eq!(of(Market::Spot).rest.listing_request().path_and_query, "/api/v4/spot/currency_pairs");
    assert_eq!(of(Market::Futures).rest.listing_request().path_and_query, "/api/v4/futures/usdt/contracts");
}

fn missing(symbol: &str, page: u32) -> Missing<'_> {
    Missing {
        channel: Channel::Trades,
        symbol,
        from: 100,
        to: 104,
        after_us: Some(1_700_000_000_900_000),
        before_us: Some(1_700_000_002_100_000),
        page,
    }
}

#[test]
fn repairs_ask_for_the_seconds_around_the_gap_page_by_page() {
    let ask = |market: Market, missing| of(market).repair_request(&missing);
    let first = ask(Market::Spot, missing("币_USDT", 0)).unwrap();
    let expected = "/api/v4/spot/trades?currency_pair=%E5%B8%81_USDT&from=1700000000&to=1700000003&limit=1000&page=1";
    assert_eq!(first.path_and_query, expected);
    assert_eq!((first.channel.as_str(), first.symbol.as_deref()), ("trades", Some("币_USDT")));
    assert_eq!(first.fill, Some(Fill { from: 100, to: 104 }));
    assert!(ask(Market::Spot, missing("A_B", 99)).unwrap().path_and_query.ends_with("&page=100"));
    let second = ask(Market::Futures, missing("A_B", 1)).unwrap();
    let expected = "/api/v4/futures/usdt/trades?contract=A_B&from=1700000000&to=1700000003&limit=1000&offset=1000";
    assert_eq!(second.path_and_query, expected);
    for market in MARKETS {
        // The venue serves no more than 100000 trades of a window.
        assert_eq!(ask(market, missing("A_B", 100)), None);
        assert_eq!(ask(market, missing("A_B", u32::MAX)), None);
        assert_eq!(ask(market, Missing { after_us: None, before_us: None, ..missing("A_B", 0) }), None);
        assert_eq!(ask(market, Missing { channel: Channel::AggTrades, ..missing("A_B", 0) }), None);
        let open_end = ask(market, Missing { before_us: None, ..missing("A_B", 0) }).unwrap();
        assert!(!open_end.path_and_query.contains("&to="));
        let look_back = ask(market, Missing { after_us: None, ..missing("A_B", 0) }).unwrap();
        assert!(look_back.path_and_query.contains("from=1699999403&to=1700000003"));
    }
}

#[test]
fn the_rows_of_a_repair_are_cut_to_the_ids_that_were_missing() {
    let body = |id: &str, row: &dyn Fn(i64) -> String| {
        let rows: Vec<String> = (98..108).rev().map(row).collect();
        format!("[{}]", rows.join(",")).replace("ID", id)
    };
    let spot = body("sequence_id", &|id| {
        format!(
            r#"{{"id":"9{id}","create_time_ms":"1700000001000.{id}","currency_pair":"A_B","side":"buy","amount":"1","price":"2","ID":"{id}"}}"#
        )
    });
    let futures = body("id", &|id| {
        format!(r#"{{"ID":{id},"create_time":1700000001.5,"contract":"A_B","size":-{id},"price":"2"}}"#)
    });
    for (market, body) in [(Market::Spot, spot), (Market::Futures, futures)] {
        let mut meta = meta("trades", "A_B");
        let ids = |meta: &RestMeta| {
            let (result, rows) = decode_rest(market, body.as_bytes(), meta);
            assert_eq!(result, Ok(Decoded::Rows(Channel::Trades)));
            rows.trades.iter().map(|t| t.id.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&meta), (98..108).collect::<Vec<_>>());
        meta.fill = Some(Fill { from: 100, to: 104 });
        assert_eq!(ids(&meta), [100, 101, 102, 103, 104]);
        meta.fill = Some(Fill { from: 500, to: 600 });
        assert_eq!(ids(&meta), [0_i64; 0]);
        meta.status = 429;
        assert_eq!(decode_rest(market, body.as_bytes(), &meta).0, Err(DecodeError::HttpStatus(429)));
    }
}

#[test]
fn listings_of_today_tell_kind_start_and_status() {
    let body = r#"[{"name":"龙虾_USDT","type":"direct","quanto_multiplier":"10","order_price_round":"0.00001","order_size_min":"0.1","enable_decimal":true,"in_delisting":false,"status":"trading","create_time":1700000000,"launch_time":1700003600,"contract_type":"","is_pre_market":false},
        {"name":"OLD_USDT","type":"direct","quanto_multiplier":"1","order_price_round":"0.1","order_size_min":1,"in_delisting":true,"status":"delisting","create_time":0,"delisting_time":1800000000,"delisted_time":1800086400},
        {"name":"GONE_USDT","type":"direct","quanto_multiplier":"1","order_price_round":"0.1","order_size_min":1,"status":"delisted"},
        {"name":"BTC_USDT_20260925","type":"direct","quanto_multiplier":"0.0001","order_price_round":"0.1","order_size_min":1},
        {"name":"BTC_USD","type":"inverse","quanto_multiplier":"0","order_price_round":"0.1","order_size_min":1}]"#;
    let all = of(Market::Futures).rest.parse_listing(body.as_bytes()).unwrap().symbols;
    let seen: Vec<_> = all.iter().map(|s| (s.name.as_str(), s.kind.as_str(), s.status.as_str(), s.trading)).collect();
    assert_eq!(
        seen,
        [
            ("龙虾_USDT", "perpetual", "trading", true),
            ("OLD_USDT", "perpetual", "delisting", true),
            ("GONE_USDT", "perpetual", "delisted", false),
            ("BTC_USDT_20260925", "dated", "trading", true),
            ("BTC_USD", "inverse_perpetual", "trading", true),
        ]
    );
    assert_eq!((all[0].listing_time_ms, all[1].listing_time_ms), (Some(1_700_003_600_000), None));
    assert_eq!((all[0].end_time_ms, all[1].end_time_ms), (None, Some(1_800_086_400_000)));
    assert_eq!((all[0].lot_size, all[0].contract_size), (Some(num("0.1")), Some(num("10"))));
    assert_eq!((all[3].base.as_str(), all[3].quote.as_str()), ("BTC", "USDT"));
    assert_eq!(all[4].contract_size, None);
    let body = r#"[{"id":"A_B","base":"A","quote":"B","precision":4,"amount_precision":0,"trade_status":"untradable","buy_start":1700000001,"sell_start":1700000000,"delisting_time":1800000000,"type":"premarket","st_tag":false}]"#;
    let pair = of(Market::Spot).rest.parse_listing(body.as_bytes()).unwrap().symbols.remove(0);
    assert_eq!((pair.trading, pair.listing_time_ms), (false, Some(1_700_000_000_000)));
    assert_eq!(pair.end_time_ms, Some(1_800_000_000_000));
    assert_eq!((pair.tick_size, pair.lot_size), (Some(num("0.0001")), Some(num("1"))));
    for damaged in [r#"[{"ID":"A_B"}]"#, r#"{"label":"TOO_MANY_REQUESTS"}"#, r#"[{"nam":"A_B"}]"#, "[[]]", "[1", ""] {
        assert!(MARKETS.iter().all(|m| of(*m).rest.parse_listing(damaged.as_bytes()).is_err()), "{damaged}");
    }
}
