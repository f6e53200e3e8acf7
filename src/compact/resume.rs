//! Where to go on after any end of the process. First what is there ([`Evidence`]), then one pure decision
//! ([`decide`]), then the cleaning up that makes the decision the only truth ([`clean`]).
//!
//! ```text
//!  manifests of the log   the newest one's end: everything before it is published
//!  states in .staging     the newest valid one whose pieces are all there and unaltered: everything before it is in
//!                         pieces. A cache: without it the log is read again from the manifest's end
//!  the ack                what was published once; one beyond the two above says that a lake is missing
//! ```
//!
//! Worked example. The process died after the manifest of hour 11 was published and before its staging directory
//! was removed. The state there is at seq 900, the manifest ends at 1000: the manifest is ahead, the state
//! and its pieces are rubbish, hour 12 begins at 1000.
//!
//! What is rubbish is deleted: pieces that no state names yet, and all that is staged of a published part. What should
//! be of use and is not (a damaged state, one of another version, a damaged piece) is quarantined and named
//! ([`super::quarantine`]), with the pieces beside it. A newest manifest that cannot be read, and an ack beyond
//! everything that neither the lake nor the log holds, stop the log ([`EvidenceMissing`]): to go on would be to publish
//! twice, or to call lost what lies on a disk that is not mounted. So do published files after the newest manifest
//! that the log cannot give again; those that it can were left by an interrupted publish and are removed.
//!
//! Whose a file is say log, venue and runs. Manifests of another copy of this log (it was restored from a backup, or is
//! a clone) are left alone, but for one thing: what both copies hold, the runs up to the last common one, is published
//! ([`Place::own_end`]). What other copies and other logs staged waits for them.

pub use lake::find::manifests;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use wal_format::{Ack, Checkpoint, Position, Seq, durable, regular};

use super::error::CompactError;
use super::missing::EvidenceMissing;
use super::place::{Place, to_position};
use super::quarantine::{quarantine_files, quarantine_object};
use super::stage::{PartState, is_state, state_path};
use crate::failpoint;
use fold::gather::{Continuation, missing_beginning};
use fold::source::{LiveLog, RecordSource, Step};
use lake::find::files_since;
use lake::lock::{LakeLock, PATIENCE};
use lake::path::parse_staging_dir;
use lake::read::TableFile;
use lake::work::list;
use lake::{Hour, LakeError, Part, PartManifest, StagedPiece, staging_dir};

/// What lies in one staging directory of this log.
pub struct Staged {
    /// Its part.
    part: Part,
    dir: PathBuf,
    /// Its states by name, or why one is of no use.
    states: BTreeMap<PathBuf, Result<PartState, String>>,
}

impl Staged {
    fn usable(&self) -> impl DoubleEndedIterator<Item = (&PathBuf, &PartState)> {
        self.states.iter().filter_map(|(path, state)| Some((path, state.as_ref().ok()?)))
    }
}

/// The newest manifest that speaks about this log.
pub struct Newest {
    /// As it was published.
    pub manifest: PartManifest,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its key.
    pub key: String,
    /// Up to where it speaks about this log.
    pub end: Position,
}

impl Newest {
    /// False when a part of it is of another copy of the log: what is remembered at its end is then of no use.
    fn is_whole(&self) -> bool {
        self.end == to_position(self.manifest.end)
    }
}

/// What the disk says.
#[derive(Default)]
pub struct Evidence {
    /// The newest manifest.
    pub newest: Option<Newest>,
    /// What is staged, oldest part first.
    pub staged: Vec<Staged>,
    /// Published files of this log after the newest manifest that no manifest names: their keys.
    pub orphans: Vec<String>,
    /// The stored ack, if it can be read and speaks about this log.
    pub ack: Option<Position>,
    /// Things a person should know: damaged states and pieces, a foreign ack, other copies of the log.
    pub remarks: Vec<String>,
}

impl Evidence {
    /// True when an interrupted publish of this part can have left all of them.
    pub fn orphans_are_of(&self, part: &Part) -> bool {
        self.orphans.iter().all(|key| Part::from_path(Path::new(key)).is_some_and(|(_, of)| of == *part))
    }

    /// Where the newest manifest ends; the beginning without one.
    fn end(&self) -> Position {
        self.newest.as_ref().map_or(Position::START, |n| n.end)
    }
}

