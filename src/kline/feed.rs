//! One venue's log as items for the actors: a fold over records that knows no files, no clock and no threads.
//!
//! ```text
//!  record --> of the source channel? --> decode --> ids: repeat? hole? fills one? --> Tick, Gap, Repaired
//!         \-> listing: symbols get their places     time of the venue passed a minute --> Clock
//! ```
//!
//! What comes out depends on the records alone, so a restart from a saved [`FeedState`] goes on exactly, and any
//! number of kills leaves the candles of an undisturbed run. The repairer's log of the venue is folded in by the
//! same feed: its trades fill holes that this feed knows.
//!
//! The venue's time is the latest time of a trade, or, when none comes, our receive time minus the smallest
//! distance ever seen between the two, and a margin: so bars of silent markets close too, and a clock that is
//! wrong by hours, ours or the venue's, does no harm. A step of our clock is found in the log's CLOCK records, which
//! tell the time since boot too: from one to the next the wall time counts only for as long as they can be apart.
//!
//! A symbol that the newest listing does not have, or has as not trading, gets no bars of silence; neither does one that
//! is recorded no more, and the bars in which that begins and ends are marked.

mod holes;
mod time;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wal_format::{Kind, RecordRef, flags};

use self::holes::{BEGINNING, Hole, first_row};
use self::time::Clock;
use super::data::{NO_ID, Tick};
use super::message::Item;
use super::registry::{Facts, SymbolPeriodRegistry};
use super::seed::{self, First};
use crate::collect::{record, select};
use crate::compact::account::LineCounts;
use crate::compact::decode::{FrameDecoder, Verdict};
use crate::compact::dedupe::{Carrier, Dedupe, SavedDedupe};
use crate::venue::gap::{GapState, GapTracker, RowMark};
use crate::venue::row::Side;
use crate::venue::{Channel, Continuity, RestMeta, SymbolId, UnknownWord, Venue};

const MINUTE_US: i64 = 60_000_000;
/// Bars close this long after their end by our clock, when no trade tells.
const TIMER_MARGIN_US: i64 = 250_000;
/// A trade that cannot be read was made at most this long before it came.
const UNREAD_US: i64 = 5_000_000;
/// A trade this far ahead of all clocks is damaged, not early.
const FUTURE_US: i64 = 3_600_000_000;
/// Everything a feed remembers besides its place in the logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedState {
    gaps: GapState,
    dedupe: SavedDedupe,
    holes: Vec<Hole>,
    /// Time of the last trade by symbol, us.
    last_us: BTreeMap<String, i64>,
    venue_now_us: Option<i64>,
    /// Smallest receive time minus trade time, us.
    offset_us: Option<i64>,
    minute: Option<i64>,
    last_recv_us: i64,
    known: BTreeSet<String>,
    /// What the newest listing says of the recorded symbols: it may be long before a restart's place in the log.
    #[serde(default)]
    listed: BTreeMap<String, Facts>,
    /// The last interruption of a venue whose ids do not tell what it cost, us.
    #[serde(default)]
    interrupted: Option<(i64, i64)>,
    /// First rows of symbols whose first bars lack their beginning, which the venue can be asked for.
    #[serde(default)]
    seeds: BTreeMap<String, First>,
    /// The last CLOCK record.
    #[serde(default)]
    clock: Option<Clock>,
    /// Word of the channel that the candles are made of; none in a state of version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// Symbols that are recorded no more, or whose candles are made of another channel than before, since when, us.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unrecorded: BTreeMap<String, i64>,
}

/// Trades that did not become ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Came before on another connection.
    pub repeated: u64,
    /// Not at the market: insurance fund, ADL, internal.
    pub off_book: u64,
    /// Price or time that no trade can have.
    pub absurd: u64,
}

/// The fold; see the module.
pub struct Feed {
    venue: &'static dyn Venue,
    source: Channel,
    number: u32,
    patterns: Vec<String>,
    registry: Arc<SymbolPeriodRegistry>,
    decoder: FrameDecoder,
    tracker: GapTracker,
    dedupe: Dedupe,
    counts: LineCounts,
    marks: Vec<RowMark>,
    /// Registry index of an interned symbol.
    index_of: Vec<Option<u32>>,
    last_us: Vec<i64>,
    holes: Vec<Hole>,
    state: FeedState,
    skipped: Skipped,
    /// Symbols that got their place with their first trade: told before it.
    unannounced: Vec<u32>,
    /// Symbols of `state.seeds` that were asked for already.
    asked: BTreeSet<String>,
    /// The channel before, when it was another one, and the time of its last trade, us.
    other_source: Option<(String, i64)>,
}

