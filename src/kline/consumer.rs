//! The second reader of a venue's logs: tail, fold, hand over, checkpoint, acknowledge.
//!
//! ```text
//!  wal/<venue>, wal/<venue>.repair --records, by receive time--> Feed --items--> worker
//!  every flush_interval: Checkpoint --worker--> bars --database thread--> one transaction --> acks "klines"
//! ```
//! Bars, feed state and positions go into the database in one transaction, so after a kill the candles and the
//! place in the log agree, and the feed goes on exactly there. The acknowledgement comes after the commit and
//! only lets segments go. Writing is another thread's work: reading goes on meanwhile, one checkpoint at a time.
//! Whatever fails, the feed begins anew at its last checkpoint, as after a crash. A database that is not the one that was
//! acknowledged, or not of this log, is told, and what it lacks is marked ([`standing`]).

mod checkpoint;
mod commit;
mod reading;
mod restore;
mod standing;

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc::UnboundedSender;
use wal_format::{Ack, AckFile, Checkpoint, Lineage};

use self::commit::Acks;
pub(super) use self::commit::{Commit, write};
use self::reading::Reading;
#[cfg(test)]
pub(super) use self::restore::restore;
pub(super) use self::standing::Break;
use self::standing::Standing;
use super::db::CandleDb;
use super::feed::{Feed, FeedState};
use super::hub::{KlineHub, Told};
use super::message::Item;
use super::seeder::Want;
use config::{Config, KLINES_READER};
use fold::Mode;
use model::{Channel, VenueId};
use ops::clock;
use ops::shutdown::Shutdown;
use ops::supervise::{Supervisor, Task};
use venue::Venue;

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
    /// What was found at the start, for the first session to tell.
    pub found: Mutex<Option<(Break, String)>>,
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
        let Some(lineage) = self.wait_for_log(&main_dir)? else { return Ok(()) };
        let acks = Acks { main: Some(take_place(&main_dir)?), repair: None };
        let saved = self.hub.saved_feed(self.id.as_str())?;
        let ack = stored_ack(acks.main.as_ref());
        let mut standing = Standing::of(saved.as_ref(), "main", &lineage, ack.as_ref());
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        standing.told = standing.told.or(found);
        let saved = saved.unwrap_or_default();
        let state: FeedState = match saved.state.as_str() {
            "" | "null" => FeedState::default(),
            text => serde_json::from_str(text).context("read the stored state of the feed")?,
        };
        let registry = self.hub.registry().clone();
        let patterns = self.cfg.venues.get(&self.id).map(|v| v.symbols.clone()).unwrap_or_default();
        let feed = Feed::new(self.venue, self.source, self.number, patterns, registry, state)?;
        let mut reading = Reading::new(self, feed, &saved, lineage.log_uuid(), acks, standing)?;
        reading.restore()?;
        reading.run()
    }

    /// Says that the candles do not simply go on.
    fn tell(&self, why: Break, text: String) {
        tracing::warn!(venue = %self.id, reason = why.as_str(), "{text}");
        let told = Told { at_ns: clock::wall_ns(), reason: why.as_str(), text };
        self.hub.feed(self.id, |f| f.tell(told));
    }

    /// Whose log it is once there is one; `None` when asked to stop before, or when draining without a log.
    fn wait_for_log(&self, dir: &Path) -> anyhow::Result<Option<Lineage>> {
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

    fn empty(&self) -> Vec<Item> {
        self.empties
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(BATCH_ITEMS))
    }
}

/// Whose log it is, once something was written to it.
fn lineage(dir: &Path) -> anyhow::Result<Option<Lineage>> {
    if !dir.is_dir() {
        return Ok(None);
    }
    wal_format::lineage(dir).with_context(|| format!("tell whose log {} is", dir.display()))
}

/// What is acknowledged, if it can be read: a damaged ack lets nothing go, and says nothing.
fn stored_ack(file: Option<&AckFile>) -> Option<Ack> {
    file?.load().ok().flatten()
}

/// Takes back what is acknowledged of the logs of a feed and is not in the database: before anything is deleted for it.
/// Returns what that means, which the ack does not show any more.
///
/// # Errors
/// When the database or a log cannot be read, or an ack not be stored.
pub(super) fn hold_back(
    cfg: &Config,
    id: VenueId,
    database: &mut dyn CandleDb,
) -> anyhow::Result<Option<(Break, String)>> {
    let saved = database.load_feed(id.as_str())?;
    let mut told = None;
    for (name, dir) in [("main", cfg.wal_dir(id)), ("repair", cfg.repair_dir(id))] {
        let Some(lineage) = lineage(&dir)? else { continue };
        let mut file = take_place(&dir)?;
        let Some(ack) = stored_ack(Some(&file)) else { continue };
        let Standing { from, told: found, .. } = Standing::of(saved.as_ref(), name, &lineage, Some(&ack));
        told = told.or(found);
        if lineage.check(&Checkpoint::from(&ack)).is_ok() && ack.position.seq > from.seq {
            let incarnation = lineage.incarnation_of(from.seq.epoch()).unwrap_or_default();
            let note = "the database does not reach further".to_owned();
            let ack = Ack { log_uuid: lineage.log_uuid(), incarnation, position: from, generation: 0, note };
            file.store(&ack).context("take back the ack")?;
        }
    }
    Ok(told)
}

fn take_place(dir: &Path) -> anyhow::Result<AckFile> {
    AckFile::open(dir, KLINES_READER)
        .with_context(|| format!("take the place of reader {KLINES_READER} in {}", dir.display()))
}
