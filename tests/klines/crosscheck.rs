//! Recorded trades through the real binaries, simulator to REST, against the candles that the exchange published of
//! the same minutes: all nine fields, as text. Trades keep their recorded times, so the candles of this world end
//! years before its clock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use venue_sim::{Pace, RecordingFile, SimConfig, StartWhen};

use crate::support::venue::{Exchange, write_config_for};
use crate::support::{Service, http, recordings, runs, wait_until};

/// Simulator, collector and compactor over recordings of one venue.
struct World {
    _root: tempfile::TempDir,
    exchange: Exchange,
    _services: [Service; 2],
    api: String,
    venue: &'static str,
}

impl World {
    /// Plays `files` as fast as they are read, and waits until every trade is in the candles.
    fn play(venue: &'static str, channel: &str, symbols: &[&str], files: &[PathBuf]) -> World {
        let root = tempfile::tempdir().unwrap();
        let mut sim = SimConfig::recordings(files.iter().map(|f| RecordingFile::new(venue, f)).collect());
        sim.pace = Pace::Max;
        sim.start_when = StartWhen::Settled { streams: symbols.len(), quiet_ms: 200 };
        let exchange = Exchange::start(sim);
        let extra = "connect_stagger_ms = 0\n[klines]\nflush_interval_s = 1\n";
        let config = write_config_for(root.path(), &exchange, venue, symbols, &[channel], extra);
        let services = ["collector", "compactor"].map(|name| Service::start(name, &config, &[]));
        let api = http::api(&config);
        let world = World { _root: root, exchange, _services: services, api, venue };
        wait_until("the recordings are played", || world.exchange.sim.finished());
        wait_until("every trade is in the candles", || world.sent() > 0 && world.counted() >= world.sent());
        assert_eq!(world.counted(), world.sent());
        world
    }

    /// Frames handed to the collector: a trade each.
    fn sent(&self) -> u64 {
        let report = self.exchange.sim.report();
        report.venues[self.venue].connections.iter().map(|c| c.frames_sent).sum()
    }

    /// Trades that became part of a candle or were left out for a reason.
    fn counted(&self) -> u64 {
        let stats = http::json(&self.api, "/v1/klines/stats");
        let feed = &stats["feeds"][self.venue];
        let of = |v: &Value, field: &str| v[field].as_u64().unwrap_or(0);
        of(&stats, "ticks") + of(feed, "repeated") + of(feed, "off_book") + of(feed, "absurd")
    }

    /// Nine fields of the candles that open between two times, ms, by open time.
    fn rows(&self, symbol: &str, interval: &str, from: i64, to: i64) -> BTreeMap<i64, String> {
        let route = if self.venue == "binance-usdm" { "fapi/v1" } else { "api/v3" };
        let path =
            format!("/{route}/klines?symbol={symbol}&interval={interval}&startTime={from}&endTime={to}&limit=1000");
        let rows = http::json(&self.api, &path);
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let nine = |row: &Value| [1, 2, 3, 4, 5, 7, 8, 9, 10].map(|i| text(&row[i])).join(",");
        rows.as_array().unwrap().iter().map(|row| (row[0].as_i64().unwrap(), nine(row))).collect()
    }

    /// Compares the candles of a window, first and last open time in ms, and tells each.
    fn compare(&self, symbol: &str, interval: &str, window: (i64, i64), official: &BTreeMap<i64, String>) -> usize {
        let ours = self.rows(symbol, interval, window.0, window.1);
        let theirs: BTreeMap<i64, String> = official.range(window.0..=window.1).map(|(k, v)| (*k, v.clone())).collect();
        for (open, row) in &theirs {
            let word = if ours.get(open) == Some(row) { "equal" } else { "DIFFERENT" };
            println!("{} {symbol} {interval} {open} {word} {row}", self.venue);
        }
        assert_eq!(ours, theirs, "{symbol} {interval}");
        theirs.len()
    }
}

