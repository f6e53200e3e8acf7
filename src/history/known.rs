//! Defects of the archive and outages of the exchange that others have found and reported: so that a gap here is told
//! from one of ours.
//!
//! `#n` are issues of github.com/binance/binance-public-data, `ccxt#n` of github.com/ccxt/ccxt; `README` is the
//! former's. Times are UTC, the second of each pair exclusive.

use std::sync::LazyLock;

use crate::clean::tally::{ArchiveGap, Stretch};
use crate::path::{DAY_US, day_us};
use crate::{Kind, Market};

/// What was reported of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// The archive lacks what was traded.
    Missing,
    /// The exchange did not trade: there is nothing to have. Candles at its edges may end early.
    Outage,
    /// Candles begin beside their grid, or end beside it.
    Shifted,
}

/// A reported defect at a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownDefect {
    what: What,
    market: Option<Market>,
    kinds: &'static [Kind],
    /// `YYYY-MM-DD` or `YYYY-MM-DD HH:MM:SS`.
    from: &'static str,
    to: &'static str,
    /// What was reported, and where.
    text: &'static str,
}

const BARS: &[Kind] = &[Kind::Klines, Kind::MarkPriceKlines, Kind::IndexPriceKlines, Kind::PremiumIndexKlines];
const TRADES: &[Kind] = &[Kind::Trades, Kind::AggTrades];
const REPLACED: &[Kind] = &[Kind::Klines, Kind::Trades, Kind::AggTrades];
/// Clocks and rounding of those who reported.
const SLACK_US: i64 = 30_000_000;

const fn missing(
    market: Option<Market>,
    kinds: &'static [Kind],
    from: &'static str,
    to: &'static str,
    text: &'static str,
) -> KnownDefect {
    KnownDefect { what: What::Missing, market, kinds, from, to, text }
}

/// No candle of any spot symbol.
const fn outage(from: &'static str, to: &'static str, text: &'static str) -> KnownDefect {
    KnownDefect { what: What::Outage, market: Some(Market::Spot), kinds: &[Kind::Klines], from, to, text }
}

const fn shifted(from: &'static str, to: &'static str, text: &'static str) -> KnownDefect {
    KnownDefect { what: What::Shifted, market: Some(Market::Spot), kinds: &[Kind::Klines], from, to, text }
}

const UM: Option<Market> = Some(Market::Um);

