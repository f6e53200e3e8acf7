//! Candles made again from the log are those that the compactor made of it.

use venue_sim::{Market, Pace, Source};

use super::served::record_with;
use crate::support::{both, run};

/// 2024-08-09T00:00:00Z, ms.
const T0: i64 = 1_723_161_600_000;

#[test]
fn a_replay_gives_the_lake_and_the_candles_of_the_same_log_again() {
    let dir = tempfile::tempdir().unwrap();
    let symbols = ["BTCUSDT", "ETHUSDT"];
    let config = record_with(dir.path(), "binance-spot", &symbols, &["trades", "book_ticker"], "", |sim| {
        // Five minutes of the venue's time, as fast as they are taken.
        sim.source = Source::Generated(Market {
            symbols: symbols.map(str::to_owned).to_vec(),
            channels: vec!["trades".into(), "book_ticker".into()],
            frames_per_s: 20,
            total_frames: Some(6_000),
            start_ms: Some(T0),
        });
        sim.pace = Pace::Max;
    });
    let config = config.to_str().unwrap();
    let out = run(&["compactor", "--drain", "--config", config]);
    assert!(out.status.success(), "{}", both(&out));
    let again = dir.path().join("again");
    let target = again.to_str().unwrap();
    let out = run(&["replay", "--config", config, "--out", target, "--klines"]);
    assert!(out.status.success(), "{}", both(&out));
    assert!(both(&out).contains("binance-spot candles from trades"), "{}", both(&out));

    let text = std::fs::read_to_string(config).unwrap();
    let database = format!("[klines]\ndatabase = {:?}\n[venues.", format!("sqlite:{target}/klines.db"));
    let other = dir.path().join("again.toml");
    std::fs::write(&other, text.replacen("[venues.", &database, 1)).unwrap();
    let export = |config: &str| {
        let out = run(&["klines", "export", "--config", config, "--format", "csv", "--out", "-"]);
        assert!(out.status.success(), "{}", both(&out));
        String::from_utf8(out.stdout).unwrap()
    };
    let (live, replayed) = (export(config), export(other.to_str().unwrap()));
    assert!(live.lines().count() > 10, "{live}");
    assert_eq!(live, replayed);

    // What is there is never mixed with something else.
    let out = run(&["replay", "--config", config, "--out", target, "--klines"]);
    assert_eq!(out.status.code(), Some(1), "{}", both(&out));
}
