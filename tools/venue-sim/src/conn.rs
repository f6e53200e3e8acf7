//! One WebSocket connection: replies, pings, data, faults, and the exact count of what went out.
//!
//! A reader task cuts the client's bytes into messages; everything else happens on the connection's own task, which alone writes.
//! A message is counted when its last byte was handed to the socket.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::binance::{Reaction, Session};
use crate::faults::{Action, FaultId, Garbage};
use crate::report::{ConnStats, Sent, lock, wall_ns};
use crate::server::{Shared, stopped};
use crate::socket::Wire;
use crate::venue::{Batch, BatchFrame, Order, Outlet, Venue};
use crate::ws::{Decoder, Inbound, Opcode, close_payload, push_header};

/// Bytes gathered before a write. 256 KiB: more gave nothing on loopback.
const WRITE_BYTES: usize = 256 << 10;

/// How long the orderly end waits for the client's half.
const GOODBYE: Duration = Duration::from_secs(2);

/// Everything a new connection starts with.
pub(crate) struct Setup {
    pub venue: Arc<Venue>,
    pub shared: Arc<Shared>,
    pub session: Session,
    /// Source streams that the path subscribed.
    pub added: Vec<u32>,
    pub path: String,
    /// Bytes that came behind the request head.
    pub leftover: Vec<u8>,
    pub wire: Wire,
    pub id: u32,
    pub number: u32,
}

enum FromClient {
    Message(Inbound),
    Violation(&'static str),
    Gone(String),
}

/// Why a connection ends.
struct End(String);

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End(format!("the socket failed: {error}"))
    }
}

struct Silence {
    until: Option<Instant>,
    stream: Option<String>,
    pings: bool,
}

struct Message {
    payload_start: usize,
    end: usize,
    /// `None` for pings, pongs and close frames.
    sent: Option<Sent>,
}

struct Conn<W> {
    writer: W,
    venue: Arc<Venue>,
    shared: Arc<Shared>,
    session: Session,
    stats: Arc<Mutex<ConnStats>>,
    outlet: Outlet,
    wire: Wire,
    stop: watch::Receiver<bool>,
    out: Vec<u8>,
    messages: Vec<Message>,
    confirmed: usize,
    /// Data frames staged since the connection opened.
    frames: u64,
    triggers: VecDeque<(u64, FaultId)>,
    silences: Vec<Silence>,
    drops: Vec<(u64, Option<String>)>,
    duplicates: u64,
    drip: Option<(u32, Option<Instant>)>,
    answers_pings: bool,
    last_pong: Instant,
    heard: VecDeque<Instant>,
}

/// Serves a connection after its handshake until it ends.
pub(crate) async fn run<S>(stream: S, setup: Setup)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Setup { venue, shared, session, added, path, leftover, wire, id, number } = setup;
    let (read_half, writer) = tokio::io::split(stream);
    let (heard_tx, mut heard) = mpsc::channel(256);
    let reader = tokio::spawn(read(read_half, leftover, heard_tx));
    let (batches_tx, mut batches) = mpsc::channel(crate::play::QUEUE_BATCHES);
    let (orders_tx, mut orders) = mpsc::unbounded_channel();
    let outlet = Outlet {
        id,
        number,
        path: path.clone(),
        batches: batches_tx,
        orders: orders_tx,
        pending: Arc::default(),
        subscribed: Arc::default(),
    };
    let stats = Arc::new(Mutex::new(ConnStats::open(id, number, &path)));
    lock(&venue.stats).push(stats.clone());
    let triggers = shared.board.triggers(&venue.id, number, &path).into();
    let mut conn = Conn {
        writer,
        stop: shared.stop.clone(),
        session,
        stats,
        outlet: outlet.clone(),
        wire,
        out: Vec::new(),
        messages: Vec::new(),
        confirmed: 0,
        frames: 0,
        triggers,
        silences: Vec::new(),
        drops: Vec::new(),
        duplicates: 0,
        drip: None,
        answers_pings: true,
        last_pong: Instant::now(),
        heard: VecDeque::new(),
        venue: venue.clone(),
        shared,
    };
    lock(&venue.outlets).push(outlet);
    conn.routes_changed(&added, &[]);
    let End(end) = conn.drive(&mut heard, &mut batches, &mut orders).await;
    lock(&venue.outlets).retain(|outlet| outlet.id != id);
    venue.subscribe(&[], &conn.session.delivered());
    // Both halves go before the statistics say closed, so that a reset is on the wire by then.
    reader.abort();
    let _ = reader.await;
    let Conn { writer, wire, stats, .. } = conn;
    drop((writer, wire));
    lock(&stats).close(&end);
}

