//! The second reader of a venue's logs: tail, fold, hand over, checkpoint, acknowledge.
//!
//! ```text
//!  wal/<venue>, wal/<venue>.repair --records, by receive time--> Feed --items--> worker
//!  every flush_interval: Checkpoint --worker--> bars --database thread--> one transaction --> acks "klines"
//! ```
//! Bars, feed state and positions go into the database in one transaction, so after a kill the candles and the
//! place in the log agree, and the feed goes on exactly there. The acknowledgement comes after the commit and
//! only lets segments go. Writing is another thread's work: reading goes on meanwhile, one checkpoint at a time.
//! Whatever fails, the feed restarts at its last checkpoint, as after a crash. A database that is not the one that was
//! acknowledged, or not of this log, is reported, and what it lacks is marked ([`resume_point`]).

mod checkpoint;
mod commit;
mod reading;
mod restore;
mod resume_point;
mod session;

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use wal_format::{Ack, Checkpoint, Lineage};

pub(super) use self::commit::{Commit, write};
#[cfg(test)]
pub(super) use self::restore::restore;
pub(super) use self::resume_point::Break;
use self::resume_point::ResumePoint;
use super::db::CandleDb;
use super::error::KlineError;
use super::hub::{BreakReport, KlineHub};
use super::message::Item;
use super::seeder::SeedRequest;
use crate::settings::Config;
use capture::{Capture, KLINES_READER};
use fold::Mode;
use fold::source::{AckStore, LocalAck};
use model::{Channel, VenueId};
use ops::clock;
use ops::shutdown::Shutdown;
use ops::supervise::Supervisor;
use venue::Venue;

/// Items of one batch at most: enough that a symbol has several of them. The end of the log ends a batch too.
const BATCH_ITEMS: usize = 4_096;

/// One venue's feed.
pub(super) struct Consumer {
    pub cfg: Arc<Config>,
    pub id: VenueId,
    pub venue: &'static Venue,
    pub source: Channel,
    pub number: u32,
    pub hub: Arc<KlineHub>,
    pub empties: Arc<Mutex<Receiver<Vec<Item>>>>,
    pub commits: SyncSender<Commit>,
    /// Seeder of first bars; `None` where the venue gives no seeds.
    pub seeder: Option<UnboundedSender<SeedRequest>>,
    pub mode: Mode,
    pub supervisor: Supervisor,
    pub shutdown: Shutdown,
    /// What was found at the start, for the first session to report.
    pub found: Mutex<Option<(Break, String)>>,
}

impl Consumer {
    fn show(&self, activity: &str, reason: Option<String>) {
        self.hub.feed(self.id, |f| {
            activity.clone_into(&mut f.activity);
            f.reason = reason;
        });
    }

    /// Of whom the conditions of these candles are.
    pub(crate) fn condition(&self) -> String {
        format!("candles of {}", self.id)
    }

    /// Sleeps; true when it must stop meanwhile.
    fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.shutdown.requested() {
            std::thread::sleep(Duration::from_millis(20).min(time));
        }
        self.shutdown.requested()
    }

    /// Says that the candles do not simply go on.
    fn report(&self, why: Break, text: String) {
        tracing::warn!(venue = %self.id, reason = why.as_str(), "{text}");
        let report = BreakReport { at_ns: clock::wall_ns(), reason: why.as_str(), text };
        self.hub.feed(self.id, |f| f.record_break(report));
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
fn lineage(dir: &Path) -> Result<Option<Lineage>, KlineError> {
    if !dir.is_dir() {
        return Ok(None);
    }
    wal_format::lineage(dir).map_err(|source| KlineError::Lineage { dir: dir.to_owned(), source })
}

/// What is acknowledged, if it can be read: a damaged ack lets nothing go, and says nothing.
fn stored_ack(file: Option<&LocalAck>) -> Option<Ack> {
    file?.acked().ok().flatten()
}

/// Takes back what is acknowledged of the logs of a feed and is not in the database: before anything is deleted for it.
/// Returns what that means, which the ack does not show any more.
///
/// # Errors
/// When the database or a log cannot be read, or an ack not be stored.
pub(super) fn hold_back(
    cfg: &Capture,
    id: VenueId,
    database: &mut dyn CandleDb,
) -> Result<Option<(Break, String)>, KlineError> {
    let saved = database.load_feed(id.as_str())?;
    let mut broken = None;
    for (name, dir) in [("main", cfg.wal_dir(id)), ("repair", cfg.repair_dir(id))] {
        let Some(lineage) = lineage(&dir)? else { continue };
        let mut file = take_place(&dir)?;
        let Some(ack) = stored_ack(Some(&file)) else { continue };
        let ResumePoint { from, broken: found, .. } = ResumePoint::of(saved.as_ref(), name, &lineage, Some(&ack));
        broken = broken.or(found);
        if lineage.check(&Checkpoint::from(&ack)).is_ok() && ack.position.seq > from.seq {
            let incarnation = lineage.incarnation_of(from.seq.epoch()).unwrap_or_default();
            let at = Checkpoint { log_uuid: lineage.log_uuid(), incarnation, position: from };
            file.take_back(&at, "the database does not reach further").map_err(KlineError::TakeBack)?;
        }
    }
    Ok(broken)
}

fn take_place(dir: &Path) -> Result<LocalAck, KlineError> {
    LocalAck::open(dir, KLINES_READER).map_err(|source| KlineError::Place {
        reader: KLINES_READER,
        dir: dir.to_owned(),
        source: Box::new(source),
    })
}