/// No trade of this symbol yet.
const NEVER: i64 = i64::MIN;

impl Feed {
    /// Goes on behind `state`. `source` is [`Channel::Trades`] or [`Channel::AggTrades`]; `patterns` are the
    /// configured symbols, by which a listing is cut to what is recorded.
    ///
    /// # Errors
    /// When the state names a channel this version does not know.
    pub fn new(
        venue: &'static dyn Venue,
        source: Channel,
        number: u32,
        patterns: Vec<String>,
        registry: Arc<SymbolPeriodRegistry>,
        state: FeedState,
    ) -> Result<Self, UnknownWord> {
        let mut decoder = FrameDecoder::new(venue);
        let mut feed = Self {
            tracker: GapTracker::restore(venue, &state.gaps)?,
            dedupe: Dedupe::load(&state.dedupe, &mut decoder.rows.symbols),
            venue,
            source,
            number,
            patterns,
            registry,
            decoder,
            counts: LineCounts::default(),
            marks: Vec::new(),
            index_of: Vec::new(),
            last_us: Vec::new(),
            holes: state.holes.clone(),
            state,
            skipped: Skipped::default(),
            unannounced: Vec::new(),
            asked: BTreeSet::new(),
            other_source: None,
        };
        for (symbol, us) in std::mem::take(&mut feed.state.last_us) {
            let id = feed.decoder.rows.symbols.intern(&symbol);
            *feed.last_of(id) = us;
        }
        feed.adopt_source();
        for (symbol, facts) in &feed.state.listed {
            feed.registry.set_facts(venue.id().as_str(), symbol, facts.clone());
        }
        Ok(feed)
    }

    /// What a later run needs to go on from here.
    pub fn state(&self) -> FeedState {
        let symbols = &self.decoder.rows.symbols;
        let last = (0_u32..).zip(&self.last_us).filter(|(_, us)| **us != NEVER);
        FeedState {
            gaps: self.tracker.state(),
            dedupe: self.dedupe.save(symbols),
            holes: self.holes.clone(),
            last_us: last.map(|(i, us)| (symbols.name(SymbolId(i)).to_owned(), *us)).collect(),
            ..self.state.clone()
        }
    }

    /// The channel that the bars before were made of, if that was another one, and the time of its last trade, us.
    pub fn other_source(&self) -> Option<(&str, i64)> {
        self.other_source.as_ref().map(|(channel, us)| (channel.as_str(), *us))
    }

    /// Receive time of the last record, us; 0 = none.
    pub fn last_recv_us(&self) -> i64 {
        self.state.last_recv_us
    }

    /// The symbols that had a trade.
    pub fn traded(&self) -> Vec<String> {
        let last = (0_u32..).zip(&self.last_us).filter(|(_, us)| **us != NEVER);
        last.map(|(i, _)| self.decoder.rows.symbols.name(SymbolId(i)).to_owned()).collect()
    }

    /// Time of the last trade of a symbol, us.
    pub fn last_trade_us(&mut self, symbol: &str) -> Option<i64> {
        let id = self.decoder.rows.symbols.intern(symbol);
        Some(*self.last_of(id)).filter(|us| *us != NEVER)
    }

    /// Trades that did not become ticks since the start.
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// The venue's time as far as known, us.
    pub fn venue_now_us(&self) -> Option<i64> {
        self.state.venue_now_us
    }

    /// Takes the next record of the repairer's log: trades that were missing. Its times say nothing of the venue's log,
    /// which may be read much later or earlier.
    pub fn repair(&mut self, record: &RecordRef<'_>, out: &mut Vec<Item>) {
        if record.kind() == Some(Kind::Rest) {
            self.rest(record, i64::try_from(record.ts_recv_ns / 1_000).unwrap_or(i64::MAX), out);
        }
    }

