//! The files beside the segments, judged: EPOCH, CONTROL and the acks, each by itself and against the log.
//!
//! Neither is needed to read a record, so nothing here is worse than what it costs: a damaged slot is damage, a file of
//! another log is unreadable as ours, and a page or an orderly end that names records which the log does not have says
//! that they are lost.

use std::path::{Path, PathBuf};

use super::report::{Fault, Severity};
use crate::ack::{self, Ack};
use crate::control::{self, ControlState};
use crate::directory::{io_error, names};
use crate::epoch;
use crate::identity::hex;
use crate::layout::{ACK_VERSION, ACKS_DIR, BLOCK_BYTES, CONTROL_FILE, EPOCH_FILE, EPOCH_VERSION};
use crate::lock::LogLock;
use crate::read_error::{ReadError, chain};
use crate::record::{SegmentId, Seq};
use crate::regular;
use crate::slots::{self, SLOT_FILE_BYTES_MAX, SlotState};

/// What the segments showed, for the files that speak about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Identity of the log, if a segment says.
    pub log_uuid: Option<[u8; 16]>,
    /// The highest segment id.
    pub segment: Option<SegmentId>,
    /// The seq that comes next: after the last record, or after those that are reported as lost at the end.
    pub next_seq: Option<Seq>,
}

/// What one of the files says.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// Its path.
    pub path: PathBuf,
    /// `EPOCH`, `CONTROL`, or the reader's name and `.ack`.
    pub name: String,
    /// What its two slots hold; `None` for CONTROL and for what cannot be read.
    pub slots: Option<[SlotState; 2]>,
    /// What it says, in words.
    pub says: String,
    /// Everything that is wrong.
    pub faults: Vec<Fault>,
}

impl FileReport {
    fn of(path: PathBuf, name: &str) -> FileReport {
        FileReport { path, name: name.to_owned(), slots: None, says: String::new(), faults: Vec::new() }
    }

    fn fault(&mut self, severity: Severity, offset: u64, what: impl Into<String>) {
        self.faults.push(Fault { severity, offset, what: what.into() });
    }

    /// The worst fault, if there is one.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.faults.iter().map(|fault| fault.severity).max()
    }

    /// Looks at the slots. False when there is no file.
    fn look(&mut self, newest: u16) -> bool {
        let bytes = match regular::read(&self.path, SLOT_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
            Err(error) => {
                self.fault(Severity::Unreadable, 0, format!("it cannot be read: {}", chain(&error)));
                return true;
            }
        };
        let slots = slots::inspect(newest, &bytes);
        for (at, slot) in (0..).step_by(BLOCK_BYTES as usize).zip(&slots) {
            match slot {
                SlotState::Damaged => self.fault(Severity::Damage, at, "the slot is damaged"),
                SlotState::Newer(version) => {
                    self.fault(
                        Severity::Unreadable,
                        at,
                        format!("the slot has version {version}, newer than this program"),
                    );
                }
                SlotState::Empty | SlotState::Valid(_) => {}
            }
        }
        self.slots = Some(slots);
        true
    }

    fn of_this_log(&mut self, uuid: &[u8; 16], ends: &Ends) {
        if ends.log_uuid.is_some_and(|ours| ours != *uuid) {
            self.fault(Severity::Unreadable, 0, format!("it is of another log, {}", hex(uuid)));
        }
    }
}

/// Judges EPOCH, CONTROL and every ack of the log in `dir`, whose segments showed `ends`. Takes no lock; what only a
/// writer that is at work can explain is not judged while one holds the lock.
///
/// # Errors
/// [`ReadError`] when a directory cannot be listed. What is wrong with a file is in its report.
pub fn verify_files(dir: &Path, ends: &Ends) -> Result<Vec<FileReport>, ReadError> {
    let quiet = LogLock::holder(dir).is_none();
    let mut reports: Vec<FileReport> =
        [of_epoch(dir, ends, quiet), of_control(dir, ends, quiet)].into_iter().flatten().collect();
    let acks = dir.join(ACKS_DIR);
    for name in names(&acks).map_err(|e| io_error(&acks, e))? {
        if let Some(reader) = name.strip_suffix(ack::ACK_SUFFIX) {
            reports.push(of_ack(dir, reader, ends, quiet));
        }
    }
    Ok(reports)
}

