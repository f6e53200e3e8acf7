//! What a writer finds at open: whose log it is, which run is the next one, and what lies there that is not the log's.
//!
//! Looks only at names and at headers that EPOCH cannot know, so the time to the first append does not grow with the
//! log; the repair of old tails judges the others. An epoch is never given out twice: the next one is above everything
//! that remembers one, and a state that may have lost its newest value counts as one more.

use std::path::{Path, PathBuf};

use crate::ack;
use crate::control;
use crate::epoch::EpochState;
use crate::error::OpenError;
use crate::header::SegmentHeader;
use crate::incarnation::Run;
use crate::layout::{BLOCK_BYTES, QUARANTINE_DIR};
use crate::lineage::{Claim, Foreign, Lineage, settle};
use crate::quarantine;
use crate::record::SegmentId;
use crate::segment;
use crate::storage::{Entry, Storage};

/// CONTROL is a hint: a word of it that is far ahead of everything else is damage.
const CONTROL_AHEAD_MAX: u32 = 4096;

/// What was found.
pub(crate) struct Survey {
    /// The run before this one, as far as it is known.
    pub before: Option<EpochState>,
    /// The highest epoch that may have been given out; 0 if there was none.
    pub last_epoch: u32,
    /// Files that were moved out of the way, and why: sentences for a person.
    pub warnings: Vec<String>,
}

/// The ids in the names of `entries`, as far as `parse` knows them.
fn names(entries: &[Entry], parse: fn(&str) -> Option<SegmentId>) -> Vec<SegmentId> {
    entries.iter().filter(|e| !e.is_dir).filter_map(|e| parse(&e.name)).collect()
}

/// Looks at the log in `dir`. `stored` is what EPOCH says, `damaged` that it may once have said more.
pub(crate) fn survey(
    storage: &dyn Storage,
    dir: &Path,
    entries: &[Entry],
    stored: Option<EpochState>,
    damaged: bool,
) -> Result<Survey, OpenError> {
    let from = stored.as_ref().map_or(SegmentId(0), |state| state.next_segment);
    let mut ids: Vec<SegmentId> = names(entries, segment::parse_file_name);
    ids.sort_unstable();
    let headers: Vec<(SegmentId, PathBuf, SegmentHeader)> = ids
        .into_iter()
        .filter(|id| *id >= from)
        .filter_map(|id| {
            let path = segment::path(dir, id);
            Some((id, path.clone(), header(storage, &path)?))
        })
        .collect();
    let claims: Vec<Claim> = headers
        .iter()
        .filter(|(id, _, header)| header.segment == *id)
        .map(|(id, path, h)| Claim { id: *id, path: path.clone(), log_uuid: h.log_uuid, run: Some(h.run()) })
        .collect();
    let acks = ack::all(dir);
    let Some(lineage) = settle(dir, stored.as_ref(), &claims, &acks)? else {
        return Ok(Survey { before: None, last_epoch: 0, warnings: Vec::new() });
    };

    let mut warnings = Vec::new();
    if stored.is_none() {
        warnings.push(format!(
            "EPOCH of {} says nothing; the files beside it name log {} and run {}",
            dir.display(),
            crate::identity::hex(&lineage.log_uuid()),
            lineage.newest()
        ));
    } else if damaged {
        warnings.push(format!("a slot of EPOCH of {} is damaged: one epoch is left out", dir.display()));
    }
    for (id, path, header) in &headers {
        if let Some(why) = foreign(&lineage, *id, header) {
            let to = quarantine::move_in(storage, dir, path, *id, &why)?;
            warnings.push(format!("{} was moved to {}: {why}", path.display(), to.display()));
        }
    }

    let mut last_epoch = lineage.newest();
    let ours = acks.iter().filter(|ack| ack.log_uuid == lineage.log_uuid());
    last_epoch = ours.map(|ack| ack.position.seq.epoch()).chain([last_epoch]).max().unwrap_or(last_epoch);
    for run in quarantined(storage, dir, &lineage) {
        last_epoch = last_epoch.max(run.epoch);
    }
    let hinted = control::left(storage, dir).map_or(0, |left| left.epoch);
    if hinted <= last_epoch.saturating_add(CONTROL_AHEAD_MAX) {
        last_epoch = last_epoch.max(hinted);
    }
    if damaged || stored.is_none() {
        last_epoch = last_epoch.saturating_add(1);
    }
    Ok(Survey { before: Some(before(stored, &lineage)), last_epoch, warnings })
}

/// The run before: as EPOCH says, unless there was a later one of which only the headers are left.
fn before(stored: Option<EpochState>, lineage: &Lineage) -> EpochState {
    let runs: Vec<Run> = lineage.runs().collect();
    let newest = lineage.newest();
    match stored {
        Some(state) if state.epoch == newest => EpochState { runs, ..state },
        stored => EpochState {
            log_uuid: lineage.log_uuid(),
            epoch: newest,
            next_segment: stored.map_or(SegmentId(0), |state| state.next_segment),
            runs,
            ..EpochState::default()
        },
    }
}

/// The header of a segment; `None` if it cannot be read: recovery deals with that one.
fn header(storage: &dyn Storage, path: &Path) -> Option<SegmentHeader> {
    let mut block = vec![0; BLOCK_BYTES as usize];
    let file = storage.open(path).ok()?;
    file.read_exact_at(&mut block, 0).ok()?;
    SegmentHeader::decode(&block).ok()
}

fn foreign(lineage: &Lineage, id: SegmentId, header: &SegmentHeader) -> Option<Foreign> {
    if header.segment != id {
        return Some(Foreign::Name { segment: header.segment });
    }
    lineage.judge(id, Some(header.log_uuid), Some(header.epoch), Some(header.incarnation))
}

/// The runs of this log, or of copies of it, that segments in quarantine are of.
fn quarantined(storage: &dyn Storage, dir: &Path, lineage: &Lineage) -> Vec<Run> {
    let quarantine = dir.join(QUARANTINE_DIR);
    // A directory that cannot be listed remembers nothing: it is one witness of several.
    let entries = storage.list(&quarantine).unwrap_or_default();
    entries
        .iter()
        .filter(|entry| !entry.is_dir)
        .filter_map(|entry| header(storage, &quarantine.join(&entry.name)))
        .filter(|header| header.log_uuid == lineage.log_uuid())
        .map(|header| header.run())
        .collect()
}
