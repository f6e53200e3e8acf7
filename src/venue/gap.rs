//! Gaps, repeats and disorder in the ids of a channel. Pure: no clock, no I/O.
//!
//! The compactor decodes one frame into [`Rows`], asks [`GapTracker::observe_rows`], and pushes the rows to their
//! columns with the flags it got back. An id counts as one of before only when that very id was seen: ids
//! inside a known gap or before the first one seen are late. Whether a row is a duplicate is not decided here: that
//! takes its content and the connection it came over (`fold::dedupe`), because ids begin again. REST
//! snapshots and partial books have no place in the order and are not looked at.

mod ids;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Continuity, Venue};
use model::row::{RowKind, Rows};
use model::symbol::SymbolId;
use model::{Channel, UnknownName, each_kind};

use ids::Judged;
pub use ids::{IdState, Ids, Seen, count};

/// Flag of a row that holds (a part of) a whole book.
pub(crate) const SNAPSHOT: i32 = 1;
/// Flag of the first row after a gap.
pub(crate) const GAP_BEFORE: i32 = 4;
/// Flag of a row whose id is lower than one before it.
pub const OUT_OF_ORDER: i32 = 16;

/// Channels with ids that continue.
const CHANNELS: [Channel; 3] = [Channel::Trades, Channel::AggTrades, Channel::Depth];

/// The whole state, in an order that does not depend on how it came about: symbol -> channel word -> ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GapState(pub BTreeMap<String, BTreeMap<String, IdState>>);

/// A gap, as reported to the owner of the tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapEvent<'a> {
    /// The symbol in its venue's spelling.
    pub symbol: &'a str,
    /// The channel.
    pub channel: Channel,
    /// [`Seen::Gap`], [`Seen::TradesSkipped`], [`Seen::Believed`], [`Seen::Restarted`], or any for a late row that shows
    /// a gap.
    pub seen: Seen,
    /// Index of the row or depth message in its table of the frame.
    pub row: usize,
    /// First and last missing id (of the trades inside for [`Seen::TradesSkipped`]), if any. Whether they are is not
    /// known yet when `unsure`: [`GapTracker::open`] will show it.
    pub ids: Option<(i64, i64)>,
    /// Ids that are known to be missing since.
    pub missing: u64,
    /// The row is far from all before, and the ones after it will show what that means.
    pub unsure: bool,
}

/// What the tracker says of one trade, aggregate or depth message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowMark {
    /// [`SNAPSHOT`], [`GAP_BEFORE`], [`OUT_OF_ORDER`]: for the column `flags`.
    pub flags: i32,
    /// It came before, with this very content, and is left out. The tracker never says so.
    pub duplicate: bool,
    /// Every id in it was delivered before, which makes it no duplicate by itself.
    pub again: bool,
    /// Its id is far from all before and not believed yet.
    pub unsure: bool,
    /// It fills (a part of) a gap.
    pub late: bool,
    /// How many of its ids were not delivered before; 0 where ids mean nothing.
    pub new: u64,
}

