//! The most recent trades of one symbol, and whether an answer made of them is whole.
//!
//! In the order of their ids, so that what is fetched again later gets its place. A query gets every trade that it
//! requests, or [`Missing`]: never a part that looks like the whole.

use model::Num;
use model::kline::{NO_ID, Tick};

/// Trades kept per symbol: the most that the exchange gives to one request.
pub(crate) const RECENT: usize = 1_000;
/// Gaps remembered; they end when they are filled, or with the trades around them.
const GAPS_MAX: usize = 64;

/// A [`Tick`] without what all trades of a symbol share and what follows from the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    ts_us: i64,
    price: i64,
    amount: i64,
    last_id: i64,
    agg_id: i64,
    /// `last_id - first_id`.
    before: u32,
    count: u32,
    scales: (u8, u8),
    taker_buy: bool,
}

/// What one of them takes, bytes.
pub(super) const STORED_BYTES: u64 = size_of::<Kept>() as u64;

impl Kept {
    /// `None` for numbers with more digits than any market has had.
    fn of(t: &Tick) -> Option<Self> {
        let (price, amount) = (t.price, t.amount);
        Some(Self {
            ts_us: t.ts_us,
            price: i64::try_from(price.mantissa).ok()?,
            amount: i64::try_from(amount.mantissa).ok()?,
            last_id: t.last_id,
            agg_id: t.agg_id,
            // An aggregate of more trades than that is none.
            before: u32::try_from(t.last_id.saturating_sub(t.first_id)).unwrap_or(0),
            count: t.count,
            scales: (price.scale, amount.scale),
            taker_buy: t.taker_buy,
        })
    }

    fn tick(&self, symbol_index: u32) -> Tick {
        Tick {
            symbol_index,
            ts_us: self.ts_us,
            price: Num { mantissa: self.price.into(), scale: self.scales.0 },
            amount: Num { mantissa: self.amount.into(), scale: self.scales.1 },
            first_id: self.last_id.saturating_sub(self.before.into()),
            last_id: self.last_id,
            agg_id: self.agg_id,
            count: self.count,
            taker_buy: self.taker_buy,
        }
    }
}

/// The trades of one symbol that the worker keeps.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// A ring once there is no more room: the oldest one is overwritten.
    ring: Vec<Kept>,
    /// Place of the oldest one.
    oldest: usize,
    /// Id of the newest one. It is here too because reading it there misses every cache, with every trade.
    newest_id: Option<i64>,
    gaps: Vec<(i64, i64)>,
    /// The venue has begun to count again: the first id is not the first trade.
    renewed: bool,
}

impl Recent {
    /// Keeps a trade, `most` at most; returns how much room was taken for it.
    #[inline]
    pub fn put(&mut self, tick: &Tick, most: usize) -> usize {
        // Nearly all of them, when markets are busy. No reference to the trade is taken: by way of the stack each would
        // wait for the store of the one before.
        if self.ring.len() >= most
            && self.follows(tick.last_id)
            && let Some(kept) = Kept::of(tick)
            && let Some(place) = self.ring.get_mut(self.oldest)
        {
            *place = kept;
            self.newest_id = Some(tick.last_id);
            self.oldest += 1;
            if self.oldest >= self.ring.len() {
                self.oldest = 0;
            }
            return 0;
        }
        self.put_anywhere(tick, most)
    }

    /// [`Recent::put`] of one that does not simply follow, or that there is room for.
    #[inline(never)]
    fn put_anywhere(&mut self, tick: &Tick, most: usize) -> usize {
        let Some(kept) = Kept::of(tick) else {
            // Not to be shown is not to be silent about.
            self.gap(tick.ts_us, tick.ts_us);
            return 0;
        };
        let mut at = self.in_order().len();
        if !self.follows(kept.last_id) {
            match self.place(&kept) {
                Some(place) => at = place,
                None => return 0,
            }
        }
        if self.ring.len() >= most {
            if at == 0 {
                // Older than all of them.
                return 0;
            }
            self.ring.remove(0);
            at -= 1;
        }
        let mut room = 0;
        if self.ring.len() == self.ring.capacity() {
            // Doubling would leave a quarter of all there is unused.
            room = self.ring.len().clamp(4, RECENT).min(most.saturating_sub(self.ring.len()).max(1));
            self.ring.reserve_exact(room);
        }
        if at == self.ring.len() {
            self.newest_id = Some(kept.last_id);
        }
        self.ring.insert(at, kept);
        room
    }

    /// True for a trade that comes after all that are kept.
    #[inline]
    fn follows(&self, id: i64) -> bool {
        id == NO_ID || self.newest_id.is_none_or(|newest| id > newest)
    }

