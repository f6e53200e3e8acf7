//! Pushes to many WebSocket clients: how late after the swap, with and without clients that never read.
//!
//! ```text
//!  writer process --log--> server process: KlineService, api::serve --1,000 sockets--> this process
//! ```
//! Delay, exactly: from the last look of a thread of the server at which the number of the swap had not changed (it looks
//! every 20 us or so before a swap is due) to the end of the `read` in this process that brought the state which that swap showed first, known by
//! symbol and last trade id. Only states of open bars count; closes are pushed at once, not at a swap. Clients, server
//! and writer share the cores, so the clients' own work is in the figures. A stalled client wants all symbols, has a
//! small receive buffer and reads nothing until it must have been given up.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fold::Mode;
use kline::{FlatKlineStore, KlineHub, KlineService};
use model::Interval;
use net::server::Access;
use ops::shutdown::Shutdown;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::append::{Latency, clock};
use crate::klines_live::digits;
use crate::synth::{self, Place, Writer};

/// Arguments of `serve`.
#[derive(Clone, clap::Args)]
pub(crate) struct Args {
    /// Few clients for seconds: shows that it works, measures nothing.
    #[arg(long)]
    pub quick: bool,
    /// WebSocket clients.
    #[arg(long, default_value_t = 1_000)]
    clients: usize,
    /// Streams of each client, `@kline_1m` of so many symbols.
    #[arg(long, default_value_t = 3)]
    streams: usize,
    /// Symbols.
    #[arg(long, default_value_t = 500)]
    symbols: usize,
    /// Trades per second of all symbols.
    #[arg(long, default_value_t = 20_000)]
    per_s: u64,
    /// Seconds of each phase; a stalled client is given up after ten.
    #[arg(long, default_value_t = 9)]
    seconds: u64,
    /// Use the native `/v1/stream` instead of `/stream`.
    #[arg(long)]
    native: bool,
    /// Be the server (used by the benchmark itself).
    #[arg(long, hide = true, value_name = "DIR")]
    server: Option<PathBuf>,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            quick: false,
            clients: 1_000,
            streams: 3,
            symbols: 500,
            per_s: 20_000,
            seconds: 9,
            native: false,
            server: None,
        }
    }
}

/// What the server's configuration leaves at its default: a write may take this long.
const SLOW: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
const SWAPS: &str = "swaps";

