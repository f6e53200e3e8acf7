//! Names of files in the archive: text to parts and back. Nothing that could leave the mirror's folder passes.
//!
//! `data/{market}/{period}/{kind}/{SYMBOL}[/{interval}]/{SYMBOL}-{interval or kind}-{YYYY-MM-DD or YYYY-MM}.zip`,
//! as on data.binance.vision; beside each lies a `.CHECKSUM`. Symbols may have any letters, Chinese ones too.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::civil::Date;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::market::{BarInterval, Kind, Market, Period};

/// Ending of the file that holds the SHA-256 of a file.
pub(crate) const CHECKSUM: &str = ".CHECKSUM";
/// Microseconds of a day.
pub(crate) const DAY_US: i64 = 86_400_000_000;
/// First folder of the mirror.
pub(crate) const HOST_DIR: &str = "data.binance.vision";

/// Files that belong together: one market, period, kind, symbol and interval.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesPath {
    /// Market.
    pub market: Market,
    /// Daily or monthly.
    pub period: Period,
    /// What the files hold.
    pub kind: Kind,
    /// The exchange's own spelling.
    pub symbol: String,
    /// Interval; exactly for kinds that have them.
    pub interval: Option<BarInterval>,
}

/// One file of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArchivePath {
    /// Everything but the date.
    pub series: SeriesPath,
    /// First UTC day that the file spans; of a monthly file the first of the month.
    pub first_day: Date,
}

/// Why a text names no file of the archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not a file of the archive: {what}")]
pub struct PathError {
    path: String,
    what: &'static str,
}

impl SeriesPath {
    /// The folder, ending with `/`.
    pub fn folder(&self) -> String {
        let mut text = format!("{}{}/", kind_folder(self.market, self.period, self.kind), self.symbol);
        if let Some(interval) = self.interval {
            text.push_str(interval.as_str());
            text.push('/');
        }
        text
    }

    /// What all file names of the folder begin with.
    pub fn stem(&self) -> String {
        format!("{}-{}-", self.symbol, self.interval.map_or(self.kind.as_str(), BarInterval::as_str))
    }

    /// The file of the day, or of the month that the day lies in.
    pub fn file(&self, day: Date) -> ArchivePath {
        let first_day = if self.period == Period::Monthly { day.first_of_month() } else { day };
        ArchivePath { series: self.clone(), first_day }
    }
}

/// The folder of a kind, ending with `/`; folders of symbols are in it.
pub(crate) fn kind_folder(market: Market, period: Period, kind: Kind) -> String {
    format!("data/{}/{period}/{kind}/", market.folder())
}

/// True for a symbol that may be a folder's name: no separators, no control characters, not hidden, not `..`.
pub(crate) fn is_symbol(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && !text.starts_with('.')
        && !text.chars().any(|c| c.is_control() || c == '/' || c == '\\')
}

impl ArchivePath {
    /// Last UTC day that the file spans.
    pub(crate) fn last_day(&self) -> Date {
        match self.series.period {
            Period::Daily => self.first_day,
            Period::Monthly => self.first_day.last_of_month(),
        }
    }

    /// First instant, us since 1970, and the first one after the file.
    pub(crate) fn span_us(&self) -> (i64, i64) {
        (day_us(self.first_day), day_us(self.last_day()) + DAY_US)
    }

    /// The name without folders: `BTCUSDT-1m-2024-01-01.zip`.
    pub fn name(&self) -> String {
        let (year, month, day) = (self.first_day.year(), self.first_day.month(), self.first_day.day());
        let stem = self.series.stem();
        match self.series.period {
            Period::Daily => format!("{stem}{year:04}-{month:02}-{day:02}.zip"),
            Period::Monthly => format!("{stem}{year:04}-{month:02}.zip"),
        }
    }

    /// Where the file lies in a mirror.
    pub(crate) fn in_mirror(&self, mirror: &Path) -> PathBuf {
        mirror.join(HOST_DIR).join(self.to_string())
    }

    /// Where its `.CHECKSUM` lies in a mirror.
    pub(crate) fn checksum_in_mirror(&self, mirror: &Path) -> PathBuf {
        mirror.join(HOST_DIR).join(format!("{self}{CHECKSUM}"))
    }
}

/// What stays as it is in a URL's path: letters, digits, `-._~` and the slashes between folders.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The URL of a path below `base`, with everything else percent-encoded.
pub(crate) fn url_of(base: &str, path: &str) -> String {
    format!("{base}/{}", utf8_percent_encode(path, PLAIN))
}

/// Midnight of a UTC day, us since 1970.
pub(crate) fn day_us(day: Date) -> i64 {
    let days = day.since(jiff::civil::date(1970, 1, 1)).map_or(0, |span| i64::from(span.get_days()));
    days * DAY_US
}

impl fmt::Display for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.series.folder(), self.name())
    }
}