/// Where to go on.
#[derive(Debug)]
pub enum Start {
    /// Nothing of this log was ever published or staged.
    Beginning,
    /// After a published part.
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
    /// Where the newest manifest ends: what the ack may say.
    pub published: Position,
    /// What has to be stored as the ack before anything may be retired; `None` = it is as it should be.
    pub store_ack: Option<Position>,
    /// The ack, when it claims more than lake and staging hold.
    pub beyond: Option<Position>,
}

/// Decides where to go on. Pure.
///
/// # Errors
/// When a manifest carries a continuation this version cannot read.
pub fn decide(evidence: &Evidence) -> Result<Decision, CompactError> {
    let published = evidence.end();
    let start = match (newest_state(evidence), &evidence.newest) {
        (Some(state), _) => Start::Inside(Box::new(state.clone())),
        (None, Some(newest)) => {
            let m = &newest.manifest;
            let continuation = match newest.is_whole() {
                true => serde_json::from_value(m.continuation.clone())
                    .map_err(|source| CompactError::Continuation { of: format!("{} {}", m.venue, m.hour), source })?,
                false => Continuation::default(),
            };
            let previous_sha256 = Some(newest.sha256.clone());
            Start::Behind {
                position: published,
                continuation: Box::new(Continuation { previous_sha256, ..continuation }),
            }
        }
        (None, None) => Start::Beginning,
    };
    let at = start.position();
    let beyond = evidence.ack.filter(|ack| ack.seq > at.seq);
    // Version 1 acknowledged what was staged: such an ack stays until a part is published after it.
    let staged = evidence.ack.is_some_and(|ack| ack.seq > published.seq && beyond.is_none());
    let store_ack = (evidence.ack != Some(published) && !staged).then_some(published);
    Ok(Decision { start, published, store_ack, beyond })
}

/// The state to go on from: it counts only for the part after the newest manifest. One that names another manifest
/// before it says that this other one is gone.
fn newest_state(evidence: &Evidence) -> Option<&PartState> {
    let end = evidence.newest.as_ref().map(|n| n.end.seq.get());
    let follows = |s: &&PartState| match (&evidence.newest, &s.continuation.previous_sha256) {
        (None, None) => true,
        (Some(n), Some(previous)) => n.sha256 == *previous || n.manifest.supersedes.contains(previous),
        _ => false,
    };
    evidence
        .staged
        .iter()
        .flat_map(|dir| dir.usable().map(|(_, state)| state))
        .filter(|s| end.is_none_or(|end| s.position.seq > end && s.first.seq >= end))
        .filter(follows)
        .max_by_key(|s| s.position.seq)
}

/// Whether the log in `dir` still has everything from `from` on: what lies before it may be given up.
///
/// # Errors
/// When the log cannot be read.
pub fn log_holds(dir: &Path, from: Position) -> Result<bool, CompactError> {
    source_holds(LiveLog::only_reading(dir, from)?, dir, from)
}

/// [`log_holds`] of a source that was opened at `from`; `dir` is for messages.
///
/// # Errors
/// As [`log_holds`].
pub fn source_holds(mut log: impl RecordSource, dir: &Path, from: Position) -> Result<bool, CompactError> {
    Ok(match log.next().map_err(CompactError::at("read the log", dir))? {
        // A start at the beginning takes the first record there is.
        Step::Record(record) => from.seq != Seq(0) || missing_beginning(&record).is_none(),
        Step::Blocked { .. } => true,
        // Nothing is there, and there was something.
        Step::Lost(_) | Step::Tail | Step::End => false,
    })
}

