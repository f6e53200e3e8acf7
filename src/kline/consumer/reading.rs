//! One run of a feed from a checkpoint on: the records of the venue's log and of the repairer's, by receive time.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use wal_format::{OwnedRecord, Position, RecordRef};

use super::commit::Acks;
use super::restore::restore;
use super::resume_point::{Break, ResumePoint};
use super::{BATCH_ITEMS, Consumer, lineage, take_place};
use crate::db::{SavedFeed, SavedPosition};
use crate::error::KlineError;
use crate::feed::CandleFeed;
use crate::message::{CandleJob, Item};
use crate::seeder::{SeedAnswer, SeedRequest};
use fold::Mode;
use fold::source::{LOOKS, RecordSource, SourceError, Step};

/// Records between two looks at the time and the shutdown request.
const STRIDE: usize = 1_024;
/// Between two looks for seeds from the venue.
const SEEDS: Duration = Duration::from_millis(200);
/// Between two looks for the repairer's log and at what is left to read: they list directories.
const STATUS: Duration = Duration::from_secs(1);

/// One log of the feed.
struct Log<S> {
    name: &'static str,
    uuid: [u8; 16],
    source: S,
}

impl<S: RecordSource> Log<S> {
    /// How far it is in the candles: to where it is read, or to the record that is `held`.
    fn saved(&self, held: Option<Position>) -> SavedPosition {
        let position = held.unwrap_or(self.source.position());
        let incarnation = self.source.incarnation_of(position.seq.epoch());
        SavedPosition { log: self.name.to_owned(), log_uuid: self.uuid, incarnation, position }
    }
}

/// What the next record of the venue's log ends: why the candles do not simply go on, and what is in them before it.
struct Broken {
    why: Break,
    text: String,
    /// Receive time of the last record before, us; 0 = none.
    since_us: i64,
}

fn micros(ns: u64) -> i64 {
    i64::try_from(ns / 1_000).unwrap_or(i64::MAX)
}

/// For people.
fn time(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map_or_else(|_| us.to_string(), |time| time.to_string())
}

/// What a look at a log gave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    More,
    Tail,
}

/// Folds a record of the venue's log; while `live`, with the items that measure how long its trades were on their way.
#[inline]
fn fold(feed: &mut CandleFeed, items: &mut Vec<Item>, live: bool, record: &RecordRef<'_>) {
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
pub(super) struct Reading<'a, S> {
    pub(super) consumer: &'a Consumer,
    pub(super) feed: CandleFeed,
    logs: Vec<Log<S>>,
    /// Opens the other one once it exists.
    open: Open<S>,
    /// The next record of the repairer's log.
    held: Option<OwnedRecord>,
    /// Receive time of the last record of the venue's log, ns.
    seen_ns: u64,
    repair_dir: PathBuf,
    pub(super) acks: Arc<Mutex<Acks>>,
    items: Vec<Item>,
    /// The checkpoint that is being written.
    pub(super) pending: Option<(Receiver<Result<i64, KlineError>>, u64)>,
    /// When that was requested.
    pub(super) requested_at: Instant,
    /// When this session began.
    pub(super) started: Instant,
    /// Number of the last one that was.
    pub(super) serial: i64,
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
    /// What the database says of the feed's logs.
    saved: &'a SavedFeed,
    /// The stored bars are gone on with.
    restored: bool,
    /// Records received up to then are in the candles, whatever their place, us.
    known_until_us: Option<i64>,
    broken: Option<Broken>,
    /// Answers of the seeder to this run.
    reply: UnboundedSender<SeedAnswer>,
    found: UnboundedReceiver<SeedAnswer>,
}

/// Opens the log in a directory at a position.
pub(super) type Open<S> = fn(&Path, Position) -> Result<S, SourceError>;

impl<'a, S: RecordSource> Reading<'a, S> {
    /// A run of `feed` over the venue's log from its last position, opened by `open`; its logs' acks go to `acks`.
    ///
    /// # Errors
    /// When the log cannot be opened there.
    pub(super) fn new(
        consumer: &'a Consumer,
        feed: CandleFeed,
        saved: &'a SavedFeed,
        uuid: [u8; 16],
        acks: Acks,
        resume_point: ResumePoint,
        open: Open<S>,
    ) -> Result<Self, KlineError> {
        let (reply, found) = unbounded_channel();
        let source = open(&consumer.cfg.capture.wal_dir(consumer.id), resume_point.from)?;
        let last_us = feed.last_recv_us();
        if let Some((before, since_us)) = feed.other_source() {
            let text = format!(
                "candles are made of {} from now on and were made of {before}: bars that hold both are marked; `tapedeck klines backfill` has the venue's own",
                consumer.source
            );
            consumer.report(Break::SourceChanged, format!("{text}; the last trade before is of {}", time(since_us)));
        }
        let now = Instant::now();
        Ok(Self {
            consumer,
            feed,
            logs: vec![Log { name: "main", uuid, source }],
            open,
            held: None,
            seen_ns: 0,
            repair_dir: consumer.cfg.capture.repair_dir(consumer.id),
            acks: Arc::new(Mutex::new(acks)),
            items: consumer.empty(),
            pending: None,
            requested_at: now,
            started: now,
            serial: saved.serial,
            waiting: false,
            registered: 0,
            records: 0,
            checkpoint_at: now,
            seeds_at: now,
            status_at: now,
            live: false,
            saved,
            restored: resume_point.restore,
            known_until_us: resume_point.by_time.then_some(last_us),
            broken: resume_point.broken.map(|(why, text)| Broken { why, text, since_us: last_us }),
            reply,
            found,
        })
    }

