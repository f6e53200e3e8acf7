//! `trades`: spot `id,price,qty,quote_qty,time,is_buyer_maker,is_best_match`, futures without the last (coin-margined:
//! `base_qty` for `quote_qty`). The quote amount is price times amount and is not kept; the time of the event
//! is not in the archive: `ts_event` is null.

use super::{Cursor, Line, Names, Origin, Row, columns, row, stored};
use crate::clean::line::Fields;
use crate::clean::value::{Reject, amount, boolean, id, time, word};
use lake::buffer::{Deal, Many};
use lake::{Common, TableBuffer};
use model::row::{Side, Trade};

row!(
    /// Words: id, time, price, amount.
    TradeRow,
    4
);

impl Row for TradeRow {
    const DECIMALS: &'static [usize] = &[2, 3];
    const OPEN_END: bool = false;
    const COLUMNS: &'static [&'static str] =
        &["id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match"];
    stored!();

    #[inline(always)]
    fn quick(text: &[u8], origin: Origin) -> Option<(Self, usize)> {
        let mut c = Cursor::new(text);
        let id = c.int()?;
        let price = c.num()?;
        let amount = c.num()?;
        c.num()?;
        let (time_us, micros) = c.time()?;
        c.comma()?;
        let sell = c.boolean()?;
        if text.get(c.at) == Some(&b',') {
            c.at += 1;
            c.boolean()?;
        }
        let used = c.end()?;
        if price.is_zero() || amount.is_zero() {
            return None;
        }
        let origin = origin.with(Origin::MICROS, micros).with(Origin::SELL, sell);
        let scales = [price.scale, amount.scale, 0, 0, 0, 0, 0, 0];
        Some((Self { values: [id, time_us, word(price), word(amount)], scales, origin }, used))
    }

    fn parse(f: &Fields<'_>, origin: Origin) -> Result<Line<Self>, Reject> {
        columns(f, 6..=7)?;
        let id = id("id", f.get(0))?;
        let (price, cut_price) = amount("price", f.get(1))?;
        let (qty, cut_qty) = amount("qty", f.get(2))?;
        amount("quote_qty", f.get(3))?;
        let (time_us, micros) = time("time", f.get(4))?;
        let sell = boolean("is_buyer_maker", f.get(5))?;
        if f.len() == 7 {
            boolean("is_best_match", f.get(6))?;
        }
        if price.is_zero() && qty.is_zero() {
            return Ok(Line::Sentinel);
        }
        if price.is_zero() || qty.is_zero() {
            return Err(Reject::new(if price.is_zero() { "price" } else { "qty" }, "zero"));
        }
        let origin =
            origin.with(Origin::MICROS, micros).with(Origin::SELL, sell).with(Origin::LOSSY, cut_price || cut_qty);
        let scales = [price.scale, qty.scale, 0, 0, 0, 0, 0, 0];
        Ok(Line::Row(Self { values: [id, time_us, word(price), word(qty)], scales, origin }))
    }

    #[inline]
    fn key(&self) -> (i64, i64) {
        (self.values[0], 0)
    }

    #[inline]
    fn time_us(&self) -> i64 {
        self.values[1]
    }

    #[inline]
    fn ids(&self) -> Option<(i64, i64)> {
        Some((self.values[0], self.values[0]))
    }

    #[inline]
    fn push(&self, c: &Common, names: &Names, to: &mut TableBuffer) {
        let row = Trade {
            symbol: names.symbol,
            ts_event_us: None,
            ts_trade_us: Some(self.values[1]),
            id: Some(self.values[0]),
            id_str: None,
            price: self.num::<2, 0>(),
            amount: self.num::<3, 1>(),
            side: if self.origin.has(Origin::SELL) { Side::Sell } else { Side::Buy },
            kind: None,
        };
        to.push(c, 0, &row);
    }

    fn push_many(rows: &[Self], many: &Many<'_>, _: &Names, to: &mut TableBuffer) {
        to.push_trades(many, rows, |r| Deal {
            id: r.values[0],
            first_id: r.values[0],
            last_id: r.values[0],
            time_us: r.values[1],
            price: r.num::<2, 0>(),
            amount: r.num::<3, 1>(),
            sell: r.origin.has(Origin::SELL),
        });
    }
}
