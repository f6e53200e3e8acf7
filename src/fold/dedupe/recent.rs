//! The last rows with ids of a venue while only one connection carries each stream.
//!
//! A connection that takes the place of another one may begin with rows that the other one has brought: both are of
//! moments ago. A few hundred keys answer that, cost a store or two each, and are small enough to go into every
//! manifest.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::arrival::{Carrier, KEEP_NS};
use super::codec;
use super::key::RowKey;

/// Rows remembered.
const ROWS_MAX: usize = 512;
/// Rows are counted by this many of their keys' bits: one in thirty rows is looked for in vain.
const SIEVE: usize = 1 << 14;
/// Connection of rows of an earlier run, in which the numbers meant other ones.
const EARLIER: u32 = u32::MAX;

/// A row that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recent {
    pub(super) key: RowKey,
    pub(super) at_ns: u64,
    pub(super) conn: u32,
    pub(super) line: u8,
}

/// The rows, oldest first.
pub(super) struct Recents {
    rows: VecDeque<Recent>,
    /// How many rows there are, by the low bits of their keys.
    sieve: Box<[u16]>,
}

impl Default for Recents {
    fn default() -> Self {
        Self { rows: VecDeque::new(), sieve: vec![0; SIEVE].into() }
    }
}

/// Saved [`Recents`], as one text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SavedRecents(String);

impl SavedRecents {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Recents {
    pub(super) fn load(saved: &SavedRecents) -> Self {
        let bytes = lake::hash::unhex(&saved.0).unwrap_or_default();
        let (mut from, mut recents, mut at_ns) = (codec::Reader::new(&bytes), Self::default(), 0);
        while let Some(row) = read(&mut from, at_ns) {
            at_ns = row.at_ns;
            recents.push(row);
        }
        recents
    }

    pub(super) fn save(&self, now_ns: u64) -> SavedRecents {
        let (mut out, mut before_ns) = (Vec::new(), 0);
        for r in self.rows.iter().filter(|r| r.at_ns.saturating_add(KEEP_NS) > now_ns) {
            out.extend_from_slice(&r.key.id.to_le_bytes());
            out.extend_from_slice(&r.key.content.to_le_bytes());
            out.push(r.line);
            codec::put(&mut out, r.at_ns - before_ns);
            codec::put(&mut out, u64::from(r.conn));
            before_ns = r.at_ns;
        }
        SavedRecents(lake::piece::hex(&out))
    }

    fn count(&mut self, key: RowKey) -> &mut u16 {
        &mut self.sieve[key.id as usize % SIEVE]
    }

    /// A row stays.
    #[inline]
    pub(super) fn push(&mut self, row: Recent) {
        if self.rows.len() >= ROWS_MAX
            && let Some(oldest) = self.rows.pop_front()
        {
            *self.count(oldest.key) -= 1;
        }
        *self.count(row.key) += 1;
        self.rows.push_back(row);
    }

    /// True when another connection brought the row, or this one before it subscribed again.
    #[inline]
    pub(super) fn again(&mut self, key: RowKey, from: Carrier, now_ns: u64, subscribed_ns: Option<u64>) -> bool {
        *self.count(key) > 0 && self.find(key, from, now_ns, subscribed_ns)
    }

    #[cold]
    fn find(&mut self, key: RowKey, from: Carrier, now_ns: u64, subscribed_ns: Option<u64>) -> bool {
        let same = |r: &&mut Recent| {
            let resent = r.conn != from.conn || subscribed_ns.is_some_and(|at_ns| r.at_ns <= at_ns);
            r.key == key && resent && r.at_ns.saturating_add(KEEP_NS) > now_ns
        };
        let Some(row) = self.rows.iter_mut().rev().find(same) else { return false };
        // Once for each connection.
        row.conn = from.conn;
        true
    }

    /// A new run: connections are counted from the start again.
    pub(super) fn restart(&mut self) {
        self.rows.iter_mut().for_each(|r| r.conn = EARLIER);
    }

    /// All of them, which are then remembered elsewhere.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Recent> + '_ {
        self.sieve.fill(0);
        self.rows.drain(..)
    }
}

fn read(from: &mut codec::Reader<'_>, before_ns: u64) -> Option<Recent> {
    let key =
        RowKey { id: u64::from_le_bytes(from.bytes()?), content: u32::from_le_bytes(from.bytes()?), numbered: true };
    let [line] = from.bytes()?;
    Some(Recent { key, line, at_ns: before_ns.checked_add(from.number()?)?, conn: from.u32()? })
}
