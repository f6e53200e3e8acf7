//! What is known of the ids of one symbol and channel, and how the next one is judged against it.
//!
//! Belief is bounded: an id that is far from all before it moves nothing. It begins a second [`Run`] beside the first,
//! and only when that run goes on without a step missing it is believed:
//!
//! ```text
//!  5000000                    one run
//!  1        2        3        far below: a second run; with its third row the count has restarted
//!  9000000  5000001  5000002  far above, and then the first run goes on: an odd id, no gap
//!  9000000  9000001  9000002  far above and it goes on: the gap 5000001..=8999999 is one
//! ```
//!
//! An id that was delivered before, in a row that is none of before (so the caller says), begins a second run in the
//! same way: a venue may restart its count long before its ids are far. Its trades go on in time then; a row of ids that were
//! delivered and of a time that is not newer comes late once more, over a line that stalled or because it was fetched
//! meanwhile, and says nothing. A row that was fetched never begins a run: it is one of before by what it is.

use serde::{Deserialize, Serialize};

use crate::Continuity;

/// Gaps remembered per symbol and channel. When a further one opens, the oldest is forgotten together with
/// everything before it, so that nothing below it can be taken for a repeat.
pub(super) const MAX_GAPS: usize = 256;

/// A trade id this far from the newest one is not believed by itself: more than the second of two lines is late by.
const FAR: i64 = 100_000;
/// The same of update ids, which count every change of a book.
const FAR_UPDATES: i64 = 1_000_000;
/// Rows that have to go on from the first one of a run before it is believed.
const BELIEF: u32 = 2;
/// Rows of the first run that refute a second one. Many: the second of two lines may bring what the first one lost.
const DOUBT: u32 = 1_000;
/// Rows after which the run before a restart is forgotten: late rows of it have come.
const FORMER_ROWS: u32 = 10_000;
/// A new count that is met at an id up to this began at 1.
const START_MAX: i64 = 10_000;

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
    /// The jump a few rows ago was one: what was reported missing then is.
    Believed,
    /// The venue has restarted its count, since a few rows.
    Restarted {
        /// Highest id of the count before.
        from: i64,
        /// First id of the new one.
        to: i64,
    },
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
    #[cfg(test)]
    pub(super) fn one(id: i64) -> Self {
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
    /// Ids that are missing since this one; of an unsure row only if it will be believed.
    pub(super) opened: Option<(i64, i64)>,
    /// How many ids are known to be missing since this row.
    pub(super) missing: u64,
    /// It belongs to a run that is not believed yet.
    pub(super) unsure: bool,
}

impl Judged {
    pub(super) fn of(seen: Seen, new: u64) -> Self {
        Self { seen, new, opened: None, missing: 0, unsure: false }
    }
}

/// Ids in `from..=to`.
pub fn count(from: i64, to: i64) -> u64 {
    if to < from { 0 } else { to.abs_diff(from).saturating_add(1) }
}

fn counts_trades(rule: Continuity) -> bool {
    !matches!(rule, Continuity::DepthFirstFinal | Continuity::DepthPrevFinal)
}

/// Ids that grow from row to row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
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
    /// Gaps were forgotten: nothing is known of ids below `first`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgot: bool,
}

/// A run beside the one that is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Other {
    #[serde(flatten)]
    run: Run,
    /// What its first row said came right before it.
    before: i64,
    /// It was believed before the present one: late rows of it may come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    former: bool,
    /// Rows that went on from its first one.
    #[serde(default)]
    steps: u32,
    /// Rows of the believed run since.
    #[serde(default)]
    against: u32,
}

/// What is known of one symbol and channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdState {
    /// The ids that are believed.
    #[serde(flatten)]
    pub run: Run,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other: Option<Box<Other>>,
}

/// Which run a row belongs to.
enum Place {
    Believed,
    Other,
    None,
}

impl IdState {
    pub(super) fn starting_with(ids: Ids) -> Self {
        Self { run: Run::starting_with(ids), other: None }
    }

