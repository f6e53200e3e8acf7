//! Quarantine: what cannot be used is moved out of the way, never deleted: `lake/.set-aside/<name>-<n>/`, local files
//! wherever the lake is.
//!
//! A damaged piece may be the only trace of rows that somebody can still read by hand. Nothing here decides what is
//! of no use, and nothing ever looks into the directory again: a person does, and deletes it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use wal_format::durable;

use super::error::CompactError;
use lake::Lake;

/// Below the lake.
const DIR: &str = ".set-aside";

/// Moves the local `files` to a directory of their own, one after the other and each durably; returns the directory.
///
/// # Errors
/// When one cannot be moved; those before it are.
pub fn quarantine_files(work: &Path, name: &str, files: &[PathBuf]) -> Result<PathBuf, CompactError> {
    let dir = fresh(work, name)?;
    for file in files {
        let to = dir.join(file.file_name().unwrap_or_default());
        durable::publish_file(file, &to).map_err(|source| CompactError::Quarantine { path: file.clone(), source })?;
        if let Some(from) = file.parent() {
            durable::sync_dir(from).map_err(CompactError::file("sync", from))?;
        }
    }
    Ok(dir)
}

/// Moves the object `key` out of the lake, to a directory of its own; returns the directory.
///
/// # Errors
/// When it cannot be moved.
pub fn quarantine_object(lake: &Lake, name: &str, key: &str) -> Result<PathBuf, CompactError> {
    let dir = fresh(lake.work(), name)?;
    let file = key.rsplit('/').next().unwrap_or(key);
    lake.take_out(key, &dir.join(file)).map_err(|source| CompactError::TakeOut { path: lake.place(key), source })?;
    Ok(dir)
}

/// A directory `<name>-<n>` that was not there before.
fn fresh(work: &Path, name: &str) -> Result<PathBuf, CompactError> {
    let all = work.join(DIR);
    durable::create_dir_all(&all).map_err(CompactError::file("create", &all))?;
    let mut n = 1_u32;
    loop {
        let dir = all.join(format!("{name}-{n}"));
        match std::fs::create_dir(&dir) {
            Err(err) if err.kind() == ErrorKind::AlreadyExists => n += 1,
            made => {
                made.map_err(CompactError::file("create a directory in", &all))?;
                durable::sync_dir(&all).map_err(CompactError::file("sync", &all))?;
                return Ok(dir);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_quarantined_twice_lies_in_two_places_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        let mut places = Vec::new();
        for content in ["one", "two"] {
            std::fs::write(&file, content).unwrap();
            let place = quarantine_files(dir.path(), "part", std::slice::from_ref(&file)).unwrap();
            assert!(!file.exists());
            assert_eq!(std::fs::read_to_string(place.join("a")).unwrap(), content);
            places.push(place);
        }
        assert!(places[0].ends_with(".set-aside/part-1") && places[1].ends_with(".set-aside/part-2"));
    }
}
