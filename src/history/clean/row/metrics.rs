//! `metrics`: `create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,
//! sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio`; times as text in UTC, any
//! number may be missing.

use super::{Line, NULL_SCALE, Names, Origin, Row, columns, row, stored};
use crate::clean::line::Fields;
use crate::clean::value::{Reject, amount, civil, word};
use lake::table::Metrics;
use lake::{Common, TableBuffer};
use model::Num;

row!(
    /// Words: time, then the six numbers in the order of the file.
    MetricsRow,
    7
);

/// Rows come every five minutes.
const STEP_US: i64 = 300_000_000;

const NAMES: [&str; 6] = [
    "sum_open_interest",
    "sum_open_interest_value",
    "count_toptrader_long_short_ratio",
    "sum_toptrader_long_short_ratio",
    "count_long_short_ratio",
    "sum_taker_long_short_vol_ratio",
];

impl Row for MetricsRow {
    const DECIMALS: &'static [usize] = &[1, 2, 3, 4, 5, 6];
    const OPEN_END: bool = true;
    const COLUMNS: &'static [&'static str] = &[
        "create_time",
        "symbol",
        "sum_open_interest",
        "sum_open_interest_value",
        "count_toptrader_long_short_ratio",
        "sum_toptrader_long_short_ratio",
        "count_long_short_ratio",
        "sum_taker_long_short_vol_ratio",
    ];
    stored!();

    fn quick(_: &[u8], _: Origin) -> Option<(Self, usize)> {
        None
    }

    fn parse(f: &Fields<'_>, origin: Origin) -> Result<Line<Self>, Reject> {
        columns(f, 8..=8)?;
        let mut values = [civil("create_time", f.get(0))?, 0, 0, 0, 0, 0, 0];
        let mut scales = [0_u8; 8];
        let mut lossy = false;
        for (i, name) in NAMES.into_iter().enumerate() {
            let text = f.get(i + 2);
            let (n, cut) = match text {
                b"" | b"NaN" | b"nan" | b"null" => (Num { mantissa: 0, scale: NULL_SCALE }, false),
                text => amount(name, text)?,
            };
            (values[i + 1], scales[i]) = (word(n), n.scale);
            lossy |= cut;
        }
        Ok(Line::Row(Self { values, scales, origin: origin.with(Origin::LOSSY, lossy) }))
    }

    fn key(&self) -> (i64, i64) {
        (self.values[0], 0)
    }

    fn time_us(&self) -> i64 {
        self.values[0]
    }

    fn step_us(&self) -> Option<i64> {
        Some(STEP_US)
    }

    fn push(&self, c: &Common, names: &Names, to: &mut TableBuffer) {
        let values = std::array::from_fn(|i| {
            let (mantissa, scale) = (self.values.get(i + 1).copied()?, self.scales.get(i).copied()?);
            (scale != NULL_SCALE).then_some(Num { mantissa: mantissa.into(), scale })
        });
        to.push(c, 0, &Metrics { symbol: names.symbol, ts_event_us: Some(self.values[0]), values });
    }
}