/// Looks at the disk.
///
/// # Errors
/// When a directory cannot be listed; [`EvidenceMissing`] when the newest manifest cannot be believed. Other damaged
/// files are remarks.
pub fn gather(place: &Place, ack: Result<Option<Ack>, String>) -> Result<Evidence, CompactError> {
    let mut evidence = Evidence::default();
    match ack {
        Ok(None) => {}
        Ok(Some(ack)) => match place.lineage.as_ref().map(|lineage| lineage.check(&Checkpoint::from(&ack))) {
            Some(Err(why)) => {
                evidence.remarks.push(format!("the ack says nothing about this log, and is replaced: {why}"))
            }
            _ => evidence.ack = Some(ack.position),
        },
        Err(why) => evidence.remarks.push(format!("the ack cannot be read and is rebuilt: {why}")),
    }
    evidence.newest = newest(place, &mut evidence.remarks)?;
    let end = evidence.end().seq.get();
    for dir in list(&place.lake.work().join(".staging"))? {
        let Some(part) = parse_staging_dir(&dir).filter(|part| part.venue == place.venue) else { continue };
        if !place.owns(&part) {
            let whose = if part.log8 == place.log8() { "another copy of this log" } else { "another log" };
            evidence.remarks.push(format!("{} was staged of {whose} and waits for it", dir.display()));
            continue;
        }
        let mut staged = Staged { part, dir, states: BTreeMap::new() };
        let mut pieces = BTreeMap::new();
        for path in list(&staged.dir)?.into_iter().filter(|path| is_state(path)) {
            let state = read_state(place, &path, end, &mut pieces)?;
            if let Err(why) = &state {
                evidence.remarks.push(format!("the state {} is of no use: {why}", path.display()));
            }
            staged.states.insert(path, state);
        }
        evidence.staged.push(staged);
    }
    evidence.staged.sort_by_key(|staged| staged.part.first_seq);
    evidence.orphans = orphans(place, &evidence)?;
    Ok(evidence)
}

/// The newest manifest of the log, as far as it is its own.
fn newest(place: &Place, remarks: &mut Vec<String>) -> Result<Option<Newest>, CompactError> {
    let mut best: Option<Newest> = None;
    let mut others = Vec::new();
    let mut all = manifests(&place.lake, &place.venue)?;
    all.retain(|(part, _)| part.log8 == place.log8());
    all.sort_by_key(|(part, _)| part.first_seq);
    for (part, found) in all.into_iter().rev() {
        let key = found.key;
        if !place.owns(&part) {
            others.push(key);
            continue;
        }
        match PartManifest::load_proven(&place.lake, &key) {
            Ok((manifest, sha256)) if place.is_of(&manifest) => {
                let Some(end) = place.own_end(&manifest) else {
                    others.push(key);
                    continue;
                };
                let whole = place.had(&manifest.runs());
                if !whole {
                    others.push(key.clone());
                }
                if best.as_ref().is_none_or(|best| end.seq > best.end.seq) {
                    best = Some(Newest { manifest, sha256, key, end });
                }
                // What comes before it ends before it.
                if whole {
                    break;
                }
            }
            // Of another log.
            Ok(_) => {}
            // The disk may answer again.
            Err(err @ LakeError::Io { .. }) => return Err(err.into()),
            Err(err @ LakeError::Newer { .. }) => return Err(EvidenceMissing::Newer { what: err.to_string() }.into()),
            Err(err) => {
                let path = place.lake.place(&key).display().to_string();
                return Err(EvidenceMissing::Manifest { path, why: err.to_string() }.into());
            }
        }
    }
    if let [first, ..] = others.as_slice() {
        remarks.push(format!(
            "{} manifests of another copy of this log are left alone (it was restored from a backup, or is a clone), the newest is {}",
            others.len(),
            place.lake.place(first).display()
        ));
    }
    Ok(best)
}

/// Published files of this log after the newest manifest that no manifest names.
fn orphans(place: &Place, evidence: &Evidence) -> Result<Vec<String>, CompactError> {
    let end = evidence.end().seq.get();
    // Hours never decrease along a log; without a manifest, or with one that is only in part its own, all are looked
    // at.
    let since = evidence.newest.as_ref().filter(|n| n.is_whole()).and_then(|n| Hour::from_text(&n.manifest.hour));
    let mut found = Vec::new();
    for (part, file) in files_since(&place.lake, &place.venue, since.unwrap_or(Hour(i64::MIN)))? {
        if !place.owns(&part) || part.first_seq < end || place.lake.has(&part.manifest())? {
            continue;
        }
        // Text says nothing about itself, and a file that cannot be read was never a good one of anybody.
        let log = match TableFile::get(&place.lake, &file.key) {
            Ok(file) => file.key_value("log").map(str::to_owned),
            Err(err @ LakeError::Newer { .. }) => return Err(EvidenceMissing::Newer { what: err.to_string() }.into()),
            Err(err) if err.is_unreachable() => return Err(err.into()),
            Err(_) => None,
        };
        if log.is_some_and(|log| log != place.log) {
            return Err(EvidenceMissing::Taken { path: place.lake.place(&file.key).display().to_string() }.into());
        }
        found.push(file.key);
    }
    Ok(found)
}

