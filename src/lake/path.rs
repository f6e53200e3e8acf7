//! Names in the lake: where a part is published, where it is staged, and back again.
//!
//! ```text
//! lake/<table>/exchange=<venue>/date=YYYY-MM-DD/hour=HH/<part>.parquet (.jsonl.zst, .csv.zst)
//! lake/_manifests/exchange=<venue>/date=YYYY-MM-DD/hour=HH/<part>.json
//! lake/.staging/<venue>-<YYYYMMDDHH>-<part>/<table>.<piece, 6 digits>.parquet
//!
//! <part> = <log8>-<incarnation, 4 hex>-<first seq, 16 hex>     version 1: <log8>-<first seq, 16 hex>
//! ```
//!
//! The incarnation is that of the run that the part's first record is of: a log that was restored from a backup, or
//! cloned, never gives a name that the other copy gave, unless both hold the same records from there on.
//!
//! All times are UTC. A part is what one log gives to one hour, or to `[lake] part_minutes` of it; an hour drained while
//! open gives one part more.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::civil::date;
use jiff::tz::Offset;

use super::{LakeFormat, Table};

const HOUR_NS: u64 = 3_600_000_000_000;

/// Hours since 1970-01-01T00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hour(pub i64);

impl Hour {
    /// The hour of a receive time in ns since the epoch.
    pub fn of_ns(ts_recv_ns: u64) -> Self {
        Self((ts_recv_ns / HOUR_NS) as i64)
    }

    /// First ns of the hour.
    pub fn start_ns(self) -> u64 {
        (self.0.max(0) as u64).saturating_mul(HOUR_NS)
    }

    /// First ns of the next hour.
    pub fn end_ns(self) -> u64 {
        self.next().start_ns()
    }

    /// The hour after.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    fn civil(self) -> jiff::civil::DateTime {
        // A `u64` of nanoseconds ends in 2554: always inside jiff's range.
        let ts = jiff::Timestamp::from_second(self.0.saturating_mul(3_600)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Offset::UTC.to_datetime(ts)
    }

    /// `YYYY-MM-DD`.
    pub fn date(self) -> String {
        self.civil().date().to_string()
    }

    /// `HH`.
    pub fn hh(self) -> String {
        format!("{:02}", self.civil().hour())
    }

    /// Reads its text (`YYYY-MM-DDTHH`) back.
    pub fn from_text(text: &str) -> Option<Self> {
        let (day, hh) = text.split_once('T')?;
        Self::parse(day, hh)
    }

    /// The hour of `YYYY-MM-DD` and `HH`.
    pub fn parse(day: &str, hh: &str) -> Option<Self> {
        let fixed = day.len() == 10 && hh.len() == 2 && hh.bytes().all(|b| b.is_ascii_digit());
        let day: jiff::civil::Date = day.parse().ok().filter(|_| fixed)?;
        let hour: i64 = hh.parse().ok().filter(|h| *h < 24)?;
        let days = day.since(date(1970, 1, 1)).ok()?.get_days();
        Some(Self(i64::from(days) * 24 + hour))
    }
}

/// `YYYY-MM-DDTHH`.
impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{}", self.date(), self.hh())
    }
}

/// What one log gives to one hour, from one boundary to the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Part {
    /// Venue name.
    pub venue: String,
    /// Receive hour.
    pub hour: Hour,
    /// First 8 hex digits of the log's uuid.
    pub log8: String,
    /// First 4 hex digits of the incarnation of the run that the first record is of; 0 for a run of version 1.
    pub incarnation: u16,
    /// Seq of the part's first record.
    pub first_seq: u64,
}

impl Part {
    /// What the names of all its files begin with.
    pub fn stem(&self) -> String {
        match self.incarnation {
            0 => format!("{}-{:016x}", self.log8, self.first_seq),
            incarnation => format!("{}-{incarnation:04x}-{:016x}", self.log8, self.first_seq),
        }
    }

    /// Key of this part's file of `table`.
    pub fn file(&self, table: Table) -> String {
        self.file_as(table, LakeFormat::Parquet)
    }

    /// Key of this part's file of `table` in a lake of `format`.
    pub fn file_as(&self, table: Table, format: LakeFormat) -> String {
        self.key(table.as_str(), format.extension())
    }

