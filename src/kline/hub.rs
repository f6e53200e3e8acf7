//! Where readers get candles: the latest of one symbol, all of one instant, history, changes.
//!
//! ```text
//!  feeds --> worker --> LatestSlots, DoubleBuffered store, subscribers        memory
//!                   \-> checkpoints --> database thread --> klines.db         history
//!  history = database, overlaid with what memory has of the same symbol: no seam between the two
//! ```
//! Reading never delays a feed: memory is read without locks, the database through connections of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use super::actor::{Shown, Totals};
use super::db::{CandleReader, DbError, GapQuery, HistoryQuery, NamedBar, Readers, SavedFeed, Source, StoredBar};
use super::message::{CandleJob, Item, Update};
use super::pushed::PushedTrades;
use super::recent::{RecentTrades, STORED_BYTES};
use super::registry::{Registered, SymbolPeriodRegistry};
use super::store::FlatKlineStore;
use fold::candles::generator::KEPT;
use model::VenueId;
use model::interval::Interval;
use model::kline::{FINAL, FLAT, FOREIGN, GAP, KlineData, Tick};
use ops::hist::Hist;

/// Changes a subscriber may be behind before it misses some.
const BEHIND_MAX: usize = 4_096;
const MS: u64 = 1_000_000;
/// Buckets of the latency from receiving a trade to showing it.
const LATENCY_NS: [u64; 16] = [
    MS / 10,
    MS / 4,
    MS / 2,
    MS,
    5 * MS / 2,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    1_000 * MS,
    2_500 * MS,
    5_000 * MS,
    10_000 * MS,
];

/// Changes that belong together, numbered without a gap.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// 1, 2, 3 ...
    pub sequence: u64,
    /// In order.
    pub updates: Arc<[Update]>,
}

/// One feed, for status and health.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct FeedStatus {
    /// Source channel.
    pub source: String,
    /// What it is at: `starting`, `waiting`, `catching_up`, `live`, `retrying`, `stopped`.
    pub activity: String,
    /// Why it is not simply reading.
    pub reason: Option<String>,
    /// Records read by this process.
    pub records: u64,
    /// Bytes of the log between this feed and the log's end.
    pub behind_bytes: u64,
    /// The venue's time as far as known, us.
    pub venue_now_us: Option<i64>,
    /// Trades that came before on another connection, are off the book, or absurd.
    pub repeated: u64,
    /// See `repeated`.
    pub off_book: u64,
    /// See `repeated`.
    pub absurd: u64,
    /// Trades of a time that had not come: they waited for it.
    pub early: u64,
    /// Checkpoints committed by this process.
    pub checkpoints: u64,
    /// Bars stored by them.
    pub bars_stored: u64,
    /// When the last one was committed, ns since epoch.
    pub committed_ns: u64,
    /// Times that this process could not simply go on: see `told`.
    pub breaks: u64,
    /// The last of them.
    pub told: Vec<BreakReport>,
}

/// Why the candles of a feed did not simply go on, and what became of their bars.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct BreakReport {
    /// When, ns since epoch.
    pub at_ns: u64,
    /// `database_deleted`, `database_restored`, `rows_missing`, `log_replaced`, `log_restored`, `log_lost`,
    /// `source_changed`.
    pub reason: &'static str,
    /// In words.
    pub text: String,
}

/// Reports kept in memory.
const BREAKS_KEPT_MAX: usize = 16;

impl FeedStatus {
    /// Counts a break and keeps its report.
    pub(super) fn record_break(&mut self, report: BreakReport) {
        self.breaks += 1;
        if self.told.len() >= BREAKS_KEPT_MAX {
            self.told.remove(0);
        }
        self.told.push(report);
    }
}

/// Figures of all feeds.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct KlineStats {
    /// Symbols with a place.
    pub symbols: usize,
    /// Trades applied.
    pub ticks: u64,
    /// Bars closed.
    pub closed: u64,
    /// Bars revised.
    pub revised: u64,
    /// Trades that no candle can hold.
    pub refused: u64,
    /// Swaps that readers delayed.
    pub swaps_delayed: u64,
    /// Jobs that wait for the worker.
    pub queued: u64,
    /// Most that waited at once since the last line of statistics.
    pub queued_max: u64,
    /// By venue name.
    pub feeds: BTreeMap<String, FeedStatus>,
}

