//! A decoder fix over the past: parts whose log is still there are decoded again, and those whose rows come out
//! otherwise are published anew.
//!
//! ```text
//!  log --decode--> scratch --compare--> rows equal: left as it is
//!                             +--> rows differ: lake/.rewrite/<part>/  a lake of this one part, its manifest last
//!                                     (that manifest is the commit)  --move files--> --move manifest--> gone
//! ```
//!
//! A crash before the commit leaves the old part, the half lake is thrown away. Behind it the new part is complete on
//! disk, and [`finish`] moves what was not moved yet: the next `replay --rewrite` or `--verify` and each start of the
//! compactor do so first. Meanwhile `tapedeck verify` says that it is pending. The manifest of the new part has
//! `revision` + 1 and in `supersedes` the SHA-256 of the old one, which the part behind it may go on to name.
//!
//! Nothing is published anew if the log gives other frames than the part was made of: then the log is damaged or
//! another one, and what is published may be all that is left.

use std::path::{Path, PathBuf};

use anyhow::Context;
use wal_format::durable;

use super::pass::{Known, Log};
use super::report::{PartReport, Report, Verdict, part_report};
use super::verify::differences;
use crate::compact::failpoint::fail_point;
use crate::compact::gather::Revision;
use crate::compact::publish::Published;
use crate::compact::stage::{Place, list};
use crate::lake::{Difference, LakeStore, LocalStore, Manifest, Part, WriteSettings};

/// Directory of the lake in which parts are made anew; hidden, so readers that glob never look inside.
const DIR: &str = ".rewrite";

impl Log {
    /// Publishes anew what the log gives other rows for.
    pub(super) fn rewrite(&self, lake: &Path, parts: Vec<Known>, report: &mut Report) -> anyhow::Result<()> {
        let scratch = self.scratch(lake);
        let mut before: Option<Known> = None;
        for mut known in parts {
            let part = known.part.clone();
            if self.wanted(part.hour) {
                let result = self.rewrite_part(lake, &mut known, before.as_ref(), &scratch);
                // What stays is removed before the next one begins.
                let _ = std::fs::remove_dir_all(&scratch);
                report.parts.push(result.with_context(|| format!("rewrite hour {}", part.hour))?);
            }
            before = Some(known);
        }
        // Empty by now, unless a person put something there.
        let _ = std::fs::remove_dir(lake.join(DIR));
        Ok(())
    }

    /// `known` becomes what the next part goes on from.
    fn rewrite_part(
        &self,
        lake: &Path,
        known: &mut Known,
        before: Option<&Known>,
        scratch: &Path,
    ) -> anyhow::Result<PartReport> {
        let part = known.part.clone();
        self.damage.borrow_mut().clear();
        if let Some(why) = self.not_checkable(lake, known, before)? {
            return Ok(part_report(part, Verdict::NotCheckable, 0, vec![why]));
        }
        let rebuilt = scratch.join("rebuilt");
        let settings = known.manifest.settings.clone();
        let revision = Revision::of(&known.manifest);
        let Some(made) = self.again(known, before, &self.place(&rebuilt), settings, revision)? else {
            return Ok(part_report(part, Verdict::NotCheckable, 0, vec!["the log holds nothing of it".to_owned()]));
        };
        if let Some(why) = other_frames(&known.manifest, &made.manifest) {
            let details = [vec![format!("left as it is: {why}")], self.damaged()].concat();
            return Ok(part_report(part, Verdict::Different, made.rows(), details));
        }
        let found = differences(lake, &rebuilt, scratch, known)?;
        let is_rows = |d: &&Difference| match d {
            Difference::Bytes(_) => false,
            // Of a lake of texts the bytes are the rows.
            Difference::Other(path) => path.extension().is_none_or(|e| e != "json"),
            Difference::OnlyInA(_) | Difference::OnlyInB(_) | Difference::Rows { .. } => true,
        };
        let details: Vec<String> = found.iter().filter(is_rows).map(ToString::to_string).collect();
        if details.is_empty() {
            let verdict = if found.is_empty() { Verdict::Equal } else { Verdict::EqualRows };
            // What this version remembers behind the part is what the next one begins with.
            known.manifest.continuation = made.manifest.continuation.clone();
            return Ok(part_report(part, verdict, made.rows(), Vec::new()));
        }
        let rows = made.rows();
        *known = self.publish_anew(lake, known, before)?;
        Ok(part_report(part, Verdict::Rewritten, rows, details))
    }

