//! What a subscriber gets from the simulator, over real sockets, against the recordings themselves.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use crate::client::{Client, frames_of, get, http, recording};
use venue_sim::{Market, Pace, RecordingFile, Repeat, Sim, SimConfig, StartWhen};

const SPOT: &str = "binance-spot/hft-btcusdt_20240808.zst";
const SPOT_NEXT: &str = "binance-spot/hft-btcusdt_20240809.zst";
const USDM: &str = "binance-usdm/hft-ethusdt_20240808.zst";
const USDM_SMALL: &str = "binance-usdm/cryptofeed-BINANCE_FUTURES.ws.1.0.zst";
const SPOT_SMALL: &str = "binance-spot/cryptofeed-BINANCE.ws.1.0";

fn playing(files: &[&str]) -> SimConfig {
    let files = files.iter().map(|name| RecordingFile::new(name.split('/').next().unwrap(), recording(name))).collect();
    SimConfig { pace: Pace::Max, start_when: StartWhen::AllStreams, ..SimConfig::recordings(files) }
}

fn sha256(texts: &[String]) -> String {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_receives_an_entire_recording_byte_for_byte_and_the_report_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let transcript = dir.path().join("transcript");
    let sim = Sim::start(SimConfig { transcript: Some(transcript.clone()), ..playing(&[SPOT]) }).await.unwrap();
    let mut client = Client::connect(&sim, "binance-spot", "/stream").await;
    client.subscribe(&["btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@100ms"]).await;
    let expected = frames_of(SPOT);
    let received = client.texts(expected.len()).await;
    assert!(received == expected, "the frames differ");
    sim.wait_finished().await;
    let ending = tokio::spawn(async move { client.drain().await });
    let report = sim.stop().await;
    assert_eq!(ending.await.unwrap(), (vec![], "1001 ".to_owned()));

    let conn = &report.venues["binance-spot"].connections[0];
    assert_eq!((conn.frames_sent, conn.control_sent, conn.unconfirmed), (expected.len() as u64, 1, 0));
    let counts: Vec<(&str, u64)> = conn.streams.iter().map(|(name, stream)| (name.as_str(), stream.frames)).collect();
    assert_eq!(counts, [("btcusdt@bookTicker", 28_040), ("btcusdt@depth@100ms", 3_451), ("btcusdt@trade", 9_757)]);
    assert_eq!(conn.streams["btcusdt@trade"].first_id, Some(3_735_683_259));
    let mut all = vec![r#"{"result":null,"id":1}"#.to_owned()];
    all.extend(received);
    assert_eq!(conn.sha256, sha256(&all));
    assert!(report.finished);

    let bytes = std::fs::read(transcript).unwrap();
    let mut rest = bytes.as_slice();
    for text in &all {
        let (head, tail) = rest.split_at(16);
        assert_eq!(&head[8..12], 1u32.to_le_bytes());
        let length = u32::from_le_bytes(head[12..].try_into().unwrap()) as usize;
        assert_eq!(&tail[..length], text.as_bytes());
        rest = &tail[length..];
    }
    assert!(rest.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_and_a_raw_one_share_a_venue_and_nobody_misses_a_frame() {
    let sim = Sim::start(playing(&[USDM])).await.unwrap();
    let mut trades = Client::connect(&sim, "binance-usdm", "/public/stream?streams=ethusdt@trade").await;
    let mut raw = Client::connect(&sim, "binance-usdm", "/public/ws/ethusdt@trade").await;
    let mut books = Client::connect(&sim, "binance-usdm", "/public/stream").await;
    books.subscribe(&["ethusdt@bookTicker", "ethusdt@depth@100ms"]).await;
    let expected = frames_of(USDM);
    let (is_trade, others): (Vec<String>, Vec<String>) =
        expected.into_iter().partition(|frame| frame.contains("@trade\""));
    let (trades, raw, books) =
        tokio::join!(trades.texts(is_trade.len()), raw.texts(is_trade.len()), books.texts(others.len()));
    assert!(trades == is_trade);
    let data = |frame: &String| frame[frame.find("\"data\":").unwrap() + 7..frame.len() - 1].to_owned();
    assert!(raw == is_trade.iter().map(data).collect::<Vec<_>>());
    // The recording has depth@0ms; the subscription named another speed.
    let renamed: Vec<String> = others.iter().map(|frame| frame.replace("@depth@0ms", "@depth@100ms")).collect();
    assert!(books == renamed);
    let report = sim.stop().await;
    let conn = &report.venues["binance-usdm"].connections[2];
    assert_eq!((conn.rewritten, conn.streams["ethusdt@depth@100ms"].frames), (6_586, 6_586));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_the_wrong_category_stays_silent_while_the_right_one_plays() {
    let sim = Sim::start(SimConfig { start_when: StartWhen::FirstSubscribe, ..playing(&[USDM_SMALL]) }).await.unwrap();
    let mut wrong = Client::connect(&sim, "binance-usdm", "/public/stream").await;
    wrong.subscribe(&["sushiusdt@aggTrade"]).await;
    let mut right = Client::connect(&sim, "binance-usdm", "/market/stream").await;
    right.subscribe(&["sushiusdt@aggTrade", "nosuch@aggTrade"]).await;
    assert!(right.text().await.starts_with(r#"{"stream":"sushiusdt@aggTrade""#));
    sim.wait_finished().await;
    let report = sim.stop().await;
    let conns = &report.venues["binance-usdm"].connections;
    assert_eq!((conns[0].frames_sent, conns[0].control_sent), (0, 1));
    assert!(conns[1].frames_sent > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_restamped_loops_are_continuous_and_lie_at_the_present() {
    let config = SimConfig {
        restamp: true,
        repeat: Repeat::Times(3),
        start_when: StartWhen::FirstSubscribe,
        ..playing(&[SPOT, SPOT_NEXT])
    };
    let sim = Sim::start(config).await.unwrap();
    let mut client = Client::connect(&sim, "binance-spot", "/stream?streams=btcusdt@depth@100ms/btcusdt@trade").await;
    let texts = client.texts(3 * (3_451 + 3_044 + 9_757 + 10_147)).await;
    let (mut last_u, mut last_t) = (None, None);
    let number = |text: &str, key: &str| -> i64 {
        let at = text.find(key).unwrap() + key.len();
        text[at..].chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    for text in &texts {
        if text.contains("@depth") {
            let first = number(text, "\"U\":");
            assert!(last_u.is_none_or(|last: i64| last + 1 == first), "{last_u:?} {}", &text[..120]);
            last_u = Some(number(text, "\"u\":"));
        } else {
            let id = number(text, "\"t\":");
            assert!(last_t.is_none_or(|last: i64| last + 1 == id), "{last_t:?} {text}");
            last_t = Some(id);
        }
    }
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let first_ms = number(&texts[0], "\"E\":");
    // Played in no time, the first loop lies in the eleven minutes before now.
    assert!(now_ms - first_ms < 20 * 60_000 && now_ms > first_ms, "{first_ms} {now_ms}");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_lists_the_symbols_and_gives_the_recorded_snapshot() {
    let restamped = Sim::start(SimConfig { restamp: true, ..playing(&[USDM]) }).await.unwrap();
    let depth = get(&restamped, "/binance-usdm/fapi/v1/depth?symbol=ETHUSDT&limit=5").await.json();
    let server = get(&restamped, "/binance-usdm/fapi/v1/time").await.json();
    let age_ms = server["serverTime"].as_i64().unwrap() - depth["E"].as_i64().unwrap();
    assert!(age_ms.abs() < 3_600_000 && depth["lastUpdateId"] == 5_123_107_856_276_i64, "{age_ms} {depth}");
    restamped.stop().await;

    let sim = Sim::start(playing(&[SPOT, USDM])).await.unwrap();
    let info = get(&sim, "/binance-spot/api/v3/exchangeInfo").await;
    assert!(info.head.contains("X-MBX-USED-WEIGHT-1M: 20\r\n"), "{}", info.head);
    let info = info.json();
    let symbols = info["symbols"].as_array().unwrap();
    let of = |name: &str| symbols.iter().find(|symbol| symbol["symbol"] == name).unwrap();
    assert_eq!((&of("BTCUSDT")["status"], &of("BTCUSDT")["baseAsset"]), (&"TRADING".into(), &"BTC".into()));
    assert_eq!(of("BTCUSDT")["filters"][0]["tickSize"], "0.01000000");
    assert_eq!(of("BTCUSDT")["filters"][1]["stepSize"], "0.00001000");
    assert_eq!(of("SRMUSDT")["status"], "BREAK");
    assert!(symbols.iter().any(|symbol| !symbol["symbol"].as_str().unwrap().is_ascii()));

    let text = zstd::decode_all(std::fs::File::open(recording(USDM)).unwrap()).unwrap();
    let recorded = text
        .split(|&byte| byte == b'\n')
        .find(|line| line.get(20..).is_some_and(|l| l.starts_with(b"{\"lastUpdateId\"")))
        .unwrap();
    let depth = get(&sim, "/binance-usdm/fapi/v1/depth?symbol=ETHUSDT&limit=1000").await;
    assert!(depth.body == recorded[20..], "the recorded snapshot is given byte for byte");
    let short = get(&sim, "/binance-usdm/fapi/v1/depth?symbol=ETHUSDT&limit=5").await.json();
    assert_eq!((short["bids"].as_array().unwrap().len(), short["asks"].as_array().unwrap().len()), (5, 5));

    for (path, status, code) in [
        ("/binance-spot/api/v3/depth?symbol=NOSUCH", 400, -1121),
        ("/binance-spot/api/v3/depth", 400, -1102),
        ("/binance-usdm/fapi/v1/depth?symbol=ETHUSDT&limit=7", 400, -4021),
        ("/binance-spot/api/v3/exchangeInfo?symbol=NOSUCH", 400, -1121),
    ] {
        let answer = get(&sim, path).await;
        assert_eq!((answer.status, answer.json()["code"].as_i64()), (status, Some(code)), "{path}");
    }
    assert_eq!(get(&sim, "/binance-spot/api/v3/ping").await.body, b"{}");
    assert!(get(&sim, "/binance-usdm/fapi/v1/time").await.json()["serverTime"].is_i64());
    assert_eq!(get(&sim, "/no-such-venue/api/v3/ping").await.status, 404);
    let report: venue_sim::SimReport = serde_json::from_slice(&get(&sim, "/_sim/report").await.body).unwrap();
    assert_eq!(report.venues["binance-usdm"].rest.answers[0].path, "/fapi/v1/depth?symbol=ETHUSDT&limit=1000");
    assert_eq!(http(&sim, "POST", "/_sim/stop", "").await.status, 200);
    sim.stop_asked().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_asked_while_playing_fits_between_the_frames() {
    let config = SimConfig { pace: Pace::PerSecond(2_000), restamp: true, ..playing(&[SPOT]) };
    let sim = Sim::start(config).await.unwrap();
    let mut client = Client::connect(&sim, "binance-spot", "/stream").await;
    client.subscribe(&["btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@100ms"]).await;
    client.texts(300).await;
    let snapshot = get(&sim, "/binance-spot/api/v3/depth?symbol=BTCUSDT&limit=1000").await.json();
    let id = snapshot["lastUpdateId"].as_i64().unwrap();
    loop {
        let frame: serde_json::Value = serde_json::from_str(&client.text().await).unwrap();
        let data = &frame["data"];
        if data["e"] != "depthUpdate" || data["u"].as_i64().unwrap() <= id {
            continue;
        }
        assert!(data["U"].as_i64().unwrap() <= id + 1, "the first frame after the snapshot continues it: {id} {data}");
        break;
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_pace_holds_frames_back_and_keeps_their_order() {
    // Half a minute, played fifty times faster; nothing here asserts a duration but that it is not instant.
    let config = SimConfig { pace: Pace::Times(50.0), start_when: StartWhen::FirstSubscribe, ..playing(&[SPOT_SMALL]) };
    let sim = Sim::start(config).await.unwrap();
    let mut client =
        Client::connect(&sim, "binance-spot", "/stream?streams=nknusdt@depth@100ms/nknusdt@aggTrade").await;
    client.text().await;
    assert!(!sim.finished(), "the rest is not due yet");
    sim.wait_finished().await;
    let report = sim.stop().await;
    let venue = &report.venues["binance-spot"];
    assert!(venue.played_out && venue.loops == 1);
    assert_eq!(venue.connections[0].streams["nknusdt@depth@100ms"].frames, venue.played["nknusdt@depth@100ms"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_market_sends_its_known_totals_over_two_venues() {
    let market = Market {
        symbols: vec!["BTCUSDT".into(), "ETHUSDT".into()],
        channels: vec!["trades".into(), "depth".into(), "mark_price".into()],
        frames_per_s: 1_000_000,
        total_frames: Some(5_001),
        start_ms: None,
    };
    let config = SimConfig {
        pace: Pace::Max,
        start_when: StartWhen::AllStreams,
        ..SimConfig::generated(&["binance-spot", "binance-usdm"], market)
    };
    let sim = Sim::start(config).await.unwrap();
    let mut spot = Client::connect(&sim, "binance-spot", "/stream").await;
    spot.subscribe(&["btcusdt@trade", "ethusdt@trade", "btcusdt@depth@100ms", "ethusdt@depth@100ms"]).await;
    let mut public = Client::connect(&sim, "binance-usdm", "/public/stream").await;
    public.subscribe(&["btcusdt@trade", "ethusdt@trade", "btcusdt@depth@100ms", "ethusdt@depth@0ms"]).await;
    let mut market = Client::connect(&sim, "binance-usdm", "/market/stream").await;
    market.subscribe(&["btcusdt@markPrice", "ethusdt@markPrice@1s"]).await;
    let readers =
        [spot, public, market].map(|mut client| tokio::spawn(async move { client.drain().await.0.len() as u64 }));
    sim.wait_finished().await;
    let depth = get(&sim, "/binance-spot/api/v3/depth?symbol=BTCUSDT&limit=10").await.json();
    let report = sim.stop().await;
    let mut received = 0;
    for reader in readers {
        received += reader.await.unwrap();
    }
    assert_eq!((received, report.totals.frames_sent), (5_001, 5_001));
    let last = report.venues["binance-spot"].connections[0].streams["btcusdt@depth@100ms"].last_id;
    assert_eq!(depth["lastUpdateId"].as_i64(), last, "the snapshot continues the generated depth");
}