const KNOWN: &[KnownDefect] = &[
    missing(UM, BARS, "2022-04-17", "2022-04-18", "monthly USD-M candles lack whole days (#192, #220)"),
    missing(UM, BARS, "2022-05-01", "2022-06-01", "monthly USD-M candles lack whole days (#304)"),
    missing(UM, BARS, "2022-06-09", "2022-06-10", "monthly USD-M candles lack whole days (#192, #220)"),
    missing(UM, BARS, "2022-08-10", "2022-08-13", "monthly USD-M candles lack whole days (#192, #220)"),
    missing(UM, TRADES, "2023-01-23", "2023-01-25", "USD-M trades are missing (#213, #363)"),
    missing(UM, TRADES, "2025-10-09", "2025-10-13", "USD-M trades are missing around 2025-10-10 (#458)"),
    missing(
        Some(Market::Spot),
        &[Kind::AggTrades],
        "2021-12-14",
        "2021-12-16",
        "spot aggregates of 2021-12-14 are cut off (#354)",
    ),
    missing(
        UM,
        &[Kind::MarkPriceKlines],
        "2023-11-10 03:40:00",
        "2023-11-10 04:00:00",
        "mark price candles are missing (#484)",
    ),
    missing(None, &[Kind::Metrics], "2020-09-01", "2100-01-01", "metrics repeat and lack rows (#287, #484)"),
    missing(UM, &[Kind::BookDepth], "2025-01-01", "2026-01-01", "rows of bookDepth are misaligned in 2025 (#431)"),
    missing(None, REPLACED, "2022-04-21", "2022-04-22", "files were replaced wholesale (README)"),
    missing(None, REPLACED, "2022-08-08", "2022-08-09", "files were replaced wholesale (README)"),
    outage("2017-09-06 15:45:00", "2017-09-06 23:00:00", "no trading, maintenance (#169, #365, #374)"),
    outage("2017-12-04 06:00:20", "2017-12-04 06:49:06", "no trading (#365)"),
    outage("2017-12-18 10:00:42", "2017-12-18 10:14:47", "no trading (#365)"),
    outage("2017-12-18 12:15:00", "2017-12-18 13:34:10", "no trading, maintenance (#169, #365)"),
    outage("2018-01-04 03:00:00", "2018-01-04 05:06:13", "no trading, maintenance (#77, #169, #365)"),
    outage("2018-02-08 00:15:00", "2018-02-09 10:00:01", "no trading, maintenance (#77, #169, #316, #365)"),
    outage("2018-02-10 05:58:14", "2018-02-10 06:15:00", "no trading, maintenance (#169, #365)"),
    outage("2018-02-11 03:58:14", "2018-02-11 04:35:00", "no trading, maintenance (#169, #365)"),
    outage("2018-06-26 02:00:00", "2018-06-26 12:00:00", "no trading, maintenance (#169, #365)"),
    outage("2018-06-27 13:00:00", "2018-06-27 14:45:00", "no trading (#365)"),
    outage("2018-07-04 00:22:25", "2018-07-04 08:00:00", "no trading (#365)"),
    outage("2018-10-19 06:00:00", "2018-10-19 09:30:00", "no trading (#365)"),
    outage("2018-11-14 02:00:00", "2018-11-14 09:00:00", "no trading, system upgrade (#365, ccxt#4170)"),
    outage("2019-03-12 02:00:00", "2019-03-12 08:00:00", "no trading, system upgrade (#365, ccxt#5026)"),
    outage("2019-05-15 03:00:00", "2019-05-15 13:00:00", "no trading (#365)"),
    outage("2019-06-07 21:13:13", "2019-06-07 22:15:00", "no trading (#365)"),
    outage("2019-08-15 02:00:00", "2019-08-15 10:00:00", "no trading, system upgrade (#365, ccxt#5708)"),
    outage("2019-11-13 02:00:00", "2019-11-13 04:20:00", "no trading (#365)"),
    outage("2019-11-13 05:30:00", "2019-11-13 05:33:00", "no trading (#365)"),
    outage("2019-11-25 02:00:00", "2019-11-25 04:00:00", "no trading (#365)"),
    outage("2020-02-09 02:00:00", "2020-02-09 03:00:00", "no trading (#365, #368)"),
    outage("2020-02-19 11:35:00", "2020-02-19 17:30:00", "no trading, maintenance (#84, #368)"),
    outage("2020-03-04 09:21:47", "2020-03-04 11:30:00", "no trading (#368)"),
    outage("2020-04-25 02:00:00", "2020-04-25 04:30:00", "no trading (#312, #368)"),
    outage("2020-06-28 02:00:00", "2020-06-28 05:30:00", "no trading (#312, #368)"),
    outage("2020-11-30 06:00:00", "2020-11-30 07:00:00", "no trading (#312, ccxt#8068)"),
    outage("2020-12-21 13:47:21", "2020-12-21 18:00:00", "no trading (#312, #368)"),
    outage("2020-12-25 02:00:00", "2020-12-25 03:00:00", "no trading (#312, #368)"),
    outage("2021-02-11 03:40:55", "2021-02-11 05:00:00", "no trading (#312, #368)"),
    outage("2021-03-06 02:00:00", "2021-03-06 03:30:00", "no trading (#312, #368)"),
    outage("2021-04-20 02:00:00", "2021-04-20 04:30:00", "no trading (#312, #368)"),
    outage("2021-04-25 04:00:59", "2021-04-25 08:45:00", "no trading, maintenance (#28, #312, #368)"),
    outage("2021-08-13 02:00:00", "2021-08-13 06:30:00", "no trading, system upgrade (#312, ccxt#9854)"),
    outage("2021-09-29 07:00:00", "2021-09-29 09:00:00", "no trading (#312)"),
    outage("2023-03-24 12:39:00", "2023-03-24 14:00:00", "no trading, the matching engine failed (#312)"),
    shifted("2017-12-04 06:00:00", "2017-12-18 14:00:00", "candles begin seconds beside their minute (#14)"),
    shifted("2018-02-08 00:00:00", "2018-02-11 05:00:00", "candles begin and end beside their grid (#14, #77)"),
];

