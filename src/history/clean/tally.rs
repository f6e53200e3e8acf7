//! What the rows of a unit are: how many, from when to when, which ids and intervals are missing. Counted row by row
//! while they pass, in bounded memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::row::{CandleRules, FAULTS, Row};

/// Most gaps that are listed one by one; all are counted.
pub(crate) const MAX_HOLES: usize = 1_000;

/// Ids or times that are missing, first and last missing one, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveGap {
    /// First missing id, or open time in us.
    pub from: i64,
    /// Last missing id, or open time in us.
    pub to: i64,
    /// Ids or rows missing.
    pub missing: u64,
    /// Time of the row before, us.
    pub after_us: i64,
    /// Time of the row after, us.
    pub before_us: i64,
}

/// Gaps of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveGaps {
    /// How many.
    pub count: u64,
    /// Ids or rows missing in all of them.
    pub missing: u64,
    /// The first [`MAX_HOLES`].
    pub list: Vec<ArchiveGap>,
}

impl ArchiveGaps {
    /// Counts one.
    pub fn add(&mut self, gap: ArchiveGap) {
        self.count = self.count.saturating_add(1);
        self.missing = self.missing.saturating_add(gap.missing);
        if self.list.len() < MAX_HOLES {
            self.list.push(gap);
        }
    }

    /// Adds those of a later stretch.
    pub fn extend(&mut self, later: &ArchiveGaps) {
        self.count = self.count.saturating_add(later.count);
        self.missing = self.missing.saturating_add(later.missing);
        let room = MAX_HOLES.saturating_sub(self.list.len());
        self.list.extend(later.list.iter().take(room));
    }
}

/// Rows of one kind of fault that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Open time of the first, us.
    pub from_us: i64,
    /// Open time of the last, us.
    pub last_us: i64,
    /// Where the last one should end, us.
    pub end_us: i64,
    /// How many.
    pub rows: u64,
}

/// Rows that contradict themselves in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faulty {
    /// How many.
    pub rows: u64,
    /// The first [`MAX_HOLES`] stretches of them.
    pub list: Vec<Stretch>,
}

impl Faulty {
    fn add(&mut self, open_us: i64, end_us: i64) {
        self.rows = self.rows.saturating_add(1);
        let len = end_us.saturating_sub(open_us);
        let near = |last: &&mut Stretch| open_us.saturating_sub(last.last_us) <= len.saturating_add(len / 2);
        if let Some(last) = self.list.last_mut().filter(near) {
            (last.last_us, last.end_us, last.rows) = (open_us, end_us, last.rows.saturating_add(1));
        } else if self.list.len() < MAX_HOLES {
            self.list.push(Stretch { from_us: open_us, last_us: open_us, end_us, rows: 1 });
        }
    }

    fn extend(&mut self, later: &Faulty) {
        self.rows = self.rows.saturating_add(later.rows);
        let room = MAX_HOLES.saturating_sub(self.list.len());
        self.list.extend(later.list.iter().take(room));
    }
}

/// The end of a stretch of rows: what continues it, what does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Time, us.
    pub time_us: i64,
    /// Its id, where rows count up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<i64>,
    /// Id of the trade at this end, in aggregates.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trade_id: Option<i64>,
    /// Time to the next row of an unbroken series, us.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step_us: Option<i64>,
}

/// The sum of the rows of a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows.
    pub rows: u64,
    /// Earliest time, us.
    pub earliest_us: Option<i64>,
    /// Latest time, us.
    pub latest_us: Option<i64>,
    /// Longest time between two rows, us.
    pub longest_pause_us: i64,
    /// Rows whose time lies before that of the row with the id before.
    pub time_backwards: u64,
    /// Numbers that lost digits after their point.
    pub lossy: u64,
    /// Ids, or rows of a fixed step, that are in two months.
    #[serde(default, skip_serializing_if = "is_none")]
    pub repeated: u64,
    /// Aggregates whose trades begin before those of the one before end.
    #[serde(default, skip_serializing_if = "is_none")]
    pub trade_ids_repeated: u64,
    /// Candles that contradict themselves, by [`FAULTS`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub faults: BTreeMap<String, Faulty>,
    /// Missing ids.
    pub ids: ArchiveGaps,
    /// Missing ids of trades between aggregates.
    pub trade_ids: ArchiveGaps,
    /// Missing rows of a series with a fixed step.
    pub times: ArchiveGaps,
    /// The first row.
    pub first: Option<Edge>,
    /// The last row.
    pub last: Option<Edge>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(super) fn is_none(n: &u64) -> bool {
    *n == 0
}

/// What the row before has to do with a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// Ids or intervals are missing before it.
    pub gap: bool,
    /// Its time is before that of the row before.
    pub backwards: bool,
}

