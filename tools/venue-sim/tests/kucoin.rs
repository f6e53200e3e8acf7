//! KuCoin over real sockets: token, welcome, topics, data, pings, errors and limits; books that agree with their stream.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use crate::client::{Client, get, http, recording};
use serde_json::{Value, json};
use venue_sim::{Heartbeat, Limits, Market, Pace, RecordingFile, Repeat, Sim, SimConfig, SimVenue, Source, StartWhen};

const SPOT: &str = "kucoin-spot";
const FUTURES: &str = "kucoin-futures";
const RECORDED: &str = "kucoin-spot/cryptofeed-KUCOIN.ws.1.0.symbols-A.zst";
const RECORDED_BOOKS: &str = "kucoin-spot/cryptofeed-KUCOIN.http.0.0.level2.zst";

fn market(symbols: &[&str], total: u64) -> Market {
    Market {
        symbols: symbols.iter().map(|s| (*s).to_owned()).collect(),
        channels: ["trades", "book_ticker", "depth", "mark_price", "venue_klines", "tickers", "ticker", "depth5"]
            .map(str::to_owned)
            .to_vec(),
        frames_per_s: 1_000,
        total_frames: Some(total),
        start_ms: Some(1_800_000_000_000),
    }
}

fn generated(venue: &str, symbols: &[&str], total: u64) -> SimConfig {
    SimConfig {
        pace: Pace::Max,
        start_when: StartWhen::AllStreams,
        ..SimConfig::generated(&[venue], market(symbols, total))
    }
}

async fn token(sim: &Sim, venue: &str) -> Value {
    let answer = http(sim, "POST", &format!("/{venue}/api/v1/bullet-public"), "").await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["code"], "200000");
    body["data"].clone()
}

