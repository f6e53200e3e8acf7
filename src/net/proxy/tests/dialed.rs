//! The dialer with a proxy over real sockets: TLS and upgrade behind it, both errors and both ways alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::http::Method;

use super::super::super::dial::{Dialer, tls_config};
use super::super::super::http::{HttpClient, HttpError};
use super::super::{ProxyError, Stage};
use crate::connect::{Target, open};
use crate::connect_error::ConnectError;
use crate::proxy::Proxy;

/// Long enough for everything that answers, short enough to wait for what does not.
const SHORT: Duration = Duration::from_secs(1);

/// A SOCKS5 server that resolves every name to loopback and relays; counts the names it was asked for.
async fn relay() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("socks5://{}", listener.local_addr().unwrap());
    let names = Arc::new(AtomicUsize::new(0));
    let counted = names.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut greeting = [0; 3];
                client.read_exact(&mut greeting).await.unwrap();
                client.write_all(&[5, 0]).await.unwrap();
                let mut head = [0; 5];
                client.read_exact(&mut head).await.unwrap();
                assert_eq!(head[..4], [5, 1, 0, 3], "a name, never an address that was resolved here");
                let mut rest = vec![0; usize::from(head[4]) + 2];
                client.read_exact(&mut rest).await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let port = u16::from_be_bytes([rest[rest.len() - 2], rest[rest.len() - 1]]);
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (url, names)
}

/// Answers WebSockets with one message and everything else with `HTTP/1.1 <status>`.
async fn exchange(status: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 2048];
                let n = tcp.peek(&mut head).await.unwrap();
                if status.starts_with("200") && String::from_utf8_lossy(&head[..n]).contains("Upgrade") {
                    let _open = tokio_tungstenite::accept_async(tcp).await.unwrap();
                    return std::future::pending::<()>().await;
                }
                loop {
                    let Ok(n @ 1..) = tcp.read(&mut head).await else { return };
                    let body = String::from_utf8_lossy(&head[..n]).lines().next().unwrap_or_default().to_owned();
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    tcp.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    port
}

fn through(url: &str) -> Dialer {
    let mut dialer = Dialer::new(Some(Proxy::parse(url).unwrap()));
    dialer.limits.proxy = Duration::from_secs(2);
    dialer
}

async fn ws(dialer: &Dialer, port: u16) -> Result<Option<String>, ConnectError> {
    let url = format!("ws://exchange.invalid:{port}/stream");
    open(&Target::plain(&url), dialer, &tls_config(&[]).unwrap()).await.map(|o| o.proxy)
}

async fn rest(dialer: &Dialer, port: u16) -> Result<u16, HttpError> {
    let client = HttpClient::new(dialer.clone(), tls_config(&[]).unwrap());
    let url = format!("http://exchange.invalid:{port}/api?x=1");
    let answer = client.send(Method::GET, &url, &[], 1 << 20).await?;
    if answer.status == 200 {
        assert_eq!(answer.body, b"GET /api?x=1 HTTP/1.1");
    }
    Ok(answer.status)
}

#[tokio::test]
async fn websocket_and_rest_reach_a_name_that_only_the_proxy_can_resolve() {
    let (url, names) = relay().await;
    let port = exchange("200 OK").await;
    let dialer = through(&url);
    assert_eq!(ws(&dialer, port).await.unwrap(), Some(url.replace("socks5://", "")));
    assert_eq!(rest(&dialer, port).await.unwrap(), 200);
    assert_eq!(names.load(Ordering::SeqCst), 2);
    // Without the proxy the same name leads nowhere: nothing was resolved here above.
    assert!(matches!(ws(&Dialer::new(None), port).await, Err(ConnectError::Resolve { .. })));
}

#[tokio::test]
async fn a_dead_proxy_is_never_bypassed_and_both_ways_say_the_same() {
    let port = exchange("200 OK").await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dialer = through(&format!("socks5://user:sesame@{free}"));
    // The exchange is reachable without the proxy; reaching it would be the error.
    let url = format!("ws://127.0.0.1:{port}/stream");
    let a = open(&Target::plain(&url), &dialer, &tls_config(&[]).unwrap()).await.unwrap_err();
    let client = HttpClient::new(dialer, tls_config(&[]).unwrap());
    let b = client.send(Method::GET, &format!("http://127.0.0.1:{port}/"), &[], 1).await.unwrap_err();
    assert!(matches!(&a, ConnectError::Proxy { source: ProxyError::Unreachable(_), .. }), "{a}");
    assert_eq!(a.to_string(), b.to_string());
    assert!(a.to_string().contains(&free.to_string()) && !a.to_string().contains("sesame"), "{a}");
    assert!(a.is_retryable(), "the proxy may be started");
}

