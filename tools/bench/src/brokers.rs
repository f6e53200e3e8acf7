//! Redis streams and NATS JetStream as the tail benchmark sees them: one process adds 200-byte messages that carry
//! the time, another one reads them. Each server is started for the run, on loopback, with its defaults for
//! durability; a machine without the program gets no row.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Broker {
    /// XADD and XREAD BLOCK, append-only file synced every second.
    Redis,
    /// A file stream, a push consumer without acknowledgements.
    Nats,
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts it with its data in `dir`; `None` when the program is not installed.
    pub(crate) fn start(broker: Broker, dir: &Path) -> anyhow::Result<Option<Server>> {
        std::fs::create_dir_all(dir)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let text = port.to_string();
        let mut command = match broker {
            Broker::Redis => {
                let mut c = Command::new("redis-server");
                c.args(["--port", &text, "--bind", "127.0.0.1", "--appendonly", "yes", "--save", "", "--dir"]).arg(dir);
                c
            }
            Broker::Nats => {
                let mut c = Command::new("nats-server");
                c.args(["--addr", "127.0.0.1", "--port", &text, "--jetstream", "--store_dir"]).arg(dir);
                c
            }
        };
        let child = match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err).context("start the server"),
        };
        let server = Server { child, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            anyhow::ensure!(began.elapsed() < Duration::from_secs(20), "{broker:?} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(server))
    }
}

/// One connection.
pub(crate) struct Client {
    broker: Broker,
    out: TcpStream,
    input: BufReader<TcpStream>,
    last_id: String,
    line: String,
}

impl Client {
    /// Connects and, for NATS, makes the stream if there is none.
    pub(crate) fn connect(broker: Broker, port: u16) -> anyhow::Result<Client> {
        let out = TcpStream::connect(("127.0.0.1", port))?;
        out.set_nodelay(true)?;
        let input = BufReader::with_capacity(1 << 16, out.try_clone()?);
        let mut client = Client { broker, out, input, last_id: "0".to_owned(), line: String::new() };
        if broker == Broker::Nats {
            client.read_line()?;
            client
                .out
                .write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\nSUB _INBOX.me 1\r\n")?;
            client.ask("$JS.API.STREAM.CREATE.T", r#"{"name":"T","subjects":["t"],"storage":"file"}"#)?;
        }
        Ok(client)
    }

    fn read_line(&mut self) -> anyhow::Result<()> {
        self.line.clear();
        anyhow::ensure!(self.input.read_line(&mut self.line)? > 0, "the server closed the connection");
        while self.line.ends_with(['\r', '\n']) {
            self.line.pop();
        }
        Ok(())
    }

    fn bytes(&mut self, len: usize) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; len + 2];
        self.input.read_exact(&mut bytes)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// A JetStream request; waits for the answer.
    fn ask(&mut self, subject: &str, body: &str) -> anyhow::Result<()> {
        write!(self.out, "PUB {subject} _INBOX.me {}\r\n{body}\r\n", body.len())?;
        let answer = self.message()?;
        let answer = String::from_utf8_lossy(&answer);
        anyhow::ensure!(!answer.contains("\"error\""), "NATS refused {subject}: {answer}");
        Ok(())
    }

    /// The payload of the next NATS message.
    fn message(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            self.read_line()?;
            let words: Vec<&str> = self.line.split(' ').collect();
            let last = |i: usize| words.get(words.len() - i).and_then(|w| w.parse::<usize>().ok());
            match words.first().copied() {
                Some("MSG") => {
                    let len = last(1).context("MSG without a length")?;
                    return self.bytes(len);
                }
                Some("HMSG") => {
                    let (head, all) = (last(2).context("HMSG")?, last(1).context("HMSG")?);
                    let bytes = self.bytes(all)?;
                    return Ok(bytes.get(head..).unwrap_or_default().to_vec());
                }
                Some("PING") => self.out.write_all(b"PONG\r\n")?,
                Some("-ERR") => bail!("NATS: {}", self.line),
                _ => {}
            }
        }
    }

    /// Adds one message.
    pub(crate) fn add(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        let mut text = Vec::with_capacity(payload.len() + 64);
        match self.broker {
            Broker::Redis => {
                write!(text, "*5\r\n$4\r\nXADD\r\n$1\r\nt\r\n$1\r\n*\r\n$1\r\np\r\n${}\r\n", payload.len())?;
                text.extend_from_slice(payload);
                text.extend_from_slice(b"\r\n");
                self.out.write_all(&text)?;
                // The id it was given: a length line and the id.
                self.read_line()?;
                self.read_line()
            }
            Broker::Nats => {
                write!(text, "PUB t {}\r\n", payload.len())?;
                text.extend_from_slice(payload);
                text.extend_from_slice(b"\r\n");
                Ok(self.out.write_all(&text)?)
            }
        }
    }

    /// Requests everything from the start.
    pub(crate) fn follow(&mut self) -> anyhow::Result<()> {
        if self.broker == Broker::Nats {
            self.out.write_all(b"SUB deliver.t 2\r\n")?;
            let consumer = r#"{"stream_name":"T","config":{"deliver_subject":"deliver.t","ack_policy":"none","deliver_policy":"all","replay_policy":"instant"}}"#;
            self.ask("$JS.API.CONSUMER.CREATE.T", consumer)?;
        }
        Ok(())
    }

    /// Hands the payloads that arrived to `each`; waits for at least one.
    pub(crate) fn next(&mut self, each: &mut dyn FnMut(&[u8])) -> anyhow::Result<()> {
        if self.broker == Broker::Nats {
            let payload = self.message()?;
            each(&payload);
            return Ok(());
        }
        let id = std::mem::take(&mut self.last_id);
        write!(
            self.out,
            "*6\r\n$5\r\nXREAD\r\n$5\r\nBLOCK\r\n$1\r\n0\r\n$7\r\nSTREAMS\r\n$1\r\nt\r\n${}\r\n{id}\r\n",
            id.len()
        )?;
        // [[stream, [[id, [field, value]], ..]]]
        for expected in ["*1", "*2", "$1", "t"] {
            self.read_line()?;
            anyhow::ensure!(self.line == expected, "Redis answered {:?} instead of {expected:?}", self.line);
        }
        self.read_line()?;
        let entries: usize =
            self.line.strip_prefix('*').and_then(|n| n.parse().ok()).context("XREAD without entries")?;
        for _ in 0..entries {
            self.read_line()?;
            self.read_line()?;
            self.read_line()?;
            self.last_id.clone_from(&self.line);
            for _ in 0..3 {
                self.read_line()?;
            }
            self.read_line()?;
            let len: usize =
                self.line.strip_prefix('$').and_then(|n| n.parse().ok()).context("a value without length")?;
            let payload = self.bytes(len)?;
            each(&payload);
        }
        Ok(())
    }
}
