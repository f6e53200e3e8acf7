//! The demo as a newcomer runs it, on the whole recordings, as fast as the sockets take them.
//!
//! The row counts below were computed from the recordings by `tests/scripts/demo_counts.py`, which shares no code with
//! Tapedeck; the demo itself compares frames and payload bytes.

use crate::support::{both, tapedeck};

/// (venue, trades, book_ticker, depth levels outside snapshots).
const RECORDED: [(&str, u64, u64, u64); 2] =
    [("binance-spot", 19_904, 73_174, 298_111), ("binance-usdm", 35_389, 120_081, 872_183)];

#[test]
fn the_demo_plays_every_recording_once_and_all_counts_agree() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("demo");
    let out = tapedeck().args(["demo", "--once", "--rate", "max", "--json", "--data-dir"]).arg(&dir).output().unwrap();
    assert!(out.status.success(), "{}", both(&out));
    let account: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    for (venue, trades, book_ticker, levels) in RECORDED {
        let v = &account["venues"][venue];
        assert_eq!(v["rows"]["trades"], trades, "{v:#}");
        assert_eq!(v["rows"]["book_ticker"], book_ticker, "{v:#}");
        // A recorded REST snapshot has 1,000 levels on each side.
        let snapshots = v["rows"]["depth"].as_u64().unwrap() - levels;
        assert!(snapshots > 0 && snapshots.is_multiple_of(2_000), "{snapshots} rows of snapshots: {v:#}");
        assert_eq!(v["identical_connections"], v["connections"], "{v:#}");
        assert_eq!(v["undecodable"], 0, "{v:#}");
        assert_eq!(v["gaps"], 0, "{v:#}");
        assert_eq!(v["lost_ranges"], 0, "{v:#}");
        let sent =
            v["sent_data"].as_u64().unwrap() + v["sent_control"].as_u64().unwrap() + v["sent_rest"].as_u64().unwrap();
        assert_eq!(v["in_log"], sent, "{v:#}");
    }
    let config = dir.join("demo.toml");
    let verify = tapedeck().args(["replay", "--verify", "--config"]).arg(&config).output().unwrap();
    assert!(verify.status.success(), "{}", both(&verify));
    let rebuilt = root.path().join("rebuilt");
    let replay = tapedeck().args(["replay", "--config"]).arg(&config).arg("--out").arg(&rebuilt).output().unwrap();
    assert!(replay.status.success(), "{}", both(&replay));
    assert!(rebuilt.join("trades").exists());
}
