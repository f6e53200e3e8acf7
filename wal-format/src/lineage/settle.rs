//! Whose log is in a directory: EPOCH, the headers that it cannot know, and without it the acks too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Lineage;
use crate::ack::{self, Ack};
use crate::epoch::{self, EpochState};
use crate::identity::hex;
use crate::incarnation::Run;
use crate::layout::{BLOCK_BYTES, EPOCH_FILE};
use crate::read_error::{LineageError, ReadError};
use crate::record::SegmentId;
use crate::segment_dirs::SegmentDirs;
use crate::slots::SlotError;
use crate::source::{Admission, Source};

/// A file that names another log is reported by name; of more than this many the rest is counted.
const NAMED_MAX: usize = 4;

impl SegmentDirs {
    /// Whose log it is and which runs it had, as [`crate::lineage()`] says it.
    ///
    /// # Errors
    /// [`LineageError`] when it cannot be determined.
    pub fn lineage(&self) -> Result<Option<Lineage>, LineageError> {
        of_dirs(self)
    }
}

/// What the header of a segment claims.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub id: SegmentId,
    pub path: PathBuf,
    pub log_uuid: [u8; 16],
    /// The run; `None` where only the footer could be read.
    pub run: Option<Run>,
}

/// Decides whose log it is; `None` if nothing ever said. `claims` are in order of their ids.
pub(crate) fn settle(
    dir: &Path,
    epoch: Option<&EpochState>,
    claims: &[Claim],
    acks: &[Ack],
) -> Result<Option<Lineage>, LineageError> {
    let log_uuid = match epoch {
        Some(state) => Some(state.log_uuid),
        None => without_epoch(dir, claims, acks)?,
    };
    let Some(log_uuid) = log_uuid else { return Ok(None) };
    let runs = epoch.map(|state| state.runs.iter().map(|run| (run.epoch, run.incarnation)).collect());
    let stored = epoch.map(|state| (state.epoch, state.next_segment));
    let mut lineage = Lineage { log_uuid, runs: runs.unwrap_or_default(), stored };
    for claim in claims {
        if let Some(run) = claim.run
            && lineage.judge(claim.id, Some(claim.log_uuid), Some(run.epoch), Some(run.incarnation)).is_none()
        {
            lineage.add(run);
        }
    }
    Ok(Some(lineage))
}

/// The log's uuid where EPOCH does not say it: that of all segments, or that of all acks if a segment agrees.
fn without_epoch(dir: &Path, claims: &[Claim], acks: &[Ack]) -> Result<Option<[u8; 16]>, LineageError> {
    let one = |mut uuids: Vec<[u8; 16]>| {
        uuids.sort_unstable();
        uuids.dedup();
        match uuids.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    };
    let of_acks = one(acks.iter().map(|ack| ack.log_uuid).collect());
    let of_segments = one(claims.iter().map(|claim| claim.log_uuid).collect());
    let agreed = |uuid: &[u8; 16]| claims.is_empty() || claims.iter().any(|claim| claim.log_uuid == *uuid);
    match (of_acks, of_segments) {
        (Some(uuid), _) if agreed(&uuid) => Ok(Some(uuid)),
        // The acks are of another log than every segment: which of them was put here?
        (Some(_), _) => Err(unsettled(dir, claims, acks)),
        (None, Some(uuid)) => Ok(Some(uuid)),
        (None, None) if claims.is_empty() => Ok(None),
        (None, None) => Err(unsettled(dir, claims, acks)),
    }
}

fn unsettled(dir: &Path, claims: &[Claim], acks: &[Ack]) -> LineageError {
    let mut by_uuid: BTreeMap<[u8; 16], Vec<String>> = BTreeMap::new();
    for claim in claims {
        let name = claim.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        by_uuid.entry(claim.log_uuid).or_default().push(name);
    }
    for ack in acks {
        by_uuid.entry(ack.log_uuid).or_default().push("an ack".to_owned());
    }
    let claim = |(uuid, names): (&[u8; 16], &Vec<String>)| {
        let more = names.len().saturating_sub(NAMED_MAX);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let first: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
        format!("{} ({}{rest})", hex(uuid), first.join(", "))
    };
    LineageError::Unsettled { epoch: dir.join(EPOCH_FILE), claims: by_uuid.iter().map(claim).collect() }
}

/// Whose log is in `dir`, and which runs it had; `None` while there is no log. Takes no lock.
///
/// # Errors
/// [`LineageError`] when EPOCH or a segment cannot be read, or EPOCH is lost and the files in the directory do not agree.
pub fn lineage(dir: &Path) -> Result<Option<Lineage>, LineageError> {
    of_dirs(&SegmentDirs::new(dir))
}

/// As [`lineage`], of a log whose segments may lie in two directories.
pub(crate) fn of_dirs(dirs: &SegmentDirs) -> Result<Option<Lineage>, LineageError> {
    let epoch = match epoch::read(dirs.dir()) {
        Ok(state) => state,
        Err(SlotError::Damaged { .. } | SlotError::Body { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    // What lies below was there when the writer that stored this EPOCH looked.
    let from = epoch.as_ref().map_or(SegmentId(0), |state| state.next_segment);
    let mut claims = Vec::new();
    for id in dirs.ids()?.into_iter().filter(|id| *id >= from) {
        // One that went away meanwhile was retired; one that cannot be read says nothing, and whoever wants to read it
        // learns why.
        if let Ok(Some(mut source)) = dirs.open(id, BLOCK_BYTES as usize)
            && let Ok(claim) = claim(&mut source)
        {
            claims.extend(claim);
        }
    }
    if epoch.is_none() && claims.is_empty() {
        return Ok(None);
    }
    let acks = if epoch.is_none() { ack::all(dirs.dir()) } else { Vec::new() };
    settle(dirs.dir(), epoch.as_ref(), &claims, &acks)
}

/// What a segment claims; `None` if it says nothing, or is not what its name says.
fn claim(source: &mut Source) -> Result<Option<Claim>, ReadError> {
    let (id, path) = (source.id(), source.path().to_path_buf());
    Ok(match source.admit()? {
        Admission::Identified { log_uuid: Some(log_uuid), epoch, incarnation } => {
            let run = epoch.zip(incarnation).map(|(epoch, incarnation)| Run { epoch, incarnation });
            Some(Claim { id, path, log_uuid, run })
        }
        _ => None,
    })
}
