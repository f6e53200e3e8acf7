//! The id book of a part: what the venue's ids say about missing, repeated and late rows, and which ids a part holds.
//!
//! The rules are [`crate::venue::gap`]'s. Here they meet the log: a gap has a cause (did a connection end between
//! the two ids?), and a part states its first and last ids. Asked once per frame and row, so a symbol is a vector
//! index; names appear only when the book is saved and loaded again by another run, for which interned numbers
//! mean nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lake::manifest::IdRange;
use crate::venue::gap::{GapEvent, GapState, GapTracker, RowMark, Seen};
use crate::venue::{Channel, Interner, Rows, SymbolId, UnknownWord, Venue};

/// Channels whose rows have ids.
const CHANNELS: [Channel; 4] = [Channel::Trades, Channel::AggTrades, Channel::BookTicker, Channel::Depth];
/// No id yet. No venue counts from there.
const NONE: i64 = i64::MIN;

/// A hole in the ids of one symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Channel.
    pub channel: Channel,
    /// Symbol.
    pub symbol: SymbolId,
    /// First missing id (of the trades inside when `cause` is `trades_skipped`).
    pub from: i64,
    /// Last missing id.
    pub to: i64,
    /// `connection` when a disconnect, a gap of our own making, a restart or lost records lie between the ids;
    /// `trades_skipped` when aggregates continue and the trades inside them do not; else `venue`.
    pub cause: &'static str,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    /// Seq of the record that carried the last id; 0 = none yet.
    seq: u64,
    /// First id in the open part.
    first: i64,
    /// Last id in the open part.
    last: i64,
}

const EMPTY: Span = Span { seq: 0, first: NONE, last: NONE };

/// The ids of all symbols of one venue.
pub struct IdBook {
    tracker: GapTracker,
    spans: [Vec<Span>; CHANNELS.len()],
    /// Seq of the last record after which ids may be missing by our own doing.
    disturbed: u64,
    /// What the tracker says of the rows of the present frame; empty for channels without rules.
    pub marks: Vec<RowMark>,
    /// Holes found in the present frame.
    pub holes: Vec<Hole>,
}

/// A saved [`IdBook`], without the ids of the open part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedIds {
    gaps: GapState,
    disturbed: u64,
    /// Channel word -> symbol -> seq of the record that carried the last id.
    last_seq: BTreeMap<String, BTreeMap<String, u64>>,
}

impl IdBook {
    /// The book as saved; its symbols are interned in `symbols`.
    ///
    /// # Errors
    /// When the saved book names a channel this version does not know.
    pub fn load(venue: &dyn Venue, saved: &SavedIds, symbols: &mut Interner) -> Result<Self, UnknownWord> {
        let mut book = Self {
            tracker: GapTracker::restore(venue, &saved.gaps)?,
            spans: std::array::from_fn(|_| Vec::new()),
            disturbed: saved.disturbed,
            marks: Vec::new(),
            holes: Vec::new(),
        };
        for (word, seqs) in &saved.last_seq {
            let channel = word.parse::<Channel>()?;
            for (name, seq) in seqs {
                let symbol = symbols.intern(name);
                if let Some(span) = book.span(channel, symbol) {
                    span.seq = *seq;
                }
            }
        }
        Ok(book)
    }

    /// Saves what outlives a part.
    pub fn save(&self, symbols: &Interner) -> SavedIds {
        let mut last_seq: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for (channel, symbol, span) in self.all(symbols).filter(|(_, _, s)| s.seq != 0) {
            last_seq.entry(channel.as_str().to_owned()).or_default().insert(symbol.to_owned(), span.seq);
        }
        SavedIds { gaps: self.tracker.state(), disturbed: self.disturbed, last_seq }
    }

    /// First and last ids of the open part, sorted by channel word and symbol.
    pub fn ranges(&self, symbols: &Interner) -> Vec<IdRange> {
        let mut ranges: Vec<IdRange> = self
            .all(symbols)
            .filter(|(_, _, span)| span.first != NONE)
            .map(|(channel, symbol, span)| IdRange {
                channel: channel.as_str().to_owned(),
                symbol: symbol.to_owned(),
                first: span.first,
                last: span.last,
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
                (span.first, span.last) = (r.first, r.last);
            }
        }
    }

    /// A new part begins.
    pub fn new_part(&mut self) {
        for span in self.spans.iter_mut().flatten() {
            (span.first, span.last) = (NONE, NONE);
        }
    }

    /// From the record `seq` on, missing ids may be our own doing.
    pub fn disturbed(&mut self, seq: u64) {
        self.disturbed = self.disturbed.max(seq);
    }

