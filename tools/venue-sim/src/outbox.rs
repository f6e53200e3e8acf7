//! What waits to be written on one connection, and the exact count of what was.
//!
//! Messages are staged after each other, written in large pieces, and counted one by one when their last byte was handed to the
//! socket; a message that the socket took only partly before it failed counts as unconfirmed.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::report::{ConnStats, Sent, lock};
use crate::server::{Shared, stopped};
use crate::ws::{Opcode, push_header};

/// How long a stop, or the orderly end of a connection, waits for a client that does not read.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);

/// A write of a dripping connection happens about this often per second.
const DRIPS_PER_S: usize = 50;

struct Message {
    payload_start: usize,
    end: usize,
    /// `None` for pings, pongs and close frames.
    sent: Option<Sent>,
}

/// The writing half of one connection.
pub(crate) struct Outbox<W> {
    writer: W,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    stats: Arc<Mutex<ConnStats>>,
    conn: u32,
    out: Vec<u8>,
    messages: Vec<Message>,
    confirmed: usize,
    drip: Option<(u32, Option<Instant>)>,
}

impl<W: AsyncWrite + Unpin> Outbox<W> {
    pub fn new(writer: W, shared: Arc<Shared>, stats: Arc<Mutex<ConnStats>>, conn: u32) -> Outbox<W> {
        let stop = shared.stop.clone();
        Outbox { writer, shared, stop, stats, conn, out: Vec::new(), messages: Vec::new(), confirmed: 0, drip: None }
    }

    /// Bytes staged and not yet written.
    pub fn staged_bytes(&self) -> usize {
        self.out.len()
    }

    /// Stages one message of several parts.
    pub fn stage(&mut self, opcode: Opcode, parts: &[&[u8]], sent: Option<Sent>) {
        push_header(&mut self.out, opcode, parts.iter().map(|part| part.len()).sum());
        let payload_start = self.out.len();
        for part in parts {
            self.out.extend_from_slice(part);
        }
        self.messages.push(Message { payload_start, end: self.out.len(), sent });
    }

    /// Writes slowly from now on.
    pub fn drip(&mut self, bytes_per_s: u32, until: Option<Instant>) {
        self.drip = Some((bytes_per_s.max(1), until));
    }

    /// Writes what is staged, then the first half of one more message, which is counted as unconfirmed.
    ///
    /// # Errors
    /// As [`Outbox::flush`].
    pub async fn flush_and_half(&mut self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        push_header(&mut self.out, opcode, payload.len());
        self.out.extend_from_slice(payload.get(..payload.len() / 2).unwrap_or(&[]));
        self.flush().await?;
        lock(&self.stats).counters().unconfirmed += 1;
        Ok(())
    }

    /// Writes everything staged and counts what went out, also when the socket fails half-way.
    ///
    /// # Errors
    /// When the socket fails, takes nothing for the patience of [`crate::Access`], or not all within [`GOODBYE`] after the
    /// stop.
    pub async fn flush(&mut self) -> io::Result<()> {
        let mut done = 0;
        let result = loop {
            let Some(rest) = self.out.get(done..).filter(|rest| !rest.is_empty()) else {
                break self.writer.flush().await;
            };
            let drip = self.drip.filter(|(_, until)| until.is_none_or(|until| until > Instant::now()));
            let piece = drip.map_or(rest, |(bytes_per_s, _)| {
                rest.get(..(bytes_per_s as usize / DRIPS_PER_S).max(1)).unwrap_or(rest)
            });
            let mut stop = self.stop.clone();
            let wrote = tokio::select! {
                biased;
                wrote = self.writer.write(piece) => wrote,
                () = async {
                    stopped(&mut stop).await;
                    tokio::time::sleep(GOODBYE).await;
                } => Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not read before the stop")),
                () = tokio::time::sleep(self.shared.access.patience()) => {
                    Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not read for too long"))
                }
            };
            let bytes = match wrote {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => bytes,
                Err(error) => break Err(error),
            };
            done += bytes;
            self.confirm(done);
            if let Some((bytes_per_s, _)) = drip {
                tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / f64::from(bytes_per_s))).await;
            }
        };
        if result.is_err() {
            let start =
                self.confirmed.checked_sub(1).and_then(|last| self.messages.get(last)).map_or(0, |last| last.end);
            let cut = self.messages.get(self.confirmed).is_some_and(|message| message.sent.is_some()) && done > start;
            lock(&self.stats).counters().unconfirmed += u64::from(cut);
        }
        self.out.clear();
        self.messages.clear();
        self.confirmed = 0;
        result
    }

    /// Ends the sending direction.
    pub async fn shutdown(&mut self) {
        // The connection is over either way.
        let _ = self.writer.shutdown().await;
    }

    fn confirm(&mut self, done: usize) {
        let mut stats = lock(&self.stats);
        while let Some(message) = self.messages.get(self.confirmed).filter(|message| message.end <= done) {
            if let Some(sent) = message.sent {
                let payload = self.out.get(message.payload_start..message.end).unwrap_or(&[]);
                stats.confirm(sent, payload);
                if let Some(transcript) = &self.shared.transcript
                    && let Err(error) = transcript.append(self.conn, payload)
                {
                    self.shared.fail(format!("write the transcript: {error}"));
                }
            }
            self.confirmed += 1;
        }
    }
}
