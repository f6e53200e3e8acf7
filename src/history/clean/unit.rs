//! One month of one series: files of the archive to files of the lake.
//!
//! ```text
//!  digests --same as recorded?--> nothing to do
//!     | else
//!  rows --> .staging/<unit>/ --rename--> files of the lake; what is no longer true is removed --> record, last
//! ```
//! Killed anywhere, the next run finds no record of this, or an old one, and does the month again: same bytes, same
//! names. A file that cannot be used (damaged zip, wrong checksum) gives no row at all; the month is made from the
//! others. Unless its rows are in the lake already: then the month stays as it is, and the file is reported; so it is with
//! a file that is gone, or holds no row any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wal_format::{durable, regular};

use super::edge::{Before, has_identity, needs};
use super::input::InputFile;
use super::lost;
use super::merge::{Met, StreamError, sort, stream};
use super::place::{Unit, table, venue};
use super::quarantine::Quarantine;
use super::record::{InputRecord, OutputRecord, Record, revision};
use super::row::{
    AggTradeRow, BookDepthRow, BookTickerRow, CandleRules, FundingRow, KlineRow, LiquidationRow, MetricsRow, Row,
    TradeRow,
};
use super::why::{Now, Why, why};
use super::write::{Plan, UnitWriter};
use super::zip;
use crate::error::{HistoryError, Result};
use crate::path::DAY_US;
use crate::{ArchivePath, Kind, Period};
use lake::hash::{hash_all, hex};
use lake::read::TableFile;
use lake::{Body, Lake, LakeError, WriteSettings};
use ops::memory::Level;

/// All workers together hold no more than this while they sort, half of it under elevated pressure, a quarter under
/// critical: the limits on rows are a person's, and a machine has bytes.
const SORT_BYTES_MAX: usize = 1 << 30;
/// A chunk of one worker.
const CHUNK_BYTES_MAX: usize = 16 << 20;
/// Fewer than this would make runs on the disk that nobody can merge.
const ROWS_MIN: usize = 1_000;
/// Row size that the limits on rows are meant for; kinds with longer rows hold fewer.
const ROW_BYTES: usize = 64;

/// There are no files of this kind in the lake.
const NO_TABLE: HistoryError = HistoryError::Missing("a kind that is only mirrored");

/// A file in the mirror.
#[derive(Clone, Debug)]
pub struct MirroredFile {
    /// Its name in the archive.
    pub path: ArchivePath,
    /// Where it is.
    pub file: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 out of its `.CHECKSUM`.
    pub published: Option<String>,
    /// SHA-256 as the manifest has it from the download of exactly these bytes.
    pub sha256: Option<String>,
    /// Earlier digests of the same name that the manifest knows, oldest first.
    pub former: Vec<String>,
}

/// How months are cleaned.
pub struct Settings<'s> {
    /// The lake of the archive.
    pub lake: Lake,
    /// How files are written.
    pub write: WriteSettings,
    /// One file per day, not per month.
    pub by_day: bool,
    /// Rows handled at once.
    pub chunk_rows: usize,
    /// Rows held at once while sorting, all workers together: in normal times, under elevated, under critical pressure.
    pub stream_rows: [u64; 3],
    /// Workers that share it.
    pub workers: usize,
    /// How tight memory is.
    pub level: &'s (dyn Fn() -> Level + Sync),
    /// Clean what is cleaned already.
    pub force: bool,
    /// Rows whose files are gone, or give no row any more, may leave the lake.
    pub forget_gone: bool,
}

