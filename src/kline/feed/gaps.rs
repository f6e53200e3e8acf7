//! What a symbol's bars lack: gaps in its ids until they are filled, its first trades until the venue's candle seeds them,
//! times in which it was not recorded.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::gap::{Interruption, TradeGap, UNFILLABLE, first_row};
use super::{CandleFeed, MINUTE_US, NEVER, StreamSymbols, time_of};
use crate::message::Item;
use crate::seed::{self, First};
use crate::touched;
use model::interval::Interval;
use model::kline::{KlineData, NO_ID, Tick};
use model::{Channel, SymbolId};
use venue::{Continuity, Want};

/// After the longest bar a gap has nothing left to mark.
const GAPS_KEPT_US: i64 = 8 * 1_440 * MINUTE_US;
/// Gaps remembered until they are filled; beyond it the oldest stay marked.
const ID_GAPS_MAX: usize = 4_096;
/// Interruptions reported again after a restart.
const INTERRUPTIONS_MAX: usize = 256;
/// A trade is on its way for no longer than this, us.
const ON_ITS_WAY_US: i64 = 1_000_000;

impl CandleFeed {
    /// The symbols whose first bars lack a seed, as soon as the venue's candles before it are settled. Each
    /// is given once; the seeder answers through [`CandleFeed::seeded`], or this feed's next run gives it again.
    pub(crate) fn take_seeds(&mut self) -> Vec<(String, First)> {
        let Some(now_us) = self.state.venue_now_us else { return Vec::new() };
        // After the longest bar nothing is left to begin.
        self.state.seeds.retain(|_, first| first.ts_us > now_us - GAPS_KEPT_US);
        let due = self.state.seeds.iter().filter(|(_, first)| seed::ready_at_us(first) <= now_us);
        let due: Vec<_> = due.filter(|(s, _)| !self.requested.contains(*s)).map(|(s, f)| (s.clone(), *f)).collect();
        self.requested.extend(due.iter().map(|(symbol, _)| symbol.clone()));
        due
    }

    /// The venue answered: `seeds` come before the first row of a symbol, in intervals without one nothing was
    /// traded before. Bars that they fit have no mark any more; one that they do not fit keeps it.
    pub fn seeded(&mut self, symbol: &str, first: &First, seeds: &[(Interval, KlineData)], out: &mut Vec<Item>) {
        if self.state.seeds.get(symbol) != Some(first) {
            // An earlier row came late meanwhile: it is requested again, before that one.
            self.requested.remove(symbol);
            return;
        }
        self.state.seeds.remove(symbol);
        self.id_gaps.retain(|h| h.symbol != symbol || h.from_id != UNFILLABLE);
        let Some(symbol_index) = self.registry.index(self.venue.id().as_str(), symbol) else { return };
        for interval in Interval::ALL {
            let nothing = KlineData { open_time_us: interval.open_of(first.ts_us), ..KlineData::default() };
            let part = seeds.iter().find(|(i, _)| *i == interval).map_or(nothing, |(_, bar)| *bar);
            out.push(Item::Seed { symbol_index, interval, bar: Box::new(part) });
        }
        self.mark_again(symbol, symbol_index, out);
    }

    /// A late row right before the first one is the first one now.
    #[cold]
    pub(super) fn earlier(&mut self, symbol: SymbolId, tick: &Tick) {
        let name = self.decoder.rows.symbols.name(symbol);
        if let Some(first) = self.state.seeds.get_mut(name)
            && Some(tick.last_id) == first.trade_id.checked_sub(1)
        {
            *first = First { ts_us: first.ts_us.min(tick.ts_us), ..first_row(tick) };
        }
    }

    #[cold]
    pub(super) fn id_gap(
        &mut self,
        symbol: SymbolId,
        symbol_index: u32,
        (ids, unsure): ((i64, i64), bool),
        to_us: i64,
        unsettled: bool,
        out: &mut Vec<Item>,
    ) {
        let last = (*self.last_of(symbol)).max(*time_of(&mut self.seen_us, symbol));
        let from_us = if last == NEVER { to_us } else { last.min(to_us) };
        let name = self.decoder.rows.symbols.name(symbol).to_owned();
        self.remember(TradeGap { symbol: name, from_id: ids.0, to_id: ids.1, from_us, to_us, unsure });
        out.push(Item::Gap { symbol_index, from_us, to_us, unsettled });
    }

