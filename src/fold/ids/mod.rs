//! The ids of a part: what the venue's ids say about missing and late rows, and which ids a part holds.
//!
//! The rules are [`venue::gap`]'s. Here they meet the log: a gap has a cause (did a connection end between
//! the two ids?), is reported only when it stays open ([`pending`]), and a part states how many ids it has and lacks.
//! Called once per frame and row, so a symbol is a vector index; names appear only when the ledger is saved and
//! loaded again by another run, for which interned numbers mean nothing.
//!
//! A symbol that had no row for [`FORGET_HOURS`] of the log leaves the ledger, so that listings that come and go do not
//! grow it. What that costs is reported as it happens (`ids_forgotten`): should the symbol come back, ids that are
//! missing before its first row are not known to be. A repair log has ids here and there and no rule: they are only
//! counted.

mod pending;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use lake::manifest::IdRange;
use model::row::RowKind;
use model::{Channel, Interner, Rows, SymbolId, UnknownName, each_kind};
use venue::Venue;
use venue::gap::{GapEvent, GapState, GapTracker, RowMark, Seen};

pub use pending::IdGap;
use pending::{Pending, SavedPending};

/// Channels whose rows have ids.
const CHANNELS: [Channel; 4] = [Channel::Trades, Channel::AggTrades, Channel::BookTicker, Channel::Depth];
/// No id yet. No venue counts from there.
const NONE: i64 = i64::MIN;
/// A symbol without a row for this long is forgotten: 30 days.
pub const FORGET_HOURS: i64 = 30 * 24;
/// News kept for one record; there is never more than one of a row.
const NEWS_MAX: usize = 4_096;

#[derive(Clone, Copy, Debug)]
struct Span {
    /// Seq of the record that carried the last id; 0 = none yet.
    seq: u64,
    /// Trade time of the last row, us; `NONE` = unknown.
    time_us: i64,
    /// Hour of the log in which the last row came.
    hour: i64,
    /// Lowest id in the open part.
    first: i64,
    /// Highest id in the open part.
    last: i64,
    /// Ids in the open part.
    present: u64,
    /// Of them those that came late into a gap.
    filled: u64,
    /// Ids of gaps that were met in the open part.
    missing: u64,
    /// Rows that were removed in the open part.
    duplicates: u64,
}

const EMPTY: Span =
    Span { seq: 0, time_us: NONE, hour: 0, first: NONE, last: NONE, present: 0, filled: 0, missing: 0, duplicates: 0 };

impl Span {
    fn new_part(&mut self) {
        *self = Self { seq: self.seq, time_us: self.time_us, hour: self.hour, ..EMPTY };
    }
}

/// The ids of all symbols of one venue.
pub struct IdLedger {
    tracker: GapTracker,
    spans: [Vec<Span>; CHANNELS.len()],
    /// Seq of the last record after which ids may be missing by our own doing.
    disturbed: u64,
    /// The last frames that could not be read, or not as a whole.
    unread: Vec<Unread>,
    /// What the tracker says of the rows of the present frame: trades, aggregates, depth messages; empty for
    /// channels without rules.
    pub marks: Vec<RowMark>,
    pending: Pending,
    /// Bodies that were fetched for gaps: ids are known to be missing between them.
    repairs: bool,
    /// Hour of the log.
    hour: i64,
    /// What is to be reported besides gaps; see [`IdLedger::take_news`].
    news: Vec<News>,
}

/// A frame that could not be read, or not as a whole.
#[derive(Clone, Copy, Debug)]
struct Unread {
    /// Place of its channel in [`CHANNELS`].
    slot: usize,
    /// `None`: of any symbol.
    symbol: Option<SymbolId>,
    /// Its record.
    seq: u64,
}

/// Most of them that are remembered by symbol.
const UNREAD_MAX: usize = 4_096;

