//! What a symbol's bars lack: holes in its ids until they are filled, its beginning until the venue's candle stands before
//! it, times in which it was not recorded.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Feed, MINUTE_US, NEVER};
use crate::kline::data::{KlineData, NO_ID, Tick};
use crate::kline::interval::Interval;
use crate::kline::message::Item;
use crate::kline::seed::{self, First};
use crate::kline::touched;
use crate::venue::{Channel, Continuity, SymbolId};

/// First id of what was traded before recording began: nobody fills it.
pub(super) const BEGINNING: i64 = i64::MIN;
/// Behind the longest bar a hole has nothing left to mark.
const HOLES_KEPT_US: i64 = 8 * 1_440 * MINUTE_US;
/// Holes remembered until they are filled; beyond it the oldest stay marked.
const HOLES_MAX: usize = 4_096;

/// A hole in the ids of one symbol and the time it covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hole {
    pub(super) symbol: String,
    pub(super) from_id: i64,
    pub(super) to_id: i64,
    pub(super) from_us: i64,
    pub(super) to_us: i64,
}

impl Feed {
    /// The symbols whose first bars lack their beginning, as soon as the venue's candles before it are settled. Each
    /// is given once; whoever asks the venue answers with [`Feed::seeded`], or this feed's next run gives it again.
    pub fn take_seeds(&mut self) -> Vec<(String, First)> {
        let Some(now_us) = self.state.venue_now_us else { return Vec::new() };
        // Behind the longest bar nothing is left to begin.
        self.state.seeds.retain(|_, first| first.ts_us > now_us - HOLES_KEPT_US);
        let due = self.state.seeds.iter().filter(|(_, first)| seed::ready_at_us(first) <= now_us);
        let due: Vec<_> = due.filter(|(s, _)| !self.asked.contains(*s)).map(|(s, f)| (s.clone(), *f)).collect();
        self.asked.extend(due.iter().map(|(symbol, _)| symbol.clone()));
        due
    }

