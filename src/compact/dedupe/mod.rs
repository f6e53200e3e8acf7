//! Rows that came twice because two connections carried their stream: the first arrival stays.
//!
//! Ids that continue are judged exactly by [`super::ids`], however long ago the first one came. For everything
//! else (book tickers, trades with text ids, messages without ids) a key of each row is remembered for a while,
//! and a row is a repeat only if *another* connection brought that key: what a venue sends twice on one
//! connection is data. The n-th time on one connection matches the n-th time on the other ([`window`]).
//!
//! Keys are kept only while two connections can carry a stream ([`lines`]): with two lines always, else around
//! the start of a connection and while the stream still comes over both. So the state is empty most of the time.
//! Everything is a function of the log: time is the log's own.

mod key;
mod lines;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::lines::{Lines, SavedLines};
use self::window::{SavedWindow, Window};
use super::account::LineCounts;
use crate::lake::Table;
use crate::venue::gap::RowMark;
use crate::venue::{Interner, Rows, SymbolId};

/// Tables whose rows come over sockets, in the order of the marks of a frame.
const TABLES: [Table; 8] = [
    Table::Trades,
    Table::AggTrades,
    Table::Depth,
    Table::BookTicker,
    Table::MarkPrice,
    Table::Liquidations,
    Table::Tickers,
    Table::VenueKlines,
];

/// How a data frame came.
#[derive(Clone, Copy, Debug)]
pub struct Carrier {
    /// Connection number.
    pub conn: u32,
    /// 0, or 1 for the second of two lines.
    pub line: u8,
}

/// The recent keys of all streams of one venue.
#[derive(Default)]
pub struct Dedupe {
    lines: Lines,
    windows: [Vec<Option<Box<Window>>>; TABLES.len()],
    /// Windows there are.
    alive: usize,
}

/// A saved [`Dedupe`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedDedupe {
    #[serde(default)]
    lines: SavedLines,
    /// Table word -> symbol -> keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    windows: BTreeMap<String, BTreeMap<String, SavedWindow>>,
}

impl Dedupe {
    /// As saved; symbols are interned in `symbols`. Tables this version does not know are left out.
    pub fn load(saved: &SavedDedupe, symbols: &mut Interner) -> Self {
        let mut dedupe = Self { lines: Lines::load(&saved.lines), ..Self::default() };
        for (word, windows) in &saved.windows {
            let Some(slot) = TABLES.iter().position(|t| t.as_str() == word) else { continue };
            for (name, saved) in windows {
                let symbol = symbols.intern(name);
                dedupe.window(slot, symbol).load(saved);
            }
        }
        dedupe
    }

    /// Saves what a later run needs. What can have no effect any more is left out.
    pub fn save(&self, symbols: &Interner) -> SavedDedupe {
        let mut saved = SavedDedupe { lines: self.lines.save(), windows: BTreeMap::new() };
        for (table, windows) in TABLES.iter().zip(&self.windows) {
            for (i, window) in (0_u32..).zip(windows) {
                let Some(window) = window.as_ref().and_then(|w| w.save(&self.lines)) else { continue };
                let name = symbols.name(SymbolId(i)).to_owned();
                saved.windows.entry(table.as_str().to_owned()).or_default().insert(name, window);
            }
        }
        saved
    }

    /// Memory held by recent keys, bytes.
    pub fn bytes(&self) -> u64 {
        self.windows.iter().flatten().flatten().map(|w| w.bytes()).sum()
    }

    /// Any record received at `ts_recv_ns`: moves the time of the log.
    #[inline]
    pub fn record(&mut self, ts_recv_ns: u64) {
        self.lines.record(ts_recv_ns);
    }