    /// Takes the next record of the venue's log.
    pub fn record(&mut self, record: &RecordRef<'_>, out: &mut Vec<Item>) {
        let recv_us = i64::try_from(record.ts_recv_ns / 1_000).unwrap_or(i64::MAX);
        self.dedupe.record(record.ts_recv_ns);
        let told_us = if record.kind() == Some(Kind::Clock) { self.clock(record.payload) } else { None };
        if let (Some(offset), Some(now_us)) = (self.state.offset_us, self.steady(told_us.unwrap_or(recv_us))) {
            self.evidence(now_us.saturating_sub(offset).saturating_sub(TIMER_MARGIN_US), out);
        }
        match record.kind() {
            Some(Kind::Data) => {
                let binary = record.flags & flags::BINARY != 0;
                // Most frames are of other channels: told by their first bytes. An unusual one is decoded.
                let other = self
                    .venue
                    .stream_of(record.payload, binary)
                    .and_then(|key| self.venue.channel_of(key))
                    .is_some_and(|channel| channel != self.source);
                let verdict = if other { Verdict::Control } else { self.decoder.decode(record) };
                match verdict {
                    Verdict::Rows(channel) if channel == self.source => {
                        let line = u8::from(record.flags & flags::SECOND_LINE != 0);
                        let odd = std::mem::take(&mut self.decoder.rows.odd.symbols);
                        self.trades(recv_us, Some(Carrier { conn: record.conn, line }), out);
                        self.unread(&odd, recv_us, out);
                    }
                    Verdict::Undecodable(why) if why.channel == self.source.as_str() => {
                        self.unread(&[why.symbol], recv_us, out);
                    }
                    _ => {}
                }
            }
            Some(Kind::Rest) => self.rest(record, recv_us, out),
            Some(Kind::ConnOpen) => self.dedupe.opened(record.conn, record.payload),
            Some(Kind::Subscribe) => self.dedupe.subscribed(record.conn),
            Some(Kind::ConnClose) => self.dedupe.closed(record.conn),
            Some(Kind::Event) => self.unsubscribed(record.payload, out),
            Some(Kind::EpochStart) => {
                self.dedupe.restart();
                self.interrupted(self.state.last_recv_us, recv_us, out);
            }
            Some(Kind::Gap) => {
                let field =
                    |name: &str| serde_json::from_slice::<serde_json::Value>(record.payload).ok()?.get(name)?.as_u64();
                if let (Some(from), Some(to)) = (field("from_ns"), field("to_ns")) {
                    let us = |ns: u64| i64::try_from(ns / 1_000).unwrap_or(i64::MAX);
                    self.interrupted(us(from), us(to), out);
                }
            }
            _ => {}
        }
        self.state.last_recv_us = self.state.last_recv_us.max(recv_us);
    }

    /// A trade of these symbols cannot be read (`None`: of any). Where trades have ids the next one shows that it is
    /// missing; else the bars that it may belong to say so.
    fn unread(&mut self, symbols: &[Option<SymbolId>], recv_us: i64, out: &mut Vec<Item>) {
        if symbols.is_empty() || self.venue.continuity(self.source) != Continuity::None {
            return;
        }
        let to_us = recv_us.saturating_sub(self.state.offset_us.unwrap_or(0));
        for (i, last_us) in (0_u32..).zip(self.last_us.clone()).filter(|(_, last_us)| *last_us != NEVER) {
            let symbol = SymbolId(i);
            if !symbols.iter().any(|s| s.is_none_or(|s| s == symbol)) {
                continue;
            }
            if let Some(symbol_index) = self.index(symbol) {
                let from_us = last_us.max(to_us.saturating_sub(UNREAD_US)).min(to_us);
                let name = self.decoder.rows.symbols.name(symbol).to_owned();
                self.beginning(&name, symbol_index, from_us, to_us, out);
            }
        }
    }

    #[cold]
    fn rest(&mut self, record: &RecordRef<'_>, recv_us: i64, out: &mut Vec<Item>) {
        let Some(meta) = record.rest().and_then(|rest| serde_json::from_slice::<RestMeta>(rest.meta).ok()) else {
            return;
        };
        let filling = meta.fill.is_some() && meta.channel == self.source.as_str();
        if !filling && meta.channel != "symbols" {
            return;
        }
        match self.decoder.decode(record) {
            Verdict::Symbols => self.listing(out),
            Verdict::Rows(channel) if channel == self.source && filling => self.trades(recv_us, None, out),
            _ => {}
        }
    }

