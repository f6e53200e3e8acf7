//! Whether the files of a part are what its manifest says.

use std::collections::BTreeSet;

use sha2::Digest;

use super::snapshot::{Link, removed};
use crate::error::CompactError;
use lake::hash::{hash_all, hex};
use lake::lock::PATIENCE;
use lake::manifest::ManifestFile;
use lake::read::TableFile;
use lake::{Lake, LakeError, LakeLock, Object};

/// What became of the files of one manifest.
#[derive(Default)]
pub(super) struct Checked {
    /// That are there and as published.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// That retention removed.
    pub removed: u64,
    /// What is wrong.
    pub faults: Vec<String>,
    /// One went while it was read: look again.
    stale: bool,
}

/// Hashes the files of a part. What seems wrong is opened again while nobody changes the lake, by the manifest that
/// is there then: returned is the SHA-256 of the one that the answer is about.
///
/// # Errors
/// When the lake is locked for too long, or what retention removed cannot be read.
pub(super) fn check(lake: &Lake, link: &Link, gone: &BTreeSet<String>) -> Result<(String, Checked), CompactError> {
    let found = judge(lake, link, open_all(lake, &link.files), gone);
    if found.faults.is_empty() {
        return Ok((link.sha256.clone(), found));
    }
    loop {
        let lock = LakeLock::shared(lake.work(), "verify looks again", PATIENCE)?;
        let fresh = match Link::load(lake, &link.part, &link.key) {
            Ok(fresh) => fresh,
            // The next snapshot shows it.
            Err(_) => return Ok((String::new(), Checked::default())),
        };
        let (opened, gone) = (open_all(lake, &fresh.files), removed(lake)?);
        drop(lock);
        let found = judge(lake, &fresh, opened, &gone);
        if !found.stale {
            return Ok((fresh.sha256, found));
        }
    }
}

/// A file of a manifest, and the object that it names.
type Opened<'f> = (&'f ManifestFile, Result<Option<Object>, LakeError>);

fn open_all<'f>(lake: &Lake, files: &'f [ManifestFile]) -> Vec<Opened<'f>> {
    files.iter().map(|file| (file, lake.get(&file.path))).collect()
}

fn judge(lake: &Lake, link: &Link, opened: Vec<Opened<'_>>, gone: &BTreeSet<String>) -> Checked {
    let mut checked = Checked::default();
    for (file, open) in opened {
        let wrong = match open {
            Ok(None) if gone.contains(&file.path) => {
                checked.removed += 1;
                continue;
            }
            Ok(None) => Some(format!("{} is not there", file.path)),
            Err(LakeError::Io { source, .. }) => Some(format!("{} cannot be opened: {source}", file.path)),
            // The error names the file.
            Err(err) => Some(err.to_string()),
            Ok(Some(open)) => compare(lake, link, file, open).unwrap_or_else(|err| {
                checked.stale |= err.is_stale();
                Some(err.to_string())
            }),
        };
        match wrong {
            Some(wrong) => checked.faults.push(format!("{}: {wrong}", link.what())),
            None => {
                checked.files += 1;
                checked.bytes += file.bytes;
            }
        }
    }
    checked
}

/// What is wrong with a file, if anything.
fn compare(lake: &Lake, link: &Link, file: &ManifestFile, open: Object) -> Result<Option<String>, LakeError> {
    let path = lake.place(&file.path);
    let (hash, bytes) = open.reader(0).and_then(hash_all).map_err(LakeError::io("read", &path))?;
    if (bytes, hex(&hash.finalize()).as_str()) != (file.bytes, file.sha256.as_str()) {
        return Ok(Some(format!("{} is not what was published", file.path)));
    }
    if path.extension().is_none_or(|e| e != "parquet") {
        return Ok(None);
    }
    // The newest manifest has no successor that names it: its own files do.
    let footer = TableFile::of(&path, open)?;
    let other = footer.key_value("manifest_sha256").is_some_and(|declared| declared != link.account_sha256);
    Ok(other.then(|| format!("its account is not the one that {} was published with", file.path)))
}
