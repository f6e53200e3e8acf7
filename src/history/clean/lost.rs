//! Rows that a clean would take out of the lake: their files of the archive give them no more, or are not in the mirror
//! any more. `--forget-gone` confirms that; without it the month stays as it was cleaned before.

use std::collections::BTreeSet;

use super::record::{InputRecord, Record};
use crate::path::DAY_US;
use crate::{ArchivePath, Period};
use lake::LakeError;
use lake::column::{Column, NULL_I64};
use lake::read::TableFile;

/// A file whose rows are in the lake and that gives none this time: damaged, without a row, or gone. A file of days may
/// go, or be empty, once a file of the month gives rows.
pub(super) fn input(old: &Record, new: &Record) -> Option<String> {
    let gives = |i: &InputRecord| i.refused.is_none() && i.counts.rows > 0;
    let is_month = |i: &InputRecord| i.path.parse::<ArchivePath>().is_ok_and(|p| p.series.period == Period::Monthly);
    let whole = new.inputs.iter().any(|i| is_month(i) && gives(i));
    let lost = |was: &InputRecord| {
        let why = match new.inputs.iter().find(|i| i.path == was.path) {
            Some(now) if now.refused.is_some() => now.refused.as_deref()?,
            Some(now) if !whole && !gives(now) => "it holds no row any more",
            None if !whole => "it is not in the mirror any more",
            _ => return None,
        };
        Some(format!("{} ({why})", was.path))
    };
    let mut all = old.inputs.iter().filter(|i| i.refused.is_none() && i.used > 0).filter_map(lost);
    let first = all.next()?;
    Some(match all.count() {
        0 => first,
        more => format!("{first}, and {more} more,"),
    })
}

/// The days with rows in these files, us at their midnight. A file that is damaged has no row that could be lost.
///
/// # Errors
/// When the disk or the store does not give one.
pub(super) fn days(files: impl Iterator<Item = Result<TableFile, LakeError>>) -> Result<BTreeSet<i64>, LakeError> {
    let mut days = BTreeSet::new();
    for file in files {
        let read = |file: TableFile| {
            for group in 0..file.groups() {
                let chunk = file.chunk(group)?;
                for (spec, column) in chunk.specs().iter().zip(&chunk.columns) {
                    // Trades of the archive have the second one only.
                    if let ("ts_event" | "ts_trade", Column::Int64(times)) = (spec.name, column) {
                        let known = times.iter().filter(|us| **us != NULL_I64);
                        days.extend(known.map(|us| us.div_euclid(DAY_US) * DAY_US));
                    }
                }
            }
            Ok(())
        };
        if let Err(err @ LakeError::Io { .. }) = file.and_then(read) {
            return Err(err);
        }
    }
    Ok(days)
}
