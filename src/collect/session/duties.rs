//! What is due by the clock: the next subscription, the answers to them, silence, the end of the planned life.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Sink;
use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tracing::warn;
use wal_format::Kind;

use super::super::log::{LogStopped, Stamp};
use super::super::metrics::ConnState;
use super::super::record::{self, Subscribe};
use super::{CHECK_EVERY, Cause, GapStart, Rotation, Session, Step, write_gap};
use crate::telemetry::RateLimited;
use crate::venue::Channel;

/// Acknowledgements that have not come by then are reported and not waited for any longer.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);

static SILENT: RateLimited = RateLimited::new(Duration::from_secs(60));
static UNANSWERED: RateLimited = RateLimited::new(Duration::from_secs(30));

impl Session {
    /// Does what is due at `now`.
    pub(super) fn timers(&mut self, now: Instant) -> Option<Step> {
        if self.send_at.is_some_and(|at| at <= now) {
            if let Err(cause) = self.send_next(now) {
                return Some(Step::Ended(cause));
            }
            self.plan_send(now);
        }
        if let Rotation::Wanted(reason) = self.rotation {
            self.rotation = Rotation::Told;
            return Some(Step::Rotate(reason));
        }
        if !self.live && self.requests.is_empty() {
            let all = self.answered >= self.sent;
            if all || now.saturating_duration_since(self.last_sent) >= ACK_TIMEOUT {
                if !all && let Some(suppressed) = UNANSWERED.allow() {
                    warn!(venue = %self.feed.id, conn = self.conn, sent = self.sent, answered = self.answered,
                        suppressed, "subscriptions were not acknowledged");
                }
                return Some(self.became_live(now));
            }
        }
        if now < self.next_check {
            return None;
        }
        self.next_check = now + CHECK_EVERY;
        self.report_silence(now);
        if let Some(silent) = self.watchdog.stale(now) {
            let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
            self.feed.metrics.stale.add(1);
            let _ = self.feed.log.event(self.conn, "stale", json!({ "silent_ms": silent_ms }));
            self.error = Some(format!("nothing arrived for {silent_ms} ms"));
            return Some(Step::Ended(Cause::Stale));
        }
        if now >= self.ends_at && self.rotation == Rotation::No {
            self.rotation = Rotation::Told;
            return Some(Step::Rotate("lifetime"));
        }
        None
    }

    pub(super) fn became_live(&mut self, now: Instant) -> Step {
        self.live = true;
        self.watchdog.subscribed(now);
        self.feed.metrics.state(self.slot, ConnState::Live);
        if let Some(gap) = self.gap.take() {
            self.write_gap(gap);
        }
        if self.feed.config.channels.contains(&Channel::DepthSnapshot) {
            let depth = self.plan.wants.iter().filter(|w| w.channel == Channel::Depth);
            self.feed.snapshots.want(depth.map(|w| w.symbol.as_str()));
        }
        Step::Live
    }

    fn write_gap(&self, gap: GapStart) {
        // A log that stopped has said so.
        let _ = write_gap(&self.feed, self.conn, gap, &self.plan.streams);
    }

    fn report_silence(&mut self, now: Instant) {
        let silent = self.watchdog.silent_streams(now, &self.streams);
        let Some(first) = silent.first() else { return };
        self.feed.metrics.silent_streams.add(silent.len() as u64);
        if let Some(suppressed) = SILENT.allow() {
            warn!(venue = %self.feed.id, conn = self.conn, stream = first.stream, frames = first.frames,
                silent_ms = first.silent_ms, count = silent.len(), suppressed, "streams are silent");
        }
        let _ = self.feed.log.event(self.conn, "stream_silent", json!({ "streams": silent }));
    }

    /// When the next request may go: within this connection's and the host's pace.
    pub(super) fn plan_send(&mut self, now: Instant) {
        self.send_at = (!self.requests.is_empty()).then(|| {
            // The host may grant a later time than asked for; that one counts for this connection too, or two
            // requests that both waited for the host would leave too close to each other.
            let granted = self.feed.pace.control.reserve(self.messages.earliest(now, 1), 1);
            self.messages.reserve(granted, 1)
        });
    }

    fn send_next(&mut self, now: Instant) -> Result<(), Cause> {
        let Some(request) = self.requests.pop_front() else { return Ok(()) };
        let payload = record::json(&Subscribe { request: &request });
        let appended = self.feed.log.append(Stamp::now(), self.conn, Kind::Subscribe, 0, &payload);
        appended.map_err(|LogStopped| Cause::Log)?;
        self.sent += 1;
        self.last_sent = now;
        self.flush = true;
        Pin::new(&mut self.socket).start_send(Message::text(request)).map_err(|err| self.lost(&err))
    }
}
