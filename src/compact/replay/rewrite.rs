//! A decoder fix over the past: parts whose log is still there are decoded again, and those whose rows come out
//! otherwise are rewritten.
//!
//! ```text
//!  log --decode--> scratch --compare--> rows equal: left as it is
//!                             +--> rows differ: decoded once more, as the part that is to be there
//!                                     +--> other rows than just now: left as it is
//!                                     +--> the same: renamed to lake/.rewrite/<part>/, a lake of this one part
//!                                             (this is the commit)  --move files--> --move manifest--> gone
//! ```
//!
//! What is published is what was compared: the second reading has to give the rows of the first, and the part has to be
//! the one that was read. Segments stay meanwhile ([`wal_format::Hold`]), the lake is locked from the commit to the last
//! move, and a lock of its own shows others for as long as a rewrite runs that nothing of it is left over
//! ([`LakeLock::rewrite`]).
//!
//! A crash before the commit leaves the old part. After it the new part is complete on disk, and [`finish`] moves what
//! was not moved yet: the next `replay --rewrite` or `--verify` and each start of the compactor do so first. Meanwhile
//! `tapedeck verify` says that it is pending. The manifest of the new part has `revision` + 1 and in `supersedes` the
//! SHA-256 of the old one, which the part after it may go on to name.
//!
//! Nothing is rewritten if the log gives other frames than the part was made of: then the log is damaged or
//! another one, and what is published may be all that is left. Nor, unless asked for, if a table would have fewer rows
//! than it has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wal_format::durable;

use super::pass::{PublishedPart, ReplayLog};
use super::report::{PartReport, ReplayReport, Verdict, part_report};
use super::scratch::Scratch;
use super::verify::{before, differences};
use crate::error::CompactError;
use crate::failpoint;
use fold::gather::Revision;
use lake::lock::PATIENCE;
use lake::work::list;
use lake::{Body, Difference, Lake, LakeLock, LakeLockError, Part, PartManifest, Table, WriteSettings, diff_trees};

/// Directory of the lake in which parts are made again; hidden, so readers that glob never look inside.
const DIR: &str = ".rewrite";

