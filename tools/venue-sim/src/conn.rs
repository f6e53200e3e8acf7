//! One WebSocket connection: replies, pings, data and faults.
//!
//! A reader task cuts the client's bytes into messages; everything else happens on the connection's own task, which alone writes.

mod acts;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::closes::Ending;
use crate::disorder::Disorder;
use crate::faults::{Action, FaultId};
use crate::outbox::Outbox;
use crate::protocol::{Beat, Dress, Reaction, SimSession};
use crate::report::{ConnStats, Sent, lock, wall_ns};
use crate::server::{Shared, stopped};
use crate::socket::Wire;
use crate::venue::{Batch, BatchFrame, Order, Outlet, Venue};
use crate::ws::{Decoder, Inbound, Opcode};

/// Bytes gathered before a write. 256 KiB: more gave nothing on loopback.
const WRITE_BYTES: usize = 256 << 10;

/// Everything a new connection starts with.
pub(crate) struct Setup {
    pub venue: Arc<Venue>,
    pub shared: Arc<Shared>,
    pub session: SimSession,
    /// Source streams that the path subscribed.
    pub added: Vec<u32>,
    pub path: String,
    /// Bytes that came after the request head.
    pub leftover: Vec<u8>,
    pub wire: Wire,
    pub id: u32,
    pub number: u32,
    pub stats: Arc<Mutex<ConnStats>>,
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

struct Conn<W> {
    outbox: Outbox<W>,
    venue: Arc<Venue>,
    shared: Arc<Shared>,
    session: SimSession,
    stats: Arc<Mutex<ConnStats>>,
    outlet: Outlet,
    wire: Wire,
    /// Data frames staged since the connection opened.
    frames: u64,
    triggers: VecDeque<(u64, FaultId)>,
    disorder: Disorder,
    answers_pings: bool,
    beat: Beat,
    last_sign: Instant,
    heard: VecDeque<Instant>,
    /// The end that was announced to the client.
    announced: Option<Ending>,
}

/// Serves a connection after its handshake until it ends.
pub(crate) async fn run<S>(stream: S, setup: Setup)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Setup { venue, shared, session, added, path, leftover, wire, id, number, stats } = setup;
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
        doomed: Arc::default(),
    };
    let triggers = shared.board.triggers(&venue.id, number, &path).into();
    let mut conn = Conn {
        outbox: Outbox::new(writer, shared.clone(), stats.clone(), id),
        session,
        stats,
        outlet: outlet.clone(),
        wire,
        frames: 0,
        triggers,
        disorder: Disorder::default(),
        answers_pings: true,
        beat: venue.exchange.beat(venue.market, venue.spec, &venue.heartbeat),
        last_sign: Instant::now(),
        heard: VecDeque::new(),
        announced: None,
        venue: venue.clone(),
        shared,
    };
    lock(&venue.outlets).push(outlet);
    conn.routes_changed(&added, &[]);
    let End(end) = conn.drive(&mut heard, &mut batches, &mut orders).await;
    if let Some(ending) = conn.announced.take() {
        conn.note_close(ending, true, true);
    }
    lock(&venue.outlets).retain(|outlet| outlet.id != id);
    venue.subscribe(&[], &conn.session.names().delivered());
    // Both halves go before the statistics say closed, so that a reset is on the wire by then.
    reader.abort();
    let _ = reader.await;
    let Conn { outbox, wire, stats, .. } = conn;
    drop((outbox, wire));
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
        if let Some(greeting) = self.session.greeting()
            && let Err(end) = self.react(greeting, heard).await
        {
            return end;
        }
        let mut next_look = Instant::now() + self.beat.look_every;
        let mut stop = self.shared.stop.clone();
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
                    Order::Close(planned) => self.close_as_planned(planned, None, heard).await,
                    Order::End(ending) => self.end(ending, None, heard).await,
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
                () = tokio::time::sleep_until(next_look) => {
                    next_look = Instant::now() + self.beat.look_every;
                    if self.last_sign.elapsed() > self.beat.patience {
                        let (code, reason) = self.beat.close;
                        self.goodbye(code, reason, heard).await;
                        let missed = if self.beat.any_message { "sign of life" } else { "pong" };
                        Err(End(format!("no {missed} came in time")))
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
        self.disorder.expire();
        if !self.beat.pings || !self.answers_pings || !self.disorder.pings() {
            return Ok(());
        }
        let payload = (wall_ns() / 1_000_000).to_string();
        lock(&self.stats).counters().pings_sent += 1;
        self.send(Opcode::Ping, payload.as_bytes(), None).await
    }

    async fn send(&mut self, opcode: Opcode, payload: &[u8], sent: Option<Sent>) -> Result<(), End> {
        self.outbox.stage(opcode, &[payload], sent);
        Ok(self.outbox.flush().await?)
    }

    async fn hear(&mut self, message: Inbound, heard: &mut mpsc::Receiver<FromClient>) -> Result<(), End> {
        let now = Instant::now();
        let allowance = self.venue.allowance;
        if message.opcode != Opcode::Close && self.is_one_too_many(now) && allowance.enforce {
            self.venue.doors.strike(self.wire.peer, &allowance, (wall_ns() / 1_000_000) as i64);
            let last_words = self.session.too_many_messages();
            self.react(last_words, heard).await?;
            return Err(End("the client sent too many messages".to_owned()));
        }
        if self.beat.any_message {
            self.last_sign = now;
        }
        match message.opcode {
            Opcode::Text => {
                lock(&self.stats).counters().client_messages += 1;
                if self.is_lost(&message.payload) {
                    return Ok(());
                }
                let streams_max = if allowance.enforce { allowance.streams } else { usize::MAX };
                let asked = self.session.names().count();
                let reaction = self.session.on_text(&message.payload, &self.venue, streams_max);
                if self.session.names().count() > allowance.streams.max(asked) {
                    lock(&self.venue.limits).streams_over += 1;
                }
                let is_withheld = reaction.is_pong && !(self.answers_pings && self.disorder.pings());
                if is_withheld { Ok(()) } else { self.react(reaction, heard).await }
            }
            Opcode::Ping if self.answers_pings => self.send(Opcode::Pong, &message.payload, None).await,
            Opcode::Pong => {
                self.last_sign = now;
                lock(&self.stats).counters().pongs_received += 1;
                Ok(())
            }
            Opcode::Close => {
                let code = message.payload.get(..2).and_then(|b| b.try_into().ok()).map(u16::from_be_bytes);
                let _ = self.send(Opcode::Close, &message.payload, None).await;
                self.outbox.shutdown().await;
                Err(End(code
                    .map_or_else(|| "the client closed".to_owned(), |code| format!("the client closed with {code}"))))
            }
            _ => Ok(()),
        }
    }

    /// True for a message that the server does not read, or that a fault loses.
    fn is_lost(&self, payload: &[u8]) -> bool {
        let header_bytes = match payload.len() {
            0..126 => 6,
            126..65_536 => 8,
            _ => 14,
        };
        if payload.len() + header_bytes > self.venue.allowance.message_bytes {
            lock(&self.venue.limits).messages_too_long += 1;
            if self.venue.allowance.enforce || self.venue.spec.documented.message_bytes.is_some() {
                return true;
            }
        }
        let is_request = memchr::memmem::find(payload, b"ubscribe").or(memchr::memmem::find(payload, b"SUBSCRIBE"));
        let fits = |action: &Action| matches!(action, Action::Unanswered);
        let board = &self.shared.board;
        is_request.is_some()
            && board.take_for_message(&self.venue.id, self.outlet.number, &self.outlet.path, fits).is_some()
    }

    /// Says and does what the protocol requires.
    async fn react(&mut self, reaction: Reaction, heard: &mut mpsc::Receiver<FromClient>) -> Result<(), End> {
        let Reaction { reply, added, removed, close, is_pong: _ } = reaction;
        self.routes_changed(&added, &removed);
        if let Some(reply) = reply {
            self.send(Opcode::Text, reply.as_bytes(), Some(Sent::Control)).await?;
        }
        if let Some((code, reason)) = close {
            self.goodbye(code, reason, heard).await;
            return Err(End(format!("closed with {code} {reason}")));
        }
        Ok(())
    }

    /// Counts a client message; true when it is over the limit of this connection.
    fn is_one_too_many(&mut self, now: Instant) -> bool {
        let allowance = &self.venue.allowance;
        let window = Duration::from_millis(allowance.message_window_ms);
        while self.heard.front().is_some_and(|&at| now.duration_since(at) >= window) {
            self.heard.pop_front();
        }
        self.heard.push_back(now);
        let is_over = self.heard.len() > allowance.messages as usize;
        if is_over {
            lock(&self.venue.limits).messages_over += 1;
        }
        is_over
    }

    /// Makes new delivered names and the subscription counts known.
    fn routes_changed(&mut self, added: &[u32], removed: &[u32]) {
        {
            let mut stats = lock(&self.stats);
            for (index, name) in self.session.names().delivered_as.iter().enumerate() {
                stats.name(index as u32, name);
            }
        }
        self.outlet.subscribed.store(self.session.names().delivers(), Ordering::Release);
        if !added.is_empty() || !removed.is_empty() {
            self.venue.subscribe(added, removed);
        }
    }

    async fn send_batch(&mut self, batch: &Batch, heard: &mut mpsc::Receiver<FromClient>) -> Result<(), End> {
        self.disorder.expire();
        for (index, frame) in batch.frames.iter().enumerate() {
            if self.trigger_is_due() {
                let later = batch.frames.get(index..).unwrap_or(&[]);
                let next = later.iter().find(|frame| !self.session.names().routes(frame.stream).is_empty());
                self.pull_triggers(next.map(|frame| batch.combined(frame)), heard).await?;
            }
            let staged = self.stage_frame(batch, frame);
            if staged > 0
                && let Some(planned) = self.venue.closes.count(staged)
            {
                if self.outlet.doomed.swap(true, Ordering::AcqRel) {
                    self.venue.closes.defer(planned);
                } else {
                    let later = batch.frames.get(index + 1..).unwrap_or(&[]);
                    let next = later.iter().find(|frame| !self.session.names().routes(frame.stream).is_empty());
                    self.close_as_planned(planned, next.map(|frame| batch.combined(frame)), heard).await?;
                }
            }
            if self.outbox.staged_bytes() >= WRITE_BYTES {
                self.outbox.flush().await?;
            }
        }
        self.outbox.flush().await?;
        self.pull_triggers(None, heard).await
    }

    fn trigger_is_due(&self) -> bool {
        self.triggers.front().is_some_and(|(frames, _)| *frames <= self.frames)
    }

    /// Does what waits for the frame count that is reached, after everything staged so far went out.
    async fn pull_triggers(&mut self, next: Option<&[u8]>, heard: &mut mpsc::Receiver<FromClient>) -> Result<(), End> {
        while self.trigger_is_due() {
            let Some((_, id)) = self.triggers.pop_front() else { break };
            self.outbox.flush().await?;
            if let Some(action) = self.shared.board.fire(id) {
                self.act(action, next, heard).await?;
            }
        }
        Ok(())
    }

    /// Gives the number of messages staged.
    fn stage_frame(&mut self, batch: &Batch, frame: &BatchFrame) -> u64 {
        let before = self.frames;
        for route in self.session.names().routes(frame.stream) {
            let name = self.session.names().delivered_as.get(route.name as usize).map_or("", String::as_str);
            let copies = self.disorder.copies(name);
            if copies == 0 {
                lock(&self.stats).counters().withheld += 1;
            }
            for _ in 0..copies {
                self.frames += 1;
                let sent = Some(Sent::Data { name: route.name, ids: frame.ids });
                let opcode = self.session.opcode();
                match self.session.dress(*route, batch, frame) {
                    Dress::Whole => self.outbox.stage(opcode, &[batch.combined(frame)], sent),
                    Dress::Data => self.outbox.stage(opcode, &[batch.data(frame)], sent),
                    Dress::Made(bytes) => {
                        self.outbox.stage(opcode, &[&bytes], sent);
                        lock(&self.stats).counters().rewritten += 1;
                    }
                    Dress::Renamed => {
                        let parts = [br#"{"stream":""#, name.as_bytes(), br#"","data":"#, batch.data(frame), b"}"];
                        self.outbox.stage(opcode, &parts, sent);
                        lock(&self.stats).counters().rewritten += 1;
                    }
                }
            }
        }
        self.frames - before
    }
}
