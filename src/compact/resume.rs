//! Where to go on after any end of the process. First what is there ([`Evidence`]), then one pure decision
//! ([`decide`]), then the cleaning up that makes the decision the only truth.
//!
//! ```text
//!  manifests of the log   the newest one's end: everything before it is published
//!  states in .staging     the newest valid one whose pieces are all there: everything before it is in pieces
//!  the ack                a cache of the two above; what it claims beyond them is not believed
//! ```
//!
//! Worked example. The process died after the manifest of hour 11 was published and before its staging directory
//! was removed. The state there stands at seq 900, the manifest ends at 1000: the manifest is ahead, the state
//! and its pieces are rubbish, hour 12 begins at 1000.

use std::path::{Path, PathBuf};

use anyhow::Context;
use wal_format::{Ack, Position, durable};

use super::failpoint::fail_point;
use super::gather::Continuation;
use super::stage::{PartState, Place, is_state, list, to_position};
use crate::lake::path::parse_staging_dir;
use crate::lake::{Manifest, Part, staged_path, staging_dir};

/// What the disk says.
#[derive(Default)]
pub struct Evidence {
    /// The newest readable manifest of this log.
    pub manifest: Option<Manifest>,
    /// SHA-256 of its bytes.
    pub manifest_sha256: Option<String>,
    /// The newest valid state whose pieces are all there.
    pub state: Option<PartState>,
    /// The stored ack, if it can be read and is of this log.
    pub ack: Option<Position>,
    /// Things a person should know: unreadable manifests, damaged states, a foreign ack.
    pub remarks: Vec<String>,
}

/// Where to go on.
#[derive(Debug)]
pub enum Start {
    /// Nothing of this log was ever published or staged.
    Beginning,
    /// Behind a published part.
    Behind {
        /// The next record to read.
        position: Position,
        /// What outlives the part.
        continuation: Box<Continuation>,
    },
    /// Inside a part.
    Inside(Box<PartState>),
}

impl Start {
    /// The next record to read.
    pub fn position(&self) -> Position {
        match self {
            Self::Beginning => Position::START,
            Self::Behind { position, .. } => *position,
            Self::Inside(state) => to_position(state.position),
        }
    }
}

/// The decision.
#[derive(Debug)]
pub struct Decision {
    /// Where to go on.
    pub start: Start,
    /// The stored ack is not the chosen position: it has to be stored again before anything may be retired.
    pub store_ack: bool,
    /// A sentence for a person: something that was acknowledged is not in the lake.
    pub alarm: Option<String>,
}

/// Decides where to go on. Pure.
///
/// # Errors
/// When a manifest carries a continuation this version cannot read.
pub fn decide(evidence: Evidence) -> anyhow::Result<Decision> {
    let end = evidence.manifest.as_ref().map(|m| m.end.seq);
    // A state counts only for a part that begins where the published ones end, or later.
    let state = evidence.state.filter(|s| end.is_none_or(|end| s.position.seq > end && s.first.seq >= end));
    let start = match (state, evidence.manifest) {
        (Some(state), _) => Start::Inside(Box::new(state)),
        (None, Some(m)) => Start::Behind {
            position: to_position(m.end),
            continuation: Box::new(Continuation {
                previous_sha256: evidence.manifest_sha256,
                ..serde_json::from_value(m.continuation)
                    .with_context(|| format!("read the continuation of the manifest of {} {}", m.venue, m.hour))?
            }),
        },
        (None, None) => Start::Beginning,
    };
    let at = start.position();
    let alarm = evidence.ack.filter(|ack| ack.seq > at.seq).map(|ack| {
        format!(
            "the log was acknowledged up to seq {}, but the lake only holds what is before {}: it is rebuilt from the log as far as its segments still exist, the rest is lost",
            ack.seq, at.seq
        )
    });
    Ok(Decision { store_ack: evidence.ack != Some(at), start, alarm })
}