/// Reads a state and proves its pieces, unless what it holds is published anyway (before `end`). `pieces`: what was
/// proven already, as states of one part share their pieces.
fn read_state(
    place: &Place,
    path: &Path,
    end: u64,
    pieces: &mut BTreeMap<PathBuf, Result<(), String>>,
) -> Result<Result<PartState, String>, CompactError> {
    let bytes = regular::read(path, regular::LARGE_BYTES_MAX).map_err(CompactError::file("read", path))?;
    let state = match PartState::parse(&bytes) {
        Ok(state) if state.log != place.log || state.venue != place.venue => {
            return Ok(Err(format!("it is of the log {} of {}", state.log, state.venue)));
        }
        Ok(state) if !place.had(&state.runs()) => return Ok(Err("it is of another copy of this log".to_owned())),
        Ok(state) => state,
        Err(why) => return Ok(Err(why)),
    };
    if state.position.seq <= end {
        return Ok(Ok(state));
    }
    for (file, bytes) in state.piece_files(place) {
        let proven = pieces.entry(file.path.clone()).or_insert_with(|| match file.read() {
            Ok(found) if found.len() as u64 == bytes => Ok(()),
            Ok(found) => {
                let path = file.path.display();
                Err(format!("{path} is damaged: it has {} bytes, it was written with {bytes}", found.len()))
            }
            Err(err) => Err(err.to_string()),
        });
        if let Err(why) = proven {
            return Ok(Err(format!("its piece {why}")));
        }
    }
    Ok(Ok(state))
}

/// Clears away everything staged for this log that `start` does not build on; returns what was quarantined instead of
/// deleted, one line for each directory.
///
/// # Errors
/// When something cannot be moved or removed.
pub fn clean(place: &Place, evidence: &Evidence, start: &Start) -> Result<Vec<String>, CompactError> {
    failpoint::hit("resume.before_cleanup");
    let mut reported = Vec::new();
    let end = evidence.end().seq.get();
    for staged in &evidence.staged {
        let mut keep = BTreeSet::new();
        let chosen = match start {
            Start::Inside(state) => Some(state.as_ref()).filter(|s| s.part(place) == staged.part),
            _ => None,
        };
        if let Some(chosen) = chosen {
            // The chosen one and the one before it.
            let until = state_path(&staged.dir, Seq(chosen.position.seq));
            for (path, state) in staged.usable().rev().filter(|(path, _)| **path <= until).take(2) {
                keep.insert(path.clone());
                keep.extend(state.piece_files(place).into_iter().map(|(file, _)| file.path));
            }
        }
        // Of a part that is published nothing is needed any more, whatever it looks like.
        let published =
            chosen.is_none() && staged.part.first_seq < end && staged.usable().all(|(_, s)| s.position.seq <= end);
        let damage = staged.states.values().any(Result::is_err)
            || (chosen.is_none() && staged.states.values().any(Result::is_ok));
        let mut quarantined = Vec::new();
        let mut kept = 0;
        for path in list(&staged.dir)? {
            if keep.contains(&path) {
                kept += 1;
            } else if !published && damage && (is_state(&path) || StagedPiece::from_path(&path).is_some()) {
                quarantined.push(path);
            } else {
                durable::remove_file(&path).map_err(CompactError::file("remove", &path))?;
            }
        }
        // States last: as long as one lies there, what is left of the pieces is not taken for newer than all states.
        quarantined.sort_by_key(|path| is_state(path));
        if !quarantined.is_empty() {
            let name = staged.dir.file_name().unwrap_or_default().to_string_lossy();
            let to = quarantine_files(place.lake.work(), &name, &quarantined)?;
            let from = staged.dir.display();
            reported.push(format!(
                "quarantined {} files of {from} in {}: look at them, then delete them",
                quarantined.len(),
                to.display()
            ));
        }
        if kept == 0 && staged.dir.exists() {
            std::fs::remove_dir(&staged.dir).map_err(CompactError::file("remove", &staged.dir))?;
        }
    }
    reported.extend(remove_orphans(place, &evidence.orphans)?);
    failpoint::hit("resume.after_cleanup");
    Ok(reported)
}