    /// Later rows showed what an id that was far from all before means: a gap that is none marks nothing any more.
    #[cold]
    pub(super) fn settled(&mut self, symbol: SymbolId, symbol_index: u32, out: &mut Vec<Item>) {
        let name = self.decoder.rows.symbols.name(symbol);
        let (tracker, source) = (&self.tracker, self.source);
        let mut over = Vec::new();
        self.id_gaps.retain_mut(|gap| {
            if !gap.unsure || gap.symbol != name {
                return true;
            }
            let Some(open) = tracker.open(name, source, gap.from_id, gap.to_id) else { return true };
            gap.unsure = false;
            if open.is_empty() {
                over.push((gap.from_us, gap.to_us));
            }
            !open.is_empty()
        });
        let name = name.to_owned();
        self.unmark(&name, symbol_index, &over, out);
    }

    /// Keeps a gap until it is filled, or until no open bar can touch it any more.
    pub(super) fn remember(&mut self, gap: TradeGap) {
        let now_us = self.state.venue_now_us.unwrap_or(0);
        self.id_gaps.retain(|h| h.to_us > now_us - GAPS_KEPT_US);
        if self.id_gaps.len() >= ID_GAPS_MAX {
            self.id_gaps.remove(0);
        }
        self.id_gaps.push(gap);
        self.doubtful = self.id_gaps.iter().filter(|gap| gap.unsure).count();
    }

    /// A late row came: what is missing on either side of it is a gap of its own, and bars that no gap touches any more
    /// are whole.
    #[cold]
    pub(super) fn filled(&mut self, symbol: SymbolId, symbol_index: u32, row_id: i64, ts_us: i64, out: &mut Vec<Item>) {
        let name = self.decoder.rows.symbols.name(symbol);
        let (tracker, source) = (&self.tracker, self.source);
        let mut over = Vec::new();
        let mut more = Vec::new();
        self.id_gaps.retain_mut(|gap| {
            let is_in = gap.symbol == name && gap.from_id != UNFILLABLE && (gap.from_id..=gap.to_id).contains(&row_id);
            if !is_in {
                return true;
            }
            let Some(open) = tracker.open(name, source, gap.from_id, gap.to_id) else { return true };
            let at_us = ts_us.clamp(gap.from_us, gap.to_us);
            let (whole, minute) = ((gap.from_us, gap.to_us), |us: i64| Interval::M1.open_of(us));
            let before = open.iter().any(|(from, _)| *from < row_id);
            let behind = open.iter().any(|(_, to)| *to > row_id);
            // Where both sides are left, or the one that is over lies in one minute, no bar is whole now.
            if (!before && minute(at_us) != minute(gap.from_us))
                || (!behind && minute(at_us) != minute(gap.to_us))
                || (!before && !behind)
            {
                over.push(whole);
            }
            if before && behind {
                more.push(TradeGap { from_id: row_id.saturating_add(1), from_us: at_us, ..gap.clone() });
            }
            match (before, behind) {
                (true, _) => (gap.to_id, gap.to_us) = (row_id.saturating_sub(1), at_us),
                (false, true) => (gap.from_id, gap.from_us) = (row_id.saturating_add(1), at_us),
                (false, false) => {}
            }
            before || behind
        });
        let name = name.to_owned();
        for gap in more {
            self.remember(gap);
        }
        self.unmark(&name, symbol_index, &over, out);
    }

    /// Bars that these times touch and no gap does any more are whole.
    fn unmark(&mut self, symbol: &str, symbol_index: u32, over: &[(i64, i64)], out: &mut Vec<Item>) {
        self.doubtful = self.id_gaps.iter().filter(|gap| gap.unsure).count();
        if over.is_empty() {
            return;
        }
        let left: Vec<(i64, i64)> =
            self.id_gaps.iter().filter(|h| h.symbol == symbol).map(|h| (h.from_us, h.to_us)).collect();
        for (interval, gap) in Interval::ALL.into_iter().flat_map(|i| over.iter().map(move |gap| (i, *gap))) {
            let whole = touched::whole(interval, gap, &left).into_iter();
            out.extend(whole.map(|(from_us, to_us)| Item::Repaired { symbol_index, interval, from_us, to_us }));
        }
    }

