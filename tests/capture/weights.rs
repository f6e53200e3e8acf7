//! Everything that asks an exchange asks at once, against one that enforces its limits: snapshots, listings and tokens of the
//! collector, repairs, beginnings of candles, the nightly comparison, the command line. No ban, no throttle, and the weight
//! stays below what the exchange documents; the figures are printed.
//!
//! `campaigns/weights.sh` runs it with 1,024 streams of every venue for five minutes (`TAPEDECK_STREAMS`, `TAPEDECK_SECONDS`).

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kline::db::{self, NamedBar, Source as BarSource};
use model::kline::{FINAL, FLAT};
use model::{Interval, KlineData};
use venue_sim::{Action, Fault, LimitsReport, Market, Pace, SimConfig, SimVenue, Source, StartWhen, VenueReport};

use crate::support::venue::Exchange;
use crate::support::{Service, free_port, tapedeck, wait_until};

/// Venue, name of a symbol, streams of a symbol, what candles are made of.
type Of = (&'static str, fn(usize) -> String, &'static [&'static str], &'static str);

const BINANCE: fn(usize) -> String = |n| format!("C{n:03}USDT");
const GATE: fn(usize) -> String = |n| format!("C{n:03}_USDT");
const COINM: fn(usize) -> String = |n| format!("C{n:03}USD_PERP");
const VENUES: [Of; 8] = [
    ("binance-spot", BINANCE, &["trades", "agg_trades", "book_ticker", "depth"], "trades"),
    ("binance-spot-sbe", BINANCE, &["trades", "book_ticker", "depth"], "trades"),
    ("binance-usdm", BINANCE, &["agg_trades", "book_ticker", "depth", "mark_price"], "agg_trades"),
    ("kucoin-spot", |n| format!("C{n:03}-USDT"), &["trades", "book_ticker", "depth"], "trades"),
    ("kucoin-futures", |n| format!("C{n:03}USDTM"), &["trades", "book_ticker", "depth"], "trades"),
    ("gate-spot", GATE, &["trades", "book_ticker", "depth"], "trades"),
    ("gate-futures", GATE, &["trades", "book_ticker", "depth"], "trades"),
    ("binance-coinm", COINM, &["agg_trades", "book_ticker", "depth", "mark_price"], "agg_trades"),
];

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Gate takes one subscription of a book in 300 ms: the short version has fewer there.
fn streams_of(venue: &str, streams: usize) -> usize {
    if venue.starts_with("gate") && streams < 1_024 { streams / 4 } else { streams }
}

/// An exchange that enforces, with `streams` streams of each of `venues`.
fn exchange(venues: &[Of], streams: usize) -> Exchange {
    let playing = |(venue, name, channels, _): &Of| {
        let market = Market {
            symbols: (0..streams_of(venue, streams).div_ceil(channels.len())).map(name).collect(),
            channels: channels.iter().map(|c| (*c).to_owned()).collect(),
            // The rarest stream delivers within seconds.
            frames_per_s: 4 * streams_of(venue, streams) as u64,
            total_frames: None,
            start_ms: None,
        };
        SimVenue::playing(venue, Source::Generated(market))
    };
    let mut sim = SimConfig::venues(venues.iter().map(playing).collect());
    sim.start_when = StartWhen::FirstSubscribe;
    sim.pace = Pace::Recorded;
    sim.extra_symbols = false;
    sim.limits.enforce = true;
    Exchange::start(sim)
}

fn config(dir: &Path, exchange: &Exchange, venues: &[Of]) -> std::path::PathBuf {
    let path = dir.join("tape.toml");
    let sources: Vec<String> = venues.iter().map(|(venue, _, _, source)| format!("{venue} = {source:?}")).collect();
    let mut text = format!(
        "[data]\ndir = {:?}\n[wal]\nsegment_mib = 8\n[lake]\nack_interval_s = 1\n[klines]\nflush_interval_s = 1\nsource = {{ {} }}\n[api]\nlisten = \"127.0.0.1:{}\"\n[collector]\nlisten = \"127.0.0.1:{}\"\n",
        dir.join("data").display().to_string(),
        sources.join(", "),
        free_port(),
        free_port(),
    );
    for (venue, _, channels, _) in venues {
        let channels: Vec<&str> = channels.iter().copied().chain(["depth_snapshot"]).collect();
        let key = if venue.ends_with("sbe") { "api_key_env = \"TAPEDECK_TEST_KEY\"\n" } else { "" };
        text += &format!(
            "[venues.{venue}]\nsymbols = [\"*\"]\nchannels = {channels:?}\nrest_url = {:?}\nws_url = {:?}\nsymbols_refresh_s = 10\n{key}",
            exchange.sim.rest_url(venue),
            exchange.sim.ws_url(venue),
        );
    }
    std::fs::write(&path, text).unwrap();
    path
}

/// Candles of yesterday, so that every night has something to compare.
fn yesterday(dir: &Path, venues: &[Of], symbols: usize) {
    const DAY_US: i64 = 86_400_000_000;
    let now_us = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
    let noon_us = Interval::D1.open_of(now_us) - DAY_US / 2;
    std::fs::create_dir_all(dir.join("data")).unwrap();
    let mut database = db::open("sqlite:klines.db", &dir.join("data")).unwrap();
    for (venue, name, ..) in venues {
        let bar = |n| NamedBar {
            venue: (*venue).to_owned(),
            symbol: name(n),
            interval: Interval::M1,
            bar: KlineData { flags: FLAT | FINAL, ..KlineData::flat(noon_us, 100, 2, 2) },
        };
        let bars: Vec<NamedBar> = (0..symbols).map(bar).collect();
        database.put_history(&bars, BarSource::Official, false).unwrap();
    }
}

/// What each kind of work asked for, by a piece of its path.
fn asked(report: &VenueReport, piece: &str) -> usize {
    report.rest.answers.iter().filter(|a| a.path.contains(piece)).count()
}

fn told(venue: &str, report: &VenueReport) {
    let u = &report.usage;
    println!(
        "{venue}: weight at most {} in a window of {} s, {} in any such time, {} allowed; upgrades at most {} of {} in {} s; {} requests",
        u.weight_most,
        u.weight_window_ms / 1_000,
        u.weight_most_rolling,
        u.weight,
        u.connects_most,
        u.connects,
        u.connect_window_ms / 1_000,
        report.rest.requests,
    );
}

/// Ends the other threads of a scope, also when an assertion fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn with_all_work_at_once_no_exchange_throttles_or_bans_and_the_weight_stays_below_the_documented_limit() {
    let (streams, seconds) = (number("TAPEDECK_STREAMS", 240), number("TAPEDECK_SECONDS", 6));
    let root = tempfile::tempdir().unwrap();
    let exchange = exchange(&VENUES, streams);
    let config = config(root.path(), &exchange, &VENUES);
    yesterday(root.path(), &VENUES, streams / 4);
    let key = ("TAPEDECK_TEST_KEY", "a key");
    let compactor = Service::start("compactor", &config, &[key, ("TAPEDECK_NIGHTLY", "2")]);
    let collector = Service::start("collector", &config, &[key]);
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let phase = |what: &str| println!("after {} s: {what}", begun.elapsed().as_secs());
    let report = std::thread::scope(|scope| {
        let _over = Over(&over);
        // Whoever fills candles by hand, again and again.
        for (venue, ..) in VENUES {
            let (over, config) = (&over, &config);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let args = ["klines", "backfill", "--interval", "1m,1h", "--venue", venue, "--config"];
                    let mut child = tapedeck()
                        .args(args)
                        .arg(config)
                        .env(key.0, key.1)
                        .stdout(std::process::Stdio::null())
                        .spawn()
                        .unwrap();
                    while child.try_wait().unwrap().is_none() {
                        if over.load(Ordering::Relaxed) {
                            child.kill().unwrap();
                        }
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
            });
        }
        let delivering = || {
            let report = exchange.sim.report();
            let full = |venue: &str| {
                let conns = &report.venues[venue].connections;
                conns.iter().flat_map(|c| c.streams.keys()).collect::<std::collections::BTreeSet<_>>().len()
                    >= streams_of(venue, streams)
            };
            VENUES.iter().all(|(venue, ..)| full(venue))
        };
        let limit = Instant::now() + Duration::from_secs(600);
        while !delivering() {
            assert!(Instant::now() < limit, "not every stream delivers: {}", collector.said());
            std::thread::sleep(Duration::from_millis(200));
        }
        phase("every stream delivers");
        // Holes to repair: in every stream of trades some frames are missing, again and again.
        let end = Instant::now() + Duration::from_secs(seconds as u64);
        while Instant::now() < end {
            for (venue, ..) in VENUES {
                exchange.sim.fault(Fault::now(Action::Drop { frames: 40, stream: None }).on_venue(venue));
            }
            std::thread::sleep(Duration::from_secs(2));
        }
        phase("holes were made");
        // All kinds of work did ask: repairs, beginnings of candles and comparisons.
        let pieces = [
            ("binance-usdm", "/aggTrades?"),
            ("binance-usdm", "/klines?"),
            ("binance-coinm", "/aggTrades?"),
            ("binance-coinm", "/klines?"),
            ("binance-spot", "/historicalTrades?"),
            ("gate-spot", "/spot/trades?"),
            ("gate-futures", "/candlesticks?"),
            ("kucoin-spot", "/market/candles?"),
            ("kucoin-futures", "/kline/query?"),
        ];
        let limit = Instant::now() + Duration::from_secs(600);
        loop {
            let report = exchange.sim.report();
            let missing: Vec<_> =
                pieces.iter().filter(|(venue, piece)| asked(&report.venues[*venue], piece) == 0).collect();
            if missing.is_empty() {
                break;
            }
            assert!(Instant::now() < limit, "nobody asked for {missing:?}: {}", compactor.said());
            std::thread::sleep(Duration::from_millis(300));
        }
        phase("all kinds of work asked");
        exchange.sim.report()
    });
    collector.stop();
    compactor.stop();
    exchange.stop();
    phase("all stopped");
    for (venue, ..) in VENUES {
        let of = &report.venues[venue];
        told(venue, of);
        assert_eq!(of.limits, LimitsReport::default(), "{venue}");
        assert!(of.usage.weight_most <= of.usage.weight && of.usage.weight_most_rolling <= of.usage.weight, "{venue}");
        assert!(of.rest.answers.iter().all(|a| !matches!(a.status, 418 | 429)), "{venue}");
    }
    let used = &report.venues["binance-usdm"].usage;
    assert!(used.weight_most_rolling > 1_000, "the weight is asked for: {used:?}");
}

/// The weight is the address's, not the program's.
#[test]
fn weight_that_others_at_our_address_spend_is_seen_in_the_headers_and_left_to_them() {
    let venues = &VENUES[2..3];
    let root = tempfile::tempdir().unwrap();
    let exchange = exchange(venues, 400);
    let config = config(root.path(), &exchange, venues);
    exchange.sim.fault(Fault::now(Action::Spend { weight: 1_500 }));
    let collector = Service::start("collector", &config, &[]);
    // Our own 1,900 would be 3,400 of 2,400 with those. What is asked for after a full minute may be more.
    wait_until("snapshots are asked for until there is no more weight", || {
        exchange.sim.report().venues["binance-usdm"].usage.weight_most >= 1_850
    });
    std::thread::sleep(Duration::from_secs(3));
    let report = exchange.sim.report();
    collector.stop();
    exchange.stop();
    told("binance-usdm", &report.venues["binance-usdm"]);
    assert_eq!(report.venues["binance-usdm"].limits, LimitsReport::default());
}
