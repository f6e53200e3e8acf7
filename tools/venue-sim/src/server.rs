//! One TCP listener for everything: `/<venue>/..` REST and WebSocket, `/_sim/..` control. TLS when certificate and key are given.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use http_doors::{Gate, Places, reached_by};

use crate::access::{self, Access, HEAD_PATIENCE, REFUSAL_PATIENCE, TLS_PATIENCE};
use crate::closes::{Recipe, close_by_time};
use crate::conn::Setup;
use crate::faults::{Action, Board, Fault};
use crate::http::{Answer, BODY_BYTES_MAX, HEAD_BYTES_MAX, Head, head_end};
use crate::limits::Knock;
use crate::listing::Standing;
use crate::protocol::{Exchange, SimSession};
use crate::report::{SimReport, Transcript, lock, wall_ns};
use crate::socket::Wire;
use crate::venue::{Order, Venue};

/// What a client must take within its patience.
const PIECE_BYTES: usize = 64 << 10;

/// What every connection shares.
pub(crate) struct Shared {
    pub venues: Vec<Arc<Venue>>,
    pub board: Board,
    pub transcript: Option<Transcript>,
    pub stop: watch::Receiver<bool>,
    /// Someone asked over `POST /_sim/stop`.
    pub stop_asked: watch::Sender<bool>,
    pub next_conn: AtomicU32,
    /// Connections being served, and a bell for each that ends.
    pub open: AtomicUsize,
    pub closed: Notify,
    pub failure: Mutex<Option<String>>,
    pub access: Access,
    pub places: Arc<Places>,
    pub gate: Gate,
}

impl Shared {
    /// Notes the first failure that makes the report worthless.
    pub fn fail(&self, failure: String) {
        lock(&self.failure).get_or_insert(failure);
    }

    pub fn report(&self) -> SimReport {
        let mut report = SimReport {
            finished: self.venues.iter().all(|venue| venue.finished()),
            venues: self.venues.iter().map(|venue| (venue.id.clone(), venue.report())).collect(),
            ..SimReport::default()
        };
        report.sum();
        report
    }

    /// Arms or applies a fault; gives the number of open connections (of a listing: venues) that it reached at once.
    pub fn submit(self: &Arc<Self>, fault: Fault) -> usize {
        if let Some(ms) = fault.after_ms {
            let (shared, mut stop) = (self.clone(), self.stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(ms)) => {
                        shared.submit(Fault { after_ms: None, ..fault });
                    }
                    () = stopped(&mut stop) => {}
                }
            });
            return 0;
        }
        if let Action::RandomCloses { count, over_frames, over_ms, endings, notice_share, notice_ms, seed } =
            &fault.action
        {
            for (index, venue) in self.venues.iter().enumerate().filter(|(_, v)| fault.concerns(&v.id, fault.conn, ""))
            {
                let seed = seed.wrapping_add(index as u64);
                let recipe =
                    Recipe { count: *count, endings, notice_share: *notice_share, notice_ms: *notice_ms, seed };
                match over_frames {
                    Some(frames) => venue.closes.add(recipe.draw(*frames)),
                    None => {
                        let closes = recipe.draw(over_ms.unwrap_or(0));
                        tokio::spawn(close_by_time(venue.clone(), closes, seed, self.stop.clone()));
                    }
                }
            }
            return 0;
        }
        let standing = match &fault.action {
            Action::List { symbol } => Some((symbol, Standing::Trading)),
            Action::Delist { symbol, gone: false } => Some((symbol, Standing::Halted)),
            Action::Delist { symbol, gone: true } => Some((symbol, Standing::Absent)),
            _ => None,
        };
        if let Some((symbol, standing)) = standing {
            let concerned = self.venues.iter().filter(|venue| fault.concerns(&venue.id, fault.conn, ""));
            return concerned.filter(|venue| venue.listings.set(symbol, standing)).count();
        }
        if let Action::Spend { weight } = fault.action {
            let now_ms = (wall_ns() / 1_000_000) as i64;
            let concerned = self.venues.iter().filter(|venue| fault.concerns(&venue.id, fault.conn, ""));
            return concerned.map(|venue| venue.doors.spend(weight, &venue.allowance, now_ms)).count();
        }
        let frames = fault.after_frames;
        if frames.is_none() && !fault.action.is_for_connections() {
            self.board.arm(fault);
            return 0;
        }
        let armed = frames.map(|frames| (frames, self.board.arm(fault.clone())));
        let mut applied = 0;
        for venue in &self.venues {
            for outlet in lock(&venue.outlets).iter().filter(|o| fault.concerns(&venue.id, Some(o.number), &o.path)) {
                let order = match armed {
                    Some((frames, id)) => Order::Await(frames, id),
                    None => Order::Act(fault.action.clone()),
                };
                applied += usize::from(outlet.orders.send(order).is_ok());
            }
        }
        applied
    }
}