impl Settings<'_> {
    /// Everything but the rows that shapes the bytes.
    fn fingerprint(&self, unit: &Unit) -> Result<String> {
        let table = table(unit.series.kind).ok_or(NO_TABLE)?;
        let per = if self.by_day { "day" } else { "month" };
        Ok(format!("{} file_per={per} version={}", self.write.fingerprint(table), self.write.version))
    }

    fn budget(&self, row_bytes: usize) -> usize {
        let place = match (self.level)() {
            Level::Normal => 0,
            Level::Elevated => 1,
            Level::Critical => 2,
        };
        let rows = self.stream_rows.get(place).copied().unwrap_or_default();
        let wanted = usize::try_from(rows).unwrap_or(usize::MAX).saturating_mul(ROW_BYTES);
        let bytes = wanted.min(SORT_BYTES_MAX >> place) / self.workers.max(1);
        (bytes / row_bytes.max(1)).max(ROWS_MIN)
    }

    /// Rows handled at once: as many as configured, and no more than fit into [`CHUNK_BYTES_MAX`].
    fn chunk(&self, row_bytes: usize) -> usize {
        self.chunk_rows.min(CHUNK_BYTES_MAX / row_bytes.max(1)).max(1)
    }
}

/// What became of a month.
#[derive(Debug)]
pub struct Outcome {
    /// Its account.
    pub record: Record,
    /// True when there was nothing to do.
    pub skipped: bool,
}

/// SHA-256 of a file, lower-case hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn digest(path: &Path) -> std::io::Result<String> {
    Ok(hex(&hash_all(regular::open(path)?)?.0.finalize()))
}

