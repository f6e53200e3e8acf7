//! Nothing was altered since it was published: the proof from the lake alone.
//!
//! ```text
//!  manifest 1 <--sha256-- manifest 2 <--sha256-- manifest 3 = head        one chain per log
//!     | sha256               | sha256               | sha256
//!  files of its part      files of its part      files of its part
//! ```
//!
//! Each manifest names the SHA-256 of its files and of the manifest before it, so the SHA-256 of the newest one (the
//! head) stands for all of them. Whoever notes a head elsewhere can show later that nothing before it was changed:
//! [`verify`] follows every chain, hashes every file, and looks for the noted heads. It reads no log and changes
//! nothing; that the rows are what the log says is [`super::replay`]'s to prove.
//!
//! A part that was published anew (`replay --rewrite`) names the manifests it stands in the place of, so that the part
//! behind it, which names one of them, and heads noted earlier still fit; how many there are is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use sha2::Digest;
use wal_format::regular;

use super::hash::{hash_all, hex};
use super::replay::rewrite;
use super::resume::manifests;
use super::stage::list;
use crate::lake::read::TableFile;
use crate::lake::{Manifest, Part, Table};

/// Beside the manifests: what retention removed.
pub const REMOVED: &str = "removed.jsonl";

/// One chain: all parts of one log.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Chain {
    /// Venue word.
    pub venue: String,
    /// The log's uuid, 32 hex digits.
    pub log: String,
    /// Hour of the first part, `YYYY-MM-DDTHH`.
    pub first_hour: String,
    /// Hour of the newest part.
    pub last_hour: String,
    /// Parts.
    pub parts: u64,
    /// Files that are there and as their manifest says.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that retention removed, as the note beside the manifests tells.
    pub removed: u64,
    /// Parts that were published anew since, because a later decoder reads other rows.
    pub rewritten: u64,
    /// SHA-256 of the newest manifest: note it where nobody who can write to the lake can.
    pub head: String,
    /// What is wrong, one plain sentence each.
    pub faults: Vec<String>,
    /// Manifests that the newest one stands in the place of.
    #[serde(skip)]
    superseded: Vec<String>,
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Every chain, by venue and first hour.
    pub chains: Vec<Chain>,
    /// Faults of no chain: files that no manifest names, noted heads that are nowhere.
    pub faults: Vec<String>,
}

impl Report {
    /// True when nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.fault_count() == 0
    }

    /// How many things are wrong.
    pub fn fault_count(&self) -> usize {
        self.faults.len() + self.chains.iter().map(|c| c.faults.len()).sum::<usize>()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in &self.chains {
            writeln!(
                f,
                "{} log {} {}..{}: {} parts, {} files, {} bytes",
                c.venue,
                c.log.get(..8).unwrap_or(&c.log),
                c.first_hour,
                c.last_hour,
                c.parts,
                c.files,
                c.bytes
            )?;
            if c.removed > 0 {
                writeln!(f, "    {} files were removed by retention", c.removed)?;
            }
            if c.rewritten > 0 {
                writeln!(f, "    {} parts were published anew (replay --rewrite)", c.rewritten)?;
            }
            writeln!(f, "    head {}", c.head)?;
            for fault in &c.faults {
                writeln!(f, "    WRONG {fault}")?;
            }
        }
        for fault in &self.faults {
            writeln!(f, "WRONG {fault}")?;
        }
        if self.chains.is_empty() && self.faults.is_empty() {
            return writeln!(f, "nothing is published yet");
        }
        match self.fault_count() {
            0 => writeln!(f, "nothing was altered"),
            n => writeln!(f, "{n} things are wrong"),
        }
    }
}

/// Follows every chain of the lake. `heads`: SHA-256 of manifests that were noted once and must still be there.
///
/// # Errors
/// When a directory or file cannot be read for another reason than that it is not there. What is wrong with the
/// contents is in the report.
pub fn verify(lake: &Path, venue: Option<&str>, heads: &[String]) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let removed = removed(lake)?;
    let mut seen = BTreeSet::new();
    let mut named = BTreeSet::new();
    for dir in list(&lake.join("_manifests"))? {
        let word = dir.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("exchange="));
        let Some(word) = word.filter(|w| venue.is_none_or(|v| v == *w)) else { continue };
        let mut logs: BTreeMap<String, Chain> = BTreeMap::new();
        for (part, path) in manifests(lake, word)? {
            let (manifest, sha256) = match Manifest::load_hashed(&path) {
                Ok(loaded) => loaded,
                Err(err) => {
                    report.faults.push(err.to_string());
                    continue;
                }
            };
            let chain = logs.entry(manifest.log.clone()).or_default();
            link(lake, chain, &part, &manifest, &sha256, &removed)?;
            // A head that was noted before its part was published anew is still accounted for.
            seen.extend(manifest.supersedes.iter().cloned());
            named.extend(manifest.files.into_iter().map(|f| f.path));
            seen.insert(sha256);
        }
        report.chains.extend(logs.into_values());
        unnamed(lake, word, &named, &mut report.faults)?;
    }
    for dir in rewrite::unfinished(lake)? {
        let why = "was interrupted; tapedeck replay --rewrite, or the start of the compactor, finishes it";
        report.faults.push(format!("the publishing anew in {} {why}", dir.display()));
    }
    report.chains.sort_by(|a, b| (&a.venue, &a.first_hour, &a.log).cmp(&(&b.venue, &b.first_hour, &b.log)));
    for head in heads.iter().filter(|h| !seen.contains(h.to_ascii_lowercase().as_str())) {
        report
            .faults
            .push(format!("no manifest has the noted SHA-256 {head}: what it stood for was altered or removed"));
    }
    Ok(report)
}

