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

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use wal_format::{Ack, AckFile, Position, RecordRef, Step};

use super::db::{CandleDb, Checkpoint, SavedPosition};
use super::feed::{Feed, FeedState};
use super::generator::KEPT;
use super::held::Held;
use super::hub::KlineHub;
use super::interval::Interval;
use super::message::{Dirty, Item, Job};
use super::seeder::{Found, Want};
use crate::clock;
use crate::compact::Mode;
use crate::compact::failpoint::fail_point;
use crate::compact::tail::Tail;
use crate::config::Config;
use crate::shutdown::Shutdown;
use crate::venue::{Channel, Venue, VenueId};

/// Name of this reader's acks.
pub const READER: &str = "klines";
/// Items of one batch at most: enough that a symbol has several of them. The end of the log ends a batch too.
const BATCH_ITEMS: usize = 4_096;
/// Records between two looks at the time and the shutdown request.
const STRIDE: usize = 1_024;
/// Between two looks for a log that is not there yet, and at what the venue told of first bars.
const LOOK: Duration = Duration::from_millis(200);
/// Between two looks for the repairer's log and at what is left to read: they list directories.
const STATUS: Duration = Duration::from_secs(1);
/// Looks without a record before a drain believes in the end.
const DRAIN_LOOKS: u32 = 8;
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What the database thread is to do.
pub(super) struct Commit {
    checkpoint: Checkpoint,
    acks: Arc<Mutex<Acks>>,
    done: SyncSender<anyhow::Result<()>>,
}

/// The acks of one feed's logs.
#[derive(Default)]
struct Acks {
    main: Option<AckFile>,
    repair: Option<AckFile>,
}

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
    pub shutdown: Shutdown,
}

/// Writes checkpoints until all feeds are gone.
pub(super) fn write(mut db: Box<dyn CandleDb>, commits: &Receiver<Commit>) {
    while let Ok(Commit { checkpoint, acks, done }) = commits.recv() {
        fail_point!("klines.before_commit");
        let result = db.commit(&checkpoint).context("store candles").and_then(|_| {
            fail_point!("klines.after_commit");
            let mut acks = acks.lock().unwrap_or_else(PoisonError::into_inner);
            for log in &checkpoint.logs {
                let file = if log.log == "main" { acks.main.as_mut() } else { acks.repair.as_mut() };
                let Some(file) = file else { continue };
                let ack = Ack {
                    log_uuid: log.log_uuid,
                    position: log.position,
                    generation: 0,
                    note: "candles stored".to_owned(),
                };
                file.store(&ack).context("store the ack")?;
            }
            Ok(())
        });
        fail_point!("klines.after_ack");
        // Nobody listens only when the feed has ended.
        let _ = done.send(result);
    }
}

/// One log of the feed.
struct Log {
    name: &'static str,
    uuid: [u8; 16],
    tail: Tail,
}

impl Log {
    fn saved(&self) -> SavedPosition {
        SavedPosition { log: self.name.to_owned(), log_uuid: self.uuid, position: self.tail.reader.position() }
    }
}

/// What a look at a log gave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    More,
    Tail,
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
            let Err(err) = self.session() else {
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
            pause = (pause * 2).min(RETRY_MAX);
        }
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
        let acks = Arc::new(Mutex::new(Acks { main: Some(take_place(&main_dir)?), repair: None }));
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
        let (reply, found) = unbounded_channel();
        let main = Log { name: "main", uuid, tail: Tail::open(&main_dir, place("main", uuid))? };
        let mut reading = Reading {
            consumer: self,
            feed,
            logs: vec![main],
            held: None,
            seen_ns: 0,
            repair_dir: self.cfg.repair_dir(self.id),
            acks,
            items: self.empty(),
            pending: None,
            waiting: false,
            registered: 0,
            records: 0,
            checkpoint_at: Instant::now(),
            look_at: Instant::now(),
            status_at: Instant::now(),
            live: false,
            place: &place,
            reply,
            found,
        };
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
    let segments = wal_format::list_segments(dir).with_context(|| format!("list {}", dir.display()))?;
    Ok(segments.iter().find_map(|s| s.log_uuid))
}