/// Returns when the simulation stops (or is gone).
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Accepts until the stop.
pub(crate) async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut stop = shared.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        let Ok((mut tcp, peer)) = accepted else {
            // Out of descriptors, most likely: let some connections end.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (tls, shared) = (tls.clone(), shared.clone());
        let place = match Places::take(&shared.places, peer.ip()) {
            Ok(place) => place,
            Err(full) => {
                let refusal = access::no_place(full);
                tokio::spawn(async move {
                    let refusal = async {
                        tcp.write_all(&refusal.encode()).await?;
                        tcp.shutdown().await?;
                        // What it asked is read, or closing would take the answer back.
                        tokio::io::copy(&mut tcp.take(HEAD_BYTES_MAX as u64), &mut tokio::io::sink()).await
                    };
                    timeout(REFUSAL_PATIENCE, refusal).await
                });
                continue;
            }
        };
        shared.open.fetch_add(1, Ordering::AcqRel);
        tokio::spawn(async move {
            let mut stop = shared.stop.clone();
            let serve = handle(tcp, tls, shared.clone());
            tokio::select! {
                () = serve => {}
                // A WebSocket says goodbye within this time; anything else that still hangs is dropped.
                () = async {
                    stopped(&mut stop).await;
                    tokio::time::sleep(Duration::from_secs(5)).await;
                } => {}
            }
            drop(place);
            shared.open.fetch_sub(1, Ordering::AcqRel);
            shared.closed.notify_waiters();
        });
    }
}

async fn handle(tcp: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // Small control messages must not wait for more.
    let _ = tcp.set_nodelay(true);
    let wire = Wire::of(&tcp);
    match tls {
        Some(acceptor) => {
            if let Ok(Ok(stream)) = timeout(TLS_PATIENCE, acceptor.accept(tcp)).await {
                serve(stream, wire, shared).await;
            }
        }
        None => serve(tcp, wire, shared).await,
    }
}