impl ReplayLog<'_> {
    /// Rewrites what the log gives other rows for.
    pub(super) fn rewrite(
        &self,
        lake: &Lake,
        mut parts: Vec<PublishedPart>,
        report: &mut ReplayReport,
    ) -> Result<(), CompactError> {
        let scratch = Scratch::new(lake.work())?;
        for i in 0..parts.len() {
            let Some(known) = parts.get(i) else { continue };
            let (hour, end) = (known.part.hour, known.manifest.end.segment);
            if self.wanted(hour) {
                let done = self.rewrite_part(lake, known, before(&parts, i), scratch.empty()?);
                let (part, goes_on) = done.map_err(CompactError::hour("rewrite", hour))?;
                report.parts.push(part);
                if let (Some(goes_on), Some(known)) = (goes_on, parts.get_mut(i)) {
                    *known = goes_on;
                }
            }
            self.needs(end);
        }
        // Empty by now, unless a person put something there.
        let _ = std::fs::remove_dir(lake.work().join(DIR));
        Ok(())
    }

    /// What became of `known`, and what the next part goes on from if that is something else now.
    fn rewrite_part(
        &self,
        lake: &Lake,
        known: &PublishedPart,
        before: Option<&PublishedPart>,
        scratch: &Path,
    ) -> Result<(PartReport, Option<PublishedPart>), CompactError> {
        let part = known.part.clone();
        self.damage.borrow_mut().clear();
        if let Some(why) = self.not_checkable(lake, known, before)? {
            return Ok((part_report(part, Verdict::NotCheckable, 0, vec![why]), None));
        }
        let rebuilt = Lake::open(&scratch.join("rebuilt"));
        let settings = known.manifest.settings.clone();
        let revision = Revision::of(&known.manifest);
        let Some(made) = self.again(known, before, &self.place(rebuilt.clone()), settings, revision)? else {
            let why = "the log holds nothing of it".to_owned();
            return Ok((part_report(part, Verdict::NotCheckable, 0, vec![why]), None));
        };
        let rows = made.rows();
        let left = |part, why: String| {
            let details = [vec![format!("left as it is: {why}")], self.damaged()].concat();
            Ok((part_report(part, Verdict::Different, rows, details), None))
        };
        if let Some(why) = other_frames(&known.manifest, &made.manifest) {
            return left(part, why);
        }
        let found = differences(lake, &rebuilt, known)?;
        let details: Vec<String> = found.iter().filter(is_rows).map(ToString::to_string).collect();
        if details.is_empty() {
            let verdict = if found.is_empty() { Verdict::Equal } else { Verdict::EqualRows };
            // What this version remembers after the part is what the next one begins with.
            let manifest = PartManifest { continuation: made.manifest.continuation.clone(), ..known.manifest.clone() };
            let goes_on = PublishedPart { part: part.clone(), manifest, sha256: known.sha256.clone() };
            return Ok((part_report(part, verdict, rows, Vec::new()), Some(goes_on)));
        }
        if let Some(why) = fewer_rows(&known.manifest, &made.manifest).filter(|_| !self.fewer_rows) {
            return left(part, format!("{why}; with --fewer-rows it is rewritten all the same"));
        }
        match self.publish_rewritten(lake, known, before, &made.manifest, scratch)? {
            Ok(remade) => Ok((part_report(part, Verdict::Rewritten, rows, details), Some(remade))),
            Err(why) => left(part, why),
        }
    }

    /// Reads the log once more for the part that is to replace `known`, and puts it there if it has the
    /// rows of `made`; else says why not.
    fn publish_rewritten(
        &self,
        lake: &Lake,
        known: &PublishedPart,
        before: Option<&PublishedPart>,
        made: &PartManifest,
        scratch: &Path,
    ) -> Result<Result<PublishedPart, String>, CompactError> {
        let remade = scratch.join("remade");
        let settings = WriteSettings { version: self.settings.version.clone(), ..known.manifest.settings.clone() };
        let revision = Revision::after(&known.manifest, &known.sha256);
        let Some(second) = self.again(known, before, &self.place(Lake::open(&remade)), settings, revision)? else {
            return Ok(Err("the log no longer holds it".to_owned()));
        };
        if let Some(why) = other_frames(made, &second.manifest) {
            return Ok(Err(format!("read a second time, {why}")));
        }
        if let Some(other) =
            diff_trees(&Lake::open(&scratch.join("rebuilt")), &Lake::open(&remade))?.iter().find(is_rows)
        {
            return Ok(Err(format!("read a second time, the log gave other rows: {other}")));
        }
        let name = format!("rewrites {} of {}", known.part.hour, known.part.venue);
        let _lock = LakeLock::exclusive(lake.work(), &name, PATIENCE)?;
        let key = known.part.manifest();
        let read = || PartManifest::load_hashed(lake, &key).map_err(CompactError::at("read", &lake.place(&key)));
        if read()?.1 != known.sha256 {
            return Ok(Err("it was published by another process meanwhile".to_owned()));
        }
        if let Some(why) = self.not_checkable(lake, known, before)? {
            return Ok(Err(why));
        }
        let all = lake.work().join(DIR);
        let dir = all.join(format!("{}-{}", known.part.venue, known.part.stem()));
        durable::create_dir_all(&all).map_err(CompactError::file("create", &all))?;
        durable::publish_dir(&remade, &dir).map_err(CompactError::file("commit", &dir))?;
        failpoint::hit("rewrite.after_commit");
        take_over(lake, &dir)?;
        let (manifest, sha256) = read()?;
        Ok(Ok(PublishedPart { part: known.part.clone(), manifest, sha256 }))
    }
}

/// Of what is compared, that which is rows.
fn is_rows(difference: &&Difference) -> bool {
    match difference {
        Difference::Bytes(_) => false,
        // Of a lake of texts the bytes are the rows.
        Difference::Other(path) => path.extension().is_none_or(|e| e != "json"),
        Difference::OnlyInA(_) | Difference::OnlyInB(_) | Difference::Rows { .. } => true,
    }
}

/// What would be missing of what is there, if anything. A frame that decodes now is a row of `frames` less, and a
/// gap that it closes a row of `events`.
fn fewer_rows(published: &PartManifest, made: &PartManifest) -> Option<String> {
    let rows = |m: &PartManifest, table: &Table| m.rows.get(table).copied().unwrap_or(0);
    let compared = |table: &&Table| !matches!(table, Table::Frames | Table::Events);
    Table::ALL.iter().filter(compared).find_map(|table| {
        let (before, now) = (rows(published, table), rows(made, table));
        (now < before).then(|| format!("{table} would have {now} rows instead of {before}"))
    })
}

