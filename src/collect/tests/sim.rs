//! Both markets of the simulated venue at once, through the whole collector: SHA-256 of every connection's messages.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use venue_sim::{Action, ConnReport, Fault, Market, Sim, SimConfig, SimReport, StartWhen};
use wal_format::Kind;

use super::super::metrics::Metrics;
use super::{Rec, of, read};
use capture::Capture;
use model::VenueId;
use ops::shutdown::Shutdown;

const VENUES: [(VenueId, &str); 2] = [(VenueId::BinanceSpot, "binance-spot"), (VenueId::BinanceUsdm, "binance-usdm")];

async fn sim(total_frames: u64, seed: u64, faults: Vec<Fault>) -> Sim {
    println!("seed {seed}");
    let market = Market {
        symbols: ["BTCUSDT", "ETHUSDT", "币安人生USDT"].map(String::from).to_vec(),
        channels: ["trades", "agg_trades", "book_ticker", "depth", "mark_price"].map(String::from).to_vec(),
        frames_per_s: 10_000,
        total_frames: Some(total_frames),
        start_ms: None,
    };
    let mut config = SimConfig::generated(&VENUES.map(|(_, name)| name), market);
    config.start_when = StartWhen::Settled { streams: 12, quiet_ms: 300 };
    config.seed = seed;
    config.faults = faults;
    Sim::start(config).await.unwrap()
}

fn config(dir: &Path, sim: &Sim) -> Capture {
    let mut text = format!("[data]\ndir = {:?}\n[wal]\nsegment_mib = 4\n", dir.display().to_string());
    for (id, name) in VENUES {
        let more = if id == VenueId::BinanceUsdm { ", \"mark_price\"" } else { "" };
        text.push_str(&format!(
            "[venues.{name}]\nsymbols = [\"BTCUSDT\", \"ETHUSDT\", \"币安*\"]\nchannels = [\"trades\", \"agg_trades\", \"book_ticker\", \"depth\", \"depth_snapshot\"{more}]\nconnect_stagger_ms = 0\nparams_per_subscribe = 7\nrest_url = {:?}\nws_url = {:?}\n",
            sim.rest_url(name),
            sim.ws_url(name),
        ));
    }
    settings::from_text(&text, Capture::read).unwrap()
}

/// Records until the market was played and everything is in the logs; returns the report and both logs.
async fn record(sim: Sim) -> (SimReport, Vec<Vec<Rec>>) {
    let dir = tempfile::tempdir().unwrap();
    let cfg = Arc::new(config(dir.path(), &sim));
    let metrics = Arc::new(Metrics::new(VENUES.map(|(id, _)| id)));
    let shutdown = Shutdown::new();
    let task = tokio::spawn(super::super::run_with(cfg.clone(), shutdown.clone(), metrics.clone(), None));
    let mut last = 0;
    let mut quiet = 0;
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!task.is_finished(), "the collector ended by itself");
        let now: u64 = VENUES.iter().map(|(id, _)| metrics.venue(*id).unwrap().counts().frames).sum();
        quiet = if sim.finished() && now == last { quiet + 1 } else { 0 };
        last = now;
        if quiet == 5 {
            shutdown.trigger();
            task.await.unwrap().unwrap();
            let logs = VENUES.map(|(id, _)| read(&cfg.wal_dir(id))).to_vec();
            return (sim.stop().await, logs);
        }
    }
    panic!("the market was not played to its end: {:?}", sim.report().totals);
}

/// (messages, SHA-256) of every connection in a log, in the order of opening.
fn logged(records: &[Rec]) -> Vec<(u64, String)> {
    of(records, Kind::ConnOpen)
        .iter()
        .map(|open| {
            let (mut sha, mut n) = (Sha256::new(), 0);
            for r in records.iter().filter(|r| r.kind == Kind::Data && r.conn == open.conn) {
                sha.update(&r.payload);
                n += 1;
            }
            (n, sha.finalize().iter().map(|b| format!("{b:02x}")).collect())
        })
        .collect()
}

fn sent(connections: &[ConnReport]) -> Vec<(u64, String)> {
    connections.iter().map(|c| (c.frames_sent + c.control_sent + c.garbage_sent, c.sha256.clone())).collect()
}

