//! Data directories of version 1 (commit 697b6d1) are taken over: every row of what was recorded, once, wherever the hour
//! stood when version 1 ended, and whatever of the log was deleted by its rule (a segment went when it was staged).
//!
//! `tests/data/v1/make.py` made them: trades 1..N of two symbols with a price that follows from the id.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lake::{PartManifest, Table};
use wal_format::{Append, ClockPair, Kind, LogOptions, LogWriter};

use crate::support::archive::tree;
use crate::support::lake::{Ids, Lake};
use crate::support::{both, free_port, recordings, run};

/// What version 1 had recorded.
struct Expected {
    btc: i64,
    eth: i64,
    tickers: u64,
}

/// The directories, with the configuration that version 1 ran with.
const ALL: [(&str, &str); 6] = [
    ("stopped_in_the_hour", ""),
    ("killed_in_the_hour", ""),
    ("published_and_killed", ""),
    ("never_compacted", ""),
    ("archived", "archive = \"zstd\"\n"),
    ("as_csv", ""),
];

fn expected(name: &str) -> Expected {
    let text = std::fs::read_to_string(recordings().join("v1/expected.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |key: &str| all[name][key].as_i64().unwrap();
    Expected { btc: number("btc_trades"), eth: number("eth_trades"), tickers: number("book_tickers") as u64 }
}

/// Unpacks a directory of version 1 below `root` and configures it.
fn unpack(root: &Path, name: &str, wal: &str) -> PathBuf {
    let data = root.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let archive = recordings().join(format!("v1/{name}.tar.gz"));
    let out = Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(&data).output().unwrap();
    assert!(out.status.success(), "{}", both(&out));
    let config = root.join("tape.toml");
    let format = if name == "as_csv" { "format = \"csv\"\n" } else { "" };
    let text = format!(
        "[data]\ndir = {:?}\n[wal]\nsegment_mib = 1\nready_segments = 1\n{wal}[lake]\nack_interval_s = 1\n{format}[klines]\nsource = {{ binance-spot = \"trades\" }}\nseed = false\n[api]\nlisten = \"127.0.0.1:{}\"\n[venues.binance-spot]\nsymbols = [\"BTCUSDT\", \"ETHUSDT\"]\nchannels = [\"trades\", \"book_ticker\"]\nrepair = false\nrest_url = \"http://127.0.0.1:1\"\nws_url = \"ws://127.0.0.1:1\"\n",
        data.display().to_string(),
        free_port(),
    );
    std::fs::write(&config, text).unwrap();
    config
}

fn drain(config: &Path) {
    let out = run(&["compactor", "--drain", "--config", config.to_str().unwrap()]);
    assert!(out.status.success(), "{}", both(&out));
}

/// Ids of trades in a lake of text files.
fn ids_of_csv(lake: &Path, manifests: &[PartManifest]) -> Ids {
    let mut ids = Ids::new();
    for f in manifests.iter().flat_map(|m| &m.files).filter(|f| f.table == Table::Trades) {
        let text = zstd::decode_all(std::fs::File::open(lake.join(&f.path)).unwrap()).unwrap();
        let text = String::from_utf8(text).unwrap();
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().unwrap().split(',').collect();
        let column = |name: &str| head.iter().position(|h| *h == name).unwrap();
        let (symbol, id) = (column("symbol"), column("id"));
        for line in lines {
            let cells: Vec<&str> = line.split(',').collect();
            *ids.entry(cells[symbol].to_owned()).or_default().entry(cells[id].parse().unwrap()).or_default() += 1;
        }
    }
    ids
}

#[track_caller]
fn assert_whole(data: &Path, name: &str, btc: i64, want: &Expected) {
    let lake_dir = data.join("lake");
    let lake = Lake::open(&lake_dir, "binance-spot");
    let ids = match name {
        "as_csv" => ids_of_csv(&lake_dir, &lake.manifests),
        _ => lake.ids(Table::Trades, "id", None),
    };
    assert!(Lake::missing(&ids).is_empty(), "{name}: {:?}", Lake::missing(&ids));
    let ranges: BTreeMap<&str, (i64, i64)> = ids
        .iter()
        .map(|(symbol, ids)| (symbol.as_str(), (*ids.keys().next().unwrap(), *ids.keys().last().unwrap())))
        .collect();
    assert_eq!(ranges, BTreeMap::from([("BTCUSDT", (1, btc)), ("ETHUSDT", (1, want.eth))]), "{name}");
    let rows = |table| lake.manifests.iter().filter_map(|m| m.rows.get(&table)).sum::<u64>();
    assert_eq!(rows(Table::BookTicker), want.tickers, "{name}");
    let lost: Vec<_> = lake.manifests.iter().flat_map(|m| &m.lost).collect();
    assert!(lost.is_empty(), "{name}: {lost:?}");
}

/// Trades that the candles of one symbol count.
fn trades_in_candles(data: &Path, symbol: &str) -> i64 {
    let db = rusqlite::Connection::open(data.join("klines.db")).unwrap();
    let sql = "select coalesce(sum(trade_count), 0) from klines where symbol = ?1 and interval = '1m'";
    db.query_row(sql, [symbol], |row| row.get(0)).unwrap()
}

#[test]
fn data_directories_of_version_1_are_taken_over_without_a_row_lost_or_doubled() {
    for (name, wal) in ALL {
        let root = tempfile::tempdir().unwrap();
        let config = unpack(root.path(), name, wal);
        let data = root.path().join("data");
        let want = expected(name);
        drain(&config);
        assert_whole(&data, name, want.btc, &want);
        assert_eq!(trades_in_candles(&data, "BTCUSDT"), want.btc, "{name}: candles");
        let out = run(&["verify", "--config", config.to_str().unwrap()]);
        assert!(out.status.success(), "{name}: {}", both(&out));
        // And once more: nothing is left to do, nothing is done again.
        drain(&config);
        assert_whole(&data, name, want.btc, &want);
    }
}

#[test]
fn a_log_of_version_1_goes_on_in_the_same_hour_with_a_run_of_version_2() {
    for (name, wal) in ALL {
        let root = tempfile::tempdir().unwrap();
        let config = unpack(root.path(), name, wal);
        let data = root.path().join("data");
        let want = expected(name);
        let log = data.join("wal/binance-spot");
        // The hour in which version 1 stopped is still going on for this run of the writer.
        let last = wal_format::control::read(&log).unwrap().committed_ts_ns;
        append_trades(&log, last + 1_000_000, want.btc + 1, 500);
        drain(&config);
        assert_whole(&data, name, want.btc + 500, &want);
        let out = run(&["verify", "--config", config.to_str().unwrap()]);
        assert!(out.status.success(), "{name}: {}", both(&out));
    }
}

#[test]
fn what_version_1_published_is_replayed_verified_and_rewritten_without_a_difference() {
    let root = tempfile::tempdir().unwrap();
    let config = unpack(root.path(), "published_and_archived", "archive = \"zstd\"\n");
    let config = config.to_str().unwrap();
    let lake = root.path().join("data/lake");
    let before = tree(&lake);
    for what in [&["replay", "--verify"][..], &["verify"], &["replay", "--rewrite"], &["replay", "--verify"]] {
        let out = run(&[what, &["--config", config]].concat());
        let text = both(&out);
        assert!(out.status.success(), "{what:?}: {text}");
        // The account says more than that of version 1 did, so the bytes are others; the rows are not.
        assert!(what[0] == "verify" || text.contains("equal rows, other bytes"), "{what:?}: {text}");
    }
    assert!(tree(&lake) == before, "nothing was to be published anew");
}

/// Appends `n` trades of BTCUSDT from `id` on, received from `from_ns` on, a millisecond apart.
fn append_trades(log: &Path, from_ns: u64, id: i64, n: i64) {
    let now = Arc::new(AtomicU64::new(from_ns));
    let clock = {
        let now = now.clone();
        Arc::new(move || {
            let wall_ns = now.load(Ordering::Relaxed);
            ClockPair { wall_ns, mono_ns: wall_ns - from_ns + 1 }
        })
    };
    let mut options = LogOptions::new(clock);
    options.segment_bytes = 1 << 20;
    let mut log = LogWriter::open(log, options).unwrap();
    let mut put = |kind, ts_recv_ns, payload: &str| {
        log.append(&Append { ts_recv_ns, conn: 1, kind, flags: 0, payload: payload.as_bytes() }).unwrap();
    };
    put(Kind::ConnOpen, from_ns, r#"{"url":"ws://recording/stream","streams":1}"#);
    for i in 0..n {
        let ts = from_ns + i as u64 * 1_000_000;
        now.store(ts, Ordering::Relaxed);
        let (ms, id) = (ts / 1_000_000, id + i);
        let frame = format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{ms},"s":"BTCUSDT","t":{id},"p":"101.50","q":"2","T":{ms},"m":false,"M":true}}}}"#
        );
        put(Kind::Data, ts, &frame);
    }
    log.close().unwrap();
}