/// [`KNOWN`] with its times in us.
static SPANS: LazyLock<Vec<(KnownDefect, i64, i64)>> =
    LazyLock::new(|| KNOWN.iter().filter_map(|k| Some((*k, instant(k.from)?, instant(k.to)?))).collect());

fn instant(text: &str) -> Option<i64> {
    let at: jiff::civil::DateTime = text.parse().ok()?;
    let time = at.time();
    let s = (i64::from(time.hour()) * 60 + i64::from(time.minute())) * 60 + i64::from(time.second());
    Some(day_us(at.date()) + s * 1_000_000)
}

fn of_series(market: Market, kind: Kind) -> impl Iterator<Item = (KnownDefect, i64, i64)> {
    let meant = move |k: &KnownDefect| k.market.is_none_or(|m| m == market) && k.kinds.contains(&kind);
    SPANS.iter().copied().filter(move |(k, ..)| meant(k))
}

impl KnownDefect {
    /// What was reported, of when, and where.
    pub fn sentence(&self) -> String {
        let day = |text: &'static str| text.strip_suffix(":00").unwrap_or(text);
        format!("{} to {} UTC: {}", day(self.from), day(self.to), self.text)
    }
}

/// How many of the rows or ids of a gap reported defects explain, and which. `step_us`: the fixed time between rows,
/// where the gap is one of times; then each row is judged by itself, else the gap is explained as a whole or not.
pub(crate) fn explains(market: Market, kind: Kind, gap: &ArchiveGap, step_us: Option<i64>) -> (u64, Vec<KnownDefect>) {
    let mut all = Vec::new();
    // Numbers of rows, first and last, that lie inside.
    let mut inside: Vec<(i64, i64)> = Vec::new();
    let rows = i64::try_from(gap.missing).unwrap_or(i64::MAX);
    for (known, from, to) in of_series(market, kind).filter(|(k, ..)| k.what != What::Shifted) {
        match step_us.filter(|step| *step > 0) {
            Some(step) => {
                let behind = from.saturating_sub(SLACK_US).saturating_sub(gap.from);
                let first = behind.saturating_add(step - 1).div_euclid(step).max(0);
                let room = to.saturating_add(SLACK_US).saturating_sub(step).saturating_sub(gap.from);
                let last = room.div_euclid(step).min(rows.saturating_sub(1));
                if first <= last {
                    inside.push((first, last));
                    all.push(known);
                }
            }
            // Ids have no time of their own: their neighbours may be traded hours away.
            None if gap.after_us >= from.saturating_sub(DAY_US) && gap.before_us <= to.saturating_add(DAY_US) => {
                inside.push((0, rows.saturating_sub(1)));
                all.push(known);
            }
            None => {}
        }
    }
    inside.sort_unstable();
    let (mut explained, mut next) = (0_u64, 0_i64);
    for (first, last) in inside {
        let first = first.max(next);
        if first <= last {
            explained = explained.saturating_add(last.abs_diff(first).saturating_add(1));
            next = last.saturating_add(1);
        }
    }
    (explained.min(gap.missing), all)
}

/// The reported defect that candles beside their grid lie in. A candle cut short by an outage touches it.
pub(crate) fn shifts(market: Market, kind: Kind, stretch: &Stretch) -> Option<KnownDefect> {
    let mut known = of_series(market, kind).filter(|(k, ..)| k.what != What::Missing);
    let near = |(_, from, to): &(KnownDefect, i64, i64)| {
        let room = SLACK_US.max(stretch.end_us.saturating_sub(stretch.last_us));
        stretch.from_us >= from.saturating_sub(room) && stretch.last_us <= to.saturating_add(SLACK_US)
    };
    known.find(near).map(|(k, ..)| k)
}