impl FromStr for ArchivePath {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        let bad = |what| PathError { path: path.to_owned(), what };
        let mut parts = path.split('/');
        let mut next = || parts.next().ok_or_else(|| bad("it has too few folders"));
        if next()? != "data" {
            return Err(bad("it does not begin with data/"));
        }
        let first = next()?;
        let folder = if first == "futures" { format!("futures/{}", next()?) } else { first.to_owned() };
        let market = Market::ALL.iter().copied().find(|m| m.folder() == folder).ok_or_else(|| bad("unknown market"))?;
        let period: Period = next()?.parse().map_err(|_| bad("it is neither daily nor monthly"))?;
        let kind: Kind = next()?.parse().map_err(|_| bad("unknown kind"))?;
        let symbol = next()?.to_owned();
        if !is_symbol(&symbol) {
            return Err(bad("its symbol is none"));
        }
        let interval = if kind.has_intervals() {
            Some(next()?.parse::<BarInterval>().map_err(|_| bad("unknown interval"))?)
        } else {
            None
        };
        let series = SeriesPath { market, period, kind, symbol, interval };
        let name = next()?;
        if parts.next().is_some() {
            return Err(bad("it has too many folders"));
        }
        let date = name
            .strip_prefix(series.stem().as_str())
            .and_then(|rest| rest.strip_suffix(".zip"))
            .ok_or_else(|| bad("its name does not repeat symbol and kind, or is no .zip"))?;
        let first_day = date_of(period, date).ok_or_else(|| bad("its date is none"))?;
        Ok(ArchivePath { series, first_day })
    }
}

/// The date in a name: exactly `YYYY-MM-DD` or `YYYY-MM`.
fn date_of(period: Period, text: &str) -> Option<Date> {
    let digits = |text: &str, n: usize| -> Option<i16> {
        (text.len() == n && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
    };
    let mut parts = text.split('-');
    let (year, month) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?);
    let day = match period {
        Period::Daily => digits(parts.next()?, 2)?,
        Period::Monthly => 1,
    };
    if parts.next().is_some() {
        return None;
    }
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use jiff::civil::date;

    #[test]
    fn names_of_all_shapes_read_and_print_the_same() {
        for text in [
            "data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-01.zip",
            "data/spot/monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-2024-02.zip",
            "data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2026-01-02.zip",
            "data/futures/cm/daily/trades/BTCUSD_250627/BTCUSD_250627-trades-2025-06-27.zip",
            "data/futures/um/monthly/fundingRate/1000SHIBUSDT/1000SHIBUSDT-fundingRate-2024-12.zip",
            "data/futures/um/daily/klines/\u{5e01}\u{5b89}\u{4eba}\u{751f}USDT/1h/\u{5e01}\u{5b89}\u{4eba}\u{751f}USDT-1h-2025-10-09.zip",
            "data/option/daily/BVOLIndex/BTCBVOLUSDT/BTCBVOLUSDT-BVOLIndex-2023-01-01.zip",
        ] {
            let path: ArchivePath = text.parse().unwrap();
            assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_file_of_the_archive_or_would_leave_the_mirror_is_refused() {
        for text in [
            "",
            "data/spot/daily/klines/BTCUSDT/1m",
            "data/spot/daily/klines/../1m/..-1m-2024-01-01.zip",
            "data/spot/daily/klines/./1m/.-1m-2024-01-01.zip",
            "/data/spot/daily/trades/A/A-trades-2024-01-01.zip",
            "data/spot/daily/trades/A/A-trades-2024-01-01.zip.CHECKSUM",
            "data/spot/daily/trades/A/B-trades-2024-01-01.zip",
            "data/spot/daily/trades/A/A-aggTrades-2024-01-01.zip",
            "data/spot/daily/trades/A/A-trades-2024-01.zip",
            "data/spot/monthly/trades/A/A-trades-2024-01-01.zip",
            "data/spot/daily/trades/A/A-trades-2024-02-30.zip",
            "data/spot/daily/trades/A/A-trades-+024-02-03.zip",
            "data/spot/daily/trades/A/x/A-trades-2024-01-01.zip",
            "data/spot/daily/klines/A/1x/A-1x-2024-01-01.zip",
            "data/spot/daily/trades/A\\B/A\\B-trades-2024-01-01.zip",
            "data/spot/daily/trades/A\n/A\n-trades-2024-01-01.zip",
            "data/futures/xm/daily/trades/A/A-trades-2024-01-01.zip",
        ] {
            assert!(text.parse::<ArchivePath>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_monthly_file_spans_its_month_to_the_microsecond() {
        let path: ArchivePath = "data/spot/monthly/trades/A/A-trades-2024-02.zip".parse().unwrap();
        assert_eq!((path.first_day, path.last_day()), (date(2024, 2, 1), date(2024, 2, 29)));
        assert_eq!(path.span_us(), (1_706_745_600_000_000, 1_709_251_200_000_000));
        assert_eq!(path.series.file(date(2024, 3, 17)).name(), "A-trades-2024-03.zip");
        assert_eq!(day_us(date(1969, 12, 31)), -86_400_000_000);
    }

    #[test]
    fn names_with_any_letters_have_a_url() {
        assert_eq!(url_of("https://h/p", "data/\u{5e01} +&.zip"), "https://h/p/data/%E5%B8%81%20%2B%26.zip");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_name_that_prints_the_same_or_an_error(text in "data/(spot|futures/um)/(daily|monthly)/(klines|trades)/\\PC{0,4}/(1m/)?\\PC{0,30}") {
            if let Ok(path) = text.parse::<ArchivePath>() {
                proptest::prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}
