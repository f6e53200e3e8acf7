//! Nothing was altered since it was published: the proof from the lake alone.
//!
//! ```text
//!  manifest 1 <--sha256-- manifest 2 <--sha256-- manifest 3 = head        one chain per log
//!     | sha256               | sha256      ^        | sha256
//!  files of its part      files of its part|     files of its part
//!                                          +------- manifest 4 = head of a restored or cloned log
//! ```
//!
//! Each manifest names the SHA-256 of its files and of the manifest before it, so the SHA-256 of the newest one (the
//! head) stands for all of them. Whoever notes a head elsewhere can show later that nothing before it was changed:
//! [`verify`] follows every chain, hashes every file, and looks for the noted heads. It reads no log and changes
//! nothing; that the rows are what the log says is [`super::replay`]'s to prove.
//!
//! The links are followed, not the names: a log that was restored from a backup or cloned with its machine goes on from
//! a manifest that another one already follows. That is told, and is no fault.
//!
//! A part that was published anew (`replay --rewrite`) or whose manifest was rebuilt (`verify --repair`) names the
//! manifests it stands in the place of, so that the part behind it, which names one of them, and heads noted earlier
//! still fit; how many there are is told.
//!
//! Others may publish, retire and rewrite meanwhile. What is looked at first is many moments, not one (`snapshot`); so
//! what seems wrong in it is looked at again while nobody changes the lake ([`LakeLock::shared`]) before it is called
//! so. Nothing is hashed under the lock: files are opened there, and an open file stays what it was.

mod files;
mod links;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Serialize;

use self::files::Checked;
use self::snapshot::Snapshot;
pub(super) use self::snapshot::{removed, unnamed};
use lake::LakeLock;
use lake::lock::PATIENCE;

/// Beside the manifests: what retention removed.
pub const REMOVED: &str = "removed.jsonl";

/// One chain: the parts of one log from the first, or from where it was restored or cloned, to a head.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Chain {
    /// Venue word.
    pub venue: String,
    /// The log's uuid, 32 hex digits.
    pub log: String,
    /// The part behind which another chain of the same log goes on too: it was restored or cloned there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forked_behind: Option<String>,
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
    /// Parts whose manifest was rebuilt.
    pub rebuilt: u64,
    /// SHA-256 of the newest manifest: note it where nobody who can write to the lake can.
    pub head: String,
    /// What is wrong, one plain sentence each.
    pub faults: Vec<String>,
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Every chain, by venue and first hour.
    pub chains: Vec<Chain>,
    /// Faults of no chain: manifests that cannot be read, files that no manifest names, noted heads that are nowhere.
    pub faults: Vec<String>,
    /// What is going on and is no fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
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
            if let Some(behind) = &c.forked_behind {
                writeln!(f, "    restored or cloned: another chain of this log goes on behind {behind} too")?;
            }
            if c.removed > 0 {
                writeln!(f, "    {} files were removed by retention", c.removed)?;
            }
            if c.rewritten > 0 {
                writeln!(f, "    {} parts were published anew (replay --rewrite)", c.rewritten)?;
            }
            if c.rebuilt > 0 {
                writeln!(f, "    {} manifests were rebuilt (verify --repair)", c.rebuilt)?;
            }
            writeln!(f, "    head {}", c.head)?;
            for fault in &c.faults {
                writeln!(f, "    WRONG {fault}")?;
            }
        }
        for fault in &self.faults {
            writeln!(f, "WRONG {fault}")?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
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
/// When a directory cannot be listed, or nobody can look twice because the lake is locked for too long. What is wrong
/// with the contents is in the report.
pub fn verify(lake: &Path, venue: Option<&str>, heads: &[String]) -> anyhow::Result<Report> {
    let mut checked: BTreeMap<String, Checked> = BTreeMap::new();
    let mut at = Snapshot::read(lake, venue)?;
    let mut still = false;
    loop {
        let mut moved = false;
        for link in at.links() {
            if !checked.contains_key(&link.sha256) {
                let (sha256, found) = files::check(lake, link, &at.removed)?;
                // Published anew since the snapshot: that manifest is of another moment than the others.
                moved |= sha256 != link.sha256;
                checked.insert(sha256, found);
            }
        }
        let report = judge(&at, &checked, heads);
        if !moved && (still || report.is_clean()) {
            return Ok(report);
        }
        let lock = LakeLock::shared(lake, "verify looks again", PATIENCE)?;
        at = Snapshot::read(lake, venue)?;
        drop(lock);
        still = true;
    }
}

/// What a snapshot says. Pure.
fn judge(at: &Snapshot, checked: &BTreeMap<String, Checked>, heads: &[String]) -> Report {
    let mut report = Report::default();
    let mut seen = BTreeSet::new();
    let mut logs: BTreeMap<(&str, &str), Vec<&snapshot::Link>> = BTreeMap::new();
    for link in at.links() {
        // A head that was noted before its part was published anew is still accounted for.
        seen.extend(link.names());
        logs.entry((&link.part.venue, &link.log)).or_default().push(link);
    }
    for links in logs.values() {
        report.chains.extend(links::follow(links, checked));
    }
    report.faults.extend(at.unreadable().map(|(_, why)| why.to_owned()));
    report.faults.extend(at.unnamed().map(|path| format!("{path} is named by no manifest")));
    for dir in &at.interrupted {
        let why = "was interrupted; tapedeck replay --rewrite, or the start of the compactor, finishes it";
        report.faults.push(format!("the publishing anew in {} {why}", dir.display()));
    }
    report.notes.extend(at.rewriting.clone());
    report.chains.sort_by(|a, b| (&a.venue, &a.first_hour, &a.log).cmp(&(&b.venue, &b.first_hour, &b.log)));
    for head in heads.iter().filter(|h| !seen.contains(h.to_ascii_lowercase().as_str())) {
        report
            .faults
            .push(format!("no manifest has the noted SHA-256 {head}: what it stood for was altered or removed"));
    }
    report
}