/// The record of a month; `None` where there is none, or a damaged one.
fn read_record(lake: &Lake, unit: &Unit) -> Result<Option<Record>> {
    let Some(key) = unit.record() else { return Ok(None) };
    match lake.read(&key) {
        Err(LakeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        // One that the disk does not give now is none that was never written.
        bytes => Ok(serde_json::from_slice(&bytes?).ok()),
    }
}

/// Cleans a month. `files`: those of the mirror that belong to it.
///
/// # Errors
/// When the disk or the lake refuses, or rows in the lake would be lost: their file is damaged, empty or gone.
pub fn clean(settings: &Settings<'_>, unit: &Unit, mut files: Vec<MirroredFile>) -> Result<Outcome> {
    let Look { old, before, inputs, fingerprint, why } = look(settings, unit, &mut files)?;
    if let (Some(old), None) = (&old, &why) {
        return Ok(Outcome { record: old.clone(), skipped: true });
    }
    let dir = settings.lake.work().join(".staging").join(staging_name(unit));
    remove_dir(&dir)?;
    durable::create_dir_all(&dir).map_err(HistoryError::file("make", &dir))?;
    let mut record = Record {
        revision: revision(unit.series.kind),
        settings: fingerprint,
        market: unit.series.market.to_string(),
        kind: unit.series.kind.to_string(),
        symbol: unit.series.symbol.clone(),
        interval: unit.series.interval.map(|i| i.to_string()),
        month: unit.month_word(),
        inputs,
        ..Record::default()
    };
    let staged = match unit.series.kind {
        Kind::AggTrades => build::<AggTradeRow>(settings, unit, &files, &dir, before.as_ref(), &mut record),
        Kind::Trades => build::<TradeRow>(settings, unit, &files, &dir, before.as_ref(), &mut record),
        Kind::Klines | Kind::IndexPriceKlines | Kind::MarkPriceKlines | Kind::PremiumIndexKlines => {
            build::<KlineRow>(settings, unit, &files, &dir, before.as_ref(), &mut record)
        }
        Kind::BookTicker => build::<BookTickerRow>(settings, unit, &files, &dir, before.as_ref(), &mut record),
        Kind::BookDepth => build::<BookDepthRow>(settings, unit, &files, &dir, before.as_ref(), &mut record),
        Kind::Metrics => build::<MetricsRow>(settings, unit, &files, &dir, before.as_ref(), &mut record),
        Kind::FundingRate => build::<FundingRow>(settings, unit, &files, &dir, before.as_ref(), &mut record),
        Kind::LiquidationSnapshot => {
            build::<LiquidationRow>(settings, unit, &files, &dir, before.as_ref(), &mut record)
        }
        Kind::BvolIndex | Kind::EohSummary => return Err(HistoryError::OnlyMirrored(unit.series.kind)),
    }?;
    record.check().map_err(HistoryError::Unaccounted)?;
    if let Some(err) = lost(settings, unit, old.as_ref(), &record, &staged)? {
        remove_dir(&dir)?;
        return Err(err);
    }
    let paths = |r: &Record| r.outputs.iter().map(|o| o.path.clone()).collect::<Vec<_>>();
    if old.as_ref().is_some_and(|old| paths(old) != paths(&record)) {
        // Else a run that is killed now, and settings or files that change back, would leave files of both.
        settings.lake.delete(&unit.record().ok_or(NO_TABLE)?)?;
    }
    publish(settings, unit, &staged, &mut record, &dir)?;
    Ok(Outcome { record, skipped: false })
}

/// What publishing would take out of the lake, unless that is meant. Without a record that can be read, the days of the
/// published files say what was there.
fn lost(
    settings: &Settings<'_>,
    unit: &Unit,
    old: Option<&Record>,
    new: &Record,
    staged: &Staged,
) -> Result<Option<HistoryError>> {
    if settings.forget_gone {
        return Ok(None);
    }
    if let Some(old) = old {
        return Ok(lost::input(old, new).map(HistoryError::LostInput));
    }
    let lake = &settings.lake;
    let published = lake.list(&unit.folder().ok_or(NO_TABLE)?, None, None)?;
    let there = lost::days(published.iter().map(|file| TableFile::get(lake, &file.key)))?;
    if there.is_empty() {
        return Ok(None);
    }
    let made = lost::days(staged.files.iter().map(|(path, _)| TableFile::open(path)))?;
    let mut gone = there.difference(&made);
    let first = gone.next().and_then(|day| day_of(*day));
    Ok(first.map(|day| HistoryError::LostDays { month: staging_name(unit), day, more: gone.count() }))
}

/// What is known of a month before it is cleaned.
struct Look {
    old: Option<Record>,
    /// Of the month before.
    before: Option<Record>,
    inputs: Vec<InputRecord>,
    fingerprint: String,
    /// `None` when there is nothing to do.
    why: Option<Why>,
}

fn look(settings: &Settings<'_>, unit: &Unit, files: &mut [MirroredFile]) -> Result<Look> {
    // The monthly file first: where two say different things, it counts.
    files.sort_by_key(|f| (f.path.series.period == Period::Daily, f.path.first_day));
    let old = read_record(&settings.lake, unit)?;
    let fingerprint = settings.fingerprint(unit)?;
    let mut inputs = Vec::with_capacity(files.len());
    for file in files.iter() {
        let name = file.path.to_string();
        let before = old.as_ref().and_then(|r| r.inputs.iter().find(|i| i.path == name));
        inputs.push(input_record(file, before).map_err(HistoryError::file("read", &file.file))?);
    }
    let before = match unit.before() {
        Some(before) => read_record(&settings.lake, &before)?,
        None => None,
    };
    let needs = old.as_ref().and_then(|old| needs(unit.series.kind, old, before.as_ref()));
    let month_before = needs.as_deref();
    let now = Now { inputs: &inputs, revision: revision(unit.series.kind), fingerprint: &fingerprint, month_before };
    let why = why(&settings.lake, old.as_ref(), &now, settings.force);
    Ok(Look { old, before, inputs, fingerprint, why })
}

/// Why a month would be cleaned, `None` when it would not, and which of its files cannot be used for what is known
/// before they are read, with the reason. Changes nothing.
///
/// # Errors
/// When a file cannot be read.
pub fn preview(
    settings: &Settings<'_>,
    unit: &Unit,
    mut files: Vec<MirroredFile>,
) -> Result<(Option<Why>, BTreeMap<String, String>)> {
    let look = look(settings, unit, &mut files)?;
    Ok((look.why, look.inputs.into_iter().filter_map(|i| Some((i.path, i.refused?))).collect()))
}

/// What a file is, before it is read for its rows.
fn input_record(file: &MirroredFile, before: Option<&InputRecord>) -> std::io::Result<InputRecord> {
    let same_size = |b: &&InputRecord| b.bytes == file.bytes && b.refused.is_none();
    let sha256 = match (&file.sha256, before.filter(same_size)) {
        (Some(sha256), _) => sha256.clone(),
        // The mirror replaces file and `.CHECKSUM` together, so an unchanged one vouches for the other.
        (None, Some(b)) if file.published.is_some() && file.published == Some(b.sha256.clone()) => b.sha256.clone(),
        _ => digest(&file.file)?,
    };
    let mut former = before.map(|b| b.former_sha256.clone()).unwrap_or_default();
    former.extend(file.former.iter().filter(|f| **f != sha256).cloned());
    let mut seen = std::collections::BTreeSet::new();
    former.retain(|f| seen.insert(f.clone()));
    if let Some(b) = before
        && b.sha256 != sha256
        && !former.contains(&b.sha256)
    {
        former.push(b.sha256.clone());
    }
    let refused = match &file.published {
        Some(published) if *published != sha256 => {
            Some(format!("wrong checksum: its SHA-256 is {sha256}, published is {published}"))
        }
        _ => None,
    };
    Ok(InputRecord {
        path: file.path.to_string(),
        bytes: file.bytes,
        sha256,
        published_sha256: file.published.clone(),
        former_sha256: former,
        refused,
        ..InputRecord::default()
    })
}

fn staging_name(unit: &Unit) -> String {
    let series = &unit.series;
    format!("{}.{}.{}.{}", series.kind, series.market, series.name(), unit.month_word())
}

pub(super) fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(HistoryError::file("remove", dir)(err)),
        _ => Ok(()),
    }
}