    fn publish_anew(&self, lake: &Path, known: &Known, before: Option<&Known>) -> anyhow::Result<Known> {
        let dir = lake.join(DIR).join(format!("{}-{}", known.part.venue, known.part.stem()));
        durable::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let settings = WriteSettings { version: self.settings.version.clone(), ..known.manifest.settings.clone() };
        let revision = Revision::after(&known.manifest, &known.sha256);
        let place: Place = self.place(&dir);
        let made: Option<Published> = self.again(known, before, &place, settings, revision)?;
        anyhow::ensure!(made.is_some(), "the log no longer holds hour {}", known.part.hour);
        fail_point!("rewrite.after_commit");
        take_over(lake, &dir)?;
        let path = known.part.manifest(lake);
        let (manifest, sha256) = Manifest::load_hashed(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(Known { part: known.part.clone(), manifest, sha256 })
    }
}

/// Why two accounts are not of the same frames, if so.
fn other_frames(published: &Manifest, made: &Manifest) -> Option<String> {
    if published.frames != made.frames {
        return Some(format!("it was made of {} frames, the log gives {}", published.frames, made.frames));
    }
    if published.payload_sha256 != made.payload_sha256 {
        return Some("the log gives other frames than it was made of".to_owned());
    }
    (published.lost != made.lost).then(|| "the log lost records since".to_owned())
}

/// Finishes what a crash interrupted; one line for each part.
///
/// # Errors
/// When a file cannot be read, moved or removed.
pub fn finish(lake: &Path) -> anyhow::Result<Vec<String>> {
    let mut told = Vec::new();
    for dir in list(&lake.join(DIR))? {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        told.push(match take_over(lake, &dir)? {
            true => format!("finished publishing {name} anew, which was interrupted"),
            false => format!("cleared away what was left of publishing {name} anew"),
        });
    }
    // Empty by now, unless a person put something there.
    let _ = std::fs::remove_dir(lake.join(DIR));
    Ok(told)
}

/// Parts that are complete and not moved yet.
///
/// # Errors
/// When a directory cannot be listed.
pub(crate) fn unfinished(lake: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for dir in list(&lake.join(DIR))? {
        if manifest_in(&dir)?.is_some() {
            found.push(dir);
        }
    }
    Ok(found)
}

/// The manifest of a finished small lake.
fn manifest_in(dir: &Path) -> anyhow::Result<Option<(Part, PathBuf)>> {
    let mut todo = vec![dir.join("_manifests")];
    while let Some(dir) = todo.pop() {
        for path in list(&dir)? {
            match Part::from_path(&path) {
                Some((None, part)) => return Ok(Some((part, path))),
                _ if path.is_dir() => todo.push(path),
                _ => {}
            }
        }
    }
    Ok(None)
}

/// Moves a finished small lake into the large one, its manifest last; false when it is not finished. Either way it is
/// gone afterwards. May be done again from any point.
fn take_over(lake: &Path, dir: &Path) -> anyhow::Result<bool> {
    let found = manifest_in(dir)?;
    if let Some((part, path)) = &found {
        let store = LocalStore::new(lake);
        let new = Manifest::load(path)?;
        for file in &new.files {
            let made = dir.join(&file.path);
            // It was moved before the crash.
            if made.exists() {
                store.publish(&made, Path::new(&file.path))?;
                fail_point!("rewrite.after_file");
            }
        }
        let dest = part.manifest(lake);
        if dest.exists() {
            let old = Manifest::load(&dest)?;
            for file in old.files.iter().filter(|f| new.files.iter().all(|n| n.path != f.path)) {
                store.remove(Path::new(&file.path))?;
            }
        }
        fail_point!("rewrite.before_manifest");
        store.publish(path, &part.manifest(Path::new("")))?;
        fail_point!("rewrite.after_manifest");
    }
    std::fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    Ok(found.is_some())
}
