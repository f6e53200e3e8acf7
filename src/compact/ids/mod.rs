//! The id book of a part: what the venue's ids say about missing, repeated and late rows, and which ids a part holds.
//!
//! The rules are [`crate::venue::gap`]'s. Here they meet the log: a hole has a cause (did a connection end between
//! the two ids?), is told only when it stays open ([`pending`]), and a part states how many ids it has and lacks.
//! Asked once per frame and row, so a symbol is a vector index; names appear only when the book is saved and
//! loaded again by another run, for which interned numbers mean nothing.

mod pending;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lake::manifest::IdRange;
use crate::venue::gap::{GapEvent, GapState, GapTracker, RowMark, Seen};
use crate::venue::{Channel, Interner, Rows, SymbolId, UnknownWord, Venue};

pub use pending::{Hole, SETTLE_NS};
use pending::{Pending, SavedPending};

/// Channels whose rows have ids.
const CHANNELS: [Channel; 4] = [Channel::Trades, Channel::AggTrades, Channel::BookTicker, Channel::Depth];
/// No id yet. No venue counts from there.
const NONE: i64 = i64::MIN;

#[derive(Clone, Copy, Debug)]
struct Span {
    /// Seq of the record that carried the last id; 0 = none yet.
    seq: u64,
    /// Trade time of the last row, us; `NONE` = unknown.
    time_us: i64,
    /// Lowest id in the open part.
    first: i64,
    /// Highest id in the open part.
    last: i64,
    /// Ids in the open part.
    present: u64,
    /// Of them those that came late into a hole.
    filled: u64,
    /// Ids of holes that were met in the open part.
    missing: u64,
    /// Rows that were removed in the open part.
    duplicates: u64,
}

const EMPTY: Span =
    Span { seq: 0, time_us: NONE, first: NONE, last: NONE, present: 0, filled: 0, missing: 0, duplicates: 0 };

impl Span {
    fn new_part(&mut self) {
        *self = Self { seq: self.seq, time_us: self.time_us, ..EMPTY };
    }
}

/// The ids of all symbols of one venue.
pub struct IdBook {
    tracker: GapTracker,
    spans: [Vec<Span>; CHANNELS.len()],
    /// Seq of the last record after which ids may be missing by our own doing.
    disturbed: u64,
    /// What the tracker says of the rows of the present frame: trades, aggregates, depth messages; empty for
    /// channels without rules.
    pub marks: Vec<RowMark>,
    pending: Pending,
    /// Bodies that were fetched for holes: ids are known to be missing between them.
    repairs: bool,
}

/// A saved [`IdBook`], without the ids of the open part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedIds {
    gaps: GapState,
    disturbed: u64,
    /// Channel word -> symbol -> seq of the record that carried the last id, and its trade time, us.
    last_seq: BTreeMap<String, BTreeMap<String, (u64, Option<i64>)>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pending: Vec<SavedPending>,
}

impl IdBook {
    /// The book as saved; its symbols are interned in `symbols`. With `repairs` it is the book of a log of
    /// repairs, which has ids here and there: no hole is told.
    ///
    /// # Errors
    /// When the saved book names a channel this version does not know.
    pub fn load(
        venue: &dyn Venue,
        saved: &SavedIds,
        symbols: &mut Interner,
        repairs: bool,
    ) -> Result<Self, UnknownWord> {
        let mut book = Self {
            tracker: GapTracker::restore(venue, &saved.gaps)?,
            spans: std::array::from_fn(|_| Vec::new()),
            disturbed: saved.disturbed,
            marks: Vec::new(),
            pending: Pending::load(&saved.pending, symbols)?,
            repairs,
        };
        for (word, seqs) in &saved.last_seq {
            let channel = word.parse::<Channel>()?;
            for (name, (seq, time_us)) in seqs {
                let symbol = symbols.intern(name);
                if let Some(span) = book.span(channel, symbol) {
                    (span.seq, span.time_us) = (*seq, time_us.unwrap_or(NONE));
                }
            }
        }
        Ok(book)
    }

    /// Saves what outlives a part.
    pub fn save(&self, symbols: &Interner) -> SavedIds {
        let mut last_seq: BTreeMap<String, BTreeMap<String, (u64, Option<i64>)>> = BTreeMap::new();
        for (channel, symbol, span) in self.all(symbols).filter(|(_, _, s)| s.seq != 0) {
            let time_us = (span.time_us != NONE).then_some(span.time_us);
            last_seq.entry(channel.as_str().to_owned()).or_default().insert(symbol.to_owned(), (span.seq, time_us));
        }
        SavedIds {
            gaps: self.tracker.state(),
            disturbed: self.disturbed,
            last_seq,
            pending: self.pending.save(symbols),
        }
    }

