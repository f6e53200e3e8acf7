//! `stats.json` of a series: what is there, what is missing, what was wrong with the archive's files and what was made
//! of it. A sum of the records of its months, so it never needs the rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wal_format::error_chain;

use super::clean::place::{Series, table, venue};
use super::clean::record::{InputRecord, Record};
use super::clean::tally::{ArchiveGap, ArchiveGaps, Faulty, Tally};
use super::error::Result;
use super::known;
use lake::{Body, Lake};

/// Most files that are named beside a defect.
const MAX_FILES: usize = 20;
/// Most known defects that are reported.
const MAX_KNOWN: usize = 64;

/// One kind of defect, in all files of the series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defect {
    /// How often: rows, ids, files, as the name says.
    pub count: u64,
    /// The first files with it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub files: Vec<String>,
    /// Where it was reported, when it is a known one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub known: Option<String>,
}

/// Digests of one file of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// Name in the archive.
    pub path: String,
    /// SHA-256 of the bytes here.
    pub sha256: String,
    /// `ok`, `wrong` or `none` (the archive published none).
    pub state: String,
    /// What it was before, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub former_sha256: Vec<String>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Market of the archive.
    pub market: String,
    /// Kind of file.
    pub kind: String,
    /// The exchange's own spelling.
    pub symbol: String,
    /// Interval of candles.
    pub interval: Option<String>,
    /// Table of the lake.
    pub table: String,
    /// Venue name in the lake.
    pub exchange: String,
    /// Months cleaned.
    pub months: u64,
    /// Months between the first and the last that are not there.
    pub missing_months: Vec<String>,
    /// Rows.
    pub rows: u64,
    /// Time of the first row, UTC.
    pub earliest: Option<String>,
    /// Time of the last row, UTC.
    pub latest: Option<String>,
    /// Longest time between two rows, seconds.
    pub longest_pause_s: f64,
    /// Missing ids or rows, of all there should be; null where neither ids nor times show it.
    pub missing_rate: Option<f64>,
    /// Gaps that no reported defect or outage explains: ids or rows.
    pub missing_unexplained: u64,
    /// Candles that contradict themselves or their grid, by what they say; open times in us.
    pub contradictions: BTreeMap<String, Faulty>,
    /// Of them those that no reported defect explains.
    pub contradictions_unexplained: u64,
    /// Ids, or rows of a fixed step, that are in two months of the lake.
    pub repeated: u64,
    /// The same row in two months of the archive, left out of the later one.
    #[serde(default)]
    pub in_two_months: u64,
    /// The same row again in one file.
    pub duplicates: u64,
    /// The same row in a monthly and a daily file.
    pub in_two_files: u64,
    /// Other values under a key that was taken; rejected.
    pub conflicts: u64,
    /// Rows that were out of order in their file.
    pub unordered: u64,
    /// Place-holders left out.
    pub sentinels: u64,
    /// Lines rejected, by reason; conflicts are among them.
    pub put_aside: BTreeMap<String, u64>,
    /// Missing ids.
    pub missing_ids: ArchiveGaps,
    /// Missing ids of trades between aggregates.
    pub missing_trade_ids: ArchiveGaps,
    /// Missing rows of a series with a fixed step; open times in us.
    pub missing_times: ArchiveGaps,
    /// Defects met, by name.
    pub defects: BTreeMap<String, Defect>,
    /// Reported defects of the archive and outages of the exchange that lie here: from when to when, and the source.
    pub reported: Vec<String>,
    /// Every file and its digests.
    pub checksums: Vec<Checksum>,
}

/// Time as text.
pub(crate) fn utc(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map(|t| t.to_string()).unwrap_or_default()
}

/// The records of a series, oldest month first. One that is damaged is left out: its month is reported by
/// [`super::verify::series`], and the next clean makes it again.
///
/// # Errors
/// When they cannot be listed.
pub fn records(lake: &Lake, series: &Series) -> Result<Vec<Record>> {
    let Some(folder) = series.folder() else { return Ok(Vec::new()) };
    let read = |key: &str| -> Result<Record> { Ok(serde_json::from_slice(&lake.read(key)?)?) };
    let read_one = |key: &str| {
        read(key).inspect_err(|err| {
            let path = lake.place(key);
            tracing::warn!(path = %path.display(), error = %error_chain(err), "a damaged record; clean its month again");
        })
    };
    let found = lake.list(&format!("_manifests/{folder}"), None, None)?;
    let json = found.iter().filter(|found| found.key.ends_with(".json"));
    Ok(json.filter_map(|found| read_one(&found.key).ok()).collect())
}

