//! What lies in a lake: manifests and files by venue and hour, in order.

use std::path::{Path, PathBuf};

use super::{Hour, LakeError, Part};

/// Manifests of `venue`, of all logs, by hour and first seq.
///
/// # Errors
/// When a directory cannot be listed.
pub fn manifests(lake: &Path, venue: &str) -> Result<Vec<(Part, PathBuf)>, LakeError> {
    manifests_since(lake, venue, Hour(i64::MIN))
}

/// [`manifests`] of `since` and later hours: older directories are not even listed.
///
/// # Errors
/// As [`manifests`].
pub fn manifests_since(lake: &Path, venue: &str, since: Hour) -> Result<Vec<(Part, PathBuf)>, LakeError> {
    manifests_between(lake, venue, since, Hour(i64::MAX))
}

/// [`manifests`] from `since` to before `until`: directories of other days and hours are not even listed.
///
/// # Errors
/// As [`manifests`].
pub fn manifests_between(
    lake: &Path,
    venue: &str,
    since: Hour,
    until: Hour,
) -> Result<Vec<(Part, PathBuf)>, LakeError> {
    let mut found = Vec::new();
    for file in files_between(&lake.join("_manifests"), venue, since, until)? {
        if let Some((None, part)) = Part::from_path(&file) {
            found.push((part, file));
        }
    }
    found.sort_by(|a, b| {
        let key = |part: &Part| (part.hour, part.first_seq, part.incarnation);
        (key(&a.0), &a.0.log8).cmp(&(key(&b.0), &b.0.log8))
    });
    Ok(found)
}

/// Files of `venue` below `top` (a table, or the manifests) of `since` and later hours.
pub fn files_since(top: &Path, venue: &str, since: Hour) -> Result<Vec<PathBuf>, LakeError> {
    files_between(top, venue, since, Hour(i64::MAX))
}

fn files_between(top: &Path, venue: &str, since: Hour, until: Hour) -> Result<Vec<PathBuf>, LakeError> {
    let named = |path: &Path, key: &str| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix(key).map(str::to_owned)
    };
    let mut found = Vec::new();
    for day in list(&top.join(format!("exchange={venue}")))? {
        let Some(date) = named(&day, "date=") else { continue };
        let (first, last) = (Hour::parse(&date, "00"), Hour::parse(&date, "23"));
        if last.is_none_or(|last| last < since) || first.is_none_or(|first| first >= until) {
            continue;
        }
        for hour in list(&day)? {
            let hh = named(&hour, "hour=");
            if hh.and_then(|hh| Hour::parse(&date, &hh)).is_some_and(|h| h >= since && h < until) {
                found.extend(list(&hour)?);
            }
        }
    }
    Ok(found)
}

/// Entries of `dir` in name order; none when it does not exist.
///
/// # Errors
/// When it cannot be listed.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>, LakeError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(LakeError::io("list", dir)(err)),
    };
    let mut paths =
        entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(LakeError::io("list", dir))?;
    paths.sort();
    Ok(paths)
}