async fn serve<S>(mut stream: S, wire: Wire, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut stop = shared.stop.clone();
    let mut buffer = Vec::new();
    let patience = shared.access.patience();
    loop {
        let until = Instant::now() + HEAD_PATIENCE;
        let end = loop {
            if let Some(end) = head_end(&buffer) {
                break end;
            }
            if buffer.len() > HEAD_BYTES_MAX {
                let _ = write(&mut stream, &Answer::json(400, "").encode(), patience).await;
                return;
            }
            let read = tokio::select! {
                read = stream.read_buf(&mut buffer) => read,
                () = tokio::time::sleep_until(until) => return,
                () = stopped(&mut stop) => return,
            };
            if !matches!(read, Ok(bytes) if bytes > 0) {
                return;
            }
        };
        let head: Vec<u8> = buffer.drain(..end).collect();
        let Some(mut head) = Head::parse(&head) else {
            let _ = write(&mut stream, &Answer::json(400, "").encode(), patience).await;
            return;
        };
        if let Err(refusal) = access::check(&shared.gate, &head) {
            // What comes after such a request is not read.
            let _ = write(&mut stream, &refusal.with("Connection", "close").encode(), patience).await;
            return;
        }
        head.reached_by = reached_by(head.header("host"), wire.local());
        let body_bytes = head.content_length();
        if body_bytes > BODY_BYTES_MAX {
            return;
        }
        while buffer.len() < body_bytes {
            if !matches!(timeout_at(until, stream.read_buf(&mut buffer)).await, Ok(Ok(bytes)) if bytes > 0) {
                return;
            }
        }
        let body: Vec<u8> = buffer.drain(..body_bytes).collect();
        let path = head.path();
        let (first, rest) = split_first(&path);
        let venue = shared.venues.iter().find(|venue| venue.id == first).cloned();
        // A socket of KuCoin shows a token that only whoever showed ours was given.
        let shown = venue.as_ref().is_some_and(|v| head.is_upgrade() && v.exchange == Exchange::Kucoin);
        let unknown = if shown { Ok(()) } else { shared.access.check_token(&head) };
        let answer = match venue {
            _ if unknown.is_err() => unknown.err().unwrap_or_else(|| Answer::json(401, "")),
            Some(venue) if head.is_upgrade() => match upgrade(&venue, &shared, &head, rest, wire.peer) {
                Upgrade::Open(session, added) => {
                    let Some(key) = head.header("sec-websocket-key") else { return };
                    let accept = Answer::json(101, "").with("Upgrade", "websocket").with("Connection", "Upgrade");
                    let id = shared.next_conn.fetch_add(1, Ordering::AcqRel) + 1;
                    let path = strip_venue(&head.target, &venue.id);
                    let (number, stats) = venue.admit(id, &path);
                    // Admitted first, so that a client which is connected is in the report.
                    if write(&mut stream, &handshake(&accept, key), patience).await.is_err() {
                        lock(&stats).close("the client left within the handshake");
                        return;
                    }
                    let (venue, leftover) = (venue.clone(), buffer);
                    let setup = Setup { venue, shared, session, added, path, leftover, wire, id, number, stats };
                    crate::conn::run(stream, setup).await;
                    return;
                }
                Upgrade::Hang => {
                    stopped(&mut stop).await;
                    return;
                }
                Upgrade::Refuse(answer) => answer,
            },
            Some(venue) => {
                let answer = rest_answer(&venue, &shared, &head, rest, wire.peer).await;
                lock(&venue.rest).note(&strip_venue(&head.target, &venue.id), answer.status, &answer.body);
                answer
            }
            None if first == "_sim" && shared.access.control => control(&shared, &head, rest, &body),
            None => Answer::json(404, r#"{"code":0,"msg":"No such venue."}"#),
        };
        if write(&mut stream, &answer.encode(), patience).await.is_err() || !head.keeps_alive() {
            return;
        }
    }
}

/// Writes all of it; each piece must be taken within the patience.
async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], patience: Duration) -> std::io::Result<()> {
    for piece in bytes.chunks(PIECE_BYTES) {
        timeout(patience, stream.write_all(piece)).await??;
    }
    timeout(patience, stream.flush()).await?
}

/// `/binance-spot/api/v3/ping` -> (`binance-spot`, `/api/v3/ping`).
fn split_first(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.find('/').map_or((path, ""), |at| path.split_at(at))
}

fn strip_venue(target: &str, venue: &str) -> String {
    target.strip_prefix('/').and_then(|rest| rest.strip_prefix(venue)).unwrap_or(target).to_owned()
}

fn handshake(answer: &Answer, key: &str) -> Vec<u8> {
    let mut text = "HTTP/1.1 101 Switching Protocols\r\n".to_owned();
    for (name, value) in &answer.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Sec-WebSocket-Accept: {}\r\n\r\n", derive_accept_key(key.as_bytes())));
    text.into_bytes()
}

enum Upgrade {
    Open(SimSession, Vec<u32>),
    Hang,
    Refuse(Answer),
}

