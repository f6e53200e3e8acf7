//! Rows that came twice: which one is a duplicate and is left out, and which one is another row and stays.
//!
//! **The rule.** A row is a duplicate when a row with the same id *and* the same content is there, and came
//!
//! - over another connection: the second line, the one that a rotation or a new connection replaces; or
//! - over this one, before it subscribed again (some venues then send what they sent before).
//!
//! Everything else stays, because a row too many can be found later and a lost one cannot. The same id with other content
//! is two rows: venues restart their count, and correct themselves. What one connection brings twice unasked is data:
//! of a row that one connection brought n times n stay, whatever the other one brought ([`window`]); no venue here
//! repeats trades by itself, some send an unchanged book again. Rows without ids are compared by all they say, the
//! venue's time included, and are never duplicates on one connection. A message of a book is its ids and levels: two
//! lines that cut their batches elsewhere bring different messages. Rows whose id was there before and which stay all
//! the same are flagged OUT_OF_ORDER and noted as drift.
//!
//! **What is remembered.** With two lines, around the start of a connection, and while a stream comes over two
//! connections, the keys of 20 s of the log and of as much as an open connection is behind ([`behind`]), in 32 MiB at
//! most ([`window`]); what has to go earlier is counted.
//! Otherwise the last few hundred rows with ids ([`recent`]). In a repair log, where the same range may be requested
//! twice, the ids of the gaps in work ([`fetched`]), the content of its last 200,000 rows and of the last 8,192 before
//! it.
//!
//! Everything is a function of the log: time is the log's own, bytes are those of keys, never those of the process.

mod arrival;
mod behind;
mod codec;
mod fetched;
pub(crate) mod key;
mod lines;
mod recent;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use self::arrival::Arrival;
pub use self::arrival::Carrier;
use self::behind::{Behind, SavedBehind};
pub use self::fetched::FetchedIds;
use self::key::RowKey;
use self::lines::{Lines, SavedLines};
use self::recent::{Recent, Recents, SavedRecents};
use self::window::{Context, OlderEntry, SavedKeys, Window};
use super::account::LineCounts;
use super::kind::Kind;
use lake::Table;
use lake::manifest::Repair;
use model::{Interner, Rows, SymbolId, each_kind};
use venue::gap::{OUT_OF_ORDER, RowMark};

/// Slots of the tables: [`Table::ALL`].
const SLOTS: usize = Table::ALL.len();

/// Rows that were fetched and whose content is remembered until their gap ends; of those before them it is the ids.
const FETCHED_MAX: usize = 200_000;
/// Of them those that are remembered longer, in case the same range is requested again.
const FETCHED_KEPT: usize = 8_192;

/// Connections that brought something of a stream and are open.
type Carriers = SmallVec<[u32; 2]>;

/// The recent keys of all streams of one venue.
#[derive(Default)]
pub struct Dedupe {
    lines: Lines,
    behind: Behind,
    window: Window,
    recents: Recents,
    /// By table and symbol, while connections overlap.
    carriers: [Vec<Carriers>; SLOTS],
    /// Streams with two carriers or more.
    shared: usize,
    /// Keys of streams, by table and symbol; 0 = not needed yet.
    streams: [Vec<u64>; SLOTS],
    /// It is a repair log.
    repairs: bool,
    fetched: FetchedIds,
}

/// A saved [`Dedupe`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedDedupe {
    #[serde(default)]
    lines: SavedLines,
    /// Table name -> symbol -> keys: as version 1 saved them.
    #[serde(default, skip_serializing)]
    windows: BTreeMap<String, BTreeMap<String, OlderWindow>>,
    #[serde(default, skip_serializing_if = "SavedKeys::is_empty")]
    keys: SavedKeys,
    #[serde(default, skip_serializing_if = "SavedRecents::is_empty")]
    recent: SavedRecents,
    /// Table name -> symbol -> connections.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    carriers: BTreeMap<String, BTreeMap<String, Vec<u32>>>,
    #[serde(default, skip_serializing_if = "FetchedIds::is_empty")]
    fetched: FetchedIds,
    #[serde(default, skip_serializing_if = "SavedBehind::is_empty")]
    behind: SavedBehind,
}

/// What version 1 remembered of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OlderWindow {
    carriers: Vec<u32>,
    #[serde(default)]
    entries: Vec<OlderEntry>,
}

