//! One candle in exact integers, and the trade that changes it.
//!
//! Prices are mantissas at `price_scale`, volumes at `amount_scale`, quote volumes at the sum of both. The scales
//! stand in each bar, so a bar can be read alone. Nothing is ever summed in floats.
//!
//! ```text
//!  words of a stored bar (u64 each)
//!   0 open_time  1..5 open high low close  5..13 volume, quote, taker buy, taker buy quote (i128: low, high)
//!  13 trade_count  14 first_trade_id  15 last_trade_id  16 revision u32 | flags u16 | price_scale u8 | amount_scale u8
//! ```

use super::unit::Unit;
use crate::Num;

/// The bar is closed: it changes only by a revision.
pub const FINAL: u16 = 1;
/// Trades of its time are missing and not repaired yet.
pub const GAP: u16 = 2;
/// It began with the venue's own candle, because recording began inside it.
pub const SEEDED: u16 = 4;
/// No trade in it: the close before, no volume.
pub const FLAT: u16 = 8;

/// It lacks some sums (trade count, quote or taker volumes), those are 0: the venue's own candles have none, or they are
/// ours of contracts whose size was not known.
pub const SPARSE: u16 = 16;

/// Made by the venue: kept for its close, never added to, marked or stored. In memory only.
pub const FOREIGN: u16 = 1 << 15;

/// Open time of a slot without a bar.
const EMPTY: i64 = i64::MIN;

/// Trade id of venues without numeric ids, and of bars without a trade.
pub const NO_ID: i64 = -1;

/// A candle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KlineData {
    /// First instant, us since epoch.
    pub open_time_us: i64,
    /// Price of the first trade.
    pub open: i64,
    /// Highest price.
    pub high: i64,
    /// Lowest price.
    pub low: i64,
    /// Price of the last trade.
    pub close: i64,
    /// Base volume.
    pub volume: i128,
    /// Quote volume.
    pub quote_volume: i128,
    /// Base volume of buying takers.
    pub taker_buy_volume: i128,
    /// Quote volume of buying takers.
    pub taker_buy_quote_volume: i128,
    /// Number of trades.
    pub trade_count: u64,
    /// Id of the first trade, [`NO_ID`] for none.
    pub first_trade_id: i64,
    /// Id of the last trade, [`NO_ID`] for none.
    pub last_trade_id: i64,
    /// 0 when first closed, plus 1 with every later change: a trade that comes late, another close that a flat bar goes on
    /// at, a mark set or taken. It is a matter of the records, not of when bars are stored: kills do not change it.
    pub revision: u32,
    /// [`FINAL`], [`GAP`], [`SEEDED`], [`FLAT`], [`SPARSE`].
    pub flags: u16,
    /// Decimals of prices.
    pub price_scale: u8,
    /// Decimals of amounts.
    pub amount_scale: u8,
}

/// One trade, or one aggregate of trades at one price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Index in the registry.
    pub symbol_index: u32,
    /// Time of the match, us since epoch.
    pub ts_us: i64,
    /// Price.
    pub price: Num,
    /// Amount.
    pub amount: Num,
    /// First trade id, [`NO_ID`] where the venue has none.
    pub first_id: i64,
    /// Last trade id.
    pub last_id: i64,
    /// Id of the aggregate, [`NO_ID`] for a single trade.
    pub agg_id: i64,
    /// Trades in it.
    pub count: u32,
    /// The taker bought.
    pub taker_buy: bool,
}

/// A tick at the scales of its symbol.
#[derive(Clone, Copy, Debug)]
pub struct Scaled {
    /// At the price scale.
    pub price: i64,
    /// At the amount scale.
    pub amount: i128,
    /// Price times amount, at the sum of both scales; 0 where it is not known.
    pub quote: i128,
    /// First id of an aggregate, or the only one.
    pub first_id: i64,
    /// Last id.
    pub last_id: i64,
    /// Trades.
    pub count: u64,
    /// The taker bought.
    pub taker_buy: bool,
    /// [`SPARSE`] where the quote volume is not known.
    pub flags: u16,
}

/// One trade's amount and quote amount are below; a hundred of them fit a sum.
const ONE_TRADE_END: i128 = 10_i128.pow(36);
/// Decimals of a bar's prices, and of its amounts. A single trade with more would leave no room for the sums of others.
const DECIMALS_MAX: u8 = 18;