/// Looks at the disk.
///
/// # Errors
/// When a directory cannot be listed. Damaged files are remarks, not errors.
pub fn gather(place: &Place, ack: Result<Option<Ack>, String>, log_uuid: [u8; 16]) -> anyhow::Result<Evidence> {
    let mut evidence = Evidence::default();
    match ack {
        Ok(Some(ack)) if ack.log_uuid == log_uuid => evidence.ack = Some(ack.position),
        Ok(Some(_)) => evidence.remarks.push("the ack belongs to another log and is replaced".into()),
        Ok(None) => {}
        Err(why) => evidence.remarks.push(format!("the ack cannot be read and is rebuilt: {why}")),
    }
    for (part, path) in manifests(&place.lake, &place.venue)?.into_iter().rev() {
        if part.log8 != place.log8() {
            continue;
        }
        match Manifest::load_hashed(&path) {
            Ok((m, sha256)) if m.log == place.log => {
                evidence.manifest = Some(m);
                evidence.manifest_sha256 = Some(sha256);
                break;
            }
            Ok(_) => {}
            Err(err) => evidence.remarks.push(format!("skipped a manifest: {err}")),
        }
    }
    for (_, dir) in staging_dirs(place)? {
        for path in list(&dir)? {
            if !is_state(&path) {
                continue;
            }
            let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let Some(state) = PartState::parse(&bytes).filter(|s| s.log == place.log && s.venue == place.venue) else {
                evidence.remarks.push(format!("skipped a damaged or foreign state: {}", path.display()));
                continue;
            };
            if evidence.state.as_ref().is_some_and(|s| s.position.seq >= state.position.seq) {
                continue;
            }
            match missing_piece(place, &state) {
                None => evidence.state = Some(state),
                Some(piece) => evidence.remarks.push(format!(
                    "skipped the state {}: its piece {} is not there or has another size",
                    path.display(),
                    piece.display()
                )),
            }
        }
    }
    Ok(evidence)
}

/// Removes everything staged for this log that `start` does not stand on.
///
/// # Errors
/// When something cannot be removed.
pub fn clean(place: &Place, start: &Start) -> anyhow::Result<()> {
    fail_point!("resume.before_cleanup");
    let keep: Vec<PathBuf> = match start {
        Start::Inside(state) => {
            let part = state.part(place);
            let dir = staging_dir(&place.lake, &part);
            let mut keep = vec![super::stage::state_path(&dir, to_position(state.position).seq)];
            for (table, pieces) in &state.pieces {
                keep.extend(pieces.iter().map(|p| staged_path(&place.lake, &part, *table, p.index)));
            }
            keep
        }
        _ => Vec::new(),
    };
    for (_, dir) in staging_dirs(place)? {
        remove_all_but(&dir, &keep)?;
    }
    fail_point!("resume.after_cleanup");
    Ok(())
}

/// Removes the staging directory of a published part.
///
/// # Errors
/// When something cannot be removed.
pub fn remove_staging(place: &Place, part: &Part) -> anyhow::Result<()> {
    remove_all_but(&staging_dir(&place.lake, part), &[])
}

