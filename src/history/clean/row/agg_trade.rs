//! `aggTrades`: spot `agg_id,price,qty,first_id,last_id,time,is_buyer_maker,is_best_match`, futures without the last.
//!
//! Spot has place-holders with price 0, amount 0 and ids -1: no rows. The time is that of the match; the time of
//! the event is not in the archive, so `ts_event` is null (a copy of `ts_trade` would take a third of the file).

use super::{Cursor, Line, Names, Origin, Row, columns, row, stored};
use crate::clean::line::Fields;
use crate::clean::value::{Reject, amount, boolean, id, int, time, word};
use lake::buffer::{Deal, Many};
use lake::{Common, TableBuffer};
use model::row::{AggTrade, Side};

row!(
    /// Words: agg id, first id, last id, time, price, amount.
    AggTradeRow,
    6
);

impl Row for AggTradeRow {
    const DECIMALS: &'static [usize] = &[4, 5];
    const OPEN_END: bool = false;
    const COLUMNS: &'static [&'static str] = &[
        "agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time", "is_buyer_maker",
        "is_best_match",
    ];
    stored!();

    #[inline(always)]
    fn quick(text: &[u8], origin: Origin) -> Option<(Self, usize)> {
        let mut c = Cursor::new(text);
        let agg_id = c.int()?;
        let price = c.num()?;
        let amount = c.num()?;
        let first = c.int()?;
        let last = c.int()?;
        let (time_us, micros) = c.time()?;
        c.comma()?;
        let sell = c.boolean()?;
        if text.get(c.at) == Some(&b',') {
            c.at += 1;
            c.boolean()?;
        }
        let used = c.end()?;
        if price.is_zero() || amount.is_zero() || last < first {
            return None;
        }
        let origin = origin.with(Origin::MICROS, micros).with(Origin::SELL, sell);
        let scales = [price.scale, amount.scale, 0, 0, 0, 0, 0, 0];
        Some((Self { values: [agg_id, first, last, time_us, word(price), word(amount)], scales, origin }, used))
    }

    fn parse(f: &Fields<'_>, origin: Origin) -> Result<Line<Self>, Reject> {
        columns(f, 7..=8)?;
        let agg_id = id("agg_id", f.get(0))?;
        let (price, cut_price) = amount("price", f.get(1))?;
        let (qty, cut_qty) = amount("qty", f.get(2))?;
        let (first, last) = (int("first_id", f.get(3))?, int("last_id", f.get(4))?);
        let (time_us, micros) = time("time", f.get(5))?;
        let sell = boolean("is_buyer_maker", f.get(6))?;
        if f.len() == 8 {
            boolean("is_best_match", f.get(7))?;
        }
        if (price.is_zero() && qty.is_zero()) || (first == -1 && last == -1) {
            return Ok(Line::Sentinel);
        }
        if price.is_zero() || qty.is_zero() {
            return Err(Reject::new(if price.is_zero() { "price" } else { "qty" }, "zero"));
        }
        if first < 0 || last < first {
            return Err(Reject::new("first_id", "not a range of ids"));
        }
        let origin =
            origin.with(Origin::MICROS, micros).with(Origin::SELL, sell).with(Origin::LOSSY, cut_price || cut_qty);
        let scales = [price.scale, qty.scale, 0, 0, 0, 0, 0, 0];
        Ok(Line::Row(Self { values: [agg_id, first, last, time_us, word(price), word(qty)], scales, origin }))
    }

    #[inline]
    fn key(&self) -> (i64, i64) {
        (self.values[0], 0)
    }

    #[inline]
    fn time_us(&self) -> i64 {
        self.values[3]
    }

    #[inline]
    fn ids(&self) -> Option<(i64, i64)> {
        Some((self.values[0], self.values[0]))
    }

    #[inline]
    fn inner_ids(&self) -> Option<(i64, i64)> {
        Some((self.values[1], self.values[2]))
    }

    #[inline]
    fn push(&self, c: &Common, names: &Names, to: &mut TableBuffer) {
        let row = AggTrade {
            symbol: names.symbol,
            ts_event_us: None,
            ts_trade_us: self.values[3],
            agg_id: self.values[0],
            first_id: self.values[1],
            last_id: self.values[2],
            price: self.num::<4, 0>(),
            amount: self.num::<5, 1>(),
            side: if self.origin.has(Origin::SELL) { Side::Sell } else { Side::Buy },
        };
        to.push(c, 0, &row);
    }

    fn push_many(rows: &[Self], many: &Many<'_>, _: &Names, to: &mut TableBuffer) {
        to.push_agg_trades(many, rows, |r| Deal {
            id: r.values[0],
            first_id: r.values[1],
            last_id: r.values[2],
            time_us: r.values[3],
            price: r.num::<4, 0>(),
            amount: r.num::<5, 1>(),
            sell: r.origin.has(Origin::SELL),
        });
    }
}