/// What lies in the staging folder.
struct Staged {
    /// Where it is, where it belongs below the lake.
    files: Vec<(PathBuf, String)>,
    quarantine: Option<PathBuf>,
}

/// Reads the files and writes rows, again and again until no further file turns out to be unusable.
fn build<R: Row>(
    settings: &Settings<'_>,
    unit: &Unit,
    files: &[MirroredFile],
    dir: &Path,
    before: Option<&Record>,
    record: &mut Record,
) -> Result<Staged> {
    loop {
        match attempt::<R>(settings, unit, files, dir, before, record) {
            Ok(staged) => return Ok(staged),
            Err(StreamError::Disorder) => record.sorted = true,
            Err(StreamError::Input {
                input,
                error: error @ (zip::ZipError::Damaged(_) | zip::ZipError::Refused(_) | zip::ZipError::Crc { .. }),
            }) => {
                if let Some(i) = record.inputs.get_mut(input) {
                    i.refused = Some(error.to_string());
                }
                record.sorted = false;
            }
            Err(StreamError::Input { input, error }) => {
                let name = files.get(input).map(|f| f.file.display().to_string()).unwrap_or_default();
                return Err(HistoryError::of("read", name)(error));
            }
            Err(error) => return Err(HistoryError::of("write below", dir.display())(error)),
        }
        remove_dir(dir)?;
        durable::create_dir_all(dir).map_err(HistoryError::file("make", dir))?;
    }
}

