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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wal_format::{ClockPair, Kind, RecordRef, flags};

use super::actor::Item;
use super::data::{KlineData, NO_ID, Tick};
use super::interval::Interval;
use super::registry::{Facts, SymbolPeriodRegistry};
use super::seed::{self, First};
use super::touched;
use crate::collect::{record, select};
use crate::compact::account::LineCounts;
use crate::compact::decode::{FrameDecoder, Verdict};
use crate::compact::dedupe::{Carrier, Dedupe, SavedDedupe};
use crate::venue::gap::{GapState, GapTracker, RowMark};
use crate::venue::row::Side;
use crate::venue::{Channel, Continuity, RestMeta, SymbolId, UnknownWord, Venue};

const MINUTE_US: i64 = 60_000_000;
/// Bars of other symbols close this long after the first trade behind their end, by the venue's time: trades of
/// different symbols come over different connections and are not in order to the millisecond.
const EVIDENCE_MARGIN_US: i64 = 10_000;
/// Bars close this long after their end by our clock, when no trade tells.
const TIMER_MARGIN_US: i64 = 250_000;
/// A log has a CLOCK record at least this often; whatever is received longer after the last one was received by another
/// clock.
const CLOCK_EVERY_US: i64 = 11_000_000;
/// Our clock was set when it moved by more than this against the time since boot.
const STEP_US: i64 = 50_000;
/// A trade this far ahead of all clocks is damaged, not early.
const FUTURE_US: i64 = 3_600_000_000;
/// First id of what was traded before recording began: nobody fills it.
const BEGINNING: i64 = i64::MIN;
/// Behind the longest bar a hole has nothing left to mark.
const HOLES_KEPT_US: i64 = 8 * 1_440 * MINUTE_US;
/// Holes remembered until they are filled; beyond it the oldest stay marked.
const HOLES_MAX: usize = 4_096;

/// A hole in the ids of one symbol and the time it covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Hole {
    symbol: String,
    from_id: i64,
    to_id: i64,
    from_us: i64,
    to_us: i64,
}

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
    /// Symbols that are recorded no more, since when, us.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unrecorded: BTreeMap<String, i64>,
}

