//! The demo as a newcomer runs it, on the whole recordings, as fast as the sockets take them.
//!
//! The row counts below were computed from the recordings by `tests/scripts/demo_counts.py`, which shares no code with
//! Tapedeck; the demo itself compares frames and payload bytes.

use std::path::Path;

use arrow_array::cast::AsArray;
use lake::read::TableFile;

use crate::support::{both, tapedeck};

/// (venue, trades, book_ticker, depth levels outside snapshots).
const RECORDED: [(&str, u64, u64, u64); 6] = [
    ("binance-spot", 19_904, 73_174, 298_111),
    ("binance-spot-sbe", 10_147, 45_134, 174_021),
    ("binance-usdm", 35_389, 120_081, 872_183),
    ("kucoin-spot", 5, 0, 2_097),
    ("gate-spot", 2, 0, 904),
    ("gate-futures", 0, 38, 1_181),
];

/// Rows of `depth` below `dir` that do not come from a snapshot.
fn depth_changes(dir: &Path) -> u64 {
    let mut todo = vec![dir.to_path_buf()];
    let mut rows = 0;
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
                continue;
            }
            let file = TableFile::open(&path).unwrap();
            for group in 0..file.groups() {
                for batch in file.batches(group).unwrap() {
                    let batch = batch.unwrap();
                    let snapshot = batch.column_by_name("is_snapshot").unwrap().as_boolean();
                    rows += snapshot.iter().filter(|s| *s == Some(false)).count() as u64;
                }
            }
        }
    }
    rows
}

#[test]
fn the_demo_plays_every_recording_once_and_all_counts_agree() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("demo");
    let out = tapedeck().args(["demo", "--once", "--rate", "max", "--json", "--data-dir"]).arg(&dir).output().unwrap();
    assert!(out.status.success(), "{}", both(&out));
    let account: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    for (venue, trades, book_ticker, levels) in RECORDED {
        let v = &account["venues"][venue];
        let rows = |table: &str| v["rows"][table].as_u64().unwrap_or(0);
        assert_eq!(rows("trades"), trades, "{v:#}");
        assert_eq!(rows("book_ticker"), book_ticker, "{v:#}");
        // How many rows a REST snapshot gives depends on when it was asked for; the changes do not.
        let changes = depth_changes(&dir.join("lake/depth").join(format!("exchange={venue}")));
        assert_eq!(changes, levels, "{v:#}");
        // The listing and a book, which is empty when it was asked for before the first change was played.
        assert!(v["sent_rest"].as_u64() >= Some(2), "no snapshot was taken: {v:#}");
        assert_eq!(v["identical_connections"], v["connections"], "{v:#}");
        assert_eq!(v["undecodable"], 0, "{v:#}");
        assert_eq!(v["gaps"], 0, "{v:#}");
        assert_eq!(v["lost_ranges"], 0, "{v:#}");
        let sent =
            v["sent_data"].as_u64().unwrap() + v["sent_control"].as_u64().unwrap() + v["sent_rest"].as_u64().unwrap();
        assert_eq!(v["in_log"], sent, "{v:#}");
    }
    // The others are generated: nobody recorded enough of them.
    let is_recorded = |venue: &&String| RECORDED.iter().any(|(recorded, ..)| venue == recorded);
    for venue in account["venues"].as_object().unwrap().keys().filter(|venue| !is_recorded(venue)) {
        let generated = &account["venues"][venue];
        assert_eq!(generated["sent_data"], 20_000, "{generated:#}");
        assert_eq!(generated["undecodable"], 0, "{generated:#}");
    }
    let config = dir.join("demo.toml");
    let verify = tapedeck().args(["replay", "--verify", "--config"]).arg(&config).output().unwrap();
    assert!(verify.status.success(), "{}", both(&verify));
    let rebuilt = root.path().join("rebuilt");
    let replay = tapedeck().args(["replay", "--config"]).arg(&config).arg("--out").arg(&rebuilt).output().unwrap();
    assert!(replay.status.success(), "{}", both(&replay));
    assert!(rebuilt.join("trades").exists());
}