    /// Time of the log: the latest receive time so far, ns.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.lines.now_ns()
    }

    /// A connection opened; `payload` of its record says on which line.
    pub fn opened(&mut self, conn: u32, payload: &[u8]) {
        self.sweep();
        self.lines.opened(conn, payload);
    }

    /// A connection closed.
    pub fn closed(&mut self, conn: u32) {
        self.lines.closed(conn);
        self.windows.iter_mut().flatten().flatten().for_each(|w| w.closed(conn));
    }

    /// What had no effect any more must have none when overlaps begin again: a saved state does not hold it.
    fn sweep(&mut self) {
        if self.alive == 0 || self.lines.may_overlap() {
            return;
        }
        for window in self.windows.iter_mut().flatten() {
            if window.as_ref().is_some_and(|w| w.carriers() < 2) {
                *window = None;
                self.alive -= 1;
            }
        }
    }

    /// A new run of the collector: no connection of before will bring anything.
    pub fn restart(&mut self) {
        self.lines.restart();
        self.windows = Default::default();
        self.alive = 0;
    }

    /// Marks the rows of a frame that another connection brought before, and counts for the lines. `marks` holds
    /// what the ids say (trades, aggregates, depth messages; or nothing) and is filled up to one per row.
    #[inline]
    pub fn frame(&mut self, from: Carrier, rows: &Rows, marks: &mut Vec<RowMark>, counts: &mut LineCounts) {
        if !self.lines.knows(from.conn) {
            self.sweep();
            self.lines.met(from.conn, from.line);
        }
        if self.alive == 0 && !self.lines.may_overlap() {
            counts.frame(from.line, true);
            return;
        }
        self.overlapping(from, rows, marks, counts);
    }

    #[inline(never)]
    fn overlapping(&mut self, from: Carrier, rows: &Rows, marks: &mut Vec<RowMark>, counts: &mut LineCounts) {
        let mut at = 0;
        let mut kept = false;
        let mut row = |slot: usize, symbol: SymbolId, key: u64| {
            if marks.len() <= at {
                marks.push(RowMark::default());
            }
            let Some(mark) = marks.get_mut(at) else { return };
            at += 1;
            if let Some(again) = self.arrive(slot, symbol, key, from) {
                mark.duplicate = true;
                if again.line != from.line {
                    counts.advantage(again.line, self.lines.now_ns().saturating_sub(again.at_ns));
                }
            }
            kept |= !mark.duplicate;
        };
        rows.trades.iter().for_each(|r| row(0, r.symbol, key::trade(r, &rows.symbols)));
        rows.agg_trades.iter().for_each(|r| row(1, r.symbol, key::number(r.agg_id)));
        for r in &rows.depth {
            let first = r.first_level as usize;
            let levels = rows.levels.get(first..first + r.level_count as usize).unwrap_or_default();
            row(2, r.symbol, key::depth(r, levels));
        }
        rows.book_tickers.iter().for_each(|r| row(3, r.symbol, key::book_ticker(r)));
        rows.mark_prices.iter().for_each(|r| row(4, r.symbol, key::mark_price(r)));
        rows.liquidations.iter().for_each(|r| row(5, r.symbol, key::liquidation(r, &rows.symbols)));
        rows.tickers.iter().for_each(|r| row(6, r.symbol, key::ticker(r)));
        rows.venue_klines.iter().for_each(|r| row(7, r.symbol, key::venue_kline(r, &rows.symbols)));
        counts.frame(from.line, kept || at == 0);
    }

    fn arrive(&mut self, slot: usize, symbol: SymbolId, key: u64, from: Carrier) -> Option<window::Again> {
        let may_overlap = self.lines.may_overlap();
        if !may_overlap {
            // Only what is there already goes on, until one connection is left.
            let place = self.windows.get_mut(slot)?.get_mut(symbol.0 as usize)?;
            let window = place.as_mut()?;
            if window.carriers() < 2 {
                *place = None;
                self.alive -= 1;
                return None;
            }
        }
        self.window(slot, symbol);
        let window = self.windows.get_mut(slot)?.get_mut(symbol.0 as usize)?.as_mut()?;
        window.arrive(key, from, &self.lines)
    }

    fn window(&mut self, slot: usize, symbol: SymbolId) -> &mut Window {
        let windows = &mut self.windows[slot];
        let index = symbol.0 as usize;
        if windows.len() <= index {
            windows.resize_with(index + 1, || None);
        }
        windows[index].get_or_insert_with(|| {
            self.alive += 1;
            Box::default()
        })
    }
}
