//! One venue's log as items for the actors: a fold over records that knows no files, no clock and no threads.
//!
//! ```text
//!  record --> of the source channel? --> decode --> ids: repeat? gap?  fills one? --> Tick, Gap, Repaired
//!         \-> listing: symbols get their places     time of the venue passed a minute --> Clock
//! ```
//!
//! What comes out depends on the records alone, so a restart from a saved [`FeedState`] goes on exactly, and any
//! number of kills leaves the candles of an undisturbed run. The repairer's log of the venue is folded in by the
//! same feed: its trades fill gaps that this feed knows.
//!
//! A trade closes the bars of its own symbol. Those of the others close by the venue's time, which is our receive time
//! less the distance between the two clocks that most symbols agree on ([`time`]): so bars of silent markets close too,
//! a clock that is wrong by hours, ours or the venue's, does no harm, and neither does a trade whose time is. A step of
//! our clock is found in the log's CLOCK records, which hold the time since boot too: from one to the next the wall time
//! counts only for as long as they can be apart.
//!
//! A symbol that the newest listing does not have, or has as not trading, gets no bars of silence, nor does one after the
//! listed end of its trading; neither does one that is recorded no more, and the bars in which that begins and
//! ends are marked.

mod gap;
mod gaps;
mod time;
mod vote;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wal_format::{Kind, RecordRef, flags};

use self::gap::{Interruption, TradeGap, UNFILLABLE, first_row};
use self::vote::{Clock, Doubt, EarlyTrade, SavedVote, Vote, When};
use super::message::Item;
use super::registry::{Facts, SymbolPeriodRegistry};
use super::seed::First;
use fold::account::LineCounts;
use fold::decode::{FrameDecoder, Verdict};
use fold::dedupe::{Carrier, Dedupe, SavedDedupe};
use model::kline::{NO_ID, Tick};
use model::record;
use model::row::Side;
use model::select;
use model::unit::Unit;
use model::{Channel, RestMeta, SymbolId, UnknownName};
use venue::Venue;
use venue::gap::{GapEvent, GapState, GapTracker, RowMark, Seen};

const MINUTE_US: i64 = 60_000_000;
/// A trade that cannot be read was made at most this long before it came.
const UNREAD_US: i64 = 5_000_000;
/// Everything a feed remembers besides its place in the logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedState {
    gaps: GapState,
    dedupe: SavedDedupe,
    #[serde(rename = "holes")]
    id_gaps: Vec<TradeGap>,
    /// Time of the last trade by symbol, us.
    last_us: BTreeMap<String, i64>,
    /// Up to when rows of a symbol came, us, where that is later: some are no trades of a candle.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    seen_us: BTreeMap<String, i64>,
    venue_now_us: Option<i64>,
    /// Receive time minus trade time that is believed, us.
    offset_us: Option<i64>,
    /// What most trades say instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doubt: Option<Doubt>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    votes: Vec<SavedVote>,
    /// When the votes were counted, us.
    #[serde(default)]
    counted_us: i64,
    /// Trades whose time has not come, by time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    early: Vec<EarlyTrade>,
    /// Times of those that came last, us, where they are ahead of the venue's time: bars of them are there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    came_us: BTreeMap<String, i64>,
    minute: Option<i64>,
    last_recv_us: i64,
    known: BTreeSet<String>,
    /// What the newest listing says of the recorded symbols: it may be long before a restart's place in the log.
    #[serde(default)]
    listed: BTreeMap<String, Facts>,
    /// The last interruption of a venue whose ids do not show what it cost, us: as version 1 saved it.
    #[serde(default, skip_serializing)]
    interrupted: Option<(i64, i64)>,
    /// Interruptions of which no ids show what they cost, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    interruptions: Vec<Interruption>,
    /// First rows of symbols whose first bars wait for a seed from the venue.
    #[serde(default)]
    seeds: BTreeMap<String, First>,
    /// The last CLOCK record.
    #[serde(default)]
    clock: Option<Clock>,
    /// Quote volumes of contracts are worth of their base; version 1 forgot what a contract is worth.
    #[serde(default)]
    multiplied: bool,
    /// Name of the channel that the candles are made of; none in a state of version 1.
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
    /// Of a time that has not come; they wait for it.
    pub early: u64,
}