/// `value * 10^by`, `None` when it does not fit.
fn shift(value: i64, by: u8) -> Option<i64> {
    value.checked_mul(10_i64.checked_pow(by.into())?)
}

fn shift_wide(value: i128, by: u8) -> Option<i128> {
    value.checked_mul(10_i128.checked_pow(by.into())?)
}

impl Scaled {
    /// `None` when the tick does not fit these scales, or is so large that a few of them would not fit a sum.
    #[inline]
    pub fn of(tick: &Tick, price_scale: u8, amount_scale: u8, unit: Unit) -> Option<Scaled> {
        let price = i64::try_from(tick.price.mantissa).ok()?;
        let price = match price_scale.checked_sub(tick.price.scale)? {
            0 => price,
            by => shift(price, by)?,
        };
        let more = amount_scale.checked_sub(tick.amount.scale)?;
        more.checked_sub(unit.scale())?;
        let amount = match more {
            0 => tick.amount.mantissa,
            by => shift_wide(tick.amount.mantissa, by)?,
        };
        let quote = unit.quote(price, price_scale, amount)?;
        let fits = amount.max(quote) < ONE_TRADE_END && price_scale.max(amount_scale) <= DECIMALS_MAX;
        fits.then_some(Scaled {
            price,
            amount,
            quote,
            flags: if unit == Unit::Unknown { SPARSE } else { 0 },
            first_id: tick.first_id,
            last_id: tick.last_id,
            count: tick.count.into(),
            taker_buy: tick.taker_buy,
        })
    }
}

impl Default for KlineData {
    fn default() -> Self {
        Self {
            open_time_us: EMPTY,
            open: 0,
            high: 0,
            low: 0,
            close: 0,
            volume: 0,
            quote_volume: 0,
            taker_buy_volume: 0,
            taker_buy_quote_volume: 0,
            trade_count: 0,
            first_trade_id: NO_ID,
            last_trade_id: NO_ID,
            revision: 0,
            flags: 0,
            price_scale: 0,
            amount_scale: 0,
        }
    }
}

impl KlineData {
    /// Words of the stored form.
    pub const WORDS: usize = 17;

    /// No bar yet.
    pub fn is_empty(&self) -> bool {
        self.open_time_us == EMPTY
    }

    /// This feed did not make it.
    pub fn is_foreign(&self) -> bool {
        self.flags & FOREIGN != 0
    }

    /// True for a closed bar.
    pub fn is_final(&self) -> bool {
        self.flags & FINAL != 0
    }

    /// A bar without a trade that goes on at `price`.
    pub fn flat(open_time_us: i64, price: i64, price_scale: u8, amount_scale: u8) -> Self {
        Self {
            open_time_us,
            open: price,
            high: price,
            low: price,
            close: price,
            flags: FLAT,
            price_scale,
            amount_scale,
            ..Self::default()
        }
    }

    /// Adds a trade of this bar's time. Open and close follow the trade ids where there are any, the order of
    /// arrival otherwise, so a late trade changes them only when it belongs first or last.
    #[inline]
    pub fn add(&mut self, t: &Scaled) {
        if self.trade_count == 0 {
            (self.open, self.high, self.low, self.close) = (t.price, t.price, t.price, t.price);
            (self.first_trade_id, self.last_trade_id) = (t.first_id, t.last_id);
            self.flags &= !FLAT;
        } else {
            self.high = self.high.max(t.price);
            self.low = self.low.min(t.price);
            if t.first_id == NO_ID || t.last_id >= self.last_trade_id {
                self.close = t.price;
                self.last_trade_id = t.last_id;
            } else if t.first_id < self.first_trade_id {
                self.open = t.price;
                self.first_trade_id = t.first_id;
            }
        }
        self.flags |= t.flags;
        self.volume += t.amount;
        self.quote_volume += t.quote;
        self.trade_count += t.count;
        if t.taker_buy {
            self.taker_buy_volume += t.amount;
            self.taker_buy_quote_volume += t.quote;
        }
    }

    /// The bar with one more trade, which may come in any order; `None` when its numbers do not fit a bar.
    pub fn with(&self, tick: &Tick, unit: Unit) -> Option<Self> {
        let amount_scale = tick.amount.scale.checked_add(unit.scale())?;
        let (price, amount) = (self.price_scale.max(tick.price.scale), self.amount_scale.max(amount_scale));
        let mut bar = self.rescaled(price, amount)?;
        // One without a trade keeps no scales of its own.
        (bar.price_scale, bar.amount_scale) = (price, amount);
        bar.add(&Scaled::of(tick, price, amount, unit)?);
        Some(bar)
    }

