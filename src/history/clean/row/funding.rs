//! `fundingRate`: `calc_time,funding_interval_hours,last_funding_rate`; times are a few ms after the full hour.

use super::{Line, Names, Origin, Row, columns, row, stored};
use crate::clean::line::Fields;
use crate::clean::value::{Reject, int, num, time, word};
use lake::table::FundingRate;
use lake::{Common, TableBuffer};

row!(
    /// Words: time, hours, rate.
    FundingRow,
    3
);

const HOUR_US: i64 = 3_600_000_000;

impl Row for FundingRow {
    const DECIMALS: &'static [usize] = &[2];
    const OPEN_END: bool = true;
    const COLUMNS: &'static [&'static str] = &["calc_time", "funding_interval_hours", "last_funding_rate"];
    stored!();

    fn quick(_: &[u8], _: Origin) -> Option<(Self, usize)> {
        None
    }

    fn parse(f: &Fields<'_>, origin: Origin) -> Result<Line<Self>, Reject> {
        columns(f, 3..=3)?;
        let (time_us, micros) = time("calc_time", f.get(0))?;
        let hours = int("funding_interval_hours", f.get(1))?;
        let (rate, cut) = num("last_funding_rate", f.get(2))?;
        if !(1..=24 * 31).contains(&hours) {
            return Err(Reject::new("funding_interval_hours", "not a number of hours"));
        }
        let origin = origin.with(Origin::MICROS, micros).with(Origin::LOSSY, cut);
        Ok(Line::Row(Self { values: [time_us, hours, word(rate)], scales: [rate.scale, 0, 0, 0, 0, 0, 0, 0], origin }))
    }

    fn key(&self) -> (i64, i64) {
        (self.values[0], 0)
    }

    fn time_us(&self) -> i64 {
        self.values[0]
    }

    fn step_us(&self) -> Option<i64> {
        Some(self.values[1] * HOUR_US)
    }

    fn push(&self, c: &Common, names: &Names, to: &mut TableBuffer) {
        let row = FundingRate {
            symbol: names.symbol,
            ts_event_us: Some(self.values[0]),
            interval_hours: i32::try_from(self.values[1]).unwrap_or(i32::MAX),
            funding_rate: self.num::<2, 0>(),
        };
        to.push(c, 0, &row);
    }
}