/// What ids say besides gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The venue restarts its count.
    Restarted {
        /// Channel.
        channel: Channel,
        /// Symbol.
        symbol: SymbolId,
        /// Highest id of the count before.
        from: i64,
        /// First id of the new one.
        to: i64,
    },
    /// A row is far from all before: what it means shows later.
    Odd {
        /// Channel.
        channel: Channel,
        /// Symbol.
        symbol: SymbolId,
        /// Its last id.
        id: i64,
    },
    /// A symbol had no row for so long that its ids are forgotten.
    Forgotten {
        /// Channel.
        channel: Channel,
        /// Symbol.
        symbol: SymbolId,
        /// Highest id.
        last: i64,
    },
}

/// What outlives a part of a [`Span`]: seq of the record that carried the last id, its trade time, us, and its hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum SavedSpan {
    Now(u64, Option<i64>, i64),
    /// As version 1 saved it: it is as if the row had come now.
    Older(u64, Option<i64>),
}

/// A saved [`IdLedger`], without the ids of the open part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedIds {
    gaps: GapState,
    disturbed: u64,
    /// Channel name -> symbol -> the record that carried the last id.
    last_seq: BTreeMap<String, BTreeMap<String, SavedSpan>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pending: Vec<SavedPending>,
    /// Channel name, symbol (empty = any), record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unread: Vec<(String, String, u64)>,
}

impl IdLedger {
    /// The ledger as saved in `hour`; its symbols are interned in `symbols`. With `repairs` it is that of a log of
    /// repairs, which has ids here and there: no gap is reported.
    ///
    /// # Errors
    /// When the saved ledger names a channel this version does not know.
    pub fn load(
        venue: &Venue,
        saved: &SavedIds,
        symbols: &mut Interner,
        repairs: bool,
        hour: i64,
    ) -> Result<Self, UnknownName> {
        let mut ledger = Self {
            tracker: GapTracker::restore(venue, &saved.gaps)?,
            spans: std::array::from_fn(|_| Vec::new()),
            disturbed: saved.disturbed,
            unread: Vec::new(),
            marks: Vec::new(),
            pending: Pending::load(&saved.pending, symbols)?,
            repairs,
            hour,
            news: Vec::new(),
        };
        for (word, seqs) in &saved.last_seq {
            let channel = word.parse::<Channel>()?;
            for (name, saved) in seqs {
                let symbol = symbols.intern(name);
                let (seq, time_us, hour) = match *saved {
                    SavedSpan::Now(seq, time_us, hour) => (seq, time_us, hour),
                    SavedSpan::Older(seq, time_us) => (seq, time_us, hour),
                };
                if let Some(span) = ledger.span(channel, symbol) {
                    (span.seq, span.time_us, span.hour) = (seq, time_us.unwrap_or(NONE), hour);
                }
            }
        }
        for (word, symbol, seq) in &saved.unread {
            let symbol = Some(symbol).filter(|s| !s.is_empty()).map(|s| symbols.intern(s));
            ledger.unread(Some(word.parse()?), &[symbol], *seq);
        }
        Ok(ledger)
    }

    /// Saves what outlives a part.
    pub fn save(&self, symbols: &Interner) -> SavedIds {
        let mut last_seq: BTreeMap<String, BTreeMap<String, SavedSpan>> = BTreeMap::new();
        for (channel, symbol, span) in self.all(symbols).filter(|(_, _, s)| s.seq != 0) {
            let saved = SavedSpan::Now(span.seq, (span.time_us != NONE).then_some(span.time_us), span.hour);
            last_seq.entry(channel.as_str().to_owned()).or_default().insert(symbol.to_owned(), saved);
        }
        SavedIds {
            gaps: self.tracker.state(),
            disturbed: self.disturbed,
            last_seq,
            pending: self.pending.save(symbols),
            unread: self.save_unread(symbols),
        }
    }