    /// This bar and a later part of the same one as a whole, with the flags of this; `None` when a number does not
    /// fit.
    pub fn joined(self, later: &Self) -> Option<Self> {
        let (p, a) = (self.price_scale.max(later.price_scale), self.amount_scale.max(later.amount_scale));
        let (first, later) = (self.rescaled(p, a)?, later.rescaled(p, a)?);
        Some(Self {
            high: first.high.max(later.high),
            low: first.low.min(later.low),
            close: later.close,
            volume: first.volume.checked_add(later.volume)?,
            quote_volume: first.quote_volume.checked_add(later.quote_volume)?,
            taker_buy_volume: first.taker_buy_volume.checked_add(later.taker_buy_volume)?,
            taker_buy_quote_volume: first.taker_buy_quote_volume.checked_add(later.taker_buy_quote_volume)?,
            trade_count: first.trade_count.checked_add(later.trade_count)?,
            last_trade_id: later.last_trade_id,
            ..first
        })
    }

    /// The same bar with more decimals; `None` when a number does not fit then.
    pub fn rescaled(mut self, price_scale: u8, amount_scale: u8) -> Option<Self> {
        let (p, a) = (price_scale.checked_sub(self.price_scale)?, amount_scale.checked_sub(self.amount_scale)?);
        if self.is_empty() || (p == 0 && a == 0) {
            return Some(self);
        }
        for price in [&mut self.open, &mut self.high, &mut self.low, &mut self.close] {
            *price = shift(*price, p)?;
        }
        for volume in [&mut self.volume, &mut self.taker_buy_volume] {
            *volume = shift_wide(*volume, a)?;
        }
        for quote in [&mut self.quote_volume, &mut self.taker_buy_quote_volume] {
            *quote = shift_wide(shift_wide(*quote, p)?, a)?;
        }
        (self.price_scale, self.amount_scale) = (price_scale, amount_scale);
        Some(self)
    }

    /// A bar of version 1, whose quote volumes were price times contracts, with those of its unit; `None` when a number
    /// does not fit.
    pub fn multiplied(self, unit: Unit) -> Option<Self> {
        let of_price = match unit {
            Unit::Base => return Some(self),
            Unit::Unknown => {
                return Some(Self { quote_volume: 0, taker_buy_quote_volume: 0, flags: self.flags | SPARSE, ..self });
            }
            Unit::Contract(size) => Some(size.mantissa),
            Unit::Inverse(_) => None,
        };
        let wide = self.rescaled(self.price_scale, self.amount_scale.checked_add(unit.scale())?)?;
        let quote = |quote: i128, amount: i128| match of_price {
            Some(size) => quote.checked_mul(size),
            None => unit.quote(0, self.price_scale, amount),
        };
        Some(Self {
            quote_volume: quote(self.quote_volume, wide.volume)?,
            taker_buy_quote_volume: quote(self.taker_buy_quote_volume, wide.taker_buy_volume)?,
            ..wide
        })
    }

    /// The stored form.
    #[inline]
    pub fn to_words(&self) -> [u64; Self::WORDS] {
        let low = |v: i128| v as u64;
        let high = |v: i128| (v >> 64) as u64;
        [
            self.open_time_us as u64,
            self.open as u64,
            self.high as u64,
            self.low as u64,
            self.close as u64,
            low(self.volume),
            high(self.volume),
            low(self.quote_volume),
            high(self.quote_volume),
            low(self.taker_buy_volume),
            high(self.taker_buy_volume),
            low(self.taker_buy_quote_volume),
            high(self.taker_buy_quote_volume),
            self.trade_count,
            self.first_trade_id as u64,
            self.last_trade_id as u64,
            u64::from(self.revision) << 32
                | u64::from(self.flags) << 16
                | u64::from(self.price_scale) << 8
                | u64::from(self.amount_scale),
        ]
    }