fn take_place(dir: &Path) -> anyhow::Result<AckFile> {
    AckFile::open(dir, READER).with_context(|| format!("take the place of reader {READER} in {}", dir.display()))
}

/// Folds a record of the venue's log; while `live`, with what tells how long its trades were on their way.
#[inline]
fn fold(feed: &mut Feed, items: &mut Vec<Item>, live: bool, record: &RecordRef<'_>) {
    let before = items.len();
    feed.record(record, items);
    if live {
        let new = items.get(before..).unwrap_or_default();
        let trades = new.iter().filter(|i| matches!(i, Item::Tick(_))).count();
        if let (1.., Ok(trades)) = (trades, u32::try_from(trades)) {
            items.push(Item::Received { ns: record.ts_recv_ns, trades });
        }
    }
}

/// One run from a checkpoint on.
struct Reading<'a> {
    consumer: &'a Consumer,
    feed: Feed,
    logs: Vec<Log>,
    /// The next record of the repairer's log.
    held: Option<Held>,
    /// Receive time of the last record of the venue's log, ns.
    seen_ns: u64,
    repair_dir: PathBuf,
    acks: Arc<Mutex<Acks>>,
    items: Vec<Item>,
    /// The checkpoint that is being written.
    pending: Option<(Receiver<anyhow::Result<()>>, u64)>,
    /// In front of a crash tail.
    waiting: bool,
    /// Symbols of the registry that the database has.
    registered: usize,
    records: u64,
    checkpoint_at: Instant,
    look_at: Instant,
    status_at: Instant,
    /// What is read now was written while this runs: what it took until it is visible says something.
    live: bool,
    place: &'a dyn Fn(&str, [u8; 16]) -> Position,
    /// Answers of the seeder to this run.
    reply: UnboundedSender<Found>,
    found: UnboundedReceiver<Found>,
}