    /// Key of this part's manifest.
    pub fn manifest(&self) -> String {
        self.key("_manifests", "json")
    }

    fn key(&self, top: &str, extension: &str) -> String {
        let (venue, day, hh, stem) = (&self.venue, self.hour.date(), self.hour.hh(), self.stem());
        format!("{top}/exchange={venue}/date={day}/hour={hh}/{stem}.{extension}")
    }

    /// Reads a path of [`Part::file_as`] or [`Part::manifest`] back; the table is `None` for a manifest.
    /// Only the last five components are looked at.
    pub fn from_path(path: &Path) -> Option<(Option<Table>, Part)> {
        let mut names = path.components().rev().map(|c| c.as_os_str().to_str());
        let mut name = || names.next().flatten();
        let file = name()?;
        let hh = name()?.strip_prefix("hour=")?;
        let day = name()?.strip_prefix("date=")?;
        let venue = name()?.strip_prefix("exchange=")?;
        let top = name()?;
        let (table, stem) = match top {
            "_manifests" => (None, file.strip_suffix(".json")?),
            t => {
                let stem = |f: &LakeFormat| file.strip_suffix(f.extension())?.strip_suffix('.');
                (Some(t.parse().ok()?), LakeFormat::ALL.iter().find_map(stem)?)
            }
        };
        Some((table, Part::named(venue, Hour::parse(day, hh)?, stem)?))
    }

    /// Reads [`Part::stem`] back.
    fn named(venue: &str, hour: Hour, stem: &str) -> Option<Part> {
        let mut fields = stem.split('-');
        let log8 = hex_digits::<8>(fields.next()?)?;
        let (incarnation, seq) = match (fields.next()?, fields.next()) {
            (seq, None) => (0, seq),
            // All zeros is none: such a name is never given.
            (incarnation, Some(seq)) => match u16::from_str_radix(hex_digits::<4>(incarnation)?, 16).ok()? {
                0 => return None,
                incarnation => (incarnation, seq),
            },
        };
        let first_seq = u64::from_str_radix(hex_digits::<16>(seq)?, 16).ok()?;
        let part = Part { venue: venue.to_owned(), hour, log8: log8.to_owned(), incarnation, first_seq };
        fields.next().is_none().then_some(part)
    }
}

/// `text`, if it is `N` lower-case hex digits.
fn hex_digits<const N: usize>(text: &str) -> Option<&str> {
    let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    Some(text).filter(|t| t.len() == N && hex)
}

/// Local directory that holds the staged pieces of a part, below [`super::Lake::work`]. Hidden: readers that glob never
/// look inside.
pub fn staging_dir(work: &Path, part: &Part) -> PathBuf {
    let (day, hh) = (part.hour.date().replace('-', ""), part.hour.hh());
    work.join(".staging").join(format!("{}-{day}{hh}-{}", part.venue, part.stem()))
}

/// Path of staged piece number `index` (from 0, in log order) of a table.
pub fn staged_path(work: &Path, part: &Part, table: Table, index: u32) -> PathBuf {
    staging_dir(work, part).join(format!("{table}.{index:06}.parquet"))
}

/// A staged piece, read back from its path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StagedPiece {
    /// The part it belongs to.
    pub part: Part,
    /// Its table.
    pub table: Table,
    /// Its place among the part's pieces of that table.
    pub index: u32,
}

impl StagedPiece {
    /// Reads a path of [`staged_path`] back; anything else (temporary files, joined files) is `None`.
    pub fn from_path(path: &Path) -> Option<StagedPiece> {
        let stem = path.file_name()?.to_str()?.strip_suffix(".parquet")?;
        let (table, index) = stem.split_once('.')?;
        if index.len() < 6 || !index.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(StagedPiece {
            part: parse_staging_dir(path.parent()?)?,
            table: table.parse().ok()?,
            index: index.parse().ok()?,
        })
    }
}

