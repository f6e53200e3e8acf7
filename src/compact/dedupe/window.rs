//! The recent keys of one stream.
//!
//! Worked example with connections A and B. A brings k: new. B brings k: a repeat. A brings k again: that is the
//! second time on A, so it is new, and the second one of B will be its repeat. Of a key that one connection
//! brought n times and every other one at most n times, exactly n rows stay, whatever the order.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

use super::Carrier;
use super::lines::Lines;

/// Keys remembered per stream.
pub(super) const KEYS_MAX: usize = 256;
/// A key is forgotten after this time of the log, ns: lines differ by less.
pub(super) const KEEP_NS: u64 = 20_000_000_000;

/// A row came before, over another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again {
    /// The line that was first.
    pub(super) line: u8,
    /// When, ns.
    pub(super) at_ns: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "k")]
    key: u64,
    /// Time of the log when the row that stays came.
    #[serde(rename = "t")]
    at_ns: u64,
    /// Over which line.
    #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
    line: u8,
    /// Rows that stay.
    #[serde(rename = "n")]
    kept: u32,
    /// How often each connection brought it: two lines, more only around a change of connections.
    #[serde(rename = "c")]
    brought: SmallVec<[(u32, u32); 2]>,
}

fn is_zero(n: &u8) -> bool {
    *n == 0
}

/// The keys of one stream, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    // Apart from the entries, so that looking for one reads 2 KiB and not all of them.
    keys: VecDeque<u64>,
    entries: VecDeque<Entry>,
    /// Open connections that brought something of this stream.
    carriers: Vec<u32>,
}

/// A saved [`Window`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedWindow {
    carriers: Vec<u32>,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    entries: VecDeque<Entry>,
}

impl Window {
    pub(super) fn load(&mut self, saved: &SavedWindow) {
        self.carriers.clone_from(&saved.carriers);
        self.entries.clone_from(&saved.entries);
        self.keys = self.entries.iter().map(|e| e.key).collect();
    }

    /// `None` when it can have no effect any more.
    pub(super) fn save(&self, lines: &Lines) -> Option<SavedWindow> {
        if !lines.may_overlap() && self.carriers() < 2 {
            return None;
        }
        let mut window = self.clone();
        window.expire(lines.now_ns());
        Some(SavedWindow { carriers: window.carriers, entries: window.entries })
    }

    /// Memory held, bytes.
    pub(super) fn bytes(&self) -> u64 {
        (self.keys.capacity() * size_of::<u64>() + self.entries.capacity() * size_of::<Entry>()) as u64
    }

    /// Number of open connections that brought something.
    pub(super) fn carriers(&self) -> usize {
        self.carriers.len()
    }

    /// `conn` will bring nothing any more.
    pub(super) fn closed(&mut self, conn: u32) {
        self.carriers.retain(|c| *c != conn);
        for e in &mut self.entries {
            e.brought.retain(|(c, _)| *c != conn);
        }
    }

    fn expire(&mut self, now_ns: u64) {
        while self.entries.front().is_some_and(|e| e.at_ns.saturating_add(KEEP_NS) <= now_ns) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        self.entries.pop_front();
        self.keys.pop_front();
    }

    /// A row with this key came; `Some` when it is the repeat of one that stays.
    pub(super) fn arrive(&mut self, key: u64, from: Carrier, lines: &Lines) -> Option<Again> {
        let now_ns = lines.now_ns();
        self.expire(now_ns);
        if !self.carriers.contains(&from.conn) {
            self.carriers.push(from.conn);
        }
        let Some(i) = self.keys.iter().rposition(|k| *k == key) else {
            if self.entries.len() >= KEYS_MAX {
                self.pop();
            }
            self.keys.push_back(key);
            let brought = smallvec![(from.conn, 1)];
            self.entries.push_back(Entry { key, at_ns: now_ns, line: from.line, kept: 1, brought });
            return None;
        };
        let entry = self.entries.get_mut(i)?;
        let times = match entry.brought.iter_mut().find(|(c, _)| *c == from.conn) {
            Some((_, n)) => {
                *n += 1;
                *n
            }
            None => {
                entry.brought.push((from.conn, 1));
                1
            }
        };
        let again = if times > entry.kept {
            (entry.kept, entry.line, entry.at_ns) = (times, from.line, now_ns);
            None
        } else {
            Some(Again { line: entry.line, at_ns: entry.at_ns })
        };
        // All that can bring it have brought it: nothing is left to remember.
        let done = lines.settled()
            && self.carriers.len() > 1
            && self.carriers.iter().all(|c| entry.brought.iter().any(|(b, n)| b == c && *n == entry.kept));
        if done {
            self.entries.remove(i);
            self.keys.remove(i);
        }
        again
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
