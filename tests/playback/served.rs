//! A recording that is served again is what was recorded: a second collector, pointed at it by base URL alone, records
//! the same frames of every stream in the same order, and REST answers with the recorded listing, books and trades.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::VenueId;
use serde_json::Value;
use venue::venue;
use venue_sim::{Market, SimConfig, StartWhen};
use wal_format::Kind;

use crate::support::log::{Record, read_all};
use crate::support::venue::{Exchange, write_config_for};
use crate::support::{Service, http, wait_until};

/// Payloads by stream, in the order they came.
type Streams = BTreeMap<(Vec<u8>, Vec<u8>), Vec<Vec<u8>>>;

fn log_of(dir: &Path, id: &str) -> PathBuf {
    dir.join("data/wal").join(id)
}

fn frames(records: &[Record]) -> usize {
    records.iter().filter(|r| r.kind == Some(Kind::Data)).count()
}

fn streams(id: &str, records: Vec<Record>) -> Streams {
    let venue = venue(id.parse::<VenueId>().unwrap());
    let mut streams = Streams::new();
    for r in records.into_iter().filter(|r| r.kind == Some(Kind::Data)) {
        let binary = r.payload.first() != Some(&b'{');
        let Some(key) = venue.frames.stream_of(&r.payload, binary) else { continue };
        let key = (key.channel.to_vec(), key.symbol.to_vec());
        streams.entry(key).or_default().push(r.payload);
    }
    streams
}

/// Bodies of REST answers about `channel`.
fn bodies(records: &[Record], channel: &str) -> Vec<Vec<u8>> {
    let rest = records.iter().filter(|r| r.kind == Some(Kind::Rest));
    rest.filter_map(|r| {
        let length = u32::from_le_bytes(*r.payload.first_chunk()?) as usize;
        let meta: Value = serde_json::from_slice(r.payload.get(4..4 + length)?).ok()?;
        (meta["channel"] == channel).then(|| r.payload[4 + length..].to_vec())
    })
    .collect()
}

/// Records a seeded market of `id` below `dir`.
fn record(dir: &Path, id: &str, symbols: &[&str], channels: &[&str], extra: &str) -> PathBuf {
    record_with(dir, id, symbols, channels, extra, |_| {})
}

/// [`record`] of a market that is changed before.
pub(super) fn record_with(
    dir: &Path,
    id: &str,
    symbols: &[&str],
    channels: &[&str],
    extra: &str,
    change: impl FnOnce(&mut SimConfig),
) -> PathBuf {
    let mut sim = SimConfig::generated(
        &[id],
        Market {
            symbols: symbols.iter().map(|s| (*s).to_owned()).collect(),
            channels: channels.iter().map(|c| (*c).to_owned()).collect(),
            frames_per_s: 4_000,
            total_frames: Some(4_000),
            start_ms: None,
        },
    );
    sim.start_when = StartWhen::Settled { streams: 2, quiet_ms: 2_000 };
    change(&mut sim);
    let exchange = Exchange::start(sim);
    let config = write_config_for(dir, &exchange, id, symbols, channels, &format!("connect_stagger_ms = 0\n{extra}"));
    collect(&config, &log_of(dir, id), || exchange.sim.finished());
    exchange.stop();
    config
}

/// Runs a collector until `played` and its log stands still.
fn collect(config: &Path, log: &Path, played: impl Fn() -> bool) {
    let collector = Service::start("collector", config, &[("TAPEDECK_TEST_KEY", "a key")]);
    wait_until("everything was played", played);
    let mut last = 0;
    wait_until("the log stands still", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        let now = wal_format::control::read(log).map_or(0, |c| c.committed.seq.get());
        std::mem::replace(&mut last, now) == now && now > 0
    });
    collector.stop();
}

/// Starts the replay server on the recording of `config`; gives its address.
fn served(config: &Path, args: &[&str]) -> (Service, String) {
    let mut all = vec!["--serve", "127.0.0.1:0", "--settle-ms", "2000"];
    all.extend(args);
    let server = Service::start_with("replay", &all, config, &[]);
    wait_until("the server tells its address", || server.said().contains("rest_url"));
    let said = server.said();
    let address = said.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap().to_owned();
    (server, address)
}

