//! The SBE venue over real sockets, read by a decoder of its own: binary data that say what the JSON frames say, text control, the key.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use crate::client::{Client, frames_of, get, recording};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message};
use venue_sim::{Action, Fault, Market, Pace, RecordingFile, Repeat, Sim, SimConfig, SimVenue, Source, StartWhen};

const SPOT: &str = "binance-spot/hft-btcusdt_20240808.zst";
const SBE: &str = "binance-spot-sbe";
const KEY: [(&str, &str); 1] = [("X-MBX-APIKEY", "any key")];

/// Reads little-endian values off a frame.
struct Cut<'a>(&'a [u8]);

impl Cut<'_> {
    fn int(&mut self, bytes: usize) -> i64 {
        let (head, tail) = self.0.split_at(bytes);
        self.0 = tail;
        let fill = if bytes == 8 || head[bytes - 1] < 128 || bytes > 1 { 0 } else { 255 };
        let mut wide = [fill; 8];
        wide[..bytes].copy_from_slice(head);
        i64::from_le_bytes(wide)
    }

    fn ints(&mut self, count: usize) -> Vec<i64> {
        (0..count).map(|_| self.int(8)).collect()
    }

    fn symbol(mut self) -> String {
        let bytes = self.int(1) as usize;
        assert_eq!(self.0.len(), bytes, "nothing stands after the symbol");
        String::from_utf8(self.0.to_vec()).unwrap()
    }
}

/// A value as a decimal text without needless zeros.
fn decimal(mantissa: i64, exponent: i64) -> String {
    plain(&format!("{:.8}", mantissa as f64 * 10f64.powi(exponent as i32)))
}

