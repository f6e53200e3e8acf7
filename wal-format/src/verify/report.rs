//! What verifying a segment found.

use std::path::{Path, PathBuf};

use crate::record::{SegmentId, Seq};
use crate::state::SegmentState;

/// How bad a fault is. Ordered: the worst one decides the exit code of `wal-dump`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// An end without SEAL or footer: a live writer, a sync that is due, or a crash tail.
    TornTail,
    /// Bytes are damaged, or records are missing; the rest can be read.
    Damage,
    /// Records are missing that were known to be on disk.
    DurableLost,
    /// A segment cannot be read at all.
    Unreadable,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    /// How bad.
    pub severity: Severity,
    /// Byte offset in the segment at which it begins.
    pub offset: u64,
    /// One plain sentence.
    pub what: String,
}

/// What a walk over one segment showed.
#[derive(Clone, Debug)]
pub struct SegmentReport {
    /// The segment.
    pub id: SegmentId,
    /// Its file.
    pub path: PathBuf,
    /// What it looks like.
    pub state: SegmentState,
    /// Valid records, SEAL included.
    pub records: u64,
    /// First and last seq among them.
    pub first_seq: Option<Seq>,
    /// Last seq among them.
    pub last_seq: Option<Seq>,
    /// Where the valid data ends.
    pub end_offset: u64,
    /// Everything that is wrong, in order of offset.
    pub faults: Vec<Fault>,
}

impl SegmentReport {
    /// One of a segment of which nothing is known yet.
    pub(super) fn of(id: SegmentId, path: &Path) -> SegmentReport {
        SegmentReport {
            id,
            path: path.to_path_buf(),
            state: SegmentState::Unreadable,
            records: 0,
            first_seq: None,
            last_seq: None,
            end_offset: 0,
            faults: Vec::new(),
        }
    }

    pub(super) fn fault(&mut self, severity: Severity, offset: u64, what: impl Into<String>) {
        self.faults.push(Fault { severity, offset, what: what.into() });
    }

    /// The worst fault, if there is one.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.faults.iter().map(|fault| fault.severity).max()
    }
}