    /// Gives the recorded symbols of a listing their places.
    fn listing(&mut self, out: &mut Vec<Item>) {
        let listings = std::mem::take(&mut self.decoder.rows.listings);
        let chosen = select(&self.patterns, &listings).symbols;
        let new = listings.iter().filter(|s| chosen.contains(&s.name)).map(|s| (s.name.clone(), s.listing_time_ms));
        for symbol_index in self.registry.register(self.venue.id().as_str(), new) {
            out.push(Item::Own { symbol_index, feed: self.number });
        }
        let venue = self.venue.id().as_str();
        let traded = |f: &mut Facts| std::mem::replace(&mut f.trading, false);
        let before: BTreeMap<String, bool> =
            self.state.listed.iter_mut().map(|(symbol, facts)| (symbol.clone(), traded(facts))).collect();
        for listed in &listings {
            // Chosen while the collector ran: known by its trades only.
            let has_place = || self.registry.index(venue, &listed.name).is_some();
            if chosen.contains(&listed.name) || self.state.listed.contains_key(&listed.name) || has_place() {
                self.state.listed.insert(listed.name.clone(), Facts::from(listed));
            }
        }
        for (symbol, facts) in &self.state.listed {
            self.registry.set_facts(venue, symbol, facts.clone());
            let halted = !facts.trading;
            if before.get(symbol).is_none_or(|traded| *traded) == halted
                && !self.state.unrecorded.contains_key(symbol)
                && let Some(symbol_index) = self.registry.index(venue, symbol)
            {
                out.push(Item::Halt { symbol_index, halted });
            }
        }
        self.index_of.clear();
    }

    /// Symbols are recorded no more: silence says nothing of them, and ids that are missing later are no hole.
    #[cold]
    fn unsubscribed(&mut self, payload: &[u8], out: &mut Vec<Item>) {
        let source = self.source;
        for (_, symbol) in record::unsubscribed(payload).into_iter().filter(|(channel, _)| *channel == source) {
            self.tracker.forget(&symbol, source);
            let Some(symbol_index) = self.registry.index(self.venue.id().as_str(), &symbol) else { continue };
            let id = self.decoder.rows.symbols.intern(&symbol);
            let from_us = *self.last_of(id);
            if from_us != NEVER {
                let since_us = self.state.venue_now_us.unwrap_or(from_us).max(from_us);
                self.beginning(&symbol, symbol_index, from_us, since_us, out);
                self.state.unrecorded.insert(symbol, since_us);
                out.push(Item::Halt { symbol_index, halted: true });
            }
        }
    }

    /// True for a symbol that is recorded no more.
    pub fn is_unrecorded(&self, symbol: &str) -> bool {
        self.state.unrecorded.contains_key(symbol)
    }

    /// The rows that were decoded last.
    fn trades(&mut self, recv_us: i64, carrier: Option<Carrier>, out: &mut Vec<Item>) {
        let mut gaps: Vec<(usize, (i64, i64))> = Vec::new();
        let Self { tracker, dedupe, decoder, marks, counts, .. } = self;
        let mut again = Vec::new();
        match carrier {
            Some(carrier) => dedupe.arrive(carrier, &decoder.rows, marks, counts),
            None => marks.clear(),
        }
        tracker.observe_new_rows(&decoder.rows, marks, &mut |gap| {
            // Aggregates that continue over trades they leave out are no loss of ours.
            if !matches!(gap.seen, crate::venue::gap::Seen::TradesSkipped { .. }) {
                gaps.extend(gap.hole.map(|hole| (gap.row, hole)));
            }
        });
        if let Some(carrier) = carrier {
            dedupe.settle(carrier, &decoder.rows, marks, counts, &mut again);
        }
        let rows = self.decoder.rows.trades.len() + self.decoder.rows.agg_trades.len();
        for row in 0..rows {
            let mark = self.marks.get(row).copied().unwrap_or_default();
            if mark.duplicate {
                self.skipped.repeated += 1;
                continue;
            }
            let Some((symbol, tick)) = self.tick(row, recv_us) else { continue };
            // Fetched, and delivered as well: unlike a row of a count that begins anew it is not of now.
            if mark.again && (carrier.is_none() || tick.ts_us <= *self.last_of(symbol)) {
                self.skipped.repeated += 1;
                continue;
            }
            out.extend(self.unannounced.drain(..).map(|symbol_index| Item::Own { symbol_index, feed: self.number }));
            if let Some((_, hole)) = gaps.iter().find(|(at, _)| *at == row) {
                self.hole(symbol, tick.symbol_index, *hole, tick.ts_us, out);
            }
            if !self.state.unrecorded.is_empty() && carrier.is_some() {
                self.recorded_again(symbol, tick.symbol_index, tick.ts_us, out);
            }
            if *self.last_of(symbol) == NEVER && !(0..=1).contains(&tick.first_id) {
                // Recording begins inside these bars: what was traded before is missing. The first trade ever of a
                // symbol has id 0 or 1; nothing came before that.
                let from_us = tick.ts_us;
                let name = self.decoder.rows.symbols.name(symbol).to_owned();
                if seed::supported(self.venue.id(), self.source) {
                    self.state.seeds.insert(name.clone(), first_row(&tick));
                }
                self.remember(Hole { symbol: name, from_id: BEGINNING, to_id: NO_ID, from_us, to_us: from_us });
                out.push(Item::Gap { symbol_index: tick.symbol_index, from_us, to_us: from_us });
            }
            if mark.late && !self.state.seeds.is_empty() {
                self.earlier(symbol, &tick);
            }
            self.clock_by(tick.ts_us, recv_us, carrier.is_some(), out);
            let First { row_id, ts_us, .. } = first_row(&tick);
            out.push(Item::Tick(tick));
            let last = self.last_of(symbol);
            *last = (*last).max(ts_us);
            if mark.late {
                self.filled(symbol, tick.symbol_index, row_id, out);
            }
        }
    }