/// Reads a path of [`staging_dir`] back.
pub fn parse_staging_dir(dir: &Path) -> Option<Part> {
    let name = dir.file_name()?.to_str()?;
    // The venue has dashes of its own: the hour is the one field of ten digits, and the part is after it.
    let is_hour = |field: &str| field.len() == 10 && field.bytes().all(|b| b.is_ascii_digit());
    let (before, _) = name.match_indices('-').find(|(at, _)| {
        let behind = name.get(at + 1..at + 11);
        behind.is_some_and(is_hour) && name.as_bytes().get(at + 11) == Some(&b'-')
    })?;
    let (venue, hour, stem) = (name.get(..before)?, name.get(before + 1..before + 11)?, name.get(before + 12..)?);
    let day = format!("{}-{}-{}", hour.get(..4)?, hour.get(4..6)?, hour.get(6..8)?);
    Part::named(venue, Hour::parse(&day, hour.get(8..)?)?, stem)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn part() -> Part {
        Part {
            venue: "binance-usdm".into(),
            // 2024-08-09T00 UTC.
            hour: Hour::of_ns(1_723_161_600_000_000_000),
            log8: "0badcafe".into(),
            incarnation: 0x0a1b,
            first_seq: 3 << 40 | 17,
        }
    }

    #[test]
    fn paths_are_the_ones_of_the_design() {
        let lake = Path::new("/d/lake");
        assert_eq!(
            part().file(Table::AggTrades),
            "agg_trades/exchange=binance-usdm/date=2024-08-09/hour=00/0badcafe-0a1b-0000030000000011.parquet"
        );
        assert_eq!(
            part().manifest(),
            "_manifests/exchange=binance-usdm/date=2024-08-09/hour=00/0badcafe-0a1b-0000030000000011.json"
        );
        assert_eq!(
            staged_path(lake, &part(), Table::Depth, 7).to_str().unwrap(),
            "/d/lake/.staging/binance-usdm-2024080900-0badcafe-0a1b-0000030000000011/depth.000007.parquet"
        );
        let old = Part { incarnation: 0, ..part() };
        assert_eq!(old.stem(), "0badcafe-0000030000000011", "as version 1 named it");
    }

    proptest! {
        #[test]
        fn paths_read_back(hour in 0_i64..5_000_000, seq in any::<u64>(), incarnation in any::<u16>(), index in 0_u32..2_000_000, t in 0..Table::ALL.len()) {
            let p = Part { hour: Hour(hour), first_seq: seq, incarnation, ..part() };
            let lake = Path::new("x");
            let t = Table::ALL[t];
            prop_assert_eq!(Part::from_path(Path::new(&p.file(t))).unwrap(), (Some(t), p.clone()));
            for format in [LakeFormat::Parquet, LakeFormat::Jsonl, LakeFormat::Csv] {
                prop_assert_eq!(Part::from_path(Path::new(&p.file_as(t, format))).unwrap(), (Some(t), p.clone()));
            }
            prop_assert_eq!(Part::from_path(Path::new(&p.manifest())).unwrap(), (None, p.clone()));
            let staged = StagedPiece::from_path(&staged_path(lake, &p, t, index)).unwrap();
            prop_assert_eq!(staged, StagedPiece { part: p.clone(), table: t, index });
            prop_assert_eq!(Hour::parse(&p.hour.date(), &p.hour.hh()), Some(p.hour));
            prop_assert_eq!(Hour::of_ns(p.hour.end_ns() - 1), p.hour);
        }
    }

    #[test]
    fn foreign_paths_are_refused() {
        for p in [
            "lake/trades/exchange=x/date=2024-08-09/hour=00/0badcafe-11.parquet",
            "lake/trades/exchange=x/date=2024-08-09/hour=24/0badcafe-0000030000000011.parquet",
            "lake/trades/exchange=x/date=2024-13-09/hour=01/0badcafe-0000030000000011.parquet",
            "lake/trades/exchange=x/date=2024-08-09/hour=00/0badcafe-0000-0000030000000011.parquet",
            "lake/trades/exchange=x/date=2024-08-09/hour=00/0badcafe-12345-0000030000000011.parquet",
            "lake/trades/exchange=x/date=2024-08-09/hour=00/0badcafe-1234-0000030000000011-1.parquet",
            "lake/shoes/exchange=x/date=2024-08-09/hour=01/0badcafe-0000030000000011.parquet",
            "lake/trades/exchange=x/date=2024-08-09/hour=01/0badcafe-0000030000000011.parquet.tmp",
            "0badcafe-0000030000000011.parquet",
        ] {
            assert_eq!(Part::from_path(Path::new(p)), None, "{p}");
        }
    }
}
