//! From the trades of one symbol to its candles at all intervals. A pure fold: what it emits depends on the order
//! of calls alone, never on a clock or on how calls were batched.
//!
//! ```text
//!  tick --> inside the open bar: add                 clock --> past the open bar's end: close, go on flat
//!       \-> after it: close up to the tick, open    gap ----> mark the bars it touches, flat ones too
//!       \-> before it: late: revise a closed bar (kept here, or `Old`: the database holds it), and the flat ones after it
//! ```
//!
//! Bars that the venue made (stored in place of ours) are kept for their close alone: no trade is
//! ever added to one, for it has it already.
//!
//! A trade counts in every interval's bar on its own, so no bar is ever derived from another one's close.

use std::collections::VecDeque;

use super::run::Run;
use model::interval::Interval;
use model::kline::{FINAL, FLAT, GAP, KlineData, NO_ID, SEEDED, Scaled, Tick};
use model::unit::Unit;

/// Closed bars kept per interval for revisions: two hours of minutes, fewer of the longer ones.
pub const KEPT: [usize; Interval::COUNT] = [120, 24, 8, 6, 4, 2, 2];
/// Gaps remembered for bars that are not there yet.
const GAPS_MAX: usize = 64;
/// Flat bars made in one go; a longer silence leaves a gap, because nobody knows whether the market was open.
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
    /// The bar is final; reported once.
    Closed(KlineData),
    /// A final bar changed; its revision grew.
    Revised(KlineData),
    /// A trade of a bar that is not kept here any more; the store adds it to that one.
    Old {
        /// Open time of that bar, us.
        open_time_us: i64,
        /// The trade.
        tick: Tick,
        /// What its amount is worth.
        unit: Unit,
        /// Bars that open at or after this are here, us.
        before_us: i64,
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
    /// The last bars with trades before those in memory: the flat ones that begin these go on at their closes. Empty: none.
    before: [KlineData; Interval::COUNT],
    /// Gaps that reach after the open minute, us: bars inside them that are made later are marked.
    gaps: Vec<(i64, i64)>,
    /// Trades up to this time, us, may be missing after the last one: flat bars go on at a price that nobody knows.
    unsettled: Option<i64>,
    /// What an amount is worth.
    unit: Unit,
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
        debug_assert!(self.run.is_empty(), "called in the middle of a batch");
        &self.open
    }

    /// The bars of an interval that are in memory, oldest first, the open one last.
    pub fn kept(&self, interval: Interval) -> impl Iterator<Item = &KlineData> {
        debug_assert!(self.run.is_empty(), "called in the middle of a batch");
        let i = interval.index();
        self.closed[i].iter().chain([&self.open[i]]).filter(|b| !b.is_empty())
    }

    /// Puts bars back that were stored: the newest of `bars` (oldest first) is the open one unless it is final. `before`:
    /// the last bar with trades before them, which matters when the first of them has none.
    pub fn restore(
        &mut self,
        interval: Interval,
        bars: impl IntoIterator<Item = KlineData>,
        before: Option<&KlineData>,
    ) {
        self.interrupt();
        let i = interval.index();
        let before = before.copied().unwrap_or_default();
        self.widen(&before);
        self.before[i] = before;
        for bar in bars {
            self.widen(&bar);
            if bar.is_final() { self.keep(i, bar) } else { self.open[i] = bar }
        }
        // A bar that was final and nothing after it: the next one opens flat at its close.
        if self.open[i].is_empty()
            && !self.halted
            && let Some(last) = self.closed[i].back().filter(|last| !last.is_foreign())
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
        self.widen(&bar);
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
        if self.open[i].is_empty() && self.closed[i].is_empty() {
            if part.trade_count > 0 {
                self.seed(interval, part);
            }
            return part.trade_count > 0;
        }
        let whole = |bar: &KlineData| -> Option<KlineData> {
            let flags = (bar.flags & !(FLAT | GAP)) | SEEDED;
            let (open_time_us, revision) = (bar.open_time_us, bar.revision);
            if open_time_us != part.open_time_us || bar.flags & SEEDED != 0 || bar.is_foreign() {
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
        self.widen(&bar);
        self.align();
        if !is_open {
            events.push(BarEvent { interval, what: What::Revised(bar) });
        }
        is_open
    }

    /// Adds a trade; closes what ends before it. Returns true when an open bar changed.
    ///
    /// # Errors
    /// [`TooManyDigits`]; it is in no bar, and those that lack it are marked.
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
    /// As [`KlineGenerator::apply`].
    #[inline]
    pub fn gather(&mut self, tick: &Tick, events: &mut Vec<BarEvent>) -> Result<bool, TooManyDigits> {
        let t = match Scaled::of(tick, self.price_scale, self.amount_scale, self.unit) {
            Some(t) => t,
            None => match self.refine(tick) {
                Ok(t) => t,
                Err(refused) => {
                    // Its bars lack it.
                    self.gap(tick.ts_us, tick.ts_us, true, events);
                    return Err(refused);
                }
            },
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
                self.add(i, tick, &t);
                changed = true;
            } else {
                changed |= self.apply_elsewhere(interval, tick, &t, events);
            }
        }
        if self.unsettled.is_some_and(|to| tick.ts_us > to) {
            self.unsettled = None;
        }
        self.begin_run();
        Ok(changed)
    }

    /// Puts the gathered trades into the open bars.
    #[inline]
    pub fn settle(&mut self) {
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
        if self.unsettled.is_some() {
            return self.run.stop();
        }
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

    /// What the amounts of its trades are worth from now on.
    pub fn set_unit(&mut self, unit: Unit) {
        self.interrupt();
        self.unit = unit;
    }

    /// Bars that end at or before `now_us`, the venue's time, are closed; the next ones are open and flat.
    pub fn close_until(&mut self, now_us: i64, events: &mut Vec<BarEvent>) -> bool {
        self.interrupt();
        let mut any = false;
        for interval in Interval::ALL {
            let i = interval.index();
            if let Some(behind) = self.behind_foreign(interval).filter(|bar| bar.open_time_us <= now_us) {
                any = true;
                self.open[i] = behind;
            }
            let bar = self.open[i];
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

    /// Trades between `from_us` and `to_us` are missing: the bars they would be in are marked. `unsettled`: no trade came
    /// since, so flat bars up to the next one are marked as well.
    pub fn gap(&mut self, from_us: i64, to_us: i64, unsettled: bool, events: &mut Vec<BarEvent>) {
        self.interrupt();
        if unsettled {
            self.unsettled = self.unsettled.max(Some(to_us));
        }
        let next = |(interval, bar): (Interval, &KlineData)| match bar.is_empty() {
            true => i64::MIN,
            false => interval.next(bar.open_time_us),
        };
        let next_us = Interval::ALL.into_iter().zip(&self.open).map(next).min().unwrap_or(i64::MIN);
        // Bars of the others are all there.
        self.gaps.retain(|(_, to)| *to >= next_us);
        if to_us >= next_us {
            if self.gaps.len() >= GAPS_MAX {
                self.gaps.remove(0);
            }
            self.gaps.push((from_us, to_us));
        }
        for interval in Interval::ALL {
            self.mark(interval, from_us, to_us, events, |flags| flags | GAP);
        }
    }

    /// In the bars of an interval that open from `from_us` to `to_us` nothing is missing any more.
    pub fn repaired(&mut self, interval: Interval, from_us: i64, to_us: i64, events: &mut Vec<BarEvent>) {
        self.settle();
        self.gaps.retain(|(from, to)| *from < from_us || *to >= interval.next(to_us));
        if self.unsettled.is_some_and(|to| from_us <= to && to < interval.next(to_us)) {
            self.unsettled = None;
        }
        self.mark(interval, from_us, to_us, events, |flags| flags & !GAP);
    }

    /// The slow half of [`KlineGenerator::apply`]: the first trade, the first one after a bar, a late one.
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
        let is_late = |last: &KlineData| open_time_us <= last.open_time_us;
        if self.open[i].is_empty() && !self.closed[i].back().is_some_and(is_late) {
            self.open[i] = self.behind_foreign(interval).unwrap_or(KlineData {
                open_time_us,
                price_scale: self.price_scale,
                amount_scale: self.amount_scale,
                flags: self.gap_flag(interval, open_time_us),
                ..KlineData::default()
            });
        }
        if !self.open[i].is_empty() {
            if open_time_us > self.open[i].open_time_us {
                self.advance(interval, open_time_us, events);
            }
            if open_time_us == self.open[i].open_time_us {
                self.add(i, tick, t);
                return true;
            }
        }
        self.late(interval, open_time_us, tick, t, events);
        false
    }

    /// Adds a trade to an open bar.
    #[inline]
    fn add(&mut self, i: usize, tick: &Tick, t: &Scaled) {
        let bar = &mut self.open[i];
        if let Some(to_us) = self.unsettled
            && tick.ts_us > to_us
            && bar.open_time_us > to_us
            && is_flat(bar)
        {
            // Its price was not known; its trades are all there.
            bar.flags &= !GAP;
        }
        bar.add(t);
    }

    /// A trade of a bar that is closed.
    fn late(&mut self, interval: Interval, open_time_us: i64, tick: &Tick, t: &Scaled, events: &mut Vec<BarEvent>) {
        let i = interval.index();
        if let Some(bar) = self.closed[i].iter_mut().rev().find(|b| b.open_time_us == open_time_us) {
            if bar.is_foreign() {
                // Whoever made it counted the trade, and knows the price that flat bars after it go on at.
                let close = bar.close;
                return self.go_on(interval, open_time_us, close, events);
            }
            let (before, was_flat) = (bar.close, is_flat(bar));
            bar.add(t);
            bar.revision += 1;
            let bar = *bar;
            events.push(BarEvent { interval, what: What::Revised(bar) });
            if bar.close != before || was_flat {
                self.go_on(interval, open_time_us, bar.close, events);
            }
            return;
        }
        let first = self.kept_all(i).next().map_or(i64::MAX, |bar| bar.open_time_us);
        events.push(BarEvent {
            interval,
            what: What::Old { open_time_us, tick: *tick, unit: self.unit, before_us: first },
        });
        if open_time_us > first {
            // A bar that was never made lies between those that are here: they go on at its close all the same.
            self.go_on(interval, open_time_us, t.price, events);
            return;
        }
        if !self.kept_all(i).next().is_some_and(is_flat) {
            return;
        }
        let before = self.before[i];
        if before.is_foreign() && open_time_us == before.open_time_us {
            // Whoever made it counted the trade, and knows the price.
            return self.go_on(interval, open_time_us, before.close, events);
        }
        let last = t.first_id == NO_ID || t.last_id >= before.last_trade_id;
        if open_time_us > before.open_time_us || (open_time_us == before.open_time_us && last) {
            let bar = KlineData { last_trade_id: t.last_id, ..KlineData::default() };
            self.before[i] = KlineData { open_time_us, close: t.price, price_scale: self.price_scale, ..bar };
            self.go_on(interval, open_time_us, t.price, events);
        }
    }

    /// The bars of an interval, oldest first.
    fn kept_all(&self, i: usize) -> impl Iterator<Item = &KlineData> {
        self.closed[i].iter().chain([&self.open[i]]).filter(|bar| !bar.is_empty())
    }

    /// Flat bars that follow the one that opens at `open_time_us` go on at its `close`.
    fn go_on(&mut self, interval: Interval, open_time_us: i64, mut close: i64, events: &mut Vec<BarEvent>) {
        let i = interval.index();
        for bar in self.closed[i].iter_mut().filter(|bar| bar.open_time_us > open_time_us) {
            if !is_flat(bar) {
                return;
            }
            if bar.is_foreign() {
                // Whoever made it knows the price.
                close = bar.close;
            } else if bar.close != close {
                (bar.open, bar.high, bar.low, bar.close) = (close, close, close, close);
                bar.revision += 1;
                events.push(BarEvent { interval, what: What::Revised(*bar) });
            }
        }
        let bar = &mut self.open[i];
        if !bar.is_empty() && is_flat(bar) && bar.open_time_us > open_time_us {
            (bar.open, bar.high, bar.low, bar.close) = (close, close, close, close);
        }
    }

    /// The bar that follows when none is open and the last one is the venue's.
    fn behind_foreign(&self, interval: Interval) -> Option<KlineData> {
        let i = interval.index();
        let last = self.closed[i].back().filter(|last| last.is_foreign())?;
        if !self.open[i].is_empty() || self.halted {
            return None;
        }
        Some(self.flat_behind(last, interval))
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
            let mut next = self.flat_behind(&bar, interval);
            let behind = (to_us - next.open_time_us) / len;
            if behind > MAX_FLAT {
                next.open_time_us = to_us;
            }
            self.open[i] = KlineData { flags: next.flags | self.gap_flag(interval, next.open_time_us), ..next };
        }
    }

    fn flat_behind(&self, bar: &KlineData, interval: Interval) -> KlineData {
        let next = next_flat(bar, interval);
        let unknown = if self.unsettled.is_some() { GAP } else { 0 };
        KlineData { flags: next.flags | unknown | self.gap_flag(interval, next.open_time_us), ..next }
    }

    /// [`GAP`] when a gap touches the bar that opens at `open_us`.
    fn gap_flag(&self, interval: Interval, open_us: i64) -> u16 {
        let touches = |(from, to): &(i64, i64)| *from < interval.next(open_us) && *to >= open_us;
        if self.gaps.iter().any(touches) { GAP } else { 0 }
    }

    fn keep(&mut self, i: usize, bar: KlineData) {
        let ring = &mut self.closed[i];
        if ring.is_empty() && ring.capacity() < KEPT[i] {
            // All of it at once, and touched: otherwise memory would rise for two hours, and look like a leak.
            ring.reserve_exact(KEPT[i]);
            ring.resize(KEPT[i], bar);
            ring.clear();
        }
        if ring.len() >= KEPT[i]
            && let Some(gone) = ring.pop_front()
            && !is_flat(&gone)
        {
            self.before[i] = gone;
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
        let touches = |b: &KlineData| {
            !b.is_empty() && !b.is_foreign() && b.open_time_us <= to_us && interval.next(b.open_time_us) > from_us
        };
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
            let amount_scale = a.scale.saturating_add(self.unit.scale());
            let (ps, amounts) = (self.price_scale.max(p.scale), self.amount_scale.max(amount_scale));
            let fits = self.bars().all(|b| b.rescaled(ps, amounts).is_some());
            let trimmed = Tick { price: p, amount: a, ..*tick };
            if fits && let Some(t) = Scaled::of(&trimmed, ps, amounts, self.unit) {
                (self.price_scale, self.amount_scale) = (ps, amounts);
                self.align();
                return Ok(t);
            }
        }
        Err(TooManyDigits)
    }

    fn bars(&self) -> impl Iterator<Item = &KlineData> {
        self.open.iter().chain(self.closed.iter().flatten()).chain(&self.before)
    }

    /// The symbol's scales hold those of a bar.
    fn widen(&mut self, bar: &KlineData) {
        self.price_scale = self.price_scale.max(bar.price_scale);
        self.amount_scale = self.amount_scale.max(bar.amount_scale);
    }

    /// Brings all bars to the symbol's scales.
    fn align(&mut self) {
        let (p, a) = (self.price_scale, self.amount_scale);
        for bar in self.open.iter_mut().chain(self.closed.iter_mut().flatten()).chain(&mut self.before) {
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