/// Our clock as of a CLOCK record, us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Clock {
    wall_us: i64,
    mono_us: i64,
    /// All its steps so far: what is to be taken off for a time without steps.
    stepped_us: i64,
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
        };
        for (symbol, us) in std::mem::take(&mut feed.state.last_us) {
            let id = feed.decoder.rows.symbols.intern(&symbol);
            *feed.last_of(id) = us;
        }
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

    /// Trades that did not become ticks since the start.
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// The venue's time as far as known, us.
    pub fn venue_now_us(&self) -> Option<i64> {
        self.state.venue_now_us
    }

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

    /// Bars that a hole still touches keep their mark.
    fn mark_again(&self, symbol: &str, symbol_index: u32, out: &mut Vec<Item>) {
        for hole in self.holes.iter().filter(|h| h.symbol == symbol) {
            out.push(Item::Gap { symbol_index, from_us: hole.from_us, to_us: hole.to_us });
        }
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
                if !other && self.decoder.decode(record) == Verdict::Rows(self.source) {
                    let line = u8::from(record.flags & flags::SECOND_LINE != 0);
                    self.trades(recv_us, Some(Carrier { conn: record.conn, line }), out);
                }
            }
            Some(Kind::Rest) => self.rest(record, recv_us, out),
            Some(Kind::ConnOpen) => self.dedupe.opened(record.conn, record.payload),
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

    /// A CLOCK record: was our clock set since the one before? Returns the wall time it tells, us.
    #[cold]
    fn clock(&mut self, payload: &[u8]) -> Option<i64> {
        let us = |ns: u64| i64::try_from(ns / 1_000).unwrap_or(i64::MAX);
        let pair = ClockPair::decode(payload).filter(|pair| pair.wall_ns > 0)?;
        let (wall_us, mono_us) = (us(pair.wall_ns), us(pair.mono_ns));
        let stepped_us = self.state.clock.map_or(0, |last| {
            let step = (wall_us - last.wall_us) - (mono_us - last.mono_us);
            // A smaller time since boot is another boot's, which tells nothing.
            let is_step = mono_us >= last.mono_us && step.abs() > STEP_US;
            last.stepped_us + if is_step { step } else { 0 }
        });
        self.state.clock = Some(Clock { wall_us, mono_us, stepped_us });
        Some(wall_us)
    }

    /// The receive time without the steps of our clock; `None` when the clock was set since the last CLOCK record (a
    /// log's times never go back, so behind a step back they stand still).
    #[inline]
    fn steady(&self, recv_us: i64) -> Option<i64> {
        let Some(clock) = self.state.clock else { return Some(recv_us) };
        let since_us = recv_us.saturating_sub(clock.wall_us);
        (-CLOCK_EVERY_US..=CLOCK_EVERY_US).contains(&since_us).then(|| recv_us.saturating_sub(clock.stepped_us))
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

    /// A symbol that was recorded no more is again, from `now_us` on.
    #[cold]
    fn recorded_again(&mut self, symbol: SymbolId, symbol_index: u32, now_us: i64, out: &mut Vec<Item>) {
        let name = self.decoder.rows.symbols.name(symbol).to_owned();
        if let Some(since_us) = self.state.unrecorded.remove(&name) {
            self.beginning(&name, symbol_index, since_us.min(now_us), now_us, out);
            let trades = self.state.listed.get(&name).is_none_or(|facts| facts.trading);
            out.push(Item::Halt { symbol_index, halted: !trades });
        }
    }

    /// What was traded between these times was not recorded, and nobody fills it.
    fn beginning(&mut self, symbol: &str, symbol_index: u32, from_us: i64, to_us: i64, out: &mut Vec<Item>) {
        self.remember(Hole { symbol: symbol.to_owned(), from_id: BEGINNING, to_id: NO_ID, from_us, to_us });
        out.push(Item::Gap { symbol_index, from_us, to_us });
    }

    /// True for a symbol that is recorded no more.
    pub fn is_unrecorded(&self, symbol: &str) -> bool {
        self.state.unrecorded.contains_key(symbol)
    }

    /// Without ids nothing tells what an interruption cost: its bars are marked.
    fn interrupted(&mut self, from_us: i64, to_us: i64, out: &mut Vec<Item>) {
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

    /// The venue's time is at least this; bars that end before close.
    #[inline]
    fn evidence(&mut self, now_us: i64, out: &mut Vec<Item>) {
        if self.state.venue_now_us.is_some_and(|known| now_us <= known) {
            return;
        }
        self.state.venue_now_us = Some(now_us);
        let minute = now_us.div_euclid(MINUTE_US);
        if self.state.minute.is_some_and(|m| minute > m) {
            out.push(Item::Clock { feed: self.number, now_us: minute * MINUTE_US });
        }
        self.state.minute = Some(minute);
    }

    /// The rows that were decoded last.
    fn trades(&mut self, recv_us: i64, carrier: Option<Carrier>, out: &mut Vec<Item>) {
        let mut gaps: Vec<(usize, (i64, i64))> = Vec::new();
        let Self { tracker, dedupe, decoder, marks, counts, .. } = self;
        tracker.observe_rows(&decoder.rows, marks, &mut |gap| {
            // Aggregates that continue over trades they leave out are no loss of ours.
            if !matches!(gap.seen, crate::venue::gap::Seen::TradesSkipped { .. }) {
                gaps.push((gap.row, gap.hole));
            }
        });
        if let Some(carrier) = carrier {
            dedupe.frame(carrier, &decoder.rows, marks, counts);
        }
        let rows = self.decoder.rows.trades.len() + self.decoder.rows.agg_trades.len();
        for row in 0..rows {
            let mark = self.marks.get(row).copied().unwrap_or_default();
            if mark.duplicate {
                self.skipped.repeated += 1;
                continue;
            }
            let Some((symbol, tick)) = self.tick(row, recv_us) else { continue };
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
        // Afterwards ours, its distance to the venue's, and the venue's own: each of them may be set.
        let latest = self.state.offset_us.map_or(i64::MAX - FUTURE_US, |offset| {
            recv_us.saturating_sub(offset).max(recv_us).max(self.state.venue_now_us.unwrap_or(i64::MIN))
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

    #[cold]
    fn hole(&mut self, symbol: SymbolId, symbol_index: u32, ids: (i64, i64), to_us: i64, out: &mut Vec<Item>) {
        let last = *self.last_of(symbol);
        let from_us = if last == NEVER { to_us } else { last.min(to_us) };
        let name = self.decoder.rows.symbols.name(symbol).to_owned();
        self.remember(Hole { symbol: name, from_id: ids.0, to_id: ids.1, from_us, to_us });
        out.push(Item::Gap { symbol_index, from_us, to_us });
    }

    /// Keeps a hole until it is filled, or until no open bar can touch it any more.
    fn remember(&mut self, hole: Hole) {
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
    fn filled(&mut self, symbol: SymbolId, symbol_index: u32, row_id: i64, out: &mut Vec<Item>) {
        let name = self.decoder.rows.symbols.name(symbol);
        let (tracker, source) = (&self.tracker, self.source);
        let mut over = Vec::new();
        self.holes.retain(|hole| {
            let is_over = hole.symbol == name
                && hole.from_id != BEGINNING
                && (hole.from_id..=hole.to_id).contains(&row_id)
                && tracker.open(name, source, hole.from_id, hole.to_id).is_empty();
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

    /// A late row right before the first one is the first one now.
    #[cold]
    fn earlier(&mut self, symbol: SymbolId, tick: &Tick) {
        let name = self.decoder.rows.symbols.name(symbol);
        if let Some(first) = self.state.seeds.get_mut(name)
            && tick.last_id == first.trade_id - 1
        {
            *first = First { ts_us: first.ts_us.min(tick.ts_us), ..first_row(tick) };
        }
    }

    /// What a trade says of the venue's time. Repairs are old and say nothing.
    #[inline]
    fn clock_by(&mut self, ts_us: i64, recv_us: i64, live: bool, out: &mut Vec<Item>) {
        if !live {
            return;
        }
        self.evidence(ts_us.saturating_sub(EVIDENCE_MARGIN_US), out);
        let Some(now_us) = self.steady(recv_us) else { return };
        let sample = now_us.saturating_sub(ts_us);
        let offset = match self.state.offset_us {
            // Back towards what is usual after an outlier, or a clock that was set.
            Some(known) if sample > known => known.saturating_add(sample.saturating_sub(known) / 1_000),
            _ => sample,
        };
        self.state.offset_us = Some(offset);
    }
}

fn first_row(tick: &Tick) -> First {
    let row_id = if tick.agg_id == NO_ID { tick.first_id } else { tick.agg_id };
    First { row_id, trade_id: tick.first_id, ts_us: tick.ts_us }
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod edges;
#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
