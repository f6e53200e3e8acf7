//! What a reader has safe elsewhere: one two-slot file per reader, and a lock per reader name.
//!
//! ```text
//!  acks/<reader>.ack    two slots, replaced in place: needs no free space, so a full disk can
//!                       still be emptied
//!  acks/<reader>.lock   exclusive flock while an AckFile is open
//! ```
//!
//! An ack is a cache of what the reader itself can prove; a damaged one costs work, never
//! records, and never lets anything be deleted.

mod file;

use std::io;
use std::path::{Path, PathBuf};

pub use self::file::AckFile;
use crate::checkpoint::Checkpoint;
use crate::incarnation::{Incarnation, Run};
use crate::layout::{ACK_VERSION, ACKS_DIR};
use crate::read_error::AckError;
use crate::record::{Position, SegmentId, Seq};
use crate::regular;
use crate::slots::{self, SLOT_BODY_BYTES_MAX, SLOT_FILE_BYTES_MAX, SlotError};

/// Suffix of an ack file.
pub(crate) const ACK_SUFFIX: &str = ".ack";
const NAME_BYTES_MAX: usize = 64;

/// Longest note, in bytes: a slot holds one block, and the fixed fields take less than 256.
pub const NOTE_BYTES_MAX: usize = SLOT_BODY_BYTES_MAX - 256;

/// Body of version 1, as stored.
#[derive(Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(archived = ArchivedAckV1)]
struct AckV1 {
    log_uuid: [u8; 16],
    segment: u64,
    offset: u64,
    seq: u64,
    note: String,
}

/// Body of version 2, as stored: the run that `seq` is of has an incarnation.
#[derive(Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(archived = ArchivedAckV2)]
struct AckV2 {
    log_uuid: [u8; 16],
    incarnation: u64,
    segment: u64,
    offset: u64,
    seq: u64,
    note: String,
}

impl From<AckV1> for AckV2 {
    fn from(old: AckV1) -> Self {
        AckV2 {
            log_uuid: old.log_uuid,
            incarnation: Incarnation::VERSION_1.0,
            segment: old.segment,
            offset: old.offset,
            seq: old.seq,
            note: old.note,
        }
    }
}

/// Everything before `position` is safe elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The log it speaks about.
    pub log_uuid: [u8; 16],
    /// That of the run that `position.seq` is of; 0 for one of version 1.
    pub incarnation: Incarnation,
    /// Where reading goes on.
    pub position: Position,
    /// Counts the stores; set by [`AckFile::store`].
    pub generation: u64,
    /// For the reader's own use, up to [`NOTE_BYTES_MAX`] bytes.
    pub note: String,
}

impl Ack {
    /// The run that its position is of.
    #[must_use]
    pub fn run(&self) -> Run {
        Run { epoch: self.position.seq.epoch(), incarnation: self.incarnation }
    }
}

/// The path of a reader's ack.
pub(crate) fn path_of(dir: &Path, reader: &str) -> PathBuf {
    dir.join(ACKS_DIR).join(format!("{reader}{ACK_SUFFIX}"))
}

fn check_name(reader: &str) -> Result<(), AckError> {
    let good = (1..=NAME_BYTES_MAX).contains(&reader.len())
        && !reader.starts_with('-')
        && reader.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if good { Ok(()) } else { Err(AckError::BadName { name: reader.to_owned() }) }
}

fn decode(path: &Path, slot: &slots::Slot) -> Result<Ack, AckError> {
    // An aligned copy of our own, as rkyv wants it; the slot's checksum was good.
    let mut body = rkyv::util::AlignedVec::<16>::with_capacity(slot.body.len());
    body.extend_from_slice(&slot.body);
    let ack = match slot.version {
        1 => rkyv::from_bytes::<AckV1, rkyv::rancor::Error>(&body).map(AckV2::from),
        _ => rkyv::from_bytes::<AckV2, rkyv::rancor::Error>(&body),
    }
    .map_err(|err| AckError::State {
        path: path.to_path_buf(),
        source: SlotError::Body { path: path.to_path_buf(), message: err.to_string() },
    })?;
    Ok(Ack {
        log_uuid: ack.log_uuid,
        incarnation: Incarnation(ack.incarnation),
        position: Position { segment: SegmentId(ack.segment), offset: ack.offset, seq: Seq(ack.seq) },
        generation: slot.generation,
        note: ack.note,
    })
}

/// Reads a reader's ack without taking its lock; `None` if it never stored one.
pub(crate) fn read(dir: &Path, reader: &str) -> Result<Option<Ack>, AckError> {
    check_name(reader)?;
    let path = path_of(dir, reader);
    let bytes = match regular::read(&path, SLOT_FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(AckError::Io { action: "read", path, source });
        }
    };
    match slots::decode_file(&path, ACK_VERSION, &bytes) {
        Ok(None) => Ok(None),
        Ok(Some(slot)) => decode(&path, &slot).map(Some),
        Err(source) => Err(AckError::State { path, source }),
    }
}

/// All readable acks in a log's directory, of whichever log.
pub(crate) fn all(dir: &Path) -> Vec<Ack> {
    let Ok(entries) = std::fs::read_dir(dir.join(ACKS_DIR)) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| {
            let reader = name.strip_suffix(ACK_SUFFIX)?;
            read(dir, reader).ok().flatten()
        })
        .collect()
}

impl From<&Ack> for Checkpoint {
    fn from(ack: &Ack) -> Self {
        Checkpoint { log_uuid: ack.log_uuid, incarnation: ack.incarnation, position: ack.position }
    }
}