/// Records what is served at `address` below `dir`, with the configuration of the recording but other addresses.
fn record_again(dir: &Path, id: &str, config: &Path, (server, address): (&Service, &str)) {
    let text = std::fs::read_to_string(config).unwrap();
    let lines = text.lines().map(|line| match line.split(" = ").next() {
        Some("dir") => format!("dir = {:?}", dir.join("data").display().to_string()),
        Some("rest_url") => format!("rest_url = \"http://{address}/{id}\""),
        Some("ws_url") => format!("ws_url = \"ws://{address}/{id}\""),
        _ => line.to_owned(),
    });
    let again = dir.join("tape.toml");
    std::fs::write(&again, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let finished = || server.said().contains("everything was played");
    collect(&again, &log_of(dir, id), finished);
}

fn served_as_recorded(id: &str, symbols: &[&str], channels: &[&str], extra: &str) -> (Vec<Record>, Vec<Record>) {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = record(first.path(), id, symbols, channels, extra);
    let (server, address) = served(&config, &["--speed", "max"]);
    record_again(second.path(), id, &config, (&server, &address));
    server.stop();
    let (recorded, _) = read_all(&log_of(first.path(), id));
    let (replayed, lost) = read_all(&log_of(second.path(), id));
    assert_eq!(lost, 0, "{id}");
    let (a, b) = (streams(id, recorded.clone()), streams(id, replayed.clone()));
    assert!(frames(&recorded) > 1_000 && a.len() >= symbols.len(), "{id}: {} frames", frames(&recorded));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{id}: streams");
    for (key, payloads) in &a {
        let name = String::from_utf8_lossy(&key.0);
        assert_eq!(payloads.len(), b[key].len(), "{id} {name}: frames");
        assert!(payloads == &b[key], "{id} {name}: other bytes or another order");
    }
    assert_eq!(bodies(&recorded, "symbols").first(), bodies(&replayed, "symbols").first(), "{id}: listing");
    (recorded, replayed)
}

#[test]
fn a_second_collector_records_the_same_frames_of_binance_futures_on_both_categories_of_paths() {
    let channels = ["trades", "agg_trades", "book_ticker", "depth", "mark_price", "depth_snapshot"];
    let (recorded, replayed) = served_as_recorded("binance-usdm", &["BTCUSDT", "ETHUSDT"], &channels, "");
    let ids = |records: &[Record]| -> Vec<i64> {
        let mut ids: Vec<i64> = bodies(records, "depth_snapshot")
            .iter()
            .map(|body| serde_json::from_slice::<Value>(body).unwrap()["lastUpdateId"].as_i64().unwrap())
            .collect();
        ids.sort_unstable();
        ids
    };
    // The first books that were recorded, or those with changes that were played meanwhile.
    let (a, b) = (ids(&recorded), ids(&replayed));
    assert!(!b.is_empty() && b.iter().all(|id| *id >= a[0]), "{a:?} {b:?}");
}

#[test]
fn a_second_collector_records_the_same_binary_frames() {
    let extra = "api_key_env = \"TAPEDECK_TEST_KEY\"\n";
    served_as_recorded("binance-spot-sbe", &["BTCUSDT", "ETHUSDT"], &["trades", "book_ticker", "depth"], extra);
}

#[test]
fn a_second_collector_records_the_same_frames_of_kucoin_with_its_tokens() {
    served_as_recorded("kucoin-futures", &["ETHUSDTM", "XBTUSDTM"], &["trades", "book_ticker", "depth"], "");
}

#[test]
fn a_second_collector_records_the_same_frames_of_gate() {
    served_as_recorded(
        "gate-futures",
        &["BTC_USDT", "ETH_USDT"],
        &["trades", "book_ticker", "depth", "liquidations"],
        "",
    );
}

#[test]
fn rest_of_a_served_recording_tells_its_time_its_listing_and_the_trades_and_candles_as_far_as_played() {
    let dir = tempfile::tempdir().unwrap();
    let channels = ["trades", "depth", "depth_snapshot"];
    let config = record(dir.path(), "binance-spot", &["BTCUSDT"], &channels, "");
    let (records, _) = read_all(&log_of(dir.path(), "binance-spot"));
    let (server, address) = served(&config, &["--speed", "max"]);
    let get = |path: &str| http::json(&address, &format!("/binance-spot/api/v3/{path}"));
    // Nobody controls it over the wire.
    for path in ["/_sim/report", "/_sim/stop", "/_sim/fault"] {
        assert_eq!(http::get(&address, path).unwrap().0, 404, "{path}");
    }
    let listing = http::get(&address, "/binance-spot/api/v3/exchangeInfo").unwrap().1;
    assert_eq!(listing.as_bytes(), bodies(&records, "symbols")[0]);
    assert_eq!(get("exchangeInfo?symbol=BTCUSDT")["symbols"].as_array().unwrap().len(), 1);
    assert_eq!(http::get(&address, "/binance-spot/api/v3/exchangeInfo?symbol=NOPE").unwrap().0, 400);
    let first_ms = records.iter().find(|r| r.kind == Some(Kind::Data)).unwrap().ts_ns / 1_000_000;
    assert!(get("time")["serverTime"].as_u64().unwrap() <= first_ms, "nothing was played yet");
    let book = http::get(&address, "/binance-spot/api/v3/depth?symbol=BTCUSDT&limit=5000").unwrap().1;
    assert_eq!(book.as_bytes(), bodies(&records, "depth_snapshot")[0], "the first book, byte for byte");
    assert_eq!(get("trades?symbol=BTCUSDT"), Value::Array(Vec::new()));

    // A client that only listens.
    let again = tempfile::tempdir().unwrap();
    record_again(again.path(), "binance-spot", &config, (&server, &address));
    let trades: Vec<Value> = records
        .iter()
        .filter(|r| r.kind == Some(Kind::Data))
        .filter_map(|r| serde_json::from_slice::<Value>(&r.payload).ok())
        .filter(|json| json["data"]["e"] == "trade")
        .map(|json| json["data"].clone())
        .collect();
    let last = trades.last().unwrap();
    let told = get("trades?symbol=BTCUSDT&limit=1");
    assert_eq!((&told[0]["id"], &told[0]["price"], &told[0]["qty"]), (&last["t"], &last["p"], &last["q"]));
    let bars = get("klines?symbol=BTCUSDT&interval=1m");
    let counted: i64 = bars.as_array().unwrap().iter().map(|bar| bar[8].as_i64().unwrap()).sum();
    assert_eq!(counted, trades.len() as i64, "every trade is in a candle");
    server.stop();
}

#[test]
fn a_range_is_cut_by_time_and_a_recording_without_frames_in_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let id = "binance-spot";
    let config = record(dir.path(), id, &["BTCUSDT", "ETHUSDT"], &["trades"], "");
    let (records, _) = read_all(&log_of(dir.path(), id));
    let data: Vec<&Record> = records.iter().filter(|r| r.kind == Some(Kind::Data)).collect();
    let time = |r: &Record| jiff::Timestamp::from_nanosecond(r.ts_ns.into()).unwrap().to_string();
    let (from, to) = (time(data[data.len() / 3]), time(data[data.len() * 2 / 3]));
    let (from_ns, to_ns) = (data[data.len() / 3].ts_ns, data[data.len() * 2 / 3].ts_ns);
    let again = tempfile::tempdir().unwrap();
    let (server, address) = served(&config, &["--from", &from, "--to", &to, "--speed", "max"]);
    record_again(again.path(), id, &config, (&server, &address));
    server.stop();
    let wanted = records.iter().filter(|r| (from_ns..to_ns).contains(&r.ts_ns)).cloned().collect();
    assert!(streams(id, wanted) == streams(id, read_all(&log_of(again.path(), id)).0));

    let mut server = Service::start_with("replay", &["--serve", "127.0.0.1:0", "--to", "2001-01-01"], &config, &[]);
    assert_eq!(server.wait().code(), Some(1));
    assert!(server.said().contains("nothing to play in this range"), "{}", server.said());
}
