//! A plain client for the tests: connect, subscribe, read everything, ask over HTTP; and the recordings they play.
#![allow(clippy::unwrap_used, dead_code)]

use std::path::PathBuf;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use venue_sim::Sim;

/// A test that hangs fails after this time; none comes near it.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn recording(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name)
}

/// The `(receive time, frame)` lines of an `hft` recording that are stream frames.
pub fn frames_of(name: &str) -> Vec<String> {
    let text = zstd::decode_all(std::fs::File::open(recording(name)).unwrap()).unwrap();
    String::from_utf8(text)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, frame)| frame.starts_with("{\"stream\""))
        .map(|(_, frame)| frame.to_owned())
        .collect()
}

pub struct Client(pub WebSocketStream<TcpStream>);

impl Client {
    pub async fn connect(sim: &Sim, venue: &str, path: &str) -> Client {
        Client::try_connect(sim, venue, path).await.unwrap()
    }

    pub async fn try_connect(sim: &Sim, venue: &str, path: &str) -> Result<Client, Error> {
        Client::connect_with(sim, venue, path, &[]).await
    }

    /// With further headers in the upgrade request.
    pub async fn connect_with(
        sim: &Sim,
        venue: &str,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Client, Error> {
        let tcp = TcpStream::connect(sim.address()).await.unwrap();
        let mut request = format!("{}{path}", sim.ws_url(venue)).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::client_async(request, tcp).await?;
        Ok(Client(socket))
    }

    pub async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    pub async fn subscribe(&mut self, streams: &[&str]) {
        self.say(&serde_json::json!({"method": "SUBSCRIBE", "params": streams, "id": 1}).to_string()).await;
        assert_eq!(self.text().await, r#"{"result":null,"id":1}"#);
    }

    /// The next message that is not a ping or pong; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.unwrap() {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => return other,
            }
        }
    }

    pub async fn text(&mut self) -> String {
        match self.next().await {
            Some(Ok(Message::Text(text))) => text.to_string(),
            other => panic!("expected text, got {other:?}"),
        }
    }

    pub async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            texts.push(self.text().await);
        }
        texts
    }

    /// Texts up to the end, and what ended it: the close code, or the error's text.
    pub async fn drain(&mut self) -> (Vec<String>, String) {
        let mut texts = Vec::new();
        loop {
            match self.next().await {
                Some(Ok(Message::Text(text))) => texts.push(text.to_string()),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (texts, format!("{} {}", u16::from(frame.code), frame.reason));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return (texts, error.to_string()),
                None => return (texts, "end".to_owned()),
            }
        }
    }
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub async fn get(sim: &Sim, path: &str) -> Answer {
    http(sim, "GET", path, "").await
}

pub async fn http(sim: &Sim, method: &str, path: &str, body: &str) -> Answer {
    http_with(sim, method, path, "", body).await
}

/// `headers` are whole lines, each with its line end.
pub async fn http_with(sim: &Sim, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut tcp = TcpStream::connect(sim.address()).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        sim.address(),
        body.len()
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut bytes)).await.unwrap().unwrap();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    Answer { status: head[9..12].parse().unwrap(), head, body: bytes[end..].to_vec() }
}
