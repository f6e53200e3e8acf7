//! Symbols that appear, stop and go while the simulation runs, and one whose name is not ASCII.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use crate::client::{Client, get, http, recording};
use serde_json::Value;
use venue_sim::{Action, Fault, Market, Pace, RecordingFile, Sim, SimConfig, SimVenue, Standing, StartWhen};

const FOREIGN: &str = "\u{5e01}\u{5b89}\u{4eba}\u{751f}USDT";
const FOREIGN_URL: &str = "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt";

fn market(symbols: &[&str], total_frames: Option<u64>) -> Market {
    Market {
        symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
        channels: vec!["trades".into(), "book_ticker".into()],
        frames_per_s: 2_000,
        total_frames,
        start_ms: None,
    }
}

fn unlisted(venues: &[&str], market: Market, symbols: &[&str]) -> SimConfig {
    let mut config = SimConfig::generated(venues, market);
    config.start_when = StartWhen::FirstSubscribe;
    for venue in &mut config.venues {
        venue.unlisted = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
    }
    config
}

/// Status by symbol.
async fn listed(sim: &Sim, path: &str) -> BTreeMap<String, Value> {
    let info = get(sim, path).await.json();
    info["symbols"].as_array().unwrap().iter().map(|s| (s["symbol"].as_str().unwrap().to_owned(), s.clone())).collect()
}

