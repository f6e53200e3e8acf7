//! Two recordings of one market, one from its first trade on and one begun in the middle, make the same candles: the
//! venue's REST candles begin the second one's bars, stitched by trade id, while its REST fails at first and its
//! compactor is killed. And holes filled from that REST are what was recorded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kline::db::{GapQuery, HistoryQuery, open_reader};
use model::Interval;
use venue_sim::{Action, Fault, Market, Pace, SimConfig, SimVenue, Source, StartWhen};

use crate::support::venue::Exchange;
use crate::support::{Service, both, free_port, run, seed, wait_until};

/// 2024-08-06, a Tuesday, 23:50 UTC: after it lie the ends of an hour, of four hours and of a day.
pub(super) const START_MS: i64 = 1_722_988_200_000;
/// How much faster than real time the market lives.
const SPEED: f64 = 400.0;
/// Venue, the channel its candles are made of, its symbols.
pub(super) const VENUES: [(&str, &str, [&str; 2]); 3] = [
    ("binance-spot", "trades", ["BTCUSDT", "ETHUSDT"]),
    ("binance-usdm", "agg_trades", ["BTCUSDT", "ETHUSDT"]),
    // Contracts of 100 and of 10 USD.
    ("binance-coinm", "agg_trades", ["BTCUSD_PERP", "ETHUSD_PERP"]),
];

/// A market on each of [`VENUES`], of so many frames.
pub(super) fn markets(frames_per_s: u64, total_frames: Option<u64>) -> SimConfig {
    let playing = |(venue, _, symbols): (&str, &str, [&str; 2])| {
        let market = Market {
            symbols: symbols.map(str::to_owned).to_vec(),
            channels: vec!["trades".into(), "agg_trades".into()],
            frames_per_s,
            total_frames,
            start_ms: Some(START_MS),
        };
        SimVenue::playing(venue, Source::Generated(market))
    };
    let mut sim = SimConfig::venues(VENUES.map(playing).to_vec());
    sim.start_when = StartWhen::Settled { streams: 2, quiet_ms: 200 };
    sim
}

/// The directory of a recorder, in which its configuration is.
pub(super) fn recorder(dir: &Path, exchange: &Exchange) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    let path = dir.join("tape.toml");
    let mut text = format!(
        "[data]\ndir = {:?}\n[klines]\nflush_interval_s = 1\nstats_interval_s = 1\n[api]\nlisten = \"127.0.0.1:{}\"\n[collector]\nlisten = \"127.0.0.1:{}\"\n",
        dir.join("data").display().to_string(),
        free_port(),
        free_port(),
    );
    for (venue, channel, symbols) in VENUES {
        text += &format!(
            "[venues.{venue}]\nsymbols = {symbols:?}\nchannels = [{channel:?}]\nrest_url = {:?}\nws_url = {:?}\nconnect_stagger_ms = 0\nrest_weight_per_window = 100000\n",
            exchange.sim.rest_url(venue),
            exchange.sim.ws_url(venue),
        );
    }
    std::fs::write(&path, text).unwrap();
    path
}

fn query(venue: &str, symbol: &str, interval: Interval) -> HistoryQuery {
    HistoryQuery::of(venue, symbol, interval, 10_000)
}

/// Stored bars of every series; -1 without a database.
pub(super) fn stored(config: &Path, interval: Interval) -> Vec<i64> {
    let data = config.with_file_name("data");
    let Ok(mut db) = open_reader("sqlite:klines.db", &data) else { return vec![-1] };
    VENUES
        .iter()
        .flat_map(|(venue, _, symbols)| symbols.map(|symbol| (*venue, symbol)))
        .map(|(v, s)| db.query(&query(v, s, interval)).map_or(-1, |bars| bars.len() as i64))
        .collect()
}

pub(super) fn gaps(config: &Path) -> Option<usize> {
    let mut db = open_reader("sqlite:klines.db", &config.with_file_name("data")).ok()?;
    Some(db.gaps(&GapQuery { limit: 10_000, ..GapQuery::default() }).ok()?.len())
}

/// Exported candles by venue, symbol, interval and open time; without who made them and how often they were revised.
fn table(config: &Path, columns: &[&str]) -> BTreeMap<String, String> {
    let out = run(&["klines", "export", "--config", config.to_str().unwrap(), "--format", "csv", "--out", "-"]);
    assert!(out.status.success(), "{}", both(&out));
    let text = String::from_utf8(out.stdout).unwrap();
    let names: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let wanted: Vec<usize> = columns.iter().map(|c| names.iter().position(|n| n == c).unwrap()).collect();
    text.lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            (fields[..4].join(","), wanted.iter().map(|i| fields[*i]).collect::<Vec<_>>().join(","))
        })
        .collect()
}

const NINE: [&str; 9] = [
    "open", "high", "low", "close", "volume", "quote_volume", "trade_count", "taker_buy_volume",
    "taker_buy_quote_volume",
];

