//! What is in a lake: manifests, published files, what retention removed. One moment if the lake is locked
//! meanwhile, many if not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::CompactError;
use crate::replay::rewrite;
use lake::find::{manifests, venues};
use lake::manifest::ManifestFile;
use lake::{Lake, LakeError, LakeLock, Part, PartManifest, Table};

/// The key of the list of what retention removed, beside the manifests.
pub const REMOVED: &str = "_manifests/removed.jsonl";

/// A manifest, as far as chains and files need it: what the compactor goes on from would fill the memory.
pub(super) struct Link {
    pub part: Part,
    pub key: String,
    pub log: String,
    /// `YYYY-MM-DDTHH`.
    pub hour: String,
    pub sha256: String,
    pub previous: Option<String>,
    pub supersedes: Vec<String>,
    pub revision: u32,
    /// Its manifest was rebuilt.
    pub rebuilt: bool,
    /// First seq, and the first one after.
    pub range: (u64, u64),
    /// The random number of the run of its first record; 0 = a run of version 1.
    pub incarnation: u64,
    /// What the footers of its files carry.
    pub account_sha256: String,
    /// Its own account does not add up.
    pub imbalance: Option<String>,
    pub files: Vec<ManifestFile>,
}

impl Link {
    /// Reads one.
    ///
    /// # Errors
    /// As [`PartManifest::load_hashed`].
    pub fn load(lake: &Lake, part: &Part, key: &str) -> Result<Link, LakeError> {
        let (m, sha256) = PartManifest::load_hashed(lake, key)?;
        Ok(Link {
            part: part.clone(),
            key: key.to_owned(),
            sha256,
            revision: m.revision,
            rebuilt: m.rebuilt.is_some(),
            range: (m.first.seq, m.end.seq),
            incarnation: m.runs().first().map_or(0, |run| run.incarnation.0),
            account_sha256: m.account_sha256()?,
            imbalance: m.check().err().map(|err| err.to_string()),
            log: m.log,
            hour: m.hour,
            previous: m.previous_sha256,
            supersedes: m.supersedes,
            files: m.files,
        })
    }

    /// The part as text.
    pub fn what(&self) -> String {
        format!("{} {}", self.part.hour, self.part.stem())
    }

    /// The SHA-256 by which others may name it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.sha256.as_str()).chain(self.supersedes.iter().map(String::as_str))
    }
}

pub(super) struct Snapshot {
    /// By venue, hour and first seq; or why one cannot be read.
    manifests: Vec<(Part, Result<Link, String>)>,
    /// Published files, as paths below the lake.
    files: Vec<String>,
    /// What retention removed.
    pub removed: BTreeSet<String>,
    /// Rewrites that nobody finishes.
    pub interrupted: Vec<PathBuf>,
    /// A rewrite that runs.
    pub rewriting: Option<String>,
}

impl Snapshot {
    /// Looks at the lake, or at one venue of it.
    ///
    /// # Errors
    /// When a directory cannot be listed.
    pub fn read(lake: &Lake, venue: Option<&str>) -> Result<Snapshot, CompactError> {
        let mut words = venues(lake)?;
        words.retain(|word| venue.is_none_or(|venue| venue == word));
        // A publish makes files first and their manifest last: whoever looks the other way round sees strangers.
        let mut files = Vec::new();
        for word in &words {
            for table in Table::ALL {
                let listed = lake.list(&format!("{table}/exchange={word}"), None, None)?;
                files.extend(listed.into_iter().map(|file| file.key));
            }
        }
        let mut found = Vec::new();
        for word in &words {
            for (part, at) in manifests(lake, word)? {
                let link = Link::load(lake, &part, &at.key).map_err(|err| err.to_string());
                found.push((part, link));
            }
        }
        let running = LakeLock::rewriter(lake.work())?;
        Ok(Snapshot {
            manifests: found,
            files,
            removed: removed(lake)?,
            interrupted: if running.is_some() { Vec::new() } else { rewrite::unfinished(lake)? },
            rewriting: running.map(|who| format!("parts are being rewritten by {who}")),
        })
    }

    /// Manifests that can be read.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.manifests.iter().filter_map(|(_, link)| link.as_ref().ok())
    }

    /// Those that cannot, and why.
    pub fn unreadable(&self) -> impl Iterator<Item = (&Part, &str)> {
        self.manifests.iter().filter_map(|(part, link)| Some((part, link.as_ref().err()?.as_str())))
    }

    /// Published files that no manifest names, but for those whose manifest cannot be read.
    pub fn unnamed(&self) -> impl Iterator<Item = &str> {
        let named: BTreeSet<&str> = self.links().flat_map(|l| l.files.iter().map(|f| f.path.as_str())).collect();
        let lost: BTreeSet<&Part> = self.unreadable().map(|(part, _)| part).collect();
        let of_lost = move |path: &str| Part::from_path(Path::new(path)).is_some_and(|(_, part)| lost.contains(&part));
        self.files.iter().map(String::as_str).filter(move |path| !named.contains(*path) && !of_lost(path))
    }
}

/// Paths below the lake of files that retention removed: one JSON object a line.
///
/// A line that a power cut tore is skipped: what it was to name was not removed yet.
///
/// # Errors
/// When the list is there and cannot be read.
pub(crate) fn removed(lake: &Lake) -> Result<BTreeSet<String>, CompactError> {
    #[derive(serde::Deserialize)]
    struct Line {
        path: String,
    }
    if !lake.has(REMOVED)? {
        return Ok(BTreeSet::new());
    }
    let read = lake.read(REMOVED)?;
    // A damaged line costs itself.
    let text = String::from_utf8_lossy(&read);
    Ok(text.lines().filter_map(|l| serde_json::from_str::<Line>(l).ok()).map(|l| l.path).collect())
}

/// Published files of a venue that no manifest names.
///
/// # Errors
/// As [`Snapshot::read`].
pub(crate) fn unnamed(lake: &Lake, venue: &str) -> Result<Vec<String>, CompactError> {
    Ok(Snapshot::read(lake, Some(venue))?.unnamed().map(str::to_owned).collect())
}