async fn read<R: AsyncRead + Unpin>(mut half: R, leftover: Vec<u8>, heard: mpsc::Sender<FromClient>) {
    let mut decoder = Decoder::new(leftover);
    loop {
        loop {
            let message = match decoder.next() {
                Ok(Some(message)) => FromClient::Message(message),
                Ok(None) => break,
                Err(violation) => FromClient::Violation(violation),
            };
            let is_last = matches!(message, FromClient::Violation(_));
            if heard.send(message).await.is_err() || is_last {
                return;
            }
        }
        let gone = match half.read_buf(decoder.buffer()).await {
            Ok(0) => "the client closed the TCP connection".to_owned(),
            Ok(_) => continue,
            Err(error) => format!("the client went away: {error}"),
        };
        let _ = heard.send(FromClient::Gone(gone)).await;
        return;
    }
}

impl<W: AsyncWrite + Unpin> Conn<W> {
    async fn drive(
        &mut self,
        heard: &mut mpsc::Receiver<FromClient>,
        batches: &mut mpsc::Receiver<Arc<Batch>>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> End {
        let beat = &self.venue.heartbeat;
        let interval =
            Duration::from_millis(beat.ping_interval_ms.unwrap_or_else(|| self.venue.market.ping_interval_ms()).max(1));
        let timeout =
            Duration::from_millis(beat.pong_timeout_ms.unwrap_or_else(|| self.venue.market.pong_timeout_ms()));
        let mut next_ping = Instant::now() + interval;
        let mut stop = self.stop.clone();
        loop {
            let result = tokio::select! {
                biased;
                () = stopped(&mut stop) => {
                    self.goodbye(1001, "", heard).await;
                    return End("the simulation stopped".to_owned());
                }
                Some(order) = orders.recv() => match order {
                    Order::Act(action) => self.act(action, None, heard).await,
                    Order::Await(frames, id) => {
                        self.triggers.push_back((frames, id));
                        self.triggers.make_contiguous().sort_by_key(|(frames, _)| *frames);
                        Ok(())
                    }
                },
                message = heard.recv() => match message {
                    Some(FromClient::Message(message)) => self.hear(message, heard).await,
                    Some(FromClient::Violation(violation)) => {
                        self.goodbye(1002, violation, heard).await;
                        Err(End(format!("the client broke the protocol: {violation}")))
                    }
                    Some(FromClient::Gone(gone)) => Err(End(gone)),
                    None => Err(End("the reader ended".to_owned())),
                },
                () = tokio::time::sleep_until(next_ping) => {
                    next_ping = Instant::now() + interval;
                    if self.last_pong.elapsed() > timeout {
                        self.goodbye(1008, "Pong timeout", heard).await;
                        Err(End("no pong came in time".to_owned()))
                    } else {
                        self.ping().await
                    }
                }
                Some(batch) = batches.recv() => {
                    let result = self.send_batch(&batch, heard).await;
                    self.outlet.pending.fetch_sub(1, Ordering::AcqRel);
                    result
                }
            };
            if let Err(end) = result {
                return end;
            }
        }
    }

    async fn ping(&mut self) -> Result<(), End> {
        self.expire();
        if !self.answers_pings || self.silences.iter().any(|silence| !silence.pings) {
            return Ok(());
        }
        let payload = (wall_ns() / 1_000_000).to_string();
        self.stage(Opcode::Ping, payload.as_bytes(), None);
        lock(&self.stats).counters().pings_sent += 1;
        self.flush().await
    }

    async fn hear(&mut self, message: Inbound, heard: &mut mpsc::Receiver<FromClient>) -> Result<(), End> {
        let now = Instant::now();
        self.heard.push_back(now);
        while self.heard.front().is_some_and(|&at| now.duration_since(at) > Duration::from_secs(1)) {
            self.heard.pop_front();
        }
        let limit = self.venue.limits.messages_per_s.unwrap_or_else(|| self.venue.market.messages_per_s());
        if self.venue.limits.enforce && message.opcode != Opcode::Close && self.heard.len() > limit as usize {
            self.goodbye(1008, "Too many requests", heard).await;
            return Err(End("the client sent too many messages".to_owned()));
        }
        match message.opcode {
            Opcode::Text => {
                lock(&self.stats).counters().client_messages += 1;
                let streams_max =
                    if self.venue.limits.enforce { self.venue.limits.streams_per_connection } else { usize::MAX };
                let Reaction { reply, added, removed, close } =
                    self.session.on_text(&message.payload, &self.venue.universe, streams_max);
                self.routes_changed(&added, &removed);
                if let Some(reply) = reply {
                    self.stage(Opcode::Text, reply.as_bytes(), Some(Sent::Control));
                    self.flush().await?;
                }
                if let Some((code, reason)) = close {
                    self.goodbye(code, reason, heard).await;
                    return Err(End(format!("closed with {code} {reason}")));
                }
                Ok(())
            }
            Opcode::Ping if self.answers_pings => {
                self.stage(Opcode::Pong, &message.payload, None);
                self.flush().await
            }
            Opcode::Pong => {
                self.last_pong = now;
                lock(&self.stats).counters().pongs_received += 1;
                Ok(())
            }
            Opcode::Close => {
                let code = message.payload.get(..2).and_then(|b| b.try_into().ok()).map(u16::from_be_bytes);
                self.stage(Opcode::Close, &message.payload, None);
                let _ = self.flush().await;
                let _ = self.writer.shutdown().await;
                Err(End(code
                    .map_or_else(|| "the client closed".to_owned(), |code| format!("the client closed with {code}"))))
            }
            _ => Ok(()),
        }
    }

    /// Makes new delivered names and the subscription counts known.
    fn routes_changed(&mut self, added: &[u32], removed: &[u32]) {
        {
            let mut stats = lock(&self.stats);
            for (index, name) in self.session.names.iter().enumerate() {
                stats.name(index as u32, name);
            }
        }
        self.outlet.subscribed.store(self.session.delivers(), Ordering::Release);
        if !added.is_empty() || !removed.is_empty() {
            self.venue.subscribe(added, removed);
        }
    }

    async fn send_batch(&mut self, batch: &Batch, heard: &mut mpsc::Receiver<FromClient>) -> Result<(), End> {
        self.expire();
        for (index, frame) in batch.frames.iter().enumerate() {
            while self.triggers.front().is_some_and(|(frames, _)| *frames <= self.frames) {
                let Some((_, id)) = self.triggers.pop_front() else { break };
                self.flush().await?;
                let next =
                    batch.frames.get(index..).unwrap_or(&[]).iter().find(|f| !self.session.routes(f.stream).is_empty());
                if let Some(action) = self.shared.board.fire(id) {
                    self.act(action, next.map(|frame| batch.combined(frame)), heard).await?;
                }
            }
            self.stage_frame(batch, frame);
            if self.out.len() >= WRITE_BYTES {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    fn stage_frame(&mut self, batch: &Batch, frame: &BatchFrame) {
        let plain = self.silences.is_empty() && self.drops.is_empty() && self.duplicates == 0;
        for at in 0..self.session.routes(frame.stream).len() {
            let Some(&route) = self.session.routes(frame.stream).get(at) else { continue };
            let name = self.session.names.get(route.name as usize).map_or("", String::as_str);
            if !plain && withheld(&self.silences, &mut self.drops, name) {
                lock(&self.stats).counters().withheld += 1;
                continue;
            }
            let copies = if plain || self.duplicates == 0 { 1 } else { 2 };
            self.duplicates -= copies - 1;
            for _ in 0..copies {
                let sent = Sent::Data { name: route.name, ids: frame.ids };
                self.frames += 1;
                let data = batch.data(frame);
                let payload_bytes = match (self.session.combined, route.exact) {
                    (false, _) => data.len(),
                    (true, true) => (frame.end - frame.start) as usize,
                    (true, false) => data.len() + name.len() + REWRITTEN_BYTES,
                };
                push_header(&mut self.out, Opcode::Text, payload_bytes);
                let payload_start = self.out.len();
                match (self.session.combined, route.exact) {
                    (false, _) => self.out.extend_from_slice(data),
                    (true, true) => self.out.extend_from_slice(batch.combined(frame)),
                    (true, false) => {
                        for part in [br#"{"stream":""#.as_slice(), name.as_bytes(), br#"","data":"#, data, b"}"] {
                            self.out.extend_from_slice(part);
                        }
                        lock(&self.stats).counters().rewritten += 1;
                    }
                }
                self.messages.push(Message { payload_start, end: self.out.len(), sent: Some(sent) });
            }
        }
    }

    fn stage(&mut self, opcode: Opcode, payload: &[u8], sent: Option<Sent>) {
        push_header(&mut self.out, opcode, payload.len());
        let payload_start = self.out.len();
        self.out.extend_from_slice(payload);
        self.messages.push(Message { payload_start, end: self.out.len(), sent });
    }

    /// Writes everything staged and counts what went out, also when the socket fails half-way.
    async fn flush(&mut self) -> Result<(), End> {
        let mut done = 0;
        let result = loop {
            let Some(rest) = self.out.get(done..).filter(|rest| !rest.is_empty()) else {
                break self.writer.flush().await;
            };
            let (piece, pause) = match self.drip {
                Some((bytes_per_s, _)) => {
                    let piece_bytes = (bytes_per_s as usize / 50).clamp(1, rest.len());
                    let pause_s = piece_bytes as f64 / f64::from(bytes_per_s.max(1));
                    (rest.get(..piece_bytes).unwrap_or(rest), Duration::from_secs_f64(pause_s))
                }
                None => (rest, Duration::ZERO),
            };
            let mut stop = self.stop.clone();
            let wrote = tokio::select! {
                biased;
                wrote = self.writer.write(piece) => wrote,
                () = async {
                    stopped(&mut stop).await;
                    tokio::time::sleep(GOODBYE).await;
                } => Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not read before the stop")),
            };
            match wrote {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => done += bytes,
                Err(error) => break Err(error),
            }
            self.confirm(done);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
                self.expire();
            }
        };
        if result.is_err() {
            let next = self.messages.get(self.confirmed);
            let cut = next.is_some_and(|message| message.sent.is_some())
                && message_begun(&self.messages, self.confirmed, done);
            lock(&self.stats).counters().unconfirmed += u64::from(cut);
        }
        self.out.clear();
        self.messages.clear();
        self.confirmed = 0;
        Ok(result?)
    }

    fn confirm(&mut self, done: usize) {
        let mut stats = lock(&self.stats);
        while let Some(message) = self.messages.get(self.confirmed).filter(|message| message.end <= done) {
            if let Some(sent) = message.sent {
                let payload = self.out.get(message.payload_start..message.end).unwrap_or(&[]);
                stats.confirm(sent, payload);
                if let Some(transcript) = &self.shared.transcript
                    && let Err(error) = transcript.append(self.outlet.id, payload)
                {
                    self.shared.fail(format!("write the transcript: {error}"));
                }
            }
            self.confirmed += 1;
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        self.silences.retain(|silence| silence.until.is_none_or(|until| until > now));
        if self.drip.is_some_and(|(_, until)| until.is_some_and(|until| until <= now)) {
            self.drip = None;
        }
    }

    async fn act(
        &mut self,
        action: Action,
        next: Option<&[u8]>,
        heard: &mut mpsc::Receiver<FromClient>,
    ) -> Result<(), End> {
        let until = |for_ms: Option<u64>| for_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        match action {
            Action::Close { code, reason } => {
                self.goodbye(code, &reason, heard).await;
                return Err(End(format!("closed on request with {code} {reason}")));
            }
            Action::Cut { half_frame } => {
                if half_frame {
                    let fallback = Garbage::TruncatedJson.payload().0.repeat(4);
                    let payload = next.unwrap_or(&fallback);
                    push_header(&mut self.out, Opcode::Text, payload.len());
                    self.out.extend_from_slice(payload.get(..payload.len() / 2).unwrap_or(&[]));
                    self.flush().await?;
                    lock(&self.stats).counters().unconfirmed += 1;
                }
                self.wire.reset_on_close().await;
                return Err(End("cut on request".to_owned()));
            }
            Action::Silence { for_ms, pings, stream } => {
                self.silences.push(Silence { until: until(for_ms), stream, pings })
            }
            Action::Garbage { what, count } => {
                for _ in 0..count {
                    let (payload, binary) = what.payload();
                    self.stage(if binary { Opcode::Binary } else { Opcode::Text }, &payload, Some(Sent::Garbage));
                }
                self.flush().await?;
            }
            Action::ServerShutdown => {
                let event = self.session.server_shutdown((wall_ns() / 1_000_000) as i64);
                self.stage(Opcode::Text, event.as_bytes(), Some(Sent::Control));
                self.flush().await?;
            }
            Action::StopPong => self.answers_pings = false,
            Action::Drip { bytes_per_s, for_ms } => self.drip = Some((bytes_per_s, until(for_ms))),
            Action::Drop { frames, stream } => self.drops.push((frames, stream)),
            Action::Duplicate { frames } => self.duplicates += frames,
            Action::Refuse { .. } | Action::HangUpgrade | Action::Rest { .. } | Action::RestDelay { .. } => {}
        }
        Ok(())
    }

    /// The orderly end: close frame, then wait a little for the client's.
    async fn goodbye(&mut self, code: u16, reason: &str, heard: &mut mpsc::Receiver<FromClient>) {
        self.drip = None;
        self.stage(Opcode::Close, &close_payload(code, reason), None);
        if self.flush().await.is_ok() {
            let _ = tokio::time::timeout(GOODBYE, async {
                while let Some(FromClient::Message(message)) = heard.recv().await {
                    if message.opcode == Opcode::Close {
                        break;
                    }
                }
            })
            .await;
        }
        let _ = self.writer.shutdown().await;
    }
}

/// Bytes that a rewritten frame has around its name and data.
const REWRITTEN_BYTES: usize = br#"{"stream":"","data":}"#.len();

/// True when a first byte of message `at` was written.
fn message_begun(messages: &[Message], at: usize, done: usize) -> bool {
    let start = at.checked_sub(1).and_then(|before| messages.get(before)).map_or(0, |before| before.end);
    done > start
}

/// Whether a fault holds this frame back; counts drops down.
fn withheld(silences: &[Silence], drops: &mut Vec<(u64, Option<String>)>, name: &str) -> bool {
    if silences.iter().any(|silence| silence.stream.as_deref().is_none_or(|stream| stream == name)) {
        return true;
    }
    drops.retain(|(left, _)| *left > 0);
    match drops.iter_mut().find(|(_, stream)| stream.as_deref().is_none_or(|stream| stream == name)) {
        Some((left, _)) => {
            *left -= 1;
            true
        }
        None => false,
    }
}