    /// Puts the stored bars of this feed's symbols back into the worker.
    pub(super) fn restore(&mut self) -> Result<(), KlineError> {
        let (hub, number) = (&self.consumer.hub, self.consumer.number);
        self.registered = hub.stored_registry()?.len();
        // Those whose places were lost get new ones; their bars are found by name.
        hub.registry().register(self.consumer.id.as_str(), self.feed.traded().into_iter().map(|symbol| (symbol, None)));
        self.items.push(Item::Reset { feed: number });
        let mut without_bars = 0;
        for (symbol_index, entry) in (0_u32..).zip(hub.registry().all()) {
            if entry.venue != self.consumer.id.as_str() {
                continue;
            }
            self.items.push(Item::Own { symbol_index, feed: number });
            let unit = self.feed.unit(&entry.symbol);
            self.items.push(Item::Unit { symbol_index, unit });
            if self.feed.is_silent(&entry.symbol) {
                self.items.push(Item::Halt { symbol_index, halted: true });
            }
            let last_us = self.feed.last_trade_us(&entry.symbol);
            let lacking = self.restored
                && hub.read(|db| restore(db, &self.feed, (number, symbol_index, &entry), &mut self.items))?;
            if let Some(last_us) = last_us.filter(|_| lacking) {
                without_bars += 1;
                self.feed.lacking(&entry.symbol, symbol_index, last_us, &mut self.items);
            }
            self.hand_over();
        }
        if without_bars > 0 {
            let text = format!(
                "the database lacks bars of {without_bars} symbols that it had when it was stored last; those that go on without them are marked, `tapedeck klines backfill` brings the others"
            );
            self.consumer.report(Break::RowsMissing, text);
        }
        self.feed.resume(&mut self.items);
        self.hand_over();
        Ok(())
    }

    /// Candles did not simply go on, and `record` is the first one after: reports what that cost.
    #[cold]
    fn mended(&mut self, record: &RecordRef<'_>) {
        let Some(Broken { why, text, since_us }) = self.broken.take() else { return };
        let recv_us = micros(record.ts_recv_ns);
        let begins = since_us == 0 && fold::gather::missing_beginning(record).is_some();
        let fills = "; `tapedeck klines backfill` fills them";
        let (cost, remedy) = if why.loses() && since_us > 0 {
            self.feed.lost(since_us, recv_us, &mut self.items);
            let (from, to) = (time(since_us), time(recv_us));
            let cost = format!(
                "what was received between {from} and {to} may be missing, and bars that lack trades of it are marked"
            );
            (cost, fills)
        } else if begins {
            let cost = format!(
                "what was received before {} is not in the log any more, and the bars that were open then are marked",
                time(recv_us)
            );
            (cost, fills)
        } else {
            // A record that is missing later on is reported when it is met.
            ("the log still has the next record".to_owned(), "")
        };
        self.consumer.report(why, format!("{text}: {cost}{remedy}"));
    }

    /// The log ends after what broke the candles.
    pub(super) fn nothing_followed(&mut self) {
        if let Some(Broken { why, text, .. }) = self.broken.take() {
            self.consumer.report(why, format!("{text}: no record followed yet"));
        }
    }

