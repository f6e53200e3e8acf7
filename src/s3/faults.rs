//! A bad way to a store, for tests: a proxy on loopback that takes one request per connection and, as its dice say, hands it
//! on, cuts the connection before or after the store carried it out, cuts the answer in the middle, answers 500 or 503
//! SlowDown in the store's place, or takes its time.

#![allow(clippy::unwrap_used)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Counts {
    /// Handed on, and answered.
    pub well: AtomicU64,
    /// Cut before the store saw it.
    pub cut: AtomicU64,
    /// Carried out, and the answer lost, whole or in part.
    pub lost: AtomicU64,
    /// Refused in the store's place.
    pub refused: AtomicU64,
}

/// The proxy; it ends with the value.
pub struct Faults {
    port: u16,
    /// What became of the requests.
    pub counts: Arc<Counts>,
    /// Of 100 requests so many meet a fault.
    percent: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Faults {
    /// Before the store at `upstream` (`http://127.0.0.1:PORT`); `percent` of the requests meet a fault.
    pub fn before(upstream: &str, percent: u64, seed: u64) -> Self {
        let to: std::net::SocketAddr = upstream.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (counts, ended) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let percent = Arc::new(AtomicU64::new(percent));
        let (of_all, end, share) = (Arc::clone(&counts), Arc::clone(&ended), Arc::clone(&percent));
        std::thread::spawn(move || {
            let mut dice = seed | 1;
            for client in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                // xorshift64*, as the suite's dice.
                dice ^= dice >> 12;
                dice ^= dice << 25;
                dice ^= dice >> 27;
                let roll = dice.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16;
                let fault = (roll % 100 < share.load(Ordering::Relaxed)).then_some((roll / 100) % 6);
                let counts = Arc::clone(&of_all);
                // A connection that ends is what is tested.
                std::thread::spawn(move || drop(carry(client, to, fault, &counts)));
            }
        });
        Self { port, counts, percent, ended }
    }

    /// Of 100 requests so many meet a fault from now on.
    pub fn set(&self, percent: u64) {
        self.percent.store(percent, Ordering::Relaxed);
    }

    /// Where it answers.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for the next one.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn carry(mut client: TcpStream, to: std::net::SocketAddr, fault: Option<u64>, counts: &Counts) -> io::Result<()> {
    let request = request(&mut client)?;
    let count = |counter: &AtomicU64| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    match fault {
        Some(0) => {
            count(&counts.cut);
            return client.shutdown(Shutdown::Both);
        }
        Some(1) => {
            count(&counts.refused);
            return refuse(&mut client, "500 Internal Server Error", "InternalError");
        }
        Some(2) => {
            count(&counts.refused);
            return refuse(&mut client, "503 Slow Down\r\nRetry-After: 0", "SlowDown");
        }
        Some(3) => std::thread::sleep(Duration::from_millis(80)),
        _ => {}
    }
    let mut store = TcpStream::connect(to)?;
    store.write_all(&request)?;
    let mut answer = Vec::new();
    store.read_to_end(&mut answer)?;
    match fault {
        Some(4) => {
            count(&counts.lost);
            client.shutdown(Shutdown::Both)
        }
        Some(5) => {
            count(&counts.lost);
            client.write_all(answer.get(..answer.len() / 2).unwrap_or_default())?;
            client.shutdown(Shutdown::Both)
        }
        _ => {
            count(&counts.well);
            client.write_all(&answer)
        }
    }
}

/// A whole request, which asks that the connection ends with the answer.
fn request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let (head, length) = loop {
        let n = client.read(&mut buffer)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(&buffer[..n]);
        if let Some(head) = text.windows(4).position(|w| w == b"\r\n\r\n") {
            let lines = String::from_utf8_lossy(&text[..head]).to_lowercase();
            let length = lines.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            break (head, length.unwrap_or(0_usize));
        }
    };
    while text.len() < head + 4 + length {
        let n = client.read(&mut buffer)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(&buffer[..n]);
    }
    let at = head + 2;
    text.splice(at..at, *b"connection: close\r\n");
    Ok(text)
}

fn refuse(client: &mut TcpStream, status: &str, code: &str) -> io::Result<()> {
    let body = format!("<Error><Code>{code}</Code><Message>as a test</Message></Error>");
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())
}