/// As many open files as the machine allows: every client is two on it.
fn open_files() -> u64 {
    let now = getrlimit(Resource::Nofile);
    // Refused only when the limits are not known; then connecting will show.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Notes when each swap came and what it showed newly: monotonic ns, symbol, last trade id of the minute. The instant is
/// that of the last look before the swap was seen; a swap without a look right before it is left out.
fn note_swaps(hub: &KlineHub, every: Duration, stop: &Shutdown) -> Vec<[u64; 3]> {
    // Without this a sleep of 20 us takes 70.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let (mut out, mut whole, mut last) = (Vec::new(), FlatKlineStore::default(), Vec::new());
    let mut names: HashMap<u32, u64> = HashMap::new();
    let (mut number, mut at, mut looked) = (hub.swap_number(), Instant::now(), clock().mono_ns);
    while !stop.requested() {
        let before = looked;
        looked = clock().mono_ns;
        let now = hub.swap_number();
        if now == number {
            // Swaps come at an even rate: sleep through most of it.
            let left = (every * 3 / 4).saturating_sub(at.elapsed());
            std::thread::sleep(left.max(Duration::from_micros(20)));
            continue;
        }
        (number, at) = (now, Instant::now());
        let known = looked - before < 1_000_000;
        hub.whole(&mut whole);
        last.resize(whole.symbols(), 0);
        for (index, last) in (0_u32..).zip(&mut last) {
            let id = whole.symbol(index).map_or(-1, |bars| bars[Interval::M1.index()].last_trade_id);
            let Ok(id) = u64::try_from(id) else { continue };
            if id != *last && known {
                let symbol = *names.entry(index).or_insert_with(|| {
                    hub.registry().get(index).map_or(0, |s| digits(s.symbol.as_bytes(), b"S") as u64)
                });
                out.push([before, symbol, id]);
            }
            *last = id;
        }
    }
    out
}

/// The serving side, until `stop`; reports its port, and when it has all symbols.
fn server(dir: &Path, symbols: usize, stop: &Shutdown, mut report: impl FnMut(String)) -> anyhow::Result<()> {
    let cfg = synth::config(dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // The service goes on until its clients are gone.
    let ended = Shutdown::new();
    let candles =
        KlineService::start(&cfg.for_candles(), Mode::Follow, &ended)?.context("no candles of this configuration")?;
    let hub = Arc::clone(candles.hub());
    let listener = runtime.block_on(api::bind(SocketAddr::from(([127, 0, 0, 1], 0))))?;
    report(format!("port {}", listener.local_addr()?.port()));
    let serving = runtime.spawn(api::serve(
        listener,
        cfg.for_api(),
        lake::Lake::open(&cfg.lake.dir),
        Access::default(),
        Arc::default(),
        Some(Arc::clone(&hub)),
        ended.clone(),
    ));
    let noting = {
        let (hub, stop, every) = (Arc::clone(&hub), stop.clone(), Duration::from_millis(cfg.klines.swap_interval_ms));
        std::thread::Builder::new().name("note".into()).spawn(move || note_swaps(&hub, every, &stop))?
    };
    while hub.registry().len() < symbols && !stop.requested() {
        std::thread::sleep(Duration::from_millis(10));
    }
    report("ready".to_owned());
    runtime.block_on(stop.wait());
    ended.trigger();
    let swaps = noting.join().map_err(|_| anyhow::anyhow!("the noting thread panicked"))?;
    runtime.block_on(serving)?;
    candles.join()?;
    let mut out = BufWriter::new(std::fs::File::create(dir.join(SWAPS))?);
    for word in swaps.into_iter().flatten() {
        out.write_all(&word.to_le_bytes())?;
    }
    out.flush()?;
    Ok(())
}

/// When which state was shown first, by symbol and last id.
fn swaps(dir: &Path) -> anyhow::Result<HashMap<(u64, u64), u64>> {
    let mut bytes = Vec::new();
    std::fs::File::open(dir.join(SWAPS)).context("open the table of swaps")?.read_to_end(&mut bytes)?;
    let mut out = HashMap::new();
    for entry in bytes.chunks_exact(24) {
        let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap_or_default());
        out.entry((word(8), word(16))).or_insert(word(0));
    }
    Ok(out)
}

/// The server, in a process of its own or, for tests, in a thread.
enum Host {
    Process(Child),
    Thread(Shutdown, std::thread::JoinHandle<anyhow::Result<()>>),
}

impl Host {
    /// Starts it; returns its address and what it says.
    fn start(
        place: Place,
        dir: &Path,
        symbols: usize,
    ) -> anyhow::Result<(Host, SocketAddr, std::sync::mpsc::Receiver<String>)> {
        let (out, lines) = std::sync::mpsc::channel();
        let host = if place == Place::Process {
            let mut child = Command::new(std::env::current_exe()?)
                .args(["serve", "--symbols", &symbols.to_string(), "--server"])
                .arg(dir)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .context("start the serving process")?;
            let stdout = child.stdout.take().context("the server's output")?;
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let _ = out.send(line);
                }
            });
            Host::Process(child)
        } else {
            let (stop, dir) = (Shutdown::new(), dir.to_owned());
            let stop_server = stop.clone();
            let thread = std::thread::spawn(move || {
                server(&dir, symbols, &stop_server, |line| {
                    let _ = out.send(line);
                })
            });
            Host::Thread(stop, thread)
        };
        let port = loop {
            let line = lines.recv_timeout(PATIENCE).context("the server says no port")?;
            if let Some(port) = line.strip_prefix("port ") {
                break port.parse()?;
            }
        };
        Ok((host, SocketAddr::from(([127, 0, 0, 1], port)), lines))
    }

    fn pid(&self) -> u32 {
        if let Host::Process(child) = self { child.id() } else { std::process::id() }
    }

    /// MiB of its own memory, and CPU time, s.
    fn used(&self) -> (f64, f64) {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap_or_default();
        let own = read("status").lines().find_map(|l| l.strip_prefix("RssAnon:").map(str::to_owned));
        let kib = own.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0);
        let stat = read("stat");
        let ticks: Vec<f64> =
            stat.rsplit(')').next().unwrap_or("").split_whitespace().filter_map(|f| f.parse().ok()).collect();
        let cpu = (ticks.get(10).copied().unwrap_or(0.0) + ticks.get(11).copied().unwrap_or(0.0)) / 100.0;
        (kib / 1024.0, cpu)
    }

    fn end(self) -> anyhow::Result<()> {
        match self {
            Host::Process(mut child) => {
                drop(child.stdin.take());
                ensure!(child.wait()?.success(), "the serving process failed");
            }
            Host::Thread(stop, thread) => {
                stop.trigger();
                thread.join().map_err(|_| anyhow::anyhow!("the serving thread panicked"))??;
            }
        }
        Ok(())
    }
}

