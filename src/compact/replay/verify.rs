//! Published parts taken one by one against the log: rebuilt from their own range, settings and continuation.

use std::path::Path;

use super::pass::{PublishedPart, ReplayLog, Stopped, ends};
use super::report::{PartReport, ReplayReport, Verdict, part_report};
use super::scratch::Scratch;
use crate::chain;
use crate::error::CompactError;
use crate::place::{Place, to_position};
use crate::publish::Published;
use fold::gather::{Continuation, Gatherer, Revision};
use lake::lock::PATIENCE;
use lake::{Difference, Lake, LakeLock, PartManifest, Table, WriteSettings, diff_objects};
use wal_format::Position;

impl ReplayLog<'_> {
    /// Rebuilds every published part that the log still holds and compares.
    pub(super) fn verify(
        &self,
        lake: &Lake,
        mut parts: Vec<PublishedPart>,
        out: Option<&Path>,
        report: &mut ReplayReport,
    ) -> Result<(), CompactError> {
        let scratch = Scratch::new(lake.work())?;
        for i in 0..parts.len() {
            let Some(PublishedPart { part, manifest, .. }) = parts.get(i) else { continue };
            let (hour, end) = (part.hour, manifest.end.segment);
            let mut looks = 0;
            while self.wanted(hour) {
                let Some(known) = parts.get(i) else { break };
                let dir = scratch.empty()?;
                let rebuilt = Lake::open(&out.map_or_else(|| dir.join("rebuilt"), Path::to_owned));
                let result = self.verify_part(lake, known, before(&parts, i), &rebuilt);
                let settled = result.as_ref().is_ok_and(|part| part.verdict != Verdict::Different);
                if settled || !self.changed(lake, &mut parts, i, looks == 0)? {
                    report.parts.push(result.map_err(CompactError::hour("verify", hour))?);
                    break;
                }
                looks += 1;
            }
            self.needs(end);
        }
        Ok(())
    }

    /// Looks again at a part that seems to differ while nobody changes the lake: true when it was rewritten
    /// meanwhile, or `first` seen to be removed, and has to be compared again.
    fn changed(&self, lake: &Lake, parts: &mut [PublishedPart], i: usize, first: bool) -> Result<bool, CompactError> {
        let _still = LakeLock::shared(lake.work(), "replay --verify looks again", PATIENCE)?;
        let mut changed = false;
        for at in before_at(parts, i).into_iter().chain([i]) {
            let Some(known) = parts.get_mut(at) else { continue };
            // One that cannot be read any more did not change for the better.
            let Ok((manifest, sha256)) = PartManifest::load_hashed(lake, &known.part.manifest()) else { continue };
            if sha256 != known.sha256 {
                (known.manifest, known.sha256, changed) = (manifest, sha256, true);
            }
        }
        let Some(known) = parts.get(i) else { return Ok(false) };
        Ok(changed || first && removed_file(lake, &known.manifest)?.is_some())
    }

    fn verify_part(
        &self,
        lake: &Lake,
        known: &PublishedPart,
        before: Option<&PublishedPart>,
        rebuilt: &Lake,
    ) -> Result<PartReport, CompactError> {
        let PublishedPart { part, manifest, .. } = known;
        self.damage.borrow_mut().clear();
        let mut details: Vec<String> = before.and_then(|b| seam(&b.manifest, manifest)).into_iter().collect();
        if let Some(why) = self.not_checkable(lake, known, before)? {
            let verdict = if details.is_empty() { Verdict::NotCheckable } else { Verdict::Different };
            return Ok(part_report(part.clone(), verdict, 0, [details, vec![why]].concat()));
        }
        let revision = Revision::of(manifest);
        let published = self.again(known, before, &self.place(rebuilt.clone()), manifest.settings.clone(), revision)?;
        let rows = published.as_ref().map_or(0, Published::rows);
        let differences = differences(lake, rebuilt, known)?;
        // After a part that was rewritten since, the account begins with what was remembered before.
        let behind_older = before
            .zip(manifest.previous_sha256.as_ref())
            .is_some_and(|(b, previous)| b.manifest.supersedes.contains(previous));
        let other_version =
            behind_older || manifest.rebuilt.is_some() || manifest.settings.version != self.settings.version;
        // Version 1 wrote the same account without the SHA-256 of itself.
        let same_account = published.as_ref().is_some_and(|made| made.manifest == *manifest);
        let only_bytes = |d: &Difference| match d {
            Difference::Bytes(_) => other_version,
            // The manifest names the files' hashes.
            Difference::Other(path) => (other_version || same_account) && path.extension().is_some_and(|e| e == "json"),
            _ => false,
        };
        let verdict = if details.is_empty() && differences.is_empty() {
            Verdict::Equal
        } else if details.is_empty() && differences.iter().all(only_bytes) {
            Verdict::EqualRows
        } else {
            Verdict::Different
        };
        details.extend(differences.iter().map(ToString::to_string));
        details.extend(self.damaged());
        Ok(part_report(part.clone(), verdict, rows, details))
    }

    /// What was found damaged in the archive since the part was begun.
    pub(super) fn damaged(&self) -> Vec<String> {
        self.damage.borrow().iter().map(|lost| format!("the archive of the log is damaged: {lost}")).collect()
    }

    /// Why a part cannot be compared with the log, if so.
    pub(super) fn not_checkable(
        &self,
        lake: &Lake,
        PublishedPart { manifest, .. }: &PublishedPart,
        before: Option<&PublishedPart>,
    ) -> Result<Option<String>, CompactError> {
        if manifest.first.segment < self.first_segment {
            return Ok(Some(format!("segment {} is no longer in the log", manifest.first.segment)));
        }
        let follows = manifest.previous_sha256.is_some()
            || to_position(manifest.first).seq.counter() != 0 && manifest.lost.is_empty();
        if before.is_none() && follows {
            return Ok(Some("the manifest of the part before it is missing".to_owned()));
        }
        let gone = removed_file(lake, manifest)?;
        Ok(gone.map(|path| format!("its files were removed by retention ({path} is listed as removed)")))
    }

    /// Rebuilds one published part below `place`.
    pub(super) fn again(
        &self,
        PublishedPart { manifest, .. }: &PublishedPart,
        before: Option<&PublishedPart>,
        place: &Place,
        settings: WriteSettings,
        revision: Revision,
    ) -> Result<Option<Published>, CompactError> {
        let mut gatherer = match before {
            Some(b) => self.after(b, settings)?,
            None => Gatherer::new(self.venue, self.kind, settings, &Continuation::default())?,
        };
        // The part before was written again later than this one was published.
        if let (Some(b), Some(previous)) = (before, &manifest.previous_sha256)
            && b.manifest.supersedes.contains(previous)
        {
            gatherer.chain_to(previous.clone());
        }
        gatherer.revise(revision);
        // Ranges lost before the first record belong to the part: they are found by reading from where the last one
        // ended.
        let leading_loss = manifest.lost.iter().any(|l| l.from_seq < manifest.first.seq);
        let from = match before {
            _ if !leading_loss => to_position(manifest.first),
            Some(b) => to_position(b.manifest.end),
            None => Position::START,
        };
        let mut beginning = before.is_none() && leading_loss;
        let mut reader = self.reader(from)?;
        match self.part(&mut reader, &mut gatherer, place, &ends(manifest), &mut beginning)? {
            Stopped::Complete(published) | Stopped::LogEnd(published) => Ok(published),
        }
    }
}

