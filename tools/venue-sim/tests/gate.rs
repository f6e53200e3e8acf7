//! Gate over real sockets: requests, acks, errors, pings, sizes, the upgrade notice; books and trades of REST that agree with streams.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::client::{Client, get, recording};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use venue_sim::{
    Action, Fault, Heartbeat, Limits, Market, Pace, RecordingFile, Repeat, Sim, SimConfig, SimVenue, StartWhen,
};

const SPOT: &str = "gate-spot";
const FUTURES: &str = "gate-futures";

fn generated(venue: &str, symbols: &[&str], total: u64) -> SimConfig {
    let market = Market {
        symbols: symbols.iter().map(|s| (*s).to_owned()).collect(),
        channels: ["trades", "book_ticker", "depth", "mark_price", "liquidations", "venue_klines", "tickers"]
            .map(str::to_owned)
            .to_vec(),
        frames_per_s: 100,
        total_frames: Some(total),
        start_ms: Some(1_800_000_000_000),
    };
    SimConfig { pace: Pace::Max, start_when: StartWhen::AllStreams, ..SimConfig::generated(&[venue], market) }
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

async fn connect(sim: &Sim, venue: &str, decimal: bool) -> Client {
    let path = if venue == SPOT { "/ws/v4/" } else { "/v4/ws/usdt" };
    let mut request = format!("{}{path}", sim.ws_url(venue)).into_client_request().unwrap();
    if decimal {
        request.headers_mut().insert("X-Gate-Size-Decimal", "1".parse().unwrap());
    }
    let tcp = tokio::net::TcpStream::connect(sim.address()).await.unwrap();
    Client(tokio_tungstenite::client_async(request, tcp).await.unwrap().0)
}

async fn ask(client: &mut Client, request: Value) -> Value {
    client.say(&request.to_string()).await;
    serde_json::from_str(&client.text().await).unwrap()
}

fn subscribe(channel: &str, payload: Value) -> Value {
    json!({"time": now_s(), "id": 7, "channel": channel, "event": "subscribe", "payload": payload})
}

/// Subscribes and expects the ack.
async fn on(client: &mut Client, channel: &str, payload: Value) {
    let reply = ask(client, subscribe(channel, payload.clone())).await;
    assert_eq!((&reply["error"], &reply["result"]["status"]), (&Value::Null, &json!("success")), "{reply}");
    assert_eq!((&reply["id"], &reply["channel"], &reply["payload"]), (&json!(7), &json!(channel), &payload));
}

async fn frames(client: &mut Client, count: usize) -> Vec<Value> {
    client.texts(count).await.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

type Side = BTreeMap<i64, String>;

fn ticks(price: &str) -> i64 {
    let (whole, fraction) = price.split_once('.').unwrap_or((price, ""));
    format!("{whole}{fraction:0<8}").parse().unwrap()
}

/// Applies levels of either market's shape.
fn set(side: &mut Side, levels: &Value) {
    for level in levels.as_array().unwrap() {
        let (price, amount) = if level.is_array() { (&level[0], &level[1]) } else { (&level["p"], &level["s"]) };
        let amount = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
        let key = ticks(price.as_str().unwrap());
        if amount.trim_matches(['0', '.']).is_empty() {
            side.remove(&key);
        } else {
            side.insert(key, amount);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spot_books_and_trades_of_rest_agree_with_the_stream() {
    let symbol = "\u{5e01}_USDT";
    let sim = Sim::start(generated(SPOT, &[symbol], 3_000)).await.unwrap();
    let path = "/gate-spot/api/v4/spot/order_book?currency_pair=%E5%B8%81_USDT&limit=100&with_id=true";
    let before = get(&sim, path).await.json();
    let mut client = connect(&sim, SPOT, false).await;
    for channel in ["spot.trades", "spot.tickers", "spot.book_ticker"] {
        on(&mut client, channel, json!([symbol])).await;
    }
    on(&mut client, "spot.order_book_update", json!([symbol, "100ms"])).await;
    on(&mut client, "spot.candlesticks", json!(["1m", symbol])).await;
    let (mut bids, mut asks) = (Side::new(), Side::new());
    set(&mut bids, &before["bids"]);
    set(&mut asks, &before["asks"]);
    let mut id = before["id"].as_i64().unwrap();
    let mut trades: Vec<Value> = Vec::new();
    let mut channels = Vec::new();
    for frame in frames(&mut client, 3_000).await {
        assert_eq!(
            (&frame["event"], &frame["time"]),
            (&json!("update"), &json!(frame["time_ms"].as_i64().unwrap() / 1_000))
        );
        let result = &frame["result"];
        match frame["channel"].as_str().unwrap() {
            "spot.trades" => trades.push(result.clone()),
            "spot.order_book_update" => {
                assert_eq!(result["U"].as_i64(), Some(id + 1));
                id = result["u"].as_i64().unwrap();
                set(&mut bids, &result["b"]);
                set(&mut asks, &result["a"]);
            }
            _ => {}
        }
        channels.push(frame["channel"].as_str().unwrap().to_owned());
    }
    channels.sort();
    channels.dedup();
    assert_eq!(channels.len(), 5, "{channels:?}");
    sim.wait_finished().await;
    let after = get(&sim, path).await.json();
    assert_eq!(after["id"].as_i64(), Some(id));
    let (mut all_bids, mut all_asks) = (Side::new(), Side::new());
    set(&mut all_bids, &after["bids"]);
    set(&mut all_asks, &after["asks"]);
    assert_eq!((bids, asks), (all_bids, all_asks), "the changes lead from the first snapshot to the last");

    for pair in trades.windows(2) {
        assert_eq!(pair[1]["id_market"].as_i64(), pair[0]["id_market"].as_i64().map(|id| id + 1));
        assert!(pair[1]["id"].as_i64() > pair[0]["id"].as_i64());
    }
    // Pages of a window of seconds are, newest first, exactly the trades that were streamed in it.
    let second = |trade: &Value| trade["create_time"].as_i64().unwrap();
    let (from, to) = (second(&trades[0]) + 5, second(&trades[0]) + 12);
    let streamed: Vec<i64> = trades
        .iter()
        .rev()
        .filter(|trade| (from..=to).contains(&second(trade)))
        .map(|trade| trade["id_market"].as_i64().unwrap())
        .collect();
    assert!(streamed.len() > 60, "{}", streamed.len());
    let mut paged = Vec::new();
    for page in 1.. {
        let path = format!(
            "/gate-spot/api/v4/spot/trades?currency_pair=%E5%B8%81_USDT&from={from}&to={to}&limit=50&page={page}"
        );
        let rows = get(&sim, &path).await.json();
        let rows = rows.as_array().unwrap();
        if rows.is_empty() {
            break;
        }
        paged.extend(rows.iter().map(|row| row["sequence_id"].as_str().unwrap().parse::<i64>().unwrap()));
    }
    assert_eq!(paged, streamed);
    // Candles are folded from all trades: the newest one closes at the newest trade.
    let all = "/gate-spot/api/v4/spot/candlesticks?currency_pair=%E5%B8%81_USDT&interval=1m&from=0&to=99999999999";
    let candles = get(&sim, all).await.json();
    let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let newest = candles.as_array().unwrap().last().unwrap();
    assert_eq!(number(&newest[2]), number(&trades.last().unwrap()["price"]), "{candles}");
    assert_eq!(sim.report().venues[SPOT].connections[0].frames_sent, 3_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn futures_sizes_follow_the_header_and_trades_go_on_by_one() {
    let sim = Sim::start(generated(FUTURES, &["BTC_USDT", "ETH_USDT"], 3_000)).await.unwrap();
    let mut clients = [connect(&sim, FUTURES, true).await, connect(&sim, FUTURES, false).await];
    let symbols = json!(["BTC_USDT", "ETH_USDT"]);
    for client in &mut clients {
        for channel in ["futures.trades", "futures.tickers", "futures.book_ticker"] {
            on(client, channel, symbols.clone()).await;
        }
        on(client, "futures.public_liquidates", json!(["!all"])).await;
        for symbol in ["BTC_USDT", "ETH_USDT"] {
            on(client, "futures.candlesticks", json!(["1m", symbol])).await;
        }
    }
    // The last streams let the market begin: for both clients together.
    for symbol in ["BTC_USDT", "ETH_USDT"] {
        on(&mut clients[1], "futures.order_book_update", json!([symbol, "100ms", "100"])).await;
    }
    let [mut decimal, mut whole] = clients;
    let reading = tokio::spawn(async move { decimal.drain().await.0 });
    let integers = frames(&mut whole, 3_000).await;
    let (mut last, mut has_fraction, mut kinds) = (BTreeMap::new(), false, BTreeMap::<String, u64>::new());
    for frame in &integers {
        let channel = frame["channel"].as_str().unwrap();
        *kinds.entry(channel.to_owned()).or_default() += 1;
        if channel == "futures.trades" {
            for trade in frame["result"].as_array().unwrap() {
                assert!(trade["size"].is_i64(), "{trade}");
                let id = trade["id"].as_i64().unwrap();
                let before = last.insert(trade["contract"].as_str().unwrap().to_owned(), id);
                assert!(before.is_none_or(|before| id == before + 1), "{before:?} then {id}");
            }
        }
    }
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    let newest = get(&sim, "/gate-futures/api/v4/futures/usdt/trades?contract=BTC_USDT&limit=3&offset=1").await.json();
    assert_eq!(newest[0]["id"].as_i64(), Some(last["BTC_USDT"] - 1));
    assert!(newest[0]["size"].is_i64());
    sim.stop().await;
    for text in reading.await.unwrap() {
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame["channel"] == "futures.trades" {
            for trade in frame["result"].as_array().unwrap() {
                has_fraction |= trade["size"].as_str().unwrap().contains('.');
            }
        }
    }
    assert!(has_fraction, "a contract may be cut to tenths");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_and_one_unknown_contract_fails_the_payload() {
    let sim = Sim::start(generated(FUTURES, &["BTC_USDT"], 100)).await.unwrap();
    let mut client = connect(&sim, FUTURES, true).await;
    let mut late = subscribe("futures.trades", json!(["BTC_USDT"]));
    late["time"] = json!(now_s() - 90);
    for (request, code) in [
        (late, 2),
        (subscribe("futures.trades", json!(["BTC_USDT", "NO_USDT"])), 2),
        (subscribe("futures.order_book_update", json!(["BTC_USDT", "50ms"])), 2),
        (subscribe("futures.order_book_update", json!(["BTC_USDT", "20ms", "100"])), 2),
        (subscribe("futures.candlesticks", json!(["2m", "BTC_USDT"])), 2),
        (subscribe("spot.trades", json!(["BTC_USDT"])), 2),
        (subscribe("futures.trades", json!("BTC_USDT")), 2),
        (json!({"channel": "futures.trades", "event": "subscribe", "payload": ["BTC_USDT"]}), 1),
        (json!({"time": now_s(), "channel": "futures.trades", "event": "dance", "payload": []}), 1),
    ] {
        let reply = ask(&mut client, request.clone()).await;
        assert_eq!((&reply["error"]["code"], &reply["result"]), (&json!(code), &Value::Null), "{request} -> {reply}");
    }
    let streams = &sim.report().venues[FUTURES].connections[0].streams;
    assert!(streams.is_empty(), "nothing was subscribed: {streams:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_the_notice_comes_and_a_silent_client_is_closed() {
    let heartbeat = Heartbeat { ping_interval_ms: Some(100), pong_timeout_ms: Some(500) };
    let sim = Sim::start(SimConfig { heartbeat, ..generated(FUTURES, &["BTC_USDT"], 100) }).await.unwrap();
    let mut client = connect(&sim, FUTURES, true).await;
    let pong = ask(&mut client, json!({"time": now_s(), "id": 3, "channel": "futures.ping"})).await;
    assert_eq!((&pong["channel"], &pong["id"], &pong["error"]), (&json!("futures.pong"), &json!(3), &Value::Null));
    assert_eq!(sim.fault(Fault::now(Action::ServerShutdown)), 1);
    let notice: Value = serde_json::from_str(&client.text().await).unwrap();
    assert_eq!((&notice["channel"], &notice["result"]["type"]), (&json!("futures.system"), &json!("upgrade")));
    assert_eq!(client.drain().await, (vec![], "1000 ".to_owned()));
    let report = sim.stop().await;
    assert_eq!(report.venues[FUTURES].connections[0].end.as_deref(), Some("no sign of life came in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_refused_with_the_headers_of_the_venue() {
    let limits = Limits { enforce: true, ..Limits::default() };
    let sim = Sim::start(SimConfig { limits, ..generated(SPOT, &["BTC_USDT"], 10) }).await.unwrap();
    let mut refused = None;
    for _ in 0..420 {
        let answer = get(&sim, "/gate-spot/api/v4/spot/time").await;
        assert!(answer.head.to_lowercase().contains("x-gate-ratelimit-limit: 200"), "{}", answer.head);
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!((refused.status, &refused.json()["label"]), (429, &json!("TOO_MANY_REQUESTS")));
    let head = refused.head.to_lowercase();
    assert!(
        head.contains("x-gate-ratelimit-requests-remain: 0") && head.contains("x-gate-ratelimit-reset-timestamp: ")
    );
    assert_eq!(sim.report().venues[SPOT].limits.weight_over, 1);
}

/// Three loops of a recorded book: ids go on, times are of this run, REST agrees.
async fn looped(venue: &str, files: [&str; 2], symbol: &str, channel: &str, path: &str) {
    let files = files.map(|name| RecordingFile::new(venue, recording(name))).to_vec();
    let config = SimConfig {
        pace: Pace::Max,
        repeat: Repeat::Times(3),
        restamp: true,
        start_when: StartWhen::AllStreams,
        venues: vec![SimVenue { expected: vec![format!("{channel} {symbol}")], ..SimVenue::new(venue) }],
        ..SimConfig::recordings(files)
    };
    let sim = Sim::start(config).await.unwrap();
    let mut client = connect(&sim, venue, true).await;
    on(&mut client, channel, json!([symbol, "100ms"])).await;
    let reading = tokio::spawn(async move { client.drain().await.0 });
    sim.wait_finished().await;
    let after = get(&sim, path).await.json();
    let report = sim.stop().await;
    let mut last = None;
    let frames: Vec<Value> = reading.await.unwrap().iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert!(frames.len() > 30, "{}", frames.len());
    for frame in &frames {
        let (first, end) = (frame["result"]["U"].as_i64(), frame["result"]["u"].as_i64());
        assert!(last.is_none_or(|last: i64| first == Some(last + 1)), "{last:?} then {first:?}");
        last = end;
        assert!((frame["time"].as_i64().unwrap() - now_s()).abs() < 180, "{frame}");
        for level in frame["result"]["b"].as_array().unwrap() {
            assert!(level.is_array() || level["s"].is_string(), "{level}");
        }
    }
    assert_eq!(after["id"].as_i64(), last);
    assert!(!after["bids"].as_array().unwrap().is_empty());
    let stream = &report.venues[venue].connections[0].streams[&format!("{channel} {symbol}")];
    assert_eq!((stream.frames, stream.last_id), (frames.len() as u64, last));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spot_recording_loops_with_ids_that_go_on() {
    let files =
        ["gate-spot/cryptofeed-GATEIO.ws.1.0.symbols-A.zst", "gate-spot/cryptofeed-GATEIO.http.0.0.order_book.zst"];
    let path = "/gate-spot/api/v4/spot/order_book?currency_pair=OMG_USDT&limit=100&with_id=true";
    looped(SPOT, files, "OMG_USDT", "spot.order_book_update", path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_futures_recording_loops_with_ids_that_go_on() {
    let files = [
        "gate-futures/cryptofeed-GATEIO_FUTURES.ws.1.0.symbols-A.zst",
        "gate-futures/cryptofeed-GATEIO_FUTURES.http.0.0.order_book.zst",
    ];
    let path = "/gate-futures/api/v4/futures/usdt/order_book?contract=RDNT_USDT&limit=100&with_id=true";
    looped(FUTURES, files, "RDNT_USDT", "futures.order_book_update", path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_tell_places_and_states() {
    let sim = Sim::start(generated(FUTURES, &["BTC_USDT", "ETH_USDT"], 10)).await.unwrap();
    let contracts = get(&sim, "/gate-futures/api/v4/futures/usdt/contracts").await.json();
    let of = |name: &str| contracts.as_array().unwrap().iter().find(|c| c["name"] == name).cloned().unwrap();
    assert_eq!((&of("BTC_USDT")["enable_decimal"], &of("BTC_USDT")["order_size_min"]), (&json!(false), &json!("1")));
    assert_eq!((&of("ETH_USDT")["enable_decimal"], &of("ETH_USDT")["order_size_min"]), (&json!(true), &json!("0.1")));
    assert_eq!(of("HALTED_USDT")["status"], "delisted");
}