    /// The parts of `from..=to` that were never delivered, as far as is known; `None` while unknown.
    pub fn open(&self, from: i64, to: i64) -> Option<Vec<(i64, i64)>> {
        let mut open = self.run.open(from, to);
        if let Some(other) = &self.other {
            let known = if other.before >= self.run.last { self.run.last } else { other.run.first.saturating_sub(1) };
            if other.former {
                open.extend(other.run.open_gaps(from, to));
            } else if to > known && from <= other.run.last {
                return None;
            }
        }
        Some(open)
    }

    /// `is_newer`: what the row reports happened after the rows before it, as far as is known.
    #[inline]
    pub(super) fn judge(&mut self, rule: Continuity, ids: Ids, is_newer: impl FnOnce() -> bool) -> Judged {
        if self.other.is_none() && self.run.is_near(rule, ids) {
            let judged = self.run.judge(rule, ids);
            if judged.seen != Seen::Duplicate {
                return judged;
            }
        }
        if self.run.covers(ids) && !is_newer() {
            return Judged::of(Seen::Duplicate, 0);
        }
        self.judge_apart(rule, ids)
    }

    /// A row that was fetched for a gap.
    #[cold]
    pub(super) fn fill(&mut self, rule: Continuity, ids: Ids) -> Judged {
        let run = &self.run;
        let outside = ids.first < run.first || ids.last > run.last;
        let of_former = |o: &Other| o.former && o.run.spans(ids) && (outside || o.run.lacks(ids)) && !run.lacks(ids);
        let run = match &mut self.other {
            Some(other) if of_former(other) => &mut other.run,
            // Fetched after what was read so far.
            _ if ids.last > run.last => return self.judge(rule, ids, || true),
            _ => &mut self.run,
        };
        run.late(run.before(rule, ids), ids)
    }

    /// There are two runs, or will be.
    #[cold]
    fn judge_apart(&mut self, rule: Continuity, ids: Ids) -> Judged {
        if self.run.continues(rule, ids) {
            return self.judge_believed(rule, ids);
        }
        let near = self.run.is_near(rule, ids);
        let again = near && self.run.covers(ids);
        // What is new to the believed run is no step of one that is not.
        let may_step = |o: &&mut Box<Other>| o.run.continues(rule, ids) && (again || !near || o.former);
        if let Some(other) = self.other.as_mut().filter(may_step) {
            let judged = other.run.judge(rule, ids);
            other.steps += 1;
            other.against = 0;
            return match (other.steps >= BELIEF, again) {
                (true, _) => self.believe(rule, judged),
                (false, true) => Judged { unsure: true, ..Judged::of(Seen::Duplicate, 0) },
                (false, false) => Judged { unsure: !other.former, ..judged },
            };
        }
        match self.place(rule, ids) {
            Place::Believed => {
                let judged = self.judge_believed(rule, ids);
                if judged.seen == Seen::Duplicate {
                    self.begin(rule, ids);
                }
                judged
            }
            Place::Other => {
                let Some(other) = &mut self.other else { return Judged::of(Seen::Continuous, 0) };
                other.steps = 0;
                let judged = other.run.judge(rule, ids);
                let missing = if other.former { judged.missing } else { 0 };
                Judged { missing, unsure: !other.former, ..judged }
            }
            Place::None => {
                self.begin(rule, ids);
                let new = count(ids.first, ids.last);
                let before = self.run.before(rule, ids);
                if ids.last <= self.run.last || before <= self.run.last {
                    return Judged { unsure: true, ..Judged::of(Seen::OutOfOrder, new) };
                }
                let opened = Some((self.run.last + 1, before));
                Judged { opened, unsure: true, ..Judged::of(self.run.gap(rule, ids, before), new) }
            }
        }
    }

    fn judge_believed(&mut self, rule: Continuity, ids: Ids) -> Judged {
        let judged = self.run.judge(rule, ids);
        if let Some(other) = &mut self.other {
            other.against += 1;
            if other.against >= if other.former { FORMER_ROWS } else { DOUBT } {
                self.other = None;
            }
        }
        judged
    }

