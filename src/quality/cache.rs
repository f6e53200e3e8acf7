//! Manifests that were read, for whoever asks again: those of the last day, every few seconds, by a page or a monitor. A
//! manifest is read again when its file is another one; how much is kept is bounded by what the files measure.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lake::{LakeError, Manifest};

/// Bytes of files whose manifests are kept: a day of a thousand symbols. In memory they take less, without their
/// continuation and list of files.
const KEPT_BYTES: u64 = 48 << 20;

/// What tells a file from another one of its name.
type Stamp = (u64, u64, i64, i64);

#[derive(Default)]
struct Kept {
    manifests: HashMap<PathBuf, (Stamp, u64, Arc<Manifest>)>,
    bytes: u64,
    /// Counts looks; each manifest has the number of the last one at it.
    looks: u64,
}

/// Makes reports; see the module for what it keeps.
#[derive(Default)]
pub struct Reports(Mutex<Kept>);

impl Reports {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manifest at `path`, without what no report needs.
    pub(super) fn manifest(&self, path: &Path) -> Result<Arc<Manifest>, LakeError> {
        let found = std::fs::metadata(path).ok();
        let stamp = found.as_ref().map(|m| (m.ino(), m.len(), m.mtime(), m.mtime_nsec()));
        {
            let mut kept = self.lock();
            kept.looks += 1;
            let look = kept.looks;
            if let Some((of, last, manifest)) = kept.manifests.get_mut(path)
                && Some(*of) == stamp
            {
                *last = look;
                return Ok(Arc::clone(manifest));
            }
        }
        let mut manifest = Manifest::load(path)?;
        manifest.continuation = serde_json::Value::Null;
        manifest.files = Vec::new();
        manifest.supersedes = Vec::new();
        let manifest = Arc::new(manifest);
        if let Some(stamp) = stamp {
            self.keep(path, stamp, &manifest);
        }
        Ok(manifest)
    }

    fn keep(&self, path: &Path, stamp: Stamp, manifest: &Arc<Manifest>) {
        let mut kept = self.lock();
        let look = kept.looks;
        kept.bytes += stamp.1;
        if let Some((before, ..)) = kept.manifests.insert(path.to_owned(), (stamp, look, Arc::clone(manifest))) {
            kept.bytes -= before.1;
        }
        if kept.bytes <= KEPT_BYTES {
            return;
        }
        // The half that was looked at last stays.
        let mut looks: Vec<u64> = kept.manifests.values().map(|(_, look, _)| *look).collect();
        looks.sort_unstable();
        let middle = looks.get(looks.len() / 2).copied().unwrap_or(0);
        kept.manifests.retain(|_, (_, look, _)| *look > middle);
        kept.bytes = kept.manifests.values().map(|(stamp, ..)| stamp.1).sum();
    }

    /// Manifests that are kept, and what their files measure.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, u64) {
        let kept = self.lock();
        (kept.manifests.len(), kept.bytes)
    }
}
