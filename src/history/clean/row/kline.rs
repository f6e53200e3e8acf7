//! Candles of all four kinds: `open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,
//! taker_buy_quote_volume,ignore`; the last column holds 0 or anything.
//!
//! Coin-margined: `volume` is in contracts and `quote_volume` in the base asset, as the archive has it. Close times
//! are the last millisecond of the candle, also where the archive writes the last microsecond, so that the series
//! has no seam at 2025-01-01. The premium index may be negative.

use super::{Cursor, Line, Names, Origin, Row, columns, row, stored};
use crate::clean::line::Fields;
use crate::clean::place::Series;
use crate::clean::value::{Reject, amount, id, num, time, word};
use crate::{BarInterval, Kind, Market};
use lake::table::Kline;
use lake::{Common, TableBuffer};
use model::Num;
use model::row::{Candle, VenueKline};

row!(
    /// Words: open time, close time, count, open, high, low, close, volume, quote volume, taker buy volume, taker buy
    /// quote volume.
    KlineRow,
    11
);

/// What a candle may say against itself: names in `stats.json`, by bit. Stored by name, so the order may change.
pub(crate) const FAULTS: [&str; 9] = [
    "candles_off_their_grid",
    "candles_that_end_early_or_late",
    "high_below_low",
    "prices_outside_high_and_low",
    "prices_not_positive",
    "more_bought_than_traded",
    "volume_without_trades",
    "trades_without_volume",
    "quote_volume_does_not_fit",
];

/// What the candles of a series must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CandleRules {
    interval: BarInterval,
    /// Of the kind that counts trades; others count changes of a price and have no volume.
    traded: bool,
    /// Prices are above zero; a premium may be below.
    positive: bool,
    /// The quote volume is price times volume; coin-margined contracts are worth dollars.
    quoted: bool,
}

impl CandleRules {
    /// Of a series; `None` where its rows are no candles.
    pub(crate) fn of(series: &Series) -> Option<Self> {
        let traded = series.kind == Kind::Klines;
        Some(Self {
            interval: series.interval?,
            traded,
            positive: series.kind != Kind::PremiumIndexKlines,
            quoted: traded && series.market != Market::Cm,
        })
    }

    /// Where a candle that opens at a time should end, us, exclusive.
    pub(crate) fn end_of(&self, open_us: i64) -> i64 {
        let len = self.interval.candle_of(open_us).map_or(0, |(open, end)| end.saturating_sub(open));
        open_us.saturating_add(len)
    }
}

/// Whether a quote volume may be what `volume` was traded for between two prices. Each trade was rounded.
fn may_be_worth(quote: f64, volume: f64, low: f64, high: f64, trades: i64) -> bool {
    let rounded = trades.max(0) as f64 * 1e-8 + 1e-8;
    // A thousandth: quote assets without decimals after the point.
    quote >= low * volume * 0.999 - rounded && quote <= high * volume * 1.001 + rounded
}

/// The end of a candle to the millisecond.
#[inline]
fn to_ms(us: i64) -> i64 {
    us - us.rem_euclid(1_000)
}

impl KlineRow {
    #[inline(always)]
    fn of(open_us: i64, close_us: i64, count: i64, n: [Num; 8], origin: Origin) -> Self {
        let [o, h, l, c, v, q, tb, tbq] = n.map(word);
        Self {
            values: [open_us, to_ms(close_us), count, o, h, l, c, v, q, tb, tbq],
            scales: n.map(|n| n.scale),
            origin,
        }
    }

    /// The candle, as the archive has it.
    pub(crate) fn candle(&self) -> Candle {
        Candle {
            open_time_us: self.values[0],
            open: self.num::<3, 0>(),
            high: self.num::<4, 1>(),
            low: self.num::<5, 2>(),
            close: self.num::<6, 3>(),
            volume: Some(self.num::<7, 4>()),
            quote_volume: Some(self.num::<8, 5>()),
            trade_count: Some(self.values[2]),
            taker_buy_volume: Some(self.num::<9, 6>()),
            taker_buy_quote_volume: Some(self.num::<10, 7>()),
        }
    }
}

