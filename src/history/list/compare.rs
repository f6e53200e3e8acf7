//! The archive's listing beside what is here: file by file, without changing anything.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Lister, Unknown, UnknownKey};
use crate::download::ask::Asker;
use crate::download::queue::AsyncQueue;
use crate::download_error::DownloadError;
use crate::error::HistoryError;
use crate::manifest::{FileRow, Listed, State, difference};
use crate::market::{Period, UnknownName};
use crate::mirror::Mirror;
use crate::path::{ArchivePath, SeriesPath};
use crate::select::Selection;
use crate::settings::Settings;
use model::words;

words! {
    /// How a file of the archive stands here.
    Standing, "state of a file", UnknownName {
        /// Binance has it; it was not requested yet, or was removed here.
        Missing = "missing",
        /// It is here and is what the archive has.
        Here = "here",
        /// It is here, and the archive has other bytes now.
        Differs = "differs",
        /// It is in the queue of downloads.
        Queued = "queued",
        /// It is on the dead-letter list.
        Dead = "dead",
        /// It is here, and the archive does not list it any more.
        Gone = "gone",
        /// The archive lists it, and its name is not understood.
        Unknown = "unknown",
    }
}

/// One file of the comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Path in the archive.
    pub path: String,
    /// Bytes, as listed; of a file that is gone, as it is here.
    pub size: u64,
    /// How it stands.
    #[serde(serialize_with = "as_word")]
    pub standing: Standing,
    /// What differs: `etag`, `size`, `last_modified` or `checksum`.
    pub differs: Option<&'static str>,
    /// Upload time, as listed.
    pub last_modified: String,
    /// True when the archive has a `.CHECKSUM` for it.
    pub has_checksum: bool,
}

fn as_word<S: serde::Serializer>(standing: &Standing, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(standing.as_str())
}

/// Hands every file of a selection to `each`; answers which folders could not be listed, and what is not understood.
///
/// # Errors
/// When the mirror or its manifest cannot be used, and the first error of `each`.
pub async fn compare<E: From<HistoryError>>(
    history: &Settings,
    selection: &Selection,
    auto: bool,
    mut each: impl FnMut(Compared) -> Result<(), E>,
) -> Result<(Vec<(String, DownloadError)>, Unknown), E> {
    let mirror = Mirror::open(history)?;
    let queue = AsyncQueue::open(&mirror, history).await?;
    let asker = Asker::new(history).map_err(HistoryError::from)?;
    let lister = Lister::new(&asker, &history.list_url, history.list_version, history.list_workers);
    let mut seen = BTreeSet::new();
    let take = async |files: Vec<Listed>| {
        let Some(first) = files.first() else { return Ok(()) };
        seen.insert(series_of(&first.path));
        let series = Selection {
            markets: [first.path.series.market].into(),
            kinds: [first.path.series.kind].into(),
            symbols: crate::Symbols::exactly(&first.path.series.symbol),
            intervals: first.path.series.interval.into_iter().collect(),
            from: selection.from,
            to: selection.to,
            ..Selection::default()
        };
        let periods: BTreeSet<_> = files.iter().map(|f| f.path.series.period).collect();
        let read = queue.with(move |queue| {
            let mut rows = BTreeMap::new();
            queue.for_each(&series, &mut |row| {
                rows.insert(row.listed.path.to_string(), row);
                Ok(())
            })?;
            Ok(rows)
        });
        let mut rows = read.await?;
        let spans: Vec<_> = files.iter().map(|f| (f.path.first_day, f.path.last_day())).collect();
        for file in files {
            let row = rows.remove(&file.path.to_string());
            each(compared(&file, row.as_ref(), &mirror))?;
        }
        // What is here of the same periods and was not listed. With the period left open, days that a listed month
        // stands for are not in the list either, and the other way round.
        for row in rows.into_values() {
            let (first, last) = (row.listed.path.first_day, row.listed.path.last_day());
            let wanted = match auto {
                true => !spans.iter().any(|(from, to)| *from <= last && first <= *to),
                false => periods.contains(&row.listed.path.series.period),
            };
            if wanted && row.state == State::Here {
                each(gone(&row))?;
            }
        }
        Ok::<(), E>(())
    };
    lister.walk(selection, auto, |_| Ok(()), take).await?;
    let problems = lister.problems();
    // Of a series without any listed file nothing was asked above.
    let (of, failed) = (selection.clone(), problems.iter().map(|(folder, _)| folder.clone()).collect::<Vec<_>>());
    let read = queue.with(move |queue| {
        let mut rows = Vec::new();
        queue.for_each(&of, &mut |row| {
            let path = row.listed.path.to_string();
            let is_known = seen.contains(&series_of(&row.listed.path)) || failed.iter().any(|f| path.starts_with(f));
            if !is_known && row.state == State::Here {
                rows.push(row);
            }
            Ok(())
        })?;
        Ok(rows)
    });
    for row in read.await? {
        each(gone(&row))?;
    }
    Ok((problems, lister.unknown()))
}

/// A series, whatever its period.
fn series_of(path: &ArchivePath) -> String {
    SeriesPath { period: Period::Daily, ..path.series.clone() }.folder()
}

fn compared(file: &Listed, row: Option<&FileRow>, mirror: &Mirror) -> Compared {
    let mut differs = None;
    let standing = match row {
        None => Standing::Missing,
        Some(row) => match row.state {
            State::Queued | State::Leased => Standing::Queued,
            State::Dead => Standing::Dead,
            State::Here => {
                differs = difference(&row.listed, file);
                let ours = row.holder.as_deref() == Some(&mirror.name);
                let there = !ours || mirror.file(&file.path).exists();
                match (differs, there) {
                    (Some(_), _) => Standing::Differs,
                    (None, true) => Standing::Here,
                    (None, false) => Standing::Missing,
                }
            }
        },
    };
    Compared {
        path: file.path.to_string(),
        size: file.size,
        standing,
        differs,
        last_modified: file.last_modified.clone(),
        has_checksum: file.checksum_tag.is_some(),
    }
}

impl From<UnknownKey> for Compared {
    fn from(key: UnknownKey) -> Self {
        Compared {
            path: key.key,
            size: key.size,
            standing: Standing::Unknown,
            differs: None,
            last_modified: key.last_modified,
            has_checksum: false,
        }
    }
}

fn gone(row: &FileRow) -> Compared {
    Compared {
        path: row.listed.path.to_string(),
        size: row.listed.size,
        standing: Standing::Gone,
        differs: None,
        last_modified: row.listed.last_modified.clone(),
        has_checksum: row.published_sha256.is_some(),
    }
}