    /// The venue answered: `seeds` stand before the first row of a symbol, in intervals without one nothing was
    /// traded before. Bars that they fit have no mark any more; one that they do not fit keeps it.
    pub fn seeded(&mut self, symbol: &str, first: &First, seeds: &[(Interval, KlineData)], out: &mut Vec<Item>) {
        if self.state.seeds.get(symbol) != Some(first) {
            // An earlier row came late meanwhile: it is asked for again, before that one.
            self.asked.remove(symbol);
            return;
        }
        self.state.seeds.remove(symbol);
        self.holes.retain(|h| h.symbol != symbol || h.from_id != BEGINNING);
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
    pub(super) fn hole(
        &mut self,
        symbol: SymbolId,
        symbol_index: u32,
        ids: (i64, i64),
        to_us: i64,
        out: &mut Vec<Item>,
    ) {
        let last = *self.last_of(symbol);
        let from_us = if last == NEVER { to_us } else { last.min(to_us) };
        let name = self.decoder.rows.symbols.name(symbol).to_owned();
        self.remember(Hole { symbol: name, from_id: ids.0, to_id: ids.1, from_us, to_us });
        out.push(Item::Gap { symbol_index, from_us, to_us });
    }

    /// Keeps a hole until it is filled, or until no open bar can touch it any more.
    pub(super) fn remember(&mut self, hole: Hole) {
        let now_us = self.state.venue_now_us.unwrap_or(0);
        self.holes.retain(|h| h.to_us > now_us - HOLES_KEPT_US);
        if self.holes.len() >= HOLES_MAX {
            self.holes.remove(0);
        }
        self.holes.push(hole);
    }

    /// A late row came: holes that it was the last one missing of are over, and bars that no other hole touches are
    /// whole.
    #[cold]
    pub(super) fn filled(&mut self, symbol: SymbolId, symbol_index: u32, row_id: i64, out: &mut Vec<Item>) {
        let name = self.decoder.rows.symbols.name(symbol);
        let (tracker, source) = (&self.tracker, self.source);
        let mut over = Vec::new();
        self.holes.retain(|hole| {
            let is_over = hole.symbol == name
                && hole.from_id != BEGINNING
                && (hole.from_id..=hole.to_id).contains(&row_id)
                && tracker.open(name, source, hole.from_id, hole.to_id).is_some_and(|open| open.is_empty());
            if is_over {
                over.push((hole.from_us, hole.to_us));
            }
            !is_over
        });
        if over.is_empty() {
            return;
        }
        let left: Vec<(i64, i64)> =
            self.holes.iter().filter(|h| h.symbol == name).map(|h| (h.from_us, h.to_us)).collect();
        for (interval, hole) in Interval::ALL.into_iter().flat_map(|i| over.iter().map(move |hole| (i, *hole))) {
            let whole = touched::whole(interval, hole, &left).into_iter();
            out.extend(whole.map(|(from_us, to_us)| Item::Repaired { symbol_index, interval, from_us, to_us }));
        }
    }

    /// Bars that a hole still touches keep their mark.
    pub(super) fn mark_again(&self, symbol: &str, symbol_index: u32, out: &mut Vec<Item>) {
        for hole in self.holes.iter().filter(|h| h.symbol == symbol) {
            out.push(Item::Gap { symbol_index, from_us: hole.from_us, to_us: hole.to_us });
        }
    }

    /// What was traded between these times was not recorded, and nobody fills it.
    pub(super) fn beginning(&mut self, symbol: &str, symbol_index: u32, from_us: i64, to_us: i64, out: &mut Vec<Item>) {
        self.remember(Hole { symbol: symbol.to_owned(), from_id: BEGINNING, to_id: NO_ID, from_us, to_us });
        out.push(Item::Gap { symbol_index, from_us, to_us });
    }

    /// A symbol that was recorded no more is again, from `now_us` on.
    #[cold]
    pub(super) fn recorded_again(&mut self, symbol: SymbolId, symbol_index: u32, now_us: i64, out: &mut Vec<Item>) {
        let name = self.decoder.rows.symbols.name(symbol).to_owned();
        if let Some(since_us) = self.state.unrecorded.remove(&name) {
            // A trade of another channel may be older than the last one: both count in its bars.
            self.beginning(&name, symbol_index, since_us.min(now_us), since_us.max(now_us), out);
            let trades = self.state.listed.get(&name).is_none_or(|facts| facts.trading);
            out.push(Item::Halt { symbol_index, halted: !trades });
        }
    }

    /// The candles are made of another channel than those before: neither do ids go on, nor are the trades of the two told
    /// apart. Up to the first trade of each symbol its bars are marked, and nobody fills what they lack.
    pub(super) fn adopt_source(&mut self) {
        let now = self.source.to_string();
        let trades = [Channel::Trades, Channel::AggTrades].map(|c| c.to_string());
        let channels: BTreeSet<&String> = self.state.gaps.0.values().flat_map(|ids| ids.keys()).collect();
        // A state of version 1 tells by the ids that it knows.
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
        self.holes.iter_mut().for_each(|hole| (hole.from_id, hole.to_id) = (BEGINNING, NO_ID));
        self.other_source = Some((before, last.iter().map(|(_, us)| *us).max().unwrap_or(0)));
    }

    /// The stored bar of the last trade of a symbol is gone: the one that goes on in its place lacks what it held.
    pub fn lacking(&mut self, symbol: &str, symbol_index: u32, last_us: i64, out: &mut Vec<Item>) {
        self.beginning(symbol, symbol_index, last_us, last_us, out);
    }

    /// Records received between these times are lost, us. Ids tell what they held; where there are none all is marked.
    pub fn lost(&mut self, from_us: i64, to_us: i64, out: &mut Vec<Item>) {
        self.interrupted(from_us, to_us, out);
    }

    /// Without ids nothing tells what an interruption cost: its bars are marked.
    pub(super) fn interrupted(&mut self, from_us: i64, to_us: i64, out: &mut Vec<Item>) {
        if self.venue.continuity(self.source) != Continuity::None || from_us <= 0 {
            return;
        }
        let offset = self.state.offset_us.unwrap_or(0);
        self.state.interrupted = Some((from_us.saturating_sub(offset), to_us.saturating_sub(offset)));
        self.resume(out);
    }

    /// Tells the actors, which forget it over a restart, of the last interruption: bars of it that are made flat when
    /// the next trade comes are marked as well.
    pub fn resume(&self, out: &mut Vec<Item>) {
        let Some((from_us, to_us)) = self.state.interrupted else { return };
        for symbol_index in 0..u32::try_from(self.registry.len()).unwrap_or(u32::MAX) {
            if self.registry.get(symbol_index).is_some_and(|s| s.venue == self.venue.id().as_str()) {
                out.push(Item::Gap { symbol_index, from_us, to_us });
            }
        }
    }
}

pub(super) fn first_row(tick: &Tick) -> First {
    let row_id = if tick.agg_id == NO_ID { tick.first_id } else { tick.agg_id };
    First { row_id, trade_id: tick.first_id, ts_us: tick.ts_us }
}
