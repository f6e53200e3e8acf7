//! Whether the files of a part are what its manifest says.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;

use sha2::Digest;
use wal_format::regular;

use super::snapshot::{Link, removed};
use lake::hash::{hash_all, hex};
use lake::lock::PATIENCE;
use lake::manifest::ManifestFile;
use lake::read::TableFile;
use lake::{LakeError, LakeLock};

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
}

/// Hashes the files of a part. What seems wrong is opened again while nobody changes the lake, by the manifest that
/// stands there then: returned is the SHA-256 of the one that the answer is about.
///
/// # Errors
/// When the lake is locked for too long, or what retention removed cannot be read.
pub(super) fn check(lake: &Path, link: &Link, gone: &BTreeSet<String>) -> anyhow::Result<(String, Checked)> {
    let found = judge(link, open_all(lake, &link.files), gone);
    if found.faults.is_empty() {
        return Ok((link.sha256.clone(), found));
    }
    let lock = LakeLock::shared(lake, "verify looks again", PATIENCE)?;
    let fresh = match Link::load(&link.part, &link.path) {
        Ok(fresh) => fresh,
        // The next snapshot tells.
        Err(_) => return Ok((String::new(), Checked::default())),
    };
    let (opened, gone) = (open_all(lake, &fresh.files), removed(lake)?);
    drop(lock);
    let found = judge(&fresh, opened, &gone);
    Ok((fresh.sha256, found))
}

fn open_all<'f>(lake: &Path, files: &'f [ManifestFile]) -> Vec<(&'f ManifestFile, io::Result<File>)> {
    files.iter().map(|file| (file, regular::open(&lake.join(&file.path)))).collect()
}

fn judge(link: &Link, opened: Vec<(&ManifestFile, io::Result<File>)>, gone: &BTreeSet<String>) -> Checked {
    let mut checked = Checked::default();
    for (file, open) in opened {
        let wrong = match open {
            Err(err) if err.kind() == io::ErrorKind::NotFound && gone.contains(&file.path) => {
                checked.removed += 1;
                continue;
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => Some(format!("{} is not there", file.path)),
            Err(err) => Some(format!("{} cannot be opened: {err}", file.path)),
            // The error names the file.
            Ok(open) => compare(link, file, open).unwrap_or_else(|err| Some(err.to_string())),
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
fn compare(link: &Link, file: &ManifestFile, mut open: File) -> Result<Option<String>, LakeError> {
    let path = Path::new(&file.path);
    let (hash, bytes) = hash_all(&mut open).map_err(LakeError::io("read", path))?;
    if (bytes, hex(&hash.finalize()).as_str()) != (file.bytes, file.sha256.as_str()) {
        return Ok(Some(format!("{} is not what was published", file.path)));
    }
    if path.extension().is_none_or(|e| e != "parquet") {
        return Ok(None);
    }
    // The newest manifest has no successor that names it: its own files do.
    let footer = TableFile::of_file(path, open)?;
    let other = footer.key_value("manifest_sha256").is_some_and(|told| told != link.account_sha256);
    Ok(other.then(|| format!("its account is not the one that {} was published with", file.path)))
}
