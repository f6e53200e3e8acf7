//! The keys of the rows that may come again, of all streams of a venue.
//!
//! Worked example with connections A and B. A brings k: new. B brings k: a repeat. A brings k again: that is the
//! second time on A, so it is new, and the second one of B will be its repeat. Of a key that one connection
//! brought n times and every other one at most n times, exactly n rows stay, whatever the order.
//!
//! A window is bounded by the log's own time, as far as no open connection is behind, and by bytes, over all streams
//! together: 20 s of 17,000 rows a second that only one of two lines has brought so far. What goes before its time is counted. Neither the clock nor the state of
//! memory has a say: the same log gives the same rows.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

use super::arrival::{Again, Arrival, Carrier, KEEP_NS};
use super::behind::Behind;
use super::codec;
use super::key::RowKey;
use super::recent::Recent;

/// What one key takes: its entry, its place in the order, and half as much again that a table reserves.
pub(super) const KEY_BYTES: usize = 96;
/// All keys of a venue, bytes.
pub(super) const BYTES_MAX: usize = 32 << 20;
/// Of a window that version 1 saved nobody knows the content.
const ANY: u32 = 0;

#[derive(Clone, Debug)]
struct Entry {
    /// Time of the log when the row that stays came.
    at_ns: u64,
    content: u32,
    /// Rows that stay.
    kept: u32,
    /// Over which line.
    line: u8,
    /// How often each connection brought it: two lines, more only around a change of connections.
    brought: SmallVec<[(u32, u32); 2]>,
}

/// Keys are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0 << 8 | u64::from(*b));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// The connections that a row is compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) now_ns: u64,
    /// When the connection of the row subscribed again, if it did.
    pub(super) subscribed_ns: Option<u64>,
    /// All that may bring it, when that is known.
    pub(super) carriers: &'a [u32],
}

/// The keys, oldest first.
pub(super) struct Window {
    entries: HashMap<u64, Entry, BuildHasherDefault<AsIs>>,
    /// When and which; of entries that are gone too, until there are too many of those.
    order: VecDeque<(u64, u64)>,
    keys_max: usize,
    /// Keys that went before their time, since the last call.
    early: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { entries: HashMap::default(), order: VecDeque::new(), keys_max: BYTES_MAX / KEY_BYTES, early: 0 }
    }
}

/// Saved keys: version 2 writes all of them as one text, version 1 had a list for each stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SavedKeys(String);

impl SavedKeys {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A key as version 1 saved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OlderEntry {
    #[serde(rename = "k")]
    pub(super) key: u64,
    #[serde(rename = "t")]
    at_ns: u64,
    #[serde(rename = "l", default)]
    line: u8,
    #[serde(rename = "n")]
    kept: u32,
    #[serde(rename = "c")]
    brought: Vec<(u32, u32)>,
}

impl Window {
    /// Puts saved keys back; what is damaged is left out with all after it.
    pub(super) fn load(&mut self, saved: &SavedKeys) {
        let bytes = lake::hash::unhex(&saved.0).unwrap_or_default();
        let mut from = codec::Reader::new(&bytes);
        let mut at_ns = 0;
        while let Some((key, entry)) = read(&mut from, at_ns) {
            at_ns = entry.at_ns;
            self.put(key, entry);
        }
    }

    /// Puts keys back that version 1 saved for one stream.
    pub(super) fn load_older(&mut self, key: u64, saved: &OlderEntry) {
        let OlderEntry { at_ns, line, kept, brought, .. } = saved;
        let brought = brought.iter().copied().collect();
        self.put(key, Entry { at_ns: *at_ns, content: ANY, kept: *kept, line: *line, brought });
    }

    /// Version 1 saved stream after stream.
    pub(super) fn sort(&mut self) {
        self.order.make_contiguous().sort_unstable();
    }

