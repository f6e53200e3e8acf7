//! Asking a service over HTTP from a test: one request, one connection, the whole answer. Knows no encoding but plain.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Where the configuration at `path` says that candles are served.
pub fn api(path: &Path) -> String {
    let config: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    config["api"]["listen"].as_str().unwrap().to_owned()
}

/// Status and body of `GET path`; `None` while nobody answers.
pub fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The body of a successful `GET path`; `Value::Null` while there is none.
pub fn json(address: &str, path: &str) -> Value {
    match get(address, path) {
        Some((200, body)) => serde_json::from_str(&body).unwrap_or_default(),
        _ => Value::Null,
    }
}
