//! Trades over REST against the frames that went out: what a client requests to fill a gap is what it missed.
#![allow(clippy::unwrap_used)]

use crate::client::{self, Client, frames_of, get, http_with, recording};
use serde_json::{Value, json};
use venue_sim::{Market, Pace, RecordingFile, Sim, SimConfig, StartWhen};

const SPOT: &str = "binance-spot/hft-btcusdt_20240808.zst";

fn data(frame: &str) -> Value {
    serde_json::from_str::<Value>(frame).unwrap()["data"].take()
}

fn generated(venues: &[&str], trades_kept: usize) -> SimConfig {
    let market = Market {
        symbols: vec!["BTCUSDT".into(), "\u{5e01}\u{5b89}\u{4eba}\u{751f}USDT".into()],
        channels: vec!["trades".into(), "agg_trades".into(), "book_ticker".into()],
        frames_per_s: 1_000,
        total_frames: Some(4_000),
        start_ms: Some(1_800_000_000_000),
    };
    SimConfig {
        pace: Pace::Max,
        start_when: StartWhen::FirstSubscribe,
        trades_kept,
        ..SimConfig::generated(venues, market)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_in_recorded_trades_is_filled_by_id_with_exactly_the_missed_frames() {
    let file = RecordingFile::new("binance-spot", recording(SPOT));
    let config =
        SimConfig { pace: Pace::Max, start_when: StartWhen::FirstSubscribe, ..SimConfig::recordings(vec![file]) };
    let sim = Sim::start(config).await.unwrap();
    let ask = |query: &str| get_json(&sim, format!("/binance-spot/api/v3/historicalTrades?symbol=BTCUSDT&{query}"));
    assert_eq!(ask("fromId=0").await, json!([]), "nothing was played yet");
    let mut client = Client::connect(&sim, "binance-spot", "/stream?streams=btcusdt@trade").await;
    let trades: Vec<Value> =
        frames_of(SPOT).iter().filter(|frame| frame.contains("@trade\"")).map(|frame| data(frame)).collect();
    client.texts(trades.len()).await;
    sim.wait_finished().await;
    let from = trades[4_000]["t"].as_i64().unwrap();
    let rows = ask(&format!("fromId={from}&limit=1000")).await;
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 1_000);
    for (row, frame) in rows.iter().zip(&trades[4_000..]) {
        assert_eq!(
            [&row["id"], &row["price"], &row["qty"], &row["time"], &row["isBuyerMaker"]],
            [&frame["t"], &frame["p"], &frame["q"], &frame["T"], &frame["m"]]
        );
        assert_eq!(row["isBestMatch"], true);
    }
    let newest = ask("limit=2").await;
    assert_eq!(newest[1]["id"], trades[trades.len() - 1]["t"]);
    assert_eq!(newest.as_array().unwrap().len(), 2);
    assert_eq!(
        get_json(&sim, "/binance-spot/api/v3/trades?symbol=BTCUSDT".into()).await.as_array().unwrap().len(),
        500
    );
    let aggs = get_json(&sim, "/binance-spot/api/v3/aggTrades?symbol=BTCUSDT".into()).await;
    assert_eq!(aggs, json!([]), "aggregates were not recorded");
}

async fn get_json(sim: &Sim, path: String) -> Value {
    let answer = get(sim, &path).await;
    assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_aggregates_come_by_id_and_by_time_on_both_markets() {
    for (venue, prefix, path) in [("binance-spot", "/api/v3", ""), ("binance-usdm", "/fapi/v1", "/market")] {
        let sim = Sim::start(generated(&[venue], 50_000)).await.unwrap();
        let name = "\u{5e01}\u{5b89}\u{4eba}\u{751f}usdt@aggTrade";
        let mut client = Client::connect(&sim, venue, &format!("{path}/stream")).await;
        client.subscribe(&[name]).await;
        sim.wait_finished().await;
        let played = sim.report().venues[venue].played[name] as usize;
        let frames: Vec<Value> = client.texts(played).await.iter().map(|text| data(text)).collect();
        let symbol = "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT";
        let ask = |query: String| get_json(&sim, format!("/{venue}{prefix}/aggTrades?symbol={symbol}&{query}"));
        let check = |rows: &Value, frames: &[Value]| {
            let rows = rows.as_array().unwrap();
            assert_eq!(rows.len(), frames.len());
            for (row, frame) in rows.iter().zip(frames) {
                for key in ["a", "p", "q", "nq", "f", "l", "T", "m"] {
                    assert_eq!(row.get(key), frame.get(key), "{key} of {row} and {frame}");
                }
            }
        };
        check(&ask(format!("fromId={}&limit=100", frames[50]["a"])).await, &frames[50..150]);
        let (start, end) = (&frames[20]["T"], &frames[60]["T"]);
        let inside: Vec<Value> = frames
            .iter()
            .filter(|frame| (start.as_i64()..=end.as_i64()).contains(&frame["T"].as_i64()))
            .cloned()
            .collect();
        check(&ask(format!("startTime={start}&endTime={end}&limit=1000")).await, &inside);
        check(&ask("limit=7".into()).await, &frames[frames.len() - 7..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_ring_keeps_the_newest_trades_only() {
    let sim = Sim::start(generated(&["binance-spot"], 10)).await.unwrap();
    let mut client = Client::connect(&sim, "binance-spot", "/stream?streams=btcusdt@trade").await;
    sim.wait_finished().await;
    let played = sim.report().venues["binance-spot"].played["btcusdt@trade"] as usize;
    let frames = client.texts(played).await;
    let rows = get_json(&sim, "/binance-spot/api/v3/historicalTrades?symbol=BTCUSDT&fromId=0".into()).await;
    let ids: Vec<i64> = rows.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
    let last = ids[ids.len() - 1];
    assert_eq!(ids, (last - 9..=last).collect::<Vec<_>>());
    // The market may have decided a trade or two whose frames lie after the total.
    let sent = data(&frames[frames.len() - 1])["t"].as_i64().unwrap();
    assert!((sent..=sent + 2).contains(&last), "{sent} {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_get_the_error_bodies_of_the_venue_and_every_question_its_weight() {
    let sim = Sim::start(generated(&["binance-spot", "binance-usdm"], 100)).await.unwrap();
    for (path, status, code) in [
        ("binance-spot/api/v3/historicalTrades", 400, -1102),
        ("binance-spot/api/v3/historicalTrades?symbol=NOSUCH", 400, -1121),
        ("binance-spot/api/v3/historicalTrades?symbol=BTCUSDT&fromId=x", 400, -1100),
        ("binance-spot/api/v3/trades?symbol=BTCUSDT&limit=0", 400, -1130),
        ("binance-spot/api/v3/aggTrades?symbol=BTCUSDT&fromId=1&startTime=2", 400, -1128),
        ("binance-usdm/fapi/v1/historicalTrades?symbol=BTCUSDT", 401, -2014),
        ("binance-usdm/fapi/v1/aggTrades?symbol=BTCUSDT&startTime=0&endTime=3600001", 400, -1127),
    ] {
        let answer = get(&sim, &format!("/{path}")).await;
        assert_eq!((answer.status, answer.json()["code"].as_i64()), (status, Some(code)), "{path}");
    }
    let key = "X-MBX-APIKEY: anything\r\n";
    let path = "/binance-usdm/fapi/v1/historicalTrades?symbol=BTCUSDT&limit=9999";
    let answer = http_with(&sim, "GET", path, key, "").await;
    assert_eq!((answer.status, answer.json()), (200, json!([])));
    let used = |answer: &client::Answer| -> i64 {
        let at = answer.head.find("X-MBX-USED-WEIGHT-1M: ").unwrap() + 22;
        answer.head[at..].split('\r').next().unwrap().parse().unwrap()
    };
    for (path, weight) in [
        ("/binance-spot/api/v3/trades?symbol=BTCUSDT", 25),
        ("/binance-spot/api/v3/historicalTrades?symbol=BTCUSDT", 25),
        ("/binance-spot/api/v3/aggTrades?symbol=BTCUSDT", 4),
        ("/binance-usdm/fapi/v1/trades?symbol=BTCUSDT", 5),
        ("/binance-usdm/fapi/v1/historicalTrades?symbol=BTCUSDT", 20),
        ("/binance-usdm/fapi/v1/aggTrades?symbol=BTCUSDT", 20),
    ] {
        let ping = if path.contains("spot") { "/binance-spot/api/v3/ping" } else { "/binance-usdm/fapi/v1/ping" };
        let before = used(&get(&sim, ping).await);
        let after = used(&get(&sim, path).await);
        // A minute border in between sets the count back.
        assert!(after - before == weight || after == weight, "{path}: {before} {after}");
    }
}