impl Tally {
    /// Counts rows and says of each what the one before has to do with it. `step_us`: the fixed step of the series,
    /// where the row does not say it itself; `rules`: what its candles must be.
    #[inline]
    pub(crate) fn add<R: Row>(
        &mut self,
        rows: &[R],
        step_us: Option<i64>,
        rules: Option<&CandleRules>,
        mut each: impl FnMut(&R, Step),
    ) {
        let Some(first) = rows.first() else { return };
        let edge = |row: &R, ids: Option<i64>, inner: Option<i64>| Edge {
            time_us: row.time_us(),
            id: ids,
            trade_id: inner,
            step_us: row.step_us().or(step_us),
        };
        let start = |row: &R| edge(row, row.ids().map(|i| i.0), row.inner_ids().map(|i| i.0));
        self.first.get_or_insert_with(|| start(first));
        // Kept here, not in memory, while rows pass.
        let (mut last, mut lossy) = (self.last, 0);
        let mut earliest = self.earliest_us.unwrap_or(i64::MAX);
        let mut latest = self.latest_us.unwrap_or(i64::MIN);
        for row in rows {
            let step = match &last {
                Some(last) => self.join(last, &start(row)),
                None => Step::default(),
            };
            if let Some(rules) = rules {
                self.note_faults(row.faults(rules), row.time_us(), rules);
            }
            lossy += u64::from(row.origin().has(super::row::Origin::LOSSY));
            earliest = earliest.min(row.time_us());
            latest = latest.max(row.time_us());
            last = Some(edge(row, row.ids().map(|i| i.1), row.inner_ids().map(|i| i.1)));
            each(row, step);
        }
        self.rows += rows.len() as u64;
        self.lossy += lossy;
        (self.earliest_us, self.latest_us, self.last) = (Some(earliest), Some(latest), last);
    }

    fn note_faults(&mut self, faults: u16, open_us: i64, rules: &CandleRules) {
        for (_, name) in FAULTS.iter().enumerate().filter(|(bit, _)| faults >> bit & 1 != 0) {
            self.faults.entry((*name).to_owned()).or_default().add(open_us, rules.end_of(open_us));
        }
    }

    /// Counts what lies between two rows that follow each other.
    #[inline]
    fn join(&mut self, last: &Edge, first: &Edge) -> Step {
        let (after_us, before_us) = (last.time_us, first.time_us);
        let gap = |from: i64, to: i64, missing: i64| ArchiveGap {
            from,
            to,
            missing: missing.max(0).unsigned_abs(),
            after_us,
            before_us,
        };
        let mut step = Step { gap: false, backwards: before_us < after_us };
        self.time_backwards += u64::from(step.backwards);
        let pause_us = before_us.saturating_sub(after_us);
        self.longest_pause_us = self.longest_pause_us.max(pause_us);
        // Inside a month keys only grow: what repeats does so over an edge.
        match (last.id, first.id) {
            (Some(a), Some(b)) if b > a.saturating_add(1) => {
                self.ids.add(gap(a.saturating_add(1), b.saturating_sub(1), b.saturating_sub(a).saturating_sub(1)));
                step.gap = true;
            }
            (Some(a), Some(b)) if b <= a => {
                self.repeated = self.repeated.saturating_add(a.abs_diff(b).saturating_add(1));
            }
            (None, None) if last.step_us.is_some() && before_us <= after_us => {
                self.repeated = self.repeated.saturating_add(1);
            }
            _ => {}
        }
        match (last.trade_id, first.trade_id) {
            (Some(a), Some(b)) if b > a.saturating_add(1) => {
                self.trade_ids.add(gap(
                    a.saturating_add(1),
                    b.saturating_sub(1),
                    b.saturating_sub(a).saturating_sub(1),
                ));
                step.gap = true;
            }
            (Some(a), Some(b)) if b <= a => self.trade_ids_repeated = self.trade_ids_repeated.saturating_add(1),
            _ => {}
        }
        if let Some(len) = last.step_us.filter(|len| *len > 0)
            && pause_us > len.saturating_add(len / 2)
        {
            // Rounded: funding comes a few ms after the full hour.
            let missing = pause_us.saturating_add(len / 2) / len - 1;
            let (from, to) = (after_us.saturating_add(len), after_us.saturating_add(len.saturating_mul(missing)));
            self.times.add(gap(from, to, missing));
            step.gap = true;
        }
        step
    }

    /// Adds a later stretch of the same series, and what is missing between the two.
    pub fn extend(&mut self, later: &Tally) {
        if let (Some(last), Some(first)) = (self.last, later.first) {
            self.join(&last, &first);
        }
        self.rows = self.rows.saturating_add(later.rows);
        self.repeated = self.repeated.saturating_add(later.repeated);
        self.trade_ids_repeated = self.trade_ids_repeated.saturating_add(later.trade_ids_repeated);
        for (name, faulty) in &later.faults {
            self.faults.entry(name.clone()).or_default().extend(faulty);
        }
        self.longest_pause_us = self.longest_pause_us.max(later.longest_pause_us);
        self.time_backwards = self.time_backwards.saturating_add(later.time_backwards);
        self.lossy = self.lossy.saturating_add(later.lossy);
        self.ids.extend(&later.ids);
        self.trade_ids.extend(&later.trade_ids);
        self.times.extend(&later.times);
        self.earliest_us = self.earliest_us.into_iter().chain(later.earliest_us).min();
        self.latest_us = self.latest_us.max(later.latest_us);
        self.first = self.first.or(later.first);
        self.last = later.last.or(self.last);
    }
}
