//! Settings that press on a venue: told with numbers by `config check` and by the collector at its start, refused
//! where the venue documents less.

use std::path::{Path, PathBuf};

use crate::support::{Service, both, free_port, run, wait_until};

/// Nothing of this can reach anybody: the only way out is a proxy that does not run.
fn config(dir: &Path, keys: &str) -> PathBuf {
    let path = dir.join("tape.toml");
    std::fs::write(
        &path,
        format!(
            "[data]\ndir = {:?}\n[wal]\nsegment_mib = 32\n[proxy]\nurl = \"socks5://127.0.0.1:{}\"\n[collector]\nlisten = \"127.0.0.1:{}\"\n[venues.binance-usdm]\nsymbols = [\"BTCUSDT\"]\nchannels = [\"agg_trades\"]\nrest_url = \"http://exchange.invalid\"\nws_url = \"ws://exchange.invalid\"\n{keys}",
            dir.join("data").display().to_string(),
            free_port(),
            free_port(),
        ),
    )
    .unwrap();
    path
}

const HARD: &str = "connect_stagger_ms = 5\nstreams_per_connection = 1000\n";

#[test]
fn config_check_passes_an_aggressive_configuration_and_warns_with_the_safe_values() {
    let dir = tempfile::tempdir().unwrap();
    let path = config(dir.path(), HARD).display().to_string();
    let out = run(&["config", "check", "--config", &path]);
    let said = both(&out);
    assert!(out.status.success() && said.contains("ok: "), "{said}");
    for words in
        ["streams_per_connection: 1000 streams on a connection, 200 is known to be safe", "connect_stagger_ms: 5 ms"]
    {
        assert!(said.contains(&format!("warning: venues.binance-usdm.{words}")), "{said}");
    }
    let out = run(&["config", "check", "--json", "--config", &path]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((json["ok"].as_bool(), json["warnings"].as_array().map(Vec::len)), (Some(true), Some(2)));
}

#[test]
fn the_collector_tells_the_same_at_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Service::start("collector", &config(dir.path(), HARD), &[]);
    wait_until("both warnings are told", || {
        let said = collector.said();
        said.contains("1000 streams on a connection") && said.contains("5 ms between two connection starts")
    });
    // And nothing is reached without the proxy.
    wait_until("the proxy is named", || collector.said().contains("unreachable"));
    collector.stop();
}

#[test]
fn a_setting_beyond_the_documented_limit_is_refused_with_what_would_pass() {
    let dir = tempfile::tempdir().unwrap();
    let path = config(dir.path(), "messages_per_s = 50\n").display().to_string();
    for service in [&["config", "check"][..], &["collector"]] {
        let out = run(&[service, &["--config", &path]].concat());
        let said = both(&out);
        assert_eq!(out.status.code(), Some(2), "{said}");
        for word in ["venues.binance-usdm.messages_per_s", "documents 10", "write at most 10"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}