impl Dedupe {
    /// As saved; symbols are interned in `symbols`. Tables this version does not know are left out.
    pub fn load(saved: &SavedDedupe, symbols: &mut Interner) -> Self {
        let mut dedupe =
            Self { lines: Lines::load(&saved.lines), recents: Recents::load(&saved.recent), ..Self::default() };
        dedupe.window.load(&saved.keys);
        dedupe.fetched = saved.fetched.clone();
        dedupe.behind = Behind::load(&saved.behind);
        let slot_of = |word: &str| Table::ALL.iter().position(|t| t.as_str() == word);
        for (word, windows) in &saved.windows {
            let Some(slot) = slot_of(word) else { continue };
            for (name, older) in windows {
                let stream = key::stream(word, name);
                for entry in &older.entries {
                    dedupe.window.load_older(key::older(entry.key).of_stream(stream).id, entry);
                }
                dedupe.carry(slot, symbols.intern(name), &older.carriers);
            }
        }
        if !saved.windows.is_empty() {
            dedupe.window.sort();
        }
        for (word, carriers) in &saved.carriers {
            let Some(slot) = slot_of(word) else { continue };
            for (name, conns) in carriers {
                dedupe.carry(slot, symbols.intern(name), conns);
            }
        }
        dedupe
    }

    /// That of a repair log.
    #[must_use]
    pub fn of_repairs(mut self) -> Self {
        self.repairs = true;
        self.window.hold_at_most(FETCHED_MAX);
        self
    }

    fn carry(&mut self, slot: usize, symbol: SymbolId, conns: &[u32]) {
        let carriers = self.carriers_of(slot, symbol);
        carriers.extend_from_slice(conns);
        self.shared += usize::from(conns.len() > 1);
    }

    /// Saves what a later run needs.
    pub fn save(&self, symbols: &Interner) -> SavedDedupe {
        let now_ns = if self.repairs { 0 } else { self.lines.now_ns() };
        let mut saved = SavedDedupe {
            lines: self.lines.save(),
            keys: self.window.save(now_ns, self.behind.reach_ns(now_ns)),
            recent: self.recents.save(now_ns),
            fetched: self.fetched.clone(),
            behind: self.behind.save(now_ns),
            ..SavedDedupe::default()
        };
        if self.is_overlapping() {
            for (table, carriers) in Table::ALL.iter().zip(&self.carriers) {
                for (i, conns) in (0_u32..).zip(carriers).filter(|(_, conns)| !conns.is_empty()) {
                    let name = symbols.name(SymbolId(i)).to_owned();
                    saved.carriers.entry(table.as_str().to_owned()).or_default().insert(name, conns.to_vec());
                }
            }
        }
        saved
    }

    /// Memory held by recent keys, bytes.
    pub fn bytes(&self) -> u64 {
        self.window.bytes()
    }

    /// Keys that had to go before their time since the last call.
    pub fn take_evicted(&mut self) -> u64 {
        // Of what was fetched the ids stay.
        self.window.take_early() * u64::from(!self.repairs)
    }

    /// What a repair log holds of the gap in work.
    pub fn fetched_ids(&self) -> &FetchedIds {
        &self.fetched
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
        self.begin();
    }

    /// A connection subscribed to streams.
    pub fn subscribed(&mut self, conn: u32) {
        self.lines.subscribed(conn);
    }

    /// A connection closed.
    pub fn closed(&mut self, conn: u32) {
        self.lines.closed(conn);
        self.behind.closed(conn);
        self.window.closed(conn);
        for carriers in self.carriers.iter_mut().flatten() {
            let shared = carriers.len() > 1;
            carriers.retain(|c| *c != conn);
            self.shared -= usize::from(shared && carriers.len() < 2);
        }
    }

    /// A new run of the collector: no connection of before will bring anything.
    pub fn restart(&mut self) {
        self.lines.restart();
        self.behind.restart();
        self.window.closed_all();
        self.recents.restart();
        self.carriers = Default::default();
        self.shared = 0;
    }

    /// True while a stream may come over two connections.
    #[inline]
    fn is_overlapping(&self) -> bool {
        self.shared > 0 || self.lines.may_overlap()
    }

    /// Who carried what has no meaning once nothing overlaps, and a saved state does not hold it.
    fn sweep(&mut self) {
        if !self.is_overlapping() {
            self.carriers = Default::default();
        }
    }

