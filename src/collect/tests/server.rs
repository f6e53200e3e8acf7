//! A scripted exchange on loopback: REST and WebSocket on one port, every connection follows its script.
//!
//! Speaks just enough of the combined Binance protocol for the collector, and the ceremonies of [`super::formal`];
//! knows exactly what it sent.

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
    /// Waits until this many connections had their subscription answered.
    Peers(usize),
    /// Sends a close frame and ends.
    Close(u16, &'static str),
    /// Ends the TCP connection silently.
    Drop,
    /// Goes on sending a frame every few milliseconds until the client closes.
    Stream,
    /// Reads, answers protocol pings, sends nothing for this long.
    Quiet(Duration),
    /// Neither reads nor writes any more, like a machine that is gone.
    Silent,
    /// Sends this as fast as it is taken until the connection breaks; reads nothing, answers no close.
    Flood(Message),
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
    /// Heads of the upgrade requests.
    pub upgrades: Vec<String>,
    /// Pings that came as text, per connection.
    pub pings: Vec<usize>,
    /// Protocol pings, per connection.
    pub probes: Vec<usize>,
}

/// How the server behaves besides the scripts; may change while it runs.
#[derive(Clone, Debug)]
pub struct Manners {
    /// Body of the listing.
    pub listing: String,
    /// A welcome this long after the upgrade; a request before it is an offence.
    pub welcome_after: Option<Duration>,
    /// Pings that came as text are answered.
    pub pongs: bool,
    /// Requests that are refused because they came too early, from now on.
    pub throttle: usize,
    /// Requests that name this stream are lost.
    pub deaf_to: Option<&'static str>,
    /// So are all of the connection of this number.
    pub deaf_on: Option<usize>,
    /// Servers that tokens name before this one.
    pub servers: Vec<String>,
    /// What the clients did wrong.
    pub offences: Vec<String>,
}

/// The server.
pub struct Server {
    /// `127.0.0.1:port`
    pub address: String,
    /// What happened.
    pub seen: Arc<Mutex<Seen>>,
    /// How it behaves.
    pub manners: Arc<Mutex<Manners>>,
}

/// The listing that is served: one symbol trades, one does not.
pub const LISTING: &str = r#"{"timezone":"UTC","serverTime":1767225600000,"rateLimits":[],"exchangeFilters":[],"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":8,"quoteAssetPrecision":8,"isSpotTradingAllowed":true,"permissions":[],"permissionSets":[],"filters":[{"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":"1000000.00000000","tickSize":"0.01000000"},{"filterType":"LOT_SIZE","minQty":"0.00001000","maxQty":"9000.00000000","stepSize":"0.00001000"}]},{"symbol":"OLDUSDT","status":"BREAK","baseAsset":"OLD","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":8,"quoteAssetPrecision":8,"isSpotTradingAllowed":true,"permissions":[],"permissionSets":[],"filters":[]}]}"#;

