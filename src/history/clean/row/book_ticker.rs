//! `bookTicker`: `update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time`.
//! The lake keeps the event time; an empty side (price 0) is null there, as in the live table.

use super::{Cursor, Line, NULL_SCALE, Names, Origin, Row, columns, row, stored};
use crate::clean::line::Fields;
use crate::clean::value::{Reject, amount, id, time, word};
use lake::{Common, TableBuffer};
use model::Num;
use model::row::BookTicker;

row!(
    /// Words: update id, transaction time, event time, bid price, bid amount, ask price, ask amount.
    BookTickerRow,
    7
);

impl BookTickerRow {
    fn side(price: Num, amount: Num) -> [(i64, u8); 2] {
        if price.is_zero() {
            return [(0, NULL_SCALE); 2];
        }
        [(word(price), price.scale), (word(amount), amount.scale)]
    }

    fn of(ids: [i64; 3], n: [Num; 4], origin: Origin) -> Self {
        let [bid, ask] = [Self::side(n[0], n[1]), Self::side(n[2], n[3])];
        let [(bp, sbp), (ba, sba)] = bid;
        let [(ap, sap), (aa, saa)] = ask;
        let [id, transaction, event] = ids;
        Self { values: [id, transaction, event, bp, ba, ap, aa], scales: [sbp, sba, sap, saa, 0, 0, 0, 0], origin }
    }
}

fn known(n: Num) -> Option<Num> {
    (n.scale != NULL_SCALE).then_some(n)
}

impl Row for BookTickerRow {
    const DECIMALS: &'static [usize] = &[3, 4, 5, 6];
    const OPEN_END: bool = false;
    const COLUMNS: &'static [&'static str] = &[
        "update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty", "transaction_time",
        "event_time",
    ];
    stored!();

    #[inline(always)]
    fn quick(text: &[u8], origin: Origin) -> Option<(Self, usize)> {
        let mut c = Cursor::new(text);
        let id = c.int()?;
        let n = [c.num()?, c.num()?, c.num()?, c.num()?];
        let (transaction, micros) = c.time()?;
        c.comma()?;
        let (event, _) = c.time()?;
        let used = c.end()?;
        Some((Self::of([id, transaction, event], n, origin.with(Origin::MICROS, micros)), used))
    }

    fn parse(f: &Fields<'_>, origin: Origin) -> Result<Line<Self>, Reject> {
        columns(f, 7..=7)?;
        let id = id("update_id", f.get(0))?;
        let n = [
            amount("best_bid_price", f.get(1))?,
            amount("best_bid_qty", f.get(2))?,
            amount("best_ask_price", f.get(3))?,
            amount("best_ask_qty", f.get(4))?,
        ];
        let (transaction, micros) = time("transaction_time", f.get(5))?;
        let (event, _) = time("event_time", f.get(6))?;
        let origin = origin.with(Origin::MICROS, micros).with(Origin::LOSSY, n.iter().any(|(_, cut)| *cut));
        Ok(Line::Row(Self::of([id, transaction, event], n.map(|(n, _)| n), origin)))
    }

    #[inline]
    fn key(&self) -> (i64, i64) {
        (self.values[0], self.values[2])
    }

    #[inline]
    fn time_us(&self) -> i64 {
        self.values[2]
    }

    #[inline]
    fn push(&self, c: &Common, names: &Names, to: &mut TableBuffer) {
        let row = BookTicker {
            symbol: names.symbol,
            ts_event_us: Some(self.values[2]),
            update_id: Some(self.values[0]),
            bid_price: known(self.num::<3, 0>()),
            bid_amount: known(self.num::<4, 1>()),
            ask_price: known(self.num::<5, 2>()),
            ask_amount: known(self.num::<6, 3>()),
        };
        to.push(c, 0, &row);
    }
}
