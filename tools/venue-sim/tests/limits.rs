//! What an enforcing venue does to a client that requests too much, and that the report counts every bit of it.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::client::{Client, get, recording};
use futures_util::SinkExt as _;
use model::VenueId;
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::{Error, Message};
use venue::venue;
use venue_sim::{Action, Fault, Limits, LimitsReport, Market, RecordingFile, Sim, SimConfig, StartWhen};

const PING: &str = "/binance-spot/api/v3/ping";

async fn start(limits: Limits) -> Sim {
    let files = ["binance-spot/cryptofeed-BINANCE.ws.1.0", "binance-usdm/cryptofeed-BINANCE_FUTURES.ws.1.0.zst"];
    let files = files.map(|name| RecordingFile::new(name.split('/').next().unwrap(), recording(name)));
    let config = SimConfig { start_when: StartWhen::AllStreams, limits, ..SimConfig::recordings(files.to_vec()) };
    Sim::start(config).await.unwrap()
}

/// The counts of spot; USD-M must have none.
fn counts(sim: &Sim) -> LimitsReport {
    let report = sim.report();
    assert_eq!(report.venues["binance-usdm"].limits, LimitsReport::default());
    report.venues["binance-spot"].limits.clone()
}

/// Sends so many messages at once and gives the end of the connection.
async fn burst(sim: &Sim, messages: usize) -> String {
    let mut client = Client::connect(sim, "binance-spot", "/stream").await;
    for id in 0..messages {
        // Text, ping and pong frames all count.
        let message = match id % 3 {
            0 => Message::text(format!(r#"{{"method":"LIST_SUBSCRIPTIONS","id":{id}}}"#)),
            1 => Message::Ping(Vec::new().into()),
            _ => Message::Pong(Vec::new().into()),
        };
        let _ = client.0.feed(message).await;
    }
    client.0.flush().await.unwrap();
    client.drain().await.1
}

async fn upgrade_status(sim: &Sim, from: Ipv4Addr) -> (u16, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let tcp = socket.connect(sim.address()).await.unwrap();
    match tokio_tungstenite::client_async(format!("{}/ws", sim.ws_url("binance-spot")), tcp).await {
        Ok(_) => (101, String::new()),
        Err(Error::Http(answer)) => {
            let wait = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
            (answer.status().as_u16(), wait.unwrap_or_default())
        }
        Err(error) => panic!("{error}"),
    }
}

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

#[tokio::test(flavor = "multi_thread")]
async fn repeated_message_floods_throttle_the_address_and_knocking_on_bans_it() {
    let limits = Limits {
        enforce: true,
        message_window_ms: Some(60_000),
        strikes: 2,
        throttle_ms: 3_600_000,
        knocks: 2,
        ..Limits::default()
    };
    let sim = start(limits).await;
    assert_eq!(burst(&sim, 6).await, "1008 Too many requests");
    assert_eq!(upgrade_status(&sim, HERE).await.0, 101, "the first flood costs the connection only");
    assert_eq!(burst(&sim, 6).await, "1008 Too many requests");
    assert_eq!(counts(&sim), LimitsReport { messages_over: 2, ..LimitsReport::default() });

    let (status, wait_s) = upgrade_status(&sim, HERE).await;
    assert!(status == 429 && (3_000..=3_600).contains(&wait_s.parse().unwrap()), "{status} {wait_s}");
    let refused = get(&sim, PING).await;
    assert_eq!((refused.status, refused.json()["code"].as_i64()), (429, Some(-1003)));
    assert_eq!(upgrade_status(&sim, HERE).await, (418, "120".to_owned()));
    let banned = get(&sim, PING).await;
    assert_eq!(banned.status, 418);
    assert!(
        banned.head.contains("Retry-After: ") && banned.json()["msg"].as_str().unwrap().contains("IP banned until")
    );
    assert_eq!(upgrade_status(&sim, HERE).await.0, 418);
    assert_eq!(upgrade_status(&sim, HERE).await, (418, "240".to_owned()), "knocking on a ban doubles it");

    assert_eq!(upgrade_status(&sim, ELSEWHERE).await.0, 101, "another address is not concerned");
    assert_eq!(get(&sim, "/binance-usdm/fapi/v1/ping").await.status, 200, "nor another venue");
    assert_eq!(counts(&sim), LimitsReport { messages_over: 2, throttles: 6, bans: 2, ..LimitsReport::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_client_that_waits_is_let_in_again() {
    let limits =
        Limits { enforce: true, message_window_ms: Some(60_000), strikes: 1, throttle_ms: 50, ..Limits::default() };
    let sim = start(limits).await;
    assert_eq!(burst(&sim, 6).await, "1008 Too many requests");
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(upgrade_status(&sim, HERE).await.0, 101);
    assert_eq!(get(&sim, PING).await.status, 200);
    assert_eq!(counts(&sim).bans, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_within_their_rolling_window_are_nobodys_business() {
    let limits = Limits { enforce: true, messages_per_s: Some(2), message_window_ms: Some(50), ..Limits::default() };
    let sim = start(limits).await;
    let mut client = Client::connect(&sim, "binance-spot", "/stream").await;
    for id in 0..6 {
        if id % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        client.say(&format!(r#"{{"method":"LIST_SUBSCRIPTIONS","id":{id}}}"#)).await;
        client.text().await;
    }
    assert_eq!(counts(&sim), LimitsReport::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn weight_and_connects_over_the_limit_are_refused_until_their_window_is_over() {
    let limits = Limits {
        enforce: true,
        rest_weight_per_min: Some(45),
        rest_window_ms: Some(86_400_000),
        connects_per_5_min: 3,
        connect_window_ms: 300,
        ..Limits::default()
    };
    let sim = start(limits).await;
    for _ in 0..3 {
        assert_eq!(upgrade_status(&sim, HERE).await.0, 101);
    }
    assert_eq!(upgrade_status(&sim, HERE).await, (429, "1".to_owned()));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while upgrade_status(&sim, HERE).await.0 != 101 {
        assert!(std::time::Instant::now() < end, "ten minutes later still: upgrade_status(&sim, HERE).await.0 != 101");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let info = "/binance-spot/api/v3/exchangeInfo";
    let first = get(&sim, info).await;
    assert!(first.status == 200 && first.head.contains("X-MBX-USED-WEIGHT-1M: 20\r\n"), "{}", first.head);
    assert_eq!(get(&sim, info).await.status, 200);
    let third = get(&sim, info).await;
    assert!(third.status == 429 && third.head.contains("Retry-After: "), "{}", third.head);
    assert_eq!(upgrade_status(&sim, HERE).await.0, 429, "the address is throttled as a whole");
    let counts = counts(&sim);
    assert_eq!((counts.weight_over, counts.bans, counts.messages_over), (1, 0, 0));
    assert!(counts.connects_over >= 1 && counts.throttles >= 3, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_venue_that_does_not_enforce_still_counts() {
    let limits = Limits {
        connects_per_5_min: 0,
        rest_weight_per_min: Some(1),
        rest_window_ms: Some(86_400_000),
        streams_per_connection: 1,
        message_window_ms: Some(600_000),
        ..Limits::default()
    };
    let sim = start(limits).await;
    let mut client = Client::connect(&sim, "binance-spot", "/stream").await;
    client.subscribe(&["a@trade", "b@trade"]).await;
    for id in 0..6 {
        client
            .0
            .feed(Message::text(format!(r#"{{"method":"GET_PROPERTY","params":["combined"],"id":{id}}}"#)))
            .await
            .unwrap();
    }
    client.0.flush().await.unwrap();
    client.texts(6).await;
    assert_eq!(get(&sim, PING).await.status, 200);
    assert_eq!(get(&sim, PING).await.status, 200);
    let counts = counts(&sim);
    assert_eq!((counts.connects_over, counts.weight_over, counts.throttles, counts.bans), (1, 1, 0, 0));
    assert_eq!((counts.messages_over, counts.streams_over), (2, 1), "seven messages, two streams");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_streams_close_with_1008_and_are_counted() {
    let sim = start(Limits { enforce: true, messages_per_s: Some(100), ..Limits::default() }).await;
    let mut client = Client::connect(&sim, "binance-spot", "/stream").await;
    let names: Vec<String> = (0..1_024).map(|n| format!("s{n}@trade")).collect();
    for some in names.chunks(128) {
        client.subscribe(&some.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    assert_eq!(counts(&sim).streams_over, 0);
    client.say(r#"{"method":"SUBSCRIBE","params":["x@trade"],"id":2}"#).await;
    assert_eq!(client.drain().await, (vec![], "1008 Too many streams".to_owned()));
    assert_eq!(counts(&sim).streams_over, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_longer_than_is_read_is_neither_done_nor_answered_whatever_is_enforced() {
    let sim = start(Limits::default()).await;
    let mut client = Client::connect(&sim, "binance-spot", "/stream").await;
    // Frame header and mask are 8 bytes.
    let of_bytes = |bytes: usize, id: u8| {
        let rest = format!(r#"{{"method":"SUBSCRIBE","params":["@trade"],"id":{id}}}"#).len();
        format!(r#"{{"method":"SUBSCRIBE","params":["{}@trade"],"id":{id}}}"#, "x".repeat(bytes - rest))
    };
    client.say(&of_bytes(4_089, 1)).await;
    client.say(&of_bytes(4_088, 2)).await;
    assert_eq!(client.text().await, r#"{"result":null,"id":2}"#, "the longer one had no answer");
    client.say(r#"{"method":"LIST_SUBSCRIPTIONS","id":3}"#).await;
    let listed: serde_json::Value = serde_json::from_str(&client.text().await).unwrap();
    assert_eq!(listed["result"].as_array().unwrap().len(), 1);
    assert_eq!(counts(&sim).messages_too_long, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_two_endpoints_of_spot_share_their_limits_and_each_reports_its_own_part() {
    let files = ["binance-spot", "binance-spot-sbe"]
        .map(|venue| RecordingFile::new(venue, recording("binance-spot/cryptofeed-BINANCE.ws.1.0")));
    let limits =
        Limits { enforce: true, rest_weight_per_min: Some(45), rest_window_ms: Some(86_400_000), ..Limits::default() };
    let sim = Sim::start(SimConfig { limits, ..SimConfig::recordings(files.to_vec()) }).await.unwrap();
    let ask = async |venue: &str| get(&sim, &format!("/{venue}/api/v3/exchangeInfo")).await.status;
    assert_eq!((ask("binance-spot").await, ask("binance-spot-sbe").await), (200, 200));
    assert_eq!((ask("binance-spot").await, ask("binance-spot-sbe").await), (429, 429));
    let report = sim.report();
    let of = |venue: &str| (report.venues[venue].limits.weight_over, report.venues[venue].limits.throttles);
    assert_eq!((of("binance-spot"), of("binance-spot-sbe")), ((1, 1), (0, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_given_word_for_word_and_what_others_spend_stands_in_the_used_weight() {
    let sim = start(Limits::default()).await;
    let answer = |upgrades| Action::Answer {
        status: 200,
        headers: vec![("Retry-After".into(), "1.5".into())],
        body: r#"{"code":"429000"}"#.into(),
        upgrades,
    };
    sim.fault(Fault::now(answer(false)).on_venue("binance-spot"));
    sim.fault(Fault::now(answer(true)).on_venue("binance-spot"));
    let said = get(&sim, PING).await;
    assert_eq!((said.status, said.json()["code"].as_str()), (200, Some("429000")));
    assert!(said.head.contains("Retry-After: 1.5\r\n"), "{}", said.head);
    assert_eq!(upgrade_status(&sim, Ipv4Addr::LOCALHOST).await, (200, "1.5".to_owned()));
    assert_eq!(upgrade_status(&sim, Ipv4Addr::LOCALHOST).await.0, 101);
    let used = async || {
        let head = get(&sim, PING).await.head;
        let after = head.split("X-MBX-USED-WEIGHT-1M: ").nth(1).unwrap();
        after.split("\r\n").next().unwrap().parse::<u64>().unwrap()
    };
    sim.fault(Fault::now(Action::Spend { weight: 500 }).on_venue("binance-spot"));
    // A minute border may lie between, but not twice.
    let mut seen = used().await;
    if seen < 500 {
        sim.fault(Fault::now(Action::Spend { weight: 500 }).on_venue("binance-spot"));
        seen = used().await;
    }
    assert!(seen >= 501, "{seen}");
    let usage = &sim.report().venues["binance-spot"].usage;
    assert_eq!((usage.weight, usage.weight_window_ms, usage.connects_most), (6_000, 60_000, 2));
    assert!(usage.weight_most_rolling >= seen, "{usage:?}");
    assert_eq!(sim.report().venues["binance-usdm"].usage.weight_most, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_venue_counts_and_refuses_in_the_words_that_its_spec_has_for_it() {
    let venues: Vec<&str> = VenueId::ALL.iter().map(|id| id.as_str()).collect();
    let market = Market {
        symbols: vec!["AUSDT".into()],
        channels: vec!["trades".into()],
        frames_per_s: 1,
        total_frames: None,
        start_ms: None,
    };
    let sim = Sim::start(SimConfig::generated(&venues, market)).await.unwrap();
    for id in VenueId::ALL.iter().copied() {
        let known = &venue(id).spec.throttling;
        let path = format!("/{id}{}", venue(id).rest.listing_request().path_and_query);
        let head = get(&sim, &path).await.head.to_lowercase();
        let has_header = |name: &str| head.contains(&format!("\r\n{}: ", name.to_lowercase()));
        assert!(
            known.used.iter().any(|used| has_header(used.header) && used.left.is_none_or(has_header)),
            "{id} {head}"
        );
        assert!(known.resets.iter().all(|(name, _)| has_header(name)), "{id} {head}");
        sim.fault(Fault::now(Action::Rest { status: 429, retry_after_s: 7 }).on_venue(id.as_str()));
        let body = get(&sim, &path).await.json();
        let is = |field: &str, pattern: &str| {
            let said = body[field].as_str().map_or_else(|| body[field].to_string(), str::to_owned);
            said.len() == pattern.len() && said.bytes().zip(pattern.bytes()).all(|(s, p)| p == b'?' || s == p)
        };
        assert!(known.refusals.iter().any(|(field, pattern)| is(field, pattern)), "{id} {body}");
    }
}
