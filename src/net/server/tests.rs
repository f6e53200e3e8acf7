//! A server with a few places, and clients that do not behave.
#![allow(clippy::unwrap_used)]

use axum::routing::get;
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

use super::*;

/// More than the kernel holds for both ends.
const LARGE: usize = 16 << 20;

async fn server(limits: Limits) -> (SocketAddr, Shutdown) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, stop) = (listener.local_addr().unwrap(), Shutdown::new());
    let router = Router::new().route("/", get(|| async { "ok" })).route("/large", get(|| async { vec![b'x'; LARGE] }));
    let asked = stop.clone();
    tokio::spawn(async move { run(&listener, router, limits, &|| (), &Supervisor::default(), asked).await });
    (at, stop)
}

/// A connection from this address of the machine, with a small window.
async fn connect(at: SocketAddr, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(at).await.unwrap()
}

/// The status that a request from there is answered with; 0 = none.
async fn status(at: SocketAddr, from: &str) -> u16 {
    let mut stream = connect(at, from).await;
    // One that is turned away may find its connection closed.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_client_that_never_reads_what_it_asks_for_gives_its_place_back() {
    let limits = Limits { connections: 2, per_address: 2, write: Duration::from_millis(200) };
    let (at, stop) = server(limits).await;
    let mut stuck = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(at, "127.0.0.1").await;
        stream.write_all("GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(50).as_bytes()).await.unwrap();
        stuck.push(stream);
    }
    // Both places are held; nobody of them reads, and both are cut: one after the other is had again.
    let mut had = Vec::new();
    for _ in 0..2 {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
        while status(at, "127.0.0.1").await != 200 {
            assert!(std::time::Instant::now() < end, "ten minutes later still: status(at, '127.0.0.1').await != 200");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        had.push(connect(at, "127.0.0.1").await);
    }
    // Not because they went: what the kernel held comes, and then the end of it.
    for mut stream in stuck {
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got).await;
        assert!(got.len() < LARGE, "{}", got.len());
    }
    stop.trigger();
}

#[tokio::test]
async fn a_client_that_reads_slowly_but_steadily_gets_everything() {
    let limits = Limits { connections: 2, per_address: 2, write: Duration::from_millis(500) };
    let (at, stop) = server(limits).await;
    let mut stream = connect(at, "127.0.0.1").await;
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut got, mut piece) = (0, vec![0; 1 << 20]);
    loop {
        match stream.read(&mut piece).await.unwrap() {
            0 => break,
            n => got += n,
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    assert!(got > LARGE, "{got}");
    stop.trigger();
}

#[tokio::test]
async fn one_address_is_refused_over_its_share_while_others_are_answered() {
    let limits = Limits { connections: 3, per_address: 2, write: Duration::from_secs(60) };
    let (at, stop) = server(limits).await;
    let idle = [connect(at, "127.0.0.1").await, connect(at, "127.0.0.1").await];
    // Whether the server has them already is its business.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while status(at, "127.0.0.1").await != 429 {
        assert!(std::time::Instant::now() < end, "ten minutes later still: status(at, '127.0.0.1').await != 429");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(status(at, "127.0.0.2").await, 200);
    let third = connect(at, "127.0.0.3").await;
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while status(at, "127.0.0.2").await != 503 {
        assert!(std::time::Instant::now() < end, "ten minutes later still: status(at, '127.0.0.2').await != 503");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop((idle, third));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while status(at, "127.0.0.1").await != 200 {
        assert!(std::time::Instant::now() < end, "ten minutes later still: status(at, '127.0.0.1').await != 200");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.trigger();
}

#[test]
fn the_limit_of_open_files_grows_with_the_connections_and_never_shrinks() {
    let before = getrlimit(Resource::Nofile);
    let allowed = allow_files(1_500);
    let most = before.maximum.unwrap_or(u64::MAX).min(1_500 + OTHER_FILES);
    assert!(allowed.is_none_or(|now| now >= most && now >= before.current.unwrap_or(0)), "{allowed:?}");
    assert_eq!(allow_files(1), allowed);
}
