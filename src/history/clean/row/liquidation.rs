//! `liquidationSnapshot` (coin-margined, 2023-06-25 to 2024-10-14): `time,side,order_type,time_in_force,
//! original_quantity,price,average_price,order_status,last_fill_quantity,accumulated_fill_quantity`.
//!
//! Liquidations have no id: two that are alike in one file are two.

use super::status::STATUS;
use super::{Line, Names, Origin, Row, columns, row, stored};
use crate::clean::line::Fields;
use crate::clean::value::{Reject, amount, time, word};
use lake::{Common, TableBuffer};
use model::row::{Liquidation, Side};

row!(
    /// Words: time, price, average price, amount, filled, index of the status.
    LiquidationRow,
    6
);

impl Row for LiquidationRow {
    const DECIMALS: &'static [usize] = &[1, 2, 3, 4];
    const OPEN_END: bool = true;
    const COLUMNS: &'static [&'static str] = &[
        "time",
        "side",
        "order_type",
        "time_in_force",
        "original_quantity",
        "price",
        "average_price",
        "order_status",
        "last_fill_quantity",
        "accumulated_fill_quantity",
    ];
    stored!();

    fn quick(_: &[u8], _: Origin) -> Option<(Self, usize)> {
        None
    }

    fn parse(f: &Fields<'_>, origin: Origin) -> Result<Line<Self>, Reject> {
        columns(f, 10..=10)?;
        let (time_us, micros) = time("time", f.get(0))?;
        let sell = match f.get(1) {
            b"SELL" | b"sell" => true,
            b"BUY" | b"buy" => false,
            _ => return Err(Reject::new("side", "neither BUY nor SELL")),
        };
        let (qty, cut_qty) = amount("original_quantity", f.get(4))?;
        let (price, cut_price) = amount("price", f.get(5))?;
        let (average, cut_average) = amount("average_price", f.get(6))?;
        let status = STATUS
            .iter()
            .position(|word| word.as_bytes() == f.get(7))
            .ok_or(Reject::new("order_status", "an unknown word"))?;
        amount("last_fill_quantity", f.get(8))?;
        let (filled, cut_filled) = amount("accumulated_fill_quantity", f.get(9))?;
        let lossy = cut_qty || cut_price || cut_average || cut_filled;
        Ok(Line::Row(Self {
            values: [time_us, word(price), word(average), word(qty), word(filled), status as i64],
            scales: [price.scale, average.scale, qty.scale, filled.scale, 0, 0, 0, 0],
            origin: origin.with(Origin::MICROS, micros).with(Origin::SELL, sell).with(Origin::LOSSY, lossy),
        }))
    }

    fn key(&self) -> (i64, i64) {
        // Every line is a liquidation of its own, in the order of the file.
        (self.values[0], self.origin.line() as i64)
    }

    fn time_us(&self) -> i64 {
        self.values[0]
    }

    fn push(&self, c: &Common, names: &Names, to: &mut TableBuffer) {
        let row = Liquidation {
            symbol: names.symbol,
            ts_event_us: Some(self.values[0]),
            side: Some(if self.origin.has(Origin::SELL) { Side::Sell } else { Side::Buy }),
            price: self.num::<1, 0>(),
            avg_price: Some(self.num::<2, 1>()),
            amount: self.num::<3, 2>(),
            filled: Some(self.num::<4, 3>()),
            status: usize::try_from(self.values[5]).ok().and_then(|i| names.status.get(i)).copied(),
        };
        to.push(c, 0, &row);
    }
}