impl Stats {
    /// Sums the records of a series in the lake.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn of(lake: &Lake, series: &Series) -> Result<Stats> {
        Ok(Self::sum(series, &records(lake, series)?))
    }

    /// Sums records, oldest month first.
    pub fn sum(series: &Series, records: &[Record]) -> Stats {
        let mut s = Stats {
            market: series.market.to_string(),
            kind: series.kind.to_string(),
            symbol: series.symbol.clone(),
            interval: series.interval.map(|i| i.to_string()),
            table: table(series.kind).map(|t| t.to_string()).unwrap_or_default(),
            exchange: venue(series.market).to_owned(),
            months: records.len() as u64,
            missing_months: missing_months(records),
            ..Stats::default()
        };
        let mut tally = Tally::default();
        for r in records {
            tally.extend(&r.tally);
            s.duplicates = s.duplicates.saturating_add(r.duplicates);
            s.in_two_files = s.in_two_files.saturating_add(r.overlap);
            s.conflicts = s.conflicts.saturating_add(r.conflicts);
            s.in_two_months = s.in_two_months.saturating_add(r.in_two_months);
            for (reason, n) in &r.reasons {
                let sum = s.put_aside.entry(reason.clone()).or_default();
                *sum = sum.saturating_add(*n);
            }
            for i in &r.inputs {
                s.unordered = s.unordered.saturating_add(i.counts.unordered);
                s.sentinels = s.sentinels.saturating_add(i.counts.sentinels);
                s.checksums.push(checksum(i));
            }
            s.name_defects(r);
        }
        s.header_defect(records);
        s.take_tally(series, tally);
        s
    }

    fn take_tally(&mut self, series: &Series, tally: Tally) {
        self.rows = tally.rows;
        self.earliest = tally.earliest_us.map(utc);
        self.latest = tally.latest_us.map(utc);
        self.longest_pause_s = tally.longest_pause_us as f64 / 1e6;
        let first = tally.first;
        let has_ids = first.is_some_and(|e| e.id.is_some());
        let has_step = first.is_some_and(|e| e.step_us.is_some());
        let missing = if has_ids { tally.ids.missing } else { tally.times.missing };
        if (has_ids || has_step) && tally.rows > 0 {
            self.missing_rate = Some(missing as f64 / missing.saturating_add(tally.rows) as f64);
        }
        let (gaps, step_us) = if has_ids { (&tally.ids, None) } else { (&tally.times, first.and_then(|e| e.step_us)) };
        self.missing_unexplained = self.unexplained(series, gaps, step_us, tally.latest_us);
        self.note("missing_ids", tally.ids.missing, None);
        self.note("missing_trade_ids", tally.trade_ids.missing, None);
        self.note("missing_times", tally.times.missing, None);
        self.note("times_go_backwards", tally.time_backwards, None);
        self.note("numbers_cut", tally.lossy, None);
        self.note("rows_in_two_months", tally.repeated, None);
        self.note("trade_ids_repeat", tally.trade_ids_repeated, None);
        self.repeated = tally.repeated;
        for (name, faulty) in tally.faults {
            let grid = matches!(name.as_str(), "candles_off_their_grid" | "candles_that_end_early_or_late");
            let mut explained = 0_u64;
            for stretch in faulty.list.iter().filter(|_| grid) {
                if let Some(known) = known::shifts(series.market, series.kind, stretch) {
                    explained = explained.saturating_add(stretch.rows);
                    self.report(&known);
                }
            }
            let rest = faulty.rows.saturating_sub(explained);
            self.contradictions_unexplained = self.contradictions_unexplained.saturating_add(rest);
            self.contradictions.insert(name, faulty);
        }
        self.missing_ids = tally.ids;
        self.missing_trade_ids = tally.trade_ids;
        self.missing_times = tally.times;
    }

    /// How many of the missing ids or rows were not reported.
    fn unexplained(
        &mut self,
        series: &Series,
        gaps: &ArchiveGaps,
        step_us: Option<i64>,
        latest_us: Option<i64>,
    ) -> u64 {
        let mut explained = 0_u64;
        let mut rest = gaps.missing;
        for gap in &gaps.list {
            let (n, all) = known::explains(series.market, series.kind, gap, step_us);
            explained = explained.saturating_add(n);
            rest = rest.saturating_sub(gap.missing);
            for known in &all {
                self.report(known);
            }
        }
        // More of them than are listed one by one: known where all that lies after the last listed one is.
        if let (Some(last), Some(latest_us)) = (gaps.list.last().filter(|_| rest > 0), latest_us) {
            let behind = ArchiveGap { missing: rest, after_us: last.before_us, before_us: latest_us, ..*last };
            explained = explained.saturating_add(known::explains(series.market, series.kind, &behind, None).0);
        }
        gaps.missing.saturating_sub(explained)
    }

    fn report(&mut self, known: &known::KnownDefect) {
        let sentence = known.sentence();
        if self.reported.len() < MAX_KNOWN && !self.reported.contains(&sentence) {
            self.reported.push(sentence);
        }
    }

    fn note(&mut self, name: &str, count: u64, file: Option<&str>) {
        if count == 0 {
            return;
        }
        let defect = self.defects.entry(name.to_owned()).or_default();
        defect.count = defect.count.saturating_add(count);
        defect.known = known::of(name).map(|k| format!("binance-public-data {k}"));
        if let Some(file) = file
            && defect.files.len() < MAX_FILES
            && defect.files.last().is_none_or(|f| f != file)
        {
            defect.files.push(file.to_owned());
        }
    }

    fn name_defects(&mut self, r: &Record) {
        for i in &r.inputs {
            let (c, file) = (&i.counts, Some(i.path.as_str()));
            if let Some(why) = &i.refused {
                let name = match why.split(':').next() {
                    Some("wrong checksum") => "wrong_checksum",
                    Some("refused zip") => "refused_zip",
                    _ => "damaged_zip",
                };
                self.note(name, 1, file);
                continue;
            }
            self.note("rows_out_of_order", c.unordered, file);
            self.note("sentinel_rows", c.sentinels, file);
            self.note("lines_put_aside", c.rejected, file);
            self.note("rows_outside_the_period", c.outside, file);
            self.note("blank_lines", c.blank, file);
            self.note("byte_order_mark", u64::from(c.bom), file);
            self.note("crlf_lines", u64::from(c.crlf), file);
            self.note("last_line_without_end", u64::from(c.no_final_newline), file);
            self.note("headers_inside", c.headers.saturating_sub(1), file);
            let mixed =
                if c.micros == 0 || c.micros == c.rows { 0 } else { c.micros.min(c.rows.saturating_sub(c.micros)) };
            self.note("mixed_time_units", mixed, file);
            for note in &i.notes {
                let name = if note.starts_with("further") { "further_entries_in_zip" } else { "other_name_in_zip" };
                self.note(name, 1, file);
            }
            self.note("uploaded_again", i.former_sha256.len() as u64, file);
            self.note("no_checksum", u64::from(i.published_sha256.is_none()), file);
        }
        let file = r.inputs.first().map(|i| i.path.as_str());
        for (name, faulty) in &r.tally.faults {
            self.note(name, faulty.rows, file);
        }
        self.note("duplicate_rows", r.duplicates, file);
        self.note("rows_in_two_months", r.in_two_months, file);
        self.note("conflicting_rows", r.conflicts, file);
        let monthly = |i: &&InputRecord| i.path.contains("/monthly/") && i.refused.is_none();
        if let Some(month) = r.inputs.iter().find(monthly) {
            let from_days: u64 =
                r.inputs.iter().filter(|i| i.path.contains("/daily/")).map(|i| i.used).fold(0, u64::saturating_add);
            self.note("monthly_lacks_rows", from_days, Some(&month.path));
        }
    }

    /// A series in which some files have a line of names and others have none.
    fn header_defect(&mut self, records: &[Record]) {
        let files = || records.iter().flat_map(|r| &r.inputs).filter(|i| i.refused.is_none() && i.counts.lines > 0);
        let with = files().filter(|i| i.counts.headers > 0).count();
        let without = files().count() - with;
        let rare = if with <= without { with } else { without };
        if rare > 0 {
            for i in files().filter(|i| (i.counts.headers > 0) == (with <= without)) {
                self.note("header_comes_and_goes", 1, Some(&i.path));
            }
        }
    }

    /// Writes `stats.json` of the series, if it differs from what is there.
    ///
    /// # Errors
    /// When the lake cannot be written.
    pub fn publish(&self, lake: &Lake) -> Result<()> {
        let name = match &self.interval {
            Some(interval) => format!("{}-{interval}", self.symbol),
            None => self.symbol.clone(),
        };
        let below = format!("_stats/{}/exchange={}/{name}/stats.json", self.table, self.exchange);
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        if lake.read(&below).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        Ok(lake.replace(&below, Body::Bytes(&bytes), None)?)
    }
}

fn checksum(i: &InputRecord) -> Checksum {
    let state = match &i.published_sha256 {
        None => "none",
        Some(p) if *p == i.sha256 => "ok",
        Some(_) => "wrong",
    };
    Checksum {
        path: i.path.clone(),
        sha256: i.sha256.clone(),
        state: state.to_owned(),
        former_sha256: i.former_sha256.clone(),
    }
}

fn missing_months(records: &[Record]) -> Vec<String> {
    let parse = |word: &str| format!("{word}-01").parse::<jiff::civil::Date>().ok();
    let have: Vec<_> = records.iter().filter_map(|r| parse(&r.month)).collect();
    let (Some(first), Some(last)) = (have.iter().min().copied(), have.iter().max().copied()) else { return Vec::new() };
    let mut missing = Vec::new();
    let mut month = first;
    // 2009 to 2100: never more than a thousand.
    while month < last && missing.len() < 1_200 {
        if !have.contains(&month) {
            missing.push(format!("{:04}-{:02}", month.year(), month.month()));
        }
        let Ok(next) = month.last_of_month().tomorrow() else { break };
        month = next;
    }
    missing
}
