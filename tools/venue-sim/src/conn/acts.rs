//! What a fault does on one connection: closes, cuts, silences, garbage; planned closes with their notice; the orderly end.

use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Conn, End, FromClient};
use crate::closes::{CloseReport, Ending, Planned};
use crate::faults::{Action, Garbage};
use crate::outbox::GOODBYE;
use crate::report::{Sent, lock, wall_ns};
use crate::venue::Order;
use crate::ws::{Opcode, close_payload};

impl<W: AsyncWrite + Unpin> Conn<W> {
    /// Ends the connection, or announces that it will end.
    pub(super) async fn close_as_planned(
        &mut self,
        planned: Planned,
        next: Option<&[u8]>,
        heard: &mut mpsc::Receiver<FromClient>,
    ) -> Result<(), End> {
        self.outbox.flush().await?;
        // An exchange without such an event ends its connections unannounced.
        let notice = planned.notice_ms.filter(|_| self.session.shutdown_notice(0).is_some());
        let Some(notice_ms) = notice else { return self.end(planned.ending, next, heard).await };
        self.act(Action::ServerShutdown, None, heard).await?;
        self.announced = Some(planned.ending);
        let orders = self.outlet.orders.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(notice_ms)).await;
            let _ = orders.send(Order::End(planned.ending));
        });
        Ok(())
    }

    pub(super) async fn end(
        &mut self,
        ending: Ending,
        next: Option<&[u8]>,
        heard: &mut mpsc::Receiver<FromClient>,
    ) -> Result<(), End> {
        let action = match ending {
            Ending::Close => Action::Close { code: 1001, reason: String::new() },
            Ending::Cut => Action::Cut { half_frame: false },
            Ending::HalfFrame => Action::Cut { half_frame: true },
        };
        self.act(action, next, heard).await
    }

    pub(super) fn note_close(&mut self, ending: Ending, notice: bool, left_first: bool) {
        let report = lock(&self.stats).report();
        let last_ids = report.streams.into_iter().filter_map(|(name, stream)| Some((name, stream.last_id?))).collect();
        lock(&self.venue.closed).push(CloseReport {
            conn: report.id,
            number: report.number,
            ending,
            notice,
            left_first,
            at_ns: wall_ns(),
            frames_sent: report.frames_sent,
            last_ids,
        });
    }

    pub(super) async fn act(
        &mut self,
        action: Action,
        next: Option<&[u8]>,
        heard: &mut mpsc::Receiver<FromClient>,
    ) -> Result<(), End> {
        let until = |for_ms: Option<u64>| for_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        match action {
            Action::Close { code, reason } => {
                let notice = self.announced.take().is_some();
                self.note_close(Ending::Close, notice, false);
                self.goodbye(code, &reason, heard).await;
                return Err(End(format!("closed on request with {code} {reason}")));
            }
            Action::Cut { half_frame } => {
                let notice = self.announced.take().is_some();
                self.note_close(if half_frame { Ending::HalfFrame } else { Ending::Cut }, notice, false);
                if half_frame {
                    let fallback = Garbage::TruncatedJson.payload().0.repeat(4);
                    let opcode = self.session.opcode();
                    self.outbox.flush_and_half(opcode, next.unwrap_or(&fallback)).await?;
                }
                self.wire.reset_on_close().await;
                return Err(End("cut on request".to_owned()));
            }
            Action::Silence { for_ms, pings, stream } => self.disorder.silence(until(for_ms), stream, pings),
            Action::Garbage { what, count } => {
                let (payload, binary) = what.payload();
                for _ in 0..count {
                    let opcode = if binary { Opcode::Binary } else { Opcode::Text };
                    self.outbox.stage(opcode, &[&payload], Some(Sent::Garbage));
                }
                self.outbox.flush().await?;
            }
            Action::ServerShutdown => {
                if let Some(notice) = self.session.shutdown_notice((wall_ns() / 1_000_000) as i64) {
                    self.send(Opcode::Text, notice.as_bytes(), Some(Sent::Control)).await?;
                }
            }
            Action::StopPong => self.answers_pings = false,
            Action::Drip { bytes_per_s, for_ms } => self.outbox.drip(bytes_per_s, until(for_ms)),
            Action::Drop { frames, stream } => self.disorder.drop(frames, stream),
            Action::Duplicate { frames } => self.disorder.double(frames),
            // These never reach a connection.
            Action::RandomCloses { .. }
            | Action::List { .. }
            | Action::Delist { .. }
            | Action::Refuse { .. }
            | Action::HangUpgrade
            | Action::Unanswered
            | Action::Rest { .. }
            | Action::Answer { .. }
            | Action::Spend { .. }
            | Action::RestDelay { .. } => {}
        }
        Ok(())
    }

    /// The orderly end: close frame, then wait a little for the client's.
    pub(super) async fn goodbye(&mut self, code: u16, reason: &str, heard: &mut mpsc::Receiver<FromClient>) {
        if self.send(Opcode::Close, &close_payload(code, reason), None).await.is_ok() {
            let _ = tokio::time::timeout(GOODBYE, async {
                while let Some(FromClient::Message(message)) = heard.recv().await {
                    if message.opcode == Opcode::Close {
                        break;
                    }
                }
            })
            .await;
        }
        self.outbox.shutdown().await;
    }
}
