//! Manifests that were read, kept for the next report: those of the last day, every few seconds, by a page or a
//! monitor. A manifest is read again when its file is another one; how much is kept is bounded by what the files
//! measure.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lake::{Lake, LakeError, Meta, PartManifest};

/// Bytes of files whose manifests are kept: a day of a thousand symbols. In memory they take less, without their
/// continuation and list of files.
const KEPT_BYTES: u64 = 48 << 20;

#[derive(Default)]
struct Kept {
    /// By key: which object it was read from, and when it was looked at last.
    manifests: HashMap<String, (Meta, u64, Arc<PartManifest>)>,
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

    /// The manifest that was listed as `found`, without what no report needs.
    pub(super) fn manifest(&self, lake: &Lake, found: &Meta) -> Result<Arc<PartManifest>, LakeError> {
        {
            let mut kept = self.lock();
            kept.looks += 1;
            let look = kept.looks;
            if let Some((of, last, manifest)) = kept.manifests.get_mut(&found.key)
                && of == found
            {
                *last = look;
                return Ok(Arc::clone(manifest));
            }
        }
        let mut manifest = PartManifest::load(lake, &found.key)?;
        manifest.continuation = serde_json::Value::Null;
        manifest.files = Vec::new();
        manifest.supersedes = Vec::new();
        let manifest = Arc::new(manifest);
        self.keep(found, &manifest);
        Ok(manifest)
    }

    fn keep(&self, found: &Meta, manifest: &Arc<PartManifest>) {
        let mut kept = self.lock();
        let look = kept.looks;
        kept.bytes += found.bytes;
        if let Some((before, ..)) =
            kept.manifests.insert(found.key.clone(), (found.clone(), look, Arc::clone(manifest)))
        {
            kept.bytes -= before.bytes;
        }
        if kept.bytes <= KEPT_BYTES {
            return;
        }
        // The half that was looked at last stays.
        let mut looks: Vec<u64> = kept.manifests.values().map(|(_, look, _)| *look).collect();
        looks.sort_unstable();
        let middle = looks.get(looks.len() / 2).copied().unwrap_or(0);
        kept.manifests.retain(|_, (_, look, _)| *look > middle);
        kept.bytes = kept.manifests.values().map(|(found, ..)| found.bytes).sum();
    }

    /// Manifests that are kept, and what their files measure.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, u64) {
        let kept = self.lock();
        (kept.manifests.len(), kept.bytes)
    }
}
