//! Which months are to be cleaned, and from which files: a walk through the mirror.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use wal_format::regular;

use super::place::{Series, Unit, table};
use super::unit::MirroredFile;
use crate::error::{HistoryError, Result};
use crate::path::{CHECKSUM, HOST_DIR};
use crate::{ArchivePath, Selection};

/// A file, as its download left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downloaded {
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Bytes.
    pub bytes: u64,
    /// Earlier digests of the same name, oldest first.
    pub former_sha256: Vec<String>,
}

/// What is known of files, by their names in the archive.
pub type Digests = HashMap<String, Downloaded>;

/// Everything of a selection that is in a mirror.
#[derive(Debug, Default)]
pub struct Plan {
    /// Months and their files.
    pub units: BTreeMap<Unit, Vec<MirroredFile>>,
    /// Files of kinds that are only mirrored.
    pub only_mirrored: u64,
    /// Files in the mirror whose names are not understood.
    pub unknown: Vec<String>,
}

impl Plan {
    /// Adds CSVs that lie in the mirror without a zip around them, under the name of the zip but for its ending. Only
    /// the benchmark has such files.
    ///
    /// # Errors
    /// When a folder of the mirror cannot be read.
    pub fn bare_csv(&mut self, mirror: &Path) -> Result<()> {
        let root = mirror.join(HOST_DIR);
        let mut dirs = vec![root.join("data")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).map_err(HistoryError::file("list", &dir))? {
                let file = entry.map_err(HistoryError::file("list", &dir))?.path();
                if file.is_dir() {
                    dirs.push(file);
                    continue;
                }
                let name = file.strip_prefix(&root).ok().and_then(Path::to_str).and_then(|n| n.strip_suffix(".csv"));
                let Some(path) = name.and_then(|n| format!("{n}.zip").parse::<ArchivePath>().ok()) else { continue };
                let unit = unit_of(&path);
                let bytes = fs::metadata(&file).map_err(HistoryError::file("look at", &file))?.len();
                let found = MirroredFile { path, file, bytes, published: None, sha256: None, former: Vec::new() };
                self.units.entry(unit).or_default().push(found);
            }
        }
        Ok(())
    }
}

pub(super) fn unit_of(path: &ArchivePath) -> Unit {
    let series = Series {
        market: path.series.market,
        kind: path.series.kind,
        symbol: path.series.symbol.clone(),
        interval: path.series.interval,
    };
    Unit { series, month: path.first_day.first_of_month() }
}

/// Looks for files of a selection. A month with one wanted file is taken whole. `digests`: what the manifest knows.
///
/// # Errors
/// When a folder of the mirror cannot be read.
pub fn plan(mirror: &Path, selection: &Selection, digests: &Digests) -> Result<Plan> {
    let mut plan = Plan::default();
    let root = mirror.join(HOST_DIR);
    if root.join("data").is_dir() {
        walk(&root, "data", selection, digests, &mut plan)?;
    }
    plan.units.retain(|_, files| files.iter().any(|f| selection.holds(&f.path)));
    Ok(plan)
}

fn walk(root: &Path, below: &str, selection: &Selection, digests: &Digests, plan: &mut Plan) -> Result<()> {
    let dir = root.join(below);
    for entry in fs::read_dir(&dir).map_err(HistoryError::file("list", &dir))? {
        let entry = entry.map_err(HistoryError::file("list", &dir))?;
        // A name that is not UTF-8 is none of the archive.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let name = format!("{below}/{name}");
        let kind = entry.file_type().map_err(HistoryError::file("look at", Path::new(&name)))?;
        if kind.is_dir() {
            walk(root, &name, selection, digests, plan)?;
            continue;
        }
        let Ok(path) = name.parse::<ArchivePath>() else {
            if !is_ours(&name) {
                plan.unknown.push(name);
            }
            continue;
        };
        if !kind.is_file() || !of_series(selection, &path) {
            continue;
        }
        if table(path.series.kind).is_none() {
            plan.only_mirrored += 1;
            continue;
        }
        let bytes = entry.metadata().map_err(HistoryError::file("look at", Path::new(&name)))?.len();
        let file = entry.path();
        let published = published(&file);
        let known = digests.get(&name);
        let sha256 = known.filter(|d| d.bytes == bytes).map(|d| d.sha256.clone());
        let former = known.map(|d| d.former_sha256.clone()).unwrap_or_default();
        let unit = unit_of(&path);
        plan.units.entry(unit).or_default().push(MirroredFile { path, file, bytes, published, sha256, former });
    }
    Ok(())
}

/// True for what lies beside the files of the archive and is meant to.
fn is_ours(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    let endings = [CHECKSUM, ".partial", ".tmp", ".csv"];
    last.starts_with('.') || endings.iter().any(|ending| last.ends_with(ending))
}

/// True when the file may count for a month that is wanted, whatever its period and day.
fn of_series(selection: &Selection, path: &ArchivePath) -> bool {
    crate::Period::ALL.iter().any(|period| {
        let series = crate::SeriesPath { period: *period, ..path.series.clone() };
        selection.holds_series(&series)
    })
}

/// The digest in a `.CHECKSUM`: 64 hexadecimal digits, two blanks, the name.
fn published(zip: &Path) -> Option<String> {
    let mut name = zip.file_name()?.to_owned();
    name.push(CHECKSUM);
    let path = zip.with_file_name(name);
    let text = match regular::read_to_string(&path, regular::SMALL_BYTES_MAX) {
        Ok(text) => text,
        Err(err) => {
            if err.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), error = %err, "a checksum cannot be read: its file counts as one without");
            }
            return None;
        }
    };
    let digest = text.split_ascii_whitespace().next()?;
    let is_digest = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    is_digest.then(|| digest.to_ascii_lowercase())
}
