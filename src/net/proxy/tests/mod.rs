//! Scripted proxies that speak byte by byte: every answer a server may give, and those it may not.

#![allow(clippy::unwrap_used)]

mod dialed;
mod hostile;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use super::{ProxyError, Stage, ask};
use crate::proxy::Proxy;

/// One move of the scripted peer.
#[derive(Clone, Debug)]
enum Move {
    /// Reads exactly these bytes; anything else fails the test.
    Expect(Vec<u8>),
    /// Sends these, one byte at a time with other tasks between.
    Send(Vec<u8>),
    /// Keeps the connection open and says nothing.
    Stall,
}

use Move::{Expect, Send, Stall};

/// Plays `moves`, then closes.
async fn peer(mut stream: DuplexStream, moves: Vec<Move>) {
    for one in moves {
        match one {
            Expect(want) => {
                let mut got = vec![0; want.len()];
                stream.read_exact(&mut got).await.unwrap();
                assert_eq!(got, want);
            }
            Send(bytes) => {
                for b in bytes {
                    if stream.write_all(&[b]).await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            }
            Stall => std::future::pending::<()>().await,
        }
    }
}

async fn play(url: &str, host: &str, moves: Vec<Move>) -> Result<(), ProxyError> {
    let stalls = matches!(moves.last(), Some(Stall));
    play_within(if stalls { 1 } else { 60 }, url, host, moves).await
}

async fn play_within(limit_s: u64, url: &str, host: &str, moves: Vec<Move>) -> Result<(), ProxyError> {
    // One byte of buffer: every write and read is split.
    let (mut ours, theirs) = tokio::io::duplex(1);
    let peer = tokio::spawn(peer(theirs, moves));
    let proxy = Proxy::parse(url).unwrap();
    let done = ask(&mut ours, &proxy, host, 443, Instant::now() + Duration::from_secs(limit_s)).await;
    if done.is_ok() {
        peer.await.unwrap();
    } else if peer.is_finished() {
        // A failed expectation is a failed test, whatever the client made of it.
        peer.await.unwrap();
    } else {
        peer.abort();
    }
    done
}

const OPEN: &str = "socks5://127.0.0.1:1080";
const AUTH: &str = "socks5://user:pässwort@127.0.0.1:1080";
const WEB: &str = "http://127.0.0.1:3128";

fn greeting() -> Vec<Move> {
    vec![Expect(vec![5, 1, 0]), Send(vec![5, 0])]
}

/// Greeting and a request for `stream.example:443`.
fn asked() -> Vec<Move> {
    let mut moves = greeting();
    let mut request = vec![5, 1, 0, 3, 14];
    request.extend(b"stream.example");
    request.extend([1, 187]);
    moves.push(Expect(request));
    moves
}

fn with(mut moves: Vec<Move>, more: impl IntoIterator<Item = Move>) -> Vec<Move> {
    moves.extend(more);
    moves
}

#[tokio::test]
async fn a_name_goes_to_the_proxy_and_an_address_as_an_address() {
    let ok = || Send(vec![5, 0, 0, 1, 10, 0, 0, 1, 4, 56]);
    play(OPEN, "stream.example", with(asked(), [ok()])).await.unwrap();
    let v4 = Expect(vec![5, 1, 0, 1, 192, 0, 2, 7, 1, 187]);
    play(OPEN, "192.0.2.7", with(greeting(), [v4, ok()])).await.unwrap();
    let mut v6 = vec![5, 1, 0, 4, 0x20, 0x01, 0x0d, 0xb8];
    v6.extend([0; 11]);
    v6.extend([1, 1, 187]);
    play(OPEN, "2001:db8::1", with(greeting(), [Expect(v6), ok()])).await.unwrap();
}

#[tokio::test]
async fn the_bound_address_may_be_of_any_type_and_what_follows_it_stays_on_the_stream() {
    let mut v6 = vec![5, 0, 0, 4];
    v6.extend([9; 18]);
    let mut name = vec![5, 0, 0, 3, 5];
    name.extend(b"exit1");
    name.extend([1, 2]);
    for reply in [vec![5, 0, 0, 1, 0, 0, 0, 0, 0, 0], v6, name, vec![5, 0, 0, 3, 0, 1, 2]] {
        let (mut ours, theirs) = tokio::io::duplex(4096);
        let peer = tokio::spawn(peer(theirs, with(asked(), [Send(reply), Send(b"next".to_vec())])));
        let proxy = Proxy::parse(OPEN).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        ask(&mut ours, &proxy, "stream.example", 443, deadline).await.unwrap();
        let mut next = Vec::new();
        ours.read_to_end(&mut next).await.unwrap();
        assert_eq!(next, b"next");
        peer.await.unwrap();
    }
    let err = play(OPEN, "stream.example", with(asked(), [Send(vec![5, 0, 0, 2])])).await.unwrap_err();
    assert!(matches!(err, ProxyError::Malformed(_)), "{err}");
}

#[tokio::test]
async fn user_and_password_are_shown_only_when_the_server_asks_for_them() {
    let mut secret = vec![1, 4];
    secret.extend(b"user");
    secret.push(9);
    secret.extend("pässwort".as_bytes());
    let asked = || vec![Expect(vec![5, 2, 0, 2]), Send(vec![5, 2]), Expect(secret.clone())];
    let request = || Expect([&[5, 1, 0, 3, 1][..], b"h", &[1, 187]].concat());
    let ok = || Send(vec![5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    play(AUTH, "h", with(asked(), [Send(vec![1, 0]), request(), ok()])).await.unwrap();
    // Seen on real servers: the version of the main protocol in the answer.
    play(AUTH, "h", with(asked(), [Send(vec![5, 0]), request(), ok()])).await.unwrap();
    play(AUTH, "h", vec![Expect(vec![5, 2, 0, 2]), Send(vec![5, 0]), request(), ok()]).await.unwrap();
    for refusal in [vec![Send(vec![1, 1])], vec![Send(vec![1, 255])], vec![]] {
        let err = play(AUTH, "h", with(asked(), refusal)).await.unwrap_err();
        assert!(matches!(err, ProxyError::AuthFailed) && err.needs_a_person(), "{err}");
        assert!(!err.to_string().contains("sswort"), "{err}");
    }
    let err = play(AUTH, "h", with(asked(), [Send(vec![7, 0])])).await.unwrap_err();
    assert!(matches!(err, ProxyError::Malformed(_)), "{err}");
}

#[tokio::test]
async fn a_server_without_a_method_for_us_says_what_is_missing() {
    let none = play(OPEN, "h", vec![Expect(vec![5, 1, 0]), Send(vec![5, 255])]).await.unwrap_err();
    assert!(matches!(none, ProxyError::AuthRequired) && none.to_string().contains("credentials_file"), "{none}");
    let asks = play(OPEN, "h", vec![Expect(vec![5, 1, 0]), Send(vec![5, 2])]).await.unwrap_err();
    assert!(matches!(asks, ProxyError::AuthRequired), "{asks}");
    for method in [1, 255] {
        let err = play(AUTH, "h", vec![Expect(vec![5, 2, 0, 2]), Send(vec![5, method])]).await.unwrap_err();
        assert!(matches!(err, ProxyError::NoMethod) && err.to_string().contains("no acceptable method"), "{err}");
    }
}

#[tokio::test]
async fn every_reply_code_has_a_name_and_an_advice() {
    let names = [
        (1, "general"),
        (2, "not allowed"),
        (3, "network unreachable"),
        (4, "host unreachable"),
        (5, "connection refused"),
        (6, "TTL"),
        (7, "command not supported"),
        (8, "address type"),
        (9, "unassigned"),
        (255, "unassigned"),
    ];
    for (code, name) in names {
        // With and without the rest of the reply: some servers close right after the code.
        for rest in [&[1, 0, 0, 0, 0, 0, 0][..], &[]] {
            let reply = [&[5, code, 0][..], rest].concat();
            let err = play(OPEN, "stream.example", with(asked(), [Send(reply)])).await.unwrap_err();
            assert!(matches!(err, ProxyError::Refused { code: c } if c == code), "{err}");
            let text = err.to_string();
            assert!(text.contains(name) && text.contains(&format!("REP {code:02x}")) && text.contains("; "), "{text}");
            assert!(!err.needs_a_person(), "another try may find the exchange reachable");
        }
    }
}

#[tokio::test]
async fn who_is_no_socks_server_is_recognised_by_the_first_byte() {
    for (answer, word) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP server"),
        (b"SSH-2.0-OpenSSH_9\r\n", "SSH"),
        (&[0x15, 3, 1, 0, 2, 2, 70], "TLS"),
        (&[0, 0x5b, 0, 0, 0, 0, 0, 0], "SOCKS4"),
        (b"H", "HTTP server"),
    ] {
        let err = play(OPEN, "h", vec![Expect(vec![5, 1, 0]), Send(answer.to_vec()), Stall]).await.unwrap_err();
        assert!(matches!(err, ProxyError::NotSocks { .. }) && err.to_string().contains(word), "{err}");
        assert!(err.needs_a_person());
    }
    let err = play(OPEN, "stream.example", with(asked(), [Send(vec![4, 0, 0, 1])])).await.unwrap_err();
    assert!(matches!(err, ProxyError::NotSocks { got: 4 }), "{err}");
}

#[tokio::test]
async fn a_server_that_stalls_or_closes_is_named_with_the_step() {
    let secret = Expect([&[1, 4][..], b"user", &[9], "pässwort".as_bytes()].concat());
    let auth = vec![Expect(vec![5, 2, 0, 2]), Send(vec![5, 2]), secret];
    let cases: [(&str, Vec<Move>, Stage); 6] = [
        (OPEN, vec![], Stage::Greeting),
        (OPEN, vec![Send(vec![5])], Stage::Greeting),
        (OPEN, asked(), Stage::Connect),
        (OPEN, with(asked(), [Send(vec![5, 0, 0, 1, 10, 0])]), Stage::Connect),
        (OPEN, with(asked(), [Send(vec![5, 0, 0, 3, 200, b'x'])]), Stage::Connect),
        (AUTH, with(auth, [Send(vec![1]), Stall]), Stage::Auth),
    ];
    let each = cases.map(|(url, moves, stage)| async move {
        let stalled = play(url, "stream.example", with(moves.clone(), [Stall])).await.unwrap_err();
        assert!(matches!(&stalled, ProxyError::Stalled(s) if *s == stage), "{moves:?}: {stalled}");
        assert!(!stalled.needs_a_person());
        if stage != Stage::Auth {
            let closed = play(url, "stream.example", moves.clone()).await.unwrap_err();
            assert!(matches!(&closed, ProxyError::Closed(s) if *s == stage), "{moves:?}: {closed}");
        }
    });
    futures_util::future::join_all(each).await;
}

#[tokio::test]
async fn a_trickle_does_not_stretch_the_time_limit() {
    let (mut ours, mut theirs) = tokio::io::duplex(64);
    let peer = tokio::spawn(async move {
        // A name of 255 bytes, slowly: there is always something to read, and it never ends in time.
        theirs.write_all(&[5, 0, 5, 0, 0, 3, 255]).await.unwrap();
        while theirs.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let proxy = Proxy::parse(OPEN).unwrap();
    let err = ask(&mut ours, &proxy, "h", 443, Instant::now() + Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(err, ProxyError::Stalled(Stage::Connect)), "{err}");
    peer.abort();
}

#[tokio::test]
async fn a_name_that_the_protocol_cannot_carry_is_refused_before_anything_is_sent() {
    let long = "n".repeat(256);
    let err = play(OPEN, &long, vec![Stall]).await.unwrap_err();
    assert!(matches!(err, ProxyError::NameTooLong(256)) && err.needs_a_person(), "{err}");
}

#[tokio::test]
async fn an_http_proxy_is_asked_with_connect_and_basic_authentication() {
    let request = b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n";
    let ok = || Send(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n".to_vec());
    play(WEB, "h", vec![Expect(request.to_vec()), ok()]).await.unwrap();
    let v6 = b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n";
    play(WEB, "2001:db8::1", vec![Expect(v6.to_vec()), ok()]).await.unwrap();
    // The pair of RFC 7617 section 2.
    let auth =
        b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
    let url = "http://Aladdin:open%20sesame@127.0.0.1:3128";
    play(url, "h", vec![Expect(auth.to_vec()), ok()]).await.unwrap();
    let denied = || Send(b"HTTP/1.0 407 Proxy Authentication Required\r\n\r\n".to_vec());
    // 401: seen from tinyproxy.
    for answer in [denied(), Send(b"HTTP/1.0 401 Unauthorized\r\n\r\n".to_vec())] {
        let err = play(url, "h", vec![Expect(auth.to_vec()), answer]).await.unwrap_err();
        assert!(matches!(err, ProxyError::AuthFailed), "{err}");
    }
    let err = play(WEB, "h", vec![Expect(request.to_vec()), denied()]).await.unwrap_err();
    assert!(matches!(err, ProxyError::AuthRequired), "{err}");
    for (status, word) in [(403, "allow"), (405, "CONNECT"), (502, "reach"), (504, "in time"), (418, "log")] {
        let answer = Send(format!("HTTP/1.1 {status} No\r\n\r\n").into_bytes());
        let err = play(WEB, "h", vec![Expect(request.to_vec()), answer]).await.unwrap_err();
        assert!(matches!(err, ProxyError::Http { status: s } if s == status), "{err}");
        assert!(err.to_string().contains(word), "{err}");
    }
    let err = play(WEB, "h", vec![Expect(request.to_vec()), Send(vec![5, 255]), Stall]).await.unwrap_err();
    assert!(matches!(err, ProxyError::NotHttp), "{err}");
    for garbage in ["HTTP/1.1\r\n\r\n", "HTTP/1.1 2000 x\r\n\r\n", "HTTP/1.1 +20 x\r\n\r\n", "HTTP/1.1 999 x\r\n\r\n"] {
        let err = play(WEB, "h", vec![Expect(request.to_vec()), Send(garbage.into())]).await.unwrap_err();
        assert!(matches!(err, ProxyError::Malformed(_)), "{garbage:?}: {err}");
    }
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(4_000));
    let err = play(WEB, "h", vec![Expect(request.to_vec()), Send(endless.into()), Stall]).await.unwrap_err();
    assert!(matches!(err, ProxyError::Malformed(_)), "{err}");
}
