//! `tapedeck klines` from a shell: filled from a venue over HTTP, filled again without a request, written to a file.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{both, run};

fn number(path: &str, name: &str) -> i64 {
    path.split(['?', '&', ' ']).find_map(|p| p.strip_prefix(name)?.strip_prefix('=')?.parse().ok()).unwrap()
}

/// A symbol that was delisted since it was listed.
const REFUSED: &str = "AAAUSDT";

/// Answers every request for candles but those of [`REFUSED`]; returns its port and how often it was asked.
fn venue() -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU32::new(0)));
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() > 0 {
                request.push(byte[0]);
            }
            counter.fetch_add(1, Ordering::Relaxed);
            let path = String::from_utf8(request).unwrap();
            if path.contains(REFUSED) {
                let body = r#"{"code":-1121,"msg":"Invalid symbol."}"#;
                let length = body.len();
                let head = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                write!(socket, "{head}{body}").unwrap();
                continue;
            }
            let (mut at, end, limit) = (number(&path, "startTime"), number(&path, "endTime"), number(&path, "limit"));
            let mut rows = Vec::new();
            while at <= end && (rows.len() as i64) < limit {
                let close = at + 59_999;
                rows.push(format!(
                    "[{at},\"1.10\",\"1.20\",\"1.00\",\"1.15\",\"3.5\",{close},\"4.0250\",7,\"1.5\",\"1.7250\",\"0\"]"
                ));
                at += 60_000;
            }
            let body = format!("[{}]", rows.join(","));
            let length = body.len();
            write!(socket, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
        }
    });
    (port, asked)
}

/// Writes a configuration below `dir` of that venue; returns its path.
fn configured(dir: &Path, port: u16, symbols: &[&str]) -> String {
    let (config, data) = (dir.join("t.toml"), dir.join("data").display().to_string());
    let text = format!(
        "[data]\ndir = {data:?}\n[venues.binance-spot]\nsymbols = {symbols:?}\nchannels = [\"trades\"]\n\
         rest_url = \"http://127.0.0.1:{port}\"\nws_url = \"ws://127.0.0.1:9\"\n"
    );
    std::fs::write(&config, text).unwrap();
    config.display().to_string()
}

#[test]
fn candles_are_filled_once_and_exported_digit_for_digit() {
    let dir = tempfile::tempdir().unwrap();
    let (port, asked) = venue();
    let config = configured(dir.path(), port, &["BTCUSDT"]);
    let klines = |args: &[&str]| run(&[&["klines", args[0], "--config", &config], &args[1..]].concat());
    let out = dir.path().join("k.csv").display().to_string();
    let early = klines(&["export", "--format", "csv", "--out", &out]);
    assert_eq!(early.status.code(), Some(1), "{}", both(&early));
    assert!(both(&early).contains("there are no candles yet"), "{}", both(&early));
    let fill = ["backfill", "--interval", "1m", "--from", "2024-08-05", "--to", "2024-08-06", "--json"];
    for (inserted, requests) in [(1_440, 2), (0, 2)] {
        let filled = klines(&fill);
        assert_eq!(filled.status.code(), Some(0), "{}", both(&filled));
        let told: serde_json::Value = serde_json::from_slice(&filled.stdout).unwrap();
        assert_eq!(told[0]["inserted"], inserted);
        assert_eq!(asked.load(Ordering::Relaxed), requests);
    }
    let written = klines(&["export", "--format", "csv", "--out", &out]);
    assert_eq!(written.status.code(), Some(0), "{}", both(&written));
    let text = std::fs::read_to_string(&out).unwrap();
    assert_eq!(text.lines().count(), 1_441);
    assert!(text.lines().nth(1).unwrap().starts_with(
        "binance-spot,BTCUSDT,1m,2024-08-05T00:00:00Z,2024-08-05T00:00:59.999Z,1.10,1.20,1.00,1.15,3.5,4.025,7,1.5,1.725"
    ));
    // As README writes it: the name says the format.
    let parquet = dir.path().join("candles.parquet");
    let named = klines(&["export", "--out", parquet.to_str().unwrap()]);
    assert_eq!(named.status.code(), Some(0), "{}", both(&named));
    assert_eq!(std::fs::read(&parquet).unwrap()[..4], *b"PAR1");
    let nameless = klines(&["export", "--out", dir.path().join("candles").to_str().unwrap()]);
    assert_eq!(nameless.status.code(), Some(2), "{}", both(&nameless));
    let again = klines(&["export", "--format", "csv", "--out", &out]);
    assert_eq!(again.status.code(), Some(1), "a file is not written over: {}", both(&again));
    let bad = klines(&["backfill", "--interval", "2m"]);
    assert_eq!(bad.status.code(), Some(2), "{}", both(&bad));
}

#[test]
fn a_symbol_that_the_venue_refuses_and_an_interval_that_cannot_be_read_cost_no_other_one() {
    let dir = tempfile::tempdir().unwrap();
    let (port, asked) = venue();
    let config = configured(dir.path(), port, &[REFUSED, "BTCUSDT"]);
    let range = ["--interval", "5m,1m", "--from", "2024-08-05", "--to", "2024-08-05T01:00:00Z", "--json"];
    let done = run(&[&["klines", "backfill", "--config", &config], &range[..]].concat());
    assert_eq!(done.status.code(), Some(1), "{}", both(&done));
    assert!(
        both(&done).contains(&format!("could not fill 5m candles of {REFUSED} on binance-spot")),
        "{}",
        both(&done)
    );
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&told[0]["symbol"], &told[0]["inserted"]), (&"BTCUSDT".into(), &60.into()));
    // Of the refused one the other interval is not asked for; 5m of the other, which open at every minute, cost 5m alone.
    assert_eq!((told.as_array().unwrap().len(), asked.load(Ordering::Relaxed)), (1, 3));
}
