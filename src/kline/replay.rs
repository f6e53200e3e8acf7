//! Candles again from the log: the fold of the live path over live, retained and archived segments, into a database of
//! its own. Takes no ack and sends no request; the repairer's records come in where they belong by their receive time.
//!
//! Over the whole of a log the bars are those of the live path. Of a range the first bars lack their first trades and say
//! so, as those of a recording that began there.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use serde::Serialize;
use wal_format::{Hold, OwnedRecord, Position, SegmentDirs};

use super::actor::{CandleWorker, Shown};
use super::db::{self, CandleDb, Checkpoint};
use super::error::KlineError;
use super::feed::{CandleFeed, FeedState};
use super::message::{CandleJob, Dirty, Item};
use super::registry::SymbolPeriodRegistry;
use super::store::{DoubleBufferedKlineStore, LatestSlots};
use capture::Capture;
use fold::source::{RecordSource, RecordedLog, Step};
use fold::{hold, stored_logs::logs_from};
use model::{Channel, VenueId};

/// The database below the output directory.
pub const FILE: &str = "klines.db";
/// Items handed over together.
const BATCH_ITEMS: usize = 4_096;
/// Records between two transactions: what changed meanwhile is in memory.
const COMMIT_RECORDS: u64 = 1_000_000;

/// What became of one venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VenueReport {
    /// Venue name.
    pub venue: String,
    /// Channel the candles are made of.
    pub source: String,
    /// Records read, the repairer's included.
    pub records: u64,
    /// Bars stored, each time they were.
    pub bars: u64,
    /// Ranges that the log lost.
    pub lost: u64,
}

impl std::fmt::Display for VenueReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { venue, source, records, bars, lost } = self;
        write!(f, "{venue} candles from {source}: {records} records, {bars} bars stored")?;
        if *lost > 0 { write!(f, ", {lost} ranges of the log are lost") } else { Ok(()) }
    }
}

/// The records of one log in a range of receive times.
struct Records {
    /// Segments stay until they are read.
    _holds: Vec<Hold>,
    tapes: VecDeque<(SegmentDirs, Position)>,
    log: Option<Box<dyn RecordSource>>,
    next: Option<OwnedRecord>,
    from_ns: u64,
    to_ns: u64,
    lost: u64,
}

impl Records {
    fn open(cfg: &Capture, dir: &Path, from_ns: u64, to_ns: u64) -> Result<Records, KlineError> {
        // Nobody deletes from a log that can only be read.
        let holds = hold(&cfg.archive_root(), dir, "replay --klines").unwrap_or_default();
        let tapes = logs_from(&cfg.archive_root(), dir, from_ns)?.into();
        let mut records = Records { _holds: holds, tapes, log: None, next: None, from_ns, to_ns, lost: 0 };
        records.read()?;
        Ok(records)
    }

    /// Gives the next record and reads the one after it.
    fn take(&mut self) -> Result<Option<OwnedRecord>, KlineError> {
        let taken = self.next.take();
        if taken.is_some() {
            self.read()?;
        }
        Ok(taken)
    }

    fn read(&mut self) -> Result<(), KlineError> {
        loop {
            let Some(log) = &mut self.log else {
                let Some((dirs, start)) = self.tapes.pop_front() else { return Ok(()) };
                self.log = Some(Box::new(RecordedLog::open(&dirs, start)?));
                continue;
            };
            match log.next().map_err(KlineError::Read)? {
                Step::Record(record) if record.ts_recv_ns >= self.to_ns => {
                    self.tapes.clear();
                    self.log = None;
                    return Ok(());
                }
                Step::Record(record) => {
                    if record.ts_recv_ns >= self.from_ns {
                        self.next = Some(record.owned());
                        return Ok(());
                    }
                }
                Step::Lost(lost) => {
                    tracing::warn!("candles: {lost}");
                    self.lost += 1;
                }
                // Who only looks back waits for nothing.
                Step::Tail | Step::Blocked { .. } | Step::End => self.log = None,
            }
        }
    }
}

/// One venue being folded.
struct Fold<'a> {
    id: VenueId,
    number: u32,
    feed: CandleFeed,
    items: Vec<Item>,
    worker: &'a mut CandleWorker,
    database: &'a mut dyn CandleDb,
    registry: &'a Arc<SymbolPeriodRegistry>,
    /// Symbols of the registry that the database has.
    registered: &'a mut usize,
    bars: u64,
}

