//! Old snapshots go, and what only they named: manifests, their lists, and files of `hours`. Files of the lake never do.
//!
//! What a table must keep: the current snapshot and those before it down to the first with a position, whatever other engines
//! put on top; what a branch or tag names; and what is younger than `[catalog] snapshot_retention_hours`. Only files that a committer
//! named are looked at, by their names, so files of commits that came to nothing go as well.

use std::collections::BTreeSet;

use iceberg::spec::{MAIN_BRANCH, ManifestContentType, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use serde::Deserialize;

use crate::error::CommitterError;
use crate::schema::Target;
use crate::table::{Session, TableState, carries_position};

/// A file that no snapshot names may be of a commit on its way; none is for so long.
const ORPHAN_HOURS: u64 = 24;

/// What went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expired {
    /// Snapshots, of all tables.
    pub snapshots: usize,
    /// Files.
    pub files: usize,
}

/// Expires snapshots of all tables that are older than `hours`.
///
/// # Errors
/// When a table cannot be read or the catalog refuses.
pub fn expire(session: &Session, hours: u64) -> Result<Expired, CommitterError> {
    let now_ms = ops::clock::wall_ms();
    let before = |hours: u64| now_ms.saturating_sub(i64::try_from(hours.saturating_mul(3_600_000)).unwrap_or(i64::MAX));
    expire_before(session, before(hours), before(hours.max(ORPHAN_HOURS)))
}

/// [`expire`]: snapshots of before `before_ms`, and files that nothing names of before `orphans_ms`; both ms since 1970.
///
/// # Errors
/// As [`expire`].
pub fn expire_before(session: &Session, before_ms: i64, orphans_ms: i64) -> Result<Expired, CommitterError> {
    let mut expired = Expired::default();
    for target in Target::all() {
        let Some(state) = session.load(target)? else { continue };
        let old = old(&state, before_ms)?;
        if !old.is_empty() {
            let requirements = [
                TableRequirement::UuidMatch { uuid: state.metadata.uuid() },
                TableRequirement::RefSnapshotIdMatch {
                    r#ref: MAIN_BRANCH.to_owned(),
                    snapshot_id: state.metadata.current_snapshot_id(),
                },
            ];
            expired.snapshots = expired.snapshots.saturating_add(old.len());
            let updates = [TableUpdate::RemoveSnapshots { snapshot_ids: old }];
            match session.catalog.commit(target.name(), &requirements, &updates) {
                // Others are at work; the next time.
                Err(CommitterError::Conflict { .. }) => continue,
                done => done?,
            }
        }
        expired.files = expired.files.saturating_add(sweep(session, target, orphans_ms)?);
    }
    Ok(expired)
}

/// Snapshots that may go.
fn old(state: &TableState, before_ms: i64) -> Result<Vec<i64>, CommitterError> {
    let mut keep: BTreeSet<i64> = named(&state.metadata)?;
    for snapshot in state.ancestors() {
        keep.insert(snapshot.snapshot_id());
        if carries_position(snapshot) {
            break;
        }
    }
    let all = state.metadata.snapshots();
    let old = all.filter(|s| s.timestamp_ms() < before_ms && !keep.contains(&s.snapshot_id()));
    Ok(old.map(|s| s.snapshot_id()).collect())
}

/// Snapshots that branches and tags name.
fn named(metadata: &TableMetadata) -> Result<BTreeSet<i64>, CommitterError> {
    #[derive(Deserialize)]
    struct Refs {
        #[serde(default)]
        refs: std::collections::HashMap<String, Ref>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Ref {
        snapshot_id: i64,
    }
    // The crate gives them by name alone.
    let refs = serde_json::to_value(metadata).and_then(serde_json::from_value::<Refs>);
    let refs = refs.map_err(|err| CommitterError::unfit(format!("read the branches of a table: {err}")))?;
    Ok(refs.refs.into_values().map(|named| named.snapshot_id).collect())
}

/// Removes files of committers that no snapshot of the table names and that are of before `before_ms`.
fn sweep(session: &Session, target: Target, before_ms: i64) -> Result<usize, CommitterError> {
    let Some(state) = session.load(target)? else { return Ok(0) };
    let location = state.metadata.location().trim_end_matches('/').to_owned();
    let mut candidates = Vec::new();
    for folder in ["metadata", "data"] {
        for name in session.places.list(&format!("{location}/{folder}"))? {
            if made_ms(&name).is_some_and(|at| at < before_ms) {
                candidates.push(format!("{location}/{folder}/{name}"));
            }
        }
    }
    if candidates.is_empty() {
        return Ok(0);
    }
    let mut named = BTreeSet::new();
    for snapshot in state.metadata.snapshots() {
        for file in session.manifest_list(snapshot)? {
            let fresh = named.insert(file.manifest_path.clone());
            if fresh && target == Target::Hours && file.content == ManifestContentType::Data {
                let manifest = session.manifest(&file)?;
                named.extend(manifest.entries().iter().filter(|e| e.is_alive()).map(|e| e.file_path().to_owned()));
            }
        }
        named.insert(snapshot.manifest_list().to_owned());
    }
    let mut removed = 0_usize;
    for uri in candidates.iter().filter(|uri| !named.contains(*uri)) {
        session.places.delete(uri)?;
        removed = removed.saturating_add(1);
    }
    Ok(removed)
}

/// When a committer made the file of this name; `None` for files of others.
fn made_ms(name: &str) -> Option<i64> {
    name.strip_prefix("tapedeck-")?.split('-').next()?.parse().ok()
}