    /// Those that an id of their symbol may still be missing after.
    fn save_unread(&self, symbols: &Interner) -> Vec<(String, String, u64)> {
        let counts = |u: &&Unread| {
            let spans = self.spans.get(u.slot).map(Vec::as_slice).unwrap_or_default();
            let waits = |span: &Span| span.seq != 0 && span.seq <= u.seq;
            match u.symbol {
                Some(symbol) => spans.get(symbol.0 as usize).is_some_and(waits),
                None => spans.iter().any(waits),
            }
        };
        let name = |u: &Unread| u.symbol.map_or("", |symbol| symbols.name(symbol)).to_owned();
        let word = |u: &Unread| CHANNELS.get(u.slot).map(|c| c.as_str().to_owned());
        self.unread.iter().filter(counts).filter_map(|u| Some((word(u)?, name(u), u.seq))).collect()
    }

    /// The record `seq` could not be read, or not as a whole: ids of these symbols that are missing after it may be
    /// in it. `None`: it may be of any channel, or symbol.
    #[cold]
    pub fn unread(&mut self, channel: Option<Channel>, symbols: &[Option<SymbolId>], seq: u64) {
        for slot in (0..).zip(CHANNELS).filter(|(_, c)| channel.is_none_or(|known| known == *c)).map(|(slot, _)| slot) {
            for symbol in symbols {
                let symbol = symbol.filter(|_| self.unread.len() < UNREAD_MAX);
                match self.unread.iter_mut().find(|u| u.slot == slot && u.symbol == symbol) {
                    Some(known) => known.seq = known.seq.max(seq),
                    None => self.unread.push(Unread { slot, symbol, seq }),
                }
            }
        }
    }

    /// Ids of the open part, sorted by channel name and symbol.
    pub fn ranges(&self, symbols: &Interner) -> Vec<IdRange> {
        let mut ranges: Vec<IdRange> = self
            .all(symbols)
            .filter(|(_, _, span)| span.first != NONE || span.duplicates > 0)
            .map(|(channel, symbol, span)| IdRange {
                channel: channel.as_str().to_owned(),
                symbol: symbol.to_owned(),
                first: span.first,
                last: span.last,
                present: span.present,
                missing: span.missing,
                filled: span.filled,
                duplicates: span.duplicates,
            })
            .collect();
        ranges.sort_by(|a, b| (&a.channel, &a.symbol).cmp(&(&b.channel, &b.symbol)));
        ranges
    }

    /// Puts saved ids of the open part back.
    pub fn load_ranges(&mut self, ranges: &[IdRange], symbols: &mut Interner) {
        for r in ranges {
            let Ok(channel) = r.channel.parse::<Channel>() else { continue };
            let symbol = symbols.intern(&r.symbol);
            if let Some(span) = self.span(channel, symbol) {
                *span = Span {
                    seq: span.seq,
                    time_us: span.time_us,
                    hour: span.hour,
                    first: r.first,
                    last: r.last,
                    present: r.present,
                    filled: r.filled,
                    missing: r.missing,
                    duplicates: r.duplicates,
                };
            }
        }
    }

    /// A new part begins.
    pub fn new_part(&mut self) {
        self.spans.iter_mut().flatten().for_each(Span::new_part);
    }

    /// From the record `seq` on, missing ids may be our own doing.
    pub fn disturbed(&mut self, seq: u64) {
        self.disturbed = self.disturbed.max(seq);
    }

    /// The channel is recorded no more for this symbol, on purpose: what is missing until it is again is no gap. Gaps
    /// of before are reported as they are now.
    pub fn forget(&mut self, symbol: &str, channel: Channel) {
        self.tracker.forget(symbol, channel);
    }

    /// The hour of the next record. Symbols that had no row for [`FORGET_HOURS`] are forgotten when it is another one.
    #[inline]
    pub fn enter(&mut self, hour: i64) {
        if hour != self.hour {
            self.hour = hour;
            self.forget_idle();
        }
    }