/// In a store that other machines publish into: what was put so lately may be a publish that goes on there. Equal records
/// are equal files, so what stays is met by this publish as its own.
const UNDECIDED_MS: i64 = 15 * 60_000;

/// Removes what an interrupted publish left, unless a manifest names it by now: another copy of the log may be
/// publishing the same records at this moment.
fn remove_orphans(place: &Place, orphans: &[String]) -> Result<Option<String>, CompactError> {
    let [first, ..] = orphans else { return Ok(None) };
    let _lock = LakeLock::exclusive(place.lake.work(), "removes what an interrupted publish left", PATIENCE)?;
    let mut n = 0;
    for key in orphans {
        let of = Part::from_path(Path::new(key));
        let named = of.map_or(Ok(false), |(_, part)| place.lake.has(&part.manifest()))?;
        let put_at_ms = place.lake.put_at_ms(key)?;
        let undecided = put_at_ms.is_some_and(|at| ops::clock::wall_ms().saturating_sub(at) < UNDECIDED_MS);
        if !named && !undecided {
            place.lake.delete(key)?;
            n += 1;
        }
    }
    if n == 0 {
        return Ok(None);
    }
    Ok(Some(format!(
        "removed {n} files of a publish that was interrupted, {} and others",
        place.lake.place(first).display()
    )))
}

/// Moves the published files out of the lake that no manifest names and that the log cannot give again.
///
/// # Errors
/// When one cannot be moved.
pub fn quarantine_orphans(place: &Place, evidence: &mut Evidence) -> Result<Option<PathBuf>, CompactError> {
    let orphans = std::mem::take(&mut evidence.orphans);
    // Files of several tables have equal names.
    let mut to = None;
    for key in &orphans {
        let (table, stem) = (key.split('/').next().unwrap_or_default(), Path::new(key).file_stem().unwrap_or_default());
        to = Some(quarantine_object(&place.lake, &format!("{table}-{}", stem.to_string_lossy()), key)?);
    }
    Ok(to)
}

