//! The whole way in one process: a log of recorded trades, both readers of it, the database, and restarts.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use wal_format::{Append, Kind, LogWriter};

use super::*;
use crate::db::{
    self, CandleReader, Checkpoint, Committed, DbError, Filled, GapQuery, HistoryQuery, NamedBar, SavedFeed, Series,
    Source, StoredBar, open_reader,
};
use crate::registry::Registered;
use model::interval::Interval;
use ops::supervise::Supervisor;

fn read(toml: &str) -> Arc<Config> {
    Arc::new(::settings::from_text(toml, Config::read).unwrap())
}

fn config(dir: &Path) -> Arc<Config> {
    let toml = format!(
        "[data]\ndir = {:?}\n[wal]\nsegment_mib = 1\n[klines]\nflush_interval_s = 1\n[venues.binance-usdm]\nsymbols = [\"*\"]\nchannels = [\"trades\", \"book_ticker\"]\n",
        dir.display().to_string()
    );
    read(&toml)
}

/// Frames of a recording: receive time, payload.
fn frames() -> Vec<(u64, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/binance-usdm/hft-btcusdt_20240808.zst");
    let text = String::from_utf8(zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).unwrap();
    let trade = |l: &str| {
        let (ts, frame) = l.split_once(' ')?;
        frame.starts_with(r#"{"stream":"btcusdt@trade"#).then(|| (ts.parse().unwrap(), frame.to_owned()))
    };
    text.lines().filter_map(trade).collect()
}

fn record(cfg: &Config, frames: &[(u64, String)]) {
    // The process's clock goes on from the newest log of all tests: times of this one are its own.
    let mut options = cfg.capture.log_options();
    options.receive = None;
    let mut log = LogWriter::open(&cfg.capture.wal_dir(model::VenueId::BinanceUsdm), options).unwrap();
    for (ts_recv_ns, frame) in frames {
        log.append(&Append { ts_recv_ns: *ts_recv_ns, conn: 1, kind: Kind::Data, flags: 0, payload: frame.as_bytes() })
            .unwrap();
    }
    log.close().unwrap();
}

fn drain(cfg: &Arc<Config>) {
    KlineService::start(cfg, Mode::Drain, &Shutdown::new()).unwrap().unwrap().join().unwrap();
}

/// All stored bars as text.
fn table(cfg: &Config) -> Vec<String> {
    let mut db = open_reader(cfg.klines.database.reveal(), &cfg.capture.data_dir).unwrap();
    Interval::ALL
        .into_iter()
        .flat_map(|interval| {
            let query = HistoryQuery {
                venue: "binance-usdm".into(),
                symbol: "BTCUSDT".into(),
                interval,
                start_us: None,
                end_us: None,
                limit: 1_000,
                newest_first: false,
            };
            db.query(&query).unwrap().into_iter().map(move |bar| format!("{interval} {bar:?}"))
        })
        .collect()
}

#[test]
fn a_log_worked_off_in_many_sittings_gives_the_table_of_one() {
    let frames = frames();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = config(whole.path());
    record(&one, &frames);
    drain(&one);
    let many = config(parts.path());
    for share in frames.chunks(frames.len() / 7 + 1) {
        record(&many, share);
        drain(&many);
    }
    let (want, got) = (table(&one), table(&many));
    assert!(want.len() > 10, "{}", want.len());
    assert_eq!(got, want);
}

#[test]
fn a_feed_that_stops_without_its_last_checkpoint_goes_on_at_the_one_before() {
    let frames = frames();
    let (whole, restarted) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = config(whole.path());
    record(&one, &frames);
    drain(&one);
    let two = config(restarted.path());
    record(&two, &frames[..9_000]);
    drain(&two);
    // What a kill before the commit leaves: a database that knows nothing of what was read since.
    let file = restarted.path().join("klines.db");
    let before = restarted.path().join("before.db");
    std::fs::copy(&file, &before).unwrap();
    record(&two, &frames[9_000..15_000]);
    drain(&two);
    std::fs::copy(&before, &file).unwrap();
    for extra in ["klines.db-wal", "klines.db-shm"] {
        let _ = std::fs::remove_file(restarted.path().join(extra));
    }
    record(&two, &frames[15_000..]);
    drain(&two);
    assert_eq!(table(&two), table(&one));
}

#[test]
fn readers_see_the_latest_bars_and_history_without_a_seam() {
    let dir = tempfile::tempdir().unwrap();
    let cfg = config(dir.path());
    let frames = frames();
    record(&cfg, &frames[..5_000]);
    drain(&cfg);
    record(&cfg, &frames[5_000..]);
    let shutdown = Shutdown::new();
    let service = KlineService::start(&cfg, Mode::Follow, &shutdown).unwrap().unwrap();
    let hub = Arc::clone(service.hub());
    // The trades of the second half are in memory, and only partly in the database yet.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while hub.stats().ticks < 21_313 - 5_000 {
        assert!(std::time::Instant::now() < end, "ten minutes later still: hub.stats().ticks < 21_313 - 5_000");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let index = hub.registry().index("binance-usdm", "BTCUSDT").unwrap();
    let query = HistoryQuery {
        venue: "binance-usdm".into(),
        symbol: "BTCUSDT".into(),
        interval: Interval::M1,
        start_us: None,
        end_us: None,
        limit: 3,
        newest_first: true,
    };
    let bars = hub.history(&query).unwrap();
    assert_eq!(bars.len(), 3);
    assert!(bars.windows(2).all(|w| w[1].open_time_us - w[0].open_time_us == 60_000_000));
    let all = hub.history(&HistoryQuery { limit: 100, ..query }).unwrap();
    assert_eq!(all.iter().map(|b| b.trade_count).sum::<u64>(), {
        let day = hub
            .history(&HistoryQuery {
                interval: Interval::D1,
                limit: 100,
                ..HistoryQuery {
                    venue: "binance-usdm".into(),
                    symbol: "BTCUSDT".into(),
                    interval: Interval::D1,
                    start_us: None,
                    end_us: None,
                    limit: 100,
                    newest_first: true,
                }
            })
            .unwrap();
        day.iter().map(|b| b.trade_count).sum::<u64>()
    });
    assert_eq!(hub.latest(index).unwrap()[0], *all.last().unwrap());
    assert!(!hub.recent_trades(index).ticks.is_empty());
    shutdown.trigger();
    service.join().unwrap();
}

/// A database whose commits fail as listed, first to last: before they are stored, or after.
struct Failing {
    db: Box<dyn CandleDb>,
    fails: Vec<Option<Fails>>,
    failed: Arc<AtomicU64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fails {
    Before,
    After,
}

impl CandleReader for Failing {
    fn load_registry(&mut self) -> Result<Vec<Registered>, DbError> {
        self.db.load_registry()
    }
    fn load_feed(&mut self, feed: &str) -> Result<Option<SavedFeed>, DbError> {
        self.db.load_feed(feed)
    }
    fn stored(&mut self, q: &HistoryQuery) -> Result<Vec<StoredBar>, DbError> {
        self.db.stored(q)
    }
    fn last_traded(&mut self, series: &Series, before_us: i64) -> Result<Option<StoredBar>, DbError> {
        self.db.last_traded(series, before_us)
    }
    fn gaps(&mut self, q: &GapQuery) -> Result<Vec<NamedBar>, DbError> {
        self.db.gaps(q)
    }
    fn opens(&mut self, series: &Series, from_us: i64, to_us: i64, any: bool) -> Result<Vec<i64>, DbError> {
        self.db.opens(series, from_us, to_us, any)
    }
    fn series(&mut self) -> Result<Vec<Series>, DbError> {
        self.db.series()
    }
}

impl CandleDb for Failing {
    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Committed, DbError> {
        let fails = self.fails.pop().flatten();
        if fails == Some(Fails::Before) {
            self.failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Err(DbError::Sql(sql::SqlError::Lost));
        }
        let done = self.db.commit(checkpoint)?;
        if fails == Some(Fails::After) {
            self.failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Err(DbError::Sql(sql::SqlError::Lost));
        }
        Ok(done)
    }
    fn put_history(&mut self, bars: &[NamedBar], source: Source, replace: bool) -> Result<Filled, DbError> {
        self.db.put_history(bars, source, replace)
    }
}

#[test]
fn a_commit_that_fails_before_or_after_it_is_stored_changes_no_candle_in_the_end() {
    let frames = frames();
    let (whole, faulty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = config(whole.path());
    record(&one, &frames);
    drain(&one);
    let two = config(faulty.path());
    record(&two, &frames[..8_000]);
    let failed = Arc::new(AtomicU64::new(0));
    let database = db::open(two.klines.database.reveal(), faulty.path()).unwrap();
    // From the last to the first.
    let fails = vec![Some(Fails::After), None, Some(Fails::Before), Some(Fails::Before), Some(Fails::After), None];
    let database = Box::new(Failing { db: database, fails, failed: Arc::clone(&failed) });
    let shutdown = Shutdown::new();
    let service =
        KlineService::over(database, &two, Mode::Follow, &shutdown, &Pressure::default(), &Supervisor::default())
            .unwrap();
    let hub = Arc::clone(service.hub());
    let committed = || hub.stats().feeds.values().map(|f| f.checkpoints).sum::<u64>();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let until = Instant::now() + Duration::from_secs(120);
        while !done() {
            assert!(Instant::now() < until, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait("the first checkpoint", &|| committed() > 0);
    record(&two, &frames[8_000..14_000]);
    wait("three failures", &|| failed.load(std::sync::atomic::Ordering::Relaxed) >= 3);
    record(&two, &frames[14_000..]);
    wait("four failures", &|| failed.load(std::sync::atomic::Ordering::Relaxed) >= 4);
    let stored = committed();
    wait("a checkpoint after them", &|| committed() > stored + 1);
    shutdown.trigger();
    let _ = service.join();
    assert_eq!(table(&two), table(&one));
}

#[test]
fn statistics_report_what_happened_since_the_line_before_and_how_long_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let cfg = config(dir.path());
    let frames = frames();
    record(&cfg, &frames[..1_000]);
    let shutdown = Shutdown::new();
    let service = KlineService::start(&cfg, Mode::Follow, &shutdown).unwrap().unwrap();
    let hub = Arc::clone(service.hub());
    let wait = |trades: u64| {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
        while hub.stats().ticks < trades {
            assert!(std::time::Instant::now() < end, "ten minutes later still: hub.stats().ticks < trades");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait(1_000);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while hub.stats().feeds.values().all(|f| f.activity != "live") {
        assert!(
            std::time::Instant::now() < end,
            "ten minutes later still: hub.stats().feeds.values().all(|f| f.activity != 'live')"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(hub.latency().counted().count(), 0, "what was written before the start says nothing");
    let mut reporter = super::stats::Reporter::new(&hub);
    let now = ops::clock::wall_ns();
    let live: Vec<(u64, String)> = frames[1_000..3_000].iter().map(|(_, f)| (now, f.clone())).collect();
    record(&cfg, &live);
    wait(3_000);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while hub.latency().counted().count() < 2_000 {
        assert!(std::time::Instant::now() < end, "ten minutes later still: hub.latency().counted().count() < 2_000");
        std::thread::sleep(Duration::from_millis(5));
    }
    let line = reporter.line(&hub);
    assert_eq!(line.trades, 2_000, "{line:?}");
    assert!(line.closed > 0 && line.queue_max > 0, "{line:?}");
    let [p50, p99, p999, max] = line.latency_us;
    let since = (ops::clock::wall_ns() - now) / 1_000;
    assert!(p50 > 0 && p50 <= p99 && p99 <= p999 && p999 <= max && max <= since, "{line:?} within {since} us");
    let quiet = reporter.line(&hub);
    assert_eq!((quiet.trades, quiet.closed, quiet.latency_us), (0, 0, [0; 4]), "{quiet:?}");
    shutdown.trigger();
    let _ = service.join();
}

/// A log whose clock the test owns: nanoseconds since epoch, and since boot a million seconds less.
fn log_at(cfg: &Config, now: &Arc<AtomicU64>) -> LogWriter {
    let clock = Arc::clone(now);
    let mut options = cfg.capture.log_options();
    options.receive = None;
    options.clock = Arc::new(move || {
        let wall_ns = clock.load(std::sync::atomic::Ordering::Relaxed);
        wal_format::ClockPair { wall_ns, mono_ns: wall_ns - 1_000_000_000_000_000 }
    });
    LogWriter::open(&cfg.capture.wal_dir(model::VenueId::BinanceUsdm), options).unwrap()
}

#[test]
fn an_hour_of_silence_and_a_delisting_come_out_of_the_database_as_they_should() {
    const SECOND: u64 = 1_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let cfg = config(dir.path());
    // 2024-08-08 00:00 UTC.
    let start = 1_723_075_200 * SECOND;
    let now = Arc::new(AtomicU64::new(start));
    let mut log = log_at(&cfg, &now);
    let append = |log: &mut LogWriter, kind: Kind, payload: &[u8]| {
        let ts_recv_ns = now.load(std::sync::atomic::Ordering::Relaxed);
        log.append(&Append { ts_recv_ns, conn: 1, kind, flags: 0, payload }).unwrap();
    };
    let trade = |log: &mut LogWriter, id: u64, price: u64| {
        let ms = now.load(std::sync::atomic::Ordering::Relaxed) / 1_000_000;
        let frame = format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{ms},"T":{ms},"s":"BTCUSDT","t":{id},"p":"{price}","q":"1","X":"MARKET","m":false}}}}"#
        );
        append(log, Kind::Data, frame.as_bytes());
    };
    let listing = |log: &mut LogWriter, symbols: &str| {
        let meta = r#"{"channel":"symbols","symbol":null,"url":"u","status":200}"#;
        let ts_recv_ns = now.load(std::sync::atomic::Ordering::Relaxed);
        log.append_rest(ts_recv_ns, 0, meta.as_bytes(), format!(r#"{{"symbols":[{symbols}]}}"#).as_bytes()).unwrap();
    };
    let idle = |log: &mut LogWriter, seconds: u64| {
        for _ in 0..seconds {
            now.fetch_add(SECOND, std::sync::atomic::Ordering::Relaxed);
            log.tick().unwrap();
        }
    };
    let entry = r#"{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","contractType":"PERPETUAL","onboardDate":1,"filters":[]}"#;
    listing(&mut log, entry);
    idle(&mut log, 5);
    trade(&mut log, 1, 100);
    idle(&mut log, 3_600);
    trade(&mut log, 2, 200);
    idle(&mut log, 10);
    listing(&mut log, "");
    idle(&mut log, 3_600);
    log.close().unwrap();
    drain(&cfg);
    // A second sitting restores what was halted, and leaves it so.
    let mut log = log_at(&cfg, &now);
    idle(&mut log, 3_600);
    log.close().unwrap();
    drain(&cfg);
    let mut db = open_reader(cfg.klines.database.reveal(), &cfg.capture.data_dir).unwrap();
    let mut of = |interval| {
        let query = HistoryQuery {
            venue: "binance-usdm".into(),
            symbol: "BTCUSDT".into(),
            interval,
            start_us: None,
            end_us: None,
            limit: 1_000,
            newest_first: false,
        };
        db.query(&query).unwrap()
    };
    let minutes = of(Interval::M1);
    let at = |minute: u64| (start / 1_000 + minute * 60_000_000) as i64;
    assert_eq!(minutes.iter().map(|b| b.open_time_us).collect::<Vec<_>>(), (0..=60).map(at).collect::<Vec<_>>());
    assert!(minutes.iter().all(|b| b.is_final() && b.revision == 0 && b.flags & model::kline::GAP == 0));
    assert!(minutes[1..60].iter().all(|b| b.trade_count == 0 && b.volume == 0 && b.open == 100 && b.close == 100));
    assert_eq!((minutes[0].trade_count, minutes[60].trade_count, minutes[60].close), (1, 1, 200));
    let hours = of(Interval::H1);
    assert_eq!(hours.iter().map(|b| (b.open_time_us, b.trade_count)).collect::<Vec<_>>(), [(at(0), 1), (at(60), 1)]);
    assert!(hours.iter().all(|b| b.is_final()));
    let day = of(Interval::D1);
    assert_eq!(
        (day.len(), day[0].trade_count, day[0].is_final()),
        (1, 2, false),
        "the day it was delisted in is not over"
    );
}

#[path = "break_tests.rs"]
mod breaks;