    /// The row as a tick; `None` (and counted) for what is no trade of the market.
    fn tick(&mut self, row: usize, recv_us: i64) -> Option<(SymbolId, Tick)> {
        let rows = &self.decoder.rows;
        let (symbol, mut tick) = match (rows.trades.get(row), rows.agg_trades.get(row)) {
            (Some(t), _) => {
                if t.kind.is_some_and(|kind| rows.symbols.name(kind) != "MARKET") {
                    self.skipped.off_book += 1;
                    return None;
                }
                let id = t.id.unwrap_or(NO_ID);
                let tick = Tick {
                    symbol_index: 0,
                    ts_us: t.ts_trade_us.or(t.ts_event_us).unwrap_or(recv_us),
                    price: t.price,
                    amount: t.amount,
                    first_id: id,
                    last_id: id,
                    agg_id: NO_ID,
                    count: 1,
                    taker_buy: t.side == Side::Buy,
                };
                (t.symbol, tick)
            }
            (None, Some(a)) => {
                let count = a.last_id.checked_sub(a.first_id).and_then(|n| u32::try_from(n.checked_add(1)?).ok());
                let tick = Tick {
                    symbol_index: 0,
                    ts_us: a.ts_trade_us,
                    price: a.price,
                    amount: a.amount,
                    first_id: a.first_id,
                    last_id: a.last_id,
                    agg_id: a.agg_id,
                    count: count.unwrap_or(1),
                    taker_buy: a.side == Side::Buy,
                };
                (a.symbol, tick)
            }
            (None, None) => return None,
        };
        // Without a trade before nobody knows how far the two clocks are apart.
        // Afterwards ours, its distance to the venue's, and the venue's own: each of them may be set. Receive times
        // follow a step of the wall clock late, after a machine slept: what a CLOCK record told counts as well.
        let latest = self.state.offset_us.map_or(i64::MAX - FUTURE_US, |offset| {
            let told_us = self.state.clock.map_or(i64::MIN, |clock| clock.wall_us);
            let known_us = self.state.venue_now_us.unwrap_or(i64::MIN);
            recv_us.saturating_sub(offset).max(recv_us).max(known_us).max(told_us)
        });
        // An archive's or a venue's zero trades are no trades; a time of next year is no time.
        if tick.price.mantissa <= 0 || tick.amount.mantissa <= 0 || tick.ts_us > latest.saturating_add(FUTURE_US) {
            self.skipped.absurd += 1;
            return None;
        }
        tick.symbol_index = self.index(symbol)?;
        Some((symbol, tick))
    }

    /// The place of a symbol; one that no listing announced gets its place now.
    fn index(&mut self, symbol: SymbolId) -> Option<u32> {
        let at = symbol.0 as usize;
        if let Some(Some(index)) = self.index_of.get(at) {
            return Some(*index);
        }
        let venue = self.venue.id().as_str();
        let name = self.decoder.rows.symbols.name(symbol).to_owned();
        let index = match self.registry.index(venue, &name) {
            Some(index) => index,
            None => {
                self.unannounced.extend(self.registry.register(venue, [(name.clone(), None)]));
                self.registry.index(venue, &name)?
            }
        };
        if self.index_of.len() <= at {
            self.index_of.resize(at + 1, None);
        }
        *self.index_of.get_mut(at)? = Some(index);
        Some(index)
    }

    #[inline]
    fn last_of(&mut self, symbol: SymbolId) -> &mut i64 {
        let at = symbol.0 as usize;
        if self.last_us.len() <= at {
            self.last_us.resize(at + 1, NEVER);
        }
        &mut self.last_us[at]
    }
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod edges;
#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
