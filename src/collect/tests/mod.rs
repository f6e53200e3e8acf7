//! The collector against a scripted exchange: what was sent is in the log, byte for byte, and so is what happened.
#![allow(clippy::unwrap_used)]

mod formal;
mod life;
mod listings;
mod panics;
mod pressure;
mod server;
mod sim;
mod stopping;
mod throttled;
mod tls;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as RawFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data as OpData, OpCode};
use wal_format::{Kind, LogReader, Position, ReaderOptions, Step};

use self::server::{Act, LISTING, Server};
use super::CollectError;
use super::metrics::Metrics;
use capture::{Capture, VenueConfig};
use model::{RestMeta, VenueId};
use ops::memory::Pressure;
use ops::shutdown::Shutdown;
use ops::supervise::Supervisor;
use venue::Venue;

/// A record, owned.
#[derive(Clone, Debug)]
struct Rec {
    kind: Kind,
    conn: u32,
    flags: u8,
    payload: Vec<u8>,
    rest: Option<(RestMeta, Vec<u8>)>,
}

impl Rec {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap()
    }
}

fn read(dir: &Path) -> Vec<Rec> {
    let mut reader = LogReader::open(dir, Position::START, ReaderOptions::default()).unwrap();
    let mut out = Vec::new();
    loop {
        match reader.next().unwrap() {
            Step::Record(r) => {
                let rest = (r.kind() == Some(Kind::Rest)).then(|| {
                    let rest = r.rest().unwrap();
                    (serde_json::from_slice(rest.meta).unwrap(), rest.body.to_vec())
                });
                if let Some(kind) = r.kind() {
                    out.push(Rec { kind, conn: r.conn, flags: r.flags, payload: r.payload.to_vec(), rest });
                }
            }
            Step::Tail => return out,
            Step::Lost(lost) => panic!("the log lost something: {lost:?}"),
            Step::AwaitRepair { .. } => panic!("the log was not closed cleanly"),
        }
    }
}

fn of(records: &[Rec], kind: Kind) -> Vec<Rec> {
    records.iter().filter(|r| r.kind == kind).cloned().collect()
}

fn events(records: &[Rec], kind: &str) -> Vec<Value> {
    of(records, Kind::Event).iter().map(Rec::json).filter(|e| e["kind"] == kind).collect()
}

/// Data payloads per connection ordinal, in log order; connections in the order they opened.
fn data(records: &[Rec]) -> Vec<Vec<Vec<u8>>> {
    of(records, Kind::ConnOpen)
        .iter()
        .map(|open| {
            let mine = records.iter().filter(|r| r.kind == Kind::Data && r.conn == open.conn);
            mine.map(|r| r.payload.clone()).collect()
        })
        .collect()
}

struct Running {
    dir: tempfile::TempDir,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<Result<(), CollectError>>,
}

fn settings() -> crate::Settings {
    settings::from_text("", |s, p| s.section("collector", p)).unwrap()
}

impl Running {
    fn config(dir: &Path, server: &Server, extra: &str) -> Capture {
        let text = format!(
            "[data]\ndir = {:?}\n[wal]\nsegment_mib = 1\nready_segments = 1\n[venues.binance-spot]\nsymbols = [\"BTC*\", \"OLDUSDT\", \"NOPEUSDT\"]\nrest_url = \"http://{a}\"\nws_url = \"ws://{a}\"\nconnect_stagger_ms = 0\nsubscribe_delay_ms = 400\n{extra}",
            dir.display().to_string(),
            a = server.address,
        );
        settings::from_text(&text, Capture::read).unwrap()
    }