    /// Saves what has not expired at `now_ns`, and what is of `from_ns` or later.
    pub(super) fn save(&self, now_ns: u64, from_ns: u64) -> SavedKeys {
        let mut out = Vec::new();
        let mut before_ns = 0;
        for (at_ns, key) in &self.order {
            let Some(e) = self.entries.get(key).filter(|e| e.at_ns == *at_ns) else { continue };
            if at_ns.saturating_add(KEEP_NS) > now_ns || *at_ns >= from_ns {
                write(&mut out, *key, e, before_ns);
                before_ns = *at_ns;
            }
        }
        SavedKeys(lake::piece::hex(&out))
    }

    /// Memory held, bytes.
    pub(super) fn bytes(&self) -> u64 {
        (self.entries.len().max(self.entries.capacity() / 2) * KEY_BYTES) as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys that went before their time since the last call.
    pub(super) fn take_early(&mut self) -> u64 {
        std::mem::take(&mut self.early)
    }

    /// `conn` will bring nothing any more.
    pub(super) fn closed(&mut self, conn: u32) {
        self.entries.values_mut().for_each(|e| e.brought.retain(|(c, _)| *c != conn));
    }

    /// No connection will bring anything any more.
    pub(super) fn closed_all(&mut self) {
        self.entries.values_mut().for_each(|e| e.brought.clear());
    }

    /// Forgets what is too old to come again over a connection that is not `after`.
    #[inline]
    pub(super) fn expire(&mut self, now_ns: u64, behind: &Behind) {
        while let Some((at_ns, key)) = self.order.front().copied()
            && at_ns.saturating_add(KEEP_NS) <= now_ns
        {
            let is_there = self.entries.get(&key).is_some_and(|e| e.at_ns == at_ns);
            if is_there && at_ns >= behind.reach_ns(now_ns) {
                break;
            }
            self.pop();
        }
        if self.order.is_empty() && self.entries.capacity() > 0 {
            (self.entries, self.order) = Default::default();
        }
    }

    /// The oldest goes; true when there was a key.
    fn pop(&mut self) -> bool {
        let Some((at_ns, key)) = self.order.pop_front() else { return false };
        let is_it = self.entries.get(&key).is_some_and(|e| e.at_ns == at_ns);
        if is_it {
            self.entries.remove(&key);
        }
        is_it
    }

    fn put(&mut self, key: u64, entry: Entry) {
        self.order.push_back((entry.at_ns, key));
        self.entries.insert(key, entry);
        while self.entries.len() > self.keys_max && !self.order.is_empty() {
            self.early += u64::from(self.pop());
        }
        // Keys that both lines brought are gone, their places in the order are not.
        if self.order.len() > 2 * self.entries.len() + 1_024 {
            let entries = &self.entries;
            self.order.retain(|(at_ns, key)| entries.get(key).is_some_and(|e| e.at_ns == *at_ns));
        }
    }

    /// A row that came shortly before connections began to overlap.
    pub(super) fn remember(&mut self, row: &Recent) {
        let place = self.place(row.key);
        let brought = smallvec![(row.conn, 1)];
        if !self.entries.contains_key(&place) {
            self.put(place, Entry { at_ns: row.at_ns, content: row.key.content, kept: 1, line: row.line, brought });
        }
    }

    /// What was fetched: the same once more is a repeat, whatever it came over.
    pub(super) fn fetch(&mut self, key: RowKey, now_ns: u64) -> Arrival {
        let place = self.place(key);
        if let Some(e) = self.entries.get(&place) {
            return Arrival::Again(Again { line: e.line, at_ns: e.at_ns });
        }
        let brought = SmallVec::new();
        self.put(place, Entry { at_ns: now_ns, content: key.content, kept: 1, line: 0, brought });
        if place == key.id { Arrival::New } else { Arrival::Conflict }
    }

    /// True when a row with this id is remembered, whatever else it says.
    pub(super) fn knows(&self, key: RowKey) -> bool {
        self.entries.contains_key(&key.id)
    }

    /// Keeps the newest `keys`.
    pub(super) fn shrink_to(&mut self, keys: usize) {
        while self.entries.len() > keys && !self.order.is_empty() {
            self.pop();
        }
    }

    /// Where the row is, or would be.
    fn place(&self, key: RowKey) -> u64 {
        match self.entries.get(&key.id) {
            Some(e) if e.content != key.content && e.content != ANY => key.of_other_content().id,
            _ => key.id,
        }
    }

    /// Whether another connection brought the row, when nothing more is expected of either.
    pub(super) fn holds(&self, key: RowKey, from: Carrier, subscribed_ns: Option<u64>) -> bool {
        self.entries.get(&self.place(key)).is_some_and(|e| {
            !e.brought.iter().any(|(c, _)| *c == from.conn) || subscribed_ns.is_some_and(|at_ns| e.at_ns <= at_ns)
        })
    }

    /// A row with this key came.
    pub(super) fn arrive(&mut self, key: RowKey, from: Carrier, context: Context<'_>) -> Arrival {
        let Context { now_ns, subscribed_ns, carriers } = context;
        let place = self.place(key);
        let Some(entry) = self.entries.get_mut(&place) else {
            let brought = smallvec![(from.conn, 1)];
            self.put(place, Entry { at_ns: now_ns, content: key.content, kept: 1, line: from.line, brought });
            return if place == key.id { Arrival::New } else { Arrival::Conflict };
        };
        let again = Arrival::Again(Again { line: entry.line, at_ns: entry.at_ns });
        let times = match entry.brought.iter_mut().find(|(c, _)| *c == from.conn) {
            // It subscribed again, and is sent what it was sent before.
            Some(_) if key.numbered && subscribed_ns.is_some_and(|at_ns| entry.at_ns <= at_ns) => return again,
            Some((_, n)) => {
                *n += 1;
                *n
            }
            None => {
                entry.brought.push((from.conn, 1));
                1
            }
        };
        let arrival = if times > entry.kept {
            if entry.at_ns != now_ns {
                self.order.push_back((now_ns, place));
            }
            (entry.kept, entry.line, entry.at_ns) = (times, from.line, now_ns);
            Arrival::New
        } else {
            again
        };
        // All that can bring it have brought it: nothing is left to remember.
        let done = carriers.len() > 1
            && self
                .entries
                .get(&place)
                .is_some_and(|e| carriers.iter().all(|c| e.brought.iter().any(|(b, n)| b == c && *n == e.kept)));
        if done {
            self.entries.remove(&place);
        }
        arrival
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bounds the number of keys otherwise.
    pub(super) fn hold_at_most(&mut self, keys: usize) {
        self.keys_max = keys;
    }
}

fn write(out: &mut Vec<u8>, key: u64, e: &Entry, before_ns: u64) {
    out.extend_from_slice(&key.to_le_bytes());
    out.extend_from_slice(&e.content.to_le_bytes());
    out.push(e.line);
    codec::put(out, e.at_ns - before_ns.min(e.at_ns));
    codec::put(out, u64::from(e.kept));
    codec::put(out, e.brought.len() as u64);
    for (conn, n) in &e.brought {
        codec::put(out, u64::from(*conn));
        codec::put(out, u64::from(*n));
    }
}

fn read(from: &mut codec::Reader<'_>, before_ns: u64) -> Option<(u64, Entry)> {
    let key = u64::from_le_bytes(from.bytes()?);
    let content = u32::from_le_bytes(from.bytes()?);
    let [line] = from.bytes()?;
    let at_ns = before_ns.checked_add(from.number()?)?;
    let kept = from.u32()?;
    let n = from.number()?;
    let brought = (0..n).map(|_| Some((from.u32()?, from.u32()?))).collect::<Option<_>>()?;
    Some((key, Entry { at_ns, content, kept, line, brought }))
}