/// The fold; see the module.
pub struct CandleFeed {
    venue: &'static Venue,
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
    seen_us: Vec<i64>,
    id_gaps: Vec<TradeGap>,
    /// Of them those of which nobody knows yet whether they are any.
    doubtful: usize,
    votes: Vec<Vote>,
    /// Symbol of a stream of the source, by what its frames carry; made when it is needed.
    streams: Option<StreamSymbols>,
    /// What the amounts of listed symbols are worth, as the actors know it.
    units: BTreeMap<String, Unit>,
    /// When the trading of the next listed symbol ends, us.
    next_end_us: i64,
    state: FeedState,
    skipped: Skipped,
    /// Symbols that got their place with their first trade: announced before it.
    unannounced: Vec<u32>,
    /// Symbols of `state.seeds` that were requested already.
    requested: BTreeSet<String>,
    /// The channel before, when it was another one, and the time of its last trade, us.
    other_source: Option<(String, i64)>,
}

/// Symbols by what frames of their streams carry: channel and symbol.
type StreamSymbols = HashMap<(Vec<u8>, Vec<u8>), String>;

/// No trade of this symbol yet.
const NEVER: i64 = i64::MIN;

impl CandleFeed {
    /// Goes on after `state`. `source` is [`Channel::Trades`] or [`Channel::AggTrades`]; `patterns` are the
    /// configured symbols, by which a listing is reduced to what is recorded.
    ///
    /// # Errors
    /// When the state names a channel this version does not know.
    pub fn new(
        venue: &'static Venue,
        source: Channel,
        number: u32,
        patterns: Vec<String>,
        registry: Arc<SymbolPeriodRegistry>,
        state: FeedState,
    ) -> Result<Self, UnknownName> {
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
            seen_us: Vec::new(),
            doubtful: state.id_gaps.iter().filter(|gap| gap.unsure).count(),
            id_gaps: state.id_gaps.clone(),
            votes: Vec::new(),
            streams: None,
            units: BTreeMap::new(),
            next_end_us: i64::MIN,
            state,
            skipped: Skipped::default(),
            unannounced: Vec::new(),
            requested: BTreeSet::new(),
            other_source: None,
        };
        for (symbol, us) in std::mem::take(&mut feed.state.last_us) {
            let id = feed.decoder.rows.symbols.intern(&symbol);
            *feed.last_of(id) = us;
        }
        for (symbol, us) in std::mem::take(&mut feed.state.seen_us) {
            let id = feed.decoder.rows.symbols.intern(&symbol);
            *time_of(&mut feed.seen_us, id) = us;
        }
        for (symbol, offset_us, ts_us) in std::mem::take(&mut feed.state.votes) {
            let symbol = feed.decoder.rows.symbols.intern(&symbol);
            feed.votes.push(Vote { symbol, offset_us, ts_us });
        }
        if let Some((from_us, to_us)) = feed.state.interrupted.take() {
            feed.state.interruptions.push(Interruption { from_us, to_us, symbols: Vec::new() });
        }
        feed.adopt_source();
        for (symbol, facts) in &feed.state.listed {
            feed.registry.set_facts(venue.id().as_str(), symbol, facts.clone());
            feed.units.insert(symbol.clone(), Facts::unit(venue, Some(facts)));
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
            id_gaps: self.id_gaps.clone(),
            last_us: last.map(|(i, us)| (symbols.name(SymbolId(i)).to_owned(), *us)).collect(),
            seen_us: (0_u32..)
                .zip(&self.seen_us)
                .filter(|(i, us)| self.last_us.get(*i as usize).is_none_or(|last| last < *us) && **us != NEVER)
                .map(|(i, us)| (symbols.name(SymbolId(i)).to_owned(), *us))
                .collect(),
            votes: self.votes.iter().map(|v| (symbols.name(v.symbol).to_owned(), v.offset_us, v.ts_us)).collect(),
            multiplied: true,
            ..self.state.clone()
        }
    }

    /// The channel that the bars before were made of, if that was another one, and the time of its last trade, us.
    pub(crate) fn other_source(&self) -> Option<(&str, i64)> {
        self.other_source.as_ref().map(|(channel, us)| (channel.as_str(), *us))
    }

    /// What the amounts of a symbol are worth. The actors forget it over a restart; the caller sends it to them.
    pub fn unit(&self, symbol: &str) -> Unit {
        self.units.get(symbol).copied().unwrap_or_else(|| Facts::unit(self.venue, None))
    }

    /// Quote volumes of stored bars of contracts were multiplied out.
    pub(crate) fn is_multiplied(&self) -> bool {
        self.state.multiplied
    }

    /// The latest time, us, of which bars of a symbol may hold trades of this feed; `None` when it knows of no time.
    pub(crate) fn reached_us(&self, symbol: &str) -> Option<i64> {
        let came_us = self.state.came_us.get(symbol).copied();
        self.last_trade_us(symbol).max(self.state.venue_now_us).max(came_us)
    }

    /// Receive time of the last record, us; 0 = none.
    pub(crate) fn last_recv_us(&self) -> i64 {
        self.state.last_recv_us
    }

    /// The symbols that had a trade.
    pub fn traded(&self) -> Vec<String> {
        let last = (0_u32..).zip(&self.last_us).filter(|(_, us)| **us != NEVER);
        last.map(|(i, _)| self.decoder.rows.symbols.name(SymbolId(i)).to_owned()).collect()
    }

    /// Time of the last trade of a symbol, us.
    pub(crate) fn last_trade_us(&self, symbol: &str) -> Option<i64> {
        let id = self.decoder.rows.symbols.find(symbol)?;
        self.last_us.get(id.0 as usize).copied().filter(|us| *us != NEVER)
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
        let reported_us = if record.kind() == Some(Kind::Clock) { self.clock(record.payload) } else { None };
        self.report_time(reported_us.unwrap_or(recv_us), out);
        for early in self.due(reported_us.unwrap_or(recv_us)) {
            self.come(&early, out);
        }
        match record.kind() {
            Some(Kind::Data) => {
                let binary = record.flags & flags::BINARY != 0;
                // Most frames are of other channels: recognized by their first bytes. An unusual one is decoded.
                let other = self
                    .venue
                    .frames
                    .stream_of(record.payload, binary)
                    .and_then(|key| self.venue.frames.channel_of(key))
                    .is_some_and(|channel| channel != self.source);
                let verdict = if other { Verdict::Control } else { self.decoder.decode(record) };
                match verdict {
                    Verdict::Rows(channel) if channel == self.source => {
                        let line = u8::from(record.flags & flags::SECOND_LINE != 0);
                        let odd = std::mem::take(&mut self.decoder.rows.rejects.symbols);
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
                self.interrupted(self.state.last_recv_us, recv_us, None, out);
            }
            Some(Kind::Gap) => self.named_gap(record.payload, out),
            _ => {}
        }
        self.state.last_recv_us = self.state.last_recv_us.max(recv_us);
    }

    /// A trade of these symbols cannot be read (`None`: of any). Where trades have ids the next one shows that it is
    /// missing; else the bars that it may belong to say so.
    fn unread(&mut self, symbols: &[Option<SymbolId>], recv_us: i64, out: &mut Vec<Item>) {
        if symbols.is_empty() {
            return;
        }
        let names = &self.decoder.rows.symbols;
        let named = symbols.iter().map(|symbol| symbol.map(|symbol| names.name(symbol).to_owned())).collect();
        self.interrupted(recv_us.saturating_sub(UNREAD_US), recv_us, named, out);
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
        let now_us = self.reported_us();
        let traded = |f: &mut Facts| std::mem::replace(&mut f.trading, false) && !has_ended(f, now_us);
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
            if let Some(symbol_index) = self.registry.index(venue, symbol) {
                let unit = Facts::unit(self.venue, Some(facts));
                if self.units.insert(symbol.clone(), unit) != Some(unit) {
                    out.push(Item::Unit { symbol_index, unit });
                }
            }
            let halted = !facts.trading || has_ended(facts, now_us);
            if before.get(symbol).is_none_or(|traded| *traded) == halted
                && !self.state.unrecorded.contains_key(symbol)
                && let Some(symbol_index) = self.registry.index(venue, symbol)
            {
                out.push(Item::Halt { symbol_index, halted });
            }
        }
        // Looked up at the next minute.
        self.next_end_us = i64::MIN;
        self.index_of.clear();
        self.streams = None;
    }

    /// The venue's time that was last reported to the bars, us.
    fn reported_us(&self) -> i64 {
        self.state.minute.map_or(i64::MIN, |minute| minute.saturating_mul(MINUTE_US))
    }

    /// Before `now_us` is reported to the bars: trading of some symbols ended since the time reported last. Up
    /// to there their silence is bars, also when the time goes on by an hour at once.
    #[cold]
    pub(super) fn end(&mut self, now_us: i64, out: &mut Vec<Item>) {
        let mut reported_us = self.reported_us();
        let listed = self.state.listed.iter();
        let ends: BTreeSet<(i64, &String)> = listed
            .filter_map(|(symbol, facts)| Some((end_us(facts)?, symbol)))
            .filter(|(us, _)| *us > reported_us)
            .collect();
        self.next_end_us = i64::MAX;
        for (end_us, symbol) in ends {
            if end_us > now_us {
                self.next_end_us = end_us;
                break;
            }
            let last_open_us = (end_us - 1).div_euclid(MINUTE_US) * MINUTE_US;
            if self.state.minute.is_some() && last_open_us > reported_us {
                reported_us = last_open_us;
                out.push(Item::Clock { feed: self.number, now_us: reported_us });
            }
            if let Some(symbol_index) = self.registry.index(self.venue.id().as_str(), symbol) {
                out.push(Item::Halt { symbol_index, halted: true });
            }
        }
    }

    /// True for a symbol whose silence makes no bars: it does not trade, not any more, or is recorded no more.
    pub(crate) fn is_silent(&self, symbol: &str) -> bool {
        let halted = |facts: &Facts| !facts.trading || has_ended(facts, self.reported_us());
        self.is_unrecorded(symbol) || self.state.listed.get(symbol).is_some_and(halted)
    }

    /// Symbols are recorded no more: silence says nothing of them, and ids that are missing later are no gap.
    #[cold]
    fn unsubscribed(&mut self, payload: &[u8], out: &mut Vec<Item>) {
        let source = self.source;
        for (_, symbol) in record::parse_unsubscribed(payload).into_iter().filter(|(channel, _)| *channel == source) {
            self.tracker.forget(&symbol, source);
            let Some(symbol_index) = self.registry.index(self.venue.id().as_str(), &symbol) else { continue };
            let id = self.decoder.rows.symbols.intern(&symbol);
            let from_us = *self.last_of(id);
            if from_us != NEVER {
                let since_us = self.state.venue_now_us.unwrap_or(from_us).max(from_us);
                self.unfillable_gap(&symbol, symbol_index, from_us, since_us, out);
                self.state.unrecorded.insert(symbol, since_us);
                out.push(Item::Halt { symbol_index, halted: true });
            }
        }
    }

    /// True for a symbol that is recorded no more.
    pub(crate) fn is_unrecorded(&self, symbol: &str) -> bool {
        self.state.unrecorded.contains_key(symbol)
    }

    /// The rows that were decoded last.
    fn trades(&mut self, recv_us: i64, carrier: Option<Carrier>, out: &mut Vec<Item>) {
        let mut gaps: Vec<(usize, (i64, i64), bool)> = Vec::new();
        let Self { tracker, dedupe, decoder, marks, counts, last_us, .. } = self;
        let mut on_gap = |gap: GapEvent<'_>| {
            // Aggregates that continue over trades they leave out are no gap of ours.
            if !matches!(gap.seen, Seen::TradesSkipped { .. }) {
                gaps.extend(gap.ids.map(|ids| (gap.row, ids, gap.unsure)));
            }
        };
        match carrier {
            Some(carrier) => {
                let last_us = |_, symbol: SymbolId| last_us.get(symbol.0 as usize).copied().filter(|us| *us != NEVER);
                dedupe.arrive(carrier, &decoder.rows, marks, counts);
                tracker.observe_new_rows(&decoder.rows, marks, last_us, &mut on_gap);
                dedupe.settle(carrier, &decoder.rows, marks, counts, &mut Vec::new());
            }
            None => tracker.observe_fetched_rows(&decoder.rows, marks, &mut on_gap),
        }
        let rows = self.decoder.rows.trades.len() + self.decoder.rows.agg_trades.len();
        for row in 0..rows {
            let mark = self.marks.get(row).copied().unwrap_or_default();
            if mark.duplicate {
                self.skipped.repeated += 1;
                continue;
            }
            let Some((symbol, tick, counts)) = self.tick(row, recv_us) else { continue };
            // Fetched, and delivered as well: unlike a row of a count that begins again it is not of now.
            if mark.again && (carrier.is_none() || tick.ts_us <= *self.last_of(symbol)) {
                self.skipped.repeated += 1;
                continue;
            }
            self.announce(out);
            if carrier.is_some() && counts && !mark.late {
                self.vote(symbol, tick.ts_us, recv_us, out);
            }
            let when = self.when(tick.ts_us, recv_us);
            let known_us = match when {
                When::Now => tick.ts_us,
                When::Later(come_us) | When::Never(come_us) => come_us,
            };
            // What is no trade of a candle has an id all the same.
            if let Some((_, ids, unsure)) = gaps.iter().find(|(at, _, _)| *at == row) {
                // After one that ends with no trade of now, nobody knows the last price.
                let unsettled = !counts || !matches!(when, When::Now);
                self.id_gap(symbol, tick.symbol_index, (*ids, *unsure), known_us, unsettled, out);
            }
            if self.doubtful > 0 {
                self.settled(symbol, tick.symbol_index, out);
            }
            if !self.state.unrecorded.is_empty() && carrier.is_some() && counts {
                self.recorded_again(symbol, tick.symbol_index, known_us, out);
            }
            let row_id = first_row(&tick).row_id;
            match when {
                _ if !counts => {}
                When::Now => {
                    self.admit(symbol, tick, mark.late, out);
                    let last = self.last_of(symbol);
                    *last = (*last).max(known_us);
                }
                When::Later(_) => {
                    self.skipped.early += 1;
                    self.wait(symbol, &tick);
                }
                When::Never(_) => {
                    // It belongs somewhere near, and is in no candle.
                    self.skipped.absurd += 1;
                    if *self.last_of(symbol) != NEVER {
                        let (symbol_index, from_us, to_us) = (tick.symbol_index, known_us, known_us);
                        out.push(Item::Gap { symbol_index, from_us, to_us, unsettled: true });
                    }
                }
            }
            let seen = time_of(&mut self.seen_us, symbol);
            *seen = (*seen).max(known_us);
            if mark.late {
                self.filled(symbol, tick.symbol_index, row_id, known_us, out);
            }
        }
    }

    /// A trade of a time that has come.
    fn admit(&mut self, symbol: SymbolId, tick: Tick, late: bool, out: &mut Vec<Item>) {
        if *self.last_of(symbol) == NEVER && !(0..=1).contains(&tick.first_id) {
            // Recording begins inside these bars: what was traded before is missing. The first trade ever of a
            // symbol has id 0 or 1; nothing came before that.
            let from_us = tick.ts_us;
            let name = self.decoder.rows.symbols.name(symbol).to_owned();
            // One that came before and waits for its time would be requested again.
            let waits = self.state.early.iter().any(|early| early.symbol == name);
            if self.venue.spec.seeding.contains(&self.source) && !waits {
                self.state.seeds.insert(name.clone(), first_row(&tick));
            }
            self.remember(TradeGap {
                symbol: name,
                from_id: UNFILLABLE,
                to_id: NO_ID,
                from_us,
                to_us: from_us,
                unsure: false,
            });
            out.push(Item::Gap { symbol_index: tick.symbol_index, from_us, to_us: from_us, unsettled: false });
        }
        if late && !self.state.seeds.is_empty() {
            self.earlier(symbol, &tick);
        }
        out.push(Item::Tick(tick));
    }

    /// The time of a trade that waited for it has come.
    #[cold]
    fn come(&mut self, early: &EarlyTrade, out: &mut Vec<Item>) {
        let symbol = self.decoder.rows.symbols.intern(&early.symbol);
        let Some(tick) = self.index(symbol).and_then(|symbol_index| early.tick(symbol_index)) else { return };
        self.announce(out);
        self.admit(symbol, tick, false, out);
        let now_us = self.state.venue_now_us;
        self.state.came_us.retain(|_, us| Some(*us) > now_us);
        if Some(tick.ts_us) > now_us {
            let came_us = self.state.came_us.entry(early.symbol.clone()).or_insert(tick.ts_us);
            *came_us = (*came_us).max(tick.ts_us);
        }
        // Of others it says nothing: what is missing next to it is missing where it came.
        let last = self.last_of(symbol);
        if *last == NEVER {
            *last = tick.ts_us;
        }
    }

    /// Announces symbols that got their place with their first trade.
    #[inline]
    fn announce(&mut self, out: &mut Vec<Item>) {
        for symbol_index in self.unannounced.drain(..) {
            out.push(Item::Own { symbol_index, feed: self.number });
            let unit = Facts::unit(self.venue, None);
            if unit != Unit::Base {
                out.push(Item::Unit { symbol_index, unit });
            }
        }
    }

    /// The row as a tick, and whether it is a trade of the market; it is counted when it is none.
    fn tick(&mut self, row: usize, recv_us: i64) -> Option<(SymbolId, Tick, bool)> {
        let rows = &self.decoder.rows;
        let mut counts = true;
        let (symbol, mut tick) = match (rows.trades.get(row), rows.agg_trades.get(row)) {
            (Some(t), _) => {
                if t.kind.is_some_and(|kind| self.venue.spec.is_off_book(rows.symbols.name(kind))) {
                    self.skipped.off_book += 1;
                    counts = false;
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
        // An archive's or a venue's zero trades are no trades.
        if counts && (tick.price.mantissa <= 0 || tick.amount.mantissa <= 0) {
            self.skipped.absurd += 1;
            counts = false;
        }
        tick.symbol_index = self.index(symbol)?;
        Some((symbol, tick, counts))
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
                self.streams = None;
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
        time_of(&mut self.last_us, symbol)
    }
}

/// When the trading of a symbol ends, us.
fn end_us(facts: &Facts) -> Option<i64> {
    facts.end_time_ms.and_then(|ms| ms.checked_mul(1_000))
}

fn has_ended(facts: &Facts, now_us: i64) -> bool {
    end_us(facts).is_some_and(|us| us <= now_us)
}

#[inline]
fn time_of(times: &mut Vec<i64>, symbol: SymbolId) -> &mut i64 {
    let at = symbol.0 as usize;
    if times.len() <= at {
        times.resize(at + 1, NEVER);
    }
    &mut times[at]
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod edges;
#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