    fn start(server: &Server, extra: &str) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let cfg = Arc::new(Self::config(dir.path(), server, extra));
        let metrics = Arc::new(Metrics::new([VenueId::BinanceSpot]));
        let shutdown = Shutdown::new();
        let task = tokio::spawn(super::run_with(cfg, shutdown.clone(), metrics.clone(), None));
        Running { dir, metrics, shutdown, task }
    }

    /// As [`Running::start`], with tasks that panic as `TAPEDECK_PANIC` would have it.
    fn start_rehearsing(server: &Server, extra: &str, panic: &str) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let cfg = Arc::new(Self::config(dir.path(), server, extra));
        let supervisor = Supervisor::rehearsing(panic);
        let metrics = Arc::new(Metrics::supervised([VenueId::BinanceSpot], supervisor));
        let shutdown = Shutdown::new();
        let task = tokio::spawn(super::run_with(cfg, shutdown.clone(), metrics.clone(), None));
        Running { dir, metrics, shutdown, task }
    }

    /// As [`Running::start`], with a configuration and a venue of the test's own.
    async fn start_with(
        server: &Server,
        extra: &str,
        change: impl FnOnce(&mut VenueConfig),
        venue: Option<&'static Venue>,
    ) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let mut cfg = Self::config(dir.path(), server, extra);
        let metrics = Arc::new(Metrics::new([VenueId::BinanceSpot]));
        change(cfg.venues.get_mut(&VenueId::BinanceSpot).unwrap());
        let tls = net::dial::tls_config(&[]).unwrap();
        let config = &cfg.venues[&VenueId::BinanceSpot];
        let mut feed = super::feed(&cfg, VenueId::BinanceSpot, config, &tls, &metrics).await.unwrap();
        if let Some(venue) = venue {
            feed.venue = venue;
        }
        let shutdown = Shutdown::new();
        let task = tokio::spawn(super::keep(Arc::new(feed), shutdown.clone()));
        Running { dir, metrics, shutdown, task }
    }

    /// Waits until the counters say so; fails after a time that is only there to end a broken test.
    pub async fn until(&self, what: &str, done: impl Fn(&super::metrics::Counts) -> bool) {
        for _ in 0..3_000 {
            if done(&self.metrics.venue(VenueId::BinanceSpot).unwrap().counts()) {
                return;
            }
            assert!(!self.task.is_finished(), "the collector ended before {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}: {:?}", self.metrics.status());
    }

    /// Stops cleanly and returns the whole log.
    async fn stop(self) -> Vec<Rec> {
        self.shutdown.trigger();
        self.task.await.unwrap().unwrap();
        read(&self.dir.path().join("wal/binance-spot"))
    }
}

const TRADES: &str = "channels = [\"trades\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_is_in_the_log_byte_for_byte_and_shutdown_seals_it() {
    let not_utf8 = b"{\"stream\":\"btcusdt@trade\",\"data\":{\"note\":\"\xff\"}}".to_vec();
    let odd = [
        Message::text(r#"{"stream":"btcusdt@trade","data":{"e":"trade","note":"币安人生 é"}}"#),
        Message::Frame(RawFrame::message(not_utf8, OpCode::Data(OpData::Text), true)),
        Message::binary(vec![0_u8, 255, 1, 128]),
        Message::text(""),
        Message::text("{ not json"),
        Message::text("y".repeat(300_000)),
    ];
    let mut script = vec![Act::Frames(2_000)];
    script.extend(odd.map(Act::Send));
    script.extend([Act::PingPong, Act::Frames(500), Act::Stream]);
    let server = Server::start(vec![script], vec![]).await;
    let running = Running::start(&server, TRADES);
    running.until("all frames came", |c| c.frames > 2_600).await;
    let records = running.stop().await;

    assert_eq!(data(&records), server.sent(), "the log is what the server sent");
    let binary: Vec<_> =
        of(&records, Kind::Data).into_iter().filter(|r| r.flags & wal_format::flags::BINARY != 0).collect();
    assert_eq!(binary.len(), 1);
    assert_eq!(binary[0].payload, [0, 255, 1, 128]);

    let seen = server.seen.lock().unwrap();
    assert_eq!(seen.requests[0].len(), 1);
    let subscribe = of(&records, Kind::Subscribe);
    assert_eq!(subscribe.len(), 1);
    assert_eq!(subscribe[0].json()["request"], seen.requests[0][0].as_str());
    assert_eq!(seen.closes[0], Some(1000), "the socket was closed as the protocol wants it");

    let listing = &of(&records, Kind::Rest)[0];
    let (meta, body) = listing.rest.clone().unwrap();
    assert_eq!((meta.channel.as_str(), meta.status), ("symbols", 200));
    assert_eq!(body, LISTING.as_bytes());
    let selected = &events(&records, "symbols_selected")[0]["detail"];
    assert_eq!(selected["count"], 1);
    assert_eq!(selected["unmatched"][0], "NOPEUSDT");
    assert_eq!(selected["not_trading"][0]["symbol"], "OLDUSDT");

    let open = of(&records, Kind::ConnOpen);
    assert_eq!(open.len(), 1);
    assert!(open[0].conn != listing.conn, "every ordinal is used once");
    assert_eq!(open[0].json()["streams"], 1);
    let close = of(&records, Kind::ConnClose)[0].json();
    assert_eq!(close["cause"], "shutdown");
    assert_eq!(close["frames"], server_total(&seen.sent));
    assert_eq!(records.last().unwrap().kind, Kind::Seal, "the log is closed cleanly");
    assert!(of(&records, Kind::Gap).is_empty());
}