    /// Connections may overlap from now on: rows of moments ago may come again.
    fn begin(&mut self) {
        if self.lines.may_overlap() {
            let Self { window, recents, .. } = self;
            recents.drain().for_each(|row| window.remember(&row));
        }
    }

    /// Marks the rows of a frame that came before: begins `marks` with one per row, or leaves it empty. The ids of the
    /// others are judged next, and then [`Dedupe::settle`] decides.
    #[inline]
    pub fn arrive(&mut self, from: Carrier, rows: &Rows, marks: &mut Vec<RowMark>, counts: &mut LineCounts) {
        marks.clear();
        if !self.lines.knows(from.conn) {
            self.sweep();
            self.lines.met(from.conn, from.line);
            self.begin();
        }
        let now_ns = self.lines.now_ns();
        self.behind.heard(from.conn, now_ns);
        self.window.expire(now_ns, &self.behind);
        if self.is_overlapping() {
            self.overlapping(from, rows, marks, counts);
        } else if !rows.trades.is_empty() || !rows.agg_trades.is_empty() || !rows.depth.is_empty() {
            self.alone(from, rows, marks);
        }
    }

    /// Only what came moments ago can come again.
    #[inline]
    fn alone(&mut self, from: Carrier, rows: &Rows, marks: &mut Vec<RowMark>) {
        let (now_ns, subscribed_ns) = (self.lines.now_ns(), self.lines.subscribed_ns(from.conn));
        each_row(rows, |slot, symbol, key| {
            let mut mark = RowMark::default();
            if key.numbered {
                let key = self.key(slot, symbol, key, &rows.symbols);
                mark.duplicate = self.recents.again(key, from, now_ns, subscribed_ns)
                    || (!self.window.is_empty() && self.window.holds(key, from, subscribed_ns));
                if !mark.duplicate {
                    self.recents.push(Recent { key, at_ns: now_ns, conn: from.conn, line: from.line });
                }
            }
            marks.push(mark);
        });
    }

    #[inline(never)]
    fn overlapping(&mut self, from: Carrier, rows: &Rows, marks: &mut Vec<RowMark>, counts: &mut LineCounts) {
        each_row(rows, |slot, symbol, key| {
            let key = self.key(slot, symbol, key, &rows.symbols);
            let arrival = self.stream_arrives(slot, symbol, key, from);
            let mut mark = RowMark::default();
            match arrival {
                Arrival::New => {}
                Arrival::Conflict => mark.again = true,
                Arrival::Again(again) => {
                    mark.duplicate = true;
                    if again.line != from.line {
                        counts.advantage(again.line, self.lines.now_ns().saturating_sub(again.at_ns));
                    }
                }
            }
            marks.push(mark);
        });
    }

    fn stream_arrives(&mut self, slot: usize, symbol: SymbolId, key: RowKey, from: Carrier) -> Arrival {
        let may_overlap = self.lines.may_overlap();
        let (now_ns, subscribed_ns) = (self.lines.now_ns(), self.lines.subscribed_ns(from.conn));
        let carriers = self.carriers_of(slot, symbol);
        if !may_overlap && carriers.len() < 2 {
            // One connection is left of this stream.
            carriers.clear();
            return Arrival::New;
        }
        let before = carriers.len();
        if !carriers.contains(&from.conn) {
            carriers.push(from.conn);
        }
        let now_shared = before < 2 && carriers.len() > 1;
        self.shared += usize::from(now_shared);
        // A young connection may not have delivered yet: nobody knows all that carry the stream.
        let known: &[u32] = match self.carriers.get(slot).and_then(|c| c.get(symbol.0 as usize)) {
            Some(carriers) if self.lines.settled() => carriers,
            _ => &[],
        };
        let arrival = self.window.arrive(key, from, Context { now_ns, subscribed_ns, carriers: known });
        match arrival {
            Arrival::Again(again) => self.behind.repeated(from.conn, again.at_ns, now_ns),
            Arrival::New | Arrival::Conflict => {
                let carriers = self.carriers.get(slot).and_then(|c| c.get(symbol.0 as usize));
                for conn in carriers.into_iter().flatten().filter(|conn| **conn != from.conn) {
                    self.behind.owes(*conn, now_ns);
                }
            }
        }
        arrival
    }