/// A WebSocket frame of a server (not masked): opcode, payload, bytes in all; `None` while it is not whole.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (len, head): (usize, usize) = match second & 0x7F {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        len => (usize::from(len), 2),
    };
    Some((first & 0x0F, bytes.get(head..head.checked_add(len)?)?, head + len))
}

/// One client with what it has read and not used.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(addr: SocketAddr, path: &str, receive_buffer: Option<u32>) -> anyhow::Result<Client> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let mut stream = socket.connect(addr).await.context("connect a client")?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {addr}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = Vec::with_capacity(16 << 10);
        loop {
            ensure!(stream.read_buf(&mut buffer).await? > 0, "the server closed during the handshake");
            if let Some(end) = memchr::memmem::find(&buffer, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
                ensure!(head.starts_with("HTTP/1.1 101"), "no WebSocket: {head}");
                buffer.drain(..end + 4);
                return Ok(Client { stream, buffer });
            }
        }
    }

    /// Reads once and hands every whole message to `hear` with the time after the read; false at the end.
    async fn read(&mut self, mut hear: impl FnMut(u64, u8, &[u8])) -> anyhow::Result<bool> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Ok(false);
        }
        let now = clock().mono_ns;
        let mut used = 0;
        let mut pong = None;
        while let Some((opcode, payload, bytes)) = self.buffer.get(used..).and_then(frame) {
            if opcode == 9 {
                // Masked with zeros, as long as a ping may be.
                let mut answer = vec![0x8A, 0x80 | payload.len() as u8 & 0x7F, 0, 0, 0, 0];
                answer.extend_from_slice(payload);
                pong = Some(answer);
            }
            hear(now, opcode, payload);
            used += bytes;
        }
        self.buffer.drain(..used);
        if let Some(pong) = pong {
            self.stream.write_all(&pong).await?;
        }
        Ok(true)
    }
}

/// Time, symbol and last trade id of the states of open minutes in a message.
fn states(now: u64, payload: &[u8], native: bool, out: &mut Vec<[u64; 3]>) {
    if native {
        for at in memchr::memmem::find_iter(payload, b"\"symbol\":\"S") {
            let object = &payload[at..];
            let object = &object[..memchr::memchr(b'}', object).unwrap_or(object.len())];
            if memchr::memmem::find(object, b"\"final\":false").is_some() {
                let id = digits(object, b"\"last_trade_id\":");
                out.push([now, digits(object, b"\"symbol\":\"S") as u64, id as u64]);
            }
        }
    } else if memchr::memmem::find(payload, b"\"x\":false").is_some() {
        out.push([now, digits(payload, b"\"s\":\"S") as u64, digits(payload, b"\"L\":") as u64]);
    }
}

/// What the clients share with who counts.
#[derive(Default)]
struct Heard {
    states: Mutex<Vec<[u64; 3]>>,
    messages: AtomicU64,
    bytes: AtomicU64,
    ended: AtomicU64,
    stop: AtomicBool,
}

/// One phase.
struct Phase {
    name: String,
    states: Vec<[u64; 3]>,
    messages: u64,
    bytes: u64,
    seconds: f64,
    memory: f64,
    cpu: f64,
}

