//! All months of a plan, several symbols at once. One run at a time may write a lake.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ops::exposition;
use serde::Serialize;
use wal_format::{durable, error_chain};

use super::place::{Series, Unit, table};
use super::plan::Plan;
use super::record::Record;
use super::unit::{self, MirroredFile, Settings};
use crate::error::{HistoryError, Result};
use crate::stats;
use lake::Lake;

/// Between two looks whether memory is less tight, or the lake free.
const PAUSE: Duration = Duration::from_millis(200);
/// Looks whether the lake is free: two seconds.
const LOCK_TRIES: u32 = 10;

/// What is to be done.
pub struct CleanJob<'j> {
    /// How.
    pub settings: Settings<'j>,
    /// Which months, from which files.
    pub plan: Plan,
    /// Hears of every month, from the threads that did them.
    pub on_month: &'j (dyn Fn(&CleanedMonth<'_>) + Sync),
}

/// A month that is done.
pub struct CleanedMonth<'t> {
    /// Which.
    pub unit: &'t Unit,
    /// Its files.
    pub files: &'t [MirroredFile],
    /// What came of it.
    pub result: Result<(&'t Record, bool), &'t HistoryError>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Months looked at.
    pub months: u64,
    /// Months cleaned.
    pub cleaned: u64,
    /// Months whose files had not changed.
    pub unchanged: u64,
    /// Rows in the lake of all these months.
    pub rows: u64,
    /// Rows left out because they were there already.
    pub duplicates: u64,
    /// Place-holders left out.
    pub sentinels: u64,
    /// Lines rejected.
    pub put_aside: u64,
    /// Bytes of the archive's files.
    pub bytes_in: u64,
    /// Bytes of the lake's files.
    pub bytes_out: u64,
    /// Files of kinds that are only mirrored.
    pub only_mirrored: u64,
    /// Files in the mirror whose names are not understood: nothing of them is in the lake.
    pub unknown: Vec<String>,
    /// Files none of whose rows were used, and why.
    pub refused: BTreeMap<String, String>,
    /// Months that failed, and why.
    pub failed: BTreeMap<String, String>,
}

impl Summary {
    fn add(&mut self, record: &Record, unchanged: bool) {
        self.cleaned += u64::from(!unchanged);
        self.unchanged += u64::from(unchanged);
        // A record may be one that was damaged: no sum of it may overflow.
        let add = |to: &mut u64, all: &mut dyn Iterator<Item = u64>| *to = all.fold(*to, u64::saturating_add);
        add(&mut self.rows, &mut [record.tally.rows].into_iter());
        add(&mut self.duplicates, &mut [record.duplicates, record.overlap, record.in_two_months].into_iter());
        add(&mut self.sentinels, &mut record.inputs.iter().map(|i| i.counts.sentinels));
        add(&mut self.put_aside, &mut [record.quarantined()].into_iter());
        add(&mut self.bytes_in, &mut record.inputs.iter().map(|i| i.bytes));
        add(&mut self.bytes_out, &mut record.outputs.iter().map(|o| o.bytes));
        let refused = record.inputs.iter().filter_map(|i| Some((i.path.clone(), i.refused.clone()?)));
        self.refused.extend(refused);
    }
}

impl Summary {
    /// The sums, without the lists of names.
    pub fn in_short(&self) -> serde_json::Value {
        serde_json::json!({
            "months": self.months, "cleaned": self.cleaned, "unchanged": self.unchanged, "failed": self.failed.len(),
            "refused_files": self.refused.len(), "rows": self.rows, "put_aside": self.put_aside,
            "unknown_files": self.unknown.len(),
            "bytes_in": self.bytes_in, "bytes_out": self.bytes_out,
        })
    }

    /// Prometheus text, for the text-file collector of the node exporter.
    pub fn prometheus(&self, seconds: u64, now_s: u64) -> String {
        exposition::text(|out| {
            let months = [("ok", self.cleaned), ("skipped", self.unchanged), ("failed", self.failed.len() as u64)];
            let months = months.map(|(result, n)| ([("result", result)], n));
            out.series("tapedeck_history_clean_months", "Months of the last cleaning run, by result.", months);
            for (name, help, n) in [
                ("rows", "Rows in the lake of the months of the last cleaning run.", self.rows),
                ("put_aside_lines", "Lines that are no rows; look into _quarantine/.", self.put_aside),
                (
                    "refused_files",
                    "Files none of whose rows were used: damaged, or not as published.",
                    self.refused.len() as u64,
                ),
                ("unknown_files", "Files in the mirror whose names are not understood.", self.unknown.len() as u64),
                ("bytes", "Bytes of the archive's files of the last cleaning run.", self.bytes_in),
                ("seconds", "Duration of the last cleaning run.", seconds),
                ("finished_timestamp_seconds", "End of the last cleaning run.", now_s),
            ] {
                out.one(format!("tapedeck_history_clean_{name}"), help, n);
            }
        })
    }
}

