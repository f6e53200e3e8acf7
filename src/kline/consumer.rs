//! The second reader of a venue's logs: tail, fold, hand over, checkpoint, acknowledge.
//!
//! ```text
//!  wal/<venue>, wal/<venue>.repair --records, by receive time--> Feed --items--> worker
//!  every flush_interval: Checkpoint --worker--> bars --database thread--> one transaction --> acks "klines"
//! ```
//! Bars, feed state and positions go into the database in one transaction, so after a kill the candles and the
//! place in the log agree, and the feed goes on exactly there. The acknowledgement comes after the commit and
//! only lets segments go. Writing is another thread's work: reading goes on meanwhile, one checkpoint at a time.
//! Whatever fails, the feed begins anew at its last checkpoint, as after a crash.

mod checkpoint;
mod commit;
mod reading;

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc::UnboundedSender;
use wal_format::{AckFile, Position};

use self::commit::Acks;
pub(super) use self::commit::{Commit, write};
use self::reading::Reading;
use super::feed::{Feed, FeedState};
use super::hub::KlineHub;
use super::message::Item;
use super::seeder::Want;
use crate::compact::Mode;
use crate::config::{Config, KLINES_READER};
use crate::shutdown::Shutdown;
use crate::supervise::{Supervisor, Task};
use crate::venue::{Channel, Venue, VenueId};

/// Items of one batch at most: enough that a symbol has several of them. The end of the log ends a batch too.
const BATCH_ITEMS: usize = 4_096;
/// Between two looks for a log that is not there yet.
const LOOK: Duration = Duration::from_millis(200);
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// One venue's feed.
pub(super) struct Consumer {
    pub cfg: Arc<Config>,
    pub id: VenueId,
    pub venue: &'static dyn Venue,
    pub source: Channel,
    pub number: u32,
    pub hub: Arc<KlineHub>,
    pub empties: Arc<Mutex<Receiver<Vec<Item>>>>,
    pub commits: SyncSender<Commit>,
    /// Whom to ask for the beginnings of first bars; `None` where nobody can be asked.
    pub seeder: Option<UnboundedSender<Want>>,
    pub mode: Mode,
    pub supervisor: Supervisor,
    pub shutdown: Shutdown,
}

impl Consumer {
    /// Works until asked to stop, or until the logs are worked off.
    ///
    /// # Errors
    /// While draining: the first failure. Else it is tried again.
    pub fn run(&self) -> anyhow::Result<()> {
        let mut pause = RETRY_FIRST;
        self.hub.feed(self.id, |f| f.source = self.source.to_string());
        loop {
            let started = Instant::now();
            let Err(err) = self.watched_session() else {
                self.show("stopped", None);
                return Ok(());
            };
            if started.elapsed() > RETRY_MAX {
                pause = RETRY_FIRST;
            }
            let text = format!("{err:#}");
            tracing::warn!(venue = %self.id, error = text, wait_ms = pause.as_millis(),
                "candles failed, starting over from the last checkpoint");
            self.show("retrying", Some(text));
            if self.mode == Mode::Drain {
                return Err(err.context(format!("candles of {}", self.id)));
            }
            if self.sleep(pause) {
                return Ok(());
            }
            self.supervisor.again(Task::Candles, self.id.as_str());
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// A session; its panic is told at once, and then an error like others: nothing of its memory is used again.
    fn watched_session(&self) -> anyhow::Result<()> {
        self.supervisor.attempt(Task::Candles, self.id.as_str(), || self.session())?
    }

    fn show(&self, activity: &str, reason: Option<String>) {
        self.hub.feed(self.id, |f| {
            activity.clone_into(&mut f.activity);
            f.reason = reason;
        });
    }

    /// Sleeps; true when asked to stop meanwhile.
    fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.shutdown.requested() {
            std::thread::sleep(Duration::from_millis(20).min(time));
        }
        self.shutdown.requested()
    }

    fn session(&self) -> anyhow::Result<()> {
        let main_dir = self.cfg.wal_dir(self.id);
        let Some(uuid) = self.wait_for_log(&main_dir)? else { return Ok(()) };
        let acks = Acks { main: Some(take_place(&main_dir)?), repair: None };
        let saved = self.hub.saved_feed(self.id.as_str())?.unwrap_or_default();
        let place = |log: &str, uuid: [u8; 16]| {
            let found = saved.logs.iter().find(|l| l.log == log && l.log_uuid == uuid);
            found.map_or(Position::START, |l| l.position)
        };
        let state: FeedState = match saved.state.as_str() {
            "" | "null" => FeedState::default(),
            text => serde_json::from_str(text).context("read the stored state of the feed")?,
        };
        let registry = self.hub.registry().clone();
        let patterns = self.cfg.venues.get(&self.id).map(|v| v.symbols.clone()).unwrap_or_default();
        let feed = Feed::new(self.venue, self.source, self.number, patterns, registry, state)?;
        let mut reading = Reading::new(self, feed, uuid, acks, &place)?;
        reading.restore()?;
        reading.run()
    }

    /// The log's uuid once there is one; `None` when asked to stop before, or when draining without a log.
    fn wait_for_log(&self, dir: &Path) -> anyhow::Result<Option<[u8; 16]>> {
        loop {
            if let Some(uuid) = log_uuid(dir)? {
                return Ok(Some(uuid));
            }
            self.show("waiting", Some(format!("there is no log of {} yet", self.id)));
            if self.mode == Mode::Drain || self.sleep(LOOK) {
                return Ok(None);
            }
        }
    }

    fn empty(&self) -> Vec<Item> {
        self.empties
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(BATCH_ITEMS))
    }
}

fn log_uuid(dir: &Path) -> anyhow::Result<Option<[u8; 16]>> {
    if !dir.is_dir() {
        return Ok(None);
    }
    let lineage = wal_format::lineage(dir).with_context(|| format!("look at {}", dir.display()))?;
    Ok(lineage.map(|lineage| lineage.log_uuid()))
}

fn take_place(dir: &Path) -> anyhow::Result<AckFile> {
    AckFile::open(dir, KLINES_READER)
        .with_context(|| format!("take the place of reader {KLINES_READER} in {}", dir.display()))
}