#[test]
fn a_recording_begun_in_the_middle_has_the_candles_of_one_from_the_beginning() {
    let root = tempfile::tempdir().unwrap();
    let mut sim = markets(1, Some(14_000));
    sim.pace = Pace::Times(SPEED);
    sim.seed = seed("a_recording_begun_in_the_middle") % (1 << 40);
    let exchange = Exchange::start(sim);
    let whole = recorder(&root.path().join("whole"), &exchange);
    let middle = recorder(&root.path().join("middle"), &exchange);
    let mut running =
        ["collector", "compactor"].map(|name| Service::start(name, &whole, &[])).into_iter().collect::<Vec<_>>();
    // 80 minutes of the market: the second recording begins a day after the first, in the same week.
    wait_until("the market is past 01:05", || stored(&whole, Interval::M1).iter().all(|n| *n > 75));
    for (venue, ..) in VENUES {
        let refused = Fault::now(Action::Rest { status: 503, retry_after_s: 1 }).on_venue(venue);
        exchange.sim.fault(Fault { path: Some("/klines".into()), ..refused }.times(2));
    }
    running.push(Service::start("collector", &middle, &[]));
    let compactor = Service::start("compactor", &middle, &[]);
    wait_until("the second recording has candles", || stored(&middle, Interval::W1).iter().all(|n| *n == 1));
    compactor.kill();
    running.push(Service::start("compactor", &middle, &[]));
    wait_until("the market has ended", || exchange.sim.finished());
    wait_until("no bar is marked", || gaps(&whole) == Some(0) && gaps(&middle) == Some(0));
    // The last trades are in both tables after the last checkpoint, which an orderly end makes.
    let settled = Instant::now() + Duration::from_secs(1);
    wait_until("the logs are read", || Instant::now() > settled);
    let lines = running.iter().map(Service::said).find(|said| said.contains("tapedeck::stats")).unwrap_or_default();
    let told = lines.lines().filter(|l| l.contains("candles") && l.contains("latency_p99_us=")).count();
    assert!(told > 5, "statistics are shown at the default level: {lines}");
    while let Some(service) = running.pop() {
        service.stop();
    }
    // Where ids have holes (USD-M) a seeded bar does not know its first one.
    let columns = [&NINE[..], &["last_trade_id"]].concat();
    let (want, got) = (table(&whole, &columns), table(&middle, &columns));
    let (mut compared, mut intervals) = (0, BTreeMap::<String, u64>::new());
    for (key, bar) in &got {
        // Silence after the last trade is closed by each one's own clock.
        if let Some(of_whole) = want.get(key) {
            assert_eq!(of_whole, bar, "{key}");
            compared += 1;
            *intervals.entry(key.split(',').nth(2).unwrap().to_owned()).or_default() += 1;
        }
    }
    assert!(intervals.len() == Interval::COUNT && compared > 200, "{intervals:?}");
    let seeded = table(&middle, &["was_seeded"]);
    for interval in ["1w", "1d", "4h"] {
        let series = seeded.iter().filter(|(key, _)| key.split(',').nth(2) == Some(interval));
        assert!(series.map(|(_, v)| v).filter(|v| *v == "true").count() == 6, "{interval}: {seeded:?}");
    }

    // What the venue tells of its own candles is what was recorded, and fills an empty database.
    let config = middle.to_str().unwrap();
    let compare =
        run(&["klines", "compare", "--config", config, "--from", "2024-08-07", "--to", "2024-08-08", "--json"]);
    assert!(compare.status.success(), "{}", both(&compare));
    let told: serde_json::Value = serde_json::from_slice(&compare.stdout).unwrap();
    let count = |name: &str| told.as_array().unwrap().iter().map(|r| r[name].as_u64().unwrap()).sum::<u64>();
    assert!(count("compared") > 200 && count("different") == 0, "{told}");
    let empty = recorder(&root.path().join("empty"), &exchange);
    let fill =
        ["klines", "backfill", "--config", empty.to_str().unwrap(), "--from", "2024-08-06", "--to", "2024-08-08"];
    let filled = run(&fill);
    assert!(filled.status.success(), "{}", both(&filled));
    let official = table(&empty, &NINE);
    let ours = table(&whole, &NINE);
    // The market ends in the middle of an order, of which its REST knows: not the last bar with a trade.
    let series = |key: &str| key.rsplit_once(',').unwrap().0.to_owned();
    let traded = ours.iter().filter(|(_, bar)| bar.split(',').nth(6) != Some("0"));
    let last: BTreeMap<String, &String> = traded.map(|(key, _)| (series(key), key)).collect();
    let mut equal = 0;
    for (key, bar) in ours.iter().filter(|(key, _)| official.contains_key(*key) && *key < last[&series(key)]) {
        assert_eq!(official.get(key), Some(bar), "{key}");
        equal += 1;
    }
    assert!(equal > 400, "{equal} of {}", ours.len());
    println!(
        "{compared} bars of a recording begun in the middle are those of the whole: {intervals:?}; {equal} backfilled"
    );
    exchange.stop();
}
