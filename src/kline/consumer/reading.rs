//! One run of a feed from a checkpoint on: the records of the venue's log and of the repairer's, by receive time.

use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use wal_format::{Position, RecordRef, SegmentId, Step};

use super::commit::Acks;
use super::{BATCH_ITEMS, Consumer, log_uuid, take_place};
use crate::compact::Mode;
use crate::compact::tail::{Tail, Wait};
use crate::kline::db::SavedPosition;
use crate::kline::feed::Feed;
use crate::kline::generator::KEPT;
use crate::kline::held::Held;
use crate::kline::interval::Interval;
use crate::kline::message::{Item, Job};
use crate::kline::seeder::{Found, Want};

/// Records between two looks at the time and the shutdown request.
const STRIDE: usize = 1_024;
/// Between two looks at what the venue told of first bars.
const SEEDS: Duration = Duration::from_millis(200);
/// Between two looks for the repairer's log and at what is left to read: they list directories.
const STATUS: Duration = Duration::from_secs(1);
/// Looks without a record before a drain believes in the end.
const DRAIN_LOOKS: u32 = 8;

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
pub(super) struct Reading<'a> {
    pub(super) consumer: &'a Consumer,
    pub(super) feed: Feed,
    logs: Vec<Log>,
    /// The next record of the repairer's log.
    held: Option<Held>,
    /// Receive time of the last record of the venue's log, ns.
    seen_ns: u64,
    repair_dir: PathBuf,
    pub(super) acks: Arc<Mutex<Acks>>,
    items: Vec<Item>,
    /// The checkpoint that is being written.
    pub(super) pending: Option<(Receiver<anyhow::Result<()>>, u64)>,
    /// In front of a crash tail.
    waiting: bool,
    /// Symbols of the registry that the database has.
    pub(super) registered: usize,
    records: u64,
    checkpoint_at: Instant,
    seeds_at: Instant,
    status_at: Instant,
    /// What is read now was written while this runs: what it took until it is visible says something.
    live: bool,
    place: &'a dyn Fn(&str, [u8; 16]) -> Position,
    /// Answers of the seeder to this run.
    reply: UnboundedSender<Found>,
    found: UnboundedReceiver<Found>,
}

impl<'a> Reading<'a> {
    /// A run of `feed` over the venue's log from where `place` says; its logs' acks go to `acks`.
    ///
    /// # Errors
    /// When the log cannot be opened there.
    pub(super) fn new(
        consumer: &'a Consumer,
        feed: Feed,
        uuid: [u8; 16],
        acks: Acks,
        place: &'a dyn Fn(&str, [u8; 16]) -> Position,
    ) -> anyhow::Result<Self> {
        let (reply, found) = unbounded_channel();
        let tail = Tail::open(&consumer.cfg.wal_dir(consumer.id), place("main", uuid))?;
        let now = Instant::now();
        Ok(Self {
            consumer,
            feed,
            logs: vec![Log { name: "main", uuid, tail }],
            held: None,
            seen_ns: 0,
            repair_dir: consumer.cfg.repair_dir(consumer.id),
            acks: Arc::new(Mutex::new(acks)),
            items: consumer.empty(),
            pending: None,
            waiting: false,
            registered: 0,
            records: 0,
            checkpoint_at: now,
            seeds_at: now,
            status_at: now,
            live: false,
            place,
            reply,
            found,
        })
    }

    /// Puts the stored bars of this feed's symbols back into the worker.
    pub(super) fn restore(&mut self) -> anyhow::Result<()> {
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

    /// Works until asked to stop, or until the logs are worked off.
    pub(super) fn run(&mut self) -> anyhow::Result<()> {
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
            if now >= self.seeds_at {
                self.seeds_at = now + SEEDS;
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
                    if self.waits(0, segment)? {
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
                    if self.waits(1, segment)? {
                        return Ok(Look::Tail);
                    }
                }
            }
        }
        Ok(Look::More)
    }

    /// In front of the crash tail `segment` of log `at`: whether nobody has repaired it yet.
    fn waits(&mut self, at: usize, segment: SegmentId) -> anyhow::Result<bool> {
        let Some(log) = self.logs.get_mut(at) else { return Ok(false) };
        let (Wait::Going(why) | Wait::Stuck(why)) = log.tail.await_repair(segment)? else { return Ok(false) };
        self.waiting = true;
        self.consumer.show("waiting", Some(why));
        Ok(true)
    }

    fn take(&mut self, held: &Held) {
        self.records += 1;
        self.feed.repair(&held.record(), &mut self.items);
        if self.items.len() >= BATCH_ITEMS {
            self.hand_over();
        }
    }

    /// How far each log is in the candles: what is held is not.
    pub(super) fn places(&self) -> Vec<SavedPosition> {
        let mut places: Vec<SavedPosition> = self.logs.iter().map(Log::saved).collect();
        if let (Some(held), Some(place)) = (&self.held, places.get_mut(1)) {
            place.position = held.position;
        }
        places
    }

    /// Sends the items gathered so far. Blocks while the worker is behind: a log waits without loss.
    pub(super) fn hand_over(&mut self) {
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
