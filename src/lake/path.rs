//! Names in the lake: where a part is published, where it is staged, and back again.
//!
//! ```text
//! lake/<table>/exchange=<venue>/date=YYYY-MM-DD/hour=HH/<log8>-<first seq, 16 hex>.parquet (.jsonl.zst, .csv.zst)
//! lake/_manifests/exchange=<venue>/date=YYYY-MM-DD/hour=HH/<log8>-<first seq, 16 hex>.json
//! lake/.staging/<venue>-<YYYYMMDDHH>-<log8>-<first seq, 16 hex>/<table>.<piece, 6 digits>.parquet
//! ```
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

/// What one log gives to one hour, from one cut point to the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Part {
    /// Venue word.
    pub venue: String,
    /// Receive hour.
    pub hour: Hour,
    /// First 8 hex digits of the log's uuid.
    pub log8: String,
    /// Seq of the part's first record.
    pub first_seq: u64,
}

impl Part {
    /// Path of this part's file of `table`.
    pub fn file(&self, lake: &Path, table: Table) -> PathBuf {
        final_path(lake, table, &self.venue, self.hour, &self.log8, self.first_seq)
    }

    /// Path of this part's file of `table` in a lake of `format`.
    pub fn file_as(&self, lake: &Path, table: Table, format: LakeFormat) -> PathBuf {
        let mut path = self.file(lake, table);
        path.set_extension(format.extension());
        path
    }

    /// Path of this part's manifest.
    pub fn manifest(&self, lake: &Path) -> PathBuf {
        manifest_path(lake, &self.venue, self.hour, &self.log8, self.first_seq)
    }

    /// Reads a path of [`final_path`] or [`manifest_path`] back; the table is `None` for a manifest.
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
                let formats = [LakeFormat::Parquet, LakeFormat::Jsonl, LakeFormat::Csv];
                let stem = |f: &LakeFormat| file.strip_suffix(f.extension())?.strip_suffix('.');
                (Some(t.parse().ok()?), formats.iter().find_map(stem)?)
            }
        };
        let (log8, first_seq) = parse_stem(stem)?;
        let part = Part { venue: venue.to_owned(), hour: Hour::parse(day, hh)?, log8, first_seq };
        Some((table, part))
    }
}

fn parse_stem(stem: &str) -> Option<(String, u64)> {
    let (log8, seq) = stem.split_once('-')?;
    let hex = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if log8.len() != 8 || seq.len() != 16 || !hex(log8) || !hex(seq) {
        return None;
    }
    Some((log8.to_owned(), u64::from_str_radix(seq, 16).ok()?))
}

fn hour_dir(top: PathBuf, venue: &str, hour: Hour) -> PathBuf {
    let mut p = top;
    p.push(format!("exchange={venue}"));
    p.push(format!("date={}", hour.date()));
    p.push(format!("hour={}", hour.hh()));
    p
}

/// Path of a published file. `first_seq` is the seq of the part's first record, `log8` the first 8 hex digits
/// of the log's uuid.
pub fn final_path(lake: &Path, table: Table, venue: &str, hour: Hour, log8: &str, first_seq: u64) -> PathBuf {
    hour_dir(lake.join(table.as_str()), venue, hour).join(format!("{log8}-{first_seq:016x}.parquet"))
}

/// Path of a part's manifest.
pub fn manifest_path(lake: &Path, venue: &str, hour: Hour, log8: &str, first_seq: u64) -> PathBuf {
    hour_dir(lake.join("_manifests"), venue, hour).join(format!("{log8}-{first_seq:016x}.json"))
}

/// Directory that holds the staged pieces of a part. Hidden: readers that glob never look inside.
pub fn staging_dir(lake: &Path, part: &Part) -> PathBuf {
    lake.join(".staging").join(format!(
        "{}-{}{}-{}-{:016x}",
        part.venue,
        part.hour.date().replace('-', ""),
        part.hour.hh(),
        part.log8,
        part.first_seq
    ))
}

/// Path of staged piece number `index` (from 0, in log order) of a table.
pub fn staged_path(lake: &Path, part: &Part, table: Table, index: u32) -> PathBuf {
    staging_dir(lake, part).join(format!("{table}.{index:06}.parquet"))
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
    // The venue has dashes of its own: split from the right.
    let mut fields = name.rsplitn(4, '-');
    let seq = fields.next()?;
    let log8 = fields.next()?;
    let hour = fields.next()?;
    let venue = fields.next()?;
    let (log8, first_seq) = parse_stem(&format!("{log8}-{seq}"))?;
    if hour.len() != 10 || !hour.is_ascii() {
        return None;
    }
    let (day, hh) = hour.split_at(8);
    let day = format!("{}-{}-{}", day.get(..4)?, day.get(4..6)?, day.get(6..8)?);
    Some(Part { venue: venue.to_owned(), hour: Hour::parse(&day, hh)?, log8, first_seq })
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
            first_seq: 3 << 40 | 17,
        }
    }

    #[test]
    fn paths_are_the_ones_of_the_design() {
        let lake = Path::new("/d/lake");
        assert_eq!(
            part().file(lake, Table::AggTrades).to_str().unwrap(),
            "/d/lake/agg_trades/exchange=binance-usdm/date=2024-08-09/hour=00/0badcafe-0000030000000011.parquet"
        );
        assert_eq!(
            part().manifest(lake).to_str().unwrap(),
            "/d/lake/_manifests/exchange=binance-usdm/date=2024-08-09/hour=00/0badcafe-0000030000000011.json"
        );
        assert_eq!(
            staged_path(lake, &part(), Table::Depth, 7).to_str().unwrap(),
            "/d/lake/.staging/binance-usdm-2024080900-0badcafe-0000030000000011/depth.000007.parquet"
        );
    }

    proptest! {
        #[test]
        fn paths_read_back(hour in 0_i64..5_000_000, seq in any::<u64>(), index in 0_u32..2_000_000, t in 0..Table::ALL.len()) {
            let p = Part { hour: Hour(hour), first_seq: seq, ..part() };
            let lake = Path::new("x");
            let t = Table::ALL[t];
            prop_assert_eq!(Part::from_path(&p.file(lake, t)).unwrap(), (Some(t), p.clone()));
            for format in [LakeFormat::Parquet, LakeFormat::Jsonl, LakeFormat::Csv] {
                prop_assert_eq!(Part::from_path(&p.file_as(lake, t, format)).unwrap(), (Some(t), p.clone()));
            }
            prop_assert_eq!(Part::from_path(&p.manifest(lake)).unwrap(), (None, p.clone()));
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
            "lake/shoes/exchange=x/date=2024-08-09/hour=01/0badcafe-0000030000000011.parquet",
            "lake/trades/exchange=x/date=2024-08-09/hour=01/0badcafe-0000030000000011.parquet.tmp",
            "0badcafe-0000030000000011.parquet",
        ] {
            assert_eq!(Part::from_path(Path::new(p)), None, "{p}");
        }
    }
}
