//! Random closes by plan: as many as asked, on whichever connections, and the report says which, how and after what.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::client::{Client, frames_of, recording};
use venue_sim::{Action, CloseReport, Ending, Fault, Market, Pace, RecordingFile, Sim, SimConfig, StartWhen};

const SPOT: &str = "binance-spot/hft-btcusdt_20240808.zst";

fn closes(count: u32, over_frames: Option<u64>, over_ms: Option<u64>) -> Fault {
    let (endings, notice_share, notice_ms, seed) = (vec![], 0.5, 20, 11);
    Fault::now(Action::RandomCloses { count, over_frames, over_ms, endings, notice_share, notice_ms, seed })
}

/// Reads on one stream, connecting again after every end, until nothing more comes. Gives what each connection received.
async fn reader(sim: Arc<Sim>, stream: &'static str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    loop {
        let Ok(mut client) = Client::try_connect(&sim, "binance-spot", &format!("/stream?streams={stream}")).await
        else {
            return all;
        };
        let (texts, end) = client.drain().await;
        all.push(texts);
        if end.starts_with("1001 the end") {
            return all;
        }
    }
}

async fn play(sim: Sim) -> (Vec<Vec<Vec<String>>>, Vec<CloseReport>) {
    let sim = Arc::new(sim);
    let readers = ["btcusdt@trade", "btcusdt@depth@100ms", "btcusdt@bookTicker"]
        .map(|stream| tokio::spawn(reader(sim.clone(), stream)));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while sim.report().venues["binance-spot"].closes.len() < 12 {
        assert!(
            std::time::Instant::now() < end,
            "ten minutes later still: sim.report().venues['binance-spot'].closes.len() < 12"
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    sim.wait_finished().await;
    // Whoever has just been closed connects again; then all are told to leave.
    let mut received = Vec::new();
    for reader in readers {
        while !reader.is_finished() {
            sim.fault(Fault::now(Action::Close { code: 1001, reason: "the end".into() }));
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        received.push(reader.await.unwrap());
    }
    let mut closes = sim.report().venues["binance-spot"].closes.clone();
    closes.truncate(12);
    (received, closes)
}

fn check(received: &[Vec<Vec<String>>], closes: &[CloseReport], sim_of: &dyn Fn(&CloseReport) -> u64) {
    let numbers: BTreeSet<u32> = closes.iter().map(|close| close.number).collect();
    assert_eq!((closes.len(), numbers.len()), (12, 12), "twelve different connections");
    for close in closes {
        assert_eq!(close.frames_sent, sim_of(close), "{close:?}");
    }
    assert!(received.iter().flatten().count() >= 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_over_frames_ends_the_planned_number_of_connections_after_exact_frames() {
    let file = RecordingFile::new("binance-spot", recording(SPOT));
    let config = SimConfig {
        pace: Pace::PerSecond(30_000),
        start_when: StartWhen::AllStreams,
        faults: vec![closes(12, Some(15_000), None)],
        ..SimConfig::recordings(vec![file])
    };
    let sim = Sim::start(config).await.unwrap();
    assert!(frames_of(SPOT).len() > 40_000);
    let (received, closes) = play(sim).await;
    // Every close found a connection that got exactly so many frames of which the last had the reported id.
    check(&received, &closes, &|close| {
        let (stream, last) = close.last_ids.first_key_value().unwrap();
        let key = match stream.as_str() {
            "btcusdt@trade" => format!("\"t\":{last},"),
            _ => format!("\"u\":{last},"),
        };
        let at = received.iter().flatten().find(|texts| {
            let data = texts.iter().filter(|text| !text.contains("serverShutdown")).collect::<Vec<_>>();
            data.len() as u64 == close.frames_sent
                && data.last().is_some_and(|text| text.contains(stream) && text.contains(&key))
        });
        let texts = at.unwrap_or_else(|| panic!("nobody received what {close:?} says"));
        assert_eq!(texts.iter().any(|text| text.contains("serverShutdown")), close.notice, "{close:?}");
        close.frames_sent
    });
    for ending in Ending::ALL {
        assert!(closes.iter().any(|close| close.ending == ending), "seed 11 draws every ending");
    }
    assert!(closes.iter().any(|close| close.notice) && closes.iter().any(|close| !close.notice));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_over_time_ends_as_many_connections_and_waits_for_them_to_come() {
    let market = Market {
        symbols: vec!["BTCUSDT".into()],
        channels: vec!["trades".into(), "depth".into(), "book_ticker".into()],
        frames_per_s: 2_000,
        total_frames: Some(2_000),
        start_ms: None,
    };
    let config = SimConfig {
        start_when: StartWhen::FirstSubscribe,
        faults: vec![closes(12, None, Some(500))],
        ..SimConfig::generated(&["binance-spot"], market)
    };
    let (received, closes) = play(Sim::start(config).await.unwrap()).await;
    check(&received, &closes, &|close| close.frames_sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_within_the_notice_is_reported_as_gone_first() {
    let file = RecordingFile::new("binance-spot", recording(SPOT));
    let (endings, notice_ms) = (vec![Ending::Cut], 3_600_000);
    let plan = Action::RandomCloses {
        count: 1,
        over_frames: Some(100),
        over_ms: None,
        endings,
        notice_share: 1.0,
        notice_ms,
        seed: 3,
    };
    let config = SimConfig { pace: Pace::Max, faults: vec![Fault::now(plan)], ..SimConfig::recordings(vec![file]) };
    let sim = Sim::start(config).await.unwrap();
    let mut client = Client::connect(&sim, "binance-spot", "/ws/btcusdt@trade").await;
    while !client.text().await.contains("serverShutdown") {}
    drop(client);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while sim.report().venues["binance-spot"].closes.is_empty() {
        assert!(
            std::time::Instant::now() < end,
            "ten minutes later still: sim.report().venues['binance-spot'].closes.is_empty()"
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let report = sim.stop().await;
    let close = &report.venues["binance-spot"].closes[0];
    assert_eq!((close.number, close.ending, close.notice, close.left_first), (1, Ending::Cut, true, true));
}

#[test]
fn a_plan_reads_from_short_json() {
    let fault: Fault =
        serde_json::from_str(r#"{"do":"random_closes","count":20,"over_ms":60000,"notice_share":0.5,"seed":4}"#)
            .unwrap();
    let Action::RandomCloses { count, over_ms, endings, notice_ms, .. } = fault.action else { panic!("{fault:?}") };
    assert_eq!((count, over_ms, endings.len(), notice_ms), (20, Some(60_000), 0, 200));
}
