//! From the trades of one symbol to its candles at all intervals. A pure fold: what it emits depends on the order
//! of calls alone, never on a clock or on how calls were batched.
//!
//! ```text
//!  tick --> inside the open bar: add                 clock --> past the open bar's end: close, go on flat
//!       \-> behind it: close up to the tick, open    gap ----> mark the bars it touches, flat ones too
//!       \-> before it: late: revise a closed bar (kept here, or `Old`: the database holds it)
//! ```
//!
//! A trade counts in every interval's bar on its own, so no bar is ever derived from another one's close.

use std::collections::VecDeque;

use super::data::{FINAL, FLAT, GAP, KlineData, NO_ID, SEEDED, Scaled, Tick};
use super::interval::Interval;
use super::run::Run;

/// Closed bars kept per interval for revisions: two hours of minutes, fewer of the longer ones.
pub const KEPT: [usize; Interval::COUNT] = [120, 24, 8, 6, 4, 2, 2];
/// Flat bars made in one go; a longer silence leaves a hole, because nobody knows whether the market was open.
const MAX_FLAT: i64 = 1_500;

/// A change that is more than an update of an open bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarEvent {
    /// Which interval.
    pub interval: Interval,
    /// What happened.
    pub what: What,
}

/// See [`BarEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The bar is final; told once.
    Closed(KlineData),
    /// A final bar changed; its revision grew.
    Revised(KlineData),
    /// A trade of a bar that is not kept here any more; whoever stores bars adds it to that one.
    Old {
        /// Open time of that bar, us.
        open_time_us: i64,
        /// The trade.
        tick: Tick,
    },
}

/// A tick that no scales of its symbol can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a price or amount has more digits than a candle can hold")]
pub struct TooManyDigits;

/// The candles of one symbol.
#[derive(Clone, Debug, Default)]
pub struct KlineGenerator {
    price_scale: u8,
    amount_scale: u8,
    open: [KlineData; Interval::COUNT],
    closed: [VecDeque<KlineData>; Interval::COUNT],
    /// Trades up to this id are in the seeded bar already.
    seeded_to: [Option<i64>; Interval::COUNT],
    /// The latest gap, us; flat bars inside it are marked.
    gap: Option<(i64, i64)>,
    /// Trades that are not in the open bars yet; empty between batches.
    run: Run,
    /// The venue's listing says that it does not trade: silence makes no bars.
    halted: bool,
}

impl KlineGenerator {
    /// No trade yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The open bars by period index; empty ones before the first trade.
    pub fn open_bars(&self) -> &[KlineData; Interval::COUNT] {
        debug_assert!(self.run.is_empty(), "asked in the middle of a batch");
        &self.open
    }

    /// The bars of an interval that are in memory, oldest first, the open one last.
    pub fn kept(&self, interval: Interval) -> impl Iterator<Item = &KlineData> {
        debug_assert!(self.run.is_empty(), "asked in the middle of a batch");
        let i = interval.index();
        self.closed[i].iter().chain([&self.open[i]]).filter(|b| !b.is_empty())
    }

    /// Puts bars back that were stored: the newest of `bars` (oldest first) is the open one unless it is final.
    pub fn restore(&mut self, interval: Interval, bars: impl IntoIterator<Item = KlineData>) {
        self.interrupt();
        let i = interval.index();
        for bar in bars {
            (self.price_scale, self.amount_scale) =
                (self.price_scale.max(bar.price_scale), self.amount_scale.max(bar.amount_scale));
            if bar.is_final() { self.keep(i, bar) } else { self.open[i] = bar }
        }
        // A bar that was final and nothing behind it: the next one opens flat at its close.
        if self.open[i].is_empty()
            && !self.halted
            && let Some(last) = self.closed[i].back()
        {
            self.open[i] = next_flat(last, interval);
        }
        self.align();
    }

    /// Begins the open bar of an interval with the venue's own candle, whose trades end with
    /// `bar.last_trade_id`; trades up to that id are then left out of this interval.
    pub fn seed(&mut self, interval: Interval, bar: KlineData) {
        self.interrupt();
        let i = interval.index();
        self.price_scale = self.price_scale.max(bar.price_scale);
        self.amount_scale = self.amount_scale.max(bar.amount_scale);
        self.seeded_to[i] = Some(bar.last_trade_id);
        self.open[i] = KlineData { flags: bar.flags | SEEDED, ..bar };
        self.align();
    }

