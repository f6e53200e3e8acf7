//! Trades that follow one another inside one minute, summed once instead of once per interval. Knows nothing of
//! intervals: the owner of the bars says in which minute and after which id a run may go on.

use model::kline::{FLAT, KlineData, NO_ID, Scaled};

const MINUTE_US: i64 = 60_000_000;

/// A run of trades; adding it to a bar gives what adding its trades one by one gives.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    /// The minute, us; `None`: the next trade must go the whole way.
    minute_us: Option<i64>,
    /// Id of the last trade in the run, or, when it is empty, in any of the bars.
    last_id: i64,
    first_id: i64,
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    volume: i128,
    quote: i128,
    taker_buy_volume: i128,
    taker_buy_quote: i128,
    count: u64,
    flags: u16,
}

impl Run {
    /// From here on trades of this minute with ids after `last_id` belong into all open bars, at their end.
    pub fn begin(&mut self, minute_us: i64, last_id: i64) {
        *self = Self { minute_us: Some(minute_us), last_id, ..Self::default() };
    }

    /// Something else than trades changes the bars: the next trade must go the whole way.
    pub fn stop(&mut self) {
        self.minute_us = None;
    }

    /// True when it holds no trade.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes a trade; false when it does not simply follow.
    #[inline]
    pub fn take(&mut self, ts_us: i64, t: &Scaled) -> bool {
        let Some(minute_us) = self.minute_us else { return false };
        // Without ids the order of arrival counts; a trade of no trades is left to the bars.
        let follows = t.first_id > self.last_id || (t.first_id == NO_ID && self.last_id == NO_ID);
        if !(0..MINUTE_US).contains(&ts_us.wrapping_sub(minute_us)) || !follows || t.count == 0 {
            return false;
        }
        if self.count == 0 {
            (self.open, self.high, self.low) = (t.price, t.price, t.price);
            self.first_id = t.first_id;
        } else {
            self.high = self.high.max(t.price);
            self.low = self.low.min(t.price);
        }
        self.close = t.price;
        self.last_id = t.last_id;
        self.volume += t.amount;
        self.quote += t.quote;
        self.count += t.count;
        self.flags |= t.flags;
        if t.taker_buy {
            self.taker_buy_volume += t.amount;
            self.taker_buy_quote += t.quote;
        }
        true
    }

    /// Puts the run into a bar, at its end.
    #[inline]
    pub(crate) fn add_to(&self, bar: &mut KlineData) {
        if bar.trade_count == 0 {
            (bar.open, bar.high, bar.low) = (self.open, self.high, self.low);
            bar.first_trade_id = self.first_id;
            bar.flags &= !FLAT;
        } else {
            bar.high = bar.high.max(self.high);
            bar.low = bar.low.min(self.low);
        }
        (bar.close, bar.last_trade_id) = (self.close, self.last_id);
        bar.flags |= self.flags;
        bar.volume += self.volume;
        bar.quote_volume += self.quote;
        bar.taker_buy_volume += self.taker_buy_volume;
        bar.taker_buy_quote_volume += self.taker_buy_quote;
        bar.trade_count += self.count;
    }

