//! The chunks of one log in a store: where they lie, which there are, and that each is what its name says.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lake::{Body, LakeError, LakeStore};
use wal_format::{Incarnation, Lineage, Run, Seq};

use crate::codec::{BODY_BYTES_MAX, Chunk, ChunkError, ChunkName, folder, run_key};

/// More than any chunk has: what cannot be compressed grows by less than this.
const OBJECT_BYTES_MAX: u64 = BODY_BYTES_MAX as u64 + (2 << 20);
/// Where the runs stand; after every chunk's name in the byte order of keys.
const RUNS: &str = "runs";

/// The chunks of one log.
#[derive(Clone, Debug)]
pub struct Chunks {
    store: Arc<dyn LakeStore>,
    venue: String,
    log_uuid: [u8; 16],
    folder: String,
    /// The runs that are known of; clones share it.
    known: Arc<Mutex<BTreeMap<u32, Incarnation>>>,
}

/// A chunk cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// The store does not give it.
    #[error(transparent)]
    Store(#[from] LakeError),
    /// Its bytes are not those of a chunk.
    #[error("the chunk {} is damaged", path.display())]
    Damaged {
        /// The object.
        path: PathBuf,
        /// What is wrong.
        source: ChunkError,
    },
    /// It is a chunk, but not the one that its name says.
    #[error("the chunk {} is not what its place says: it is {found}", path.display())]
    Misplaced {
        /// The object.
        path: PathBuf,
        /// What it says of itself.
        found: String,
    },
}

/// A run cannot be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The store does not take it.
    #[error(transparent)]
    Store(#[from] LakeError),
    /// It is another copy's.
    #[error(
        "{} says that run {} of this log was {found}, here it is {}: the log was restored from a backup or cloned. \
         Nothing is shipped, so that the two are never mixed; begin a new log (move its directory away once the lake has \
         it), or ship to another [ship] dir",
        path.display(), run.epoch, run.incarnation
    )]
    Foreign {
        /// Where it is said.
        path: PathBuf,
        /// The run of this log.
        run: Run,
        /// The incarnation that is there.
        found: String,
    },
}

impl Chunks {
    /// Those of the log `log_uuid` of `venue`.
    #[must_use]
    pub fn new(store: Arc<dyn LakeStore>, venue: &str, log_uuid: [u8; 16]) -> Self {
        Self { store, venue: venue.to_owned(), log_uuid, folder: folder(venue, &log_uuid), known: Arc::default() }
    }