    fn begin(&mut self, rule: Continuity, ids: Ids) {
        let (run, before) = (Run::starting_with(ids), self.run.before(rule, ids));
        self.other = Some(Box::new(Other { run, before, former: false, steps: 0, against: 0 }));
    }

    /// The run that a row which continues neither is nearest to: that a step may be missing of, or that it is late in.
    fn place(&self, rule: Continuity, ids: Ids) -> Place {
        let Some(other) = &self.other else {
            return if self.run.is_near(rule, ids) { Place::Believed } else { Place::None };
        };
        match (self.run.ahead(rule, ids), other.run.ahead(rule, ids)) {
            (Some(a), Some(b)) if b < a => Place::Other,
            (Some(_), _) => Place::Believed,
            (None, Some(_)) if !self.run.is_near(rule, ids) => Place::Other,
            (None, _) if self.run.is_near(rule, ids) => Place::Believed,
            (None, _) if other.run.is_near(rule, ids) => Place::Other,
            (None, _) => Place::None,
        }
    }

    /// The other run is the right one.
    fn believe(&mut self, rule: Continuity, judged: Judged) -> Judged {
        let Some(other) = self.other.take() else { return judged };
        let Other { run: mut believed, before, former, .. } = *other;
        let mut missing = believed.holes.iter().fold(0, |n: u64, (a, b)| n.saturating_add(count(*a, *b)));
        if before >= self.run.last && !former {
            // The same count, further on.
            let gap = (self.run.last.saturating_add(1), before);
            missing = missing.saturating_add(count(gap.0, gap.1));
            for (from, to) in std::iter::once(gap).filter(|(a, b)| a <= b).chain(believed.holes) {
                self.run.open_gap(from, to);
            }
            (self.run.last, self.run.last_trade) = (believed.last, believed.last_trade);
            return Judged { missing, ..Judged::of(Seen::Believed, judged.new) };
        }
        let (from, to) = (self.run.last, if former { believed.last } else { believed.first });
        let mut opened = None;
        if former {
            missing = 0;
        } else if counts_trades(rule) && (2..=START_MAX).contains(&believed.first) && from - believed.last > FAR {
            let gap = (1, believed.first - 1);
            believed.holes.insert(0, gap);
            believed.first = 1;
            missing = missing.saturating_add(count(gap.0, gap.1));
            opened = Some(gap);
        }
        let run = std::mem::replace(&mut self.run, believed);
        self.other = Some(Box::new(Other { run, before: from, former: true, steps: 0, against: 0 }));
        Judged { opened, missing, ..Judged::of(Seen::Restarted { from, to }, judged.new) }
    }
}

impl Run {
    fn starting_with(ids: Ids) -> Self {
        Self {
            first: ids.first,
            last: ids.last,
            last_trade: ids.trades.map(|(_, last)| last),
            holes: Vec::new(),
            forgot: false,
        }
    }

    /// The parts of `from..=to` that were never delivered, as far as is known. What is above the highest id is not
    /// missing yet.
    fn open(&self, from: i64, to: i64) -> Vec<(i64, i64)> {
        let below = (from, to.min(self.first.saturating_sub(1)));
        std::iter::once(below).filter(|(a, b)| a <= b).chain(self.open_gaps(from, to)).collect()
    }

