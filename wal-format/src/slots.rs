//! Two-slot state files: small values that are replaced durably without any free space.
//!
//! ```text
//!  0                     4096                  8192
//!  | slot 0              | slot 1              |     each: magic, generation, length, CRC, body
//! ```
//!
//! A store overwrites the slot with the older generation and syncs; the newer valid one wins on
//! load. A torn write can so only lose the value being written, never the one before. Owns the
//! file format; knows nothing of what a body means, only which version of it is the newest that its caller reads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checksum;
use crate::layout::BLOCK_BYTES;
use crate::storage::{Storage, StorageFile};

/// First eight bytes of a slot.
pub const SLOT_MAGIC: [u8; 8] = *b"TDSLOT\r\n";
/// Longest file that is read as one: two slots, and room to distinguish a longer one from damage.
pub(crate) const SLOT_FILE_BYTES_MAX: u64 = 16 * BLOCK_BYTES;
/// Magic 8, version u16, reserved u16, body length u32, generation u64, CRC u32, reserved u32.
pub const SLOT_PRELUDE_BYTES: usize = 32;
/// Longest body, in bytes.
pub const SLOT_BODY_BYTES_MAX: usize = BLOCK_BYTES as usize - SLOT_PRELUDE_BYTES;

/// A state file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something was stored here, and no slot is valid any more.
    #[error("both slots of {} are damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error("{} has version {got}, newer than {newest}, the newest this program reads", path.display())]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// As stored.
        got: u16,
        /// The newest that can be read.
        newest: u16,
    },
    /// The body is valid, but is not what the reader of this file expects.
    #[error("{} holds a value that cannot be read: {message}", path.display())]
    Body {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The value is longer than a slot.
    #[error("a value of {bytes} bytes does not fit a slot of {}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
}

impl SlotError {
    /// The system's own error where there is one, so that "no space" stays recognisable.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            SlotError::Io { source, .. } => source,
            other => io::Error::other(other),
        }
    }
}

/// A valid slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Counts the stores into this file, from 1.
    pub generation: u64,
    /// Which version of its body it holds, from 1.
    pub version: u16,
    /// The value.
    pub body: Vec<u8>,
}

enum Judged {
    Empty,
    Valid(Slot),
    Newer(u16),
    Damaged,
}

fn judge(block: &[u8], newest: u16) -> Judged {
    let Some(prelude) = block.first_chunk::<SLOT_PRELUDE_BYTES>() else {
        return Judged::Damaged;
    };
    if prelude[..8] != SLOT_MAGIC {
        return if block.iter().all(|b| *b == 0) { Judged::Empty } else { Judged::Damaged };
    }
    let word = |at: usize| u32::from_le_bytes([prelude[at], prelude[at + 1], prelude[at + 2], prelude[at + 3]]);
    let version = u16::from_le_bytes([prelude[8], prelude[9]]);
    let len = word(12) as usize;
    let Some(body) = block.get(SLOT_PRELUDE_BYTES..).and_then(|rest| rest.get(..len)) else {
        return Judged::Damaged;
    };
    let mut zeroed = *prelude;
    zeroed[24..28].fill(0);
    let rest_is_zero = block.get(SLOT_PRELUDE_BYTES + len..).is_some_and(|rest| rest.iter().all(|b| *b == 0));
    if version == 0 || !rest_is_zero || checksum::plain(&[&zeroed, body]) != word(24) {
        return Judged::Damaged;
    }
    // Checked first: the checksum is in the same place in every version, and one flipped bit must not make a slot
    // look like the work of a newer program, which nobody may touch.
    if version > newest {
        return Judged::Newer(version);
    }
    let generation = u64::from(word(16)) | u64::from(word(20)) << 32;
    Judged::Valid(Slot { generation, version, body: body.to_vec() })
}

/// What one of the two slots of a state file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Nothing was ever stored there.
    Empty,
    /// A value.
    Valid(Slot),
    /// A value of a version this program does not know.
    Newer(u16),
    /// Something that is no slot, or only a part of one.
    Damaged,
}

/// Looks at both slots in the bytes of a state file. `newest` is the newest version of its body that the caller reads.
#[must_use]
pub fn inspect(newest: u16, bytes: &[u8]) -> [SlotState; 2] {
    [0, BLOCK_BYTES as usize].map(|at| {
        let end = bytes.len().min(at + BLOCK_BYTES as usize);
        match bytes.get(at..end).filter(|block| !block.is_empty()).map(|block| judge(block, newest)) {
            None | Some(Judged::Empty) => SlotState::Empty,
            Some(Judged::Valid(slot)) => SlotState::Valid(slot),
            Some(Judged::Newer(version)) => SlotState::Newer(version),
            Some(Judged::Damaged) => SlotState::Damaged,
        }
    })
}

