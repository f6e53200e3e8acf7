//! A scripted exchange on loopback: REST and WebSocket on one port, every connection follows its script.
//!
//! Speaks just enough of the combined Binance protocol for the collector; knows exactly what it sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// One thing a connection does after its subscriptions.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends this many data frames.
    Frames(usize),
    /// Sends exactly this.
    Send(Message),
    /// Sends a ping and waits for its pong.
    PingPong,
    /// Waits.
    Wait(Duration),
    /// Sends a close frame and ends.
    Close(u16, &'static str),
    /// Ends the TCP connection without a word.
    Drop,
    /// Goes on sending a frame every few milliseconds until the client closes.
    Stream,
    /// Neither reads nor writes any more, like a machine that is gone.
    Silent,
}

/// What the server saw and did.
#[derive(Default)]
pub struct Seen {
    /// Payloads of data frames and other texts handed to sockets, per connection.
    pub sent: Vec<Vec<Message>>,
    /// Texts received, per connection.
    pub requests: Vec<Vec<String>>,
    /// Close codes received, per connection.
    pub closes: Vec<Option<u16>>,
    /// Paths of REST requests.
    pub rest: Vec<String>,
}

/// The server.
pub struct Server {
    /// `127.0.0.1:port`
    pub address: String,
    /// What happened.
    pub seen: Arc<Mutex<Seen>>,
}

/// The listing that is served: one symbol trades, one does not.
pub const LISTING: &str = r#"{"timezone":"UTC","serverTime":1767225600000,"rateLimits":[],"exchangeFilters":[],"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":8,"quoteAssetPrecision":8,"isSpotTradingAllowed":true,"permissions":[],"permissionSets":[],"filters":[{"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":"1000000.00000000","tickSize":"0.01000000"},{"filterType":"LOT_SIZE","minQty":"0.00001000","maxQty":"9000.00000000","stepSize":"0.00001000"}]},{"symbol":"OLDUSDT","status":"BREAK","baseAsset":"OLD","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":8,"quoteAssetPrecision":8,"isSpotTradingAllowed":true,"permissions":[],"permissionSets":[],"filters":[]}]}"#;

impl Server {
    /// Connection `i` follows `scripts[i]`, later ones stream.
    pub async fn start(scripts: Vec<Vec<Act>>, rest_status: Vec<&'static str>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (shared, opened, number) = (seen.clone(), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let rest_status = Arc::new(Mutex::new(rest_status));
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let n = tcp.peek(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..n]).into_owned();
                let (shared, number, rest_status) = (shared.clone(), number.clone(), rest_status.clone());
                if head.to_lowercase().contains("upgrade: websocket") {
                    let at = opened.fetch_add(1, Ordering::SeqCst);
                    let script = scripts.get(at).cloned().unwrap_or_else(|| vec![Act::Stream]);
                    {
                        let mut s = shared.lock().unwrap();
                        s.sent.push(Vec::new());
                        s.requests.push(Vec::new());
                        s.closes.push(None);
                    }
                    tokio::spawn(async move {
                        let ws = tokio_tungstenite::accept_async(tcp).await.unwrap();
                        Connection { ws, at, seen: shared, number }.play(script).await;
                    });
                } else {
                    tokio::spawn(async move {
                        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                        let mut sink = [0; 4096];
                        let _ = tcp.read(&mut sink).await;
                        let (status, body) = if path.contains("exchangeInfo") {
                            ("200 OK", LISTING.to_owned())
                        } else {
                            let mut next = rest_status.lock().unwrap();
                            let status = if next.is_empty() { "200 OK" } else { next.remove(0) };
                            (status, r#"{"lastUpdateId":7,"bids":[["1.5","2"]],"asks":[]}"#.to_owned())
                        };
                        shared.lock().unwrap().rest.push(path);
                        let head =
                            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                        let _ = tcp.write_all(head.as_bytes()).await;
                        let _ = tcp.write_all(body.as_bytes()).await;
                    });
                }
            }
        });
        Server { address, seen }
    }

    /// All payloads sent so far, in order per connection.
    pub fn sent(&self) -> Vec<Vec<Vec<u8>>> {
        let seen = self.seen.lock().unwrap();
        seen.sent.iter().map(|c| c.iter().map(|m| m.clone().into_data().to_vec()).collect()).collect()
    }
}

struct Connection {
    ws: WebSocketStream<TcpStream>,
    at: usize,
    seen: Arc<Mutex<Seen>>,
    number: Arc<AtomicUsize>,
}

impl Connection {
    async fn play(mut self, script: Vec<Act>) {
        // One subscribe message is all that the test plans need.
        let Some(id) = self.receive().await else { return };
        self.send(Message::text(format!(r#"{{"result":null,"id":{id}}}"#))).await;
        for act in script {
            match act {
                Act::Frames(n) => {
                    for _ in 0..n {
                        self.frame().await;
                    }
                }
                Act::Send(m) => self.send(m).await,
                Act::PingPong => {
                    self.ws.send(Message::Ping("are you there".into())).await.unwrap();
                    match tokio::time::timeout(Duration::from_secs(10), self.ws.next()).await {
                        Ok(Some(Ok(Message::Pong(p)))) if &p[..] == b"are you there" => self.frame().await,
                        other => panic!("no pong: {other:?}"),
                    }
                }
                Act::Wait(time) => tokio::time::sleep(time).await,
                Act::Close(code, reason) => {
                    let frame = CloseFrame { code: code.into(), reason: reason.into() };
                    let _ = self.ws.close(Some(frame)).await;
                    while let Some(Ok(_)) = self.ws.next().await {}
                    return;
                }
                Act::Drop => return,
                Act::Stream => loop {
                    tokio::select! {
                        got = self.ws.next() => match got {
                            Some(Ok(Message::Close(frame))) => {
                                // What was on its way when the close came is still delivered.
                                self.seen.lock().unwrap().closes[self.at] = frame.map(|f| f.code.into());
                                while let Some(Ok(_)) = self.ws.next().await {}
                                return;
                            }
                            Some(Ok(_)) => {}
                            _ => return,
                        },
                        () = tokio::time::sleep(Duration::from_millis(5)) => self.frame().await,
                    }
                },
                Act::Silent => std::future::pending().await,
            }
        }
    }

    async fn receive(&mut self) -> Option<u64> {
        while let Some(Ok(m)) = self.ws.next().await {
            if let Message::Text(text) = m {
                self.seen.lock().unwrap().requests[self.at].push(text.to_string());
                let request: serde_json::Value = serde_json::from_str(&text).unwrap();
                return request["id"].as_u64();
            }
        }
        None
    }

    async fn frame(&mut self) {
        let n = self.number.fetch_add(1, Ordering::SeqCst);
        let pad = "x".repeat(n * 37 % 600);
        self.send(Message::text(format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1,"s":"BTCUSDT","t":{n},"p":"1.0","q":"2","T":1,"m":true,"M":true,"pad":"{pad}"}}}}"#
        )))
        .await;
    }

    async fn send(&mut self, message: Message) {
        self.seen.lock().unwrap().sent[self.at].push(message.clone());
        let _ = self.ws.send(message).await;
    }
}