fn of_epoch(dir: &Path, ends: &Ends, quiet: bool) -> Option<FileReport> {
    let mut report = FileReport::of(dir.join(EPOCH_FILE), EPOCH_FILE);
    if !report.look(EPOCH_VERSION) {
        // A directory of segments alone is a copy, or an archive.
        let lived_in = [CONTROL_FILE, ACKS_DIR].iter().any(|name| dir.join(name).exists());
        if ends.segment.is_some() && lived_in {
            report.says = "missing".into();
            report.fault(Severity::Damage, 0, "it is missing: the headers of the segments are used instead");
            return Some(report);
        }
        return None;
    }
    match epoch::read(dir) {
        Ok(None) => report.says = "nothing".into(),
        Err(error) => {
            if report.worst() < Some(Severity::Unreadable) {
                report.fault(Severity::Unreadable, 0, chain(&error));
            }
        }
        Ok(Some(state)) => {
            let end = match (state.closed_wall_ns, state.last_seq) {
                (Some(_), Some(last)) => format!("closed at {last}"),
                _ => "not closed".into(),
            };
            report.says = format!(
                "log {}, epoch {}, {end}, next segment {}",
                hex(&state.log_uuid),
                state.epoch,
                state.next_segment
            );
            report.of_this_log(&state.log_uuid, ends);
            if let Some(highest) = ends.segment.filter(|id| *id >= state.next_segment) {
                report.fault(
                    Severity::Damage,
                    0,
                    format!("segment {highest} is there: its id would be given out again"),
                );
            }
            if let Some(next) = ends.next_seq {
                if next.epoch() > state.epoch {
                    report.fault(
                        Severity::Damage,
                        0,
                        format!("epoch {} is in the log, it would begin again", next.epoch()),
                    );
                }
                if let Some(last) = state.last_seq.filter(|last| *last >= next && quiet) {
                    report.fault(
                        Severity::DurableLost,
                        0,
                        format!("the log was closed at {last} and ends before {next}: the records between are lost"),
                    );
                }
            }
        }
    }
    Some(report)
}

fn of_control(dir: &Path, ends: &Ends, quiet: bool) -> Option<FileReport> {
    let mut report = FileReport::of(dir.join(CONTROL_FILE), CONTROL_FILE);
    let Some(page) = control::read(dir) else {
        return match regular::read(&report.path, SLOT_FILE_BYTES_MAX) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                report.fault(Severity::Unreadable, 0, format!("it cannot be read: {}", chain(&error)));
                Some(report)
            }
            Ok(_) => {
                report.fault(Severity::Damage, 0, "it is no page of this format: a hint is lost, no record");
                Some(report)
            }
        };
    };
    let ControlState { pid, epoch, committed, durable, closed, .. } = page;
    let end = if closed { ", closed" } else { "" };
    let durable = if durable == Seq(0) { "nothing".to_owned() } else { durable.to_string() };
    report.says = format!("pid {pid}, epoch {epoch}, committed {}, durable {durable}{end}", committed.seq);
    if let Some(next) = ends.next_seq.filter(|_| quiet) {
        let lost = |last: Option<Seq>| last.filter(|last| *last >= next);
        if let Some(last) = lost(page.durable_of(next.epoch())) {
            let what = format!("{last} was announced as durable, the log ends before {next}");
            report.fault(Severity::DurableLost, 0, what);
        } else if let Some(last) = lost(page.committed_of(next.epoch())) {
            report.fault(Severity::Damage, 0, format!("{last} was committed, the log ends before {next}"));
        }
    }
    Some(report)
}

fn of_ack(dir: &Path, reader: &str, ends: &Ends, quiet: bool) -> FileReport {
    let mut report = FileReport::of(ack::path_of(dir, reader), &format!("{reader}{}", ack::ACK_SUFFIX));
    report.look(ACK_VERSION);
    match ack::read(dir, reader) {
        Ok(None) => report.says = "nothing".into(),
        Err(error) => {
            // A slot that is named already says why.
            if report.worst() < Some(Severity::Unreadable) {
                report.fault(Severity::Unreadable, 0, chain(&error));
            }
        }
        Ok(Some(Ack { log_uuid, position, .. })) => {
            report.says = format!("segment {}, offset {}, seq {}", position.segment, position.offset, position.seq);
            report.of_this_log(&log_uuid, ends);
            if let Some(next) = ends.next_seq.filter(|next| quiet && position.seq > *next) {
                let what = format!(
                    "{} was acknowledged, the log ends before {next}: it has lost records, or is another one",
                    position.seq
                );
                report.fault(Severity::Damage, 0, what);
            }
        }
    }
    report
}
