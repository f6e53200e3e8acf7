//! Holes, repeats and disorder in the ids of a channel. Pure: no clock, no I/O.
//!
//! The compactor decodes one frame into [`Rows`], asks [`GapTracker::observe_rows`], and pushes the rows to their
//! columns with the flags it got back. An id counts as a repeat only when that very id was seen before: ids
//! inside a known hole or before the first one seen are late, not repeated, because calling them repeated would
//! lose them. REST snapshots and partial books have no place in the order and are not looked at.

mod ids;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::row::Rows;
use super::symbol::SymbolId;
use super::{Channel, Continuity, UnknownWord, Venue};

use ids::Judged;
pub use ids::{IdState, Ids, Seen, count};

/// Flag of a row that holds (a part of) a whole book.
pub const SNAPSHOT: i32 = 1;
/// Flag of the first row behind a hole.
pub const GAP_BEFORE: i32 = 4;
/// Flag of a row whose id is lower than one before it.
pub const OUT_OF_ORDER: i32 = 16;

/// Channels with ids that continue.
const CHANNELS: [Channel; 3] = [Channel::Trades, Channel::AggTrades, Channel::Depth];

/// The whole state, in an order that does not depend on how it came about: symbol -> channel word -> ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GapState(pub BTreeMap<String, BTreeMap<String, IdState>>);

/// A hole, as told to the owner of the tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapEvent<'a> {
    /// The symbol in its venue's spelling.
    pub symbol: &'a str,
    /// The channel.
    pub channel: Channel,
    /// [`Seen::Gap`] or [`Seen::TradesSkipped`].
    pub seen: Seen,
    /// Index of the row or depth message in its table of the frame.
    pub row: usize,
    /// First and last missing id (of the trades inside for [`Seen::TradesSkipped`]).
    pub hole: (i64, i64),
}

/// What the tracker says of one trade, aggregate or depth message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowMark {
    /// [`SNAPSHOT`], [`GAP_BEFORE`], [`OUT_OF_ORDER`]: for the column `flags`.
    pub flags: i32,
    /// Every id in it was delivered before.
    pub duplicate: bool,
    /// It fills (a part of) a hole.
    pub late: bool,
    /// How many of its ids were not delivered before; 0 where ids mean nothing.
    pub new: u64,
}

impl RowMark {
    fn of(judged: Judged) -> Self {
        let seen = judged.seen;
        let flags = match seen {
            Seen::Gap { .. } | Seen::TradesSkipped { .. } => GAP_BEFORE,
            Seen::OutOfOrder => OUT_OF_ORDER,
            Seen::Continuous | Seen::First | Seen::Duplicate => 0,
        };
        Self { flags, duplicate: seen == Seen::Duplicate, late: seen == Seen::OutOfOrder, new: judged.new }
    }
}

/// Follows the ids of every symbol of one venue.
#[derive(Clone, Debug)]
pub struct GapTracker {
    rules: [Continuity; 3],
    entries: Vec<Entry>,
    index: HashMap<Box<str>, usize>,
    /// Entry of an interned symbol, checked by name on every use, so any interner will do.
    by_id: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Entry {
    symbol: Box<str>,
    states: [Option<IdState>; 3],
}

impl GapTracker {
    /// Knows no id yet.
    pub fn new(venue: &dyn Venue) -> Self {
        Self {
            rules: CHANNELS.map(|c| venue.continuity(c)),
            entries: Vec::new(),
            index: HashMap::new(),
            by_id: Vec::new(),
        }
    }

    /// Continues from what [`GapTracker::state`] gave.
    ///
    /// # Errors
    /// When a channel word of the state is unknown.
    pub fn restore(venue: &dyn Venue, state: &GapState) -> Result<Self, UnknownWord> {
        let mut tracker = Self::new(venue);
        for (symbol, channels) in &state.0 {
            let entry = tracker.entry(symbol);
            for (word, ids) in channels {
                let slot = slot(word.parse()?);
                if let (Some(slot), Some(entry)) = (slot, tracker.entries.get_mut(entry)) {
                    entry.states[slot] = Some(ids.clone());
                }
            }
        }
        Ok(tracker)
    }

    /// Everything known, to be stored and given to [`GapTracker::restore`].
    pub fn state(&self) -> GapState {
        let mut state = GapState::default();
        for entry in &self.entries {
            for (channel, ids) in CHANNELS.iter().zip(&entry.states) {
                if let Some(ids) = ids {
                    state
                        .0
                        .entry(entry.symbol.to_string())
                        .or_default()
                        .insert(channel.as_str().to_owned(), ids.clone());
                }
            }
        }
        state
    }

    /// What is known of a symbol and channel.
    pub fn ids(&self, symbol: &str, channel: Channel) -> Option<&IdState> {
        let entry = self.entries.get(*self.index.get(symbol)?)?;
        entry.states.get(slot(channel)?)?.as_ref()
    }

    /// Judges one row or message and remembers it. Channels without a rule are always continuous.
    pub fn observe(&mut self, symbol: &str, channel: Channel, ids: Ids) -> Seen {
        let entry = self.entry(symbol);
        self.judge(entry, channel, ids).seen
    }

