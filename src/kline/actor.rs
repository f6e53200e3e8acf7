//! The actors: one per symbol, each with its generator, run by one thread that is handed batches.
//!
//! ```text
//!  feed (one per log) --Batch--> worker thread: actor of each tick --> generator
//!                     --Checkpoint-->  |  after each batch: LatestSlots, events to subscribers
//!  scheduler --Swap-->                 +  at a swap: DoubleBuffered store;  at a checkpoint: what the database lacks
//! ```
//!
//! One message per trade would cost several times the update itself, so trades come in batches whose vectors are
//! handed back. One thread is enough for millions of trades a second, and makes every swap a consistent whole
//! without further ado. What comes out depends on the order of items per log, never on how they were batched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use super::by_symbol::BySymbol;
use super::db::Mark;
use super::message::{CandleJob, Dirty, Item, OldTrade, Update};
use super::recent::{RECENT, Recent};
use super::store::{DoubleBufferedKlineStore, FlatKlineStore, LatestSlots, Swapper};
use fold::candles::generator::{BarEvent, KlineGenerator, What};
use model::interval::Interval;
use model::kline::KlineData;

/// The candles of one symbol.
#[derive(Default)]
pub(crate) struct KlineActor {
    feed: u32,
    generator: KlineGenerator,
    /// Open bars differ from what readers see, from the last swap, from the last checkpoint.
    fresh: bool,
    unswapped: bool,
    unsaved: bool,
    /// Bars that closed or were revised since the last checkpoint, newest state last.
    closed: Vec<(Interval, KlineData)>,
    old: Vec<OldTrade>,
    marks: Vec<Mark>,
}

impl KlineActor {
    /// A gap reaches further back than memory: the stored bars are marked too.
    #[cold]
    fn mark_stored(&mut self, symbol_index: u32, interval: Interval, from_us: i64, to_us: i64, gap: bool) {
        self.generator.settle();
        let Some(first) = self.generator.kept(interval).next() else { return };
        if from_us < first.open_time_us {
            self.marks.push(Mark { symbol_index, interval, from_us, to_us, before_us: first.open_time_us, gap });
        }
    }
}

/// What the worker shows, shared with readers.
#[derive(Clone)]
pub struct Shown {
    /// Single symbols, at once.
    pub latest: Arc<LatestSlots>,
    /// All symbols, at every swap.
    pub whole: Arc<DoubleBufferedKlineStore>,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
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
    /// Recent trades that there is room for, over all symbols: not a counter but what is held.
    pub recent: u64,
}

/// The thread's state.
pub struct CandleWorker {
    actors: Vec<KlineActor>,
    /// The most recent trades by symbol, apart from the actors: see [`CandleWorker::remember`].
    recent: Vec<Recent>,
    recent_max: usize,
    by_symbol: BySymbol,
    shown: Shown,
    whole: FlatKlineStore,
    swapper: Swapper,
    touched: Vec<u32>,
    events: Vec<BarEvent>,
    updates: Vec<Update>,
    totals: Totals,
}