/// Why two accounts are not of the same frames, if so.
fn other_frames(published: &PartManifest, made: &PartManifest) -> Option<String> {
    if published.frames != made.frames {
        return Some(format!("it was made of {} frames, the log gives {}", published.frames, made.frames));
    }
    if published.payload_sha256 != made.payload_sha256 {
        return Some("the log gives other frames than it was made of".to_owned());
    }
    (published.lost != made.lost).then(|| "the log lost records since".to_owned())
}

/// Finishes what a crash interrupted; one line for each part. A rewrite that runs is left alone.
///
/// # Errors
/// When a file cannot be read, moved or removed.
pub fn finish(lake: &Lake) -> Result<Vec<String>, CompactError> {
    if list(&lake.work().join(DIR))?.is_empty() {
        return Ok(Vec::new());
    }
    match LakeLock::rewrite(lake.work(), "finishes an interrupted replay --rewrite", Duration::ZERO) {
        Ok(_held) => finish_held(lake),
        Err(LakeLockError::Held { holder, .. }) => {
            Ok(vec![format!("parts are being rewritten by {holder}: left alone")])
        }
        Err(err) => Err(err.into()),
    }
}

/// [`finish`] for the holder of the lock of rewrites.
///
/// # Errors
/// As [`finish`].
pub(super) fn finish_held(lake: &Lake) -> Result<Vec<String>, CompactError> {
    let left = list(&lake.work().join(DIR))?;
    if left.is_empty() {
        return Ok(Vec::new());
    }
    let _lock = LakeLock::exclusive(lake.work(), "finishes an interrupted replay --rewrite", PATIENCE)?;
    let mut done = Vec::new();
    for dir in left {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        done.push(match take_over(lake, &dir)? {
            true => format!("finished the interrupted rewrite of {name}"),
            false => format!("cleared away what was left of the rewrite of {name}"),
        });
    }
    // Empty by now, unless a person put something there.
    let _ = std::fs::remove_dir(lake.work().join(DIR));
    Ok(done)
}

/// Parts that are complete and not moved yet.
///
/// # Errors
/// When a directory cannot be listed.
pub(crate) fn unfinished(lake: &Lake) -> Result<Vec<PathBuf>, CompactError> {
    let mut found = Vec::new();
    for dir in list(&lake.work().join(DIR))? {
        if manifest_in(&Lake::open(&dir))?.is_some() {
            found.push(dir);
        }
    }
    Ok(found)
}

/// The manifest of a finished small lake, and its key.
fn manifest_in(small: &Lake) -> Result<Option<(Part, String)>, CompactError> {
    let part = |key: &str| Some(Part::from_path(Path::new(key))?.1);
    let found = small.list("_manifests", None, None)?;
    Ok(found.into_iter().find_map(|found| Some((part(&found.key)?, found.key))))
}

/// Moves a finished small lake into the large one, which is locked, its manifest last; false when it is not finished.
/// Either way it is gone afterwards. May be done again from any point.
fn take_over(lake: &Lake, dir: &Path) -> Result<bool, CompactError> {
    let small = Lake::open(dir);
    let found = manifest_in(&small)?;
    if let Some((part, key)) = &found {
        let new = PartManifest::load(&small, key)?;
        for file in &new.files {
            // It was moved before the crash.
            if small.has(&file.path)? {
                lake.replace(&file.path, Body::File(&small.place(&file.path)), None)?;
                failpoint::hit("rewrite.after_file");
            }
        }
        let dest = part.manifest();
        let there = lake.head(&dest)?.map(|there| there.version);
        if there.is_some() {
            let old = PartManifest::load(lake, &dest)?;
            for file in old.files.iter().filter(|f| new.files.iter().all(|n| n.path != f.path)) {
                lake.delete(&file.path)?;
            }
        }
        failpoint::hit("rewrite.before_manifest");
        lake.replace(&dest, Body::File(&small.place(key)), there.as_ref())?;
        failpoint::hit("rewrite.after_manifest");
    }
    std::fs::remove_dir_all(dir).map_err(CompactError::file("remove", dir))?;
    Ok(found.is_some())
}
