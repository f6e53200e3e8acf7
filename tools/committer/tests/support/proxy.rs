//! Between committer and catalog: answers that are lost, requests that never arrive, servers that fail.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What becomes of a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out and answered.
    Passes,
    /// It is carried out, and the connection ends without an answer.
    AnswerLost,
    /// It is carried out, and the answer is that the server failed.
    AnsweredFailed,
    /// It never arrives.
    Lost,
}

/// The proxy.
pub struct Proxy {
    pub uri: String,
    /// POSTs to tables so far.
    pub posts: Arc<AtomicU64>,
}

impl Proxy {
    /// Before `upstream` (`http://host:port`); `fate` decides by the number of the POST to a table.
    pub fn start(upstream: &str, fate: impl Fn(u64) -> Fate + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let posts = Arc::new(AtomicU64::new(0));
        let (counted, fate) = (Arc::clone(&posts), Arc::new(fate));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, counted, fate) = (upstream.clone(), Arc::clone(&counted), Arc::clone(&fate));
                std::thread::spawn(move || {
                    // A client that goes away is its own matter.
                    let _ = serve(client, &upstream, &counted, &*fate);
                });
            }
        });
        Self { uri, posts }
    }
}

/// One request of one connection.
fn serve(mut client: TcpStream, upstream: &str, posts: &AtomicU64, fate: &dyn Fn(u64) -> Fate) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut request = Vec::new();
    let mut piece = [0; 65_536];
    let body_at = loop {
        if let Some(at) = request.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        match client.read(&mut piece)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&piece[..n]),
        }
    };
    let head = String::from_utf8_lossy(&request[..body_at]).into_owned();
    let header = |name: &str| {
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    let length: usize = header("content-length:").map_or(0, |n| n.parse().unwrap());
    while request.len() < body_at + length {
        match client.read(&mut piece)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&piece[..n]),
        }
    }
    let is_commit = head.starts_with("POST") && head.lines().next().unwrap_or_default().contains("/tables");
    let fate = if is_commit { fate(posts.fetch_add(1, Ordering::SeqCst)) } else { Fate::Passes };
    if fate == Fate::Lost {
        return Ok(());
    }
    let mut server = TcpStream::connect(upstream)?;
    let lines = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:") && !line.is_empty());
    let head: String = lines.map(|line| format!("{line}\r\n")).collect();
    server.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
    server.write_all(&request[body_at..])?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    match fate {
        Fate::AnswerLost => Ok(()),
        Fate::AnsweredFailed => {
            client.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        }
        _ => client.write_all(&answer),
    }
}