    /// The parts of `from..=to` in known gaps.
    fn open_gaps(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, i64)> + '_ {
        let first = self.first;
        self.holes.iter().map(move |(a, b)| (from.max(*a).max(first), to.min(*b))).filter(|(a, b)| a <= b)
    }

    /// The id right before the message, as it says itself.
    #[inline]
    fn before(&self, rule: Continuity, ids: Ids) -> i64 {
        match (rule, ids.prev) {
            (Continuity::DepthPrevFinal, Some(prev)) => prev,
            (Continuity::DepthPrevFinal, None) => self.last.min(ids.last),
            _ => ids.first.saturating_sub(1),
        }
    }

    /// How far above the highest id it ends, unless that is too far to be believed.
    #[inline]
    fn ahead(&self, rule: Continuity, ids: Ids) -> Option<i64> {
        let far = if counts_trades(rule) { FAR } else { FAR_UPDATES };
        ids.last.checked_sub(self.last).filter(|ahead| (1..=far).contains(ahead))
    }

    /// True for the very next message. One that names the message before it may have any id: quiet books of a venue
    /// that counts the changes of all books together jump.
    fn continues(&self, rule: Continuity, ids: Ids) -> bool {
        match ids.prev {
            Some(prev) if rule == Continuity::DepthPrevFinal && prev == self.last => ids.last > self.last,
            _ => self.ahead(rule, ids).is_some() && self.before(rule, ids) <= self.last,
        }
    }

    /// True when it is plausible here: a little ahead, a little late, or in a known gap.
    #[inline]
    fn is_near(&self, rule: Continuity, ids: Ids) -> bool {
        let far = if counts_trades(rule) { FAR } else { FAR_UPDATES };
        self.last.abs_diff(ids.last) <= far.unsigned_abs()
            || self.holes.iter().any(|(a, b)| *a <= ids.first && ids.last <= *b)
    }

    /// True when every id in it was delivered.
    fn covers(&self, ids: Ids) -> bool {
        self.spans(ids) && !self.lacks(ids)
    }

    fn spans(&self, ids: Ids) -> bool {
        self.first <= ids.first && ids.last <= self.last
    }

    /// True when a known gap holds some of it.
    fn lacks(&self, ids: Ids) -> bool {
        self.holes.iter().any(|(a, b)| *a <= ids.last && ids.first <= *b)
    }

    fn gap(&self, rule: Continuity, ids: Ids, before: i64) -> Seen {
        match rule {
            Continuity::DepthPrevFinal => Seen::Gap { expected: self.last, got: before },
            _ => Seen::Gap { expected: self.last + 1, got: ids.first },
        }
    }

    #[inline]
    fn judge(&mut self, rule: Continuity, ids: Ids) -> Judged {
        let before = self.before(rule, ids);
        if ids.last <= self.last {
            return self.late(before, ids);
        }
        let gap = self.gap(rule, ids, before);
        let last = std::mem::replace(&mut self.last, ids.last);
        let mut judged = Judged::of(Seen::Continuous, ids.last.abs_diff(before.max(last)));
        if before < last {
            judged.new = judged.new.saturating_add(self.cover(before.saturating_add(1), last, &mut judged));
        }
        let last_trade = self.last_trade;
        self.last_trade = ids.trades.map(|(_, last)| last);
        if before > last {
            self.open_gap(last + 1, before);
            judged.opened = Some((last + 1, before));
            judged.missing = count(last + 1, before);
            judged.seen = gap;
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
    fn late(&mut self, before: i64, ids: Ids) -> Judged {
        let mut judged = Judged::of(Seen::Duplicate, 0);
        judged.new = self.cover(before.saturating_add(1).min(ids.first), ids.last, &mut judged);
        if judged.new > 0 {
            judged.seen = Seen::OutOfOrder;
        }
        judged
    }

    fn open_gap(&mut self, from: i64, to: i64) {
        while self.holes.len() >= MAX_GAPS {
            let (_, forgotten) = self.holes.remove(0);
            self.first = self.first.max(forgotten.saturating_add(1));
            self.forgot = true;
        }
        self.holes.push((from, to));
    }

    /// Notes that `first..=last` (not above the highest id) was delivered; returns how many of them are new.
    /// `judged` gets a gap that shows now, between ids delivered late and the first one known so far.
    #[cold]
    fn cover(&mut self, first: i64, last: i64, judged: &mut Judged) -> u64 {
        let mut new = 0;
        if first < self.first {
            new = count(first, last.min(self.first - 1));
            if last >= self.first - 1 {
                self.first = first;
            } else if self.holes.len() < MAX_GAPS {
                let gap = (last + 1, self.first - 1);
                self.holes.insert(0, gap);
                if !self.forgot {
                    judged.opened = Some(gap);
                    judged.missing = count(gap.0, gap.1);
                }
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