fn encode(slot: &Slot) -> Option<Vec<u8>> {
    if slot.body.len() > SLOT_BODY_BYTES_MAX {
        return None;
    }
    let mut block = vec![0; SLOT_PRELUDE_BYTES];
    block[..8].copy_from_slice(&SLOT_MAGIC);
    block[8..10].copy_from_slice(&slot.version.to_le_bytes());
    block[12..16].copy_from_slice(&u32::try_from(slot.body.len()).ok()?.to_le_bytes());
    block[16..24].copy_from_slice(&slot.generation.to_le_bytes());
    let crc = checksum::plain(&[&block, &slot.body]);
    block[24..28].copy_from_slice(&crc.to_le_bytes());
    block.extend_from_slice(&slot.body);
    block.resize(BLOCK_BYTES as usize, 0);
    Some(block)
}

/// The newest valid slot of a state file's bytes; `Ok(None)` if nothing was ever stored. `newest` is the newest version
/// of its body that the caller reads.
///
/// # Errors
/// [`SlotError::Damaged`] or [`SlotError::NewerVersion`]; `path` only names the file in them.
pub fn decode_file(path: &Path, newest: u16, bytes: &[u8]) -> Result<Option<Slot>, SlotError> {
    let mut best: Option<Slot> = None;
    let mut damaged = false;
    for block in bytes.chunks(BLOCK_BYTES as usize).take(2) {
        match judge(block, newest) {
            Judged::Empty => {}
            Judged::Damaged => damaged = true,
            Judged::Newer(got) => {
                return Err(SlotError::NewerVersion { path: path.to_path_buf(), got, newest });
            }
            Judged::Valid(slot) => {
                if best.as_ref().is_none_or(|b| slot.generation > b.generation) {
                    best = Some(slot);
                }
            }
        }
    }
    match best {
        // One damaged slot beside no valid one may be the very first store, torn: still nothing
        // that anyone was promised. Two damaged ones are not.
        None if damaged && bytes.len() >= 2 * BLOCK_BYTES as usize => {
            let second = &bytes[BLOCK_BYTES as usize..];
            if second.iter().all(|b| *b == 0) {
                return Ok(None);
            }
            Err(SlotError::Damaged { path: path.to_path_buf() })
        }
        None if damaged => Err(SlotError::Damaged { path: path.to_path_buf() }),
        best => Ok(best),
    }
}

/// An open state file.
pub struct SlotFile {
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    /// Generation of the newest stored value; 0 if there is none.
    generation: u64,
    /// Which slot to overwrite next: the one that does not hold the newest value.
    next_slot: u64,
    /// A slot was found that holds neither zeros nor a value.
    damaged: bool,
}

impl SlotFile {
    /// Opens `path` or creates it (allocated in full, entry durable), and loads the newest value. `newest` is the
    /// newest version of its body that the caller reads.
    ///
    /// # Errors
    /// [`SlotError`]. A damaged file is not overwritten: that takes a person, or the caller's
    /// knowledge that the value can be rebuilt ([`SlotFile::open_or_reset`]).
    pub fn open(storage: &dyn Storage, path: &Path, newest: u16) -> Result<(Self, Option<Slot>), SlotError> {
        Self::open_inner(storage, path, newest, false)
    }

    /// As [`SlotFile::open`], but a damaged file counts as empty: for values that are a cache.
    ///
    /// # Errors
    /// [`SlotError`], never `Damaged`.
    pub fn open_or_reset(storage: &dyn Storage, path: &Path, newest: u16) -> Result<(Self, Option<Slot>), SlotError> {
        Self::open_inner(storage, path, newest, true)
    }

    fn open_inner(
        storage: &dyn Storage,
        path: &Path,
        version: u16,
        reset: bool,
    ) -> Result<(Self, Option<Slot>), SlotError> {
        let io = |action| move |source| SlotError::Io { action, path: path.to_path_buf(), source };
        let file = storage.open_or_create(path).map_err(io("open"))?;
        let had = file.len().map_err(io("measure"))?;
        if had < 2 * BLOCK_BYTES {
            file.allocate(2 * BLOCK_BYTES).map_err(io("allocate"))?;
            file.sync_all().map_err(io("sync"))?;
            if let Some(dir) = path.parent() {
                storage.sync_dir(dir).map_err(io("sync the directory of"))?;
            }
        }
        let mut bytes = vec![0; 2 * BLOCK_BYTES as usize];
        file.read_exact_at(&mut bytes, 0).map_err(io("read"))?;
        let newest = match decode_file(path, version, &bytes) {
            Err(SlotError::Damaged { .. }) if reset => None,
            other => other?,
        };
        let generation = newest.as_ref().map_or(0, |slot| slot.generation);
        let (first, second) = bytes.split_at(BLOCK_BYTES as usize);
        let in_first = matches!(judge(first, version), Judged::Valid(slot) if slot.generation == generation);
        let damaged = [first, second].iter().any(|block| matches!(judge(block, version), Judged::Damaged));
        let open = SlotFile { path: path.to_path_buf(), file, generation, next_slot: u64::from(in_first), damaged };
        Ok((open, newest))
    }

