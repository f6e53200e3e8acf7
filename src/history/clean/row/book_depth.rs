//! `bookDepth`: `timestamp,percentage,depth,notional`; times as text in UTC; bands as `-5` or `-5.00`.

use super::{Line, Names, Origin, Row, columns, row, stored};
use crate::clean::line::Fields;
use crate::clean::value::{Reject, amount, civil, num, word};
use lake::table::BookDepth;
use lake::{Common, TableBuffer};

row!(
    /// Words: time, percentage, depth, notional, percentage in millionths of a percent.
    BookDepthRow,
    5
);

impl Row for BookDepthRow {
    const DECIMALS: &'static [usize] = &[1, 2, 3];
    const OPEN_END: bool = true;
    const COLUMNS: &'static [&'static str] = &["timestamp", "percentage", "depth", "notional"];
    stored!();

    fn quick(_: &[u8], _: Origin) -> Option<(Self, usize)> {
        None
    }

    fn parse(f: &Fields<'_>, origin: Origin) -> Result<Line<Self>, Reject> {
        columns(f, 4..=4)?;
        let time_us = civil("timestamp", f.get(0))?;
        let (percentage, _) = num("percentage", f.get(1))?;
        let (depth, cut_depth) = amount("depth", f.get(2))?;
        let (notional, cut_notional) = amount("notional", f.get(3))?;
        let bad = Reject::new("percentage", "not a band");
        let band = percentage.normalized();
        let finer = 6_u32.checked_sub(u32::from(band.scale)).ok_or(bad)?;
        let band = word(band).checked_mul(10_i64.pow(finer)).ok_or(bad)?;
        let values = [time_us, word(percentage), word(depth), word(notional), band];
        let scales = [percentage.scale, depth.scale, notional.scale, 0, 0, 0, 0, 0];
        Ok(Line::Row(Self { values, scales, origin: origin.with(Origin::LOSSY, cut_depth || cut_notional) }))
    }

    fn key(&self) -> (i64, i64) {
        (self.values[0], self.values[4])
    }

    fn time_us(&self) -> i64 {
        self.values[0]
    }

    fn push(&self, c: &Common, names: &Names, to: &mut TableBuffer) {
        let row = BookDepth {
            symbol: names.symbol,
            ts_event_us: Some(self.values[0]),
            percentage: self.num::<1, 0>(),
            depth: self.num::<2, 1>(),
            notional: self.num::<3, 2>(),
        };
        to.push(c, 0, &row);
    }
}
