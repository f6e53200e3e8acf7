//! What a client sees when something goes wrong on request, and that the report says exactly that.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::client::{self, Client, frames_of, get, http, recording};
use futures_util::SinkExt as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use venue_sim::{
    Action, ConnReport, Fault, Garbage, Heartbeat, Limits, Pace, RecordingFile, Sim, SimConfig, StartWhen,
};

const SPOT: &str = "binance-spot/hft-btcusdt_20240808.zst";
const SMALL: &str = "binance-spot/cryptofeed-BINANCE.ws.1.0";
const STREAMS: [&str; 3] = ["btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@100ms"];

fn playing(faults: Vec<Fault>) -> SimConfig {
    let file = RecordingFile::new("binance-spot", recording(SPOT));
    SimConfig { pace: Pace::Max, start_when: StartWhen::AllStreams, faults, ..SimConfig::recordings(vec![file]) }
}

fn idle() -> SimConfig {
    let file = RecordingFile::new("binance-spot", recording(SMALL));
    SimConfig { start_when: StartWhen::AllStreams, ..SimConfig::recordings(vec![file]) }
}

async fn subscribed(sim: &Sim) -> Client {
    let mut client = Client::connect(sim, "binance-spot", "/stream").await;
    client.subscribe(&STREAMS).await;
    client
}