    /// Bars that a gap still touches keep their mark.
    pub(super) fn mark_again(&self, symbol: &str, symbol_index: u32, out: &mut Vec<Item>) {
        for gap in self.id_gaps.iter().filter(|h| h.symbol == symbol) {
            let (from_us, to_us) = (gap.from_us, gap.to_us);
            out.push(Item::Gap { symbol_index, from_us, to_us, unsettled: false });
        }
    }

    /// What was traded between these times was not recorded, and is not filled.
    pub(super) fn unfillable_gap(
        &mut self,
        symbol: &str,
        symbol_index: u32,
        from_us: i64,
        to_us: i64,
        out: &mut Vec<Item>,
    ) {
        let symbol = symbol.to_owned();
        self.remember(TradeGap { symbol, from_id: UNFILLABLE, to_id: NO_ID, from_us, to_us, unsure: false });
        out.push(Item::Gap { symbol_index, from_us, to_us, unsettled: false });
    }

    /// A symbol that was recorded no more is again, from `now_us` on.
    #[cold]
    pub(super) fn recorded_again(&mut self, symbol: SymbolId, symbol_index: u32, now_us: i64, out: &mut Vec<Item>) {
        let name = self.decoder.rows.symbols.name(symbol).to_owned();
        if let Some(since_us) = self.state.unrecorded.remove(&name) {
            // A trade of another channel may be older than the last one: both count in its bars.
            self.unfillable_gap(&name, symbol_index, since_us.min(now_us), since_us.max(now_us), out);
            out.push(Item::Halt { symbol_index, halted: self.is_silent(&name) });
        }
    }

    /// The candles are made of another channel than those before: neither do ids go on, nor can the trades of the two be
    /// matched. Up to the first trade of each symbol its bars are marked, and nobody fills what they lack.
    pub(super) fn adopt_source(&mut self) {
        let now = self.source.to_string();
        let trades = [Channel::Trades, Channel::AggTrades].map(|c| c.to_string());
        let channels: BTreeSet<&String> = self.state.gaps.0.values().flat_map(|ids| ids.keys()).collect();
        // A state of version 1 shows it by the ids that it knows.
        let by_ids = || trades.iter().find(|c| **c != now && channels.contains(c) && !channels.contains(&now)).cloned();
        let before = self.state.source.replace(now.clone()).or_else(by_ids);
        let Some(before) = before.filter(|before| *before != now) else { return };
        let last = (0_u32..).zip(&self.last_us).filter(|(_, us)| **us != NEVER);
        let last: Vec<(SymbolId, i64)> = last.map(|(i, us)| (SymbolId(i), *us)).collect();
        for (symbol, us) in &last {
            let name = self.decoder.rows.symbols.name(*symbol).to_owned();
            if let Ok(channel) = before.parse() {
                self.tracker.forget(&name, channel);
            }
            self.state.unrecorded.entry(name).or_insert(*us);
        }
        self.state.seeds.clear();
        for gap in &mut self.id_gaps {
            (gap.from_id, gap.to_id, gap.unsure) = (UNFILLABLE, NO_ID, false);
        }
        self.other_source = Some((before, last.iter().map(|(_, us)| *us).max().unwrap_or(0)));
    }

    /// The stored bar of the last trade of a symbol is gone: the one that goes on in its place lacks what it held.
    pub fn lacking(&mut self, symbol: &str, symbol_index: u32, last_us: i64, out: &mut Vec<Item>) {
        self.unfillable_gap(symbol, symbol_index, last_us, last_us, out);
    }

    /// Records received between these times are lost, us. Ids show what they held; where there are none all is marked.
    pub fn lost(&mut self, from_us: i64, to_us: i64, out: &mut Vec<Item>) {
        self.interrupted(from_us, to_us, None, out);
    }

    /// A GAP record: its streams may have missed frames.
    #[cold]
    pub(super) fn named_gap(&mut self, payload: &[u8], out: &mut Vec<Item>) {
        #[derive(Deserialize)]
        struct GapPayload {
            from_ns: u64,
            to_ns: u64,
            #[serde(default)]
            streams: Vec<String>,
        }
        let Ok(gap) = serde_json::from_slice::<GapPayload>(payload) else { return };
        let us = |ns: u64| i64::try_from(ns / 1_000).unwrap_or(i64::MAX);
        let (from_us, to_us) = (us(gap.from_ns), us(gap.to_ns));
        if gap.streams.is_empty() {
            return self.interrupted(from_us, to_us, None, out);
        }
        let venue = self.venue;
        let keys = gap.streams.iter().map(|stream| venue.streams.stream_key(stream));
        let known = self.streams();
        let symbols: Vec<String> = keys.filter_map(|key| known.get(&key).cloned()).collect();
        if !symbols.is_empty() {
            self.interrupted(from_us, to_us, Some(symbols), out);
        }
    }

