//! A lake: the store of its published files, and the local directory in which they are made.
//!
//! Local whatever the store is, because they are appended to, locked or renamed as a whole, and named by path:
//!
//! ```text
//! <work>/.staging/        staged pieces and states, files being merged, temporary lakes
//! <work>/.rewrite/        parts that are rewritten
//! <work>/.set-aside/      quarantined: what cannot be used
//! <work>/.lock, .rewrite.lock
//! ```
//!
//! For a local lake, store and work directory are the same. Everything else goes through [`LakeStore`], which
//! `tools/lake_files.py` holds the crates to.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::{LakeStore, LocalStore};

/// A lake; its published files are those of its [`LakeStore`].
#[derive(Clone, Debug)]
pub struct Lake {
    store: Arc<dyn LakeStore>,
    work: PathBuf,
}

impl Lake {
    /// The lake in a local directory.
    pub fn open(dir: &Path) -> Lake {
        Self::with_store(Arc::new(LocalStore::new(dir)), dir)
    }

    /// The lake in `store`, with `work` as its local work directory.
    pub fn with_store(store: Arc<dyn LakeStore>, work: &Path) -> Lake {
        Lake { store, work: work.to_owned() }
    }

    /// An empty lake in memory, which works in the local directory `work`. It reads in ranges what a store that is far
    /// away reads in ranges because it is large.
    ///
    /// # Panics
    /// When no thread can be started.
    pub fn in_memory(work: &Path) -> Lake {
        let memory = Arc::new(object_store::memory::InMemory::new());
        let store = crate::store::RemoteStore::new(memory, "memory://lake");
        let store = store.unwrap_or_else(|err| panic!("start a thread: {err}"));
        Self::with_store(Arc::new(store.in_ranges_above(1 << 10)), work)
    }

    /// The local directory for what is no object yet, and for locks.
    pub fn work(&self) -> &Path {
        &self.work
    }
}

impl Deref for Lake {
    type Target = dyn LakeStore;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

/// Where it is.
impl fmt::Display for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.place("").display().fmt(f)
    }
}