impl Reading<'_> {
    /// Puts the stored bars of this feed's symbols back into the worker.
    fn restore(&mut self) -> anyhow::Result<()> {
        let (hub, number) = (&self.consumer.hub, self.consumer.number);
        self.registered = hub.stored_registry()?.len();
        self.items.push(Item::Reset { feed: number });
        for (symbol_index, entry) in (0_u32..).zip(hub.registry().all()) {
            if entry.venue != self.consumer.id.as_str() {
                continue;
            }
            self.items.push(Item::Own { symbol_index, feed: number });
            let trades = hub.registry().facts(symbol_index).is_none_or(|facts| facts.trading);
            if !trades || self.feed.is_unrecorded(&entry.symbol) {
                self.items.push(Item::Halt { symbol_index, halted: true });
            }
            for interval in Interval::ALL {
                let bars = hub.stored_newest(&entry.venue, &entry.symbol, interval, KEPT[interval.index()] + 1)?;
                if !bars.is_empty() {
                    self.items.push(Item::Restore { symbol_index, feed: number, interval, bars });
                }
            }
            self.hand_over();
        }
        self.feed.resume(&mut self.items);
        self.hand_over();
        Ok(())
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let mut quiet = 0;
        self.find_repairs()?;
        self.repairs(0)?;
        loop {
            if self.consumer.shutdown.requested() {
                return self.finish();
            }
            let mut look = self.read()?;
            let until_ns = if look == Look::Tail { u64::MAX } else { self.seen_ns };
            if self.repairs(until_ns)? == Look::More {
                look = Look::More;
            }
            self.settle()?;
            if look == Look::Tail {
                self.hand_over();
                quiet += 1;
                if self.consumer.mode == Mode::Drain && quiet >= DRAIN_LOOKS {
                    return self.finish();
                }
            } else {
                quiet = 0;
            }
            let now = Instant::now();
            if now >= self.look_at {
                self.look_at = now + LOOK;
                self.seeds();
            }
            if now >= self.status_at {
                self.status_at = now + STATUS;
                self.find_repairs()?;
                self.status(look);
            }
            let every = Duration::from_secs(self.consumer.cfg.klines.flush_interval_s);
            if self.pending.is_none() && now >= self.checkpoint_at + every {
                self.checkpoint_at = now;
                self.checkpoint()?;
            }
            if look == Look::Tail
                && let Some(log) = self.logs.first_mut()
            {
                log.tail.pause(Duration::from_millis(5));
            }
        }
    }

    /// Reads what is there of the venue's log, at most a stride, with the repairer's records where they belong by
    /// their receive time: so the candles do not depend on which of the two logs was read faster.
    fn read(&mut self) -> anyhow::Result<Look> {
        for _ in 0..STRIDE {
            let Some(log) = self.logs.first_mut() else { return Ok(Look::Tail) };
            match log.tail.reader.next()? {
                Step::Record(record) => {
                    self.waiting = false;
                    self.seen_ns = record.ts_recv_ns;
                    if self.held.as_ref().is_some_and(|held| held.ts_recv_ns <= record.ts_recv_ns) {
                        let record = Held::of(&record);
                        log.tail.progressed();
                        while self.repairs(record.ts_recv_ns)? == Look::More {}
                        fold(&mut self.feed, &mut self.items, self.live, &record.record());
                    } else {
                        fold(&mut self.feed, &mut self.items, self.live, &record);
                        log.tail.progressed();
                    }
                    self.records += 1;
                    if self.items.len() >= BATCH_ITEMS {
                        self.hand_over();
                    }
                }
                // The ids of the trades behind it tell what is missing.
                Step::Lost(lost) => {
                    tracing::warn!(venue = %self.consumer.id, "candles: {lost}");
                }
                Step::Tail => {
                    self.live = true;
                    return Ok(Look::Tail);
                }
                Step::AwaitRepair { segment } => {
                    if let Some(why) = log.tail.await_repair(segment)? {
                        self.waiting = true;
                        self.consumer.show("waiting", Some(why));
                        return Ok(Look::Tail);
                    }
                }
            }
        }
        Ok(Look::More)
    }

    /// Takes the repairer's records received up to `until_ns`, at most a stride, and holds the next one.
    fn repairs(&mut self, until_ns: u64) -> anyhow::Result<Look> {
        for _ in 0..STRIDE {
            if let Some(held) = self.held.take_if(|held| held.ts_recv_ns <= until_ns) {
                self.take(&held);
            }
            if self.held.is_some() {
                return Ok(Look::Tail);
            }
            let Some(log) = self.logs.get_mut(1) else { return Ok(Look::Tail) };
            match log.tail.reader.next()? {
                Step::Record(record) => {
                    self.held = Some(Held::of(&record));
                    log.tail.progressed();
                }
                Step::Lost(lost) => {
                    tracing::warn!(venue = %self.consumer.id, "candles: {lost}");
                }
                Step::Tail => return Ok(Look::Tail),
                Step::AwaitRepair { segment } => {
                    if let Some(why) = log.tail.await_repair(segment)? {
                        self.waiting = true;
                        self.consumer.show("waiting", Some(why));
                        return Ok(Look::Tail);
                    }
                }
            }
        }
        Ok(Look::More)
    }

    fn take(&mut self, held: &Held) {
        self.records += 1;
        self.feed.repair(&held.record(), &mut self.items);
        if self.items.len() >= BATCH_ITEMS {
            self.hand_over();
        }
    }

    /// How far each log is in the candles: what is held is not.
    fn places(&self) -> Vec<SavedPosition> {
        let mut places: Vec<SavedPosition> = self.logs.iter().map(Log::saved).collect();
        if let (Some(held), Some(place)) = (&self.held, places.get_mut(1)) {
            place.position = held.position;
        }
        places
    }

    /// Sends the items gathered so far. Blocks while the worker is behind: a log waits without loss.
    fn hand_over(&mut self) {
        if !self.items.is_empty() {
            let items = std::mem::replace(&mut self.items, self.consumer.empty());
            self.consumer.hub.job(Job::Batch(items));
        }
    }

    /// Takes beginnings of bars that came from the venue, and asks for those that can be asked for by now.
    fn seeds(&mut self) {
        let Some(seeder) = &self.consumer.seeder else { return };
        while let Ok(Found { symbol, first, seeds }) = self.found.try_recv() {
            self.feed.seeded(&symbol, &first, &seeds, &mut self.items);
        }
        for (symbol, first) in self.feed.take_seeds() {
            // The thread is gone only when everything ends.
            let _ = seeder.send(Want { symbol, first, reply: self.reply.clone() });
        }
    }

    /// The repairer's log, once it exists.
    fn find_repairs(&mut self) -> anyhow::Result<()> {
        if self.logs.len() > 1 {
            return Ok(());
        }
        let Some(uuid) = log_uuid(&self.repair_dir)? else { return Ok(()) };
        let ack = take_place(&self.repair_dir)?;
        self.acks.lock().unwrap_or_else(PoisonError::into_inner).repair = Some(ack);
        let tail = Tail::open(&self.repair_dir, (self.place)("repair", uuid))?;
        self.logs.push(Log { name: "repair", uuid, tail });
        Ok(())
    }

    /// Gathers what changed and gives it to the database thread.
    fn checkpoint(&mut self) -> anyhow::Result<()> {
        self.hand_over();
        let (out, answer) = mpsc::sync_channel::<Dirty>(1);
        let feed = self.consumer.number;
        let reply = Box::new(move |dirty| {
            // Nobody listens only when this thread is gone.
            let _ = out.send(dirty);
        });
        let asked = self.consumer.hub.job(Job::Checkpoint { feed, reply });
        let dirty = answer.recv().ok().filter(|_| asked).context("the thread that makes the candles ended")?;
        let all = self.consumer.hub.registry().all();
        let registry = (0_u32..).zip(all).skip(self.registered).collect::<Vec<_>>();
        let bars = dirty.bars.len() as u64;
        let checkpoint = Checkpoint {
            feed: self.consumer.id.to_string(),
            logs: self.places(),
            state: serde_json::to_string(&self.feed.state()).context("write the state of the feed as JSON")?,
            registry,
            bars: dirty.bars,
            old: dirty.old,
            marks: dirty.marks,
        };
        self.registered += checkpoint.registry.len();
        let (done, result) = mpsc::sync_channel(1);
        let commit = Commit { checkpoint, acks: Arc::clone(&self.acks), done };
        if self.consumer.commits.send(commit).is_ok() {
            self.pending = Some((result, bars));
        }
        Ok(())
    }

    /// Looks whether the checkpoint was written.
    fn settle(&mut self) -> anyhow::Result<()> {
        let Some((result, bars)) = &self.pending else { return Ok(()) };
        match result.try_recv() {
            Ok(done) => {
                let bars = *bars;
                self.pending = None;
                done?;
                self.committed(bars);
                Ok(())
            }
            Err(TryRecvError::Empty) => Ok(()),
            Err(TryRecvError::Disconnected) => anyhow::bail!("the database thread ended"),
        }
    }

    fn committed(&self, bars: u64) {
        self.consumer.hub.feed(self.consumer.id, |f| {
            f.checkpoints += 1;
            f.bars_stored += bars;
            f.committed_ns = clock::now().wall_ns;
        });
    }

    /// The last checkpoint, waited for.
    fn finish(&mut self) -> anyhow::Result<()> {
        for last in [false, true] {
            if let Some((result, bars)) = self.pending.take() {
                result.recv().context("the database thread ended")??;
                self.committed(bars);
            }
            if !last {
                self.checkpoint()?;
            }
        }
        Ok(())
    }

    fn status(&self, look: Look) {
        let skipped = self.feed.skipped();
        let behind = self.logs.first().and_then(|log| {
            let dir = self.consumer.cfg.wal_dir(self.consumer.id);
            let end = wal_format::control::read(&dir)?.committed;
            let segments = wal_format::list_segments(&dir).ok()?;
            Some(wal_format::bytes_between(&segments, log.tail.reader.position(), end))
        });
        self.consumer.hub.feed(self.consumer.id, |f| {
            if !self.waiting {
                (if look == Look::Tail { "live" } else { "catching_up" }).clone_into(&mut f.activity);
                f.reason = None;
            }
            f.records = self.records;
            f.behind_bytes = behind.unwrap_or(0);
            f.venue_now_us = self.feed.venue_now_us();
            (f.repeated, f.off_book, f.absurd) = (skipped.repeated, skipped.off_book, skipped.absurd);
        });
    }
}
