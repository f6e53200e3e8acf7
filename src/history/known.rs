//! Defects of the archive that others have found and reported: so that a hole here is told from one of ours.
//!
//! Numbers are issues of github.com/binance/binance-public-data; `README` is that repository's.

use crate::history::{Kind, Market};

/// A reported defect at a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    market: Option<Market>,
    kinds: &'static [Kind],
    /// First and last day, `YYYY-MM-DD`.
    from: &'static str,
    to: &'static str,
    /// What was reported, and where.
    pub text: &'static str,
}

const BARS: &[Kind] = &[Kind::Klines, Kind::MarkPriceKlines, Kind::IndexPriceKlines, Kind::PremiumIndexKlines];
const TRADES: &[Kind] = &[Kind::Trades, Kind::AggTrades];
const REPLACED: &[Kind] = &[Kind::Klines, Kind::Trades, Kind::AggTrades];

const KNOWN: &[Known] = &[
    Known {
        market: Some(Market::Um),
        kinds: BARS,
        from: "2022-04-15",
        to: "2022-06-10",
        text: "monthly USD-M candles lack whole days around 2022-05 (#192, #304)",
    },
    Known {
        market: Some(Market::Um),
        kinds: BARS,
        from: "2022-08-08",
        to: "2022-08-12",
        text: "monthly USD-M candles lack whole days (#192, #304)",
    },
    Known {
        market: Some(Market::Um),
        kinds: TRADES,
        from: "2023-01-23",
        to: "2023-01-24",
        text: "USD-M trades are missing (#213, #363)",
    },
    Known {
        market: Some(Market::Um),
        kinds: TRADES,
        from: "2025-10-09",
        to: "2025-10-12",
        text: "USD-M trades are missing around 2025-10-10 (#458)",
    },
    Known {
        market: Some(Market::Spot),
        kinds: &[Kind::AggTrades],
        from: "2021-12-14",
        to: "2021-12-15",
        text: "spot aggregates of 2021-12-14 are cut off (#354)",
    },
    Known {
        market: Some(Market::Um),
        kinds: &[Kind::MarkPriceKlines],
        from: "2023-11-10",
        to: "2023-11-10",
        text: "mark price candles are missing 03:40 to 04:00 (#484)",
    },
    Known {
        market: None,
        kinds: &[Kind::Metrics],
        from: "2020-09-01",
        to: "2099-12-31",
        text: "metrics repeat and lack rows (#484)",
    },
    Known {
        market: Some(Market::Um),
        kinds: &[Kind::BookDepth],
        from: "2025-01-01",
        to: "2025-12-31",
        text: "rows of bookDepth are misaligned in 2025 (#431)",
    },
    Known {
        market: None,
        kinds: REPLACED,
        from: "2022-04-21",
        to: "2022-04-21",
        text: "files were replaced wholesale (README)",
    },
    Known {
        market: None,
        kinds: REPLACED,
        from: "2022-08-08",
        to: "2022-08-08",
        text: "files were replaced wholesale (README)",
    },
];

/// The reported defect that a hole between two times (us, exclusive) lies in.
pub fn at(market: Market, kind: Kind, after_us: i64, before_us: i64) -> Option<&'static str> {
    let day = |text: &str| text.parse().ok().map(crate::history::path::day_us);
    KNOWN.iter().find_map(|k| {
        let (from, to) = (day(k.from)?, day(k.to)? + 86_400_000_000);
        let here = k.market.is_none_or(|m| m == market) && k.kinds.contains(&kind);
        // Overlap: a hole may begin the evening before.
        (here && before_us > from && after_us < to).then_some(k.text)
    })
}

/// What is known of a kind of defect, wherever it is met.
pub fn of(defect: &str) -> Option<&'static str> {
    Some(match defect {
        "header_comes_and_goes" => "#246, #283",
        "rows_out_of_order" | "duplicate_rows" => "#12, #288",
        "missing_trade_ids" => "#378",
        "sentinel_rows" => "#85",
        "mixed_time_units" => "#404",
        "monthly_lacks_rows" => "#192, #304",
        "uploaded_again" => "README",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_hole_is_known_by_market_kind_and_day() {
        let day = |text: &str| crate::history::path::day_us(text.parse().unwrap());
        let hole = (day("2022-04-17"), day("2022-04-18"));
        assert!(at(Market::Um, Kind::Klines, hole.0, hole.1).unwrap().contains("#192"));
        assert_eq!(at(Market::Spot, Kind::Klines, hole.0, hole.1), None);
        assert_eq!(at(Market::Um, Kind::Trades, hole.0, hole.1), None);
        assert!(at(Market::Spot, Kind::AggTrades, day("2021-12-14") + 1, day("2021-12-15")).is_some());
        for k in KNOWN {
            let (a, b) = (day(k.from), day(k.to));
            assert!(a <= b && (k.text.contains('#') || k.text.contains("README")));
        }
    }
}