fn sorted(mut all: Vec<(u64, String)>) -> Vec<(u64, String)> {
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_both_simulated_markets_sent_is_in_their_logs() {
    let (report, logs) = record(sim(20_000, 11, vec![]).await).await;
    for ((_, name), log) in VENUES.iter().zip(&logs) {
        let venue = &report.venues[*name];
        assert_eq!(sorted(logged(log)), sorted(sent(&venue.connections)), "{name}");
        let bodies: Vec<_> = of(log, Kind::Rest);
        assert_eq!(bodies.len() as u64, venue.rest.requests, "{name}: every REST answer is a record");
        assert_eq!(
            bodies.iter().filter(|r| r.rest.as_ref().unwrap().0.channel == "depth_snapshot").count(),
            3,
            "{name}"
        );
        assert!(of(log, Kind::Gap).is_empty(), "{name}");
    }
    assert!(report.totals.frames_sent >= 20_000, "{:?}", report.totals);
    // USD-M splits into two paths.
    assert_eq!(report.venues["binance-usdm"].connections.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_stream_of_usdm_is_tried_on_the_other_path_and_stays_where_it_flows() {
    let market = Market {
        symbols: ["BTCUSDT", "ETHUSDT"].map(String::from).to_vec(),
        channels: ["agg_trades", "book_ticker", "mark_price"].map(String::from).to_vec(),
        frames_per_s: 2_000,
        total_frames: None,
        start_ms: None,
    };
    let mut config = SimConfig::generated(&["binance-usdm"], market);
    config.start_when = StartWhen::FirstSubscribe;
    config.venues[0].moved = vec!["aggTrade".to_owned()];
    let sim = Sim::start(config).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let id = VenueId::BinanceUsdm;
    let text = format!(
        "[data]\ndir = {:?}\n[wal]\nsegment_mib = 4\n[venues.binance-usdm]\nsymbols = [\"*USDT\"]\nchannels = [\"agg_trades\", \"book_ticker\", \"mark_price\"]\nconnect_stagger_ms = 0\nsubscribe_delay_ms = 0\nstream_silence_s = 1\nrest_url = {:?}\nws_url = {:?}\n",
        dir.path().display().to_string(),
        sim.rest_url("binance-usdm"),
        sim.ws_url("binance-usdm"),
    );
    let cfg = Arc::new(settings::from_text(&text, Capture::read).unwrap());
    let metrics = Arc::new(Metrics::new([id]));
    let shutdown = Shutdown::new();
    let task = tokio::spawn(super::super::run_with(cfg.clone(), shutdown.clone(), metrics.clone(), None));
    // Streams of the first connection serve /public, of the second /market.
    let on = |slot: usize, part: &str| {
        let status = metrics.status();
        let connection = status.venues[0].connections.iter().find(|c| c.slot == slot);
        connection.map_or(0, |c| c.streams.iter().filter(|s| s.stream.contains(part) && s.why.is_none()).count())
    };
    let has = |slot: usize, part: &str| {
        let status = metrics.status();
        let connection = status.venues[0].connections.iter().find(|c| c.slot == slot);
        connection.is_some_and(|c| c.streams.iter().any(|s| s.stream.contains(part)))
    };
    let done = || {
        let [public, market] = if has(0, "btcusdt@bookTicker") { [0, 1] } else { [1, 0] };
        on(public, "btcusdt@aggTrade") == 1 && on(market, "markPrice") >= 2 && !has(market, "btcusdt@aggTrade")
    };
    for n in 0.. {
        if done() {
            break;
        }
        assert!(n < 600, "never: {:?}", metrics.status().venues);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(metrics.problems(), Vec::<String>::new());
    shutdown.trigger();
    task.await.unwrap().unwrap();
    let records = read(&cfg.wal_dir(id));
    let events = |kind: &str| super::events(&records, kind);
    for kind in ["path_tried", "path_settled"] {
        let of_it: Vec<_> = events(kind).into_iter().filter(|e| e["detail"]["stream"] == "btcusdt@aggTrade").collect();
        assert_eq!((of_it.len(), &of_it[0]["detail"]["path"]), (1, &"/public/stream".into()), "{kind}");
    }
    assert!(super::events(&records, "unsubscribed").is_empty(), "it is wanted still");
    assert!(of(&records, Kind::Gap).is_empty());
    drop(sim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_closes_and_shutdown_notices_lose_nothing_that_reached_the_socket() {
    let faults = vec![
        Fault::now(Action::Close { code: 1001, reason: "going away".into() })
            .after_frames(2_000)
            .on_venue("binance-spot"),
        Fault::now(Action::ServerShutdown).after_frames(3_000).on_venue("binance-usdm"),
    ];
    let (report, logs) = record(sim(30_000, 12, faults).await).await;
    for ((_, name), log) in VENUES.iter().zip(&logs) {
        assert_eq!(sorted(logged(log)), sorted(sent(&report.venues[*name].connections)), "{name}");
    }
    let closes = |log: &[Rec], cause: &[&str]| {
        let all = of(log, Kind::ConnClose).iter().map(Rec::json).collect::<Vec<_>>();
        all.iter().filter(|close| cause.iter().any(|word| close["cause"] == *word)).count()
    };
    // A busy machine may lose a connection more.
    let broken: Vec<usize> = logs.iter().map(|log| closes(log, &["server", "lost", "stale"])).collect();
    let gaps: Vec<usize> = logs.iter().map(|log| of(log, Kind::Gap).len()).collect();
    assert_eq!(gaps, broken, "a close leaves a gap, a planned replacement does not");
    assert!(broken[0] >= 1 && closes(&logs[1], &["rotate"]) == 1, "{broken:?}");
}