    /// Every log of `venue` that has chunks in `store`.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn of_venue(store: &Arc<dyn LakeStore>, venue: &str) -> Result<Vec<Self>, LakeError> {
        let names = store.folders(&format!("wal/{venue}"))?;
        Ok(names.iter().filter_map(|name| uuid(name)).map(|uuid| Self::new(Arc::clone(store), venue, uuid)).collect())
    }

    /// The log.
    #[must_use]
    pub fn log_uuid(&self) -> [u8; 16] {
        self.log_uuid
    }

    /// Name of the log's directory.
    #[must_use]
    pub fn venue(&self) -> &str {
        &self.venue
    }

    /// Where they lie, for messages.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        self.store.place(&self.folder)
    }

    /// The chunks whose first seq is not before `from`, in the order of the log. What has another name is passed by.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn list(&self, from: Seq) -> Result<Vec<ChunkName>, LakeError> {
        self.list_between(from, None)
    }

    /// The last chunk whose first seq is not after `seq`, in the epoch of `seq`: the one that has it, if one has.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn last_before(&self, seq: Seq) -> Result<Option<ChunkName>, LakeError> {
        // A chunk may be as long as it likes; nearly always it is near.
        for shift in [12, 16, 20, 40] {
            let from = Seq::new(seq.epoch(), seq.counter().saturating_sub(1 << shift));
            if let Some(found) = self.list_between(from, Some(seq.next()))?.pop() {
                return Ok(Some(found));
            }
            if from.counter() == 0 {
                break;
            }
        }
        Ok(None)
    }

    fn list_between(&self, from: Seq, until: Option<Seq>) -> Result<Vec<ChunkName>, LakeError> {
        let key = |seq: Seq| format!("{}/{:016x}", self.folder, seq.0);
        let until = until.map_or_else(|| format!("{}/{RUNS}", self.folder), key);
        let found = self.store.list(&self.folder, Some(&key(from)), Some(&until))?;
        let name = |key: &str| key.rsplit('/').next()?.parse::<ChunkName>().ok();
        Ok(found.iter().filter_map(|meta| name(&meta.key)).collect())
    }

    /// The chunk of this name, every byte of it checked; `None` when there is none.
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn get(&self, name: ChunkName) -> Result<Option<Chunk>, GetError> {
        let key = self.key(name);
        let path = || self.store.place(&key);
        let Some(object) = self.store.get(&key)? else { return Ok(None) };
        let bytes = match object.all(OBJECT_BYTES_MAX) {
            Err(err) if object.size() > OBJECT_BYTES_MAX => {
                return Err(GetError::Misplaced { path: path(), found: err.to_string() });
            }
            read => read.map_err(|source| LakeError::Io { verb: "read", path: path(), source })?,
        };
        let chunk = Chunk::open(&bytes).map_err(|source| GetError::Damaged { path: path(), source })?;
        let header = chunk.header();
        if (header.venue.as_str(), header.log_uuid, header.name()) != (self.venue.as_str(), self.log_uuid, name) {
            return Err(GetError::Misplaced { path: path(), found: header.to_string() });
        }
        Ok(Some(chunk))
    }

    /// Puts a chunk where there is none.
    ///
    /// # Errors
    /// [`LakeError::Exists`] when one of this name is there.
    pub fn put(&self, name: ChunkName, bytes: &[u8]) -> Result<(), LakeError> {
        self.store.put_new(&self.key(name), Body::Bytes(bytes))
    }

    /// Removes a chunk; fine when there is none.
    ///
    /// # Errors
    /// When it is still there.
    pub fn delete(&self, name: ChunkName) -> Result<(), LakeError> {
        self.store.delete(&self.key(name))
    }

    /// Which runs the log had, as far as they were claimed.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn runs(&self) -> Result<BTreeMap<u32, Incarnation>, LakeError> {
        let folder = format!("{}/{RUNS}", self.folder);
        let mut runs = BTreeMap::new();
        for meta in self.store.list(&folder, None, None)? {
            let epoch = meta.key.rsplit('/').next().and_then(|name| u32::from_str_radix(name, 16).ok());
            let text = String::from_utf8_lossy(&self.store.read(&meta.key)?).trim_end().to_owned();
            let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("{text:?} is not an incarnation"));
            let incarnation: Incarnation = text.parse().map_err(|_| LakeError::Io {
                verb: "read",
                path: self.store.place(&meta.key),
                source: bad(),
            })?;
            runs.extend(epoch.map(|epoch| (epoch, incarnation)));
        }
        Ok(runs)
    }

    /// Whose log it is, as far as its runs are known by now: those of [`Chunks::learn`], and of every chunk that was read.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = known.iter().map(|(epoch, incarnation)| Run { epoch: *epoch, incarnation: *incarnation });
        Lineage::of_runs(self.log_uuid, runs)
    }

    /// Asks the store which runs the log had.
    ///
    /// # Errors
    /// As [`Chunks::runs`].
    pub fn learn(&self) -> Result<Lineage, LakeError> {
        let runs = self.runs()?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).extend(runs);
        Ok(self.lineage())
    }

    /// The incarnation of a run; `None` if it is not known of.
    pub(crate) fn known(&self, epoch: u32) -> Option<Incarnation> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&epoch).copied()
    }

    /// A chunk is of `run`: the incarnation that the log's run with this number has.
    pub(crate) fn seen(&self, run: Run) -> Incarnation {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(run.epoch).or_insert(run.incarnation)
    }

    /// Says that `run` is this log's, or finds that it was said; before the first chunk of it.
    ///
    /// # Errors
    /// [`ClaimError::Foreign`] when another run has its number.
    pub fn claim(&self, run: Run) -> Result<(), ClaimError> {
        let key = run_key(&self.folder, run.epoch);
        let text = format!("{}\n", run.incarnation);
        let found = match self.store.put_new(&key, Body::Bytes(text.as_bytes())) {
            Err(LakeError::Exists { .. }) => self.store.read(&key)?,
            put => return Ok(put?),
        };
        if found == text.as_bytes() {
            return Ok(());
        }
        let found = String::from_utf8_lossy(&found).trim_end().to_owned();
        Err(ClaimError::Foreign { path: self.store.place(&key), run, found })
    }

    /// Where a chunk is, for messages.
    #[must_use]
    pub fn place_of(&self, name: ChunkName) -> PathBuf {
        self.store.place(&self.key(name))
    }

    fn key(&self, name: ChunkName) -> String {
        format!("{}/{name}", self.folder)
    }
}

/// 32 hex digits.
fn uuid(name: &str) -> Option<[u8; 16]> {
    let good = name.len() == 32 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let number = good.then(|| u128::from_str_radix(name, 16).ok())?;
    number.map(u128::to_be_bytes)
}
