//! The command line: addresses on stdout, the report at the end, TLS.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::client::{self, Client, recording};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use venue_sim::{RecordingFile, Sim, SimConfig, SimReport, TlsFiles};

fn tls(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_prints_its_addresses_plays_to_the_end_and_prints_the_report() {
    let file = recording("binance-spot/cryptofeed-BINANCE.ws.1.0");
    let mut child = Command::new(env!("CARGO_BIN_EXE_venue-sim"))
        .args(["--recording", &format!("binance-spot={}", file.display())])
        .args(["--pace", "max", "--start", "all", "--expect", "binance-spot=nknusdt@aggTrade", "--exit-when-finished"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let urls: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = format!("{}/stream?streams=nknusdt@aggTrade", urls["venues"]["binance-spot"]["ws_url"].as_str().unwrap());
    let tcp = TcpStream::connect(urls["address"].as_str().unwrap()).await.unwrap();
    let mut client = Client(tokio_tungstenite::client_async(url, tcp).await.unwrap().0);
    let (texts, end) = client.drain().await;
    assert_eq!(end, "1001 ");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    let report: SimReport = serde_json::from_str(&rest).unwrap();
    assert_eq!(report.totals.frames_sent, texts.len() as u64);
    assert!(report.finished && !texts.is_empty());
}

#[test]
fn bad_arguments_end_with_status_two_and_a_missing_file_with_one_sentence() {
    let run = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_venue-sim")).args(args).output().unwrap();
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["--generate", "BTCUSDT", "--pace", "fast"]).status.code(), Some(2));
    let missing = run(&["--recording", "binance-spot=/nowhere/x.zst"]);
    assert_eq!(missing.status.code(), Some(1));
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(text.starts_with("error: open recording /nowhere/x.zst: "), "{text}");
    let unknown = run(&["--generate", "BTCUSDT", "--venues", "nowhere"]);
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("unknown venue nowhere"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_and_frames_come_over_tls_too() {
    let file = RecordingFile::new("binance-spot", recording("binance-spot/cryptofeed-BINANCE.ws.1.0"));
    let config = SimConfig {
        pace: venue_sim::Pace::Max,
        tls: Some(TlsFiles { cert: tls("cert.pem"), key: tls("key.pem") }),
        ..SimConfig::recordings(vec![file])
    };
    let sim = Sim::start(config).await.unwrap();
    assert!(sim.ws_url("binance-spot").starts_with("wss://") && sim.rest_url("binance-spot").starts_with("https://"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(tls("ca.pem")).unwrap()).unwrap();
    let client_config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client_config));
    let connect = async || {
        let tcp = TcpStream::connect(sim.address()).await.unwrap();
        connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
    };
    let mut rest = connect().await;
    let request = b"GET /binance-spot/api/v3/ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    rest.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // The simulator ends the TCP connection without a TLS farewell, as many servers do.
    let _ = rest.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(b"{}"));

    let url = "ws://localhost/binance-spot/stream?streams=nknusdt@depth@100ms";
    let (mut socket, _) = tokio_tungstenite::client_async(url, connect().await).await.unwrap();
    use futures_util::StreamExt as _;
    let mut frames = 0;
    while let Ok(Some(Ok(message))) = tokio::time::timeout(client::PATIENCE, socket.next()).await {
        frames += u64::from(message.is_text());
        if sim.finished() && frames == sim.report().totals.frames_sent {
            break;
        }
    }
    assert_eq!(frames, sim.report().venues["binance-spot"].played["nknusdt@depth@100ms"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_listings_limits_and_random_closes_come_from_the_command_line() {
    let sbe = |value: &str| format!("binance-spot-sbe={value}");
    let limits = r#"{"enforce":true,"rest_weight_per_min":25,"rest_window_ms":86400000}"#;
    let mut child = Command::new(env!("CARGO_BIN_EXE_venue-sim"))
        .args(["--generate", "BTCUSDT,NEWUSDT", "--venues", "binance-spot-sbe", "--start", "first"])
        .args(["--api-key", &sbe("secret"), "--unlisted", &sbe("NEWUSDT"), "--limits", limits])
        .args(["--fault", r#"{"do":"random_closes","count":1,"over_frames":10,"endings":["close"]}"#])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let urls: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = urls["address"].as_str().unwrap();
    let ask = async |path: &str| {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let info = ask("/binance-spot-sbe/api/v3/exchangeInfo").await;
    assert!(info.contains("BTCUSDT") && !info.contains("NEWUSDT"), "{info}");
    assert!(ask("/binance-spot-sbe/api/v3/exchangeInfo").await.starts_with("HTTP/1.1 429 "));
    // The rest of the day this address is throttled; another one is not.
    let open = async |key: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
        let tcp = socket.connect(address.parse().unwrap()).await.unwrap();
        use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
        let url = format!("{}/ws/btcusdt@trade", urls["venues"]["binance-spot-sbe"]["ws_url"].as_str().unwrap());
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("X-MBX-APIKEY", key.parse().unwrap());
        tokio_tungstenite::client_async(request, tcp).await
    };
    assert!(open("wrong").await.is_err());
    let (_, end) = Client(open("secret").await.unwrap().0).drain().await;
    assert_eq!(end, "1001 ");
    let report = ask("/_sim/report").await;
    let report: SimReport = serde_json::from_str(report.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let close = &report.venues["binance-spot-sbe"].closes[0];
    assert!(close.frames_sent >= 1 && close.frames_sent <= 10, "{close:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}