    /// The trades are in the bars now; the same minute goes on.
    #[inline]
    pub fn clear(&mut self) {
        *self = Self { minute_us: self.minute_us, last_id: self.last_id, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::super::generator::KlineGenerator;
    use model::Num;
    use model::{Interval, KlineData, Tick};

    use super::{MINUTE_US, NO_ID};

    #[derive(Clone, Debug)]
    enum Step {
        /// Us after the latest trade (late ones: before it), id after the latest, price, scale of both, bought.
        Trade(i64, i64, i64, u8, bool),
        /// A trade of a venue without ids.
        Nameless(i64, i64),
        Clock(i64),
        Gap(i64),
        Seed(Interval, i64),
        /// The batch ends.
        Settle,
    }

    fn step() -> impl Strategy<Value = Step> {
        let trade = |us: std::ops::Range<i64>, id: std::ops::Range<i64>| {
            (us, id, 1_i64..9_999, 0_u8..4, any::<bool>()).prop_map(|(us, id, p, s, b)| Step::Trade(us, id, p, s, b))
        };
        prop_oneof![
            12 => trade(0..3_000_000, 1..3),
            2 => trade(-200_000_000..200_000_000, -5..5),
            1 => (0_i64..9_000_000, 1_i64..999).prop_map(|(us, p)| Step::Nameless(us, p)),
            1 => (0_i64..100_000_000).prop_map(Step::Clock),
            1 => (0_i64..100_000_000).prop_map(Step::Gap),
            1 => (0..Interval::COUNT, 0_i64..20).prop_map(|(i, id)| Step::Seed(Interval::ALL[i], id)),
            3 => Just(Step::Settle),
        ]
    }

    proptest! {
        #[test]
        fn trades_gathered_in_batches_give_the_bars_and_events_of_single_ones(
            steps in prop::collection::vec(step(), 1..300)
        ) {
            let (mut one, mut many) = (KlineGenerator::new(), KlineGenerator::new());
            let (mut events_one, mut events_many) = (Vec::new(), Vec::new());
            // 30 s into a Monday's first minute, and an id that leaves room for late ones.
            let (mut ts, mut id) = (1_722_816_030_000_000_i64, 100_i64);
            for step in steps {
                let tick = |ts_us: i64, id: i64, price: i64, scale: u8, taker_buy: bool| Tick {
                    symbol_index: 0,
                    ts_us,
                    price: Num { mantissa: price.into(), scale },
                    amount: Num { mantissa: (1 + price % 7).into(), scale },
                    first_id: id,
                    last_id: id,
                    agg_id: NO_ID,
                    count: 1,
                    taker_buy,
                };
                match step {
                    Step::Trade(us, after, price, scale, buy) => {
                        let t = tick(ts + us, id + after, price, scale, buy);
                        prop_assert_eq!(one.apply(&t, &mut events_one), many.gather(&t, &mut events_many));
                        (ts, id) = (ts.max(t.ts_us), id.max(t.last_id));
                    }
                    Step::Nameless(us, price) => {
                        let t = tick(ts + us, NO_ID, price, 2, true);
                        prop_assert_eq!(one.apply(&t, &mut events_one), many.gather(&t, &mut events_many));
                        ts = t.ts_us;
                    }
                    Step::Clock(us) => {
                        let a = one.close_until(ts + us, &mut events_one);
                        prop_assert_eq!(a, many.close_until(ts + us, &mut events_many));
                    }
                    Step::Gap(us) => {
                        one.gap(ts - us, ts, us % 2 == 0, &mut events_one);
                        many.gap(ts - us, ts, us % 2 == 0, &mut events_many);
                    }
                    Step::Seed(interval, after) => {
                        let bar = KlineData {
                            last_trade_id: id + after,
                            trade_count: 3,
                            ..KlineData::flat(interval.open_of(ts), 77, 1, 1)
                        };
                        one.seed(interval, bar);
                        many.seed(interval, bar);
                    }
                    Step::Settle => many.settle(),
                }
                prop_assert_eq!(&events_one, &events_many);
                if many.run_is_empty() {
                    prop_assert_eq!(one.open_bars(), many.open_bars());
                }
            }
            many.settle();
            prop_assert_eq!(one.open_bars(), many.open_bars());
        }
    }

    #[test]
    fn trades_of_one_minute_do_not_touch_the_bars_before_the_batch_ends() {
        let mut g = KlineGenerator::new();
        for id in 0..5 {
            let t = Tick {
                symbol_index: 0,
                ts_us: 10 * MINUTE_US + id,
                price: Num { mantissa: (5 + id).into(), scale: 0 },
                amount: Num { mantissa: 1, scale: 0 },
                first_id: id,
                last_id: id,
                agg_id: NO_ID,
                count: 1,
                taker_buy: true,
            };
            g.gather(&t, &mut Vec::new()).unwrap();
        }
        assert!(!g.run_is_empty());
        g.settle();
        assert_eq!((g.open_bars()[0].trade_count, g.open_bars()[6].close), (5, 9));
    }
}