/// Cleans everything of a plan. A month that fails does not stop the others.
///
/// # Errors
/// When another run has the lake, or it cannot be written at all.
pub fn run(job: &CleanJob<'_>) -> Result<Summary> {
    let lake = &job.settings.lake;
    let work = lake.work();
    durable::create_dir_all(work).map_err(HistoryError::file("make", work))?;
    let lock = work.join(".lock");
    let lock_file = File::create(&lock).map_err(HistoryError::file("open", &lock))?;
    // A program that another thread is about to start holds copies of all open files for a moment.
    let mut tries = 0;
    loop {
        match lock_file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if tries < LOCK_TRIES => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Err(HistoryError::LakeTaken { lake: lake.to_string() }),
            Err(TryLockError::Error(err)) => return Err(HistoryError::file("lock", &lock)(err)),
        }
        tries += 1;
    }
    // What a killed run left.
    unit::remove_dir(&work.join(".staging"))?;
    super::layout::by_months(work)?;
    refuse_mixture(job)?;
    let mut series: BTreeMap<&Series, Vec<(&Unit, &Vec<MirroredFile>)>> = BTreeMap::new();
    for (unit, files) in &job.plan.units {
        series.entry(&unit.series).or_default().push((unit, files));
    }
    let series: Vec<_> = series.into_iter().collect();
    let summary = Mutex::new(Summary {
        only_mirrored: job.plan.only_mirrored,
        unknown: job.plan.unknown.clone(),
        ..Summary::default()
    });
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..job.settings.workers.clamp(1, series.len().max(1)) {
            let (series, summary, next) = (&series, &summary, &next);
            scope.spawn(move || {
                loop {
                    // Under critical pressure the first worker goes on alone, to the end where it lasts: whoever
                    // waits here has taken nothing that nobody would then do.
                    let done = || next.load(Ordering::Relaxed) >= series.len();
                    while worker > 0 && !done() && (job.settings.level)().history_pauses() {
                        std::thread::sleep(PAUSE);
                    }
                    let Some((series, units)) = series.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                    one_series(job, series, units, summary);
                }
            });
        }
    });
    unit::remove_dir(&work.join(".staging"))?;
    Ok(summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Readers refuse a table whose numbers are doubles in one file and decimals in another, so a run that would leave such
/// a one changes nothing.
fn refuse_mixture(job: &CleanJob<'_>) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Head {
        settings: String,
    }
    let lake = &job.settings.lake;
    let ours: BTreeSet<_> = job.plan.units.keys().filter_map(Unit::record).collect();
    let tables: BTreeSet<_> = job.plan.units.keys().filter_map(|unit| table(unit.series.kind)).collect();
    let now = job.settings.write.numeric.to_string();
    for table in tables {
        let mut others = 0_u64;
        let records = lake.list(&format!("_manifests/{table}"), None, None)?;
        for record in records.iter().filter(|record| !ours.contains(&record.key)) {
            // A damaged one is cleaned again; one that the disk does not give is unknown.
            let head = serde_json::from_slice::<Head>(&lake.read(&record.key)?).ok();
            let numeric = head.as_ref().and_then(|h| h.settings.split("numeric=").nth(1)?.split(' ').next());
            others = others.saturating_add(u64::from(numeric.is_some_and(|numeric| numeric != now)));
        }
        if others > 0 {
            return Err(HistoryError::Mixture { others, table, now });
        }
    }
    Ok(())
}

fn one_series(job: &CleanJob<'_>, series: &Series, units: &[(&Unit, &Vec<MirroredFile>)], summary: &Mutex<Summary>) {
    // A short section: sums only.
    let with =
        |f: &mut dyn FnMut(&mut Summary)| f(&mut summary.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    for (unit, files) in units {
        let outcome = unit::clean(&job.settings, unit, (*files).clone());
        with(&mut |s| {
            s.months += 1;
            match &outcome {
                Ok(done) => s.add(&done.record, done.skipped),
                Err(err) => {
                    let month = format!("{} {}", series.folder().unwrap_or_default(), unit.month_word());
                    s.failed.insert(month, error_chain(err));
                }
            }
        });
        let result = outcome.as_ref().map(|o| (&o.record, o.skipped));
        (job.on_month)(&CleanedMonth { unit, files, result });
    }
    if let Err(err) = write_stats(&job.settings.lake, series) {
        with(&mut |s| {
            s.failed.insert(format!("{} stats.json", series.folder().unwrap_or_default()), error_chain(&err));
        });
    }
}

fn write_stats(lake: &Lake, series: &Series) -> Result<()> {
    stats::Stats::of(lake, series)?.publish(lake)
}
