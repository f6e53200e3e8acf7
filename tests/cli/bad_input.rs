//! Bad input gets a plain sentence that names the thing and the fix, the designed exit code, and harms nothing.

use std::path::Path;

use crate::support::{both, run, tapedeck};

fn config(dir: &Path, text: &str) -> String {
    let path = dir.join("tape.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn venue(dir: &Path) -> String {
    format!(
        "[data]\ndir = {:?}\n[venues.binance-spot]\nsymbols = [\"BTCUSDT\"]\nchannels = [\"trades\"]\nrest_url = \"http://127.0.0.1:9\"\nws_url = \"ws://127.0.0.1:9\"\n",
        dir.join("data").display().to_string()
    )
}

#[track_caller]
fn refused(args: &[&str], code: i32, words: &[&str]) {
    let out = run(args);
    let said = both(&out);
    assert_eq!(out.status.code(), Some(code), "{args:?} said:\n{said}");
    for word in words {
        assert!(said.contains(word), "{args:?} does not name {word:?}:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn an_unknown_key_names_the_nearest_key_and_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let c = config(dir.path(), "[wal]\nsegmnt_mib = 64\n");
    refused(&["config", "check", "--config", &c], 2, &["wal.segmnt_mib", "segment_mib", "tape.toml"]);
    refused(&["collector", "--config", &c], 2, &["segment_mib"]);
    refused(&["compactor", "--config", &c], 2, &["segment_mib"]);
}

#[test]
fn an_impossible_value_names_the_key_and_what_would_pass() {
    let dir = tempfile::tempdir().unwrap();
    let c = config(dir.path(), "[wal]\nsegment_mib = 0\nsync = \"often\"\n[api]\nlisten = \"0.0.0.0:80\"\n");
    refused(
        &["config", "check", "--config", &c],
        2,
        &["wal.segment_mib", "1 to 1024", "wal.sync", "\"interval\"", "api.listen", "loopback"],
    );
}

#[test]
fn a_wrong_venue_name_gets_the_nearest_one() {
    let dir = tempfile::tempdir().unwrap();
    let c = config(dir.path(), "[venues.binance-sopt]\nsymbols = [\"*\"]\nchannels = [\"trades\"]\n");
    refused(&["config", "check", "--config", &c], 2, &["binance-sopt", "binance-spot"]);
    refused(&["demo", "--venues", "binance-sopt"], 2, &["binance-sopt", "binance-spot"]);
}

#[test]
fn a_missing_or_broken_configuration_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    refused(&["collector", "--config", "/no/such/tape.toml"], 2, &["/no/such/tape.toml"]);
    let c = config(dir.path(), "[wal\nsegment_mib = 1\n");
    refused(&["collector", "--config", &c], 2, &["tape.toml", "TOML"]);
    let c = config(dir.path(), "[data]\ndir = \"d\"\n");
    refused(&["collector", "--config", &c], 2, &["no venue"]);
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("data"), b"a file, not a directory").unwrap();
    let c = config(dir.path(), &venue(dir.path()));
    refused(&["collector", "--config", &c], 1, &["data"]);
    assert_eq!(std::fs::read(dir.path().join("data")).unwrap(), b"a file, not a directory");
}

#[test]
fn a_port_in_use_is_named_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let c = config(dir.path(), &format!("{}[api]\nlisten = \"{addr}\"\n", venue(dir.path())));
    refused(&["compactor", "--config", &c], 1, &[&addr, "in use", "[api] listen"]);
}

#[test]
fn a_second_collector_on_the_same_log_is_refused_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("data/wal/binance-spot");
    let writer = wal_format::LogWriter::open(&log, options()).unwrap();
    let c = config(dir.path(), &venue(dir.path()));
    refused(&["collector", "--config", &c], 1, &["in use", "pid", "binance-spot"]);
    writer.close().unwrap();
}