fn plain(text: &str) -> String {
    let text = format!("{:.8}", text.parse::<f64>().unwrap());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[derive(Debug, PartialEq)]
struct Frame {
    template: i64,
    symbol: String,
    event_us: i64,
    /// Transact time of trades, ids of the others.
    ids: Vec<i64>,
    /// (id or side, price, amount, maker)
    rows: Vec<(i64, String, String, bool)>,
}

fn decode(bytes: &[u8]) -> Frame {
    let mut cut = Cut(bytes);
    let (block, template, schema, version) = (cut.int(2), cut.int(2), cut.int(2), cut.int(2));
    assert_eq!((schema, version), (1, 0));
    let event_us = cut.int(8);
    let ids = cut.ints(if template == 10003 { 2 } else { 1 });
    let (price, amount) = (cut.int(1), cut.int(1));
    let mut rows = Vec::new();
    match template {
        10000 => {
            assert_eq!((block, cut.int(2)), (18, 25));
            for _ in 0..cut.int(4) {
                let values = cut.ints(3);
                let maker = cut.int(1) == 1;
                rows.push((values[0], decimal(values[1], price), decimal(values[2], amount), maker));
            }
        }
        10001 => {
            assert_eq!(block, 50);
            for side in 0..2 {
                let values = cut.ints(2);
                rows.push((side, decimal(values[0], price), decimal(values[1], amount), false));
            }
        }
        10002 | 10003 => {
            assert_eq!(block, if template == 10002 { 18 } else { 26 });
            for side in 0..2 {
                assert_eq!(cut.int(2), 16);
                for _ in 0..cut.int(2) {
                    let values = cut.ints(2);
                    rows.push((side, decimal(values[0], price), decimal(values[1], amount), false));
                }
            }
        }
        other => panic!("template {other}"),
    }
    Frame { template, symbol: cut.symbol(), event_us, ids, rows }
}

async fn frame(client: &mut Client) -> Frame {
    match client.next().await {
        Some(Ok(Message::Binary(bytes))) => decode(&bytes),
        other => panic!("expected a binary frame, got {other:?}"),
    }
}

/// Every message up to the end of the connection, read beside whatever the test does.
fn reading(mut client: Client) -> tokio::task::JoinHandle<(Vec<Frame>, Vec<String>)> {
    tokio::spawn(async move {
        let (mut frames, mut texts) = (Vec::new(), Vec::new());
        while let Some(Ok(message)) = client.next().await {
            match message {
                Message::Binary(bytes) => frames.push(decode(&bytes)),
                Message::Text(text) => texts.push(text.to_string()),
                _ => break,
            }
        }
        (frames, texts)
    })
}

async fn open(sim: &Sim, path: &str) -> Client {
    Client::connect_with(sim, SBE, path, &KEY).await.unwrap()
}

fn recorded() -> SimConfig {
    let config = SimConfig::recordings(vec![RecordingFile::new(SBE, recording(SPOT))]);
    SimConfig { pace: Pace::Max, start_when: StartWhen::AllStreams, ..config }
}

fn levels(data: &Value) -> Vec<(i64, String, String, bool)> {
    let side = |key: &str, side: i64| {
        let text = |value: &Value| plain(value.as_str().unwrap());
        let list = data[key].as_array().unwrap().clone();
        list.into_iter().map(move |level| (side, text(&level[0]), text(&level[1]), false))
    };
    side("b", 0).chain(side("a", 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_recording_plays_as_sbe_with_every_id_price_and_amount() {
    let sim = Sim::start(recorded()).await.unwrap();
    let mut client = open(&sim, "/ws/btcusdt@bestBidAsk").await;
    client.subscribe(&["btcusdt@trade", "btcusdt@depth"]).await;
    let ms = |us: i64| us.div_euclid(1_000);
    let mut orders = 0;
    let mut trades: Vec<(i64, String, String, bool)> = Vec::new();
    let mut trade_ms = 0;
    let mut sub_ms = 0;
    for json in frames_of(SPOT) {
        let json: Value = serde_json::from_str(&json).unwrap();
        let (stream, data) = (json["stream"].as_str().unwrap(), &json["data"]);
        let text = |key: &str| plain(data[key].as_str().unwrap());
        if stream == "btcusdt@trade" {
            if trades.is_empty() {
                let next = frame(&mut client).await;
                assert_eq!((next.template, next.symbol.as_str()), (10000, "BTCUSDT"));
                assert!(next.event_us > next.ids[0]);
                (trade_ms, orders) = (ms(next.ids[0]), orders + 1);
                sub_ms |= next.ids[0] % 1_000;
                trades = next.rows;
                assert!(trades.windows(2).all(|pair| pair[0].3 == pair[1].3));
            }
            let row = (data["t"].as_i64().unwrap(), text("p"), text("q"), data["m"].as_bool().unwrap());
            assert_eq!((trades.remove(0), trade_ms), (row, data["T"].as_i64().unwrap()));
            continue;
        }
        assert!(trades.is_empty(), "a frame carries only trades that follow each other");
        let next = frame(&mut client).await;
        match stream {
            "btcusdt@bookTicker" => {
                assert_eq!((next.template, next.ids.as_slice()), (10001, [data["u"].as_i64().unwrap()].as_slice()));
                let rows = vec![(0, text("b"), text("B"), false), (1, text("a"), text("A"), false)];
                assert_eq!(next.rows, rows);
            }
            _ => {
                assert_eq!((next.template, ms(next.event_us)), (10003, data["E"].as_i64().unwrap()));
                assert_eq!(next.ids, [data["U"].as_i64().unwrap(), data["u"].as_i64().unwrap()]);
                assert_eq!(next.rows, levels(data));
            }
        }
    }
    assert!(sub_ms > 0, "times are finer than milliseconds");
    let report = sim.stop().await;
    let conn = &report.venues[SBE].connections[0];
    let counts: BTreeMap<&str, u64> =
        conn.streams.iter().map(|(name, stream)| (name.as_str(), stream.frames)).collect();
    let expected = [("btcusdt@bestBidAsk", 28_040), ("btcusdt@depth", 3_451), ("btcusdt@trade", orders)];
    assert_eq!(counts, BTreeMap::from(expected));
    assert!((1..9_757).contains(&orders), "some orders had several trades: {orders}");
}

#[tokio::test(flavor = "multi_thread")]
async fn restamped_loops_are_continuous_and_lie_at_the_present() {
    let config =
        SimConfig { restamp: true, repeat: Repeat::Times(2), start_when: StartWhen::FirstSubscribe, ..recorded() };
    let sim = Sim::start(config).await.unwrap();
    let reader = reading(open(&sim, "/stream?streams=btcusdt@trade/btcusdt@depth").await);
    sim.wait_finished().await;
    sim.stop().await;
    let (mut trade, mut update, mut trades, mut updates) = (None, None, 0, 0);
    for next in reader.await.unwrap().0 {
        if next.template == 10000 {
            for row in &next.rows {
                assert!(trade.is_none_or(|before| row.0 == before + 1));
                (trade, trades) = (Some(row.0), trades + 1);
            }
        } else {
            assert!(update.is_none_or(|before| next.ids[0] == before + 1));
            (update, updates) = (Some(next.ids[1]), updates + 1);
        }
        let now_us = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
        assert!((now_us - next.event_us).abs() < 86_400_000_000, "{next:?}");
    }
    assert_eq!((trades, updates), (2 * 9_757, 2 * 3_451));
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_books_of_twenty_levels_follow_the_updates_while_someone_listens() {
    let sim = Sim::start(SimConfig { start_when: StartWhen::FirstSubscribe, ..recorded() }).await.unwrap();
    let reader = reading(open(&sim, "/ws/btcusdt@depth20/btcusdt@depth").await);
    sim.wait_finished().await;
    let report = sim.stop().await;
    let (mut before, mut base, mut caught_up): (Option<Frame>, Option<i64>, usize) = (None, None, 0);
    for next in reader.await.unwrap().0 {
        if next.template == 10002
            && let Some(diff) = before
        {
            // The recorded snapshot is ahead of the first updates.
            let base = *base.get_or_insert(next.ids[0]);
            let expected = (10003, diff.ids[1].max(base));
            assert_eq!((diff.template, next.ids[0]), expected, "the book as of the update before it");
            caught_up += usize::from(diff.ids[1] > base);
            assert!(next.rows.iter().filter(|row| row.0 == 0).count() <= 20);
            for level in diff.rows.iter().filter(|level| diff.ids[1] > base && level.2 == "0") {
                assert!(!next.rows.iter().any(|row| (row.0, &row.1) == (level.0, &level.1)), "{level:?} was deleted");
            }
        }
        before = Some(next);
    }
    assert!(caught_up > 3_000);
    let played = &report.venues[SBE].played;
    assert_eq!((played["btcusdt@depth20"], played["btcusdt@depth"]), (3_451, 3_451));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_needs_the_key_and_a_first_stream_that_exists() {
    let sim = Sim::start(recorded()).await.unwrap();
    let status =
        async |path: &str, headers: &[(&'static str, &str)]| match Client::connect_with(&sim, SBE, path, headers).await
        {
            Ok(_) => (101, String::new()),
            Err(Error::Http(answer)) => {
                let body = answer.body().clone().unwrap_or_default();
                (answer.status().as_u16(), String::from_utf8(body).unwrap())
            }
            Err(error) => panic!("{error}"),
        };
    let (code, body) = status("/ws", &[]).await;
    assert!(code == 400 && body.contains("X-MBX-APIKEY"), "{code} {body}");
    for path in ["/ws", "/stream", "/ws/btcusdt@depth20", "/stream?streams=btcusdt@trade/no@such"] {
        assert_eq!(status(path, &KEY).await.0, 101, "{path}");
    }
    for path in ["/ws/btcusdt@aggTrade", "/ws/btcusdt@depth@100ms", "/stream?streams=no@such/btcusdt@trade"] {
        assert_eq!(status(path, &KEY).await.0, 400, "{path}");
    }
    assert_eq!(status("/other", &KEY).await.0, 404);
    assert_eq!(get(&sim, &format!("/{SBE}/api/v3/ping")).await.status, 200, "REST requires no key");

    let venue = SimVenue { api_key: Some("the one".into()), ..SimVenue::new(SBE) };
    let sim = Sim::start(SimConfig { venues: vec![venue], ..recorded() }).await.unwrap();
    assert!(Client::connect_with(&sim, SBE, "/ws", &KEY).await.is_err());
    assert!(Client::connect_with(&sim, SBE, "/ws", &[("X-MBX-APIKEY", "the one")]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn control_is_text_and_rest_is_that_of_the_json_venue() {
    let sim = Sim::start(SimConfig { start_when: StartWhen::FirstSubscribe, ..recorded() }).await.unwrap();
    let mut client = open(&sim, "/stream").await;
    // Names of the JSON venue are acked and silent here.
    client.subscribe(&["btcusdt@bookTicker", "btcusdt@depth@100ms", "btcusdt@trade"]).await;
    let reader = reading(client);
    sim.wait_finished().await;
    assert_eq!(sim.fault(Fault::now(Action::ServerShutdown)), 1);
    let first = format!("/{SBE}/api/v3/historicalTrades?symbol=BTCUSDT&fromId=0&limit=1");
    let row = get(&sim, &first).await.json()[0].clone();
    let info = get(&sim, &format!("/{SBE}/api/v3/exchangeInfo")).await.json();
    assert!(info["symbols"].as_array().unwrap().iter().any(|symbol| symbol["symbol"] == "BTCUSDT"));
    let depth = get(&sim, &format!("/{SBE}/api/v3/depth?symbol=BTCUSDT&limit=5")).await.json();
    assert_eq!(depth["bids"].as_array().unwrap().len(), 5);
    assert_eq!(get(&sim, &format!("/{SBE}/api/v3/aggTrades?symbol=BTCUSDT")).await.json(), json!([]));
    sim.stop().await;
    let (frames, texts) = reader.await.unwrap();
    assert!(
        texts.len() == 1 && texts[0].starts_with(r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":"#)
    );
    assert!(frames.iter().all(|frame| frame.template == 10000));
    assert_eq!(frames.iter().map(|frame| frame.rows.len()).sum::<usize>(), 9_757);
    let of_rest = (row["id"].as_i64().unwrap(), plain(row["price"].as_str().unwrap()), row["time"].as_i64().unwrap());
    let trade = &frames[0].rows[0];
    assert_eq!(of_rest, (trade.0, trade.1.clone(), frames[0].ids[0] / 1_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_market_plays_as_sbe_and_its_trades_are_there_for_repairs() {
    let market = Market {
        symbols: vec!["BTCUSDT".into(), "\u{5e01}\u{5b89}\u{4eba}\u{751f}USDT".into()],
        channels: ["trades", "agg_trades", "book_ticker", "depth", "venue_klines"].map(str::to_owned).to_vec(),
        frames_per_s: 1_000,
        total_frames: Some(3_000),
        start_ms: Some(1_800_000_000_000),
    };
    let mut config = SimConfig::generated(&[SBE], market.clone());
    config.source = Source::Generated(market);
    (config.pace, config.start_when) = (Pace::Max, StartWhen::AllStreams);
    let sim = Sim::start(config).await.unwrap();
    let mut client = open(&sim, "/ws").await;
    let streams: Vec<String> = sim.report().venues[SBE].played.keys().cloned().collect();
    assert_eq!(streams.len(), 8, "{streams:?}");
    let wanted: Vec<&str> = streams.iter().map(String::as_str).filter(|name| !name.ends_with("depth20")).collect();
    client.subscribe(&wanted).await;
    let reader = reading(client);
    sim.wait_finished().await;
    let history = format!("/{SBE}/api/v3/historicalTrades?symbol=BTCUSDT&fromId=0&limit=1000");
    let rows = get(&sim, &history).await.json();
    sim.stop().await;
    let mut last: BTreeMap<(String, i64), i64> = BTreeMap::new();
    let mut several = 0;
    let mut trades = Vec::new();
    for next in reader.await.unwrap().0 {
        let key = (next.symbol.clone(), next.template);
        let before = last.get(&key).copied();
        let id = match next.template {
            10000 => {
                several += usize::from(next.rows.len() > 1);
                assert!(next.rows.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0));
                assert!(before.is_none_or(|before| next.rows[0].0 == before + 1));
                trades.extend(next.rows.iter().filter(|_| next.symbol == "BTCUSDT").cloned());
                next.rows[next.rows.len() - 1].0
            }
            10001 => {
                assert!(before.is_none_or(|before| next.ids[0] > before));
                next.ids[0]
            }
            _ => {
                assert!(before.is_none_or(|before| next.ids[0] == before + 1));
                next.ids[1]
            }
        };
        last.insert(key, id);
    }
    assert!(several > 10 && last.len() == 6, "{several} {last:?}");
    assert!(trades.len() > 100);
    for (row, trade) in rows.as_array().unwrap().iter().zip(&trades) {
        let text = |key: &str| plain(row[key].as_str().unwrap());
        let as_trade = (row["id"].as_i64().unwrap(), text("price"), text("qty"), row["isBuyerMaker"] == true);
        assert_eq!(as_trade, *trade);
    }
}