fn first(report: &venue_sim::SimReport) -> &ConnReport {
    &report.venues["binance-spot"].connections[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scripted_close_comes_right_after_its_frame_and_a_new_connection_goes_on_from_there() {
    let fault = Fault::now(Action::Close { code: 1012, reason: "restart".into() }).after_frames(1_000);
    let sim = Sim::start(playing(vec![fault])).await.unwrap();
    let expected = frames_of(SPOT);
    let (texts, end) = subscribed(&sim).await.drain().await;
    assert_eq!((texts.len(), end.as_str()), (1_000, "1012 restart"));
    assert!(texts == expected[..1_000]);
    // At full speed the venue waits for a subscriber; what was queued for the old connection is gone with it.
    let mut again = subscribed(&sim).await;
    let next = again.text().await;
    let at = expected.iter().position(|frame| *frame == next).unwrap();
    assert!(at >= 1_000);
    again.texts(expected.len() - at - 1).await;
    let report = sim.stop().await;
    assert_eq!(first(&report).frames_sent, 1_000);
    assert_eq!(first(&report).end.as_deref(), Some("closed on request with 1012 restart"));
    assert_eq!(report.venues["binance-spot"].connections[1].frames_sent, (expected.len() - at) as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abrupt_cut_delivers_what_it_counted_and_half_a_frame_counts_as_unconfirmed() {
    let fault = Fault::now(Action::Cut { half_frame: true }).after_frames(2_500);
    let sim = Sim::start(playing(vec![fault])).await.unwrap();
    let mut client = subscribed(&sim).await;
    // Let the reset arrive before anything is read: the kernel still gives what came before it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (texts, end) = client.drain().await;
    assert_eq!(texts.len(), 2_500, "{end}");
    assert!(end.contains("reset") || end.contains("closing handshake"), "{end}");
    let report = sim.stop().await;
    assert_eq!((first(&report).frames_sent, first(&report).unconfirmed), (2_500, 1));
    assert_eq!(first(&report).end.as_deref(), Some("cut on request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_behind_the_very_last_frame_still_happens() {
    let last = frames_of(SPOT).len() as u64;
    let sim = Sim::start(playing(vec![Fault::now(Action::ServerShutdown).after_frames(last)])).await.unwrap();
    let mut client = subscribed(&sim).await;
    let texts = client.texts(last as usize + 1).await;
    assert!(texts.last().unwrap().contains("serverShutdown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_frames_jump_and_doubled_frames_repeat_exactly_as_asked() {
    let faults = vec![
        Fault::now(Action::Drop { frames: 5, stream: Some("btcusdt@trade".into()) }).after_frames(100),
        Fault::now(Action::Duplicate { frames: 3 }).after_frames(5_000),
    ];
    let sim = Sim::start(playing(faults)).await.unwrap();
    let expected = frames_of(SPOT);
    let mut model: Vec<String> = Vec::new();
    let mut dropped = 0;
    let mut doubled = 0;
    for frame in &expected {
        if model.len() >= 100 && dropped < 5 && frame.contains("@trade\"") {
            dropped += 1;
            continue;
        }
        if model.len() >= 5_000 && doubled < 3 {
            doubled += 1;
            model.push(frame.clone());
        }
        model.push(frame.clone());
    }
    let mut client = subscribed(&sim).await;
    assert!(client.texts(model.len()).await == model);
    let report = sim.stop().await;
    assert_eq!((first(&report).withheld, first(&report).frames_sent), (5, model.len() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_keeps_the_socket_open_and_sends_nothing() {
    let fault = Fault::now(Action::Silence { for_ms: None, pings: true, stream: None }).after_frames(10);
    let heartbeat = Heartbeat { ping_interval_ms: Some(20), pong_timeout_ms: None };
    let sim = Sim::start(SimConfig { heartbeat, ..playing(vec![fault]) }).await.unwrap();
    let mut client = subscribed(&sim).await;
    client.texts(10).await;
    let reader = tokio::spawn(async move {
        let ended = client.drain().await;
        (ended.0.len(), ended.1)
    });
    sim.wait_finished().await;
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while first(&sim.report()).pongs_received < 3 {
        assert!(std::time::Instant::now() < end, "ten minutes later still: first(&sim.report()).pongs_received < 3");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = sim.stop().await;
    assert_eq!(reader.await.unwrap(), (0, "1001 ".to_owned()));
    assert_eq!((first(&report).frames_sent, first(&report).withheld), (10, frames_of(SPOT).len() as u64 - 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_the_shutdown_event_arrive_as_asked_by_hand() {
    let sim = Sim::start(idle()).await.unwrap();
    let mut client = Client::connect(&sim, "binance-spot", "/stream").await;
    let mut raw = Client::connect(&sim, "binance-spot", "/ws").await;
    let kinds = [Garbage::InvalidJson, Garbage::TruncatedJson, Garbage::UnknownEvent, Garbage::Empty, Garbage::Binary];
    for what in kinds {
        let body =
            serde_json::to_string(&Fault { conn: Some(1), ..Fault::now(Action::Garbage { what, count: 2 }) }).unwrap();
        assert_eq!(http(&sim, "POST", "/_sim/fault", &body).await.json()["applied"], 1);
        for _ in 0..2 {
            let (payload, binary) = what.payload();
            let message = client.next().await.unwrap().unwrap();
            assert_eq!((message.is_binary(), message.into_data().to_vec()), (binary, payload));
        }
    }
    assert_eq!(http(&sim, "POST", "/_sim/fault", r#"[{"do":"server_shutdown"}]"#).await.json()["applied"], 2);
    assert!(client.text().await.starts_with(r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":"#));
    assert!(raw.text().await.starts_with(r#"{"e":"serverShutdown","E":"#));
    assert_eq!(http(&sim, "POST", "/_sim/fault", r#"{"do":"no_such"}"#).await.status, 400);
    let report = sim.report();
    assert_eq!((first(&report).garbage_sent, first(&report).control_sent), (10, 1));
    drop(sim);
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_are_refused_as_often_as_asked_and_then_accepted() {
    let sim = Sim::start(SimConfig { faults: vec![Fault::now(Action::Refuse { status: 503 }).times(2)], ..idle() })
        .await
        .unwrap();
    for _ in 0..2 {
        match Client::try_connect(&sim, "binance-spot", "/stream").await.err() {
            Some(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 503),
            other => panic!("{other:?}"),
        }
    }
    Client::connect(&sim, "binance-spot", "/stream").await;
    match Client::try_connect(&sim, "binance-spot", "/nowhere").await.err() {
        Some(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 404),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_answers_with_the_scripted_errors_and_enforces_its_weight() {
    let faults = vec![
        Fault { path: Some("exchangeInfo".into()), ..Fault::now(Action::Rest { status: 429, retry_after_s: 7 }) },
        Fault { path: Some("ping".into()), ..Fault::now(Action::Rest { status: 502, retry_after_s: 1 }) },
    ];
    let limits = Limits { enforce: true, rest_weight_per_min: Some(60), ..Limits::default() };
    let sim = Sim::start(SimConfig { faults, limits, ..idle() }).await.unwrap();
    let limited = get(&sim, "/binance-spot/api/v3/exchangeInfo").await;
    assert_eq!((limited.status, limited.json()["code"].as_i64()), (429, Some(-1003)));
    assert!(limited.head.contains("Retry-After: 7\r\n"));
    assert_eq!(get(&sim, "/binance-spot/api/v3/ping").await.status, 502);
    assert_eq!(get(&sim, "/binance-spot/api/v3/ping").await.status, 200);
    // A minute border between these requests would reset the weight once, so ask until it is refused.
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(get(&sim, "/binance-spot/api/v3/exchangeInfo").await.status);
    }
    assert!(statuses.starts_with(&[200, 200]) && statuses.contains(&429), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_client_messages_close_with_1008() {
    let limits = Limits { enforce: true, ..Limits::default() };
    let sim = Sim::start(SimConfig { limits, ..idle() }).await.unwrap();
    let mut client = Client::connect(&sim, "binance-spot", "/stream").await;
    for id in 0..6 {
        let _ = client.0.feed(Message::text(format!(r#"{{"method":"LIST_SUBSCRIPTIONS","id":{id}}}"#))).await;
    }
    client.0.flush().await.unwrap();
    let (replies, end) = client.drain().await;
    assert_eq!((replies.len(), end.as_str()), (5, "1008 Too many requests"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_no_pong_is_closed() {
    let heartbeat = Heartbeat { ping_interval_ms: Some(20), pong_timeout_ms: Some(100) };
    let sim = Sim::start(SimConfig { heartbeat, ..idle() }).await.unwrap();
    let client = Client::connect(&sim, "binance-spot", "/stream").await;
    // Not reading means not answering pings.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while first(&sim.report()).closed_ns.is_none() {
        assert!(std::time::Instant::now() < end, "ten minutes later still: first(&sim.report()).closed_ns.is_none()");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(first(&sim.report()).end.as_deref(), Some("no pong came in time"));
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_pong_leaves_client_pings_unanswered() {
    let sim = Sim::start(idle()).await.unwrap();
    let mut client = Client::connect(&sim, "binance-spot", "/stream").await;
    assert_eq!(sim.fault(Fault::now(Action::StopPong)), 1);
    client.0.send(Message::Ping(b"x".to_vec().into())).await.unwrap();
    client.subscribe(&["nknusdt@trade"]).await;
    client.say(r#"{"method":"LIST_SUBSCRIPTIONS","id":2}"#).await;
    use futures_util::StreamExt as _;
    let next = tokio::time::timeout(client::PATIENCE, client.0.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(next, Message::text(r#"{"result":["nknusdt@trade"],"id":2}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_drip_still_delivers_every_byte() {
    let fault = Fault::now(Action::Drip { bytes_per_s: 20_000, for_ms: Some(100) }).after_frames(3);
    let sim = Sim::start(playing(vec![fault])).await.unwrap();
    let mut client = subscribed(&sim).await;
    assert!(client.texts(500).await == frames_of(SPOT)[..500]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timed_fault_reaches_the_connections_that_are_open_then() {
    let sim = Sim::start(idle()).await.unwrap();
    let mut client = Client::connect(&sim, "binance-spot", "/stream").await;
    client.subscribe(&[]).await;
    let fault = Fault { after_ms: Some(50), ..Fault::now(Action::Close { code: 1000, reason: "Bye".into() }) };
    assert_eq!(sim.fault(fault), 0, "nothing happens yet");
    assert_eq!(client.drain().await, (vec![], "1000 Bye".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_and_a_rest_request_can_hang() {
    let faults = vec![Fault::now(Action::HangUpgrade), Fault::now(Action::RestDelay { ms: 600_000 })];
    let sim = Sim::start(SimConfig { faults, ..idle() }).await.unwrap();
    let short = Duration::from_millis(200);
    assert!(tokio::time::timeout(short, Client::try_connect(&sim, "binance-spot", "/stream")).await.is_err());
    assert!(tokio::time::timeout(short, get(&sim, "/binance-spot/api/v3/ping")).await.is_err());
    Client::connect(&sim, "binance-spot", "/stream").await;
    assert_eq!(get(&sim, "/binance-spot/api/v3/ping").await.status, 200);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connects_over_the_limit_are_refused_when_limits_are_enforced() {
    for (enforce, refused) in [(true, 1), (false, 0)] {
        let limits = Limits { enforce, connects_per_5_min: 3, ..Limits::default() };
        let sim = Sim::start(SimConfig { limits, ..idle() }).await.unwrap();
        let mut failures = 0;
        for _ in 0..4 {
            failures += usize::from(Client::try_connect(&sim, "binance-spot", "/ws").await.is_err());
        }
        assert_eq!(failures, refused);
    }
}