fn options() -> wal_format::LogOptions {
    let mut o = wal_format::LogOptions::new(std::sync::Arc::new(ops::clock::now));
    o.segment_bytes = 1 << 20;
    o
}

#[test]
fn a_foreign_file_named_like_a_segment_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("data/wal/binance-spot");
    std::fs::create_dir_all(&log).unwrap();
    let foreign = log.join("00000000000000000001.wal");
    std::fs::write(&foreign, b"my shopping list, certainly not a log segment").unwrap();
    let c = config(dir.path(), &venue(dir.path()));
    let out = tapedeck().args(["compactor", "--drain", "--config", &c]).output().unwrap();
    let said = both(&out);
    assert!(said.contains("00000000000000000001.wal"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    let kept = [foreign.clone(), log.join("quarantine").join("00000000000000000001.wal")];
    assert!(
        kept.iter().any(|p| std::fs::read(p).is_ok_and(|b| b == b"my shopping list, certainly not a log segment")),
        "the foreign file is gone"
    );
}

/// Every form in which a secret can stand in a configuration, each in a place where something goes wrong with it.
#[test]
fn no_command_prints_a_secret_of_the_configuration_whatever_is_wrong_with_it() {
    const SECRET: &str = "pgs3cret";
    let dir = tempfile::tempdir().unwrap();
    let base = venue(dir.path());
    let commands: [&[&str]; 7] = [
        &["config", "check"],
        &["config", "show"],
        &["compactor", "--drain"],
        &["klines", "export", "--out", "x.csv"],
        &["history", "status"],
        &["replay", "--verify"],
        &["status"],
    ];
    for (section, key, value) in [
        ("klines", "database", "\"postgres://u:pgs3cret@127.0.0.1:1/x\""),
        ("klines", "database", "\"postgres://127.0.0.1:1/x?user=u&password=pgs3cret\""),
        ("klines", "database", "\"postgres://u:a@pgs3cret@127.0.0.1:1/x\""),
        ("klines", "database", "\"host=127.0.0.1 user=u password=pgs3cret\""),
        ("klines", "database", "[\"postgres://u:pgs3cret@127.0.0.1:1/x\"]"),
        ("klines", "database", "\"postgres://u:pgs3cret"),
        ("history", "manifest", "\"postgres://u:pgs3cret@127.0.0.1:1/x\""),
        ("history", "base_url", "\"http://u:pgs3cret@127.0.0.1:1/x\""),
        ("proxy", "url", "\"socks5://u:pgs3cret@127.0.0.1:1\""),
        ("proxy", "url", "\"socks5:/u:pgs3cret@127.0.0.1:1\""),
        ("api", "token_env", "\"pgs3cret0123456789abcdef\""),
        ("api", "token_env", "pgs3cret"),
        ("api", "token_env", "[\"pgs3cret\"]"),
        ("api", "token", "\"pgs3cret\""),
    ] {
        let c = config(dir.path(), &format!("{base}[{section}]\n{key} = {value}\n"));
        for command in commands {
            // One of them writes a file where it stands.
            let out = tapedeck().current_dir(dir.path()).args(command).args(["--config", &c]).output().unwrap();
            let said = both(&out);
            assert!(!said.contains(SECRET), "{command:?} with {key} = {value} said:\n{said}");
        }
    }
}

#[test]
fn a_recording_is_not_served_beyond_loopback_without_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let c = config(dir.path(), &venue(dir.path()));
    // Nobody's address (TEST-NET-1): nothing is opened.
    let serve = ["replay", "--config", &c, "--serve", "192.0.2.1:9"];
    refused(&serve, 1, &["192.0.2.1:9", "loopback", "token", "insecure"]);
    let c = config(dir.path(), &format!("{}[api]\ntoken_env = \"TAPEDECK_NO_SUCH\"\n", venue(dir.path())));
    refused(&["replay", "--config", &c, "--serve", "192.0.2.1:9"], 1, &["no token", "TAPEDECK_NO_SUCH"]);
}