impl Row for KlineRow {
    const DECIMALS: &'static [usize] = &[3, 4, 5, 6, 7, 8, 9, 10];
    const OPEN_END: bool = false;
    const COLUMNS: &'static [&'static str] = &[
        "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count",
        "taker_buy_volume", "taker_buy_quote_volume", "ignore",
    ];
    stored!();

    #[inline(always)]
    fn quick(text: &[u8], origin: Origin) -> Option<(Self, usize)> {
        let mut c = Cursor::new(text);
        let (open_us, micros) = c.time()?;
        c.comma()?;
        let (o, h, l, close) = (c.num()?, c.num()?, c.num()?, c.num()?);
        let v = c.num()?;
        let (close_us, _) = c.time()?;
        c.comma()?;
        let q = c.num()?;
        let count = c.int()?;
        let (tb, tbq) = (c.num()?, c.num()?);
        c.digits()?;
        let used = c.end()?;
        if close_us < open_us {
            return None;
        }
        let row = Self::of(open_us, close_us, count, [o, h, l, close, v, q, tb, tbq], origin);
        Some((Self { origin: row.origin.with(Origin::MICROS, micros), ..row }, used))
    }

    fn parse(f: &Fields<'_>, origin: Origin) -> Result<Line<Self>, Reject> {
        columns(f, 12..=16)?;
        let (open_us, micros) = time("open_time", f.get(0))?;
        let price = |i: usize, name| num(name, f.get(i));
        let prices = [price(1, "open")?, price(2, "high")?, price(3, "low")?, price(4, "close")?];
        let volume = amount("volume", f.get(5))?;
        let (close_us, _) = time("close_time", f.get(6))?;
        let quote = amount("quote_volume", f.get(7))?;
        let count = id("count", f.get(8))?;
        let taker = amount("taker_buy_volume", f.get(9))?;
        let taker_quote = amount("taker_buy_quote_volume", f.get(10))?;
        if close_us < open_us {
            return Err(Reject::new("close_time", "before the open time"));
        }
        let [o, h, l, c] = prices;
        let all = [o, h, l, c, volume, quote, taker, taker_quote];
        let cut = all.iter().any(|(_, cut)| *cut);
        let origin = origin.with(Origin::MICROS, micros).with(Origin::LOSSY, cut);
        Ok(Line::Row(Self::of(open_us, close_us, count, all.map(|(n, _)| n), origin)))
    }

    #[inline]
    fn key(&self) -> (i64, i64) {
        (self.values[0], 0)
    }

    #[inline]
    fn time_us(&self) -> i64 {
        self.values[0]
    }

    fn faults(&self, rules: &CandleRules) -> u16 {
        let [open_us, close_us, count, ..] = self.values;
        let on_grid = rules.interval.candle_of(open_us).is_some_and(|(open, _)| open == open_us);
        let nums = [
            self.num::<3, 0>(),
            self.num::<4, 1>(),
            self.num::<5, 2>(),
            self.num::<6, 3>(),
            self.num::<7, 4>(),
            self.num::<8, 5>(),
            self.num::<9, 6>(),
            self.num::<10, 7>(),
        ];
        // Numbers of the archive have 18 digits at most: each is a decimal.
        let decimal = |n: Num| n.to_decimal18().unwrap_or_default().0;
        let [open, high, low, close, volume, _, bought, _] = nums.map(decimal);
        let [_, high_price, low_price, _, base, quote, taker, taker_quote] = nums.map(Num::to_f64);
        let sane = low > 0 && high >= low;
        let worth = |quote, volume| may_be_worth(quote, volume, low_price, high_price, count);
        let faults = [
            !on_grid,
            close_us != rules.end_of(open_us).saturating_sub(1_000),
            high < low,
            high >= low && (high < open.max(close) || low > open.min(close)),
            rules.positive && [open, high, low, close].iter().any(|p| *p <= 0),
            rules.traded && (bought > volume || taker_quote > quote),
            rules.traded && volume > 0 && count == 0,
            rules.traded && volume == 0 && count > 0,
            rules.quoted && sane && !(worth(quote, base) && worth(taker_quote, taker)),
        ];
        faults.iter().enumerate().fold(0, |bits, (i, fault)| bits | u16::from(*fault) << i)
    }

    #[inline]
    fn push(&self, c: &Common, names: &Names, to: &mut TableBuffer) {
        let bar = VenueKline {
            symbol: names.symbol,
            ts_event_us: Some(self.values[1]),
            interval: names.interval,
            close_time_us: self.values[1],
            candle: self.candle(),
            first_trade_id: None,
            last_trade_id: None,
            is_final: true,
        };
        to.push(c, 0, &Kline { bar: &bar, source: "archive", revision: 0 });
    }
}