    /// Turns the ring so that it begins with the oldest one.
    fn in_order(&mut self) -> &[Kept] {
        self.ring.rotate_left(std::mem::take(&mut self.oldest));
        &self.ring
    }

    /// Where a trade that does not simply follow belongs; `None` for one that is there.
    #[cold]
    fn place(&mut self, kept: &Kept) -> Option<usize> {
        let trades = self.in_order();
        let behind = trades.partition_point(|k| k.last_id < kept.last_id);
        let newest_us = trades.iter().map(|k| k.ts_us).max().unwrap_or(i64::MIN);
        if kept.ts_us > newest_us {
            // Newer than all, with a lower id: the venue counts again.
            self.clear();
            self.renewed = true;
            return Some(0);
        }
        trades.get(behind).is_none_or(|k| k.last_id != kept.last_id).then_some(behind)
    }

    /// Trades between two times are missing.
    #[cold]
    pub fn gap(&mut self, from_us: i64, to_us: i64) {
        if self.gaps.len() >= GAPS_MAX {
            self.gaps.remove(0);
        }
        self.gaps.push((from_us, to_us));
    }

    /// Nothing is missing between two times any more, inclusive.
    #[cold]
    pub fn repaired(&mut self, from_us: i64, to_us: i64) {
        let before = |(from, to): (i64, i64)| Some((from, to.min(from_us.saturating_sub(1))));
        let behind = |(from, to): (i64, i64)| Some((from.max(to_us.saturating_add(1)), to));
        let left = std::mem::take(&mut self.gaps).into_iter().flat_map(|gap| match gap.1 < from_us || to_us < gap.0 {
            true => [Some(gap), None],
            false => [before(gap), behind(gap)].map(|part| part.filter(|(from, to)| from <= to)),
        });
        self.gaps = left.flatten().collect();
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.ring.clear();
        self.oldest = 0;
        self.newest_id = None;
        self.gaps.clear();
    }

    /// Keeps the newest `most` and gives the memory back.
    pub(crate) fn shrink(&mut self, most: usize) {
        let over = self.in_order().len().saturating_sub(most);
        self.ring.drain(..over);
        self.ring.shrink_to(most);
        self.newest_id = self.ring.last().map(|newest| newest.last_id);
    }

    /// Trades there is room for.
    pub fn room(&self) -> usize {
        self.ring.capacity()
    }

    /// What is kept.
    pub fn all(&self, symbol_index: u32) -> RecentTrades {
        let (newer, older) = self.ring.split_at_checked(self.oldest).unwrap_or_default();
        let ticks: Vec<Tick> = older.iter().chain(newer).map(|k| k.tick(symbol_index)).collect();
        // The first trade ever of a symbol has id 0 or 1.
        let begins = !self.renewed && ticks.first().is_some_and(|t| (0..=1).contains(&t.first_id));
        RecentTrades { ticks, gaps: self.gaps.clone(), begins }
    }
}

/// The most recent trades of a symbol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentTrades {
    /// In the order of their ids.
    pub ticks: Vec<Tick>,
    /// Times, us, between which trades are missing that no id shows.
    pub gaps: Vec<(i64, i64)>,
    /// Nothing was traded before the first one.
    pub begins: bool,
}

/// Which trades. Without `from_id` and `start_us` the newest ones, otherwise the oldest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TradeQuery {
    /// From this id on.
    pub from_id: Option<i64>,
    /// From this time on, us.
    pub start_us: Option<i64>,
    /// Up to this time, us, inclusive.
    pub end_us: Option<i64>,
    /// At most this many.
    pub limit: usize,
    /// Ids follow one another without a gap, unless something is missing. False where the venue counts trades that it
    /// does not show.
    pub dense: bool,
}

/// Why the answer would not be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// No trade is kept.
    #[error("no trade of this symbol came since this service began")]
    All,
    /// It begins before what is kept.
    #[error("the oldest trade kept here is {id} of {ts_us} us")]
    Older {
        /// Id of the oldest one.
        id: i64,
        /// Its time, us.
        ts_us: i64,
    },
    /// Trades inside it are missing.
    #[error("trades between ids {after} and {before} are missing")]
    Between {
        /// The last one before them.
        after: i64,
        /// The first one after them.
        before: i64,
    },
}

/// The id that rows are counted by: that of the aggregate, or of the trade.
pub fn row_id(t: &Tick) -> i64 {
    if t.agg_id == NO_ID { t.last_id } else { t.agg_id }
}