/// Removes the staging directory of a published part.
///
/// # Errors
/// When something cannot be removed.
pub fn remove_staging(place: &Place, part: &Part) -> Result<(), CompactError> {
    let dir = staging_dir(place.lake.work(), part);
    for path in list(&dir)? {
        durable::remove_file(&path).map_err(CompactError::file("remove", &path))?;
    }
    if dir.exists() {
        std::fs::remove_dir(&dir).map_err(CompactError::file("remove", &dir))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::place::to_log_position;
    use super::super::stage::state_at;
    use super::*;
    use lake::{Lake, WriteSettings};
    use wal_format::{SegmentId, Seq};

    fn at(seq: u64) -> Position {
        Position { segment: SegmentId(1), offset: 4096 + seq * 64, seq: Seq(seq) }
    }

    fn manifest(first: u64, end: u64) -> PartManifest {
        let mut m = PartManifest::new("0badcafe".into(), "binance-spot".into(), "h".into(), WriteSettings::default());
        m.first = to_log_position(at(first));
        m.end = to_log_position(at(end));
        m.continuation = serde_json::to_value(Continuation { hour: Some(7), ..Continuation::default() }).unwrap();
        m
    }

    fn published(manifest: PartManifest) -> Newest {
        Newest { end: to_position(manifest.end), sha256: "ab".into(), key: String::new(), manifest }
    }

    /// Of one part from `first` on, with states at these places, damaged ones as `Err`.
    fn staged(first: u64, states: &[Result<u64, u64>]) -> Vec<Staged> {
        let (venue, log) = ("binance-spot".to_owned(), "0badcafe".to_owned());
        let place = Place { lake: Lake::open(Path::new("/lake")), venue, log, lineage: None, wal: None };
        let dir = PathBuf::from(format!("/lake/.staging/{first}"));
        let state = |at| {
            let mut state = state_at(first, at);
            state.continuation.previous_sha256 = (first > 0).then(|| "ab".to_owned());
            state
        };
        let states = states.iter().map(|s| match s {
            Ok(at) => (state_path(&dir, Seq(*at)), Ok(state(*at))),
            Err(at) => (state_path(&dir, Seq(*at)), Err("it is damaged".to_owned())),
        });
        let (part, states) = (place.part(Hour(7), Seq(first), &[]), states.collect());
        vec![Staged { part, dir, states }]
    }

    /// Where it goes on and how; what is stored as the ack; what the ack claims beyond that.
    fn decided(
        manifest: Option<PartManifest>,
        staged: Vec<Staged>,
        ack: Option<u64>,
    ) -> (u64, &'static str, Option<u64>, Option<u64>) {
        let newest = manifest.map(published);
        let d = decide(&Evidence { newest, staged, ack: ack.map(at), ..Evidence::default() }).unwrap();
        let kind = match d.start {
            Start::Beginning => "beginning",
            Start::Behind { .. } => "behind",
            Start::Inside(_) => "inside",
        };
        let seq = |p: Option<Position>| p.map(|p| p.seq.0);
        (d.start.position().seq.0, kind, seq(d.store_ack), seq(d.beyond))
    }

    #[test]
    fn without_anything_it_begins_at_the_beginning_and_the_ack_is_rebuilt() {
        assert_eq!(decided(None, vec![], None), (0, "beginning", Some(0), None));
    }

    #[test]
    fn whichever_of_manifest_and_state_is_ahead_wins_and_the_ack_is_the_manifests_end() {
        let published = || Some(manifest(0, 10));
        assert_eq!(decided(published(), vec![], Some(10)), (10, "behind", None, None));
        assert_eq!(decided(published(), staged(10, &[Ok(15)]), Some(10)), (15, "inside", None, None));
        assert_eq!(decided(published(), staged(0, &[Ok(8)]), Some(8)), (10, "behind", Some(10), None));
        assert_eq!(decided(None, staged(0, &[Ok(8)]), None), (8, "inside", Some(0), None));
    }

    #[test]
    fn a_damaged_newest_state_leaves_the_one_before_it() {
        let published = || Some(manifest(0, 10));
        assert_eq!(decided(published(), staged(10, &[Ok(15), Err(20)]), Some(10)), (15, "inside", None, None));
        assert_eq!(decided(published(), staged(10, &[Err(15), Err(20)]), Some(10)), (10, "behind", None, None));
    }

    #[test]
    fn an_ack_of_version_1_at_its_state_stays_and_one_beyond_every_state_is_not_covered() {
        let published = || Some(manifest(0, 10));
        assert_eq!(decided(published(), staged(10, &[Ok(15)]), Some(15)), (15, "inside", None, None));
        assert_eq!(decided(published(), staged(10, &[Ok(15), Err(20)]), Some(20)), (15, "inside", Some(10), Some(20)));
    }

    #[test]
    fn a_state_at_the_very_end_of_a_published_part_is_of_that_part() {
        assert_eq!(decided(Some(manifest(0, 10)), staged(0, &[Ok(10)]), Some(10)), (10, "behind", None, None));
    }

    #[test]
    fn a_state_whose_part_overlaps_a_published_one_is_not_believed() {
        assert_eq!(decided(Some(manifest(0, 10)), staged(5, &[Ok(15)]), Some(10)), (10, "behind", None, None));
    }

    #[test]
    fn a_state_behind_a_manifest_that_is_gone_is_not_gone_on_from() {
        assert_eq!(decided(None, staged(10, &[Ok(15)]), Some(10)), (0, "beginning", Some(0), Some(10)));
        let mut other = published(manifest(0, 5));
        other.sha256 = "cd".into();
        let evidence = Evidence { newest: Some(other), staged: staged(10, &[Ok(15)]), ..Evidence::default() };
        assert_eq!(decide(&evidence).unwrap().start.position().seq.0, 5);
    }

    #[test]
    fn an_ack_ahead_of_the_lake_is_reported_and_would_be_taken_back() {
        assert_eq!(decided(Some(manifest(0, 10)), vec![], Some(50)), (10, "behind", Some(10), Some(50)));
        assert_eq!(decided(None, vec![], Some(50)), (0, "beginning", Some(0), Some(50)));
    }

    #[test]
    fn a_continuation_of_another_version_is_an_error_and_not_a_fresh_start() {
        let mut m = manifest(0, 10);
        m.continuation = serde_json::json!({ "ids": 7 });
        assert!(decide(&Evidence { newest: Some(published(m)), ..Evidence::default() }).is_err());
    }
}