fn attempt<R: Row>(
    settings: &Settings<'_>,
    unit: &Unit,
    files: &[MirroredFile],
    dir: &Path,
    before: Option<&Record>,
    record: &mut Record,
) -> Result<Staged, StreamError> {
    let (from, to) = (files_span(unit), unit_end(unit));
    let slack_us = slack_us(unit.series.interval);
    let mut monthly = Vec::new();
    let mut daily = Vec::new();
    let mut packed_ns = vec![0_i64; files.len()];
    for (i, (file, input)) in files.iter().zip(&record.inputs).enumerate() {
        if input.refused.is_some() {
            continue;
        }
        let span_us = file.path.span_us();
        let packed = packed_s(&file.file).map_err(|error| StreamError::Input { input: i, error })?;
        if let Some(slot) = packed_ns.get_mut(i) {
            *slot = packed.unwrap_or(span_us.1 / 1_000_000).saturating_mul(1_000_000_000);
        }
        let index = u16::try_from(i).unwrap_or(u16::MAX);
        let one = (index, InputFile { path: file.file.clone(), span_us, slack_us });
        if file.path.series.period == Period::Monthly { monthly.push(one) } else { daily.push(one) }
    }
    let Some(table) = table(unit.series.kind) else { return Ok(Staged { files: Vec::new(), quarantine: None }) };
    let interval = unit.series.interval.map(|i| i.as_str());
    let plan = Plan {
        table,
        settings: &settings.write,
        symbol: &unit.series.symbol,
        interval,
        step_us: unit.series.interval.and_then(|i| i.micros()),
        rules: CandleRules::of(&unit.series),
        month: u32::from(unit.month.year().unsigned_abs()) * 100 + u32::from(unit.month.month().unsigned_abs()),
        span_us: (from, to),
        by_day: settings.by_day,
        packed_ns,
        key_values: key_values(unit, &record.inputs),
        dir,
    };
    let names = record.inputs.iter().map(|i| i.path.clone()).collect();
    let mut quarantine = Quarantine::new(dir, names);
    let mut met = vec![Met::default(); files.len()];
    let earlier = before.filter(|_| has_identity(unit.series.kind)).map(|record| Before::new(&settings.lake, record));
    let mut writer = UnitWriter::<R>::new(&plan, files.len(), earlier);
    let rows = || settings.chunk(size_of::<R>());
    if record.sorted {
        let all: Vec<_> = monthly.into_iter().chain(daily).collect();
        let budget = || settings.budget(size_of::<R>());
        sort(&all, &budget, &rows, dir, &mut met, &mut quarantine, &mut writer)?;
    } else {
        stream([&monthly, &daily], &rows, &mut met, &mut quarantine, &mut writer)?;
    }
    writer.finish()?;
    for ((input, met), used) in record.inputs.iter_mut().zip(met).zip(&writer.used) {
        input.counts = met.counts;
        input.notes = met.notes.into_iter().map(str::to_owned).collect();
        input.used = *used;
    }
    record.duplicates = writer.dropped.duplicates;
    record.overlap = writer.dropped.overlap;
    record.conflicts = writer.dropped.conflicts;
    record.in_two_months = writer.dropped.in_two_months;
    record.month_before = writer.before.as_ref().and_then(Before::used);
    record.tally = std::mem::take(&mut writer.tally);
    let joined = quarantine.finish()?;
    record.reasons = std::mem::take(&mut quarantine.reasons);
    record.outputs.clear();
    let mut staged = Staged { files: Vec::new(), quarantine: joined };
    for file in &writer.written {
        let day = settings.by_day.then(|| day_of(file.day_us)).flatten();
        let path = unit.file(day).unwrap_or_default();
        record.outputs.push(OutputRecord {
            path: path.clone(),
            rows: file.info.rows,
            bytes: file.info.bytes,
            sha256: file.info.sha256.clone(),
            inexact: file.info.inexact,
        });
        staged.files.push((file.path.clone(), path));
    }
    Ok(staged)
}

/// How far outside the period of its file a row may lie: a day, or one candle.
pub(super) fn slack_us(interval: Option<crate::BarInterval>) -> i64 {
    interval.map_or(DAY_US, |i| i.micros().unwrap_or(31 * DAY_US).max(DAY_US))
}

/// When the CSV of a zip was packed.
fn packed_s(path: &Path) -> Result<Option<i64>, zip::ZipError> {
    if path.extension().is_some_and(|e| e == "csv") {
        return Ok(None);
    }
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    Ok(zip::find(&mut regular::open(path)?, &format!("{stem}.csv"))?.packed_s)
}

fn files_span(unit: &Unit) -> i64 {
    crate::path::day_us(unit.month)
}

fn unit_end(unit: &Unit) -> i64 {
    crate::path::day_us(unit.month.last_of_month()) + DAY_US
}

fn day_of(day_us: i64) -> Option<jiff::civil::Date> {
    let ts = jiff::Timestamp::from_microsecond(day_us).ok()?;
    Some(jiff::tz::Offset::UTC.to_datetime(ts).date())
}