    /// Puts what was traded before recording began in front of the bar that was open then: `part` ends right before
    /// the first trade of it; without a trade it says that there was none. The bar may be open still, or closed and
    /// kept; its gap mark is over. Returns true when an open bar changed; a part that fits no bar changes nothing.
    pub fn prepend(&mut self, interval: Interval, part: KlineData, events: &mut Vec<BarEvent>) -> bool {
        self.interrupt();
        let i = interval.index();
        if self.open[i].is_empty() {
            if part.trade_count > 0 {
                self.seed(interval, part);
            }
            return part.trade_count > 0;
        }
        let whole = |bar: &KlineData| -> Option<KlineData> {
            let flags = (bar.flags & !(FLAT | GAP)) | SEEDED;
            let (open_time_us, revision) = (bar.open_time_us, bar.revision);
            if open_time_us != part.open_time_us || bar.flags & SEEDED != 0 {
                return None;
            }
            if part.trade_count == 0 {
                return (bar.flags & GAP != 0).then_some(KlineData { flags: bar.flags & !GAP, ..*bar });
            }
            if bar.trade_count == 0 {
                return Some(KlineData { flags, revision, ..part });
            }
            let joins = bar.first_trade_id == part.last_trade_id.saturating_add(1);
            let whole = if joins { part.joined(bar)? } else { return None };
            Some(KlineData { flags, revision, ..whole })
        };
        let is_open = self.open[i].open_time_us == part.open_time_us;
        let place = if is_open {
            Some(&mut self.open[i])
        } else {
            self.closed[i].iter_mut().find(|b| b.open_time_us == part.open_time_us)
        };
        let Some((place, mut bar)) = place.and_then(|p| Some((whole(p)?, p))).map(|(bar, p)| (p, bar)) else {
            return false;
        };
        if !is_open {
            bar.revision += 1;
        }
        *place = bar;
        (self.price_scale, self.amount_scale) =
            (self.price_scale.max(bar.price_scale), self.amount_scale.max(bar.amount_scale));
        self.align();
        if !is_open {
            events.push(BarEvent { interval, what: What::Revised(bar) });
        }
        is_open
    }

    /// Adds a trade; closes what ends before it. Returns true when an open bar changed.
    ///
    /// # Errors
    /// [`TooManyDigits`]; nothing changed.
    #[inline]
    pub fn apply(&mut self, tick: &Tick, events: &mut Vec<BarEvent>) -> Result<bool, TooManyDigits> {
        let changed = self.gather(tick, events);
        self.settle();
        changed
    }

    /// As [`KlineGenerator::apply`], for many trades in a row: the open bars have them after
    /// [`KlineGenerator::settle`]. Each trade of a run costs one sum instead of seven.
    ///
    /// # Errors
    /// [`TooManyDigits`]; nothing changed.
    #[inline]
    pub(super) fn gather(&mut self, tick: &Tick, events: &mut Vec<BarEvent>) -> Result<bool, TooManyDigits> {
        let t = match Scaled::of(tick, self.price_scale, self.amount_scale) {
            Some(t) => t,
            None => self.refine(tick)?,
        };
        if self.run.take(tick.ts_us, &t) {
            return Ok(true);
        }
        self.settle();
        let mut changed = false;
        for interval in Interval::ALL {
            let i = interval.index();
            let since = tick.ts_us.wrapping_sub(self.open[i].open_time_us);
            // Most of them: inside the open bar. An empty one is further away than any interval is long.
            if (0..interval.len_us()).contains(&since) && !self.open[i].is_empty() && self.seeded_to[i].is_none() {
                self.open[i].add(&t);
                changed = true;
            } else {
                changed |= self.apply_elsewhere(interval, tick, &t, events);
            }
        }
        self.begin_run();
        Ok(changed)
    }

    /// Puts the gathered trades into the open bars.
    #[inline]
    pub(super) fn settle(&mut self) {
        if !self.run.is_empty() {
            for bar in &mut self.open {
                self.run.add_to(bar);
            }
            self.run.clear();
        }
    }