    /// Judges the rows of one frame: fills `marks` and `holes` and notes the ids.
    #[inline]
    pub fn frame(&mut self, seq: u64, rows: &Rows) {
        let Self { tracker, spans, disturbed, marks, holes } = self;
        holes.clear();
        tracker.observe_rows(rows, marks, &mut |event| holes.extend(hole(&event, rows, spans, *disturbed)));
        let [trades, agg_trades, book_tickers, depth] = spans;
        for r in &rows.trades {
            if let Some(id) = r.id {
                note(trades, r.symbol, seq, id, id);
            }
        }
        for r in &rows.agg_trades {
            note(agg_trades, r.symbol, seq, r.agg_id, r.agg_id);
        }
        for r in &rows.book_tickers {
            if let Some(id) = r.update_id {
                note(book_tickers, r.symbol, seq, id, id);
            }
        }
        for r in rows.depth.iter().filter(|r| !r.is_snapshot) {
            if let Some(id) = r.final_update_id {
                note(depth, r.symbol, seq, r.first_update_id.unwrap_or(id), id);
            }
        }
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

#[inline]
fn note(spans: &mut Vec<Span>, symbol: SymbolId, seq: u64, first: i64, last: i64) {
    let span = span_of(spans, symbol);
    span.seq = seq;
    if span.first == NONE {
        span.first = first;
    }
    span.last = last;
}

#[cold]
fn hole(event: &GapEvent<'_>, rows: &Rows, spans: &[Vec<Span>; CHANNELS.len()], disturbed: u64) -> Option<Hole> {
    let symbol = match event.channel {
        Channel::Trades => rows.trades.get(event.row)?.symbol,
        Channel::AggTrades => rows.agg_trades.get(event.row)?.symbol,
        _ => rows.depth.get(event.row)?.symbol,
    };
    let slot = CHANNELS.iter().position(|c| *c == event.channel)?;
    let before = spans.get(slot)?.get(symbol.0 as usize).map_or(0, |s| s.seq);
    let cause = if before < disturbed { "connection" } else { "venue" };
    let by_previous = rows.depth.get(event.row).is_some_and(|d| d.prev_update_id.is_some());
    let (from, to, cause) = match event.seen {
        // The id that should have come before is the last one missing.
        Seen::Gap { expected, got } if event.channel == Channel::Depth && by_previous => {
            (expected.saturating_add(1), got, cause)
        }
        Seen::Gap { expected, got } => (expected, got.saturating_sub(1), cause),
        Seen::TradesSkipped { expected, got } => (expected, got.saturating_sub(1), "trades_skipped"),
        _ => return None,
    };
    Some(Hole { channel: event.channel, symbol, from, to, cause })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::venue::row::{DepthUpdate, Side, Trade};
    use crate::venue::{Num, VenueId, venue};

    fn rows_with(ids: &[i64]) -> Rows {
        let mut rows = Rows::new();
        rows.symbols.intern("OTHER");
        let symbol = rows.symbols.intern("BTCUSDT");
        rows.trades = ids
            .iter()
            .map(|id| Trade {
                symbol,
                ts_event_us: None,
                ts_trade_us: None,
                id: Some(*id),
                id_str: None,
                price: Num::default(),
                amount: Num::default(),
                side: Side::Buy,
                kind: None,
            })
            .collect();
        rows
    }

    fn book(id: VenueId) -> IdBook {
        IdBook::load(venue(id).unwrap(), &SavedIds::default(), &mut Interner::new()).unwrap()
    }

    #[test]
    fn a_gap_after_a_disconnect_is_ours_until_the_symbol_was_seen_again() {
        let mut b = book(VenueId::BinanceSpot);
        b.frame(1, &rows_with(&[100]));
        b.disturbed(2);
        b.frame(3, &rows_with(&[110]));
        let h = b.holes.first().unwrap();
        assert_eq!((h.from, h.to, h.cause), (101, 109, "connection"));
        b.frame(4, &rows_with(&[120]));
        let h = b.holes.first().unwrap();
        assert_eq!((h.from, h.to, h.cause), (111, 119, "venue"));
        b.frame(5, &rows_with(&[121]));
        assert!(b.holes.is_empty());
    }

    #[test]
    fn missing_depth_ids_are_named_by_the_rule_of_the_market() {
        let depth = |first, last, prev| {
            let mut rows = rows_with(&[]);
            rows.depth.push(DepthUpdate {
                symbol: SymbolId(1),
                ts_event_us: None,
                first_update_id: Some(first),
                final_update_id: Some(last),
                prev_update_id: prev,
                is_snapshot: false,
                first_level: 0,
                level_count: 0,
            });
            rows
        };
        let mut b = book(VenueId::BinanceSpot);
        b.frame(1, &depth(10, 12, None));
        b.frame(2, &depth(20, 22, None));
        assert_eq!(b.holes.first().map(|h| (h.from, h.to)), Some((13, 19)));
        let mut b = book(VenueId::BinanceUsdm);
        b.frame(1, &depth(10, 12, Some(9)));
        b.frame(2, &depth(50, 60, Some(12)));
        assert!(b.holes.is_empty(), "ids between are not ours to count");
        b.frame(3, &depth(90, 92, Some(75)));
        assert_eq!(b.holes.first().map(|h| (h.from, h.to)), Some((61, 75)));
    }

    #[test]
    fn a_book_saved_and_loaded_under_other_symbol_numbers_goes_on_as_before() {
        let rows = rows_with(&[100]);
        let mut b = book(VenueId::BinanceSpot);
        b.frame(7, &rows);
        b.disturbed(8);
        let text = serde_json::to_string(&(b.save(&rows.symbols), b.ranges(&rows.symbols))).unwrap();
        let (saved, ranges): (SavedIds, Vec<IdRange>) = serde_json::from_str(&text).unwrap();
        assert_eq!(ranges.first().map(|r| (r.symbol.as_str(), r.first, r.last)), Some(("BTCUSDT", 100, 100)));
        let mut rows = Rows::new();
        let symbol = rows.symbols.intern("BTCUSDT");
        let mut again = IdBook::load(venue(VenueId::BinanceSpot).unwrap(), &saved, &mut rows.symbols).unwrap();
        again.load_ranges(&ranges, &mut rows.symbols);
        let mut next = rows_with(&[103]);
        next.symbols = rows.symbols;
        next.trades.iter_mut().for_each(|t| t.symbol = symbol);
        again.frame(9, &next);
        let h = again.holes.first().unwrap();
        assert_eq!((h.from, h.to, h.cause), (101, 102, "connection"));
        assert_eq!(again.ranges(&next.symbols).first().map(|r| (r.first, r.last)), Some((100, 103)));
        again.new_part();
        assert!(again.ranges(&next.symbols).is_empty());
    }
}