const SPOT_INFO: &str = "/binance-spot/api/v3/exchangeInfo";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_symbol_is_listed_and_its_streams_begin_and_a_delisted_one_falls_silent() {
    let sim =
        Sim::start(unlisted(&["binance-spot"], market(&["BTCUSDT", "NEWUSDT"], None), &["NEWUSDT"])).await.unwrap();
    let mut new = Client::connect(&sim, "binance-spot", "/ws").await;
    new.subscribe(&["newusdt@trade"]).await;
    let mut old = Client::connect(&sim, "binance-spot", "/ws/btcusdt@bookTicker").await;
    old.texts(50).await;
    let depth = "/binance-spot/api/v3/depth?symbol=NEWUSDT";
    assert!(!listed(&sim, SPOT_INFO).await.contains_key("NEWUSDT"));
    assert_eq!(get(&sim, depth).await.json()["code"], -1121);
    assert_eq!(sim.report().venues["binance-spot"].played["newusdt@trade"], 0);

    assert_eq!(http(&sim, "POST", "/_sim/fault", r#"{"do":"list","symbol":"NEWUSDT"}"#).await.json()["applied"], 1);
    assert_eq!(listed(&sim, SPOT_INFO).await["NEWUSDT"]["status"], "TRADING");
    assert_eq!(get(&sim, depth).await.status, 200);
    assert!(new.text().await.contains(r#""s":"NEWUSDT""#));

    assert_eq!(sim.fault(Fault::now(Action::Delist { symbol: "BTCUSDT".into(), gone: false })), 1);
    assert_eq!(listed(&sim, SPOT_INFO).await["BTCUSDT"]["status"], "BREAK");
    let played = || sim.report().venues["binance-spot"].played["btcusdt@bookTicker"];
    // The batch under way may still hold some; then nothing of it follows, however much of the other does.
    new.texts(20).await;
    let before = played();
    new.texts(100).await;
    assert_eq!(played(), before);
    assert_eq!(sim.fault(Fault::now(Action::Delist { symbol: "BTCUSDT".into(), gone: true })), 1);
    assert!(!listed(&sim, SPOT_INFO).await.contains_key("BTCUSDT"));
    assert_eq!(sim.fault(Fault::now(Action::Delist { symbol: "NOSUCH".into(), gone: true })), 0);
    let changes: Vec<_> = sim.report().venues["binance-spot"].listing.iter().map(|c| c.standing).collect();
    assert_eq!(changes, [Standing::Trading, Standing::Halted, Standing::Absent]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timed_listing_carries_its_time_on_futures() {
    let mut config = unlisted(&["binance-usdm"], market(&["BTCUSDT", FOREIGN], None), &[FOREIGN]);
    config.extra_symbols = false;
    config.faults = vec![Fault { after_ms: Some(50), ..Fault::now(Action::List { symbol: FOREIGN.into() }) }];
    let sim = Sim::start(config).await.unwrap();
    let path = "/binance-usdm/fapi/v1/exchangeInfo";
    let mut client = Client::connect(&sim, "binance-usdm", &format!("/public/ws/{FOREIGN_URL}@trade")).await;
    let frame: Value = serde_json::from_str(&client.text().await).unwrap();
    assert_eq!(frame["s"], FOREIGN);
    let symbols = listed(&sim, path).await;
    let at_ms = sim.report().venues["binance-usdm"].listing[0].at_ns / 1_000_000;
    assert_eq!(symbols[FOREIGN]["onboardDate"], at_ms);
    assert_eq!(symbols["BTCUSDT"]["onboardDate"], 1_569_398_400_000_i64);
    assert_eq!(sim.fault(Fault::now(Action::Delist { symbol: FOREIGN.into(), gone: false })), 1);
    assert_eq!(listed(&sim, path).await[FOREIGN]["status"], "SETTLING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symbol_that_is_not_ascii_plays_under_its_name_in_urls_messages_and_frames() {
    let mut config = SimConfig::generated(&["binance-spot"], market(&[FOREIGN, "BTCUSDT"], Some(400)));
    config.start_when = StartWhen::AllStreams;
    config.pace = Pace::Max;
    let sim = Sim::start(config).await.unwrap();
    let name = FOREIGN.to_lowercase();
    let path = format!("/stream?streams={FOREIGN_URL}%40trade/btcusdt@trade/btcusdt@bookTicker");
    let mut by_url = Client::connect(&sim, "binance-spot", &path).await;
    by_url.subscribe(&[&format!("{name}@bookTicker")]).await;
    let texts = by_url.texts(400).await;
    sim.wait_finished().await;
    for channel in ["trade", "bookTicker"] {
        let head = format!(r#"{{"stream":"{name}@{channel}","data":"#);
        let count = texts.iter().filter(|text| text.starts_with(&head) && text.contains(FOREIGN)).count() as u64;
        let stream = sim.report().venues["binance-spot"].connections[0].streams[&format!("{name}@{channel}")].clone();
        assert!(count > 0 && count == stream.frames);
    }
    assert_eq!(listed(&sim, SPOT_INFO).await[FOREIGN]["quoteAsset"], "USDT");
    let upper = FOREIGN_URL.replace("usdt", "USDT");
    assert_eq!(get(&sim, &format!("/binance-spot/api/v3/depth?symbol={upper}")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_symbol_that_is_not_listed_does_not_play() {
    let file = RecordingFile::new("binance-spot", recording("binance-spot/cryptofeed-BINANCE.ws.1.0"));
    let venue = SimVenue { unlisted: vec!["NKNUSDT".into()], ..SimVenue::new("binance-spot") };
    let config = SimConfig {
        venues: vec![venue],
        pace: Pace::Max,
        start_when: StartWhen::FirstSubscribe,
        ..SimConfig::recordings(vec![file])
    };
    let sim = Sim::start(config).await.unwrap();
    let mut client = Client::connect(&sim, "binance-spot", "/stream").await;
    let streams: Vec<String> = sim.report().venues["binance-spot"].played.keys().cloned().collect();
    client.subscribe(&streams.iter().map(String::as_str).collect::<Vec<_>>()).await;
    sim.wait_finished().await;
    let played = &sim.report().venues["binance-spot"].played;
    assert!(played.iter().any(|(name, count)| !name.starts_with("nkn") && *count > 0), "{played:?}");
    assert!(played.iter().all(|(name, count)| !name.starts_with("nkn") || *count == 0), "{played:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kucoin_and_gate_list_and_delist_in_their_own_words() {
    for (venue, path, old, new, trading, halted) in [
        (
            "kucoin-spot",
            "/api/v2/symbols",
            "BTC-USDT",
            "NEW-USDT",
            r#""enableTrading":true"#,
            r#""enableTrading":false"#,
        ),
        (
            "kucoin-futures",
            "/api/v1/contracts/active",
            "XBTUSDTM",
            "NEWUSDTM",
            r#""status":"Open""#,
            r#""status":"Paused""#,
        ),
        ("gate-spot", "/api/v4/spot/currency_pairs", "BTC_USDT", "NEW_USDT", r#""tradable""#, r#""untradable""#),
        ("gate-futures", "/api/v4/futures/usdt/contracts", "BTC_USDT", "NEW_USDT", r#""trading""#, r#""delisted""#),
    ] {
        let sim = Sim::start(unlisted(&[venue], market(&[old, new], None), &[new])).await.unwrap();
        // The text of one symbol's entry, up to the next one.
        let entry = async || {
            let text = String::from_utf8(get(&sim, &format!("/{venue}{path}")).await.body).unwrap();
            let all: Vec<String> = text.split("},{").map(str::to_owned).collect();
            all.into_iter().find(|entry| entry.contains(&format!("\"{new}\"")))
        };
        assert_eq!(entry().await, None, "{venue}");
        assert_eq!(sim.fault(Fault::now(Action::List { symbol: new.into() })), 1);
        assert!(entry().await.is_some_and(|text| text.contains(trading)), "{venue}");
        assert_eq!(sim.fault(Fault::now(Action::Delist { symbol: new.into(), gone: false })), 1);
        assert!(entry().await.is_some_and(|text| text.contains(halted)), "{venue}");
        assert_eq!(sim.fault(Fault::now(Action::Delist { symbol: new.into(), gone: true })), 1);
        assert_eq!(entry().await, None, "{venue}");
    }
}