    /// True when the open bars have every trade.
    #[cfg(test)]
    pub(super) fn run_is_empty(&self) -> bool {
        self.run.is_empty()
    }

    /// Something else than trades will change the open bars.
    fn interrupt(&mut self) {
        self.settle();
        self.run.stop();
    }

    /// A run may begin where every open bar holds the open minute and has no trades of its own to leave out.
    fn begin_run(&mut self) {
        let minute_us = self.open[0].open_time_us;
        let mut last_id = NO_ID;
        for (interval, (bar, seeded)) in Interval::ALL.into_iter().zip(self.open.iter().zip(&self.seeded_to)) {
            let inside = (0..interval.len_us()).contains(&minute_us.wrapping_sub(bar.open_time_us));
            if bar.is_empty() || !inside || seeded.is_some() {
                return self.run.stop();
            }
            last_id = last_id.max(bar.last_trade_id);
        }
        self.run.begin(minute_us, last_id);
    }

    /// The symbol does not trade from now on, or does again. While it does not, bars close at their ends and no flat
    /// ones follow; its next trade opens new ones.
    pub fn halt(&mut self, halted: bool) {
        self.halted = halted;
    }

    /// Bars that end at or before `now_us`, the venue's time, are closed; the next ones are open and flat.
    pub fn close_until(&mut self, now_us: i64, events: &mut Vec<BarEvent>) -> bool {
        self.interrupt();
        let mut any = false;
        for interval in Interval::ALL {
            let bar = self.open[interval.index()];
            if !bar.is_empty() && interval.next(bar.open_time_us) <= now_us {
                any = true;
                if self.halted {
                    self.close(interval, events);
                } else {
                    self.advance(interval, interval.open_of(now_us), events);
                }
            }
        }
        any
    }

    /// Trades between `from_us` and `to_us` are missing: the bars they would be in are marked.
    pub fn gap(&mut self, from_us: i64, to_us: i64, events: &mut Vec<BarEvent>) {
        self.settle();
        self.gap = Some((from_us, to_us));
        for interval in Interval::ALL {
            self.mark(interval, from_us, to_us, events, |flags| flags | GAP);
        }
    }

    /// In the bars of an interval that open from `from_us` to `to_us` nothing is missing any more.
    pub fn repaired(&mut self, interval: Interval, from_us: i64, to_us: i64, events: &mut Vec<BarEvent>) {
        self.settle();
        if self.gap.is_some_and(|(from, to)| from_us <= from && to < interval.next(to_us)) {
            self.gap = None;
        }
        self.mark(interval, from_us, to_us, events, |flags| flags & !GAP);
    }

    /// The slow half of [`KlineGenerator::apply`]: the first trade, the first one behind a bar, a late one.
    #[cold]
    fn apply_elsewhere(&mut self, interval: Interval, tick: &Tick, t: &Scaled, events: &mut Vec<BarEvent>) -> bool {
        let i = interval.index();
        if let Some(to) = self.seeded_to[i] {
            if tick.last_id <= to && tick.ts_us < interval.next(self.open[i].open_time_us) {
                return false;
            }
            self.seeded_to[i] = None;
        }
        let open_time_us = interval.open_of(tick.ts_us);
        if self.open[i].is_empty() {
            self.open[i] = KlineData {
                open_time_us,
                price_scale: self.price_scale,
                amount_scale: self.amount_scale,
                flags: if self.in_gap(interval, open_time_us) { GAP } else { 0 },
                ..KlineData::default()
            };
        }
        if open_time_us > self.open[i].open_time_us {
            self.advance(interval, open_time_us, events);
        }
        if open_time_us == self.open[i].open_time_us {
            self.open[i].add(t);
            return true;
        }
        match self.closed[i].iter_mut().rev().find(|b| b.open_time_us == open_time_us) {
            Some(bar) => {
                bar.add(t);
                bar.revision += 1;
                events.push(BarEvent { interval, what: What::Revised(*bar) });
            }
            None => events.push(BarEvent { interval, what: What::Old { open_time_us, tick: *tick } }),
        }
        false
    }