/// A file of a part that is gone because retention removed it.
fn removed_file(lake: &Lake, manifest: &PartManifest) -> Result<Option<String>, CompactError> {
    let mut gone = Vec::new();
    for file in &manifest.files {
        if !lake.has(&file.path)? {
            gone.push(file.path.as_str());
        }
    }
    if gone.is_empty() {
        return Ok(None);
    }
    let removed = chain::removed(lake)?;
    Ok(gone.into_iter().find(|path| removed.contains(*path)).map(str::to_owned))
}

/// The part that the part at `i` was published after.
pub(super) fn before(parts: &[PublishedPart], i: usize) -> Option<&PublishedPart> {
    parts.get(before_at(parts, i)?)
}

fn before_at(parts: &[PublishedPart], i: usize) -> Option<usize> {
    let previous = parts.get(i)?.manifest.previous_sha256.as_ref()?;
    parts.get(..i)?.iter().rposition(|k| k.sha256 == *previous || k.manifest.supersedes.contains(previous))
}

/// How the published files of a part differ from those that were rebuilt.
pub(super) fn differences(
    lake: &Lake,
    rebuilt: &Lake,
    PublishedPart { part, manifest, .. }: &PublishedPart,
) -> Result<Vec<Difference>, CompactError> {
    // Of every table, so that missing and extra files show too.
    let files = Table::ALL.iter().map(|table| part.file_as(*table, manifest.settings.format));
    Ok(diff_objects(lake, rebuilt, std::iter::once(part.manifest()).chain(files))?)
}

/// What is wrong between two neighbouring parts.
fn seam(before: &PartManifest, m: &PartManifest) -> Option<String> {
    let (end, first) = (to_position(before.end).seq, to_position(m.first).seq);
    if first < end {
        return Some(format!(
            "overlaps the part before it: that one ends before seq {end}, this one begins at {first}"
        ));
    }
    let reported = m.lost.iter().chain(&before.lost).any(|l| l.from_seq <= end.0 && l.to_seq >= end.0);
    if first > end && first.epoch() == end.epoch() && !reported {
        return Some(format!("records from seq {end} to before {first} are in no part"));
    }
    None
}
