//! Looking at a log from outside: its segments, its writer, its readers. For status tools.
//!
//! Everything here is a snapshot that may be old when it is returned. Takes no lock, writes
//! nothing, walks no records: headers and footers only.

use std::path::{Path, PathBuf};

use crate::ack::{self, Ack};
use crate::control::{self, ControlState};
use crate::directory::{io_error, names, segment_files};
use crate::footer::FooterSummary;
use crate::incarnation::{Incarnation, Run};
use crate::layout::{ACKS_DIR, DATA_START, QUARANTINE_DIR};
use crate::lineage::{self, Foreign, Lineage};
use crate::lock::{LockHolder, LogLock, Role};
use crate::read_error::{AckError, LineageError, ReadError, StateError, chain};
use crate::record::{Position, SegmentId, Seq};
use crate::segment;
use crate::segment_dirs::SegmentDirs;
use crate::source::{Admission, Source};
use crate::spill;

/// What a segment's file looks like without reading its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// Prepared; no record committed yet.
    Ready,
    /// Records, no valid footer: being written, being synced, or a crash tail.
    Open,
    /// A valid footer closes it.
    Sealed,
    /// Neither header nor footer nor records say how to read it, or it is not what its name says.
    Unreadable,
    /// Its file cannot be opened or read: a link to a disk that is not there, a FIFO, no right to read it, a failing
    /// disk. Nothing is known of its content; see [`SegmentInfo::unreachable`].
    Unreachable,
}

impl SegmentState {
    /// The word used by tools.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SegmentState::Ready => "ready",
            SegmentState::Open => "open",
            SegmentState::Sealed => "sealed",
            SegmentState::Unreadable => "damaged",
            SegmentState::Unreachable => "unreachable",
        }
    }
}

/// One segment of a log.
#[derive(Clone, Debug)]
pub struct SegmentInfo {
    /// Its number.
    pub id: SegmentId,
    /// Its file.
    pub path: PathBuf,
    /// The file on another disk that `path` leads to.
    pub spilled: Option<PathBuf>,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// The file is an archive of the segment.
    pub archived: bool,
    /// Identity of the log it belongs to, if known.
    pub log_uuid: Option<[u8; 16]>,
    /// The run of the writer that owns it, if known.
    pub epoch: Option<u32>,
    /// What distinguishes that run from one with the same number in another copy of the log; known from the header alone.
    pub incarnation: Option<Incarnation>,
    /// Why it is not of the log in whose directory it lies. Readers pass it by, nothing deletes it, repair and the next
    /// writer move it to `quarantine/`.
    pub foreign: Option<Foreign>,
    /// What it looks like.
    pub state: SegmentState,
    /// A valid footer closes it.
    pub sealed: bool,
    /// The footer's summary.
    pub footer: Option<FooterSummary>,
    /// Why its file cannot be read, with [`SegmentState::Unreachable`]: it may be whole and come back.
    pub unreachable: Option<String>,
}

impl SegmentInfo {
    /// The run of the writer that owns it, if its header says so.
    #[must_use]
    pub fn run(&self) -> Option<Run> {
        Some(Run { epoch: self.epoch?, incarnation: self.incarnation? })
    }

    /// Its first record, as its footer says; `None` while it is open, or if it has none.
    #[must_use]
    pub fn first_seq(&self) -> Option<Seq> {
        self.footer.as_ref().and_then(|footer| footer.first_seq)
    }

    /// Its last record, as its footer says; `None` while it is open, or if it has none.
    #[must_use]
    pub fn last_seq(&self) -> Option<Seq> {
        self.footer.as_ref().and_then(|footer| footer.last_seq)
    }

    /// Nothing says how to read it, or it cannot be reached.
    #[must_use]
    pub fn unreadable(&self) -> bool {
        matches!(self.state, SegmentState::Unreadable | SegmentState::Unreachable)
    }

    /// One of which nothing is known yet.
    fn unknown(id: SegmentId, path: &Path) -> SegmentInfo {
        SegmentInfo {
            id,
            path: path.to_path_buf(),
            spilled: None,
            bytes: 0,
            archived: false,
            log_uuid: None,
            epoch: None,
            incarnation: None,
            foreign: None,
            state: SegmentState::Unreadable,
            sealed: false,
            footer: None,
            unreachable: None,
        }
    }
}

impl SegmentDirs {
    /// Every segment, oldest first, by header and footer; those that are not the log's too, and they say so. One that
    /// cannot be opened or read is listed as [`SegmentState::Unreachable`].
    ///
    /// # Errors
    /// [`StateError`] when a directory cannot be read, or a file is of a newer version.
    pub fn list(&self) -> Result<Vec<SegmentInfo>, StateError> {
        let lineage = lineage_if_known(self)?;
        let mut list = Vec::new();
        for id in self.ids()? {
            // A file that went away meanwhile was retired.
            let opened = self.open_own(id, DATA_START as usize, lineage.as_ref());
            list.extend(listed(id, &self.place(id), opened, lineage.as_ref())?);
        }
        Ok(list)
    }
}

/// The ack of one reader, as found.
#[derive(Debug)]
pub struct AckState {
    /// The reader's name.
    pub reader: String,
    /// Its ack; `None` if it never stored one.
    pub ack: Result<Option<Ack>, AckError>,
}

/// A log seen from outside.
#[derive(Debug)]
pub struct LogState {
    /// A writer lives.
    pub writer_alive: bool,
    /// A repair that is at work; not reported while a writer lives, whose own it may be.
    pub repairing: Option<LockHolder>,
    /// What the running (or last) writer said about itself: hints, not evidence.
    pub control: Option<ControlState>,
    /// The segments, oldest first.
    pub segments: Vec<SegmentInfo>,
    /// The readers that ever stored or opened an ack, by name.
    pub acks: Vec<AckState>,
    /// Files in `quarantine/`.
    pub quarantined: Vec<PathBuf>,
}

