//! The server in one process: a log that grows, the candles made of it, and clients over real sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use wal_format::{Append, ClockPair, Kind, LogWriter};

use super::*;
use fold::Mode;
use kline::KlineService;
use kline::db::{NamedBar, Source};
use model::VenueId;
use model::kline::FINAL;
use model::{Interval, KlineData};
use ops::host::Process;
use ops::memory::sample::Sample;
use ops::memory::{Pressure, Settings as Memory};
use ops::supervise::Supervisor;

const PATIENCE: Duration = Duration::from_secs(30);
/// The machine of the recording was started then.
const BOOT_NS: u64 = 1_700_000_000_000_000_000;

/// Waits until something is so.
async fn until(is_so: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + 20 * PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < end, "it never came");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Fixture {
    _dir: tempfile::TempDir,
    log: Mutex<Option<LogWriter>>,
    now_ns: Arc<AtomicU64>,
    frames: Vec<(u64, String)>,
    service: Option<KlineService>,
    app: Shared,
    addr: SocketAddr,
    shutdown: Shutdown,
}

impl Fixture {
    /// A server with these keys of `[api]` and these trades of a recording in the log.
    async fn new(keys: &str, access: Access, first: usize) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let toml = format!(
            "[data]\ndir = {:?}\n[wal]\nsegment_mib = 4\n[klines]\nswap_interval_ms = 2\n[api]\n{keys}\n\
             [venues.binance-usdm]\nsymbols = [\"*\"]\nchannels = [\"trades\"]\n",
            dir.path().display().to_string()
        );
        let made = ::settings::from_text(&toml, |s, p| {
            let of_candles = kline::Config::read(s, p);
            let kline::Config { capture, klines } = of_candles.clone();
            let lake = s.section::<lake::Settings>("lake", p).below(&capture.data_dir);
            (Arc::new(of_candles), Arc::new(Config { api: s.section("api", p), capture, klines, lake }))
        });
        let (of_candles, cfg) = made.unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/binance-usdm/hft-btcusdt_20240808.zst");
        let text = String::from_utf8(zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).unwrap();
        let trade = |l: &str| {
            let (ts, frame) = l.split_once(' ')?;
            frame.starts_with(r#"{"stream":"btcusdt@trade"#).then(|| (ts.parse().unwrap(), frame.to_owned()))
        };
        let frames: Vec<(u64, String)> = text.lines().filter_map(trade).collect();
        // The clock of the log is that of the recording, as it was when it was made.
        let now_ns = Arc::new(AtomicU64::new(frames[0].0));
        let mut options = cfg.capture.log_options();
        let clock = Arc::clone(&now_ns);
        options.clock = Arc::new(move || {
            let wall_ns = clock.load(Relaxed);
            ClockPair { wall_ns, mono_ns: wall_ns - BOOT_NS }
        });
        options.receive = None;
        let log = Mutex::new(Some(LogWriter::open(&cfg.capture.wal_dir(VenueId::BinanceUsdm), options).unwrap()));
        let shutdown = Shutdown::new();
        let memory = Memory { limit_mib: 100, own_limit: true, elevated_percent: 75, critical_percent: 85 };
        let pressure = Pressure::watched(&memory, "compactor");
        let service =
            KlineService::start_under(&of_candles, Mode::Follow, &shutdown, &pressure, &Supervisor::default())
                .unwrap()
                .unwrap();
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let app = app(
            Arc::clone(&cfg),
            lake::Lake::open(&cfg.lake.dir),
            access,
            Arc::new(CompactorStatus::new(pressure)),
            Some(Arc::clone(service.hub())),
            shutdown.clone(),
        );
        let (served, stop) = (app.clone(), shutdown.clone());
        tokio::spawn(async move { super::listen(&listener, &served, stop).await });
        let fixture = Fixture { _dir: dir, log, now_ns, frames, service: Some(service), app, addr, shutdown };
        fixture.append(0..first);
        fixture.caught_up(first as u64).await;
        fixture
    }

    fn append(&self, range: std::ops::Range<usize>) {
        for (ts_recv_ns, frame) in &self.frames[range] {
            self.put(*ts_recv_ns, Kind::Data, frame.as_bytes());
        }
    }

    fn put(&self, ts_recv_ns: u64, kind: Kind, payload: &[u8]) {
        self.now_ns.fetch_max(ts_recv_ns, Relaxed);
        let record = Append { ts_recv_ns, conn: 1, kind, flags: 0, payload };
        self.log.lock().unwrap().as_mut().unwrap().append(&record).unwrap();
    }

    /// Waits until so many trades are in the candles (a few of the recording are not at the market).
    async fn caught_up(&self, frames: u64) {
        let stats = || {
            let s = self.app.hub.as_ref().unwrap().stats();
            s.ticks + s.feeds.values().map(|f| f.off_book + f.repeated).sum::<u64>()
        };
        until(|| stats() >= frames).await;
    }

    /// Status, head and body.
    async fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n", self.addr);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, head, body) = self.ask("GET", path, "").await;
        assert!(!head.contains("transfer-encoding"), "{head}");
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    async fn socket(&self, path: &str) -> Client {
        Client(tokio_tungstenite::connect_async(format!("ws://{}{path}", self.addr)).await.unwrap().0)
    }

    async fn end(mut self) {
        self.shutdown.trigger();
        let service = self.service.take().unwrap();
        tokio::task::spawn_blocking(move || service.join()).await.unwrap().unwrap();
    }
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// The next text as JSON; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a message in time") {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return None,
            }
        }
    }

    async fn say(&mut self, text: &str) -> Value {
        self.0.send(Message::text(text)).await.unwrap();
        loop {
            let answer = self.next().await.unwrap();
            if answer.get("e").is_none() && answer.get("stream").is_none() {
                return answer;
            }
        }
    }
}