    /// After the ids: counts for the lines, and notes in `drift` what stays although a row with its id is there.
    #[inline]
    pub fn settle(
        &self,
        from: Carrier,
        rows: &Rows,
        marks: &mut [RowMark],
        counts: &mut LineCounts,
        drift: &mut Vec<(Table, String)>,
    ) {
        if marks.iter().any(|m| m.again) {
            note_again(rows, marks, drift);
        }
        counts.frame(from.line, marks.is_empty() || marks.iter().any(|m| !m.duplicate));
    }

    /// Marks the rows of a fetched body that were fetched before, and begins `marks` with one per row.
    pub fn fetched(&mut self, rows: &Rows, marks: &mut Vec<RowMark>, drift: &mut Vec<(Table, String)>) {
        marks.clear();
        if !self.repairs {
            return;
        }
        each_kind!(rows, of => self.fetched_of(rows, of, marks));
        if marks.iter().any(|m| m.again) {
            note_again(rows, marks, drift);
        }
    }

    fn fetched_of<K: Kind>(&mut self, rows: &Rows, of: &[K], marks: &mut Vec<RowMark>) {
        for r in of {
            let key = self.key(K::TABLE as usize, r.symbol(), r.key(rows), &rows.symbols);
            let (name, id) = (rows.symbols.name(r.symbol()), r.ids().map(|(first, _)| first));
            let forgotten = |id| self.fetched.holds(K::CHANNEL, name, id) && !self.window.knows(key);
            let mut mark = RowMark::default();
            if id.is_some_and(forgotten) {
                mark.duplicate = true;
            } else {
                let arrival = self.window.fetch(key, self.lines.now_ns());
                (mark.duplicate, mark.again) = (matches!(arrival, Arrival::Again(_)), arrival == Arrival::Conflict);
                // What is known without it was fetched for a gap that has ended.
                id.iter().filter(|_| !mark.duplicate).for_each(|id| self.fetched.add(K::CHANNEL, name, *id));
            }
            marks.push(mark);
        }
    }

    /// A gap was worked off; false when that very end of it was reported before.
    pub fn repaired(&mut self, repair: &Repair) -> bool {
        let is_new = self.window.fetch(key::repair(repair), self.lines.now_ns()) == Arrival::New;
        self.window.shrink_to(FETCHED_KEPT);
        self.fetched.end(repair);
        is_new
    }

    /// The key of a row among those of all streams.
    #[inline]
    fn key(&mut self, slot: usize, symbol: SymbolId, key: RowKey, symbols: &Interner) -> RowKey {
        let streams = &mut self.streams[slot];
        let at = symbol.0 as usize;
        if streams.len() <= at {
            streams.resize(at + 1, 0);
        }
        if streams[at] == 0 {
            streams[at] = key::stream(Table::ALL[slot].as_str(), symbols.name(symbol));
        }
        key.of_stream(streams[at])
    }

    fn carriers_of(&mut self, slot: usize, symbol: SymbolId) -> &mut Carriers {
        let of_table = &mut self.carriers[slot];
        let index = symbol.0 as usize;
        if of_table.len() <= index {
            of_table.resize_with(index + 1, Carriers::new);
        }
        &mut of_table[index]
    }
}

/// Every row of a frame in the order of its marks, with its key.
#[inline]
fn each_row(rows: &Rows, mut row: impl FnMut(usize, SymbolId, RowKey)) {
    each_kind!(rows, of => each_of(rows, of, &mut row));
}

#[inline]
fn each_of<K: Kind>(rows: &Rows, of: &[K], row: &mut impl FnMut(usize, SymbolId, RowKey)) {
    of.iter().for_each(|r| row(K::TABLE as usize, r.symbol(), r.key(rows)));
}

/// Rows that stay although a row with their id is there.
#[cold]
fn note_again(rows: &Rows, marks: &mut [RowMark], drift: &mut Vec<(Table, String)>) {
    let mut at = 0;
    each_row(rows, |slot, symbol, _| {
        if let (Some(mark), Some(table)) = (marks.get_mut(at).filter(|m| m.again), Table::ALL.get(slot)) {
            mark.flags |= OUT_OF_ORDER;
            drift.push((*table, rows.symbols.name(symbol).to_owned()));
        }
        at += 1;
    });
}