/// Requests a token, connects to its endpoint and waits for the welcome.
async fn welcomed(sim: &Sim, venue: &str) -> Client {
    let data = token(sim, venue).await;
    assert_eq!(data["instanceServers"][0]["endpoint"], format!("{}/", sim.ws_url(venue)));
    let path = format!("/?token={}&connectId=c1", data["token"].as_str().unwrap());
    let mut client = Client::connect(sim, venue, &path).await;
    assert_eq!(client.text().await, r#"{"id":"c1","type":"welcome"}"#);
    client
}

async fn subscribe(client: &mut Client, id: &str, topic: &str) -> Value {
    let message = json!({"id": id, "type": "subscribe", "topic": topic, "privateChannel": false, "response": true});
    client.say(&message.to_string()).await;
    serde_json::from_str(&client.text().await).unwrap()
}

fn ack(id: &str) -> Value {
    json!({"id": id, "type": "ack"})
}

const SPOT_TOPICS: [&str; 7] = [
    "/market/match:",
    "/spotMarket/level1:",
    "/market/level2:",
    "/market/candles:",
    "/market/snapshot:",
    "/market/ticker:",
    "/spotMarket/level2Depth5:",
];

/// Subscribes every topic of a symbol and reads `total` frames.
async fn everything(client: &mut Client, topics: &[&str], symbol: &str, total: usize) -> Vec<Value> {
    let mut frames: Vec<Value> = Vec::new();
    for (index, topic) in topics.iter().enumerate() {
        let suffix = if topic.ends_with("andles:") || topic.ends_with("Candle:") { "_1min" } else { "" };
        let id = index.to_string();
        assert_eq!(subscribe(client, &id, &format!("{topic}{symbol}{suffix}")).await, ack(&id));
    }
    while frames.len() < total {
        frames.push(serde_json::from_str(&client.text().await).unwrap());
    }
    frames
}

#[derive(Default, Debug, PartialEq)]
struct Book {
    bids: BTreeMap<i64, String>,
    asks: BTreeMap<i64, String>,
}

fn ticks(price: &str) -> i64 {
    let (whole, fraction) = price.split_once('.').unwrap_or((price, ""));
    format!("{whole}{fraction:0<8}").parse().unwrap()
}

impl Book {
    fn set(&mut self, bid: bool, price: &str, amount: &str) {
        let side = if bid { &mut self.bids } else { &mut self.asks };
        if amount.trim_matches(['0', '.']).is_empty() {
            side.remove(&ticks(price));
        } else {
            side.insert(ticks(price), amount.to_owned());
        }
    }

    fn of_spot(data: &Value) -> Book {
        let mut book = Book::default();
        for (key, bid) in [("bids", true), ("asks", false)] {
            for level in data[key].as_array().unwrap() {
                book.set(bid, level[0].as_str().unwrap(), level[1].as_str().unwrap());
            }
        }
        book
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spot_frames_come_behind_welcome_and_ack_with_the_envelope_and_the_ids_of_the_protocol() {
    let sim = Sim::start(generated(SPOT, &["BTC-USDT"], 3_000)).await.unwrap();
    let mut client = welcomed(&sim, SPOT).await;
    let before = get(&sim, "/kucoin-spot/api/v1/market/orderbook/level2_100?symbol=BTC-USDT").await.json();
    let frames = everything(&mut client, &SPOT_TOPICS, "BTC-USDT", 3_000).await;
    let mut seen = BTreeMap::<String, u64>::new();
    let (mut book, mut last_match) = (Book::of_spot(&before["data"]), 0);
    let mut sequence: i64 = before["data"]["sequence"].as_str().unwrap().parse().unwrap();
    for frame in &frames {
        assert_eq!(frame["type"], "message");
        let (topic, data) = (frame["topic"].as_str().unwrap(), &frame["data"]);
        *seen.entry(format!("{} {}", topic, frame["subject"].as_str().unwrap())).or_default() += 1;
        match topic.split(':').next().unwrap() {
            "/market/match" => {
                let next: i64 = data["sequence"].as_str().unwrap().parse().unwrap();
                assert!(next > last_match);
                last_match = next;
                assert_eq!(data["time"].as_str().unwrap().len(), 19);
                assert!(data["side"] == "buy" || data["side"] == "sell");
            }
            "/market/level2" => {
                assert_eq!(data["sequenceStart"].as_i64(), Some(sequence + 1));
                sequence = data["sequenceEnd"].as_i64().unwrap();
                for (key, bid) in [("bids", true), ("asks", false)] {
                    for level in data["changes"][key].as_array().unwrap() {
                        assert!(level[2].as_str().unwrap().parse::<i64>().unwrap() <= sequence);
                        book.set(bid, level[0].as_str().unwrap(), level[1].as_str().unwrap());
                    }
                }
            }
            _ => {}
        }
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
    sim.wait_finished().await;
    let after = get(&sim, "/kucoin-spot/api/v1/market/orderbook/level2_100?symbol=BTC-USDT").await.json();
    assert_eq!(after["data"]["sequence"], sequence.to_string());
    assert_eq!(book, Book::of_spot(&after["data"]), "the changes lead from the first snapshot to the last");
    let newest = get(&sim, "/kucoin-spot/api/v1/market/histories?symbol=BTC-USDT").await.json();
    assert_eq!(newest["data"][0]["sequence"], last_match.to_string());
    assert_eq!(newest["data"].as_array().unwrap().len(), 100);
    // Candles are folded from all trades: the newest one closes at the newest trade, the close before high and low.
    let all = "/kucoin-spot/api/v1/market/candles?type=1min&symbol=BTC-USDT&startAt=0&endAt=99999999999";
    let candles = get(&sim, all).await.json();
    let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let [close, high, low] = [2, 3, 4].map(|at| number(&candles["data"][0][at]));
    assert_eq!(close, number(&newest["data"][0]["price"]), "{candles}");
    assert!(low <= close && close <= high);

    let report = sim.report();
    let conn = &report.venues[SPOT].connections[0];
    assert_eq!(conn.frames_sent, 3_000);
    assert_eq!(conn.streams["/market/match:BTC-USDT"].last_id, Some(last_match));
    let total: u64 = seen.values().sum();
    assert_eq!(conn.streams.values().map(|stream| stream.frames).sum::<u64>(), total);
}

#[tokio::test(flavor = "multi_thread")]
async fn futures_tell_one_change_per_frame_and_both_subjects_of_the_instrument() {
    let symbol = "\u{5e01}USDTM";
    let sim = Sim::start(generated(FUTURES, &[symbol], 4_000)).await.unwrap();
    let mut client = welcomed(&sim, FUTURES).await;
    let path = "/kucoin-futures/api/v1/level2/snapshot?symbol=%E5%B8%81USDTM";
    let before = get(&sim, path).await.json();
    let topics = [
        "/contractMarket/execution:",
        "/contractMarket/tickerV2:",
        "/contractMarket/level2:",
        "/contractMarket/limitCandle:",
        "/contractMarket/snapshot:",
        "/contractMarket/level2Depth5:",
        "/contract/instrument:",
    ];
    let frames = everything(&mut client, &topics, symbol, 4_000).await;
    let mut sequence = before["data"]["sequence"].as_i64().unwrap();
    let mut subjects: Vec<&str> = frames.iter().map(|frame| frame["subject"].as_str().unwrap()).collect();
    for frame in frames.iter().filter(|frame| frame["topic"].as_str().unwrap().starts_with("/contractMarket/level2:")) {
        sequence += 1;
        assert_eq!((frame["data"]["sequence"].as_i64(), frame["sn"].as_i64()), (Some(sequence), Some(sequence)));
        let change: Vec<&str> = frame["data"]["change"].as_str().unwrap().split(',').collect();
        assert!(change.len() == 3 && (change[1] == "buy" || change[1] == "sell") && change[2].parse::<i64>().is_ok());
    }
    subjects.sort_unstable();
    subjects.dedup();
    assert_eq!(
        subjects,
        ["candle.stick", "funding.rate", "level2", "mark.index.price", "match", "snapshot.24h", "tickerV2"]
    );
    sim.wait_finished().await;
    assert_eq!(get(&sim, path).await.json()["data"]["sequence"].as_i64(), Some(sequence));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_unknown_used_or_old_gets_401_and_closed() {
    let limits = Limits { token_life_ms: 50, ..Limits::default() };
    let sim = Sim::start(SimConfig { limits, ..generated(SPOT, &["A-B"], 10) }).await.unwrap();
    let used = token(&sim, SPOT).await["token"].as_str().unwrap().to_owned();
    let mut first = Client::connect(&sim, SPOT, &format!("/?token={used}&connectId=1")).await;
    assert!(first.text().await.contains("welcome"));
    let old = token(&sim, SPOT).await["token"].as_str().unwrap().to_owned();
    tokio::time::sleep(std::time::Duration::from_millis(80)).await;
    for bad in ["guess", &used, &old] {
        let mut client = Client::connect(&sim, SPOT, &format!("/?token={bad}&connectId=7")).await;
        let (texts, end) = client.drain().await;
        assert_eq!(texts, [r#"{"id":"7","type":"error","code":401,"data":"token is invalid"}"#], "{bad}");
        assert_eq!(end, "1000 Bye");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_in_microseconds_and_a_silent_client_is_closed() {
    let heartbeat = Heartbeat { pong_timeout_ms: Some(400), ..Heartbeat::default() };
    let sim = Sim::start(SimConfig { heartbeat, ..generated(SPOT, &["A-B"], 10) }).await.unwrap();
    let mut client = welcomed(&sim, SPOT).await;
    client.say(r#"{"id":"p1","type":"ping"}"#).await;
    let pong: Value = serde_json::from_str(&client.text().await).unwrap();
    assert_eq!((&pong["id"], &pong["type"]), (&json!("p1"), &json!("pong")));
    assert_eq!(pong["timestamp"].as_i64().unwrap().to_string().len(), 16);
    assert_eq!(client.drain().await, (vec![], "1000 Bye".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_get_their_codes_and_an_unknown_symbol_is_acked() {
    let sim = Sim::start(generated(SPOT, &["A-B"], 10)).await.unwrap();
    let mut client = welcomed(&sim, SPOT).await;
    // The words of the other protocol (UTA), the depth that it gave up included.
    client
        .say(r#"{"id":"1","action":"SUBSCRIBE","channel":"obu","tradeType":"SPOT","symbol":"A-B","depth":"increment"}"#)
        .await;
    assert!(client.text().await.contains(r#""code":415"#));
    let joined = |count: usize| (0..count).map(|i| format!("S{i}-B")).collect::<Vec<_>>().join(",");
    for (topic, code) in [
        ("/market/xx:A-B".to_owned(), 404),
        ("/contractMarket/level2:A-B".to_owned(), 404),
        ("/market/match".to_owned(), 400),
        (format!("/market/match:{}", joined(101)), 509),
    ] {
        let reply = subscribe(&mut client, "9", &topic).await;
        assert_eq!((&reply["type"], &reply["code"]), (&json!("error"), &json!(code)), "{reply}");
    }
    assert_eq!(subscribe(&mut client, "10", &format!("/market/match:{}", joined(100))).await, ack("10"));
    client.say(r#"{"id":1,"type":"dance"}"#).await;
    assert!(client.text().await.starts_with(r#"{"id":"1","type":"error","code":415"#));
    let list = get(&sim, "/kucoin-spot/api/v1/market/orderbook/level2_100?symbol=NO-NO").await;
    assert_ne!(list.json()["code"], "200000");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_messages_get_509_and_the_close_bye_and_too_many_topics_get_509() {
    let limits = Limits { enforce: true, streams_per_connection: 150, ..Limits::default() };
    let sim = Sim::start(SimConfig { limits, ..generated(SPOT, &["A-B"], 10) }).await.unwrap();
    let mut client = welcomed(&sim, SPOT).await;
    let joined = |from: usize, to: usize| (from..to).map(|i| format!("S{i}-B")).collect::<Vec<_>>().join(",");
    assert_eq!(subscribe(&mut client, "1", &format!("/market/match:{}", joined(0, 100))).await, ack("1"));
    let reply = subscribe(&mut client, "2", &format!("/market/match:{}", joined(100, 180))).await;
    assert_eq!(reply["code"], 509);
    assert_eq!(subscribe(&mut client, "3", &format!("/market/match:{}", joined(100, 150))).await, ack("3"));
    for _ in 3..100 {
        client.say(r#"{"id":"p","type":"ping"}"#).await;
        assert!(client.text().await.contains("pong"));
    }
    client.say(r#"{"id":"p","type":"ping"}"#).await;
    let (texts, end) = client.drain().await;
    assert!(texts.len() == 1 && texts[0].contains(r#""code":509"#), "{texts:?}");
    assert_eq!(end, "1000 Bye");
    assert_eq!(sim.report().venues[SPOT].limits.messages_over, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recording_loops_with_sequences_that_go_on_and_books_that_agree() {
    let files = [RECORDED, RECORDED_BOOKS].map(|name| RecordingFile::new(SPOT, recording(name))).to_vec();
    let config = SimConfig {
        pace: Pace::Max,
        repeat: Repeat::Times(3),
        restamp: true,
        start_when: StartWhen::AllStreams,
        venues: vec![SimVenue {
            expected: ["/market/level2:BCHSV-USDT", "/market/match:BCHSV-USDT"].map(str::to_owned).to_vec(),
            ..SimVenue::new(SPOT)
        }],
        ..SimConfig::recordings(files)
    };
    let sim = Sim::start(config).await.unwrap();
    let mut client = welcomed(&sim, SPOT).await;
    assert_eq!(subscribe(&mut client, "1", "/market/match:BCHSV-USDT").await, ack("1"));
    assert_eq!(subscribe(&mut client, "2", "/market/level2:BCHSV-USDT").await, ack("2"));
    let reading = tokio::spawn(async move { client.drain().await.0 });
    sim.wait_finished().await;
    let after = get(&sim, "/kucoin-spot/api/v1/market/orderbook/level2_100?symbol=BCHSV-USDT").await.json();
    sim.stop().await;
    let (mut sequence, mut trades, mut times) = (None, Vec::new(), Vec::new());
    for text in reading.await.unwrap() {
        let frame: Value = serde_json::from_str(&text).unwrap();
        let data = &frame["data"];
        if frame["subject"] == "trade.l3match" {
            trades.push((data["tradeId"].as_str().unwrap().to_owned(), data["sequence"].as_str().unwrap().to_owned()));
            times.push(data["time"].as_str().unwrap().parse::<i64>().unwrap());
        } else {
            let start = data["sequenceStart"].as_i64();
            assert!(sequence.is_none_or(|last: i64| start == Some(last + 1)), "{sequence:?} then {start:?}");
            sequence = data["sequenceEnd"].as_i64();
            for side in ["asks", "bids"] {
                for level in data["changes"][side].as_array().unwrap() {
                    let own: i64 = level[2].as_str().unwrap().parse().unwrap();
                    assert!((start.unwrap()..=sequence.unwrap()).contains(&own));
                }
            }
        }
    }
    assert_eq!(trades.len(), 15);
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "trade times step back: {times:?}");
    let now_ns = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
    assert!((now_ns - times[14]).abs() < 120_000_000_000, "times are those of this run");
    trades.sort();
    trades.dedup();
    assert_eq!(trades.len(), 15, "a trade played again is another trade");
    assert_eq!(after["data"]["sequence"], sequence.unwrap().to_string());
    assert_eq!(after["data"]["bids"].as_array().unwrap().len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_simulation_serves_a_mix_of_venues_each_from_its_own_source() {
    let recorded = Source::Recordings(vec![RecordingFile::new(SPOT, recording(RECORDED))]);
    let config = SimConfig {
        pace: Pace::Max,
        start_when: StartWhen::FirstSubscribe,
        ..SimConfig::venues(vec![
            SimVenue::playing(SPOT, recorded),
            SimVenue::playing(FUTURES, Source::Generated(market(&["XBTUSDTM"], 50))),
            SimVenue::playing("binance-usdm", Source::Generated(market(&["BTCUSDT"], 70))),
        ])
    };
    let sim = Sim::start(config).await.unwrap();
    let mut spot = welcomed(&sim, SPOT).await;
    let mut futures = welcomed(&sim, FUTURES).await;
    let mut binance = Client::connect(&sim, "binance-usdm", "/public/stream").await;
    assert_eq!(subscribe(&mut spot, "1", "/market/ticker:SNX-BTC").await, ack("1"));
    assert!(spot.text().await.contains("SNX-BTC"));
    assert_eq!(subscribe(&mut futures, "1", "/contractMarket/level2:XBTUSDTM").await, ack("1"));
    assert!(futures.text().await.contains("/contractMarket/level2:XBTUSDTM"));
    binance.subscribe(&["btcusdt@depth@100ms"]).await;
    assert!(binance.text().await.contains("btcusdt@depth@100ms"));
    sim.wait_finished().await;
    let report = sim.stop().await;
    let played = |venue: &str| report.venues[venue].played.values().sum::<u64>();
    assert_eq!((played(FUTURES), played("binance-usdm")), (50, 70));
    assert!(played(SPOT) > 3_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_sends_the_same_bytes() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let sim = Sim::start(generated(SPOT, &["BTC-USDT"], 500)).await.unwrap();
        let mut client = welcomed(&sim, SPOT).await;
        runs.push(everything(&mut client, &SPOT_TOPICS, "BTC-USDT", 500).await);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_name_every_symbol_that_plays_and_some_that_do_not() {
    let sim = Sim::start(generated(FUTURES, &["XBTUSDTM"], 10)).await.unwrap();
    let contracts = get(&sim, "/kucoin-futures/api/v1/contracts/active").await;
    assert!(contracts.head.to_lowercase().contains("gw-ratelimit-limit: 2000"), "{}", contracts.head);
    let contracts = contracts.json();
    let of = |symbol: &str| {
        let all = contracts["data"].as_array().unwrap();
        all.iter().find(|contract| contract["symbol"] == symbol).cloned().unwrap()
    };
    assert_eq!((&of("XBTUSDTM")["status"], &of("XBTUSDTM")["multiplier"]), (&json!("Open"), &json!(0.001)));
    assert_eq!(of("HALTEDUSDTM")["status"], "Paused");
    assert_eq!(of("\u{5e01}\u{5b89}\u{4eba}\u{751f}USDTM")["status"], "Open");
}