impl Fold<'_> {
    fn hand_over(&mut self) {
        let items = std::mem::take(&mut self.items);
        if let Some(mut items) = self.worker.handle(CandleJob::Batch(items)) {
            items.clear();
            self.items = items;
        }
        // Nobody listens to what changed.
        self.worker.report_changes(|_, _| ());
    }

    fn commit(&mut self) -> Result<(), KlineError> {
        self.hand_over();
        let (out, answer) = sync_channel::<Dirty>(1);
        let reply = Box::new(move |dirty| {
            // The channel has room for the one answer.
            let _ = out.send(dirty);
        });
        self.worker.handle(CandleJob::Checkpoint { feed: self.number, reply });
        let dirty = answer.recv().map_err(KlineError::Gather)?;
        let all = self.registry.all();
        let registry = (0_u32..).zip(all).skip(*self.registered).collect::<Vec<_>>();
        *self.registered += registry.len();
        self.bars += dirty.bars.len() as u64;
        let checkpoint = Checkpoint {
            feed: self.id.to_string(),
            since: None,
            logs: Vec::new(),
            state: serde_json::to_string(&self.feed.state()).map_err(KlineError::WriteState)?,
            registry,
            bars: dirty.bars,
            old: dirty.old,
            marks: dirty.marks,
        };
        self.database.commit(&checkpoint).map_err(KlineError::Store)?;
        Ok(())
    }
}

/// Makes the candles of `venues` (empty = all that have a source) in a new database in the directory `out`.
///
/// # Errors
/// When the database is there already or cannot be written, or a log cannot be read.
pub fn replay(
    cfg: &Capture,
    venues: &[VenueId],
    (from_ns, to_ns): (Option<u64>, Option<u64>),
    out: &Path,
) -> Result<Vec<VenueReport>, KlineError> {
    let path = out.join(FILE);
    if path.exists() {
        return Err(KlineError::There { path });
    }
    wal_format::durable::create_dir_all(out).map_err(|source| KlineError::Make { path: out.to_owned(), source })?;
    let mut database = db::open(&format!("sqlite:{FILE}"), out)
        .map_err(|source| KlineError::Open { path, source: Box::new(source) })?;
    let registry = Arc::new(SymbolPeriodRegistry::load(database.load_registry()?));
    let shown = Shown { latest: Arc::new(LatestSlots::new()), whole: Arc::new(DoubleBufferedKlineStore::new()) };
    let mut worker = CandleWorker::new(shown);
    let mut registered = 0;
    let mut reports = Vec::new();
    for (number, (&id, &source)) in (0_u32..).zip(&cfg.candles) {
        if !venues.is_empty() && !venues.contains(&id) {
            continue;
        }
        let venue = venue::venue(id);
        let patterns = cfg.venues.get(&id).map(|v| v.symbols.clone()).unwrap_or_default();
        let feed = CandleFeed::new(venue, source, number, patterns, Arc::clone(&registry), FeedState::default())?;
        let fold = Fold {
            id,
            number,
            feed,
            items: Vec::new(),
            worker: &mut worker,
            database: database.as_mut(),
            registry: &registry,
            registered: &mut registered,
            bars: 0,
        };
        let range = (from_ns.unwrap_or(0), to_ns.unwrap_or(u64::MAX));
        reports.push(one(cfg, fold, source, range).map_err(|err| KlineError::Of { id, source: Box::new(err) })?);
    }
    Ok(reports)
}

fn one(
    cfg: &Capture,
    mut fold: Fold<'_>,
    source: Channel,
    (from_ns, to_ns): (u64, u64),
) -> Result<VenueReport, KlineError> {
    let mut main = Records::open(cfg, &cfg.wal_dir(fold.id), from_ns, to_ns)?;
    let mut repairs = Records::open(cfg, &cfg.repair_dir(fold.id), from_ns, u64::MAX)?;
    let mut records = 0_u64;
    fold.items.push(Item::Reset { feed: fold.number });
    fold.feed.resume(&mut fold.items);
    loop {
        let record = main.take()?;
        let until_ns = record.as_ref().map_or(u64::MAX, |record| record.ts_recv_ns);
        while repairs.next.as_ref().is_some_and(|held| held.ts_recv_ns <= until_ns) {
            let Some(held) = repairs.take()? else { break };
            records += 1;
            fold.feed.repair(&held.borrowed(), &mut fold.items);
        }
        let Some(record) = record else { break };
        records += 1;
        fold.feed.record(&record.borrowed(), &mut fold.items);
        if fold.items.len() >= BATCH_ITEMS {
            fold.hand_over();
        }
        if records.is_multiple_of(COMMIT_RECORDS) {
            fold.commit()?;
        }
    }
    fold.commit()?;
    let (venue, source) = (fold.id.to_string(), source.to_string());
    Ok(VenueReport { venue, source, records, bars: fold.bars, lost: main.lost + repairs.lost })
}