fn path(native: bool, symbols: impl Iterator<Item = usize>) -> String {
    if native {
        let names: Vec<String> = symbols.map(synth::name).collect();
        return format!("/v1/stream?intervals=1m&symbols={}", names.join(","));
    }
    let names: Vec<String> = symbols.map(|s| format!("{}@kline_1m", synth::name(s).to_lowercase())).collect();
    format!("/stream?streams={}", names.join("/"))
}

async fn phase(name: &str, host: &Host, heard: &Heard, seconds: u64) -> Phase {
    let take = || std::mem::take(&mut *heard.states.lock().unwrap_or_else(PoisonError::into_inner));
    let counts = || (heard.messages.load(Ordering::Relaxed), heard.bytes.load(Ordering::Relaxed));
    take();
    let (before, start, (_, cpu)) = (counts(), Instant::now(), host.used());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (states, after, (memory, cpu_after)) = (take(), counts(), host.used());
    Phase {
        name: name.to_owned(),
        states,
        messages: after.0 - before.0,
        bytes: after.1 - before.1,
        seconds: start.elapsed().as_secs_f64(),
        memory,
        cpu: cpu_after - cpu,
    }
}

/// Reads what a client was sent at last: texts that are no candles, and how it was closed.
async fn last_message(mut client: Client) -> String {
    let mut last = Vec::new();
    let read = async {
        let mut more = true;
        while more {
            let heard = client.read(|_, opcode, payload| match opcode {
                1 if payload.starts_with(b"{\"e\":\"close\"") => {
                    // Without its time, so that equal ones are equal.
                    let text = String::from_utf8_lossy(payload);
                    let (_, rest) = text.split_once(",\"code\"").unwrap_or_default();
                    last.push(format!("{{\"e\":\"close\",..,\"code\"{rest}"));
                }
                8 => {
                    let code = payload.first_chunk::<2>().map_or(0, |c| u16::from_be_bytes(*c));
                    let why = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
                    last.push(format!("close {code} {why:?}"));
                }
                _ => {}
            });
            more = heard.await.unwrap_or(false);
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), read).await.is_err() {
        last.push("the connection is still open".to_owned());
    }
    if last.is_empty() { "nothing; the connection ended".to_owned() } else { last.join(", ") }
}