/// What a file of the lake says about where it came from.
fn key_values(unit: &Unit, inputs: &[InputRecord]) -> Vec<(String, String)> {
    let mut all = Sha256::new();
    for i in inputs.iter().filter(|i| i.refused.is_none()) {
        all.update(format!("{}  {}\n", i.sha256, i.path));
    }
    let text = |k: &str, v: String| (k.to_owned(), v);
    vec![
        text("source", crate::path::HOST_DIR.to_owned()),
        text("exchange", venue(unit.series.market).to_owned()),
        text("kind", unit.series.kind.to_string()),
        text("series", unit.series.name()),
        text("month", unit.month_word()),
        text("inputs_sha256", hex(&all.finalize())),
    ]
}

fn publish(settings: &Settings<'_>, unit: &Unit, staged: &Staged, record: &mut Record, dir: &Path) -> Result<()> {
    let lake = &settings.lake;
    for (tmp, dest) in &staged.files {
        lake.replace(dest, Body::File(tmp), None)?;
    }
    remove_others(settings, unit, record)?;
    let key = unit.quarantine().ok_or(NO_TABLE)?;
    record.aside = None;
    match &staged.quarantine {
        Some(tmp) => {
            lake.replace(&key, Body::File(tmp), None)?;
            record.aside = Some(key);
        }
        None => lake.delete(&key)?,
    }
    let tmp = dir.join("record.json");
    let mut bytes = serde_json::to_vec_pretty(record)?;
    bytes.push(b'\n');
    std::fs::write(&tmp, bytes).map_err(HistoryError::file("write", &tmp))?;
    lake.replace(&unit.record().ok_or(NO_TABLE)?, Body::File(&tmp), None)?;
    remove_dir(dir)
}

/// Removes files of the month that are not of this record: other settings, a run that was killed.
fn remove_others(settings: &Settings<'_>, unit: &Unit, record: &Record) -> Result<()> {
    let folder = unit.folder().ok_or(NO_TABLE)?;
    for file in settings.lake.list(&folder, None, None)? {
        if record.outputs.iter().all(|output| output.path != file.key) {
            settings.lake.delete(&file.key)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_record_that_cannot_be_read_is_not_one_that_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::open(dir.path());
        let path = "data/spot/monthly/trades/AUSDT/AUSDT-trades-2024-01.zip".parse::<ArchivePath>().unwrap();
        let unit = super::super::plan::unit_of(&path);
        assert_eq!(read_record(&lake, &unit).unwrap(), None);
        let record = dir.path().join(unit.record().unwrap());
        std::fs::create_dir_all(record.parent().unwrap()).unwrap();
        std::fs::write(&record, "torn {").unwrap();
        assert_eq!(read_record(&lake, &unit).unwrap(), None, "its month is cleaned again");
        std::fs::remove_file(&record).unwrap();
        std::fs::create_dir(&record).unwrap();
        assert!(read_record(&lake, &unit).is_err());
    }

    fn settings(chunk_rows: usize, stream_rows: u64, level: &(dyn Fn() -> Level + Sync)) -> Settings<'_> {
        Settings {
            lake: Lake::open(Path::new("lake")),
            write: WriteSettings::default(),
            by_day: false,
            chunk_rows,
            stream_rows: [stream_rows; 3],
            workers: 2,
            level,
            force: false,
            forget_gone: false,
        }
    }

    #[test]
    fn chunks_and_sorts_are_bounded_in_bytes_whatever_the_rows() {
        for (level, most) in [(Level::Normal, 1 << 30), (Level::Elevated, 1 << 29), (Level::Critical, 1 << 28)] {
            let level = || level;
            let all = settings(usize::MAX, u64::MAX, &level);
            for row in [size_of::<TradeRow>(), size_of::<KlineRow>(), 10_000] {
                assert!(all.chunk(row) * row <= 16 << 20, "{row}");
                assert!(all.budget(row) * row * 2 <= most, "{row}");
            }
        }
        let level = || Level::Normal;
        let usual = settings(50_000, 5_000_000, &level);
        assert_eq!(usual.chunk(size_of::<KlineRow>()), 50_000, "the default is below the bound");
        assert_eq!(usual.budget(ROW_BYTES), 2_500_000);
    }
}