    /// The bar of a stored form.
    #[inline]
    pub fn from_words(w: &[u64; Self::WORDS]) -> Self {
        let wide = |low: u64, high: u64| (i128::from(high as i64) << 64) | i128::from(low);
        Self {
            open_time_us: w[0] as i64,
            open: w[1] as i64,
            high: w[2] as i64,
            low: w[3] as i64,
            close: w[4] as i64,
            volume: wide(w[5], w[6]),
            quote_volume: wide(w[7], w[8]),
            taker_buy_volume: wide(w[9], w[10]),
            taker_buy_quote_volume: wide(w[11], w[12]),
            trade_count: w[13],
            first_trade_id: w[14] as i64,
            last_trade_id: w[15] as i64,
            revision: (w[16] >> 32) as u32,
            flags: (w[16] >> 16) as u16,
            price_scale: (w[16] >> 8) as u8,
            amount_scale: w[16] as u8,
        }
    }
}

/// `mantissa * 10^-scale` as text with at least `decimals` decimals (venues print a fixed number of them).
pub fn decimal(mantissa: i128, scale: u32, decimals: u32) -> String {
    let digits = format!("{:0width$}", mantissa.unsigned_abs(), width = scale as usize + 1);
    let (whole, part) = digits.split_at(digits.len() - scale as usize);
    let mut part = part.to_owned();
    while part.len() > decimals as usize && part.ends_with('0') {
        part.pop();
    }
    while part.len() < decimals as usize {
        part.push('0');
    }
    let sign = if mantissa < 0 { "-" } else { "" };
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub fn tick(ts_us: i64, id: i64, price: &str, amount: &str, taker_buy: bool) -> Tick {
        Tick {
            symbol_index: 0,
            ts_us,
            price: Num::parse(price.as_bytes()).unwrap(),
            amount: Num::parse(amount.as_bytes()).unwrap(),
            first_id: id,
            last_id: id,
            agg_id: NO_ID,
            count: 1,
            taker_buy,
        }
    }

    proptest::proptest! {
        #[test]
        fn every_bar_reads_back_from_its_words(
            words in proptest::array::uniform17(proptest::num::u64::ANY)
        ) {
            proptest::prop_assert_eq!(KlineData::from_words(&words).to_words(), words);
        }
    }

    #[test]
    fn a_late_trade_moves_open_and_close_only_when_it_belongs_there() {
        let mut bar = KlineData::flat(0, 500, 2, 1);
        for (id, price) in [(11, "2.00"), (13, "3.00"), (12, "9.00"), (10, "1.50")] {
            bar.add(&Scaled::of(&tick(1, id, price, "0.5", id % 2 == 0), 2, 1, Unit::Base).unwrap());
        }
        assert_eq!((bar.open, bar.high, bar.low, bar.close), (150, 900, 150, 300));
        assert_eq!((bar.first_trade_id, bar.last_trade_id, bar.trade_count), (10, 13, 4));
        assert_eq!((bar.volume, bar.quote_volume), (20, 7_750));
        assert_eq!((bar.taker_buy_volume, bar.taker_buy_quote_volume), (10, 5_250));
        assert_eq!(bar.flags & FLAT, 0);
    }

    #[test]
    fn more_decimals_change_no_value() {
        let mut bar = KlineData { open_time_us: 0, price_scale: 1, amount_scale: 0, ..KlineData::default() };
        bar.add(&Scaled::of(&tick(1, 1, "2.5", "3", true), 1, 0, Unit::Base).unwrap());
        let finer = bar.rescaled(3, 2).unwrap();
        assert_eq!(decimal(finer.open.into(), 3, 0), decimal(bar.open.into(), 1, 0));
        assert_eq!(decimal(finer.volume, 2, 0), "3");
        assert_eq!(decimal(finer.quote_volume, 5, 0), decimal(bar.quote_volume, 1, 0));
        assert!(KlineData { open: i64::MAX, ..bar }.rescaled(2, 0).is_none());
    }

    #[test]
    fn decimals_print_as_venues_write_them() {
        assert_eq!(decimal(6_183_763_000_000, 8, 8), "61837.63000000");
        assert_eq!(decimal(5, 8, 8), "0.00000005");
        assert_eq!(decimal(1_250, 3, 2), "1.25");
        assert_eq!(decimal(1_250, 3, 0), "1.25");
        assert_eq!(decimal(1_000, 3, 0), "1");
        assert_eq!(decimal(-1_500, 3, 0), "-1.5");
        assert_eq!(decimal(0, 0, 0), "0");
    }
}