/// See the module.
pub struct KlineHub {
    registry: Arc<SymbolPeriodRegistry>,
    shown: Shown,
    jobs: SyncSender<CandleJob>,
    queued: Arc<AtomicU64>,
    queued_max: AtomicU64,
    latency: Hist,
    updates: broadcast::Sender<Pushed>,
    trades: broadcast::Sender<Arc<[Tick]>>,
    made: Mutex<PushedTrades>,
    sequence: AtomicU64,
    totals: Mutex<Totals>,
    feeds: Mutex<BTreeMap<VenueId, FeedStatus>>,
    readers: Readers,
    swap_interval: Duration,
}

/// Whether a bar in memory is served instead of the stored one: as the database will decide once it is stored.
fn wins(ours: &KlineData, there: &StoredBar) -> bool {
    there.source == Source::Live
        || (ours.flags & (FINAL | GAP) == FINAL && (ours.flags & FLAT == 0 || there.bar.flags & FLAT != 0))
}

impl KlineHub {
    /// A hub in front of a worker that takes `jobs`.
    pub(super) fn new(
        registry: Arc<SymbolPeriodRegistry>,
        shown: Shown,
        jobs: SyncSender<CandleJob>,
        queued: Arc<AtomicU64>,
        (database, dir): (&str, &Path),
        swap_interval: Duration,
    ) -> Self {
        Self {
            registry,
            shown,
            jobs,
            queued,
            queued_max: AtomicU64::new(0),
            latency: Hist::new(&LATENCY_NS),
            updates: broadcast::channel(BEHIND_MAX).0,
            trades: broadcast::channel(BEHIND_MAX).0,
            made: Mutex::default(),
            sequence: AtomicU64::new(0),
            totals: Mutex::default(),
            feeds: Mutex::default(),
            readers: Readers::new(database, dir),
            swap_interval,
        }
    }

    /// Which symbol has which place.
    pub fn registry(&self) -> &Arc<SymbolPeriodRegistry> {
        &self.registry
    }

    /// The open bars of a symbol by period index, as of the last batch. Lock-free.
    pub fn latest(&self, symbol_index: u32) -> Option<[KlineData; Interval::COUNT]> {
        // A writer met too often: the last swap is at most one interval old.
        self.shown.latest.load(symbol_index).or_else(|| self.shown.whole.symbol(symbol_index).map(|(_, bars)| bars))
    }

    /// Copies the open bars of all symbols as of one instant; returns the number of that swap. Lock-free.
    pub fn whole(&self, out: &mut FlatKlineStore) -> u64 {
        self.shown.whole.read(out)
    }

    /// Between two swaps, as configured; memory pressure makes it longer.
    pub fn swap_interval(&self) -> Duration {
        self.swap_interval
    }

    /// The number of the last swap; every swap has the next one. Lock-free.
    pub fn swap_number(&self) -> u64 {
        // Without a first symbol there is nothing to copy either.
        self.shown.whole.symbol(0).map_or_else(|| self.whole(&mut FlatKlineStore::default()), |(number, _)| number)
    }

    /// Every change from now on, with the number of the last change before.
    pub fn subscribe(&self) -> (u64, broadcast::Receiver<Pushed>) {
        // Subscribed first: a change between the two is heard and has a higher number.
        let receiver = self.updates.subscribe();
        (self.sequence.load(Ordering::Acquire), receiver)
    }

    /// The last closed bar and the open one, as far as memory has them; a closed one that lacks trades gives way to what
    /// the venue reported of it. Blocks for as long as the worker's queue takes.
    pub fn newest_two(&self, symbol_index: u32, interval: Interval) -> Vec<KlineData> {
        let mut bars = self.kept(symbol_index, interval);
        bars.drain(..bars.len().saturating_sub(2));
        for bar in &mut bars {
            bar.flags &= !FOREIGN;
            let Some(entry) = self.registry.get(symbol_index).filter(|_| bar.flags & (FINAL | GAP) == FINAL | GAP)
            else {
                continue;
            };
            let query = HistoryQuery {
                start_us: Some(bar.open_time_us),
                end_us: Some(bar.open_time_us),
                ..HistoryQuery::of(&entry.venue, &entry.symbol, interval, 1)
            };
            // What cannot be read is not better known.
            if let Ok([there]) = self.readers.with(|db| db.stored(&query)).as_deref()
                && !wins(bar, there)
            {
                *bar = there.bar;
            }
        }
        bars
    }