#[tokio::test]
async fn a_proxy_that_accepts_and_then_says_nothing_is_given_up_at_its_own_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialer = through(&format!("socks5://{}", listener.local_addr().unwrap()));
    let err = ws(&dialer, 1).await.unwrap_err();
    assert!(matches!(&err, ConnectError::Proxy { source: ProxyError::Stalled(Stage::Greeting), .. }), "{err}");
    let err = rest(&dialer, 1).await.unwrap_err();
    assert!(err.to_string().contains("stalled"), "{err}");
}

#[tokio::test]
async fn an_exchange_that_refuses_the_country_is_not_taken_for_a_broken_proxy() {
    let (url, _) = relay().await;
    for status in ["451 Unavailable For Legal Reasons", "403 Forbidden"] {
        let port = exchange(status).await;
        let err = ws(&through(&url), port).await.unwrap_err();
        assert!(matches!(err, ConnectError::Status { .. }), "{err}");
        assert!(err.to_string().contains("another exit"), "{err}");
        assert!(err.ban().unwrap().wait >= Duration::from_secs(60), "asking quickly makes it worse");
        assert_eq!(rest(&through(&url), port).await.unwrap().to_string(), status[..3]);
    }
}

#[tokio::test]
async fn an_exchange_that_stalls_behind_the_proxy_is_named_and_not_the_proxy() {
    let (url, _) = relay().await;
    let mut dialer = through(&url);
    (dialer.limits.answer, dialer.limits.upgrade, dialer.limits.tls) = (SHORT, SHORT, SHORT);
    // Accepts, and for every other connection sends the head of an answer and half of its body.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut tcp, _)) = listener.accept().await {
            if open.len() % 2 == 1 {
                tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
            }
            open.push(tcp);
        }
    });
    let err = rest(&dialer, port).await.unwrap_err();
    assert!(matches!(&err, HttpError::TimedOut { step: "the head of the answer", .. }), "{err}");
    let err = rest(&dialer, port).await.unwrap_err();
    assert!(matches!(&err, HttpError::TimedOut { step: "the next piece of the answer", .. }), "{err}");
    let err = ws(&dialer, port).await.unwrap_err();
    assert!(matches!(&err, ConnectError::TimedOut { step: "upgrade", .. }), "{err}");
    let target = Target::plain(&format!("wss://exchange.invalid:{port}/stream"));
    listener_is_silent_in_tls(&target, &dialer).await;
}

/// The next connection gets half an HTTP answer where TLS is due; the one after it nothing at all.
async fn listener_is_silent_in_tls(target: &Target, dialer: &Dialer) {
    let tls = tls_config(&[]).unwrap();
    let err = open(target, dialer, &tls).await.unwrap_err();
    assert!(matches!(&err, ConnectError::Tls { .. }), "{err}");
    let err = open(target, dialer, &tls).await.unwrap_err();
    assert!(matches!(&err, ConnectError::TimedOut { step: "TLS", .. }), "{err}");
    assert_eq!(err.event_kind("connect_failed"), "connect_failed", "the proxy did its part");
}

#[tokio::test]
async fn a_kept_connection_is_used_again_and_a_closed_one_is_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = accepted.clone();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            // Two answers, then the connection ends silently.
            for _ in 0..2 {
                let mut head = [0; 2048];
                let Ok(1..) = tcp.read(&mut head).await else { break };
                tcp.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
                    .await
                    .unwrap();
            }
        }
    });
    let client = HttpClient::new(Dialer::new(None), tls_config(&[]).unwrap());
    for _ in 0..5 {
        let answer = client.send(Method::POST, &format!("http://{address}/"), &[], 3).await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"abc"[..]));
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 3);
    let err = client.send(Method::GET, &format!("http://{address}/"), &[], 2).await.unwrap_err();
    assert!(matches!(err, HttpError::TooLarge { max: 2, .. }), "{err}");
}