/// Official rows: nine fields by open time, ms.
fn official(name: &str) -> BTreeMap<i64, String> {
    let text = std::fs::read_to_string(recordings().join("crosscheck").join(name)).unwrap();
    let rows = text.lines().filter(|l| l.starts_with(|c: char| c.is_ascii_digit()));
    rows.map(|line| {
        let f: Vec<&str> = line.split(',').collect();
        (f[0].parse().unwrap(), [f[1], f[2], f[3], f[4], f[5], f[7], f[8], f[9], f[10]].join(","))
    })
    .collect()
}

fn unpacked(name: &str) -> String {
    let file = std::fs::File::open(recordings().join(name)).unwrap();
    String::from_utf8(zstd::decode_all(file).unwrap()).unwrap()
}

const MINUTE: i64 = 60_000;
/// 2024-08-08T23:55:00Z, ms.
const AUGUST: i64 = 1_723_161_300_000;
/// 2025-03-04T00:00:00Z, ms.
const MARCH: i64 = 1_741_046_400_000;

#[test]
fn recorded_usdm_trades_come_out_of_rest_as_the_official_minutes() {
    let world = World::play(
        "binance-usdm",
        "trades",
        &["BTCUSDT"],
        &[recordings().join("binance-usdm/hft-btcusdt_20240808.zst")],
    );
    let official = official("usdm-BTCUSDT-1m-2024-08-08T2340_2024-08-09T0005.official.csv");
    assert_eq!(world.compare("BTCUSDT", "1m", (AUGUST, AUGUST + 4 * MINUTE), &official), 5);
}

#[test]
fn recorded_spot_trades_over_two_files_come_out_of_rest_as_the_official_five_minutes() {
    let files = ["08", "09"].map(|day| recordings().join(format!("binance-spot/hft-btcusdt_202408{day}.zst")));
    let world = World::play("binance-spot", "trades", &["BTCUSDT"], &files);
    let official = official("spot-BTCUSDT-5m-2024-08-08T2345_2024-08-09T0015.official.csv");
    assert_eq!(world.compare("BTCUSDT", "5m", (AUGUST, AUGUST + 5 * MINUTE), &official), 2);
}

/// Trades of a CSV as the stream had them: prices got back the zeros at their end, which the CSV lost.
fn trx_frames(dir: &Path) -> PathBuf {
    let csv = unpacked("binance-usdm/lasota-trade_stream_usd_m_futures_trxusdt_04-03-2025.csv.zst");
    let digits = |text: &str, n: usize| {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let part = part.trim_end_matches('0');
        if n == 0 { whole.to_owned() } else { format!("{whole}.{part:0<n$}") }
    };
    let mut out = String::new();
    for line in csv.lines().skip(1) {
        let f: Vec<&str> = line.split(',').collect();
        let (price, amount) = (digits(f[7], 5), digits(f[8], 0));
        let kind = if f[10].is_empty() { "NA" } else { f[10] };
        out.push_str(&format!(
            "{}000000 {{\"stream\":\"trxusdt@trade\",\"data\":{{\"e\":\"trade\",\"E\":{},\"T\":{},\"s\":\"TRXUSDT\",\
             \"t\":{},\"p\":\"{price}\",\"q\":\"{amount}\",\"X\":\"{kind}\",\"m\":{}}}}}\n",
            f[0],
            f[3],
            f[4],
            f[6],
            f[9] == "1"
        ));
    }
    let path = dir.join("trx.txt");
    std::fs::write(&path, out).unwrap();
    path
}

#[test]
fn trades_off_the_market_stay_out_of_what_rest_shows() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::play("binance-usdm", "trades", &["TRXUSDT"], &[trx_frames(dir.path())]);
    let official = official("usdm-TRXUSDT-1m-2025-03-03T2355_2025-03-04T0017.official.csv");
    // The recording begins in the minute's fifth second, but the minute's first trade is in it.
    assert_eq!(world.compare("TRXUSDT", "1m", (MARCH, MARCH + 15 * MINUTE), &official), 16);
    let stats = http::json(&world.api, "/v1/klines/stats");
    assert_eq!(stats["feeds"]["binance-usdm"]["off_book"], 1, "the trade of price and amount 0");
}