    /// The channel is recorded no more for this symbol: when it is again, that is a beginning and no hole.
    pub fn forget(&mut self, symbol: &str, channel: Channel) {
        let entry = self.index.get(symbol).and_then(|entry| self.entries.get_mut(*entry));
        if let (Some(entry), Some(slot)) = (entry, slot(channel)) {
            entry.states[slot] = None;
        }
    }

    /// The parts of `from..=to` that were never delivered.
    pub fn open(&self, symbol: &str, channel: Channel, from: i64, to: i64) -> Vec<(i64, i64)> {
        self.ids(symbol, channel).map_or_else(|| vec![(from, to)], |ids| ids.open(from, to))
    }

    /// Judges all trades, aggregates and depth messages of `rows` (one frame: one channel). `marks` is cleared
    /// and gets one mark per row of that table, or per message for depth; it stays empty for other channels.
    /// `on_gap` hears of every hole.
    pub fn observe_rows(&mut self, rows: &Rows, marks: &mut Vec<RowMark>, on_gap: &mut impl FnMut(GapEvent<'_>)) {
        marks.clear();
        for (row, trade) in rows.trades.iter().enumerate() {
            let ids = trade.id.map(Ids::one);
            let mark = self.mark(rows, trade.symbol, Channel::Trades, ids, row, on_gap);
            marks.push(mark);
        }
        for (row, agg) in rows.agg_trades.iter().enumerate() {
            let ids = Some(Ids { trades: Some((agg.first_id, agg.last_id)), ..Ids::one(agg.agg_id) });
            let mark = self.mark(rows, agg.symbol, Channel::AggTrades, ids, row, on_gap);
            marks.push(mark);
        }
        for (row, depth) in rows.depth.iter().enumerate() {
            if depth.is_snapshot {
                marks.push(RowMark { flags: SNAPSHOT, ..RowMark::default() });
                continue;
            }
            let ids = depth.final_update_id.map(|last| Ids {
                first: depth.first_update_id.unwrap_or(last),
                last,
                prev: depth.prev_update_id,
                trades: None,
            });
            let mark = self.mark(rows, depth.symbol, Channel::Depth, ids, row, on_gap);
            marks.push(mark);
        }
    }

    #[inline]
    fn mark(
        &mut self,
        rows: &Rows,
        symbol: SymbolId,
        channel: Channel,
        ids: Option<Ids>,
        row: usize,
        on_gap: &mut impl FnMut(GapEvent<'_>),
    ) -> RowMark {
        let Some(ids) = ids else {
            return RowMark::default();
        };
        let name = rows.symbols.name(symbol);
        let entry = self.entry_of(symbol, name);
        let judged = self.judge(entry, channel, ids);
        if let Some(hole) = judged.opened {
            on_gap(GapEvent { symbol: name, channel, seen: judged.seen, row, hole });
        }
        if let Seen::TradesSkipped { expected, got } = judged.seen {
            on_gap(GapEvent { symbol: name, channel, seen: judged.seen, row, hole: (expected, got.saturating_sub(1)) });
        }
        RowMark::of(judged)
    }

    #[inline]
    fn entry_of(&mut self, id: SymbolId, name: &str) -> usize {
        let cached = self.by_id.get(id.0 as usize).copied();
        if let Some(entry) = cached.filter(|e| self.entries.get(*e).is_some_and(|e| &*e.symbol == name)) {
            return entry;
        }
        let entry = self.entry(name);
        let at = id.0 as usize;
        if self.by_id.len() <= at {
            self.by_id.resize(at + 1, usize::MAX);
        }
        if let Some(slot) = self.by_id.get_mut(at) {
            *slot = entry;
        }
        entry
    }

    fn entry(&mut self, symbol: &str) -> usize {
        if let Some(entry) = self.index.get(symbol) {
            return *entry;
        }
        self.entries.push(Entry { symbol: symbol.into(), states: [None, None, None] });
        self.index.insert(symbol.into(), self.entries.len() - 1);
        self.entries.len() - 1
    }

    #[inline]
    fn judge(&mut self, entry: usize, channel: Channel, ids: Ids) -> Judged {
        const NOTHING: Judged = Judged { seen: Seen::Continuous, new: 0, opened: None };
        let Some(slot) = slot(channel) else {
            return NOTHING;
        };
        let rule = self.rules[slot];
        let state = self.entries.get_mut(entry).map(|e| &mut e.states[slot]);
        match (rule, state) {
            (Continuity::None, _) | (_, None) => NOTHING,
            (_, Some(Some(state))) => state.judge(rule, ids),
            (_, Some(none)) => {
                *none = Some(IdState::starting_with(ids));
                Judged { seen: Seen::First, new: count(ids.first, ids.last), opened: None }
            }
        }
    }
}

#[inline]
fn slot(channel: Channel) -> Option<usize> {
    match channel {
        Channel::Trades => Some(0),
        Channel::AggTrades => Some(1),
        Channel::Depth => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
