//! What is known of the ids of one symbol and channel, and how the next one is judged against it.

use serde::{Deserialize, Serialize};

use crate::venue::Continuity;

/// Holes remembered per symbol and channel. When a further one opens, the oldest is forgotten together with
/// everything before it, so that nothing below it can be taken for a repeat.
pub(super) const MAX_HOLES: usize = 256;

/// A trade id this far below the newest one is not a late frame: the venue counts anew.
const RESTART: i64 = 1_000_000;

/// What an id says against those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The very next one.
    Continuous,
    /// The first of its symbol and channel.
    First,
    /// Ids from `expected` up to `got` (excluded) were not delivered. For [`Continuity::DepthPrevFinal`]
    /// `expected` is the last final id delivered and `got` the one that should have been.
    Gap {
        /// What should have come.
        expected: i64,
        /// What came.
        got: i64,
    },
    /// Aggregate ids continue, the trade ids inside them do not.
    TradesSkipped {
        /// Trade id that should have come.
        expected: i64,
        /// Trade id that came.
        got: i64,
    },
    /// Seen before.
    Duplicate,
    /// Late: not seen before, but a higher one was.
    OutOfOrder,
}

/// The ids of one row or message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Its own id; first id for depth.
    pub first: i64,
    /// Its own id; final id for depth.
    pub last: i64,
    /// Final id of the message before ([`Continuity::DepthPrevFinal`]).
    pub prev: Option<i64>,
    /// First and last trade id inside ([`Continuity::AggIdAndTrades`]).
    pub trades: Option<(i64, i64)>,
}

impl Ids {
    /// A row with one id.
    pub fn one(id: i64) -> Self {
        Self { first: id, last: id, prev: None, trades: None }
    }
}

/// The verdict on one row or message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// What its ids say.
    pub(super) seen: Seen,
    /// How many of its ids were not delivered before.
    pub(super) new: u64,
    /// Ids that are missing since this one.
    pub(super) opened: Option<(i64, i64)>,
}

/// What is known of one symbol and channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdState {
    /// First id seen; ids below it are never repeats.
    pub first: i64,
    /// Highest id seen.
    pub last: i64,
    /// Last trade id inside the newest aggregate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_trade: Option<i64>,
    /// Ids never delivered, both ends included, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<(i64, i64)>,
    /// Holes were forgotten: nothing is known of ids below `first`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgot: bool,
}

/// Ids in `from..=to`.
pub fn count(from: i64, to: i64) -> u64 {
    if to < from { 0 } else { to.abs_diff(from).saturating_add(1) }
}

impl IdState {
    pub(super) fn starting_with(ids: Ids) -> Self {
        Self {
            first: ids.first,
            last: ids.last,
            last_trade: ids.trades.map(|(_, last)| last),
            holes: Vec::new(),
            forgot: false,
        }
    }

    /// The parts of `from..=to` that were never delivered, as far as is known.
    pub fn open(&self, from: i64, to: i64) -> Vec<(i64, i64)> {
        let mut open = Vec::new();
        let mut add = |a: i64, b: i64| {
            if a <= b {
                open.push((a, b));
            }
        };
        add(from, to.min(self.first.saturating_sub(1)));
        for (a, b) in &self.holes {
            add(from.max(*a).max(self.first), to.min(*b));
        }
        add(from.max(self.last.saturating_add(1)), to);
        open
    }

    #[inline]
    pub(super) fn judge(&mut self, rule: Continuity, ids: Ids) -> Judged {
        // What the message says came right before it.
        let before = match (rule, ids.prev) {
            (Continuity::DepthPrevFinal, Some(prev)) => prev,
            (Continuity::DepthPrevFinal, None) => self.last.min(ids.last),
            _ => ids.first.saturating_sub(1),
        };
        if ids.last <= self.last {
            return self.late(rule, before, ids);
        }
        let last = std::mem::replace(&mut self.last, ids.last);
        let mut judged = Judged { seen: Seen::Continuous, new: ids.last.abs_diff(before.max(last)), opened: None };
        if before < last {
            judged.new = judged.new.saturating_add(self.cover(before.saturating_add(1), last, &mut judged.opened));
        }
        let last_trade = self.last_trade;
        self.last_trade = ids.trades.map(|(_, last)| last);
        if before > last {
            self.open_hole(last + 1, before);
            judged.opened = Some((last + 1, before));
            judged.seen = match rule {
                Continuity::DepthPrevFinal => Seen::Gap { expected: last, got: before },
                _ => Seen::Gap { expected: last + 1, got: ids.first },
            };
            return judged;
        }
        if let (Continuity::AggIdAndTrades, Some(last), Some((first, _))) = (rule, last_trade, ids.trades) {
            let expected = last.saturating_add(1);
            if first != expected {
                judged.seen = Seen::TradesSkipped { expected, got: first };
            }
        }
        judged
    }

    /// An id that is not above the highest one.
    #[cold]
    fn late(&mut self, rule: Continuity, before: i64, ids: Ids) -> Judged {
        let counts_trades = !matches!(rule, Continuity::DepthFirstFinal | Continuity::DepthPrevFinal);
        if counts_trades && self.last.saturating_sub(ids.last) > RESTART {
            *self = Self::starting_with(ids);
            return Judged { seen: Seen::OutOfOrder, new: count(ids.first, ids.last), opened: None };
        }
        let mut opened = None;
        let new = self.cover(before.saturating_add(1).min(ids.first), ids.last, &mut opened);
        Judged { seen: if new > 0 { Seen::OutOfOrder } else { Seen::Duplicate }, new, opened }
    }

    fn open_hole(&mut self, from: i64, to: i64) {
        while self.holes.len() >= MAX_HOLES {
            let (_, forgotten) = self.holes.remove(0);
            self.first = self.first.max(forgotten.saturating_add(1));
            self.forgot = true;
        }
        self.holes.push((from, to));
    }

    /// Notes that `first..=last` (not above the highest id) was delivered; returns how many of them are new.
    /// `opened`: a hole that shows now, between ids delivered late and the first one known so far.
    #[cold]
    fn cover(&mut self, first: i64, last: i64, opened: &mut Option<(i64, i64)>) -> u64 {
        let mut new = 0;
        if first < self.first {
            new = count(first, last.min(self.first - 1));
            if last >= self.first - 1 {
                self.first = first;
            } else if self.holes.len() < MAX_HOLES {
                let hole = (last + 1, self.first - 1);
                self.holes.insert(0, hole);
                *opened = (!self.forgot).then_some(hole);
                self.first = first;
            }
        }
        let mut kept = Vec::with_capacity(self.holes.len() + 1);
        for &(a, b) in &self.holes {
            if last < a || first > b {
                kept.push((a, b));
                continue;
            }
            new = new.saturating_add(count(first.max(a), last.min(b)));
            if first > a {
                kept.push((a, first - 1));
            }
            if last < b {
                kept.push((last + 1, b));
            }
        }
        self.holes = kept;
        new
    }
}
