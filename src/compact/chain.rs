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
//! head) vouches for all of them. A head noted elsewhere shows later that nothing before it was changed:
//! [`verify`] follows every chain, hashes every file, and looks for the noted heads. It reads no log and changes
//! nothing; that the rows are what the log says is [`super::replay`]'s to prove.
//!
//! The links are followed, not the names: a log that was restored from a backup or cloned with its machine goes on from
//! a manifest that another one already follows. That is reported, and is no fault.
//!
//! A part that was rewritten (`replay --rewrite`) or whose manifest was rebuilt (`verify --repair`) names the
//! manifests it replaces, so that the part after it, which names one of them, and heads noted earlier
//! still fit; how many there are is reported.
//!
//! Others may publish, retire and rewrite meanwhile. What is looked at first is many moments, not one (`snapshot`); so
//! what seems wrong in it is looked at again while the lake is locked ([`LakeLock::shared`]) before it is called
//! so. Nothing is hashed under the lock: files are opened there, and an open file stays what it was.

mod files;
mod links;
mod report;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};

use self::files::Checked;
pub use self::report::{Chain, ChainReport};
pub use self::snapshot::REMOVED;
use self::snapshot::Snapshot;
pub(super) use self::snapshot::{removed, unnamed};
use super::error::CompactError;
use lake::lock::PATIENCE;
use lake::{Lake, LakeLock};

/// Follows every chain of the lake. `heads`: SHA-256 of manifests that were noted once and must still be there.
///
/// # Errors
/// When a directory cannot be listed, or a second look is impossible because the lake is locked for too long. What is wrong
/// with the contents is in the report.
pub fn verify(lake: &Lake, venue: Option<&str>, heads: &[String]) -> Result<ChainReport, CompactError> {
    let mut checked: BTreeMap<String, Checked> = BTreeMap::new();
    let mut at = Snapshot::read(lake, venue)?;
    let mut still = false;
    loop {
        let mut moved = false;
        for link in at.links() {
            if !checked.contains_key(&link.sha256) {
                let (sha256, found) = files::check(lake, link, &at.removed)?;
                // Rewritten since the snapshot: that manifest is of another moment than the others.
                moved |= sha256 != link.sha256;
                checked.insert(sha256, found);
            }
        }
        let report = judge(&at, &checked, heads);
        if !moved && (still || report.is_clean()) {
            return Ok(report);
        }
        let lock = LakeLock::shared(lake.work(), "verify looks again", PATIENCE)?;
        at = Snapshot::read(lake, venue)?;
        drop(lock);
        still = true;
    }
}

/// What a snapshot says. Pure.
fn judge(at: &Snapshot, checked: &BTreeMap<String, Checked>, heads: &[String]) -> ChainReport {
    let mut report = ChainReport::default();
    let mut seen = BTreeSet::new();
    let mut logs: BTreeMap<(&str, &str), Vec<&snapshot::Link>> = BTreeMap::new();
    for link in at.links() {
        // A head that was noted before its part was rewritten is still accounted for.
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
        report.faults.push(format!("the rewrite in {} {why}", dir.display()));
    }
    report.notes.extend(at.rewriting.clone());
    report.chains.sort_by(|a, b| (&a.venue, &a.first_hour, &a.log).cmp(&(&b.venue, &b.first_hour, &b.log)));
    for head in heads.iter().filter(|h| !seen.contains(h.to_ascii_lowercase().as_str())) {
        report
            .faults
            .push(format!("no manifest has the noted SHA-256 {head}: what it vouched for was altered or removed"));
    }
    report
}
