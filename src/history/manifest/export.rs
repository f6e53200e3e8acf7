//! `manifests/download_<date>.jsonl`: the files that were finished on one UTC day, one JSON object per line, in the
//! order of their paths. A copy for people and scripts; the manifest stays the truth, and writing it again gives the
//! same bytes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use wal_format::durable;

use super::queue::Queue;
use crate::error::{HistoryError, Result};
use crate::path::{DAY_US, day_us};

/// Folder of the exports in a mirror.
pub const FOLDER: &str = "manifests";

/// Writes again the days from `first` to `last` on which files came into the mirror `name`. `who` tells its temporaries
/// from those of others that fill the same mirror.
///
/// # Errors
/// When the manifest cannot be read or a file cannot be written.
pub(crate) fn export_days(
    queue: &mut dyn Queue,
    (name, who): (&str, &str),
    mirror: &Path,
    first: Date,
    last: Date,
) -> Result<Vec<PathBuf>> {
    let folder = mirror.join(FOLDER);
    durable::create_dir_all(&folder).map_err(HistoryError::file("make", &folder))?;
    let mut written = Vec::new();
    let mut day = first;
    while day <= last {
        let dest = folder.join(format!("download_{day}.jsonl"));
        let tmp = folder.join(format!(".download_{day}.jsonl.{who}.tmp"));
        let from = day_us(day);
        let mut rows = 0_u64;
        let mut out = BufWriter::new(File::create(&tmp).map_err(HistoryError::file("write", &tmp))?);
        queue.finished(name, (from, from + DAY_US), &mut |row| {
            rows += 1;
            serde_json::to_writer(&mut out, &row)?;
            out.write_all(b"\n").map_err(HistoryError::file("write", &tmp))
        })?;
        let file = out.into_inner().map_err(|err| err.into_error());
        file.and_then(|file| file.sync_all()).map_err(HistoryError::file("write", &tmp))?;
        if rows > 0 {
            durable::publish_file(&tmp, &dest).map_err(HistoryError::file("write", &dest))?;
            written.push(dest);
        } else {
            durable::remove_file(&tmp).map_err(HistoryError::file("remove", &tmp))?;
        }
        day = day.tomorrow()?;
    }
    Ok(written)
}

/// Removes temporaries of runs that were killed; only for a process that is alone in the mirror.
///
/// # Errors
/// As the file system reports.
pub(crate) fn sweep(mirror: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(mirror.join(FOLDER)) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.starts_with(".download") && name.ends_with(".tmp") {
            durable::remove_file(&path)?;
        }
    }
    Ok(())
}
