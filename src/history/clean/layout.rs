//! The layout of lakes that version 1 cleaned with `file_per = "day"`: their files lay in `date=` folders, which no
//! reader takes beside the `month=` ones of other series. Here they move to the folder of their month, once.
//!
//! First the files, by rename, then the records that name them, then the mark that it is done: killed anywhere, the
//! next run goes on, and a record that names a file where it lay before is mended then. Changes no byte of a file.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use wal_format::{durable, regular};

use super::record::Record;
use crate::error::{HistoryError, Result};
use lake::Table;

/// Says that every file lies in the folder of its month.
const MARK: &str = ".layout";
const MONTHS: &[u8] = b"months\n";

/// Brings a lake to the layout of months. Nobody else writes it.
///
/// # Errors
/// As the file system reports.
pub(super) fn by_months(lake: &Path) -> Result<()> {
    let mark = lake.join(MARK);
    if regular::read(&mark, regular::SMALL_BYTES_MAX).is_ok_and(|text| text == MONTHS) {
        return Ok(());
    }
    for table in Table::ALL {
        for venue in folders(&lake.join(table.as_str()))? {
            for series in folders(&venue)? {
                for day in folders(&series)? {
                    move_day(&series, &day)?;
                }
            }
        }
    }
    records(lake, &lake.join("_manifests"))?;
    publish(lake, &mark, MONTHS)
}

/// Writes a file as a whole; killed in between, what is left lies where the next run looks for such.
fn publish(lake: &Path, dest: &Path, bytes: &[u8]) -> Result<()> {
    let staging = lake.join(".staging");
    durable::create_dir_all(&staging).map_err(HistoryError::file("make", &staging))?;
    let tmp = staging.join("layout");
    fs::write(&tmp, bytes).map_err(HistoryError::file("write", &tmp))?;
    durable::publish_file(&tmp, dest).map_err(HistoryError::file("write", dest))
}

/// The folders in a folder; none where it is missing.
fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(dir)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// What lies in a folder; nothing where it is missing.
pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let found = match fs::read_dir(dir) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.and_then(|all| all.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>()),
    };
    found.map_err(HistoryError::file("list", dir))
}

/// `date=2024-08-09` to `month=2024-08`; `None` for any other folder.
fn month_of(day: &str) -> Option<String> {
    let day: Date = day.strip_prefix("date=")?.parse().ok()?;
    Some(format!("month={:04}-{:02}", day.year(), day.month()))
}

fn move_day(series: &Path, day: &Path) -> Result<()> {
    let Some(month) = day.file_name().and_then(|n| n.to_str()).and_then(month_of) else { return Ok(()) };
    let month = series.join(month);
    durable::create_dir_all(&month).map_err(HistoryError::file("make", &month))?;
    for file in entries(day)? {
        let to = month.join(file.file_name().unwrap_or_default());
        durable::publish_file(&file, &to).map_err(|source| HistoryError::Move { from: file, to, source })?;
    }
    fs::remove_dir(day).map_err(HistoryError::file("remove", day))
}

fn records(lake: &Path, dir: &Path) -> Result<()> {
    for path in entries(dir)? {
        if path.is_dir() {
            records(lake, &path)?;
            continue;
        }
        // One that cannot be read is none: its month is cleaned again.
        let Ok(bytes) = regular::read(&path, regular::LARGE_BYTES_MAX) else { continue };
        let Ok(mut record) = serde_json::from_slice::<Record>(&bytes) else { continue };
        let mut changed = false;
        for output in &mut record.outputs {
            let mut parts: Vec<&str> = output.path.split('/').collect();
            let Some(month) = parts.iter().rev().nth(1).copied().and_then(month_of) else { continue };
            let at = parts.len().saturating_sub(2);
            if let Some(day) = parts.get_mut(at) {
                *day = &month;
            }
            output.path = parts.join("/");
            changed = true;
        }
        if changed {
            let mut bytes = serde_json::to_vec_pretty(&record)?;
            bytes.push(b'\n');
            publish(lake, &path, &bytes)?;
        }
    }
    Ok(())
}