/// What a client knows of bars: by open time the number of trades, and whether it is closed.
#[derive(Default)]
struct KnownBars(BTreeMap<i64, (u64, bool)>);

impl KnownBars {
    fn take(&mut self, open: i64, count: u64, closed: bool) {
        if let Some((before, was_closed)) = self.0.get(&open) {
            assert!(count >= *before && (closed || !was_closed), "{open} went back from {before} to {count}");
        } else if let Some((last, (_, was_closed))) = self.0.last_key_value()
            && open > *last
        {
            assert!(*was_closed && open == last + 60_000, "{open} came, but {last} never closed");
        }
        self.0.insert(open, (count, closed));
    }

    fn event(&mut self, event: &Value) {
        let k = &event["k"];
        self.take(k["t"].as_i64().unwrap(), k["n"].as_u64().unwrap(), k["x"].as_bool().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rest_snapshot_and_the_stream_join_without_a_gap_or_a_step_back_a_thousand_times() {
    let f = Arc::new(Fixture::new("weight_per_minute = 1000000", Access::default(), 1_000).await);
    let seed = 20_240_808;
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut at = 1_000;
    for join in 0..1_000 {
        let share = at..at + 20;
        at += 20;
        let (pause, native) = (random.random_range(0..3_000), join % 4 == 3);
        let writer = Arc::clone(&f);
        let write = tokio::task::spawn_blocking(move || {
            for one in share {
                writer.append(one..one + 1);
                std::thread::sleep(Duration::from_micros(pause / 20));
            }
        });
        if native {
            let mut client = f.socket("/v1/stream?intervals=1m").await;
            let first = client.next().await.unwrap();
            assert_eq!(first["type"], "snapshot");
            let (mut known, mut sequence) = (KnownBars::default(), first["sequence"].as_u64().unwrap());
            let take = |message: &Value, known: &mut KnownBars| {
                for k in message["klines"].as_array().unwrap() {
                    let (open, count) = (k["open_time"].as_i64().unwrap(), k["trades"].as_u64().unwrap());
                    // The close of the bar before the snapshot's may follow it.
                    if known.0.keys().next().is_none_or(|first| open >= *first) {
                        known.take(open, count, k["final"].as_bool().unwrap());
                    }
                }
            };
            take(&first, &mut known);
            write.await.unwrap();
            f.append(at..at + 1);
            at += 1;
            let delta = client.next().await.unwrap();
            assert_eq!(delta["previous"].as_u64(), Some(sequence), "a link of the chain is missing");
            sequence = delta["sequence"].as_u64().unwrap();
            assert!(sequence >= delta["previous"].as_u64().unwrap());
            take(&delta, &mut known);
        } else {
            let (status, rows) = f.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=3").await;
            assert_eq!(status, 200);
            let mut known = KnownBars::default();
            let rows = rows.as_array().unwrap();
            for (i, row) in rows.iter().enumerate() {
                known.take(row[0].as_i64().unwrap(), row[8].as_u64().unwrap(), i + 1 < rows.len());
            }
            let mut client = f.socket("/market/ws/btcusdt@kline_1m").await;
            write.await.unwrap();
            // Until the newest trade is shown.
            let want = {
                f.caught_up(at as u64).await;
                let hub = f.app.hub.as_ref().unwrap();
                let bar = hub.latest(0).unwrap()[0];
                (bar.open_time_us / 1_000, bar.trade_count)
            };
            while known.0.get(&want.0).is_none_or(|(count, _)| *count < want.1) {
                known.event(&client.next().await.unwrap());
            }
        }
    }
    Arc::into_inner(f).unwrap().end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_is_disconnected_and_others_get_every_close() {
    let f = Fixture::new("slow_client_s = 1", Access::default(), 100).await;
    let stalled = {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = socket.connect(f.addr).await.unwrap();
        let url = format!("ws://{}/ws/btcusdt@trade/btcusdt@aggTrade", f.addr);
        tokio_tungstenite::client_async(url, stream).await.unwrap().0
    };
    let mut reader = f.socket("/ws/btcusdt@kline_1m").await;
    let mut known = KnownBars::default();
    for at in (100..20_000).step_by(100) {
        f.append(at..at + 100);
        f.caught_up(at as u64 + 100).await;
    }
    let hub = f.app.hub.clone().unwrap();
    let bar = hub.latest(0).unwrap()[0];
    let want = (bar.open_time_us / 1_000, bar.trade_count);
    while known.0.get(&want.0).is_none_or(|(count, _)| *count < want.1) {
        known.event(&reader.next().await.unwrap());
    }
    assert!(known.0.len() > 5, "{}", known.0.len());
    until(|| f.app.counts.slow.load(Relaxed) > 0).await;
    drop(stalled);
    f.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_too_late_for_its_buffer_is_told_so_and_counted_as_slow() {
    let f = Fixture::new("slow_client_s = 300", Access::default(), 100).await;
    let mut stalled = {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = socket.connect(f.addr).await.unwrap();
        let url = format!("ws://{}/ws/btcusdt@trade/btcusdt@aggTrade", f.addr);
        tokio_tungstenite::client_async(url, stream).await.unwrap().0
    };
    for at in (100..20_000).step_by(100) {
        f.append(at..at + 100);
        f.caught_up(at as u64 + 100).await;
    }
    let reason = loop {
        if let Message::Close(frame) = stalled.next().await.unwrap().unwrap() {
            break frame.unwrap().reason.to_string();
        }
    };
    assert!(reason.contains("buffer of trades is full"), "{reason}");
    assert_eq!(f.app.counts.slow.load(Relaxed), 1);
    f.end().await;
}

#[tokio::test]
async fn bad_requests_get_the_codes_of_the_exchange() {
    let f = Fixture::new("", Access::default(), 3_000).await;
    for (path, status, code) in [
        ("/fapi/v1/klines?symbol=NOPEUSDT&interval=1m", 400, -1121),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=3m", 400, -1120),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1M", 400, -1120),
        ("/fapi/v1/klines?interval=1m", 400, -1102),
        ("/fapi/v1/klines?symbol=BTCUSDT", 400, -1102),
        ("/fapi/v1/klines?symbol=btcusdt&interval=1m", 400, -1100),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1501", 400, -1130),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=-1", 400, -1100),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime=2&endTime=1", 400, -1023),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1m", 400, -1121),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=15m", 400, -1120),
        ("/fapi/v1/aggTrades?symbol=BTCUSDT&startTime=2&endTime=1", 400, -1023),
        ("/fapi/v1/aggTrades?symbol=BTCUSDT&startTime=1&endTime=3600002", 400, -1127),
        ("/fapi/v1/ticker/price?symbol=BTCUSDT&symbols=%5B%22BTCUSDT%22%5D", 400, -1128),
        ("/fapi/v1/ticker/price?symbol=BTCUSDT&symbolStatus=HALT", 400, -1220),
        ("/fapi/v1/exchangeInfo?symbolStatus=GONE", 400, -1130),
        ("/fapi/v1/exchangeInfo?symbol=BTCUSDT", 400, -1121),
        ("/api/v3/exchangeInfo?permissions=SPOT", 400, -1130),
        ("/api/v3/ticker?symbol=BTCUSDT&windowSize=8d", 400, -1130),
        ("/api/v3/ticker", 400, -1128),
        ("/api/v3/avgPrice?symbol=BTCUSDT", 404, -5000),
        ("/fapi/v1/depth?symbol=BTCUSDT", 501, -1000),
        ("/fapi/v1/ticker/bookTicker", 501, -1000),
        ("/fapi/v1/nothing", 404, -5000),
        ("/v1/klines?venue=nowhere&symbol=BTCUSDT&interval=1m", 400, -1130),
        ("/v1/klines?venue=binance-usdm&symbol=X&interval=1m", 400, -1121),
        ("/v1/snapshot?intervals=2m", 400, -1120),
        ("/v1/streams", 400, -1102),
        ("/v1/streams?venue=gate-spot", 400, -1130),
    ] {
        let (got, body) = f.get(path).await;
        assert_eq!((got, body["code"].as_i64()), (status, Some(code)), "{path} {body}");
        assert!(body["msg"].is_string());
    }
    let (status, head, _) = f.ask("POST", "/fapi/v1/klines", "content-length: 99999999\r\n").await;
    assert_eq!(status, 413, "{head}");
    assert_eq!(f.ask("POST", "/fapi/v1/ping", "").await.0, 404);
    // Valid requests are answered beside all that.
    let (status, rows) = f.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=2").await;
    assert_eq!((status, rows.as_array().unwrap().len(), rows[0].as_array().unwrap().len()), (200, 2, 12));
    let (status, own) = f.get("/v1/klines?venue=binance-usdm&symbol=BTCUSDT&interval=1m&limit=2").await;
    assert_eq!((status, &own[1]["close"], &own[1]["trades"]), (200, &rows[1][4], &rows[1][8]));
    let (_, whole) = f.get("/v1/snapshot").await;
    assert_eq!(whole["klines"].as_array().unwrap().len(), 7);
    for path in [
        "/fapi/v1/exchangeInfo",
        "/v1/symbols",
        "/v1/venues",
        "/v1/gaps",
        "/v1/klines/stats",
        "/v1/status",
        "/v1/system",
        "/v1/streams?venue=binance-usdm",
        "/v1/quality?by=hour",
        "/quality?venue=binance-usdm",
    ] {
        assert_eq!(f.get(path).await.0, 200, "{path}");
    }
    let (_, system) = f.get("/v1/system").await;
    assert!(system["disk"]["free_bytes"].as_u64().is_some() && system["processes"][0]["memory"]["own_bytes"].is_u64());
    assert!(system["logs"][0]["segment_bytes"].as_u64() >= Some(4 << 20) && system["candles_bytes"].as_u64() > Some(0));
    assert_eq!((&system["feeds"][0]["answers"], &system["candles"]["symbols"]), (&false.into(), &1.into()), "{system}");
    assert_eq!(f.ask("GET", "/", "").await.0, 200);
    assert_eq!(f.ask("GET", "/assets/none.js", "").await.0, 404);
    let (_, trades) = f.get("/fapi/v1/aggTrades?symbol=BTCUSDT&limit=5").await;
    assert_eq!(trades.as_array().unwrap().len(), 5);
    let (_, day) = f.get("/fapi/v1/ticker/24hr?symbol=BTCUSDT").await;
    let (_, price) = f.get("/fapi/v1/ticker/price?symbol=BTCUSDT").await;
    assert_eq!(day["lastPrice"], price["price"]);
    let (_, head, _) = f.ask("GET", "/v1/snapshot", "accept-encoding: gzip\r\n").await;
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let (_, head, metrics) = f.ask("GET", "/metrics", "").await;
    assert!(
        metrics.contains("tapedeck_kline_trades_total 3000") || metrics.contains("tapedeck_kline_trades_total 29"),
        "{head}{metrics}"
    );
    let of = |line: &str| metrics.lines().find_map(|l| l.strip_prefix(line)?.trim().parse::<u64>().ok());
    let (all, last) = ("_bucket{le=\"+Inf\"}", "_bucket{le=\"10\"}");
    let latency = "tapedeck_kline_latency_seconds";
    assert!(metrics.contains(&format!("# TYPE {latency} histogram\n")) && metrics.contains(&format!("{latency}_sum ")));
    assert_eq!(of(&format!("{latency}{all}")), of(&format!("{latency}_count")), "{metrics}");
    assert!(of(&format!("{latency}{last}")) <= of(&format!("{latency}_count")), "{metrics}");
    f.end().await;
}

#[tokio::test]
async fn trades_of_a_range_are_whole_or_refused_and_never_the_last_ones_only() {
    let f = Fixture::new("", Access::default(), 3_000).await;
    let hub = f.app.hub.clone().unwrap();
    until(|| hub.stats().feeds.get("binance-usdm").is_some_and(|feed| feed.activity == "live")).await;
    let (_, kept) = f.get("/fapi/v1/aggTrades?symbol=BTCUSDT&limit=1000").await;
    let kept = kept.as_array().unwrap();
    assert_eq!(kept.len(), 1_000);
    let of = |row: &Value| (row["a"].as_i64().unwrap(), row["T"].as_i64().unwrap());
    let ((oldest, oldest_ms), (_, newest_ms)) = (of(&kept[0]), of(&kept[999]));
    for path in ["aggTrades", "trades", "historicalTrades"] {
        let get = async |range: String| f.get(&format!("/fapi/v1/{path}?symbol=BTCUSDT&{range}")).await;
        for before in [
            format!("startTime={}", oldest_ms),
            format!("startTime={}&endTime={newest_ms}", oldest_ms - 60_000),
            format!("fromId={}", oldest - 1),
            format!("endTime={}&limit=1000", newest_ms - 1),
        ] {
            let (status, body) = get(before.clone()).await;
            assert_eq!((status, &body["code"]), (400, &(-1130).into()), "{path} {before}: {body}");
        }
        let id = |row: &Value| row["a"].as_i64().or(row["id"].as_i64()).unwrap();
        let (status, rows) = get(format!("fromId={}&limit=3", oldest + 5)).await;
        let ids: Vec<i64> = rows.as_array().unwrap().iter().map(id).collect();
        assert_eq!((status, ids.len(), ids[0] >= oldest + 5), (200, 3, true), "{path}: {rows}");
        // All of the last second, the trades of its last ms included.
        let (_, rows) = get(format!("startTime={}&endTime={newest_ms}&limit=1000", newest_ms - 1_000)).await;
        let want: Vec<i64> = kept.iter().filter(|r| of(r).1 >= newest_ms - 1_000).map(|r| of(r).0).collect();
        assert_eq!(rows.as_array().unwrap().iter().map(id).collect::<Vec<_>>(), want, "{path}");
        let (status, rows) = get(format!("startTime={}", newest_ms + 1)).await;
        assert_eq!((status, rows), (200, serde_json::json!([])), "{path}");
    }
    // Nobody records any more: nothing is not the answer to what was traded since.
    drop(f.log.lock().unwrap().take());
    let since = format!("/fapi/v1/aggTrades?symbol=BTCUSDT&startTime={}", newest_ms + 1);
    let (status, body) = f.get(&since).await;
    assert_eq!((status, &body["code"]), (503, &(-1001).into()), "{body}");
    let (status, _) = f
        .get(&format!("{since}&limit=5").replace(&(newest_ms + 1).to_string(), &(newest_ms - 1_000).to_string()))
        .await;
    assert_eq!(status, 200, "all five of them are known");
    f.end().await;
}

#[tokio::test]
async fn a_client_that_closes_gets_its_own_close_frame_on_every_socket() {
    let f = Fixture::new("", Access::default(), 500).await;
    for path in
        ["/ws/btcusdt@kline_1m", "/ws", "/stream?streams=btcusdt@trade", "/private/ws", "/v1/stream", "/ws-api/v3"]
    {
        let mut client = f.socket(path).await;
        let frame = CloseFrame { code: CloseCode::Library(4_321), reason: "enough".into() };
        client.0.send(Message::Close(Some(frame.clone()))).await.unwrap();
        let mut answer = None;
        while let Some(Ok(message)) = tokio::time::timeout(PATIENCE, client.0.next()).await.unwrap() {
            if let Message::Close(frame) = message {
                answer = frame;
            }
        }
        assert_eq!(answer.map(|a| a.code), Some(frame.code), "{path}");
    }
    // What is no message ends with the reason, too.
    let mut client = f.socket("/ws").await;
    client.0.send(Message::text("x".repeat(2 << 20))).await.unwrap();
    let mut last = None;
    while let Some(Ok(message)) = tokio::time::timeout(PATIENCE, client.0.next()).await.unwrap() {
        last = Some(message);
    }
    assert!(
        matches!(last, Some(Message::Close(Some(c))) if c.code == CloseCode::Size),
        "the close frame of a message that is too long"
    );
    f.end().await;
}

#[tokio::test]
async fn a_halted_symbol_has_a_last_price_and_facts_are_those_of_its_listing() {
    let f = Fixture::new("", Access::default(), 3_000).await;
    let (_, before) = f.get("/fapi/v1/ticker/price?symbol=BTCUSDT").await;
    let entry = serde_json::json!({"symbol": "BTCUSDT", "pair": "BTCUSDT", "status": "SETTLING", "baseAsset": "BTC",
        "quoteAsset": "USDT", "contractType": "PERPETUAL", "onboardDate": 1, "deliveryDate": 1_723_165_200_000_i64,
        "pricePrecision": 2, "filters": [{"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"}]});
    let meta = r#"{"channel":"symbols","symbol":null,"url":"u","status":200}"#;
    let mut listing = u32::try_from(meta.len()).unwrap().to_le_bytes().to_vec();
    listing.extend_from_slice(format!("{meta}{}", serde_json::json!({"symbols": [entry]})).as_bytes());
    let last_ns = f.frames[2_999].0;
    let put = |after_s: u64, kind: Kind, payload: &[u8]| f.put(last_ns + after_s * 1_000_000_000, kind, payload);
    put(1, Kind::Rest, &listing);
    // Time goes on, by a trade of another symbol.
    for n in 2..300_u64 {
        let ms = i64::try_from(last_ns / 1_000_000 + n * 1_000).unwrap();
        let other = format!(
            r#"{{"stream":"ethusdt@trade","data":{{"e":"trade","E":{ms},"T":{ms},"s":"ETHUSDT","t":{n},"p":"1.0","q":"1.0","X":"MARKET","m":true}}}}"#
        );
        put(n, Kind::Data, other.as_bytes());
    }
    let hub = f.app.hub.clone().unwrap();
    until(|| hub.latest(0).unwrap()[0].is_empty()).await;
    let (status, now) = f.get("/fapi/v1/ticker/price?symbol=BTCUSDT").await;
    assert_eq!((status, &now["price"]), (200, &before["price"]));
    let (_, all) = f.get("/fapi/v1/ticker/price").await;
    assert!(all.as_array().unwrap().iter().any(|one| one["symbol"] == "BTCUSDT"), "{all}");
    let (status, day) = f.get("/fapi/v1/ticker/24hr?symbol=BTCUSDT").await;
    assert_eq!((status, &day["lastPrice"]), (200, &before["price"]));
    let (_, info) = f.get("/fapi/v1/exchangeInfo?symbol=BTCUSDT").await;
    assert_eq!(info["symbols"], serde_json::json!([entry]));
    assert!(info.get("assets").is_none() && info.get("exchangeFilters").is_none(), "{info}");
    f.end().await;
}

#[tokio::test]
async fn stored_candles_are_served_of_a_symbol_that_no_log_has_and_spot_has_nothing_in_a_time_that_ends_early() {
    let f = Fixture::new("", Access::default(), 100).await;
    let hour = 3_600_000_000;
    let bars = |symbol: &str, venue: &str| {
        let bar = |n: i64| NamedBar {
            venue: venue.to_owned(),
            symbol: symbol.to_owned(),
            interval: Interval::H1,
            bar: KlineData { flags: FINAL, volume: 5, ..KlineData::flat((460_000 + n) * hour, 8_010 + n, 2, 1) },
        };
        (0..24).map(bar).collect::<Vec<_>>()
    };
    let config = Arc::clone(&f.app.config);
    let stored = [bars("LUNAUSDT", "binance-spot"), bars("LUNA-USDT", "kucoin-spot")].concat();
    tokio::task::spawn_blocking(move || {
        let mut db = kline::db::open(config.klines.database.reveal(), &config.capture.data_dir).unwrap();
        db.put_history(&stored, Source::Archive, false).unwrap();
    })
    .await
    .unwrap();
    let (status, rows) = f.get("/api/v3/klines?symbol=LUNAUSDT&interval=1h&limit=3").await;
    assert_eq!((status, rows.as_array().map(Vec::len), &rows[2][4]), (200, Some(3), &"80.33000000".into()), "{rows}");
    let (status, own) = f.get("/v1/klines?venue=kucoin-spot&symbol=LUNA-USDT&interval=1h&limit=30").await;
    assert_eq!((status, own.as_array().map(Vec::len), &own[0]["source"]), (200, Some(24), &"archive".into()));
    // Known, but not at this interval; and unknown.
    assert_eq!(f.get("/api/v3/klines?symbol=LUNAUSDT&interval=1m").await, (200, serde_json::json!([])));
    assert_eq!(f.get("/api/v3/klines?symbol=TERRAUSDT&interval=1h").await.1["code"], -1121);
    for path in ["klines", "uiKlines"] {
        let backwards = format!("/api/v3/{path}?symbol=LUNAUSDT&interval=1h&startTime=2&endTime=1");
        assert_eq!(f.get(&backwards).await, (200, serde_json::json!([])));
    }
    let for_ever = "/api/v3/klines?symbol=LUNAUSDT&interval=1h&startTime=0&endTime=253402300799999&limit=30";
    assert_eq!(f.get(for_ever).await.1.as_array().map(Vec::len), Some(24));
    f.end().await;
}

#[tokio::test]
async fn one_unknown_stream_takes_no_other_along() {
    let f = Fixture::new("ping_interval_s = 1", Access::default(), 500).await;
    let mut a = f.socket("/ws").await;
    let names = r#"["nope@kline_1m","btcusdt@kline_1m","btcusdt@depth","btcusdt_perpetual@continuousKline_5m"]"#;
    let answer = a.say(&format!(r#"{{"method":"SUBSCRIBE","params":{names},"id":7}}"#)).await;
    let unknown = serde_json::json!(["nope@kline_1m", "btcusdt@depth"]);
    assert_eq!(answer, serde_json::json!({"result": null, "id": 7, "unknown": unknown}));
    let mut shown = std::collections::BTreeSet::new();
    while shown.len() < 2 {
        shown.insert(a.next().await.unwrap()["e"].as_str().unwrap().to_owned());
    }
    assert!(shown.contains("kline") && shown.contains("continuous_kline"), "{shown:?}");
    let list = a.say(r#"{"method":"LIST_SUBSCRIPTIONS","id":8}"#).await;
    assert_eq!(list["result"], serde_json::json!(["btcusdt@kline_1m", "btcusdt_perpetual@continuousKline_5m"]));
    let mut b = f.socket("/stream?streams=nope@trade/btcusdt@trade").await;
    let list = b.say(r#"{"method":"LIST_SUBSCRIPTIONS","id":8}"#).await;
    assert_eq!(list["result"], serde_json::json!(["btcusdt@trade"]));
    f.append(500..501);
    assert_eq!(b.next().await.unwrap()["stream"], "btcusdt@trade");
    // A client knows a stream by the name that it has given it.
    let mut c = f.socket("/market/stream").await;
    let names = r#"["BTCUSDT_PERPETUAL@continuousKline_1m"]"#;
    let done = c.say(&format!(r#"{{"method":"SUBSCRIBE","params":{names},"id":1}}"#)).await;
    assert_eq!(done, serde_json::json!({"result": null, "id": 1}));
    assert_eq!(c.next().await.unwrap()["stream"], "BTCUSDT_PERPETUAL@continuousKline_1m");
    // Listed later: it comes, without another request.
    f.app.hub.as_ref().unwrap().registry().register("binance-usdm", [("NOPE".to_owned(), None)]);
    let later = serde_json::json!("nope@kline_1m");
    while !a.say(r#"{"method":"LIST_SUBSCRIPTIONS","id":9}"#).await["result"].as_array().unwrap().contains(&later) {
        // Sockets may say five things a second.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut c = f.socket("/private/stream?streams=").await;
    let refused = c.say(r#"{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}"#).await;
    assert_eq!(refused["code"], 2, "{refused}");
    // Nothing but what is unknown: reported at once, whatever it looks like, and no socket that is silent for ever.
    for address in
        ["stream?streams=gone@trade", "ws/!bookTicker", "market/ws/!ticker@arr", "ws/pqia91ma19a5s61cv6a81va65sd"]
    {
        assert!(tokio_tungstenite::connect_async(format!("ws://{}/{address}", f.addr)).await.is_err(), "{address}");
    }
    drop(f.socket("/private/ws/pqia91ma19a5s61cv6a81va65sd").await);
    f.end().await;
}

#[tokio::test]
async fn a_request_over_the_websocket_api_has_the_answer_of_rest() {
    let f = Fixture::new("", Access::default(), 3_000).await;
    let mut a = f.socket("/ws-fapi/v1").await;
    let (_, rows) = f.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=2").await;
    let klines = r#"{"id":"a-1","method":"klines","params":{"symbol":"BTCUSDT","interval":"1m","limit":2}}"#;
    let answer = a.say(klines).await;
    assert_eq!((&answer["id"], &answer["status"], &answer["result"]), (&"a-1".into(), &200.into(), &rows));
    assert_eq!(answer["rateLimits"][0]["count"].as_u64().map(|n| n >= 4), Some(true), "{answer}");
    let refused = a.say(r#"{"id":2,"method":"klines","params":{"symbol":"NOPE","interval":"1m"}}"#).await;
    assert_eq!((&refused["status"], &refused["error"]["code"]), (&400.into(), &(-1121).into()));
    for (text, status, code) in [
        (r#"{"id":3,"method":"depth","params":{"symbol":"BTCUSDT"}}"#, 501, -1000),
        (r#"{"id":4,"method":"order.place","params":{}}"#, 404, -5000),
        ("{", 400, -1135),
        (r#"{"id":5,"method":"avgPrice","params":{"symbol":"BTCUSDT"}}"#, 404, -5000),
    ] {
        let answer = a.say(text).await;
        assert_eq!((&answer["status"], &answer["error"]["code"]), (&status.into(), &code.into()), "{answer}");
    }
    for n in 0..40 {
        // Counted by weight, not by the messages of a second.
        assert_eq!(a.say(&format!(r#"{{"id":{n},"method":"ping"}}"#)).await["status"], 200);
    }
    let list = r#"{"id":6,"method":"ticker.price","params":{"symbols":["BTCUSDT"],"returnRateLimits":false}}"#;
    let answer = a.say(list).await;
    assert_eq!((answer["result"].as_array().map(Vec::len), answer.get("rateLimits")), (Some(1), None), "{answer}");
    let mut spot = f.socket("/ws-api/v3?timeUnit=MICROSECOND").await;
    assert!(
        spot.say(r#"{"id":7,"method":"time"}"#).await["result"]["serverTime"].as_i64() > Some(1_000_000_000_000_000)
    );
    assert!(tokio_tungstenite::connect_async(format!("ws://{}/ws-api/v3?timeUnit=DAY", f.addr)).await.is_err());
    f.end().await;
}

#[tokio::test]
async fn the_time_unit_that_was_asked_for_holds_for_every_answer_of_spot() {
    let f = Fixture::new("", Access::default(), 0).await;
    for path in ["/api/v3/time", "/api/v3/exchangeInfo"] {
        let time = |body: &str| serde_json::from_str::<Value>(body).unwrap()["serverTime"].as_i64().unwrap();
        let (_, _, us) = f.ask("GET", path, "x-mbx-time-unit: microsecond\r\n").await;
        let (_, _, ms) = f.ask("GET", path, "x-mbx-time-unit: MILLISECOND\r\n").await;
        assert!(time(&us) > 1_000_000_000_000_000 && time(&ms) < 1_000_000_000_000_000, "{path} {us} {ms}");
    }
    for path in ["time", "exchangeInfo", "klines", "aggTrades", "trades", "historicalTrades", "ticker/24hr", "ticker"] {
        let (status, _, body) = f.ask("GET", &format!("/api/v3/{path}"), "x-mbx-time-unit: DAY\r\n").await;
        assert!(status == 400 && body.contains("-1194"), "{path} pays no attention to the header: {body}");
    }
    f.end().await;
}

#[tokio::test]
async fn sockets_answer_requests_and_damaged_requests_and_keep_to_their_limits() {
    let keys = "max_subscriptions = 3\nmax_websockets = 2\nws_messages_per_s = 50\nweight_per_minute = 40";
    let f = Fixture::new(keys, Access::default(), 500).await;
    let mut a = f.socket("/stream").await;
    let ok = a.say(r#"{"method":"SUBSCRIBE","params":["btcusdt@kline_1m","btcusdt@trade"],"id":1}"#).await;
    assert_eq!(ok, serde_json::json!({"result": null, "id": 1}));
    let list = a.say(r#"{"method":"LIST_SUBSCRIPTIONS","id":"x"}"#).await;
    assert_eq!(list["result"], serde_json::json!(["btcusdt@kline_1m", "btcusdt@trade"]));
    for (text, code) in [
        ("{", 3),
        (r#"{"method":"SUBSCRIBE","params":["nope@kline_1m"],"id":2}"#, 2),
        (r#"{"method":"SUBSCRIBE","params":["btcusdt@kline_7m"],"id":2}"#, 2),
        (r#"{"method":"SUBSCRIBE","params":["btcusdt@kline_5m","btcusdt@kline_1h"],"id":2}"#, 2),
        (r#"{"method":"SUBSCRIBE","params":["btcusdt@kline_1m@+08:00"],"id":2}"#, 2),
    ] {
        assert_eq!(a.say(text).await["code"], code, "{text}");
    }
    let many: Vec<String> = (0..10_000).map(|n| format!("btc{n}@kline_1m")).collect();
    let many = serde_json::json!({"method": "SUBSCRIBE", "params": many, "id": 3}).to_string();
    assert_eq!(a.say(&many).await["code"], 2);
    f.append(500..501);
    loop {
        let event = a.next().await.unwrap();
        if event["stream"] == "btcusdt@trade" {
            assert_eq!((&event["data"]["e"], &event["data"]["s"]), (&"trade".into(), &"BTCUSDT".into()));
            break;
        }
    }
    let gone = a.say(r#"{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":4}"#).await;
    assert_eq!(gone["id"], 4);
    let numbered = f.socket("/ws/0").await;
    drop(numbered);
    until(|| f.app.counts.websockets.load(Relaxed) <= 1).await;
    assert!(tokio_tungstenite::connect_async(format!("ws://{}/ws/nope@trade", f.addr)).await.is_err());
    let b = f.socket("/v1/stream").await;
    let third = tokio_tungstenite::connect_async(format!("ws://{}/ws", f.addr)).await;
    assert!(third.is_err_and(|e| e.to_string().contains("503")));
    drop(b);
    for _ in 0..200 {
        // The server hangs up in the midst of it.
        let _ = a.0.send(Message::text("{}")).await;
    }
    let mut last = Value::Null;
    while let Some(message) = a.next().await {
        last = message;
    }
    assert_eq!((&last["e"], &last["code"]), (&"close".into(), &1008.into()));
    let foreign = f.ask("GET", "/ws", "origin: https://evil.example\r\nupgrade: websocket\r\n").await;
    assert_eq!(foreign.0, 403);
    let mut refused = 0;
    for _ in 0..30 {
        let (status, head, _) = f.ask("GET", "/fapi/v1/klines?symbol=BTCUSDT&interval=1m", "").await;
        assert!(head.contains("x-mbx-used-weight-1m"));
        if status == 429 {
            assert!(head.contains("retry-after"), "{head}");
            refused += 1;
        }
    }
    // A minute may end in between: at most two times 20 pass.
    assert!(refused > 0 || f.ask("GET", "/metrics", "").await.2.contains("limited_total"), "{refused}");
    f.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paced_stream_leaves_replaced_states_out_and_keeps_every_close_and_the_chain() {
    let f = Fixture::new("", Access::default(), 100).await;
    let mut client = f.socket("/v1/stream?intervals=1m&every_ms=1000").await;
    let first = client.next().await.unwrap();
    let too_slow = tokio_tungstenite::connect_async(format!("ws://{}/v1/stream?every_ms=1001", f.addr)).await;
    assert!(too_slow.is_err_and(|e| e.to_string().contains("400")));
    let (mut known, mut sequence) = (KnownBars::default(), first["sequence"].as_u64().unwrap());
    let open = first["klines"][0]["open_time"].as_i64().unwrap();
    known.take(open, first["klines"][0]["trades"].as_u64().unwrap(), false);
    // More than a minute of trades, in pieces that each push a change.
    for at in (100..6_000).step_by(20) {
        f.append(at..at + 20);
        f.caught_up(at as u64 + 20).await;
    }
    let bar = f.app.hub.as_ref().unwrap().latest(0).unwrap()[0];
    let want = (bar.open_time_us / 1_000, bar.trade_count);
    let (mut deltas, mut conflated) = (0, 0);
    while known.0.get(&want.0).is_none_or(|(count, _)| *count < want.1) {
        let delta = client.next().await.unwrap();
        assert_eq!(delta["previous"].as_u64(), Some(sequence), "a link of the chain is missing");
        sequence = delta["sequence"].as_u64().unwrap();
        deltas += 1;
        conflated += delta["conflated"].as_u64().unwrap();
        for k in delta["klines"].as_array().unwrap() {
            let (open_time, count) = (k["open_time"].as_i64().unwrap(), k["trades"].as_u64().unwrap());
            if open_time >= open {
                known.take(open_time, count, k["final"].as_bool().unwrap());
            }
        }
    }
    assert!(known.0.len() > 1 && conflated > deltas, "{} bars, {deltas} deltas, {conflated} left out", known.0.len());
    f.end().await;
}

#[tokio::test]
async fn when_memory_is_critical_open_sockets_go_on_and_new_ones_are_refused() {
    let f = Fixture::new("", Access::default(), 100).await;
    let process = Process { anonymous: 99 << 20, ..Process::default() };
    let mut early = f.socket("/ws/btcusdt@kline_1m").await;
    assert!(early.next().await.is_some());
    f.app.status.pressure().observe(&Sample { process, ..Sample::default() }, 1, 1);
    let late = tokio_tungstenite::connect_async(format!("ws://{}/ws", f.addr)).await;
    assert!(late.is_err_and(|e| e.to_string().contains("503")));
    // Two writes one after the other, so that the pause between them is met.
    for range in [100..600, 600..1_200] {
        f.append(range);
        assert!(early.next().await.is_some());
    }
    let (_, _, metrics) = f.ask("GET", "/metrics", "").await;
    for line in ["tapedeck_memory_level 2", "tapedeck_memory_sheds_total{what=\"websockets_refused\"} 1"] {
        assert!(metrics.contains(&format!("{line}\n")), "{line}: {metrics}");
    }
    let (_, status) = f.get("/v1/status").await;
    assert_eq!(status["memory"]["level"], "critical");
    assert!(status["memory"]["parts"]["klines"]["bytes"].as_u64().unwrap() > 0, "{status}");
    assert!(status["memory"]["parts"]["api_mailboxes"]["bytes"].is_u64(), "{status}");
    f.end().await;
}

#[tokio::test]
async fn with_a_token_only_who_shows_it_is_answered() {
    let f = Fixture::new(
        "cors_origins = [\"https://charts.example.org\"]",
        Access::with_token("0123456789abcdef").unwrap(),
        100,
    )
    .await;
    assert_eq!(f.get("/v1/status").await.0, 401);
    assert_eq!(f.get("/v1/status?token=0123456789abcdeg").await.0, 401);
    assert_eq!(f.get("/v1/status?token=0123456789abcdef").await.0, 200);
    assert_eq!(f.ask("GET", "/fapi/v1/ping", "x-mbx-apikey: 0123456789abcdef\r\n").await.0, 200);
    assert_eq!(f.ask("GET", "/fapi/v1/ping", "authorization: Bearer 0123456789abcdef\r\n").await.0, 200);
    assert_eq!(f.ask("GET", "/health", "").await.0, 200);
    // The page's own files show nothing; what it requests needs the token.
    assert_eq!(f.ask("GET", "/", "").await.0, 200);
    assert_eq!(f.ask("GET", "/assets/none.js", "").await.0, 404);
    assert_eq!(f.get("/v1/system").await.0, 401);
    assert!(tokio_tungstenite::connect_async(format!("ws://{}/ws", f.addr)).await.is_err());
    drop(f.socket("/ws?token=0123456789abcdef").await);
    let origin = "origin: https://charts.example.org\r\n";
    let (status, head, _) = f.ask("OPTIONS", "/v1/status", origin).await;
    assert!(status == 204 && head.contains("access-control-allow-origin: https://charts.example.org"), "{head}");
    let (_, head, _) = f.ask("GET", "/v1/status?token=0123456789abcdef", "origin: https://evil.example\r\n").await;
    assert!(!head.contains("access-control"), "{head}");
    f.end().await;
}

#[tokio::test]
async fn neither_a_page_of_another_host_nor_a_name_led_here_is_answered() {
    let f = Fixture::new("hosts = [\"tape.example\"]", Access::default(), 0).await;
    let ask = async |path: &str, headers: &str| {
        let mut stream = TcpStream::connect(f.addr).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    for path in
        ["/", "/health", "/metrics", "/v1/status", "/v1/system", "/api/v3/ping", "/v1/stream", "/ws", "/nothing"]
    {
        assert_eq!(ask(path, "host: evil.example:8080\r\n").await, 421, "{path}");
        // Led here by a name, host and origin are equal.
        let equal = "host: evil.example\r\norigin: http://evil.example\r\nupgrade: websocket\r\n";
        assert_eq!(ask(path, equal).await, 421, "{path}");
        assert_eq!(ask(path, "host: localhost\r\norigin: http://evil.example\r\n").await, 403, "{path}");
    }
    assert_eq!(ask("/v1/status", "host: localhost\r\nhost: evil.example\r\n").await, 400);
    for host in ["localhost", "127.0.0.1:1", "[::1]:1", "tape.example"] {
        assert_eq!(ask("/v1/status", &format!("host: {host}\r\n")).await, 200, "{host}");
    }
    f.end().await;
}

#[tokio::test]
async fn the_document_names_every_route_and_no_other() {
    let f = Fixture::new("", Access::default(), 0).await;
    let doc: Value = serde_json::from_str(native::OPENAPI).unwrap();
    let paths: Vec<&String> = doc["paths"].as_object().unwrap().keys().collect();
    for path in &paths {
        let (status, body) = f.get(&path.replace("{streams}", "btcusdt@trade").replace("{file}", "none.js")).await;
        assert_ne!(body["code"], -5000, "{path} {status} is in the document and not served");
    }
    let sources = [
        include_str!("lib.rs"),
        include_str!("native.rs"),
        include_str!("system.rs"),
        include_str!("quality.rs"),
        include_str!("page/mod.rs"),
        include_str!("binance/mod.rs"),
        include_str!("ws/mod.rs"),
    ];
    let mut routes = 0;
    for text in sources {
        for part in text.split("(\"/").skip(1).map(|p| p.split('"').next().unwrap()) {
            let route = format!("/{}", part.replace("{*", "{"));
            routes += 1;
            let nested = ["/api/v3", "/fapi/v1", "/fapi/v2", "/dapi/v1", "/market", "/public", "/private"]
                .contains(&route.as_str());
            let named = paths.iter().any(|p| **p == route || p.ends_with(&route));
            assert!(nested || named, "{route} is served and not in the document");
        }
    }
    assert!(routes > 30, "{routes}");
    f.end().await;
}