    /// Every trade that is made from now on; what was missed or comes late is in [`KlineHub::recent_trades`] alone.
    pub fn subscribe_trades(&self) -> broadcast::Receiver<Arc<[Tick]>> {
        self.trades.subscribe()
    }

    /// Bars of one symbol, oldest first: stored ones, with what memory knows newer or better. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn history(&self, query: &HistoryQuery) -> Result<Vec<KlineData>, DbError> {
        Ok(self.history_with_source(query)?.into_iter().map(|b| b.bar).collect())
    }

    /// As [`KlineHub::history`], with who made each bar; what comes from memory is our live trades'. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn history_with_source(&self, query: &HistoryQuery) -> Result<Vec<StoredBar>, DbError> {
        let stored = self.readers.with(|db| db.stored(query))?;
        let mut bars: BTreeMap<i64, StoredBar> = stored.into_iter().map(|b| (b.bar.open_time_us, b)).collect();
        if let Some(symbol_index) = self.registry.index(&query.venue, &query.symbol) {
            let inside = |b: &KlineData| {
                query.start_us.is_none_or(|s| b.open_time_us >= s) && query.end_us.is_none_or(|e| b.open_time_us <= e)
            };
            let kept = self.kept(symbol_index, query.interval);
            for bar in kept.into_iter().filter(inside).filter(|bar| !bar.is_foreign()) {
                let ours = StoredBar { bar, source: Source::Live };
                let there = bars.entry(bar.open_time_us).or_insert(ours);
                if wins(&bar, there) {
                    *there = ours;
                }
            }
        }
        let skip = if query.newest_first { bars.len().saturating_sub(query.limit) } else { 0 };
        Ok(bars.into_values().skip(skip).take(query.limit).collect())
    }

    /// Bars with trades missing, oldest first. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn gaps(&self, query: &GapQuery) -> Result<Vec<NamedBar>, DbError> {
        self.readers.with(|db| db.gaps(query))
    }

    /// The most recent trades of a symbol. Blocks for as long as the worker's queue takes.
    pub fn recent_trades(&self, symbol_index: u32) -> RecentTrades {
        self.query(|reply| CandleJob::Recent { symbol_index, reply })
    }

    /// The newest bar of a symbol, whatever its interval: open, closed or only stored. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn last_bar(&self, venue: &str, symbol: &str) -> Result<Option<KlineData>, DbError> {
        let open = self.registry.index(venue, symbol).and_then(|index| self.latest(index));
        if let Some(bar) = open.map(|bars| bars[Interval::M1.index()]).filter(|bar| !bar.is_empty()) {
            return Ok(Some(bar));
        }
        let mut newest: Option<(i64, KlineData)> = None;
        for interval in Interval::ALL {
            let query = HistoryQuery { newest_first: true, ..HistoryQuery::of(venue, symbol, interval, 1) };
            if let Some(bar) = self.history(&query)?.pop() {
                let end = interval.next(bar.open_time_us);
                // Of those that end at once the shortest one: it has seen most.
                if newest.is_none_or(|(known, _)| known < end) {
                    newest = Some((end, bar));
                }
            }
        }
        Ok(newest.map(|(_, bar)| bar))
    }

    /// What candles hold in memory, bytes: the open bars four times (latest, both buffers, their makers), the recent
    /// trades there is room for, and as many closed bars of each symbol as are kept at most.
    pub fn bytes_estimate(&self) -> u64 {
        let bars = 4 * Interval::COUNT + KEPT.iter().sum::<usize>();
        let recent = self.totals.lock().unwrap_or_else(PoisonError::into_inner).recent;
        (self.registry.len() * bars * size_of::<KlineData>()) as u64 + recent * STORED_BYTES
    }

    /// Figures for status, metrics and the page.
    pub fn stats(&self) -> KlineStats {
        let totals = *self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        KlineStats {
            symbols: self.registry.len(),
            ticks: totals.ticks,
            closed: totals.closed,
            revised: totals.revised,
            refused: totals.refused,
            swaps_delayed: totals.swaps_delayed,
            queued: self.queued.load(Ordering::Relaxed),
            queued_max: self.queued_max.load(Ordering::Relaxed),
            feeds: feeds.iter().map(|(id, f)| (id.to_string(), f.clone())).collect(),
        }
    }

    /// A feed's last checkpoint. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) fn saved_feed(&self, feed: &str) -> Result<Option<SavedFeed>, DbError> {
        self.readers.with(|db| db.load_feed(feed))
    }

    /// The registry as it is stored. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) fn stored_registry(&self) -> Result<Vec<Registered>, DbError> {
        self.readers.with(|db| db.load_registry())
    }

    /// Runs `read` with a connection to the database. Blocks.
    ///
    /// # Errors
    /// What `read` returns, or that the database cannot be opened.
    pub(super) fn read<T>(&self, read: impl FnOnce(&mut dyn CandleReader) -> Result<T, DbError>) -> Result<T, DbError> {
        self.readers.with(read)
    }

    fn kept(&self, symbol_index: u32, interval: Interval) -> Vec<KlineData> {
        self.query(|reply| CandleJob::Kept { symbol_index, interval, reply })
    }

    /// Sends the worker a query; empty when it has ended.
    fn query<T: Default + Send + 'static>(&self, job: impl FnOnce(Box<dyn FnOnce(T) + Send>) -> CandleJob) -> T {
        let (out, answer) = mpsc::sync_channel(1);
        self.queue();
        let sent = self.jobs.send(job(Box::new(move |value| {
            // Nobody listens only when the caller's thread is gone.
            let _ = out.send(value);
        })));
        if sent.is_err() {
            return T::default();
        }
        answer.recv().unwrap_or_default()
    }

    fn queue(&self) {
        let waiting = self.queued.fetch_add(1, Ordering::Relaxed) + 1;
        self.queued_max.fetch_max(waiting, Ordering::Relaxed);
    }

    /// Most jobs that waited at once since the last call.
    pub(super) fn take_queued_max(&self) -> u64 {
        self.queued_max.swap(self.queued.load(Ordering::Relaxed), Ordering::Relaxed)
    }

    /// How long live trades took from received to visible.
    pub fn latency(&self) -> &Hist {
        &self.latency
    }

    /// What `items` changed is visible now.
    pub(super) fn visible(&self, items: &[Item], wall_ns: impl FnOnce() -> u64) {
        let mut received = items.iter().filter_map(|i| match i {
            Item::Received { ns, trades } => Some((*ns, u64::from(*trades))),
            _ => None,
        });
        let Some(first) = received.next() else { return };
        let now = wall_ns();
        for (ns, trades) in std::iter::once(first).chain(received) {
            // A clock that was set back makes no negative time.
            self.latency.record(now.saturating_sub(ns), trades);
        }
    }

    pub(super) fn job(&self, job: CandleJob) -> bool {
        self.queue();
        self.jobs.send(job).is_ok()
    }

    pub(super) fn publish_trades(&self, items: &[Item]) {
        // Also while nobody listens: the first listener gets no older trade than the last one either.
        let ticks = self.made.lock().unwrap_or_else(PoisonError::into_inner).of_now(items);
        if !ticks.is_empty() && self.trades.receiver_count() > 0 {
            // Nobody listens any more: gone between the two lines.
            let _ = self.trades.send(ticks.into());
        }
    }

    pub(super) fn publish(&self, updates: &[Update], totals: Totals) {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner) = totals;
        if updates.is_empty() {
            return;
        }
        let sequence = self.sequence.load(Ordering::Relaxed) + 1;
        // Published before the number is: whoever subscribes sees each change at least once.
        let _ = self.updates.send(Pushed { sequence, updates: updates.into() });
        self.sequence.store(sequence, Ordering::Release);
    }

    pub(super) fn feed(&self, id: VenueId, change: impl FnOnce(&mut FeedStatus)) {
        change(self.feeds.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default());
    }
}