    /// Works until it must stop, or until the logs are worked off.
    pub(super) fn run(&mut self) -> Result<(), KlineError> {
        let mut quiet = 0;
        self.find_repairs()?;
        self.repairs(0)?;
        loop {
            if self.consumer.shutdown.requested() {
                self.finish()?;
                return if self.consumer.mode == Mode::Drain { Err(KlineError::Stopped) } else { Ok(()) };
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
                if self.consumer.mode == Mode::Drain && quiet >= LOOKS {
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
                log.source.wait(Duration::from_millis(5));
            }
        }
    }

    /// Reads what is there of the venue's log, at most a stride, with the repairer's records where they belong by
    /// their receive time: so the candles do not depend on which of the two logs was read faster.
    fn read(&mut self) -> Result<Look, KlineError> {
        for _ in 0..STRIDE {
            let Some(log) = self.logs.first_mut() else { return Ok(Look::Tail) };
            match log.source.next()? {
                Step::Record(record) => {
                    self.waiting = false;
                    self.seen_ns = record.ts_recv_ns;
                    if self.known_until_us.is_some_and(|known_us| micros(record.ts_recv_ns) <= known_us) {
                        log.source.progressed();
                        continue;
                    }
                    let due = self.held.as_ref().is_some_and(|held| held.ts_recv_ns <= record.ts_recv_ns);
                    if due || self.broken.is_some() {
                        let record = record.owned();
                        log.source.progressed();
                        self.mended(&record.borrowed());
                        while due && self.repairs(record.ts_recv_ns)? == Look::More {}
                        fold(&mut self.feed, &mut self.items, self.live, &record.borrowed());
                    } else {
                        fold(&mut self.feed, &mut self.items, self.live, &record);
                        log.source.progressed();
                    }
                    self.records += 1;
                    if self.items.len() >= BATCH_ITEMS {
                        self.hand_over();
                    }
                }
                // The ids of the trades after it show what is missing; without ids all of its time is marked.
                Step::Lost(lost) => {
                    let since_us = self.feed.last_recv_us();
                    let before = self.broken.take().map_or_else(String::new, |broken| broken.text + "; ");
                    self.broken = Some(Broken { why: Break::LogLost, text: format!("{before}{lost}"), since_us });
                }
                Step::Tail => {
                    self.live = true;
                    return Ok(Look::Tail);
                }
                Step::End => return Ok(Look::Tail),
                Step::Blocked { why, .. } => return Ok(self.waits(why)),
            }
        }
        Ok(Look::More)
    }

    /// Takes the repairer's records received up to `until_ns`, at most a stride, and holds the next one.
    fn repairs(&mut self, until_ns: u64) -> Result<Look, KlineError> {
        for _ in 0..STRIDE {
            if let Some(held) = self.held.take_if(|held| held.ts_recv_ns <= until_ns) {
                self.take(&held);
            }
            if self.held.is_some() {
                return Ok(Look::Tail);
            }
            let Some(log) = self.logs.get_mut(1) else { return Ok(Look::Tail) };
            match log.source.next()? {
                Step::Record(record) => {
                    self.held = Some(record.owned());
                    log.source.progressed();
                }
                Step::Lost(lost) => {
                    tracing::warn!(venue = %self.consumer.id, "candles: {lost}");
                }
                Step::Tail | Step::End => return Ok(Look::Tail),
                Step::Blocked { why, .. } => return Ok(self.waits(why)),
            }
        }
        Ok(Look::More)
    }

    /// In front of something that nobody has mended yet.
    fn waits(&mut self, why: String) -> Look {
        self.waiting = true;
        self.consumer.show("waiting", Some(why));
        Look::Tail
    }

    fn take(&mut self, held: &OwnedRecord) {
        self.records += 1;
        self.feed.repair(&held.borrowed(), &mut self.items);
        if self.items.len() >= BATCH_ITEMS {
            self.hand_over();
        }
    }

    /// How far each log is in the candles: what is held is not.
    pub(super) fn places(&self) -> Vec<SavedPosition> {
        let held = self.held.as_ref().map(|held| held.position);
        self.logs.iter().enumerate().map(|(at, log)| log.saved(held.filter(|_| at == 1))).collect()
    }

    /// Sends the items gathered so far. Blocks while the worker is behind: a log waits without losing records.
    pub(super) fn hand_over(&mut self) {
        if !self.items.is_empty() {
            let items = std::mem::replace(&mut self.items, self.consumer.empty());
            self.consumer.hub.job(CandleJob::Batch(items));
        }
    }

    /// Takes seeds that came from the venue, and requests those that can be requested by now.
    fn seeds(&mut self) {
        let Some(seeder) = &self.consumer.seeder else { return };
        while let Ok(SeedAnswer { symbol, first, seeds }) = self.found.try_recv() {
            self.feed.seeded(&symbol, &first, &seeds, &mut self.items);
        }
        for (symbol, first) in self.feed.take_seeds() {
            // The thread is gone only when everything ends.
            let _ =
                seeder.send(SeedRequest { unit: self.feed.unit(&symbol), symbol, first, reply: self.reply.clone() });
        }
    }

    /// The repairer's log, once it exists.
    fn find_repairs(&mut self) -> Result<(), KlineError> {
        if self.logs.len() > 1 {
            return Ok(());
        }
        let Some(lineage) = lineage(&self.repair_dir)? else { return Ok(()) };
        let ack = take_place(&self.repair_dir)?;
        // Its trades fill gaps that the feed knows: one that is read again fills none.
        let saved = (self.restored && !self.saved.logs.is_empty()).then_some(self.saved);
        let from = ResumePoint::of(saved, "repair", &lineage, None).from;
        self.acks.lock().unwrap_or_else(PoisonError::into_inner).repair = Some(ack);
        let source = (self.open)(&self.repair_dir, from)?;
        self.logs.push(Log { name: "repair", uuid: lineage.log_uuid(), source });
        Ok(())
    }

    fn status(&self, look: Look) {
        let skipped = self.feed.skipped();
        let behind = self.logs.first().and_then(|log| {
            let dir = self.consumer.cfg.capture.wal_dir(self.consumer.id);
            let end = log.source.committed()?;
            let segments = wal_format::list_segments(&dir).ok()?;
            Some(wal_format::bytes_between(&segments, log.source.position(), end))
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
            f.early = skipped.early;
        });
    }
}
