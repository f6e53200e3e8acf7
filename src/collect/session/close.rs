//! The end of a connection: closed as the protocol wants it, drained, written down.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_util::Sink;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tracing::debug;
use wal_format::Kind;

use super::{Cause, Ending, VenueSession};
use model::record::{self, ConnClose};
use ops::clock::Stamp;

/// How long a closing handshake may take; what arrives meanwhile is appended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

impl VenueSession {
    /// Ends the connection: closes the socket where it is still open, appends what arrives until the other side
    /// has closed too, and writes the ConnClose record. A second call does nothing.
    pub(crate) async fn finish(&mut self, cause: Cause) {
        if self.ending != Ending::Open {
            return;
        }
        if !self.beside {
            self.write_silence(Stamp::now().0, &[], true);
        }
        self.ending = Ending::Closing(cause);
        match cause {
            Cause::Shutdown | Cause::Rotate | Cause::Log => {
                self.close_and_drain(CLOSE_TIMEOUT, CloseCode::Normal).await
            }
            // The answer to the server's close frame goes out with the next polls.
            Cause::Server => self.drain(CLOSE_TIMEOUT).await,
            Cause::Stale => self.close_and_drain(Duration::from_millis(500), CloseCode::Away).await,
            Cause::Lost => {}
        }
        self.write_end(cause);
    }

    fn write_end(&mut self, cause: Cause) {
        self.ending = Ending::Written;
        let uptime = self.opened.elapsed();
        let record = ConnClose {
            cause: cause.as_str(),
            code: self.close.as_ref().map(|(code, _)| *code),
            reason: self.close.as_ref().map(|(_, reason)| reason.as_str()),
            error: self.error.as_deref(),
            frames: self.received.frames,
            bytes: self.received.bytes,
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        };
        // A log that takes no records says so itself.
        let _ = self.feed.log.append(Stamp::now(), self.conn, Kind::ConnClose, 0, &record::to_json(&record));
        debug!(venue = %self.feed.id, conn = self.conn, slot = self.place.number, line = self.place.line, cause = cause.as_str(), "closed");
    }

    async fn close_and_drain(&mut self, limit: Duration, code: CloseCode) {
        let frame = CloseFrame { code, reason: "".into() };
        if Pin::new(&mut self.socket).start_send(Message::Close(Some(frame))).is_ok() {
            self.flush = true;
            self.drain(limit).await;
        }
    }

    async fn drain(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while let Ok(None) = tokio::time::timeout_at(deadline, poll_fn(|cx| self.poll_receive(cx))).await {
            // Whoever floods us is always ready: the time-out alone would never have its turn.
            if self.log_stopped || Instant::now() >= deadline {
                break;
            }
        }
        if let Some(seq) = self.received.last_seq.take() {
            // A failing disk is reported by the log.
            let _ = self.feed.log.wait_durable(seq);
        }
    }
}

impl Drop for VenueSession {
    /// A task that panicked, or was aborted, leaves no connection without its end in the log.
    fn drop(&mut self) {
        match self.ending {
            Ending::Written => {}
            Ending::Closing(cause) => self.write_end(cause),
            Ending::Open => {
                self.error.get_or_insert_with(|| "the connection's task ended".to_owned());
                self.end_gaps(&BTreeSet::new());
                self.write_end(Cause::Lost);
            }
        }
    }
}