impl RowMark {
    fn of(judged: Judged) -> Self {
        let seen = judged.seen;
        let flags = match seen {
            Seen::Gap { .. } | Seen::TradesSkipped { .. } => GAP_BEFORE,
            Seen::OutOfOrder | Seen::Duplicate | Seen::Restarted { .. } => OUT_OF_ORDER,
            Seen::Continuous | Seen::First | Seen::Believed => 0,
        };
        Self {
            flags,
            duplicate: false,
            again: seen == Seen::Duplicate,
            unsure: judged.unsure,
            late: seen == Seen::OutOfOrder && !judged.unsure,
            new: judged.new,
        }
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
    pub fn new(venue: &Venue) -> Self {
        Self {
            rules: CHANNELS.map(|c| venue.spec.continuity(c)),
            entries: Vec::new(),
            index: HashMap::new(),
            by_id: Vec::new(),
        }
    }

    /// Continues from what [`GapTracker::state`] gave.
    ///
    /// # Errors
    /// When a channel name of the state is unknown.
    pub fn restore(venue: &Venue, state: &GapState) -> Result<Self, UnknownName> {
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
        self.judge(entry, channel, ids, |state, rule| state.judge(rule, ids, || true)).seen
    }

    /// The channel is recorded no more for this symbol: when it is again, that is a start and no gap.
    pub fn forget(&mut self, symbol: &str, channel: Channel) {
        let entry = self.index.get(symbol).and_then(|entry| self.entries.get_mut(*entry));
        if let (Some(entry), Some(slot)) = (entry, slot(channel)) {
            entry.states[slot] = None;
        }
    }

    /// Drops symbols of which nothing is known any more.
    pub fn prune(&mut self) {
        if self.entries.iter().all(|e| e.states.iter().any(Option::is_some)) {
            return;
        }
        self.entries.retain(|e| e.states.iter().any(Option::is_some));
        self.index = self.entries.iter().enumerate().map(|(i, e)| (e.symbol.clone(), i)).collect();
        self.by_id.clear();
    }

    /// The parts of `from..=to` that were never delivered; `None` while it is unknown whether they are missing at all.
    pub fn open(&self, symbol: &str, channel: Channel, from: i64, to: i64) -> Option<Vec<(i64, i64)>> {
        self.ids(symbol, channel).map_or_else(|| Some(vec![(from, to)]), |ids| ids.open(from, to))
    }

    /// Judges all trades, aggregates and depth messages of `rows` (one frame: one channel). `marks` is cleared
    /// and gets one mark per row of that table, or per message for depth; it stays empty for other channels.
    /// `on_gap` hears of every gap.
    pub fn observe_rows(&mut self, rows: &Rows, marks: &mut Vec<RowMark>, on_gap: &mut impl FnMut(GapEvent<'_>)) {
        marks.clear();
        self.observe_new_rows(rows, marks, |_, _| None, on_gap);
    }

    /// As [`GapTracker::observe_rows`]; rows that `marks` calls duplicates are not looked at, and `again` stays said.
    /// `last_us`: time of the last row of a symbol, as far as is known; ids that come again begin no count unless they
    /// are of a later one.
    #[inline]
    pub fn observe_new_rows(
        &mut self,
        rows: &Rows,
        marks: &mut Vec<RowMark>,
        last_us: impl Fn(Channel, SymbolId) -> Option<i64>,
        on_gap: &mut impl FnMut(GapEvent<'_>),
    ) {
        self.observe_each(rows, marks, Some(&last_us), on_gap);
    }

    /// The rows of a body that was fetched for a gap: what was delivered is `again` in their marks.
    pub fn observe_fetched_rows(
        &mut self,
        rows: &Rows,
        marks: &mut Vec<RowMark>,
        on_gap: &mut impl FnMut(GapEvent<'_>),
    ) {
        marks.clear();
        self.observe_each(rows, marks, None::<&fn(Channel, SymbolId) -> Option<i64>>, on_gap);
    }

    #[inline]
    fn observe_each(
        &mut self,
        rows: &Rows,
        marks: &mut Vec<RowMark>,
        last_us: Option<&impl Fn(Channel, SymbolId) -> Option<i64>>,
        on_gap: &mut impl FnMut(GapEvent<'_>),
    ) {
        let mut at = 0..usize::MAX;
        each_kind!(rows, of => self.observe_kind(rows, of, &mut at, marks, last_us, on_gap));
    }

    /// `at`: where in `marks` the next row is. Without `last_us` they were fetched.
    #[inline]
    fn observe_kind<R: RowKind>(
        &mut self,
        rows: &Rows,
        of: &[R],
        at: &mut Range<usize>,
        marks: &mut Vec<RowMark>,
        last_us: Option<&impl Fn(Channel, SymbolId) -> Option<i64>>,
        on_gap: &mut impl FnMut(GapEvent<'_>),
    ) {
        if slot(R::CHANNEL).is_none() {
            return;
        }
        for ((row, r), at) in of.iter().enumerate().zip(at) {
            put(marks, at, || {
                if r.is_snapshot() {
                    return RowMark { flags: SNAPSHOT, ..RowMark::default() };
                }
                let ids = r.ids().map(|(first, last)| Ids { first, last, prev: r.prev_id(), trades: r.trade_ids() });
                self.mark(rows, r, ids, last_us, row, on_gap)
            });
        }
    }

    #[inline]
    fn mark<K: RowKind>(
        &mut self,
        rows: &Rows,
        of: &K,
        ids: Option<Ids>,
        last_us: Option<&impl Fn(Channel, SymbolId) -> Option<i64>>,
        row: usize,
        on_gap: &mut impl FnMut(GapEvent<'_>),
    ) -> RowMark {
        let Some(ids) = ids else {
            return RowMark::default();
        };
        let (symbol, channel) = (of.symbol(), K::CHANNEL);
        let name = rows.symbols.name(symbol);
        let entry = self.entry_of(symbol, name);
        let judged = self.judge(entry, channel, ids, |state, rule| match last_us {
            Some(last_us) => state.judge(rule, ids, || {
                of.time_us().zip(last_us(channel, symbol)).is_none_or(|(time_us, last_us)| time_us > last_us)
            }),
            None => state.fill(rule, ids),
        });
        let Judged { seen, opened, missing, unsure, .. } = judged;
        let event = GapEvent { symbol: name, channel, seen, row, ids: opened, missing, unsure };
        match seen {
            Seen::TradesSkipped { expected, got } => {
                // What else the row shows is a gap in the aggregates.
                if opened.is_some() {
                    on_gap(GapEvent { seen: Seen::OutOfOrder, ..event });
                }
                on_gap(GapEvent { ids: Some((expected, got.saturating_sub(1))), missing: 0, ..event });
            }
            Seen::Believed | Seen::Restarted { .. } => on_gap(event),
            _ if opened.is_some() || unsure => on_gap(event),
            _ => {}
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
    fn judge(
        &mut self,
        entry: usize,
        channel: Channel,
        ids: Ids,
        known: impl FnOnce(&mut IdState, Continuity) -> Judged,
    ) -> Judged {
        let nothing = Judged::of(Seen::Continuous, 0);
        let Some(slot) = slot(channel) else {
            return nothing;
        };
        let rule = self.rules[slot];
        let state = self.entries.get_mut(entry).map(|e| &mut e.states[slot]);
        match (rule, state) {
            (Continuity::None, _) | (_, None) => nothing,
            (_, Some(Some(state))) => known(state, rule),
            (_, Some(none)) => {
                *none = Some(IdState::starting_with(ids));
                Judged::of(Seen::First, count(ids.first, ids.last))
            }
        }
    }
}

/// The mark of the row at `at`, unless it is called a duplicate already.
#[inline]
fn put(marks: &mut Vec<RowMark>, at: usize, judge: impl FnOnce() -> RowMark) {
    match marks.get_mut(at) {
        Some(mark) if mark.duplicate => {}
        Some(mark) => {
            let judged = judge();
            *mark = RowMark { again: mark.again || judged.again, ..judged };
        }
        None => marks.push(judge()),
    }
}

#[inline]
fn slot(channel: Channel) -> Option<usize> {
    CHANNELS.iter().position(|c| *c == channel)
}

#[cfg(test)]
mod tests;
