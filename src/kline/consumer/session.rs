//! The life of a feed: sessions, each from the last checkpoint on, until it must stop.

use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use wal_format::{Lineage, error_chain};

use super::commit::Acks;
use super::reading::Reading;
use super::resume_point::ResumePoint;
use super::{Consumer, lineage, stored_ack, take_place};
use crate::error::KlineError;
use crate::feed::{CandleFeed, FeedState};
use fold::Mode;
use fold::source::LiveLog;
use ops::health::Reason;
use ops::supervise::Task;

/// Between two looks for a log that is not there yet.
const LOOK: Duration = Duration::from_millis(200);
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

impl Consumer {
    /// Works until it must stop, or until the logs are worked off.
    ///
    /// # Errors
    /// While draining: the first failure. Else it is tried again.
    pub fn run(&self) -> Result<(), KlineError> {
        let mut pause = RETRY_FIRST;
        self.hub.feed(self.id, |f| f.source = self.source.to_string());
        loop {
            let Err(err) = self.watched_session() else {
                self.show("stopped", None);
                return Ok(());
            };
            let conditions = self.supervisor.conditions();
            if conditions.text(Reason::StartingOver, &self.condition()).is_none() {
                pause = RETRY_FIRST;
            }
            let text = error_chain(&err);
            if err.stopped() {
                self.show("stopped", Some(text));
                return Err(KlineError::Of { id: self.id, source: Box::new(err) });
            }
            tracing::warn!(venue = %self.id, error = text, wait_ms = pause.as_millis(),
                "candles failed, starting over from the last checkpoint");
            let what = format!("the candles failed, and nothing is stored of them since: {text}");
            conditions.raise(Reason::StartingOver, &self.condition(), what);
            self.show("retrying", Some(text));
            if self.mode == Mode::Drain {
                return Err(KlineError::Of { id: self.id, source: Box::new(err) });
            }
            if self.sleep(pause) {
                return Ok(());
            }
            self.supervisor.again(Task::Candles, self.id.as_str());
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// A session; its panic is reported at once, and then an error like others: nothing of its memory is used again.
    fn watched_session(&self) -> Result<(), KlineError> {
        self.supervisor.attempt(Task::Candles, self.id.as_str(), || self.session())?
    }

    fn session(&self) -> Result<(), KlineError> {
        let main_dir = self.cfg.capture.wal_dir(self.id);
        let Some(lineage) = self.wait_for_log(&main_dir)? else { return Ok(()) };
        let acks = Acks { main: Some(take_place(&main_dir)?), repair: None };
        let saved = self.hub.saved_feed(self.id.as_str())?;
        let ack = stored_ack(acks.main.as_ref());
        let mut resume_point = ResumePoint::of(saved.as_ref(), "main", &lineage, ack.as_ref());
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        resume_point.broken = resume_point.broken.or(found);
        let saved = saved.unwrap_or_default();
        let state: FeedState = match saved.state.as_str() {
            "" | "null" => FeedState::default(),
            text => serde_json::from_str(text).map_err(KlineError::ReadState)?,
        };
        let registry = self.hub.registry().clone();
        let patterns = self.cfg.capture.venues.get(&self.id).map(|v| v.symbols.clone()).unwrap_or_default();
        let feed = CandleFeed::new(self.venue, self.source, self.number, patterns, registry, state)?;
        let mut reading = Reading::new(self, feed, &saved, lineage.log_uuid(), acks, resume_point, LiveLog::open)?;
        reading.restore()?;
        reading.run()
    }

    /// Whose log it is once there is one; `None` when it must stop before, or when draining without a log.
    fn wait_for_log(&self, dir: &Path) -> Result<Option<Lineage>, KlineError> {
        loop {
            if let Some(lineage) = lineage(dir)? {
                return Ok(Some(lineage));
            }
            self.show("waiting", Some(format!("there is no log of {} yet", self.id)));
            if self.mode == Mode::Drain || self.sleep(LOOK) {
                return Ok(None);
            }
        }
    }
}