/// Bytes of the log from `from` to `to`, by the sizes of its segments; 0 when `to` is not after `from`.
pub fn bytes_between(segments: &[SegmentInfo], from: Position, to: Position) -> u64 {
    if to <= from {
        return 0;
    }
    let whole: u64 = segments
        .iter()
        .filter(|s| s.foreign.is_none() && s.id >= from.segment && s.id < to.segment)
        .map(|s| s.footer.as_ref().map_or(s.bytes, |f| f.end_offset))
        .sum();
    (whole + to.offset).saturating_sub(from.offset)
}

/// Whether `dir` looks like the directory of one log: it has a segment, plain or archived, or an EPOCH file.
#[must_use]
pub fn is_log_dir(dir: &Path) -> bool {
    dir.join(crate::layout::EPOCH_FILE).is_file() || SegmentDirs::new(dir).ids().is_ok_and(|ids| !ids.is_empty())
}

/// The plain segments of the log in `dir`, oldest first, by their headers and footers; [`SegmentDirs::list`] has the
/// archived ones too. Those that are not the log's are listed too, and say so; where nobody knows whose log it is
/// ([`crate::lineage()`] fails), only a wrong name does.
///
/// A file that cannot be opened or read is listed as [`SegmentState::Unreachable`]: whether it matters depends on who
/// needs it.
///
/// # Errors
/// [`StateError`] when the directory cannot be read, or a file is of a newer version.
pub fn list_segments(dir: &Path) -> Result<Vec<SegmentInfo>, StateError> {
    let lineage = lineage_if_known(&SegmentDirs::new(dir))?;
    let mut list = Vec::new();
    for id in segment_files(dir)? {
        // A file that went away meanwhile was retired.
        let opened = Source::open(dir, id, DATA_START as usize);
        list.extend(listed(id, &segment::path(dir, id), opened, lineage.as_ref())?);
    }
    Ok(list)
}

/// Whose log it is, as far as it can be determined: for listings, which show what is there even if nobody knows.
pub(crate) fn lineage_if_known(dirs: &SegmentDirs) -> Result<Option<Lineage>, StateError> {
    match lineage::of_dirs(dirs) {
        Ok(lineage) => Ok(lineage),
        Err(LineageError::Read(error)) => Err(error),
        Err(LineageError::State(_) | LineageError::Unsettled { .. }) => Ok(None),
    }
}

/// One line of a listing: what an opened segment says of itself, or why it cannot be reached.
pub(crate) fn listed(
    id: SegmentId,
    path: &Path,
    opened: Result<Option<Source>, ReadError>,
    lineage: Option<&Lineage>,
) -> Result<Option<SegmentInfo>, StateError> {
    let info = match opened.and_then(|source| source.map(|source| segment_info(source, lineage)).transpose()) {
        Err(error) if error.is_unreachable() => Some(SegmentInfo {
            spilled: spill::target(path),
            state: SegmentState::Unreachable,
            unreachable: Some(chain(&error)),
            ..SegmentInfo::unknown(id, path)
        }),
        info => info?,
    };
    Ok(info)
}

/// What header and footer of an open segment say.
fn segment_info(mut source: Source, lineage: Option<&Lineage>) -> Result<SegmentInfo, StateError> {
    let mut info = SegmentInfo {
        spilled: spill::target(source.path()),
        bytes: source.stored_bytes(),
        archived: source.is_archived(),
        ..SegmentInfo::unknown(source.id(), source.path())
    };
    match source.admit()? {
        Admission::Identified { log_uuid, epoch, incarnation } => {
            info.log_uuid = log_uuid;
            info.epoch = epoch;
            info.incarnation = incarnation;
            info.foreign = lineage.and_then(|lineage| lineage.judge(info.id, log_uuid, epoch, incarnation));
            info.footer = source.footer()?.cloned();
            info.sealed = info.footer.is_some();
            info.state = if info.sealed {
                SegmentState::Sealed
            } else if !source.is_archived() && source.commit_word(DATA_START)? == 0 {
                SegmentState::Ready
            } else {
                SegmentState::Open
            };
        }
        Admission::Misnamed(segment) => info.foreign = Some(Foreign::Name { segment }),
        Admission::Unreadable => {}
    }
    Ok(info)
}

/// The log in `dir` as it looks now, archived segments in the same directory included. Takes no lock.
///
/// # Errors
/// As [`list_segments`]. A damaged CONTROL page or ack is reported in its place, not as an error.
pub fn log_state(dir: &Path) -> Result<LogState, StateError> {
    let segments = SegmentDirs::new(dir).list()?;
    let mut acks = Vec::new();
    let acks_dir = dir.join(ACKS_DIR);
    for name in names(&acks_dir).map_err(|e| io_error(&acks_dir, e))? {
        if let Some(reader) = name.strip_suffix(ack::ACK_SUFFIX) {
            acks.push(AckState { reader: reader.to_owned(), ack: ack::read(dir, reader) });
        }
    }
    let quarantine = dir.join(QUARANTINE_DIR);
    let quarantined = names(&quarantine)
        .map_err(|e| io_error(&quarantine, e))?
        .into_iter()
        .map(|name| quarantine.join(name))
        .collect();
    let holder = LogLock::holder(dir);
    Ok(LogState {
        writer_alive: holder.is_some_and(|holder| holder.role == Role::Writer),
        repairing: holder.filter(|holder| holder.role == Role::Repair),
        control: control::read(dir),
        segments,
        acks,
        quarantined,
    })
}