    /// The symbols of the source's streams.
    fn streams(&mut self) -> &StreamSymbols {
        let Self { venue, registry, source, .. } = self;
        self.streams.get_or_insert_with(|| {
            let symbols = registry.all().into_iter().filter(|entry| entry.venue == venue.id().as_str());
            let wants: Vec<Want> = symbols.map(|entry| Want { symbol: entry.symbol, channel: *source }).collect();
            let plans = venue.streams.plan(&wants, &venue.spec.limits);
            let named = plans.into_iter().flat_map(|plan| plan.streams.into_iter().zip(plan.wants));
            named
                .flat_map(|(stream, wants)| {
                    let key = venue.streams.stream_key(&stream);
                    wants.into_iter().map(move |want| (key.clone(), want.symbol))
                })
                .collect()
        })
    }

    /// Records received between these times are missing: the bars of symbols without ids that show what they held are
    /// marked. `symbols`: `None` means all.
    pub(super) fn interrupted(&mut self, from_us: i64, to_us: i64, symbols: Option<Vec<String>>, out: &mut Vec<Item>) {
        if from_us <= 0 {
            return;
        }
        let all = symbols.is_none();
        let counted = |symbol: &str| self.has_ids(symbol);
        let symbols: Vec<String> = symbols.into_iter().flatten().filter(|symbol| !counted(symbol)).collect();
        if !all && symbols.is_empty() {
            return;
        }
        let interruption = Interruption {
            from_us: self.venue_time(from_us),
            to_us: self.venue_time(to_us).max(self.venue_time(from_us)),
            symbols,
        };
        self.mark_interrupted(&interruption, true, out);
        let now_us = self.state.venue_now_us.unwrap_or(i64::MIN);
        let kept = &mut self.state.interruptions;
        kept.retain(|i| i.to_us > now_us.saturating_sub(GAPS_KEPT_US));
        if kept.len() >= INTERRUPTIONS_MAX {
            kept.remove(0);
        }
        kept.push(interruption);
    }

    /// The ids of a symbol show what it lacks.
    fn has_ids(&self, symbol: &str) -> bool {
        self.venue.spec.continuity(self.source) != Continuity::None && self.tracker.ids(symbol, self.source).is_some()
    }

    /// `is_new`: now. Otherwise again, and what trades came since is of no interest.
    fn mark_interrupted(&self, interruption: &Interruption, is_new: bool, out: &mut Vec<Item>) {
        let Interruption { from_us, to_us, symbols } = interruption;
        let mut mark = |symbol: &str, symbol_index: u32| {
            let Some(last_us) = self.last_trade_us(symbol).filter(|_| !self.has_ids(symbol)) else { return };
            // What was on its way is missing too, but nothing before the last trade that came. One reported after it
            // came since: the record of an interruption is after the first frames that end it.
            let reported_first = !is_new || last_us <= from_us.saturating_add(ON_ITS_WAY_US);
            let from_us =
                from_us.saturating_sub(ON_ITS_WAY_US).max(if reported_first { last_us } else { i64::MIN }).min(*to_us);
            let unsettled = last_us <= *to_us && (reported_first || last_us.saturating_add(ON_ITS_WAY_US) < *to_us);
            out.push(Item::Gap { symbol_index, from_us, to_us: *to_us, unsettled });
        };
        let venue = self.venue.id().as_str();
        if symbols.is_empty() {
            for (symbol_index, entry) in (0_u32..).zip(self.registry.all()).filter(|(_, entry)| entry.venue == venue) {
                mark(&entry.symbol, symbol_index);
            }
        }
        for symbol in symbols {
            if let Some(symbol_index) = self.registry.index(venue, symbol) {
                mark(symbol, symbol_index);
            }
        }
    }

    /// Reports the interruptions to the actors, which forget them over a restart. Bars of them that are made when the next
    /// trade comes are marked as well.
    pub fn resume(&self, out: &mut Vec<Item>) {
        for interruption in &self.state.interruptions {
            self.mark_interrupted(interruption, false, out);
        }
    }
}