fn upgrade(venue: &Venue, shared: &Shared, head: &Head, path: &str, from: IpAddr) -> Upgrade {
    let now_ms = (wall_ns() / 1_000_000) as i64;
    let verdict = {
        let mut counts = lock(&venue.limits);
        venue.doors.knock(from, Knock::Upgrade, &venue.allowance, now_ms, &mut counts).1
    };
    if let Some(refusal) = crate::protocol::turned_away(venue, verdict, now_ms) {
        return Upgrade::Refuse(refusal);
    }
    let fits = |action: &Action| {
        matches!(action, Action::Refuse { .. } | Action::HangUpgrade | Action::Answer { upgrades: true, .. })
    };
    match shared.board.take_for_request(&venue.id, path, fits) {
        Some(Action::Refuse { status }) => return Upgrade::Refuse(crate::protocol::refusal(venue, status, 1, now_ms)),
        Some(Action::Answer { status, headers, body, .. }) => return Upgrade::Refuse(exactly(status, headers, body)),
        Some(_) => return Upgrade::Hang,
        None => {}
    }
    if head.header("sec-websocket-key").is_none() || head.method != "GET" {
        return Upgrade::Refuse(Answer::json(400, ""));
    }
    match SimSession::open(venue, head, path) {
        Ok((session, added)) => Upgrade::Open(session, added),
        Err(refusal) => Upgrade::Refuse(refusal),
    }
}

/// What a fault says, word for word.
fn exactly(status: u16, headers: Vec<(String, String)>, body: String) -> Answer {
    Answer { status, headers, body: body.into_bytes() }
}

async fn rest_answer(venue: &Venue, shared: &Shared, head: &Head, path: &str, from: IpAddr) -> Answer {
    let delay = shared.board.take_for_request(&venue.id, path, |action| matches!(action, Action::RestDelay { .. }));
    if let Some(Action::RestDelay { ms }) = delay {
        let mut stop = shared.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms)) => {}
            () = stopped(&mut stop) => {}
        }
    }
    let now_ms = (wall_ns() / 1_000_000) as i64;
    let fits = |action: &Action| matches!(action, Action::Rest { .. } | Action::Answer { upgrades: false, .. });
    match shared.board.take_for_request(&venue.id, path, fits) {
        Some(Action::Answer { status, headers, body, .. }) => exactly(status, headers, body),
        Some(Action::Rest { status, retry_after_s }) => crate::protocol::refusal(venue, status, retry_after_s, now_ms),
        _ => crate::protocol::answer(venue, head, path, from, now_ms),
    }
}

fn control(shared: &Arc<Shared>, head: &Head, path: &str, body: &[u8]) -> Answer {
    match (head.method.as_str(), path) {
        ("GET", "/report") => match serde_json::to_vec(&shared.report()) {
            Ok(report) => Answer::json(200, report),
            Err(error) => Answer::json(500, error.to_string()),
        },
        ("POST", "/fault") => match crate::faults::parse(body) {
            Ok(faults) => {
                let applied: usize = faults.into_iter().map(|fault| shared.submit(fault)).sum();
                Answer::json(200, format!(r#"{{"applied":{applied}}}"#))
            }
            Err(error) => Answer::json(400, serde_json::json!({ "error": error.to_string() }).to_string()),
        },
        ("POST", "/stop") => {
            shared.stop_asked.send_replace(true);
            Answer::json(200, "{}")
        }
        _ => Answer::json(404, r#"{"error":"GET /_sim/report, POST /_sim/fault, POST /_sim/stop"}"#),
    }
}

/// Waits until no connection is served any more, or the deadline.
pub(crate) async fn all_closed(shared: &Shared, deadline: Instant) {
    loop {
        let closed = shared.closed.notified();
        if shared.open.load(Ordering::Acquire) == 0 || Instant::now() >= deadline {
            return;
        }
        let _ = tokio::time::timeout(Duration::from_millis(20), closed).await;
    }
}