    /// Generation of the newest stored value; 0 if there is none.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a slot was found at open that holds neither zeros nor a value: what was read may not be the newest that
    /// was stored, but the one before it.
    #[must_use]
    pub fn found_damage(&self) -> bool {
        self.damaged
    }

    /// Replaces the value by a body of `version`; durable on return. Returns its generation.
    ///
    /// # Errors
    /// [`SlotError`]; the value before is still there.
    pub fn store(&mut self, version: u16, body: &[u8]) -> Result<u64, SlotError> {
        let slot = Slot { generation: self.generation.saturating_add(1), version, body: body.to_vec() };
        let block = encode(&slot).ok_or_else(|| SlotError::TooLong { path: self.path.clone(), bytes: body.len() })?;
        let io = |action| {
            let path = self.path.clone();
            move |source| SlotError::Io { action, path, source }
        };
        self.file.write_all_at(&block, self.next_slot * BLOCK_BYTES).map_err(io("write"))?;
        self.file.sync_data().map_err(io("sync"))?;
        self.generation = slot.generation;
        self.next_slot ^= 1;
        Ok(slot.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::OsStorage;

    fn open(path: &Path) -> (SlotFile, Option<Slot>) {
        SlotFile::open(&OsStorage, path, 1).unwrap()
    }

    #[test]
    fn the_newest_value_wins_over_many_stores_and_reopenings() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("STATE");
        assert_eq!(open(&path).1, None);
        for n in 1..=6_u64 {
            let (mut file, before) = open(&path);
            assert_eq!(before.map_or(0, |slot| slot.generation), n - 1);
            assert_eq!(file.store(1, &n.to_le_bytes()).unwrap(), n);
        }
        let (mut file, newest) = open(&path);
        assert_eq!(newest.unwrap().body, 6_u64.to_le_bytes());
        file.store(1, b"a").unwrap();
        file.store(1, b"b").unwrap();
        assert_eq!(open(&path).1.unwrap().body, b"b");
    }

    #[test]
    fn a_torn_store_leaves_the_value_before_at_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("STATE");
        let (mut file, _) = open(&path);
        file.store(1, b"one").unwrap();
        let one = std::fs::read(&path).unwrap();
        file.store(1, b"the second value").unwrap();
        let two = std::fs::read(&path).unwrap();
        let changed = 4096 + SLOT_PRELUDE_BYTES + 16;
        for cut in 4096..changed {
            let mut torn = one.clone();
            torn[4096..cut].copy_from_slice(&two[4096..cut]);
            let slot = decode_file(&path, 1, &torn).unwrap().unwrap();
            assert_eq!(slot.body, b"one", "cut at {cut}");
        }
        assert_eq!(decode_file(&path, 1, &two).unwrap().unwrap().body, b"the second value");
    }

    #[test]
    fn a_file_with_two_damaged_slots_is_refused_unless_its_value_is_a_cache() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("STATE");
        let (mut file, _) = open(&path);
        file.store(1, b"one").unwrap();
        file.store(1, b"two").unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        bytes[4096 + 33] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(SlotFile::open(&OsStorage, &path, 1), Err(SlotError::Damaged { .. })));
        let (mut file, value) = SlotFile::open_or_reset(&OsStorage, &path, 1).unwrap();
        assert_eq!(value, None);
        file.store(1, b"rebuilt").unwrap();
        assert_eq!(open(&path).1.unwrap().body, b"rebuilt");
    }

    #[test]
    fn a_newer_version_and_a_value_too_long_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("STATE");
        let (mut file, _) = open(&path);
        assert!(matches!(file.store(1, &vec![0; SLOT_BODY_BYTES_MAX + 1]), Err(SlotError::TooLong { .. })));
        file.store(1, &vec![7; SLOT_BODY_BYTES_MAX]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8] = 2;
        assert!(matches!(decode_file(&path, 2, &bytes), Err(SlotError::Damaged { .. }) | Ok(None)), "a flipped bit");
        file.store(3, b"of a newer program").unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let newer = decode_file(&path, 2, &bytes);
        assert!(matches!(newer, Err(SlotError::NewerVersion { got: 3, newest: 2, .. })));
        assert_eq!(decode_file(&path, 3, &bytes).unwrap().unwrap().version, 3);
    }
}