fn remove_all_but(dir: &Path, keep: &[PathBuf]) -> anyhow::Result<()> {
    let mut kept = 0;
    for path in list(dir)? {
        if keep.contains(&path) {
            kept += 1;
        } else {
            durable::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    if kept == 0 && dir.exists() {
        std::fs::remove_dir(dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    Ok(())
}

/// The first piece that is not there as the state says.
fn missing_piece(place: &Place, state: &PartState) -> Option<PathBuf> {
    let part = state.part(place);
    state
        .pieces
        .iter()
        .flat_map(|(table, pieces)| pieces.iter().map(move |p| (*table, p)))
        .map(|(table, p)| (staged_path(&place.lake, &part, table, p.index), p.bytes))
        .find(|(path, bytes)| std::fs::metadata(path).map(|m| m.len()).ok() != Some(*bytes))
        .map(|(path, _)| path)
}

/// Staging directories of this log, oldest part first.
fn staging_dirs(place: &Place) -> anyhow::Result<Vec<(Part, PathBuf)>> {
    let mut dirs: Vec<(Part, PathBuf)> = list(&place.lake.join(".staging"))?
        .into_iter()
        .filter_map(|dir| Some((parse_staging_dir(&dir)?, dir)))
        .filter(|(part, _)| part.venue == place.venue && part.log8 == place.log8())
        .collect();
    dirs.sort_by_key(|(part, _)| part.first_seq);
    Ok(dirs)
}

/// Manifests of `venue`, of all logs, by hour and first seq.
///
/// # Errors
/// When a directory cannot be listed.
pub fn manifests(lake: &Path, venue: &str) -> anyhow::Result<Vec<(Part, PathBuf)>> {
    let mut found = Vec::new();
    for day in list(&lake.join("_manifests").join(format!("exchange={venue}")))? {
        for hour in list(&day)? {
            for file in list(&hour)? {
                if let Some((None, part)) = Part::from_path(&file) {
                    found.push((part, file));
                }
            }
        }
    }
    found.sort_by(|a, b| (a.0.hour, a.0.first_seq, &a.0.log8).cmp(&(b.0.hour, b.0.first_seq, &b.0.log8)));
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::stage::{state_at, to_log_position};
    use super::*;
    use crate::lake::WriteSettings;
    use wal_format::{SegmentId, Seq};

    fn at(seq: u64) -> Position {
        Position { segment: SegmentId(1), offset: 4096 + seq * 64, seq: Seq(seq) }
    }

    fn manifest(first: u64, end: u64) -> Manifest {
        let mut m = Manifest::new("0badcafe".into(), "binance-spot".into(), "h".into(), WriteSettings::default());
        m.first = to_log_position(at(first));
        m.end = to_log_position(at(end));
        m.continuation = serde_json::to_value(Continuation { hour: Some(7), ..Continuation::default() }).unwrap();
        m
    }

    fn decided(
        manifest: Option<Manifest>,
        state: Option<PartState>,
        ack: Option<u64>,
    ) -> (u64, &'static str, bool, bool) {
        let d = decide(Evidence { manifest, state, ack: ack.map(at), ..Evidence::default() }).unwrap();
        let kind = match d.start {
            Start::Beginning => "beginning",
            Start::Behind { .. } => "behind",
            Start::Inside(_) => "inside",
        };
        (d.start.position().seq.0, kind, d.store_ack, d.alarm.is_some())
    }

    #[test]
    fn without_anything_it_begins_at_the_beginning_and_the_ack_is_rebuilt() {
        assert_eq!(decided(None, None, None), (0, "beginning", true, false));
    }

    #[test]
    fn whichever_of_manifest_and_state_is_ahead_wins_over_the_ack() {
        assert_eq!(decided(Some(manifest(0, 10)), None, Some(10)), (10, "behind", false, false));
        assert_eq!(decided(Some(manifest(0, 10)), Some(state_at(10, 15)), Some(10)), (15, "inside", true, false));
        assert_eq!(decided(Some(manifest(0, 10)), Some(state_at(0, 8)), Some(8)), (10, "behind", true, false));
        assert_eq!(decided(None, Some(state_at(0, 8)), None), (8, "inside", true, false));
    }

    #[test]
    fn a_state_at_the_very_end_of_a_published_part_is_of_that_part() {
        assert_eq!(decided(Some(manifest(0, 10)), Some(state_at(0, 10)), Some(10)), (10, "behind", false, false));
    }

    #[test]
    fn a_state_whose_part_overlaps_a_published_one_is_not_believed() {
        assert_eq!(decided(Some(manifest(0, 10)), Some(state_at(5, 15)), Some(10)), (10, "behind", false, false));
    }

    #[test]
    fn an_ack_ahead_of_the_lake_is_an_alarm_and_is_taken_back() {
        assert_eq!(decided(Some(manifest(0, 10)), None, Some(50)), (10, "behind", true, true));
        assert_eq!(decided(None, None, Some(50)), (0, "beginning", true, true));
    }

    #[test]
    fn a_continuation_of_another_version_is_an_error_and_not_a_fresh_start() {
        let mut m = manifest(0, 10);
        m.continuation = serde_json::json!({ "ids": 7 });
        assert!(decide(Evidence { manifest: Some(m), ..Evidence::default() }).is_err());
    }
}
