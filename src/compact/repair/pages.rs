//! Which request of a gap is next. Pure.
//!
//! Venues page in two ways, and [`venue::Venue::repair_request`] hides which: by id (Binance: `from` moves on, `fill` says
//! how far one request reaches) and by page number over a time (Gate). A request that would be the same as the one
//! before has nothing new to say: the ids it reaches are not there.

use super::range::MissingRange;
use model::{Channel, Rows};
use venue::gap::count;
use venue::{Missing, RestRequest};

/// Most requests of one pass.
const REQUESTS_MAX: u32 = 5_000;
/// An empty JSON list, with blanks.
const EMPTY_BYTES: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pages {
    gap: MissingRange,
    /// One bit per id.
    got: Vec<u64>,
    got_count: u64,
    /// Ids below are settled in this pass: there, or not to be had.
    from: i64,
    page: u32,
    /// The request before.
    last: Option<String>,
    ended: bool,
    requests: u32,
}

impl Pages {
    /// Those of a gap of which the repair log has `got` already, both ends included.
    pub(super) fn new(gap: &MissingRange, got: &[(i64, i64)]) -> Self {
        let words = count(gap.from, gap.to).div_ceil(64) as usize;
        let mut pages = Self {
            gap: gap.clone(),
            got: vec![0; words],
            got_count: 0,
            from: gap.from,
            page: 0,
            last: None,
            ended: false,
            requests: 0,
        };
        let inside = got.iter().map(|(from, to)| (*from).max(gap.from)..=(*to).min(gap.to));
        inside.flatten().for_each(|id| pages.note(id));
        pages
    }

    /// Ids that came.
    pub(super) fn got(&self) -> u64 {
        self.got_count
    }

    pub(super) fn is_complete(&self) -> bool {
        self.got_count == count(self.gap.from, self.gap.to)
    }

    /// Requests made, in all passes.
    pub(super) fn requests(&self) -> u32 {
        self.requests
    }

    /// Another pass for what is missing; also where a request of this one failed.
    pub(super) fn again(&mut self) {
        (self.from, self.page, self.last, self.ended) = (self.gap.from, 0, None, false);
    }

    /// The next request, as `request_for` (the venue) makes it; `None` when the pass is over.
    pub(super) fn next(&mut self, request_for: impl Fn(&Missing<'_>) -> Option<RestRequest>) -> Option<RestRequest> {
        while !self.ended && !self.is_complete() && self.page < REQUESTS_MAX {
            while self.from <= self.gap.to && self.has(self.from) {
                self.from += 1;
            }
            if self.from > self.gap.to {
                return None;
            }
            let missing = Missing {
                channel: self.gap.channel,
                symbol: &self.gap.symbol,
                from: self.from,
                to: self.gap.to,
                after_us: self.gap.after_us,
                before_us: self.gap.before_us,
                page: self.page,
            };
            let request = request_for(&missing)?;
            if self.last.as_ref() == Some(&request.path_and_query) {
                self.beyond(&request);
                continue;
            }
            self.last = Some(request.path_and_query.clone());
            self.page += 1;
            self.requests += 1;
            return Some(request);
        }
        None
    }

    /// Notes the rows of an answer of `bytes` bytes; returns how many of them are new.
    pub(super) fn answered(&mut self, request: &RestRequest, rows: &Rows, bytes: usize) -> u64 {
        let before = self.got_count;
        match self.gap.channel {
            Channel::AggTrades => rows.agg_trades.iter().for_each(|r| self.note(r.agg_id)),
            _ => rows.trades.iter().filter_map(|r| r.id).for_each(|id| self.note(id)),
        }
        if bytes <= EMPTY_BYTES {
            self.beyond(request);
        }
        self.got_count - before
    }

    /// What `request` reaches is not to be had.
    fn beyond(&mut self, request: &RestRequest) {
        match request.fill {
            Some(fill) if fill.to < self.gap.to => self.from = self.from.max(fill.to + 1),
            _ => self.ended = true,
        }
    }

    fn index(&self, id: i64) -> Option<(usize, u64)> {
        let at = (self.gap.from..=self.gap.to).contains(&id).then(|| id.abs_diff(self.gap.from))?;
        Some(((at / 64) as usize, 1 << (at % 64)))
    }

    fn has(&self, id: i64) -> bool {
        self.index(id).is_some_and(|(word, bit)| self.got.get(word).is_some_and(|w| w & bit != 0))
    }

    fn note(&mut self, id: i64) {
        let Some((word, bit)) = self.index(id) else { return };
        if let Some(w) = self.got.get_mut(word).filter(|w| **w & bit == 0) {
            *w |= bit;
            self.got_count += 1;
        }
    }
}