    #[cold]
    fn forget_idle(&mut self) {
        let Self { tracker, spans, news, hour, .. } = self;
        tracker.prune();
        for (channel, spans) in CHANNELS.iter().zip(spans) {
            let idle = |s: &&mut Span| s.seq != 0 && s.hour.saturating_add(FORGET_HOURS) < *hour;
            for (i, span) in (0_u32..).zip(spans.iter_mut()).filter(|(_, s)| idle(s)) {
                *span = EMPTY;
                news.push(News::Forgotten { channel: *channel, symbol: SymbolId(i), last: NONE });
            }
        }
    }

    /// True when [`IdLedger::take_news`] has something.
    #[inline]
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// What is to be reported besides gaps since the last call.
    #[cold]
    pub fn take_news(&mut self, symbols: &Interner) -> Vec<News> {
        let mut news = std::mem::take(&mut self.news);
        news.retain_mut(|n| {
            let News::Forgotten { channel, symbol, last } = n else { return true };
            let name = symbols.name(*symbol);
            let known = self.tracker.ids(name, *channel).map(|ids| ids.run.last);
            self.tracker.forget(name, *channel);
            *last = known.unwrap_or(NONE);
            // Without ids that continue nothing is lost.
            known.is_some()
        });
        news
    }

    /// Judges the rows of one frame: completes `marks`, which may say already which rows are duplicates. `now_ns`: time
    /// of the log.
    #[inline]
    pub fn judge(&mut self, now_ns: u64, rows: &Rows) {
        let Self { tracker, spans, disturbed, unread, marks, pending, repairs, news, .. } = self;
        if *repairs {
            return;
        }
        let spans = RefCell::new(spans);
        let last_us = |channel, symbol: SymbolId| {
            let slot = CHANNELS.iter().position(|c| *c == channel)?;
            let span = *spans.borrow().get(slot)?.get(symbol.0 as usize)?;
            (span.time_us != NONE).then_some(span.time_us)
        };
        tracker.observe_new_rows(rows, marks, last_us, &mut |event| {
            open(&event, rows, *spans.borrow_mut(), (*disturbed, unread), now_ns, pending, news);
        });
    }

    /// Notes the rows of one frame as `marks` now says.
    #[inline]
    pub fn note(&mut self, seq: u64, rows: &Rows) {
        let mut marks = self.marks.iter().copied();
        each_kind!(rows, of => note_kind(&mut self.spans, of, (seq, self.hour), &mut marks));
    }

    /// True when [`IdLedger::settle`] has something to say at `now_ns`.
    #[inline]
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.pending.is_due(now_ns)
    }

    /// The gaps that were met at least [`pending::SETTLE_NS`] before `now_ns`, as far as they are still open; with
    /// `all` all of them.
    #[cold]
    pub fn settle(&mut self, now_ns: u64, all: bool, symbols: &Interner) -> Vec<IdGap> {
        self.pending.settle(now_ns, all, &self.tracker, symbols)
    }

    fn span(&mut self, channel: Channel, symbol: SymbolId) -> Option<&mut Span> {
        let slot = CHANNELS.iter().position(|c| *c == channel)?;
        Some(span_of(self.spans.get_mut(slot)?, symbol))
    }

    fn all<'a>(&'a self, symbols: &'a Interner) -> impl Iterator<Item = (Channel, &'a str, &'a Span)> {
        CHANNELS.iter().zip(&self.spans).flat_map(move |(channel, spans)| {
            (0_u32..).zip(spans).map(move |(i, span)| (*channel, symbols.name(SymbolId(i)), span))
        })
    }
}

#[inline]
fn span_of(spans: &mut Vec<Span>, symbol: SymbolId) -> &mut Span {
    let index = symbol.0 as usize;
    if index >= spans.len() {
        spans.resize(index + 1, EMPTY);
    }
    &mut spans[index]
}