    /// Closes the open bar; none is open then.
    fn close(&mut self, interval: Interval, events: &mut Vec<BarEvent>) -> KlineData {
        let i = interval.index();
        let mut bar = std::mem::take(&mut self.open[i]);
        bar.flags |= FINAL;
        self.keep(i, bar);
        events.push(BarEvent { interval, what: What::Closed(bar) });
        self.seeded_to[i] = None;
        bar
    }

    /// Closes the open bar and makes flat ones until the one that opens at `to_us` is open.
    fn advance(&mut self, interval: Interval, to_us: i64, events: &mut Vec<BarEvent>) {
        let i = interval.index();
        let len = interval.len_us();
        while self.open[i].open_time_us < to_us {
            let bar = self.close(interval, events);
            let mut next = next_flat(&bar, interval);
            let behind = (to_us - next.open_time_us) / len;
            if behind > MAX_FLAT {
                next.open_time_us = to_us;
            }
            if self.in_gap(interval, next.open_time_us) {
                next.flags |= GAP;
            }
            self.open[i] = next;
        }
    }

    /// True when the latest gap touches the bar that opens at `open_us`.
    fn in_gap(&self, interval: Interval, open_us: i64) -> bool {
        self.gap.is_some_and(|(from, to)| from < interval.next(open_us) && to >= open_us)
    }

    fn keep(&mut self, i: usize, bar: KlineData) {
        let ring = &mut self.closed[i];
        if ring.is_empty() && ring.capacity() < KEPT[i] {
            // All of it at once, and touched: otherwise memory would rise for two hours, and look like a leak.
            ring.reserve_exact(KEPT[i]);
            ring.resize(KEPT[i], bar);
            ring.clear();
        }
        if ring.len() >= KEPT[i] {
            ring.pop_front();
        }
        ring.push_back(bar);
    }

    fn mark(
        &mut self,
        interval: Interval,
        from_us: i64,
        to_us: i64,
        events: &mut Vec<BarEvent>,
        flags: impl Fn(u16) -> u16,
    ) {
        let touches =
            |b: &KlineData| !b.is_empty() && b.open_time_us <= to_us && interval.next(b.open_time_us) > from_us;
        let i = interval.index();
        if touches(&self.open[i]) {
            self.open[i].flags = flags(self.open[i].flags);
        }
        for bar in self.closed[i].iter_mut().filter(|b| touches(b)) {
            let marked = flags(bar.flags);
            if marked != bar.flags {
                bar.flags = marked;
                bar.revision += 1;
                events.push(BarEvent { interval, what: What::Revised(*bar) });
            }
        }
    }

    /// A tick with more decimals than any before: all bars kept get them too.
    #[cold]
    fn refine(&mut self, tick: &Tick) -> Result<Scaled, TooManyDigits> {
        self.settle();
        let (p, a) = (tick.price.normalized(), tick.amount.normalized());
        // Zeros at the end need no decimals of their own when the full text does not fit.
        for (p, a) in [(tick.price, tick.amount), (p, a)] {
            let (ps, amounts) = (self.price_scale.max(p.scale), self.amount_scale.max(a.scale));
            let fits = self.bars().all(|b| b.rescaled(ps, amounts).is_some());
            let trimmed = Tick { price: p, amount: a, ..*tick };
            if fits && let Some(t) = Scaled::of(&trimmed, ps, amounts) {
                (self.price_scale, self.amount_scale) = (ps, amounts);
                self.align();
                return Ok(t);
            }
        }
        Err(TooManyDigits)
    }

    fn bars(&self) -> impl Iterator<Item = &KlineData> {
        self.open.iter().chain(self.closed.iter().flatten())
    }

    /// Brings all bars to the symbol's scales.
    fn align(&mut self) {
        let (p, a) = (self.price_scale, self.amount_scale);
        for bar in self.open.iter_mut().chain(self.closed.iter_mut().flatten()) {
            if let Some(finer) = bar.rescaled(p, a) {
                *bar = finer;
            }
        }
    }
}

fn next_flat(bar: &KlineData, interval: Interval) -> KlineData {
    KlineData::flat(interval.next(bar.open_time_us), bar.close, bar.price_scale, bar.amount_scale)
}

/// True for a bar in which nothing was traded.
pub fn is_flat(bar: &KlineData) -> bool {
    bar.flags & FLAT != 0
}

#[cfg(test)]
#[path = "generator_tests.rs"]
mod tests;
