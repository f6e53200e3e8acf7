//! Proof of what was cleaned: are the files those of their records, are their rows in order, what is missing, do the
//! archive's candles follow from its trades, does the live lake say the same.
//!
//! ```text
//!  record --> zips and lake files: digests, rows, order     (files)
//!  trades, aggregates --fold--> candles = archive's candles? (candles)
//!  trades, aggregates = live lake, id by id?                 (overlap)
//! ```
//! Changes nothing but `stats.json`. Wrong is what neither reported defects and outages
//! nor the archive's own gaps explain.

mod candles;
mod files;
mod overlap;
mod rows;
#[cfg(test)]
mod tests;

pub use candles::CandleCheck;
pub use files::FileCheck;
pub use overlap::OverlapCheck;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use wal_format::error_chain;

use super::clean::Record;
use super::clean::place::{Series, table};
use super::error::{HistoryError, Result};
use super::stats::{Stats, records};
use super::{ArchivePath, Kind, Selection};
use lake::Lake;

/// What to verify.
pub struct VerifyJob<'j> {
    /// The mirror.
    pub mirror: &'j Path,
    /// The lake of the archive.
    pub lake: &'j Lake,
    /// The live lake, where there is one.
    pub live: Option<&'j Lake>,
    /// Which series.
    pub selection: &'j Selection,
    /// Sizes only: no digests of files, no rows.
    pub quick: bool,
    /// Hears of every series.
    pub on_series: &'j dyn Fn(&SeriesReport),
}

/// What was found in one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SeriesReport {
    /// Folder in the lake.
    pub series: String,
    /// As in `stats.json`.
    pub stats: Stats,
    /// Files against their records.
    pub files: FileCheck,
    /// Candles rebuilt from the rows, by interval; of trades and aggregates only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub candles: BTreeMap<String, CandleCheck>,
    /// Rows that the live lake has too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<OverlapCheck>,
    /// What is wrong, one sentence each.
    pub wrong: Vec<String>,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VerifyReport {
    /// By series.
    pub series: Vec<SeriesReport>,
}

impl VerifyReport {
    /// How many series have something wrong.
    pub fn wrong(&self) -> usize {
        self.series.iter().filter(|s| !s.wrong.is_empty()).count()
    }
}

/// What was cleaned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// The series of the selection.
    pub series: BTreeSet<Series>,
    /// Records that cannot be read, by their path below the lake, whatever series they are of; and why.
    pub damaged: BTreeMap<String, String>,
}

/// The series of a selection that were cleaned. A record that is damaged costs its own month.
///
/// # Errors
/// When the lake cannot be listed.
pub fn series(lake: &Lake, selection: &Selection) -> Result<Cleaned> {
    let mut found = Cleaned::default();
    for at in lake.list("_manifests", None, None)? {
        let record = match read(lake, &at.key) {
            Ok(record) => record,
            Err(err) => {
                found.damaged.insert(at.key, error_chain(&err));
                continue;
            }
        };
        let names = record.inputs.iter().filter_map(|i| i.path.parse::<ArchivePath>().ok());
        found.series.extend(names.filter(|p| selection.holds(p)).map(|p| Series {
            market: p.series.market,
            kind: p.series.kind,
            symbol: p.series.symbol,
            interval: p.series.interval,
        }));
    }
    Ok(found)
}

fn read(lake: &Lake, key: &str) -> Result<Record> {
    let path = lake.place(key);
    let bytes = lake.read(key).map_err(HistoryError::of("read", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|source| HistoryError::NoRecord { path, source })
}

/// Verifies every series of a selection.
///
/// # Errors
/// When something cannot be read at all; what is wrong is in the report.
pub fn verify(job: &VerifyJob<'_>) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let Cleaned { series: all, damaged } = series(job.lake, job.selection)?;
    for (path, why) in damaged {
        let one = SeriesReport { series: path, wrong: vec![why], ..SeriesReport::default() };
        (job.on_series)(&one);
        report.series.push(one);
    }
    for series in &all {
        let one = one(job, series).map_err(HistoryError::of("verify", series.folder().unwrap_or_default()))?;
        (job.on_series)(&one);
        report.series.push(one);
    }
    Ok(report)
}

fn one(job: &VerifyJob<'_>, series: &Series) -> Result<SeriesReport> {
    let records = records(job.lake, series)?;
    let stats = Stats::sum(series, &records);
    stats.publish(job.lake)?;
    let files = files::check((job.mirror, job.lake), series, &records, job.quick)?;
    let mut report = SeriesReport {
        series: series.folder().unwrap_or_default(),
        wrong: files.wrong.clone(),
        files,
        stats,
        ..SeriesReport::default()
    };
    let has_trades = matches!(series.kind, Kind::Trades | Kind::AggTrades);
    if has_trades && !job.quick && report.wrong.is_empty() {
        report.candles = candles::check(job.lake, series, &records)?;
        if let (Some(live), Some(table)) = (job.live, table(series.kind)) {
            report.overlap = overlap::check(live, job.lake, series, table, &records)?;
        }
    }
    let more = judge(&report);
    report.wrong.extend(more);
    Ok(report)
}

/// What of the findings is wrong.
fn judge(r: &SeriesReport) -> Vec<String> {
    let mut wrong = Vec::new();
    let s = &r.stats;
    let mut say = |n: u64, what: &str| {
        if n > 0 {
            wrong.push(format!("{n} {what}"));
        }
    };
    say(s.missing_unexplained, "ids or rows are missing that no reported defect or outage explains");
    say(
        s.contradictions_unexplained,
        "times candles contradict themselves or their grid (`contradictions` of stats.json says which)",
    );
    say(
        s.repeated,
        "ids or times are in two months with other values, or too far from their edge: the lake has them twice",
    );
    say(s.conflicts, "rows contradict another one with the same key (_quarantine/)");
    let quarantined = s.put_aside.values().copied().fold(0, u64::saturating_add);
    say(quarantined.saturating_sub(s.conflicts), "lines are no rows (_quarantine/)");
    for (name, what) in [
        ("wrong_checksum", "files have another checksum than published: download them again"),
        ("damaged_zip", "zips are damaged: download them again"),
        ("refused_zip", "zips are none of the archive's"),
    ] {
        say(s.defects.get(name).map_or(0, |d| d.count), what);
    }
    for (interval, c) in &r.candles {
        say(c.different, &format!("candles of {interval} differ from what the trades give"));
        say(c.only_trades, &format!("candles of {interval} are missing though there are trades"));
    }
    if let Some(o) = &r.overlap {
        say(o.different, "rows differ from the live lake");
        say(o.only_live, "rows of the live lake are not in the archive");
    }
    wrong
}