impl CandleWorker {
    /// No symbol yet.
    pub fn new(shown: Shown) -> Self {
        let swapper = shown.whole.swapper();
        Self {
            actors: Vec::new(),
            recent: Vec::new(),
            recent_max: RECENT,
            by_symbol: BySymbol::default(),
            shown,
            whole: FlatKlineStore::default(),
            swapper,
            touched: Vec::new(),
            events: Vec::new(),
            updates: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// Works until a stop job or until all senders are gone. Emptied batches go back through `empties`; `publish`
    /// hears of every batch and change, in order.
    pub fn run(
        mut self,
        jobs: &Receiver<CandleJob>,
        empties: &SyncSender<Vec<Item>>,
        queued: &AtomicU64,
        mut publish: impl FnMut(&[Item], &[Update], Totals),
    ) -> Totals {
        while let Ok(job) = jobs.recv() {
            if matches!(job, CandleJob::Stop) {
                break;
            }
            let batch = self.handle(job);
            let items = batch.as_deref().unwrap_or_default();
            self.report_changes(|updates, totals| publish(items, updates, totals));
            if let Some(mut batch) = batch {
                batch.clear();
                // A full way back means that there are enough of them.
                let _ = empties.try_send(batch);
            }
            queued.fetch_sub(1, Ordering::Relaxed);
        }
        self.totals
    }

    /// Does one job; returns the batch to be reused.
    pub fn handle(&mut self, job: CandleJob) -> Option<Vec<Item>> {
        match job {
            CandleJob::Batch(items) => {
                for item in &items {
                    self.item(item);
                }
                self.remember(&items);
                self.show();
                return Some(items);
            }
            CandleJob::Checkpoint { feed, reply } => reply(self.dirty(feed)),
            CandleJob::Swap => self.swap(),
            CandleJob::KeepRecent(most) => self.keep_recent(most),
            CandleJob::Stop => {}
            CandleJob::Kept { symbol_index, interval, reply } => {
                let actor = self.actors.get(symbol_index as usize);
                reply(actor.map_or_else(Vec::new, |a| a.generator.kept(interval).copied().collect()));
            }
            CandleJob::Recent { symbol_index, reply } => {
                reply(self.recent.get(symbol_index as usize).map(|r| r.all(symbol_index)).unwrap_or_default());
            }
        }
        None
    }

    /// Reports what changed since the last report.
    pub fn report_changes(&mut self, hear: impl FnOnce(&[Update], Totals)) {
        hear(&self.updates, self.totals);
        self.updates.clear();
    }

    /// Counters since the start.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Keeps the trades of a batch. A pass of its own, symbol by symbol: the trades kept are far more than a cache holds,
    /// and so the places of one symbol's trades, which follow one another, are fetched together.
    fn remember(&mut self, items: &[Item]) {
        self.recent.resize_with(self.actors.len(), Recent::default);
        // Of a live log something else stands after each record's trades: only what changes the kept ones ends a run.
        let ends = |item: &Item| matches!(item, Item::Gap { .. } | Item::Repaired { .. } | Item::Reset { .. });
        for run in items.split_inclusive(ends) {
            self.by_symbol.clear(self.actors.len());
            for (at, item) in run.iter().enumerate() {
                if let Item::Tick(tick) = item {
                    self.by_symbol.push(tick.symbol_index as usize, at);
                }
            }
            for (symbol_index, first) in self.by_symbol.symbols() {
                let Some(recent) = self.recent.get_mut(symbol_index) else { continue };
                let mut at = Some(first);
                while let Some(Item::Tick(tick)) = at.and_then(|at| run.get(at)) {
                    self.totals.recent += recent.put(tick, self.recent_max) as u64;
                    at = at.and_then(|at| self.by_symbol.next(at));
                }
            }
            if let Some(last) = run.last() {
                self.remember_else(last);
            }
        }
    }

    /// What else changes the trades that are kept.
    fn remember_else(&mut self, item: &Item) {
        match item {
            Item::Gap { symbol_index, from_us, to_us, .. } => {
                if let Some(recent) = self.recent.get_mut(*symbol_index as usize) {
                    recent.gap(*from_us, *to_us);
                }
            }
            Item::Repaired { symbol_index, interval: Interval::M1, from_us, to_us } => {
                if let Some(recent) = self.recent.get_mut(*symbol_index as usize) {
                    recent.repaired(*from_us, Interval::M1.next(*to_us).saturating_sub(1));
                }
            }
            Item::Reset { feed } => {
                for (actor, recent) in self.actors.iter().zip(&mut self.recent) {
                    if actor.feed == *feed {
                        recent.clear();
                    }
                }
            }
            _ => {}
        }
    }

    /// Forgets what is beyond `most` trades of each symbol, and gives the memory back.
    fn keep_recent(&mut self, most: usize) {
        self.recent_max = most.clamp(1, RECENT);
        for recent in &mut self.recent {
            recent.shrink(self.recent_max);
        }
        self.totals.recent = self.recent.iter().map(|r| r.room() as u64).sum();
    }

    fn item(&mut self, item: &Item) {
        let symbol_index = match item {
            Item::Tick(tick) => tick.symbol_index,
            Item::Clock { feed, now_us } => return self.clock(*feed, *now_us),
            Item::Reset { feed } => return self.reset(*feed),
            // Of interest when they are visible.
            Item::Received { .. } => return,
            Item::Gap { symbol_index, .. }
            | Item::Repaired { symbol_index, .. }
            | Item::Seed { symbol_index, .. }
            | Item::Restore { symbol_index, .. }
            | Item::Halt { symbol_index, .. }
            | Item::Unit { symbol_index, .. }
            | Item::Own { symbol_index, .. } => *symbol_index,
        };
        let index = symbol_index as usize;
        if index >= self.actors.len() {
            self.actors.resize_with(index + 1, KlineActor::default);
        }
        let Some(actor) = self.actors.get_mut(index) else { return };
        let changed = match item {
            Item::Tick(tick) => {
                self.totals.ticks += 1;
                match actor.generator.gather(tick, &mut self.events) {
                    Ok(changed) => changed,
                    Err(_) => {
                        // A trade that no bar can hold is missing in them.
                        self.totals.refused += 1;
                        for interval in Interval::ALL {
                            actor.mark_stored(symbol_index, interval, tick.ts_us, tick.ts_us, true);
                        }
                        true
                    }
                }
            }
            Item::Gap { from_us, to_us, unsettled, .. } => {
                actor.generator.gap(*from_us, *to_us, *unsettled, &mut self.events);
                for interval in Interval::ALL {
                    actor.mark_stored(symbol_index, interval, *from_us, *to_us, true);
                }
                true
            }
            Item::Repaired { interval, from_us, to_us, .. } => {
                actor.generator.repaired(*interval, *from_us, *to_us, &mut self.events);
                actor.mark_stored(symbol_index, *interval, *from_us, *to_us, false);
                true
            }
            Item::Seed { interval, bar, .. } => actor.generator.prepend(*interval, **bar, &mut self.events),
            Item::Restore { interval, bars, before, corrected, feed, .. } => {
                actor.feed = *feed;
                actor.generator.restore(*interval, bars.iter().copied(), before.as_deref());
                if *corrected {
                    let ours = bars.iter().filter(|bar| bar.is_final() && !bar.is_foreign());
                    actor.closed.extend(ours.map(|bar| (*interval, *bar)));
                }
                true
            }
            Item::Unit { unit, .. } => {
                actor.generator.set_unit(*unit);
                false
            }
            Item::Own { feed, .. } => {
                actor.feed = *feed;
                false
            }
            Item::Halt { halted, .. } => {
                actor.generator.halt(*halted);
                false
            }
            Item::Clock { .. } | Item::Reset { .. } | Item::Received { .. } => false,
        };
        self.note(symbol_index, changed);
    }

    fn reset(&mut self, feed: u32) {
        for actor in self.actors.iter_mut().filter(|a| a.feed == feed) {
            *actor = KlineActor { feed, unswapped: actor.unswapped, fresh: actor.fresh, ..KlineActor::default() };
        }
    }

    fn clock(&mut self, feed: u32, now_us: i64) {
        for index in 0..self.actors.len() {
            let Some(actor) = self.actors.get_mut(index) else { continue };
            if actor.feed == feed && actor.generator.close_until(now_us, &mut self.events) {
                self.note(u32::try_from(index).unwrap_or(u32::MAX), true);
            }
        }
    }

    /// Remembers what one item did to a symbol.
    #[inline]
    fn note(&mut self, symbol_index: u32, changed: bool) {
        let Some(actor) = self.actors.get_mut(symbol_index as usize) else { return };
        if changed || !self.events.is_empty() {
            if !actor.fresh {
                actor.fresh = true;
                self.touched.push(symbol_index);
            }
            actor.unsaved = true;
        }
        for BarEvent { interval, what } in self.events.drain(..) {
            let bar = match what {
                What::Closed(bar) => {
                    self.totals.closed += 1;
                    bar
                }
                What::Revised(bar) => {
                    self.totals.revised += 1;
                    bar
                }
                What::Old { open_time_us, tick, unit, before_us } => {
                    self.totals.revised += 1;
                    actor.old.push(OldTrade { interval, open_time_us, tick, unit, before_us });
                    continue;
                }
            };
            actor.closed.push((interval, bar));
            self.updates.push(Update { symbol_index, interval, bar, event: true });
        }
    }

    /// Shows what a batch changed to readers of single symbols, and notifies subscribers.
    fn show(&mut self) {
        for symbol_index in self.touched.drain(..) {
            let Some(actor) = self.actors.get_mut(symbol_index as usize) else { continue };
            actor.fresh = false;
            actor.generator.settle();
            let bars = actor.generator.open_bars();
            self.shown.latest.store(symbol_index, bars);
            if !actor.unswapped {
                actor.unswapped = true;
                self.swapper.changed(symbol_index);
            }
        }
    }

    fn swap(&mut self) {
        self.whole.grow(self.actors.len());
        for index in 0..self.actors.len() {
            let symbol_index = u32::try_from(index).unwrap_or(u32::MAX);
            let Some(actor) = self.actors.get_mut(index) else { continue };
            if !std::mem::take(&mut actor.unswapped) {
                continue;
            }
            let bars = *actor.generator.open_bars();
            let Some(shown) = self.whole.symbol_mut(symbol_index) else { continue };
            for (interval, (now, before)) in Interval::ALL.into_iter().zip(bars.iter().zip(shown.iter())) {
                if now != before && !now.is_empty() {
                    self.updates.push(Update { symbol_index, interval, bar: *now, event: false });
                }
            }
            *shown = bars;
        }
        if self.swapper.swap(&self.shown.whole, &self.whole).is_none() {
            self.totals.swaps_delayed += 1;
        }
    }

    fn dirty(&mut self, feed: u32) -> Dirty {
        let mut dirty = Dirty::default();
        for (index, actor) in self.actors.iter_mut().enumerate() {
            if actor.feed != feed || !std::mem::take(&mut actor.unsaved) {
                continue;
            }
            let symbol_index = u32::try_from(index).unwrap_or(u32::MAX);
            // Later states of the same bar come later, so storing them in order keeps the newest.
            dirty.bars.extend(actor.closed.drain(..).map(|(interval, bar)| (symbol_index, interval, bar)));
            dirty.old.append(&mut actor.old);
            dirty.marks.append(&mut actor.marks);
            for (interval, bar) in Interval::ALL.into_iter().zip(actor.generator.open_bars()) {
                if !bar.is_empty() {
                    dirty.bars.push((symbol_index, interval, *bar));
                }
            }
        }
        dirty
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