impl Server {
    /// Connection `i` follows `scripts[i]`, later ones stream. Book `i` comes with the status `rest_status[i]`, and headers
    /// after it, of which `Body` is what comes in its place.
    pub async fn start(scripts: Vec<Vec<Act>>, rest_status: Vec<&'static str>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let manners = Arc::new(Mutex::new(Manners {
            listing: LISTING.to_owned(),
            welcome_after: None,
            pongs: true,
            throttle: 0,
            deaf_to: None,
            deaf_on: None,
            servers: Vec::new(),
            offences: Vec::new(),
        }));
        let behave = manners.clone();
        let base = format!("ws://{address}");
        let (shared, opened, number) = (seen.clone(), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let rest_status = Arc::new(Mutex::new(rest_status));
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let n = tcp.peek(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..n]).into_owned();
                let (shared, number, rest_status) = (shared.clone(), number.clone(), rest_status.clone());
                let (manners, base) = (behave.clone(), base.clone());
                if head.to_lowercase().contains("upgrade: websocket") {
                    let at = opened.fetch_add(1, Ordering::SeqCst);
                    let script = scripts.get(at).cloned().unwrap_or_else(|| vec![Act::Stream]);
                    {
                        let mut s = shared.lock().unwrap();
                        s.sent.push(Vec::new());
                        s.requests.push(Vec::new());
                        s.closes.push(None);
                        s.upgrades.push(head);
                        s.pings.push(0);
                        s.probes.push(0);
                    }
                    tokio::spawn(async move {
                        let ws = tokio_tungstenite::accept_async(tcp).await.unwrap();
                        Connection { ws, at, seen: shared, manners, number, streams: Vec::new() }.play(script).await;
                    });
                } else {
                    tokio::spawn(async move {
                        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                        let mut sink = [0; 4096];
                        let _ = tcp.read(&mut sink).await;
                        let (status, body) = if path.contains("exchangeInfo") {
                            ("200 OK", manners.lock().unwrap().listing.clone())
                        } else if path.contains("token") {
                            let n = shared.lock().unwrap().rest.iter().filter(|p| p.contains("token")).count();
                            let mut servers = manners.lock().unwrap().servers.clone();
                            servers.push(base);
                            ("200 OK", format!(r#"{{"token":"secret{n}","servers":{servers:?}}}"#))
                        } else {
                            let mut next = rest_status.lock().unwrap();
                            let status = if next.is_empty() { "200 OK" } else { next.remove(0) };
                            let body = match status.split_once("\r\nBody: ") {
                                None => r#"{"lastUpdateId":7,"bids":[["1.5","2"]],"asks":[]}"#,
                                Some((_, body)) => body,
                            };
                            (status, body.to_owned())
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
        Server { address, seen, manners }
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
    manners: Arc<Mutex<Manners>>,
    number: Arc<AtomicUsize>,
    /// Subscribed so far.
    streams: Vec<String>,
}

impl Connection {
    async fn play(mut self, script: Vec<Act>) {
        let welcome_after = self.manners.lock().unwrap().welcome_after;
        if let Some(after) = welcome_after {
            let until = tokio::time::Instant::now() + after;
            while let Ok(Some(Ok(message))) = tokio::time::timeout_at(until, self.ws.next()).await {
                // The client's own pings may come at any time; asking may not.
                if message.to_text().is_ok_and(|text| text.contains(r#""type":"ping""#)) {
                    self.take(&message).await;
                } else {
                    self.manners.lock().unwrap().offences.push(format!("{message} came before the welcome"));
                }
            }
            self.send(Message::text(r#"{"type":"welcome"}"#)).await;
        }
        // One answered subscribe message is all that the first plans need.
        while self.streams.is_empty() {
            let Some(Ok(message)) = self.ws.next().await else { return };
            self.take(&message).await;
        }
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
                Act::Peers(n) => {
                    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
                    while self.seen.lock().unwrap().requests.iter().filter(|r| !r.is_empty()).count() < n {
                        assert!(
                            std::time::Instant::now() < end,
                            "ten minutes later still: self.seen.lock().unwrap().requests.iter().filter(|r| !r.is_empty()).count() < n"
                        );
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
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
                            Some(Ok(message)) => self.take(&message).await,
                            _ => return,
                        },
                        () = tokio::time::sleep(Duration::from_millis(5)) => self.frame().await,
                    }
                },
                Act::Quiet(time) => {
                    let end = tokio::time::Instant::now() + time;
                    while let Ok(Some(Ok(message))) = tokio::time::timeout_at(end, self.ws.next()).await {
                        self.take(&message).await;
                    }
                }
                Act::Silent => std::future::pending().await,
                Act::Flood(message) => loop {
                    for _ in 0..1_000 {
                        if self.ws.feed(message.clone()).await.is_err() {
                            return;
                        }
                    }
                    if self.ws.flush().await.is_err() {
                        return;
                    }
                },
            }
        }
    }

    async fn take(&mut self, message: &Message) {
        let text = match message {
            Message::Text(text) => text.to_string(),
            Message::Ping(_) => {
                self.seen.lock().unwrap().probes[self.at] += 1;
                return;
            }
            _ => return,
        };
        let request: serde_json::Value = serde_json::from_str(&text).unwrap();
        if request["type"] == "ping" {
            self.seen.lock().unwrap().pings[self.at] += 1;
            if self.manners.lock().unwrap().pongs {
                self.send(Message::text(format!(r#"{{"type":"pong","id":{}}}"#, request["id"]))).await;
            }
            return;
        }
        let (throttled, lost) = {
            let mut manners = self.manners.lock().unwrap();
            let lost = manners.deaf_to.is_some_and(|s| text.contains(s)) || manners.deaf_on == Some(self.at);
            let yes = manners.throttle > 0;
            manners.throttle -= usize::from(yes);
            (yes, lost)
        };
        self.seen.lock().unwrap().requests[self.at].push(text);
        let id = &request["id"];
        if lost {
            return;
        }
        if throttled {
            self.send(Message::text(format!(r#"{{"type":"throttled","id":{id}}}"#))).await;
            return;
        }
        let names = request["params"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned());
        self.streams.extend(names);
        self.send(Message::text(format!(r#"{{"result":null,"id":{id}}}"#))).await;
    }

    async fn frame(&mut self) {
        let n = self.number.fetch_add(1, Ordering::SeqCst);
        let pad = "x".repeat(n * 37 % 600);
        let trades: Vec<&String> = self.streams.iter().filter(|s| s.ends_with("@trade")).collect();
        let stream = trades[n % trades.len()];
        self.send(Message::text(format!(
            r#"{{"stream":"{stream}","data":{{"e":"trade","E":1,"s":"BTCUSDT","t":{n},"p":"1.0","q":"2","T":1,"m":true,"M":true,"pad":"{pad}"}}}}"#
        )))
        .await;
    }

    async fn send(&mut self, message: Message) {
        self.seen.lock().unwrap().sent[self.at].push(message.clone());
        let _ = self.ws.send(message).await;
    }
}