    /// Ids of the open part, sorted by channel word and symbol.
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

    /// The channel is recorded no more for this symbol, on purpose: what is missing until it is again is no hole. Holes
    /// of before are told as they are now.
    pub fn forget(&mut self, symbol: &str, channel: Channel) {
        self.tracker.forget(symbol, channel);
    }

    /// Judges the rows of one frame: fills `marks`. `now_ns`: time of the log.
    #[inline]
    pub fn judge(&mut self, now_ns: u64, rows: &Rows) {
        let Self { tracker, spans, disturbed, marks, pending, repairs } = self;
        tracker.observe_rows(rows, marks, &mut |event| {
            if !*repairs {
                open(&event, rows, spans, *disturbed, now_ns, pending);
            }
        });
        if *repairs {
            marks.iter_mut().for_each(|m| m.flags = 0);
        }
    }

    /// Notes the rows of one frame as `marks` now says.
    #[inline]
    pub fn note(&mut self, seq: u64, rows: &Rows) {
        let [trades, agg_trades, book_tickers, depth] = &mut self.spans;
        let mut marks = self.marks.iter().copied();
        let mut mark = || marks.next().unwrap_or_default();
        for r in &rows.trades {
            let mark = mark();
            if let Some(id) = r.id {
                note(trades, r.symbol, seq, (id, id), r.ts_trade_us.or(r.ts_event_us), mark, 1);
            }
        }
        for r in &rows.agg_trades {
            note(agg_trades, r.symbol, seq, (r.agg_id, r.agg_id), Some(r.ts_trade_us), mark(), 1);
        }
        for r in &rows.depth {
            let mark = mark();
            if let Some(id) = r.final_update_id.filter(|_| !r.is_snapshot) {
                note(depth, r.symbol, seq, (r.first_update_id.unwrap_or(id), id), r.ts_event_us, mark, 1);
            }
        }
        for r in &rows.book_tickers {
            let mark = mark();
            if let Some(id) = r.update_id {
                note(book_tickers, r.symbol, seq, (id, id), r.ts_event_us, mark, 1);
            }
        }
    }

    /// True when [`IdBook::settle`] has something to say at `now_ns`.
    #[inline]
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.pending.is_due(now_ns)
    }

    /// The holes that were met at least [`SETTLE_NS`] before `now_ns`, as far as they are still open; with `all`
    /// all of them.
    #[cold]
    pub fn settle(&mut self, now_ns: u64, all: bool, symbols: &Interner) -> Vec<Hole> {
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

/// `otherwise`: ids that a row of a channel without rules stands for.
#[inline]
fn note(
    spans: &mut Vec<Span>,
    symbol: SymbolId,
    seq: u64,
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
    let new = if mark.new == 0 { otherwise } else { mark.new };
    span.present = span.present.saturating_add(new);
    if mark.late {
        span.filled = span.filled.saturating_add(new);
    } else {
        span.seq = seq;
        span.time_us = time_us.unwrap_or(span.time_us);
    }
    if span.first == NONE {
        (span.first, span.last) = (first, last);
    }
    span.first = span.first.min(first);
    span.last = span.last.max(last);
}

#[cold]
fn open(
    event: &GapEvent<'_>,
    rows: &Rows,
    spans: &mut [Vec<Span>; CHANNELS.len()],
    disturbed: u64,
    now_ns: u64,
    pending: &mut Pending,
) {
    let (symbol, time_us) = match event.channel {
        Channel::Trades => match rows.trades.get(event.row) {
            Some(r) => (r.symbol, r.ts_trade_us.or(r.ts_event_us)),
            None => return,
        },
        Channel::AggTrades => match rows.agg_trades.get(event.row) {
            Some(r) => (r.symbol, Some(r.ts_trade_us)),
            None => return,
        },
        _ => match rows.depth.get(event.row) {
            Some(r) => (r.symbol, r.ts_event_us),
            None => return,
        },
    };
    let Some(spans) = CHANNELS.iter().position(|c| *c == event.channel).and_then(|slot| spans.get_mut(slot)) else {
        return;
    };
    let span = span_of(spans, symbol);
    let skipped = matches!(event.seen, Seen::TradesSkipped { .. });
    let (from, to) = event.hole;
    if !skipped {
        span.missing = span.missing.saturating_add(crate::venue::gap::count(from, to));
    }
    let cause = match span.seq < disturbed {
        _ if skipped => "trades_skipped",
        true => "connection",
        false => "venue",
    };
    let after_us = (span.time_us != NONE).then_some(span.time_us);
    pending.push(Hole { channel: event.channel, symbol, from, to, cause, after_us, before_us: time_us }, now_ns);
}