fn server_total(sent: &[Vec<Message>]) -> u64 {
    sent.iter().map(|c| c.len() as u64).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closed_by_the_server_is_written_down_and_opened_again() {
    let server = Server::start(
        vec![
            vec![Act::Frames(50), Act::Close(1008, "Too many requests")],
            vec![Act::Frames(10), Act::Drop],
            vec![Act::Frames(20), Act::Stream],
        ],
        vec![],
    )
    .await;
    let running = Running::start(&server, TRADES);
    running.until("the third connection delivers", |c| c.connects == 3 && c.frames > 90).await;
    let records = running.stop().await;

    assert_eq!(data(&records), server.sent());
    let close: Vec<Value> = of(&records, Kind::ConnClose).iter().map(Rec::json).collect();
    assert_eq!((&close[0]["cause"], &close[0]["code"]), (&"server".into(), &1008.into()));
    assert_eq!(close[0]["reason"], "Too many requests");
    assert_eq!(close[1]["cause"], "lost");
    assert!(close[1]["error"].is_string(), "{close:?}");
    assert_eq!(close[2]["cause"], "shutdown");
    let gaps = of(&records, Kind::Gap);
    assert_eq!(gaps.len(), 2);
    for (gap, reason) in gaps.iter().zip(["server", "lost"]) {
        let gap = gap.json();
        assert_eq!(gap["reason"], reason);
        assert!(gap["from_ns"].as_u64() < gap["to_ns"].as_u64(), "{gap}");
        assert_eq!(gap["streams"][0], "btcusdt@trade");
    }
    let ordinals: Vec<u32> = of(&records, Kind::ConnOpen).iter().map(|r| r.conn).collect();
    assert!(ordinals.windows(2).all(|w| w[0] < w[1]), "{ordinals:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_is_replaced_and_pings_alone_keep_one_alive() {
    let ping = || [Act::PingPong, Act::Wait(Duration::from_millis(600))];
    let mut alive = vec![];
    for _ in 0..4 {
        // PingPong also sends one frame after the pong: the connection has data now and then.
        alive.extend(ping());
    }
    alive.push(Act::Silent);
    let server = Server::start(vec![vec![Act::Frames(5), Act::Silent], alive], vec![]).await;
    let running = Running::start(&server, "channels = [\"trades\"]\nsilence_timeout_s = 1\n");
    running.until("two silent connections were replaced", |c| c.stale == 2 && c.connects == 3).await;
    let records = running.stop().await;

    assert_eq!(data(&records), server.sent());
    assert_eq!(events(&records, "stale").len(), 2);
    let close: Vec<Value> = of(&records, Kind::ConnClose).iter().map(Rec::json).collect();
    assert_eq!(close[0]["cause"], "stale");
    assert_eq!(close[1]["cause"], "stale");
    assert!(close[1]["uptime_ms"].as_u64() > Some(2_400), "pings kept it alive: {}", close[1]);
    assert_eq!(of(&records, Kind::Gap)[0].json()["reason"], "stale");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_shutdown_notice_gets_a_replacement_before_the_old_connection_is_closed() {
    let notice = r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}"#;
    let server = Server::start(
        vec![vec![Act::Frames(10), Act::Send(Message::text(notice)), Act::Stream], vec![Act::Frames(5), Act::Stream]],
        vec![],
    )
    .await;
    let running = Running::start(&server, TRADES);
    let seen = server.seen.clone();
    running
        .until("the old connection was closed", |_| seen.lock().unwrap().closes.first().is_some_and(Option::is_some))
        .await;
    let before = running.metrics.venue(VenueId::BinanceSpot).unwrap().counts();
    assert_eq!((before.connects, before.rotations), (2, 1));
    running.until("data goes on", |c| c.frames > before.frames + 50).await;
    let records = running.stop().await;

    assert_eq!(data(&records), server.sent(), "nothing of the old connection is lost while it is drained");
    assert_eq!(events(&records, "rotate")[0]["detail"]["reason"], "server_shutdown");
    assert!(of(&records, Kind::Gap).is_empty(), "a planned replacement leaves no gap");
    let order: Vec<(Kind, u32)> = records
        .iter()
        .filter(|r| matches!(r.kind, Kind::ConnOpen | Kind::ConnClose))
        .map(|r| (r.kind, r.conn))
        .collect();
    assert_eq!((order[0].0, order[1].0), (Kind::ConnOpen, Kind::ConnOpen), "{order:?}");
    assert_eq!(order[2], (Kind::ConnClose, order[0].1), "{order:?}");
    assert_eq!(of(&records, Kind::ConnClose)[0].json()["cause"], "rotate");
    // No instant is uncovered: the new one is acknowledged before the old one is closed.
    let first_of_new = records.iter().position(|r| r.kind == Kind::Data && r.conn == order[1].1);
    let close_of_old = records.iter().position(|r| r.kind == Kind::ConnClose && r.conn == order[0].1);
    assert!(first_of_new.unwrap() < close_of_old.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_follow_every_connect_and_a_refused_one_is_an_event_and_tried_again() {
    let server = Server::start(
        vec![vec![Act::Frames(5), Act::Wait(Duration::from_secs(5)), Act::Drop]],
        vec!["429 Too Many Requests\r\nRetry-After: 1", "200 OK", "503 Service Unavailable"],
    )
    .await;
    let running =
        Running::start(&server, "channels = [\"trades\", \"depth\", \"depth_snapshot\"]\nsnapshot_levels = 100\n");
    // Listing and two snapshots.
    running.until("a snapshot per connect", |c| c.connects == 2 && c.rest_ok == 3 && c.rest_errors == 2).await;
    let records = running.stop().await;

    let rest: Vec<(String, u16)> =
        of(&records, Kind::Rest).iter().map(|r| r.rest.clone().map(|(m, _)| (m.channel, m.status)).unwrap()).collect();
    let depth = |status| ("depth_snapshot".to_owned(), status);
    assert_eq!(rest, [("symbols".to_owned(), 200), depth(429), depth(200), depth(503), depth(200)]);
    let errors = events(&records, "rest_error");
    assert_eq!(errors.len(), 2);
    assert_eq!(errors[0]["detail"]["status"], 429);
    assert_eq!(errors[0]["detail"]["symbol"], "BTCUSDT");
    let seen = server.seen.lock().unwrap();
    assert!(seen.rest.iter().any(|p| p.contains("limit=100")), "{:?}", seen.rest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_order_book_is_none_whatever_its_status_and_is_asked_for_again() {
    let no_books = vec![
        "200 OK\r\nBody: <html>maintenance</html>",
        "202 Accepted\r\nBody: ",
        "404 Not Found\r\nBody: <html>",
        "200 OK\r\nBody: {\"code\":-1000,\"msg\":\"An unknown error occurred\"}",
    ];
    let server = Server::start(vec![], no_books).await;
    let running = Running::start(&server, "channels = [\"trades\", \"depth\", \"depth_snapshot\"]\n");
    let asked = || server.seen.lock().unwrap().rest.iter().filter(|p| p.contains("depth")).count();
    running.until("a book came", |c| c.rest_ok >= 3 && asked() == 5).await;
    let records = running.stop().await;
    let books = of(&records, Kind::Rest)
        .iter()
        .filter(|r| r.rest.as_ref().is_some_and(|(_, body)| body.starts_with(b"{\"lastUpdateId\"")))
        .count();
    assert_eq!((asked(), books), (5, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_stream_that_never_delivers_is_an_event() {
    let server = Server::start(vec![], vec![]).await;
    let running = Running::start(&server, "channels = [\"trades\", \"agg_trades\"]\nstream_silence_s = 1\n");
    running.until("the silent stream is reported", |c| c.silent_streams > 0).await;
    let records = running.stop().await;
    let silent = &events(&records, "stream_silent")[0]["detail"]["streams"];
    assert_eq!(silent[0]["stream"], "btcusdt@aggTrade");
    assert_eq!(silent[0]["frames"], 0);
    assert_eq!(silent.as_array().unwrap().len(), 1, "the stream that delivers is not reported");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_sync_every_each_message_is_durable_and_in_the_log() {
    let server = Server::start(vec![vec![Act::Frames(20), Act::Stream]], vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    let mut cfg = Running::config(dir.path(), &server, TRADES);
    cfg.wal.sync = capture::Sync::Every;
    let metrics = Arc::new(Metrics::new([VenueId::BinanceSpot]));
    let shutdown = Shutdown::new();
    let task = tokio::spawn(super::run_with(Arc::new(cfg), shutdown.clone(), metrics.clone(), None));
    let running = Running { dir, metrics, shutdown, task };
    running.until("frames came", |c| c.frames > 40).await;
    assert_eq!(data(&running.stop().await), server.sent());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_use_is_refused_with_who_uses_it_and_what_to_do() {
    let server = Server::start(vec![], vec![]).await;
    let running = Running::start(&server, TRADES);
    running.until("the first collector records", |c| c.frames > 3).await;
    let cfg = Arc::new(Running::config(running.dir.path(), &server, TRADES));
    let err = super::run(cfg, settings(), Shutdown::new(), Pressure::default(), None, Supervisor::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(err.contains("cannot start the collector") && err.contains("binance-spot"), "{err}");
    assert!(err.contains(&std::process::id().to_string()), "{err}");
    assert!(err.contains("fix:") && err.contains("[data] dir"), "{err}");
    let before = running.metrics.venue(VenueId::BinanceSpot).unwrap().counts().frames;
    running.until("the first one goes on", |c| c.frames > before).await;
    assert_eq!(data(&running.stop().await), server.sent());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_takes_no_records_closes_the_sockets_and_recording_goes_on_with_a_gap_when_it_does_again() {
    let server = Server::start(vec![], vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    let cfg = Running::config(dir.path(), &server, TRADES);
    let metrics = Arc::new(Metrics::new([VenueId::BinanceSpot]));
    let (id, venue) = cfg.venues.first_key_value().unwrap();
    let tls = net::dial::tls_config(&[]).unwrap();
    let feed = Arc::new(super::feed(&cfg, *id, venue, &tls, &metrics).await.unwrap());
    let shutdown = Shutdown::new();
    let task = tokio::spawn(super::keep(feed.clone(), shutdown.clone()));
    let running = Running { dir, metrics: metrics.clone(), shutdown, task };
    running.until("data flows", |c| c.frames > 20).await;
    feed.log.fail("no space left (said by the test)");
    assert!(metrics.venue(*id).unwrap().failed().unwrap().contains("no space"));
    let seen = server.seen.clone();
    running.until("the socket is closed", |_| seen.lock().unwrap().closes[0] == Some(1000)).await;
    running.until("another one delivers", |c| c.connects == 2).await;
    let before = metrics.venue(*id).unwrap().counts().frames;
    running.until("data flows again", |c| c.frames > before + 20).await;
    assert_eq!(metrics.venue(*id).unwrap().failed(), None);
    let records = running.stop().await;

    let logged = data(&records);
    assert_eq!(logged[1], server.sent()[1]);
    assert_eq!(logged[0], server.sent()[0][..logged[0].len()], "up to the failure nothing is missing");
    let gap = of(&records, Kind::Gap)[0].json();
    assert_eq!(gap["reason"], "log");
    assert!(gap["to_ns"].as_u64().unwrap() - gap["from_ns"].as_u64().unwrap() > 1_000_000_000, "{gap}");
    let resumed = &events(&records, "log_resumed")[0]["detail"];
    assert_eq!(resumed["error"], "no space left (said by the test)");
}