/// All phases; what they gave and the last messages to stalled clients.
async fn clients(
    args: &Args,
    host: &Host,
    addr: SocketAddr,
    stalls: &[usize],
) -> anyhow::Result<(Vec<Phase>, Vec<String>, u64)> {
    let heard = Arc::new(Heard::default());
    let (empty, _) = host.used();
    for n in 0..args.clients {
        let symbols = (0..args.streams).map(|k| (n + k * 167) % args.symbols);
        let mut client = Client::connect(addr, &path(args.native, symbols), None).await?;
        let (heard, native) = (Arc::clone(&heard), args.native);
        tokio::task::spawn_local(async move {
            let mut new = Vec::new();
            while !heard.stop.load(Ordering::Relaxed) {
                let more = client
                    .read(|now, opcode, payload| {
                        if opcode == 1 {
                            heard.messages.fetch_add(1, Ordering::Relaxed);
                            heard.bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
                            states(now, payload, native, &mut new);
                        }
                    })
                    .await;
                heard.states.lock().unwrap_or_else(PoisonError::into_inner).append(&mut new);
                if !more.unwrap_or(false) {
                    heard.ended.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(if args.quick { 1 } else { 3 })).await;
    let mut phases = vec![phase("nobody stalled", host, &heard, args.seconds).await];
    println!("    server's own memory before the clients: {empty:.1} MiB");
    let mut last_messages = Vec::new();
    for stalled in stalls {
        let opened = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..*stalled {
            silent.push(Client::connect(addr, &path(args.native, 0..args.symbols), Some(4_096)).await?);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        phases.push(phase(&format!("{stalled} stalled"), host, &heard, args.seconds).await);
        // Given up ten seconds after its buffers were full; then it reads the last message.
        tokio::time::sleep((SLOW + Duration::from_secs(4)).saturating_sub(opened.elapsed())).await;
        for client in silent {
            last_messages.push(last_message(client).await);
        }
    }
    heard.stop.store(true, Ordering::Relaxed);
    Ok((phases, last_messages, heard.ended.load(Ordering::Relaxed)))
}

fn measure(place: Place, dir: &Path, args: &Args, stalls: &[usize]) -> anyhow::Result<usize> {
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir)?;
    println!(
        "\nserve: {} clients x {} streams ({}), {} symbols, {} trades/s; {} open files allowed",
        args.clients,
        args.streams,
        if args.native { "/v1/stream" } else { "@kline_1m" },
        args.symbols,
        args.per_s,
        open_files()
    );
    // Long enough for all phases; ended when they are over.
    let seconds = if args.quick { 8 } else { 60 + (args.seconds + 15) * (1 + stalls.len() as u64) };
    let load = synth::Args { dir: dir.to_owned(), per_s: args.per_s, seconds, symbols: args.symbols };
    let (host, addr, lines) = Host::start(place, dir, args.symbols)?;
    let writer = Writer::start(place, &load)?;
    while lines.recv_timeout(PATIENCE).context("the server does not get ready")? != "ready" {}
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let (phases, last_messages, ended) = local.block_on(&runtime, clients(args, &host, addr, stalls))?;
    drop(local);
    writer.stop()?;
    host.end()?;
    let shown = swaps(dir)?;
    let mut all = 0;
    for p in phases {
        let delays: Vec<u64> = p
            .states
            .iter()
            .filter_map(|[at, symbol, id]| Some(at.saturating_sub(*shown.get(&(*symbol, *id))?)))
            .collect();
        let (n, other) = (delays.len(), p.states.len() - delays.len());
        all += n;
        let l = Latency::new(delays);
        let ms = |q: f64| l.at(q) as f64 / 1e6;
        println!(
            "    {:<16} push delay p50 {:>6.2}  p99 {:>6.2}  p99.9 {:>6.2}  max {:>7.2} ms  ({n} states, {other} of no known \
             swap, {:.0} messages/s, {:.1} MB/s); server {:.1} MiB, {:.0} % of a core",
            p.name,
            ms(0.5),
            ms(0.99),
            ms(0.999),
            ms(1.0),
            p.messages as f64 / p.seconds,
            p.bytes as f64 / p.seconds / 1e6,
            p.memory,
            p.cpu / p.seconds * 100.0
        );
    }
    println!("    clients that ended before they should: {ended}");
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    for words in last_messages {
        *alike.entry(words).or_insert(0) += 1;
    }
    for (words, n) in alike {
        println!("    {n} stalled clients got last: {words}");
    }
    std::fs::remove_dir_all(dir)?;
    Ok(all)
}

/// Runs all phases, or the serving side.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(dir) = &args.server {
        open_files();
        let stop = Shutdown::new();
        let ended = stop.clone();
        // Whoever started this closes our input when it is done, or dies.
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            ended.trigger();
        });
        return server(dir, args.symbols, &stop, |line| println!("{line}"));
    }
    let dir = std::env::current_dir()?.join("target/bench-serve");
    if args.quick {
        let few = Args { clients: 20, per_s: 1_000, seconds: 2, symbols: 50, ..args.clone() };
        return measure(Place::Process, &dir, &few, &[]).map(drop);
    }
    measure(Place::Process, &dir, args, &[1, 10]).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn frames_are_cut_where_they_end_and_not_before_they_are_whole() {
        let mut bytes = vec![0x81, 126, 0, 200];
        bytes.extend([b'x'; 200]);
        assert!(frame(&bytes[..203]).is_none());
        bytes.extend([0x88, 2, 3, 240]);
        assert_eq!(frame(&bytes).map(|f| (f.0, f.1.len(), f.2)), Some((1, 200, 204)));
        assert_eq!(frame(&bytes[204..]), Some((8, &[3, 240][..], 4)));
    }

    #[test]
    fn a_few_clients_of_a_small_server_get_states_of_known_swaps() {
        let dir = tempfile::tempdir().unwrap();
        for native in [false, true] {
            let args = Args { quick: true, clients: 5, symbols: 40, per_s: 300, seconds: 2, native, ..Args::default() };
            assert!(measure(Place::Thread, &dir.path().join("serve"), &args, &[]).unwrap() > 0);
        }
    }
}