impl RecentTrades {
    /// True when something is missing right before trade `at`.
    fn is_torn(&self, at: usize, dense: bool) -> bool {
        let Some((before, t)) = at.checked_sub(1).and_then(|b| self.ticks.get(b)).zip(self.ticks.get(at)) else {
            return false;
        };
        let follows = match (before.agg_id, t.agg_id) {
            (NO_ID, NO_ID) => before.last_id != NO_ID && t.first_id == before.last_id.saturating_add(1),
            (a, b) => b == a.saturating_add(1),
        };
        !follows && (dense || self.gaps.iter().any(|(from, to)| *from <= t.ts_us && *to >= before.ts_us))
    }

    /// Every trade of what was requested, in order.
    ///
    /// # Errors
    /// [`Missing`] when one of them may be missing.
    pub fn select(&self, q: &TradeQuery) -> Result<&[Tick], Missing> {
        let Some(oldest) = self.ticks.first() else { return Err(Missing::All) };
        let older = Missing::Older { id: row_id(oldest), ts_us: oldest.ts_us };
        let behind = q.end_us.map_or(self.ticks.len(), |end| {
            // Times of neighbours may be in another order than their ids.
            self.ticks.iter().rposition(|t| t.ts_us <= end).map_or(0, |at| at + 1)
        });
        let torn = |from: usize, to: usize| (from..=to).rev().find(|at| self.is_torn(*at, q.dense));
        let between = |at: usize| {
            let id = |at: usize| self.ticks.get(at).map_or(NO_ID, row_id);
            Missing::Between { after: id(at.saturating_sub(1)), before: id(at) }
        };
        let (from, to) = if q.from_id.is_some() || q.start_us.is_some() {
            let by_id = q.from_id.map_or(0, |id| self.ticks.partition_point(|t| row_id(t) < id));
            let since = |start| self.ticks.iter().position(|t| t.ts_us >= start).unwrap_or(self.ticks.len());
            let by_time = q.start_us.map_or(0, since);
            let from = by_id.max(by_time);
            if from == 0 && !self.begins && q.from_id != Some(row_id(oldest)) {
                return Err(older);
            }
            // Requested by id, the trade before it is of no interest.
            let first = from + usize::from(q.from_id.is_some() && self.ticks.get(from).map(row_id) == q.from_id);
            let to = behind.min(from.saturating_add(q.limit)).max(from);
            // A gap after the last one is inside when it is time that ends the answer, not the limit.
            let last = if to - from < q.limit { to } else { to.saturating_sub(1) };
            if let Some(at) = torn(first, last) {
                return Err(between(at));
            }
            (from, to)
        } else {
            let from = behind.saturating_sub(q.limit);
            if behind < self.ticks.len() {
                if from == 0 && behind < q.limit && !self.begins {
                    return Err(older);
                }
                if let Some(at) = torn(from + 1, behind) {
                    return Err(between(at));
                }
            }
            // The newest of all: those after the last gap, and as many as there are.
            (torn(from + 1, behind).unwrap_or(from), behind)
        };
        Ok(self.ticks.get(from..to).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tick(id: i64, ts_us: i64) -> Tick {
        let one = Num { mantissa: 1, scale: 2 };
        Tick {
            symbol_index: 3,
            ts_us,
            price: one,
            amount: one,
            first_id: id,
            last_id: id,
            agg_id: NO_ID,
            count: 1,
            taker_buy: id % 2 == 0,
        }
    }

    /// Trades with these ids, a second apart.
    fn trades(ids: impl IntoIterator<Item = i64>) -> Recent {
        let mut recent = Recent::default();
        for id in ids {
            recent.put(&tick(id, id * 1_000_000), RECENT);
        }
        recent
    }

    fn ask(recent: &Recent, q: TradeQuery) -> Result<Vec<i64>, Missing> {
        recent.all(3).select(&q).map(|t| t.iter().map(row_id).collect())
    }

    const ALL: TradeQuery = TradeQuery { from_id: None, start_us: None, end_us: None, limit: 1_000, dense: true };

    #[test]
    fn a_range_that_begins_before_what_is_kept_is_an_error_and_never_the_part_that_is_there() {
        let r = trades(100..150);
        let older = Err(Missing::Older { id: 100, ts_us: 100_000_000 });
        for start in [0, 99_999_999, 100_000_000] {
            // Of the same instant one may have been before it.
            assert_eq!(ask(&r, TradeQuery { start_us: Some(start), ..ALL }), older, "{start}");
        }
        assert_eq!(ask(&r, TradeQuery { from_id: Some(99), ..ALL }), older);
        assert_eq!(ask(&r, TradeQuery { from_id: Some(100), limit: 2, ..ALL }), Ok(vec![100, 101]));
        assert_eq!(ask(&r, TradeQuery { start_us: Some(100_000_001), limit: 2, ..ALL }), Ok(vec![101, 102]));
        let window = TradeQuery { start_us: Some(147_500_000), end_us: Some(149_000_000), ..ALL };
        assert_eq!(ask(&r, window), Ok(vec![148, 149]));
        assert_eq!(ask(&r, TradeQuery { start_us: Some(200_000_000), ..ALL }), Ok(vec![]));
        assert_eq!(ask(&r, TradeQuery { from_id: Some(150), ..ALL }), Ok(vec![]));
        // Up to a time: as many as were requested, or an error.
        assert_eq!(ask(&r, TradeQuery { end_us: Some(101_000_000), limit: 2, ..ALL }), Ok(vec![100, 101]));
        assert_eq!(ask(&r, TradeQuery { end_us: Some(101_000_000), limit: 3, ..ALL }), older);
        assert_eq!(ask(&Recent::default(), ALL), Err(Missing::All));
        // Nothing was before the first trade of all.
        assert_eq!(ask(&trades(1..4), TradeQuery { start_us: Some(0), ..ALL }), Ok(vec![1, 2, 3]));
    }

    #[test]
    fn a_gap_inside_of_what_is_asked_for_is_an_error_until_it_is_filled() {
        let mut r = trades((100..110).chain(112..120));
        let torn = Err(Missing::Between { after: 109, before: 112 });
        assert_eq!(ask(&r, TradeQuery { from_id: Some(105), ..ALL }), torn);
        assert_eq!(ask(&r, TradeQuery { from_id: Some(110), ..ALL }), torn);
        assert_eq!(ask(&r, TradeQuery { start_us: Some(105_000_000), end_us: Some(111_000_000), ..ALL }), torn);
        assert_eq!(ask(&r, TradeQuery { end_us: Some(115_000_000), limit: 8, ..ALL }), torn);
        // Outside of it all is there, and the newest ones are those after it.
        assert_eq!(ask(&r, TradeQuery { from_id: Some(105), limit: 5, ..ALL }), Ok((105..110).collect()));
        assert_eq!(ask(&r, TradeQuery { from_id: Some(112), ..ALL }), Ok((112..120).collect()));
        assert_eq!(ask(&r, TradeQuery { limit: 15, ..ALL }), Ok((112..120).collect()));
        // Fetched again, in any order, and one of them twice.
        for id in [111, 110, 111] {
            r.put(&tick(id, id * 1_000_000), RECENT);
        }
        assert_eq!(ask(&r, TradeQuery { from_id: Some(105), ..ALL }), Ok((105..120).collect()));
    }

    #[test]
    fn where_ids_jump_by_themselves_only_a_reported_gap_is_one() {
        let mut r = trades([100, 101, 105, 106]);
        let q = TradeQuery { from_id: Some(100), dense: false, ..ALL };
        assert_eq!(ask(&r, q), Ok(vec![100, 101, 105, 106]));
        r.gap(101_000_000, 105_000_000);
        assert_eq!(ask(&r, q), Err(Missing::Between { after: 101, before: 105 }));
        r.repaired(60_000_000, 119_999_999);
        assert_eq!(ask(&r, q), Ok(vec![100, 101, 105, 106]));
        let huge = Tick { amount: Num { mantissa: 1 << 80, scale: 2 }, ..tick(107, 107_000_000) };
        r.put(&huge, RECENT);
        r.put(&tick(108, 108_000_000), RECENT);
        assert_eq!(ask(&r, q), Err(Missing::Between { after: 106, before: 108 }), "one that cannot be kept");
    }

    #[test]
    fn trades_are_kept_as_they_came_the_newest_of_them_also_when_ids_begin_again() {
        let mut r = Recent::default();
        let mut t = tick(7, 5);
        (t.first_id, t.agg_id, t.count) = (3, 99, 5);
        assert_eq!(r.put(&t, 2), 2);
        assert_eq!(r.all(3).ticks, [t]);
        for id in [8, 9, 2] {
            r.put(&tick(id, 6), 2);
        }
        assert_eq!(r.all(3).ticks.iter().map(|t| t.last_id).collect::<Vec<_>>(), [8, 9]);
        r.put(&tick(1, 7), 2);
        assert_eq!(r.all(3).ticks.iter().map(|t| t.last_id).collect::<Vec<_>>(), [1]);
        for ts in [8, 9, 10] {
            r.put(&tick(NO_ID, ts), 2);
        }
        assert_eq!(r.all(3).ticks.iter().map(|t| t.ts_us).collect::<Vec<_>>(), [9, 10]);
        r.shrink(1);
        assert_eq!((r.all(3).ticks.len(), r.room()), (1, 1));
    }
}
