//! Which files are meant: markets, periods, kinds, symbols, intervals, days. Pure.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};
use jiff::civil::Date;

use super::market::{BarInterval, Kind, Market, Period};
use super::path::{ArchivePath, SeriesPath};
use model::is_exact;

/// Files by their names. An empty list means all.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Markets.
    pub markets: BTreeSet<Market>,
    /// Periods.
    pub periods: BTreeSet<Period>,
    /// Kinds.
    pub kinds: BTreeSet<Kind>,
    /// Names and globs of symbols.
    pub symbols: Symbols,
    /// Intervals; kinds without intervals are not touched by it.
    pub intervals: BTreeSet<BarInterval>,
    /// First day.
    pub from: Option<Date>,
    /// Last day, inclusive.
    pub to: Option<Date>,
}

/// Names and globs of symbols; empty means all.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    exact: BTreeSet<String>,
    globs: Vec<GlobMatcher>,
}

/// A glob that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is not a symbol pattern: {what}")]
pub struct BadGlob {
    pattern: String,
    what: String,
}

impl Symbols {
    /// Reads names and globs (`*`, `?`, `[ab]`, `{a,b}`).
    ///
    /// # Errors
    /// For a glob that is none.
    pub fn new<T: AsRef<str>>(patterns: impl IntoIterator<Item = T>) -> Result<Self, BadGlob> {
        let mut all = Symbols::default();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            if is_exact(pattern) {
                all.exact.insert(pattern.to_owned());
                continue;
            }
            let glob = GlobBuilder::new(pattern).literal_separator(false).build();
            let glob = glob.map_err(|err| BadGlob { pattern: pattern.to_owned(), what: err.kind().to_string() })?;
            all.globs.push(glob.compile_matcher());
        }
        Ok(all)
    }

    /// One symbol, whatever its letters are.
    pub fn exactly(symbol: &str) -> Self {
        Self { exact: BTreeSet::from([symbol.to_owned()]), globs: Vec::new() }
    }

    /// True when the symbol is meant.
    pub fn holds(&self, symbol: &str) -> bool {
        (self.exact.is_empty() && self.globs.is_empty())
            || self.exact.contains(symbol)
            || self.globs.iter().any(|g| g.is_match(symbol))
    }

    /// The names, where nothing but names was given.
    pub fn names(&self) -> Option<&BTreeSet<String>> {
        (self.globs.is_empty() && !self.exact.is_empty()).then_some(&self.exact)
    }

    /// True when every symbol is meant.
    pub(crate) fn is_all(&self) -> bool {
        self.names().is_none() && (self.globs.is_empty() || self.globs.iter().any(|g| g.glob().glob() == "*"))
    }
}

fn in_set<T: Ord>(set: &BTreeSet<T>, value: &T) -> bool {
    set.is_empty() || set.contains(value)
}

impl Selection {
    /// True when files of the series may be meant.
    pub(crate) fn holds_series(&self, series: &SeriesPath) -> bool {
        in_set(&self.markets, &series.market)
            && in_set(&self.periods, &series.period)
            && in_set(&self.kinds, &series.kind)
            && series.interval.is_none_or(|i| in_set(&self.intervals, &i))
            && self.symbols.holds(&series.symbol)
    }

    /// True when a day of the file lies between the first and the last day.
    pub(crate) fn holds_days(&self, path: &ArchivePath) -> bool {
        self.from.is_none_or(|from| path.last_day() >= from) && self.to.is_none_or(|to| path.first_day <= to)
    }

    /// True when the file is meant.
    pub fn holds(&self, path: &ArchivePath) -> bool {
        self.holds_series(&path.series) && self.holds_days(path)
    }

    /// True when no day of the file lies outside.
    pub(crate) fn holds_all_days(&self, path: &ArchivePath) -> bool {
        self.from.is_none_or(|from| path.first_day >= from) && self.to.is_none_or(|to| path.last_day() <= to)
    }

    /// The folders of kinds to look into, in order.
    pub fn kind_folders(&self) -> Vec<(Market, Period, Kind)> {
        let mut folders = Vec::new();
        for market in Market::ALL.iter().filter(|m| in_set(&self.markets, m)) {
            for kind in Kind::ALL.iter().filter(|k| in_set(&self.kinds, k)) {
                for period in Period::ALL.iter().filter(|p| in_set(&self.periods, p)) {
                    if kind.exists(*market, *period) {
                        folders.push((*market, *period, *kind));
                    }
                }
            }
        }
        folders
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn path(text: &str) -> ArchivePath {
        text.parse().unwrap()
    }

    #[test]
    fn names_globs_intervals_and_days_decide_together() {
        let s = Selection {
            symbols: Symbols::new(["BTCUSDT", "ETH*"]).unwrap(),
            intervals: BTreeSet::from([BarInterval::M1]),
            from: Some("2024-01-15".parse().unwrap()),
            to: Some("2024-02-10".parse().unwrap()),
            ..Selection::default()
        };
        assert!(s.holds(&path("data/spot/daily/klines/ETHBTC/1m/ETHBTC-1m-2024-01-15.zip")));
        assert!(s.holds(&path("data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-02-10.zip")));
        assert!(s.holds(&path("data/spot/monthly/trades/BTCUSDT/BTCUSDT-trades-2024-01.zip")), "half of it is meant");
        assert!(!s.holds_all_days(&path("data/spot/monthly/trades/BTCUSDT/BTCUSDT-trades-2024-01.zip")));
        assert!(!s.holds(&path("data/spot/monthly/trades/BTCUSDT/BTCUSDT-trades-2024-03.zip")));
        assert!(!s.holds(&path("data/spot/daily/klines/ETHBTC/5m/ETHBTC-5m-2024-01-15.zip")));
        assert!(!s.holds(&path("data/spot/daily/klines/XETH/1m/XETH-1m-2024-01-15.zip")));
        assert!(s.symbols.names().is_none() && !s.symbols.is_all());
        assert!(Symbols::new(["*"]).unwrap().is_all() && Symbols::default().is_all());
        assert!(Symbols::new(["[a"]).is_err());
    }

    #[test]
    fn only_folders_that_the_archive_has_are_looked_into() {
        let s = Selection { markets: BTreeSet::from([Market::Option]), ..Selection::default() };
        let kinds: Vec<Kind> = s.kind_folders().into_iter().map(|(_, _, k)| k).collect();
        assert_eq!(kinds, [Kind::BvolIndex, Kind::EohSummary]);
        assert!(Selection::default().kind_folders().len() > 30);
    }
}