/// Takes the next part of a log.
fn link(
    lake: &Path,
    chain: &mut Chain,
    part: &Part,
    m: &Manifest,
    sha256: &str,
    removed: &BTreeSet<String>,
) -> anyhow::Result<()> {
    let what = format!("{} {}", part.hour, part.stem());
    if chain.parts == 0 {
        (chain.venue, chain.log) = (m.venue.clone(), m.log.clone());
        chain.first_hour.clone_from(&m.hour);
    }
    let expected = Some(chain.head.as_str()).filter(|_| chain.parts > 0);
    match (expected, m.previous_sha256.as_deref()) {
        (None, None) => {}
        (None, Some(_)) => chain.faults.push(format!("{what}: the manifest before it is gone")),
        (Some(_), None) => chain.faults.push(format!("{what}: it names no manifest before it")),
        // The part before was published anew behind it.
        (Some(_), Some(previous)) if chain.superseded.iter().any(|s| s == previous) => {}
        (Some(head), Some(previous)) if head != previous => {
            let why = "it was published behind another manifest than the one there is";
            chain.faults.push(format!("{what}: {why} ({previous}, not {head})"));
        }
        _ => {}
    }
    chain.parts += 1;
    chain.last_hour.clone_from(&m.hour);
    sha256.clone_into(&mut chain.head);
    chain.rewritten += u64::from(m.revision > 0);
    chain.superseded.clone_from(&m.supersedes);
    if m.supersedes.len() != m.revision as usize {
        chain.faults.push(format!(
            "{what}: revision {} stands in the place of {} manifests",
            m.revision,
            m.supersedes.len()
        ));
    }
    if let Err(err) = m.check() {
        chain.faults.push(format!("{what}: {err}"));
    }
    let digest = m.digest()?;
    for file in &m.files {
        let path = lake.join(&file.path);
        let open = match regular::open(&path) {
            Ok(open) => open,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound && removed.contains(&file.path) => {
                chain.removed += 1;
                continue;
            }
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
                chain.faults.push(format!("{what}: {} is not there", file.path));
                continue;
            }
            Err(err) => return Err(err).with_context(|| format!("open {}", path.display())),
        };
        let (hash, bytes) = hash_all(open).with_context(|| format!("read {}", path.display()))?;
        let sha256 = hex(&hash.finalize());
        if (bytes, sha256.as_str()) != (file.bytes, file.sha256.as_str()) {
            chain.faults.push(format!("{what}: {} is not what was published", file.path));
            continue;
        }
        // The newest manifest has no successor that names it: its own files do.
        if path.extension().is_some_and(|e| e == "parquet") {
            let footer = TableFile::open(&path)?;
            if footer.key_value("manifest_sha256").is_some_and(|told| told != digest) {
                chain.faults.push(format!("{what}: its account is not the one that {} was published with", file.path));
            }
        }
        chain.files += 1;
        chain.bytes += bytes;
    }
    Ok(())
}

/// Paths below the lake of files that retention removed: one JSON object a line.
///
/// A line that a power cut tore is skipped: what it was to name was not removed yet.
///
/// # Errors
/// When the list is there and cannot be read.
pub(super) fn removed(lake: &Path) -> anyhow::Result<BTreeSet<String>> {
    #[derive(serde::Deserialize)]
    struct Line {
        path: String,
    }
    let path = lake.join("_manifests").join(REMOVED);
    let text = match regular::read_to_string(&path, regular::LARGE_BYTES_MAX) {
        Ok(text) => text,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(err) => return Err(err).with_context(|| format!("read {}", path.display())),
    };
    Ok(text.lines().filter_map(|l| serde_json::from_str::<Line>(l).ok()).map(|l| l.path).collect())
}

/// Files among the published ones that no manifest names.
fn unnamed(lake: &Path, venue: &str, named: &BTreeSet<String>, faults: &mut Vec<String>) -> anyhow::Result<()> {
    for table in Table::ALL {
        for day in list(&lake.join(table.as_str()).join(format!("exchange={venue}")))? {
            for file in list(&day)?.iter().map(|hour| list(hour)).collect::<Result<Vec<_>, _>>()?.concat() {
                let below = file.strip_prefix(lake).unwrap_or(&file);
                let path: Vec<_> = below.components().map(|c| c.as_os_str().to_string_lossy()).collect();
                let path = path.join("/");
                if !named.contains(&path) {
                    faults.push(format!("{path} is named by no manifest"));
                }
            }
        }
    }
    Ok(())
}