/// A candle as far as the exchange had it at one moment, and the last trade in it.
struct Prefix {
    symbol: String,
    open: i64,
    last: i64,
    row: String,
}

/// Frames of the recording with what they say, and the candles in it whose trades are all in it too.
fn four_symbols() -> (Vec<(String, Value)>, Vec<Prefix>) {
    let text = unpacked("binance-usdm/cryptofeed-BINANCE_FUTURES.ws.1.0.zst");
    let frames: Vec<(String, Value)> = text
        .lines()
        .filter_map(|l| {
            let (seconds, frame) = l.split_once(": ")?;
            let value: Value = serde_json::from_str(frame).ok()?;
            let ns = (seconds.parse::<f64>().ok()? * 1e6) as u64 * 1_000;
            value.get("stream")?;
            Some((format!("{ns} {frame}\n"), value["data"].clone()))
        })
        .collect();
    let of = |event: &'static str| frames.iter().map(|(_, d)| d).filter(move |d| d["e"] == event);
    let int = |v: &Value| v.as_i64().unwrap();
    let prefixes = of("kline").filter_map(|kline| {
        let k = &kline["k"];
        let inside = |d: &&Value| d["s"] == k["s"] && int(&d["f"]) >= int(&k["f"]) && int(&d["l"]) <= int(&k["L"]);
        let trades: Vec<&Value> = of("aggTrade").filter(inside).collect();
        let count: i64 = trades.iter().map(|d| int(&d["l"]) - int(&d["f"]) + 1).sum();
        let text = |name: &str| k[name].as_str().map_or_else(|| k[name].to_string(), str::to_owned);
        (count > 0 && count == int(&k["n"])).then(|| Prefix {
            symbol: text("s"),
            open: int(&k["t"]),
            last: int(&k["L"]),
            row: ["o", "h", "l", "c", "v", "q", "n", "V", "Q"].map(text).join(","),
        })
    });
    let prefixes = prefixes.collect();
    (frames, prefixes)
}

#[test]
fn aggregates_of_four_symbols_give_the_candles_of_the_same_recording() {
    let (frames, prefixes) = four_symbols();
    let mut by_symbol: BTreeMap<&str, Vec<&Prefix>> = BTreeMap::new();
    for prefix in &prefixes {
        by_symbol.entry(&prefix.symbol).or_default().push(prefix);
    }
    assert_eq!(prefixes.len(), 15, "whole candles in the recording");
    let rounds = by_symbol.values().map(Vec::len).max().unwrap().min(runs(3));
    let mut equal = 0;
    for round in 0..rounds {
        // The newest one of each symbol, then the one before: REST shows the recording as if it ended there.
        let chosen: Vec<&&Prefix> = by_symbol.values().filter_map(|all| all.iter().rev().nth(round)).collect();
        let is_behind =
            |d: &Value| chosen.iter().any(|p| d["s"] == p.symbol.as_str() && d["l"].as_i64() > Some(p.last));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("frames.txt");
        let left: String =
            frames.iter().filter(|(_, d)| d["e"] == "aggTrade" && !is_behind(d)).map(|(line, _)| &**line).collect();
        std::fs::write(&path, left).unwrap();
        let symbols: Vec<&str> = chosen.iter().map(|p| p.symbol.as_str()).collect();
        let world = World::play("binance-usdm", "agg_trades", &symbols, &[path]);
        for p in &chosen {
            equal += world.compare(&p.symbol, "1m", (p.open, p.open), &BTreeMap::from([(p.open, p.row.clone())]));
        }
    }
    println!("{equal} of {} candles of the recording compared", prefixes.len());
}