/// Notes the rows of one kind, if such rows have ids.
#[inline]
fn note_kind<K: RowKind>(
    spans: &mut [Vec<Span>; CHANNELS.len()],
    of: &[K],
    at: (u64, i64),
    marks: &mut impl Iterator<Item = RowMark>,
) {
    if of.is_empty() {
        return;
    }
    let slot = CHANNELS.iter().position(|c| *c == K::CHANNEL);
    let Some(spans) = slot.and_then(|slot| spans.get_mut(slot)) else {
        return marks.take(of.len()).for_each(drop);
    };
    for r in of {
        let mark = marks.next().unwrap_or_default();
        if let Some(ids) = r.ids() {
            note(spans, r.symbol(), at, ids, r.time_us(), mark, 1);
        }
    }
}

/// `otherwise`: ids that a row of a channel without rules counts as.
#[inline]
fn note(
    spans: &mut Vec<Span>,
    symbol: SymbolId,
    (seq, hour): (u64, i64),
    (first, last): (i64, i64),
    time_us: Option<i64>,
    mark: RowMark,
    otherwise: u64,
) {
    let span = span_of(spans, symbol);
    if mark.duplicate {
        span.duplicates += 1;
        return;
    }
    let new = if mark.new == 0 && !mark.again { otherwise } else { mark.new };
    span.hour = hour;
    span.present = span.present.saturating_add(new);
    if mark.late {
        span.filled = span.filled.saturating_add(new);
    } else if !mark.unsure {
        span.seq = seq;
        // What comes again late is not the last that happened.
        let late_us = if mark.again { span.time_us } else { NONE };
        span.time_us = time_us.map_or(span.time_us, |us| us.max(late_us));
    }
    if mark.unsure {
        return;
    }
    if span.first == NONE {
        (span.first, span.last) = (first, last);
    }
    span.first = span.first.min(first);
    span.last = span.last.max(last);
}

/// The row that an event is about: its symbol, time and last id.
fn row_of<K: RowKind>(of: &[K], event: &GapEvent<'_>) -> Option<(SymbolId, Option<i64>, i64)> {
    let row = of.get(event.row).filter(|_| K::CHANNEL == event.channel)?;
    Some((row.symbol(), row.time_us(), row.ids().map_or(NONE, |(_, last)| last)))
}

#[cold]
fn open(
    event: &GapEvent<'_>,
    rows: &Rows,
    spans: &mut [Vec<Span>; CHANNELS.len()],
    (disturbed, unread): (u64, &[Unread]),
    now_ns: u64,
    pending: &mut Pending,
    news: &mut Vec<News>,
) {
    let channel = event.channel;
    let mut found = None;
    each_kind!(rows, of => found = found.or_else(|| row_of(of, event)));
    let Some((symbol, time_us, id)) = found else { return };
    let Some(slot) = CHANNELS.iter().position(|c| *c == channel) else { return };
    let Some(spans) = spans.get_mut(slot) else { return };
    let span = span_of(spans, symbol);
    span.missing = span.missing.saturating_add(event.missing);
    if news.len() < NEWS_MAX {
        match event.seen {
            Seen::Restarted { from, to } => news.push(News::Restarted { channel, symbol, from, to }),
            Seen::Gap { .. } | Seen::OutOfOrder if event.unsure => news.push(News::Odd { channel, symbol, id }),
            _ => {}
        }
    }
    let Some((from, to)) = event.ids else { return };
    let cause = match event.seen {
        Seen::TradesSkipped { .. } => "trades_skipped",
        Seen::Restarted { .. } => "ids_restarted",
        _ if unread.iter().any(|u| u.slot == slot && u.seq >= span.seq && u.symbol.is_none_or(|s| s == symbol)) => {
            "undecodable"
        }
        _ if span.seq < disturbed => "connection",
        _ => "venue",
    };
    let after_us = (span.time_us != NONE).then_some(span.time_us);
    let gap = IdGap { channel, symbol, from, to, cause, after_us, before_us: time_us };
    pending.push(gap, now_ns, event.unsure);
}
