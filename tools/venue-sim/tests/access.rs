//! Strangers: web pages, names that were led here, whoever lacks the token, whoever does not read.
#![allow(clippy::unwrap_used)]

use crate::client::{Client, http_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use venue_sim::{Access, Market, Pace, Sim, SimConfig, Token};

fn market(access: Access) -> SimConfig {
    let market = Market {
        symbols: vec!["BTCUSDT".into()],
        channels: vec!["trades".into()],
        frames_per_s: 100,
        total_frames: None,
        start_ms: None,
    };
    SimConfig { access, ..SimConfig::generated(&["binance-spot", "kucoin-spot"], market) }
}

/// The status of a request with these header lines.
async fn status(sim: &Sim, method: &str, path: &str, headers: &str) -> u16 {
    let mut tcp = TcpStream::connect(sim.address()).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: 0\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer[9..12].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_web_page_asks_or_controls_the_simulator() {
    let sim = Sim::start(market(Access::default())).await.unwrap();
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    for (method, path) in
        [("POST", "/_sim/stop"), ("POST", "/_sim/fault"), ("GET", "/_sim/report"), ("GET", "/binance-spot/ws")]
    {
        let led = format!("Host: evil.example\r\nOrigin: http://evil.example\r\n{upgrade}");
        assert_eq!(status(&sim, method, path, &led).await, 421, "{path}");
        let page = format!("Host: localhost\r\nOrigin: http://evil.example\r\n{upgrade}");
        assert_eq!(status(&sim, method, path, &page).await, 403, "{path}");
    }
    assert_eq!(status(&sim, "GET", "/_sim/report", "Host: localhost\r\n").await, 200);
    let sim = {
        sim.stop().await;
        Sim::start(market(Access { control: false, ..Access::default() })).await.unwrap()
    };
    for (method, path) in [("POST", "/_sim/stop"), ("POST", "/_sim/fault"), ("GET", "/_sim/report")] {
        assert_eq!(status(&sim, method, path, "Host: localhost\r\n").await, 404, "{path}");
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_only_who_shows_it_is_answered_and_beyond_loopback_one_is_asked_for() {
    let beyond = SimConfig { listen: "192.0.2.1:9".parse().unwrap(), ..market(Access::default()) };
    let refused = Sim::start(beyond).await.err().unwrap().to_string();
    assert!(refused.contains("token"), "{refused}");
    let token = Some(Token::new("0123456789abcdef"));
    let sim = Sim::start(market(Access { token, ..Access::default() })).await.unwrap();
    for path in ["/binance-spot/api/v3/ping", "/_sim/report"] {
        assert_eq!(http_with(&sim, "GET", path, "", "").await.status, 401, "{path}");
        let bearer = "Authorization: Bearer 0123456789abcdef\r\n";
        assert_eq!(http_with(&sim, "GET", path, bearer, "").await.status, 200, "{path}");
    }
    assert!(Client::try_connect(&sim, "binance-spot", "/ws/btcusdt@trade").await.is_err());
    drop(Client::connect(&sim, "binance-spot", "/ws/btcusdt@trade?token=0123456789abcdef").await);
    // A socket of KuCoin shows the token of its own that such a request was given.
    let path = "/kucoin-spot/api/v1/bullet-public?token=0123456789abcdef";
    let given = http_with(&sim, "POST", path, "", "").await.json()["data"]["token"].as_str().unwrap().to_owned();
    let mut client = Client::connect(&sim, "kucoin-spot", &format!("/?token={given}&connectId=1")).await;
    assert!(client.text().await.contains("welcome"));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_cut_and_one_address_leaves_places_to_others() {
    let access = Access { connections: 4, connections_of_address: 2, slow_client_s: 1, ..Access::default() };
    let config = SimConfig { pace: Pace::PerSecond(200_000), ..market(access) };
    let sim = Sim::start(config).await.unwrap();
    let mut stuck = Vec::new();
    for path in ["/binance-spot/api/v3/exchangeInfo", "/binance-spot/ws/btcusdt@trade"] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let mut tcp = socket.connect(sim.address()).await.unwrap();
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
        let (upgrade, times) = if path.contains("/ws/") { (upgrade, 1) } else { ("", 20_000) };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n").repeat(times);
        // One of them is full of requests that nobody answers any more.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(500), tcp.write_all(request.as_bytes())).await;
        stuck.push(tcp);
    }
    // Another address is answered meanwhile; the same one when both were cut.
    let from = async |address: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        let mut tcp = socket.connect(sim.address()).await.unwrap();
        let _ = tcp.write_all(b"GET /_sim/report HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        let mut answer = String::new();
        let _ = tcp.read_to_string(&mut answer).await;
        answer.get(9..12).unwrap_or_default().to_owned()
    };
    assert_eq!(from("127.0.0.2").await, "200");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while from("127.0.0.1").await != "200" {
        assert!(std::time::Instant::now() < end, "ten minutes later still: from('127.0.0.1').await != '200'");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(stuck);
    sim.stop().await;
}

/// The endpoint that a token of KuCoin names, for a client that asks under this `Host`.
async fn endpoint(sim: &Sim, host: &str) -> String {
    let at = http_doors::reachable(sim.address());
    let mut tcp = TcpStream::connect(at).await.unwrap();
    let request = format!(
        "POST /kucoin-spot/api/v1/bullet-public HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: 0\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    body["data"]["instanceServers"][0]["endpoint"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_names_the_address_that_the_client_used_also_where_all_addresses_are_listened_at() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let access = Access { insecure: true, hosts: vec!["tape.example".into()], ..Access::default() };
        let config = SimConfig { listen: listen.parse().unwrap(), ..market(access) };
        // A machine may have no IPv6.
        let Ok(sim) = Sim::start(config).await else { continue };
        let at = http_doors::reachable(sim.address());
        assert_eq!(endpoint(&sim, "Host: tape.example:8443\r\n").await, "ws://tape.example:8443/kucoin-spot/");
        assert_eq!(endpoint(&sim, &format!("Host: {}\r\n", sim.address())).await, format!("ws://{at}/kucoin-spot/"));
        assert_eq!(endpoint(&sim, "").await, format!("ws://{at}/kucoin-spot/"));
        assert_eq!(sim.ws_url("kucoin-spot"), format!("ws://{at}/kucoin-spot"), "what is printed can be opened");
        sim.stop().await;
    }
}