/// What is known of a kind of defect, wherever it is met.
pub(crate) fn of(defect: &str) -> Option<&'static str> {
    Some(match defect {
        "header_comes_and_goes" => "#246, #283",
        "rows_out_of_order" | "duplicate_rows" => "#12, #288",
        "missing_trade_ids" => "#378",
        "sentinel_rows" => "#85",
        "mixed_time_units" => "#404",
        "monthly_lacks_rows" => "#192, #304",
        "candles_off_their_grid" | "candles_that_end_early_or_late" => "#14, #77",
        "uploaded_again" => "README",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    fn at(text: &str) -> i64 {
        instant(text).unwrap()
    }

    /// Rows of `step` that are missing from the first to the last open time.
    fn gap(first: &str, last: &str, step: i64) -> ArchiveGap {
        let (from, to) = (at(first), at(last));
        let missing = u64::try_from((to - from) / step + 1).unwrap();
        ArchiveGap { from, to, missing, after_us: from - step, before_us: to + step }
    }

    fn hours(first: &str, last: &str) -> u64 {
        explains(Market::Spot, Kind::Klines, &gap(first, last, HOUR_US), Some(HOUR_US)).0
    }

    #[test]
    fn every_entry_has_a_time_and_a_source() {
        assert_eq!(SPANS.len(), KNOWN.len());
        for (k, from, to) in SPANS.iter() {
            assert!(from < to && (k.text.contains('#') || k.text.contains("README")), "{k:?}");
        }
    }

    #[test]
    fn an_outage_explains_the_rows_inside_it_and_none_beside_it() {
        assert_eq!(hours("2018-02-08 01:00:00", "2018-02-09 09:00:00"), 33);
        assert_eq!(hours("2021-04-25 05:00:00", "2021-04-25 07:00:00"), 3);
        assert_eq!(hours("2023-03-24 13:00:00", "2023-03-24 13:00:00"), 1);
        // Two hours before it, one after.
        assert_eq!(hours("2021-04-25 03:00:00", "2021-04-25 08:00:00"), 3);
        // Two outages in one gap.
        assert_eq!(hours("2020-12-21 14:00:00", "2020-12-25 02:00:00"), 5);
        assert_eq!(hours("2021-05-25 05:00:00", "2021-05-25 07:00:00"), 0);
        let minutes = gap("2023-03-24 12:40:00", "2023-03-24 13:59:00", 60_000_000);
        let (n, known) = explains(Market::Spot, Kind::Klines, &minutes, Some(60_000_000));
        assert_eq!((n, known.len()), (80, 1));
        assert!(known[0].sentence().starts_with("2023-03-24 12:39 to 2023-03-24 14:00 UTC: no trading"));
        assert!(known[0].sentence().ends_with("(#312)"));
        assert_eq!(explains(Market::Um, Kind::Klines, &minutes, Some(60_000_000)).0, 0, "another exchange");
    }

    #[test]
    fn missing_days_are_known_by_market_kind_and_day_and_a_longer_gap_only_in_part() {
        let day = gap("2022-04-17", "2022-04-17 23:00:00", HOUR_US);
        assert_eq!(explains(Market::Um, Kind::Klines, &day, Some(HOUR_US)).0, 24);
        assert_eq!(explains(Market::Spot, Kind::Klines, &day, Some(HOUR_US)).0, 0);
        let weeks = gap("2022-04-10", "2022-04-23 23:00:00", HOUR_US);
        assert_eq!(explains(Market::Um, Kind::Klines, &weeks, Some(HOUR_US)).0, 48, "that day, and 04-21");
        let ids = |after: &str, before: &str| {
            let gap = ArchiveGap { from: 1, to: 500, missing: 500, after_us: at(after), before_us: at(before) };
            explains(Market::Um, Kind::Trades, &gap, None).0
        };
        assert_eq!(ids("2023-01-22 23:00:00", "2023-01-25 01:00:00"), 500);
        assert_eq!(ids("2023-01-10", "2023-02-25"), 0, "most of it lies elsewhere");
    }

    #[test]
    fn candles_beside_their_grid_are_known_where_they_were_reported() {
        let stretch = |first: &str, last: &str| Stretch {
            from_us: at(first),
            last_us: at(last),
            end_us: at(last) + HOUR_US,
            rows: 1,
        };
        let known = |s: &Stretch| shifts(Market::Spot, Kind::Klines, s).map(|k| k.text);
        assert!(known(&stretch("2018-02-08 00:00:00", "2018-02-11 03:28:14")).is_some_and(|t| t.contains("#77")));
        assert!(known(&stretch("2019-06-07 21:00:00", "2019-06-07 21:00:00")).is_some(), "cut short by an outage");
        assert_eq!(known(&stretch("2019-06-07 18:00:00", "2019-06-07 18:00:00")), None);
        assert_eq!(known(&stretch("2018-02-08 00:00:00", "2018-03-11 00:00:00")), None);
    }
}
