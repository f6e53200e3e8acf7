//! What is no regular file, or cannot be opened or read, under the names of a log: refused by name, never waited for, and
//! never taken for deleted, foreign or lost while it may come back.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::build::{SegmentBuilder, UUID};
use crate::support::writer;
use crate::support::{self, Stop, data, drain, read_all};
use rustix::fs::{CWD, Mode, mkfifoat};
use wal_format::lock::LogLock;
use wal_format::verify::{Severity, verify_log};
use wal_format::{
    Ack, AckFile, LogReader, LogWriter, LostReason, Position, ReadError, ReaderOptions, SegmentDirs, SegmentId,
    SegmentInfo, SegmentState, Seq, control, epoch, list_segments, log_state, repair,
};

fn fifo(path: &Path) {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

fn segment(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:020}.wal"))
}

fn payloads(dir: &Path) -> Vec<Vec<u8>> {
    data(&read_all(dir).0)
}

fn why(error: &ReadError) -> String {
    wal_format::error_chain(error)
}

fn find(list: &[SegmentInfo], id: u64) -> &SegmentInfo {
    list.iter().find(|s| s.id == SegmentId(id)).unwrap()
}

#[test]
fn a_fifo_or_an_endless_device_named_like_a_segment_stops_neither_readers_nor_the_writer() {
    let log = writer::closed_log(64 << 10, 200, 500);
    let dir = log.dir.path();
    fifo(&segment(dir, 98));
    symlink("/dev/zero", segment(dir, 99)).unwrap();
    let state = log_state(dir).unwrap();
    for (id, kind) in [(98, "a FIFO"), (99, "a device")] {
        let odd = find(&state.segments, id);
        assert_eq!(odd.state, SegmentState::Unreachable);
        assert!(odd.unreachable.as_ref().is_some_and(|why| why.contains(kind)), "{odd:?}");
    }
    let mut faults = Vec::new();
    verify_log(dir, true, |report| faults.extend(report.faults.into_iter().map(|f| (report.id.0, f.severity))))
        .unwrap();
    assert_eq!(faults, [(98, Severity::Unreadable), (99, Severity::Unreadable)]);

    let mut again = LogWriter::open(dir, writer::options(64 << 10)).unwrap();
    writer::append(&mut again, 200, 500);
    let repairs = again.repairs().unwrap();
    let start = Instant::now();
    let report = loop {
        assert!(start.elapsed() < Duration::from_secs(30), "the repair says nothing");
        match repairs.last() {
            Some((_, report)) => break report,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let failures: Vec<String> = report.as_ref().as_ref().unwrap().failures.iter().map(ToString::to_string).collect();
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures[0].contains("segment 98 cannot be repaired") && failures[0].contains("a FIFO"), "{failures:?}");
    again.close().unwrap();
    assert_eq!(payloads(dir).len(), 201, "readers pass it by");
}

#[test]
fn a_fifo_under_the_name_of_a_state_file_is_refused_and_named() {
    let log = writer::closed_log(64 << 10, 20, 100);
    let dir = log.dir.path();
    for name in ["CONTROL", "EPOCH", "LOCK"] {
        std::fs::remove_file(dir.join(name)).unwrap();
        fifo(&dir.join(name));
    }
    std::fs::create_dir_all(dir.join("acks")).unwrap();
    fifo(&dir.join("acks/lake.ack"));
    assert_eq!(control::read(dir), None);
    let error = epoch::read(dir).unwrap_err();
    assert!(wal_format::error_chain(&error).contains("a FIFO"), "{error:?}");
    let error = LogLock::take(dir).unwrap_err();
    assert!(wal_format::error_chain(&error).contains("a FIFO"), "{error:?}");
    assert!(LogLock::holder(dir).is_none());
    let error = repair(dir).unwrap_err();
    assert!(wal_format::error_chain(&error).contains("LOCK"), "{error:?}");
    let state = log_state(dir).unwrap();
    assert!(wal_format::error_chain(state.acks[0].ack.as_ref().unwrap_err()).contains("a FIFO"), "{:?}", state.acks);
    let error = AckFile::open(dir, "lake").err().unwrap();
    assert!(wal_format::error_chain(&error).contains("a FIFO"), "{error:?}");
    // Whose log it is says EPOCH alone: nothing is guessed while it may come back.
    let mut reader = LogReader::open(dir, Position::START, ReaderOptions::default()).unwrap();
    let error = wal_format::error_chain(&reader.next().unwrap_err());
    assert!(error.contains("EPOCH") && error.contains("a FIFO"), "{error}");
    std::fs::remove_file(dir.join("EPOCH")).unwrap();
    assert_eq!(payloads(dir).len(), 20);
}

/// Segments 1 to 3 of one epoch; the file of segment 2 lies on another disk, which may be away.
struct Spilled {
    dir: tempfile::TempDir,
    other: tempfile::TempDir,
}

impl Spilled {
    fn new() -> Self {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let one = SegmentBuilder::new(1, 1, 0).with(&["a"]).sealed(2);
        one.write(dir.path());
        let two = SegmentBuilder::new(2, 1, one.counter).with(&["b", "c"]).sealed(3);
        two.write(other.path());
        symlink(segment(other.path(), 2), segment(dir.path(), 2)).unwrap();
        SegmentBuilder::new(3, 1, two.counter).with(&["d"]).write(dir.path());
        Spilled { dir, other }
    }

    fn away(&self, away: bool) {
        let (here, there) = (segment(self.other.path(), 2), self.other.path().join("away"));
        if away { std::fs::rename(here, there) } else { std::fs::rename(there, here) }.unwrap();
    }
}

#[test]
fn a_needed_segment_on_a_lost_disk_is_waited_for_and_read_when_it_is_back() {
    let log = Spilled::new();
    log.away(true);
    let mut reader = LogReader::open(log.dir.path(), Position::START, ReaderOptions::default()).unwrap();
    let mut got = Vec::new();
    let error = loop {
        match reader.next() {
            Ok(wal_format::Step::Record(r)) => got.push(r.payload.to_vec()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(got[0], b"a");
    for _ in 0..50 {
        // Long enough for the listing to be trusted by its stamp.
        std::thread::sleep(Duration::from_millis(1));
        let again = reader.next().unwrap_err();
        assert!(why(&again).contains("is that disk mounted?"), "{}", why(&again));
    }
    assert!(error.is_unreachable(), "{error:?}");
    // Somebody who starts from there finds the same.
    let mut second = LogReader::open(log.dir.path(), reader.position(), ReaderOptions::default()).unwrap();
    assert!(second.next().unwrap_err().is_unreachable());
    log.away(false);
    let (records, lost_ranges, _) = drain(&mut reader);
    assert_eq!(data(&records), [b"b", b"c", b"d"]);
    assert!(lost_ranges.is_empty(), "{lost_ranges:?}");
    assert_eq!(data(&drain(&mut second).0), [b"b", b"c", b"d"]);
}

#[test]
fn a_reader_that_waits_for_nothing_says_exactly_what_a_lost_disk_held() {
    let log = Spilled::new();
    log.away(true);
    let options = ReaderOptions { follow_damaged: true, ..ReaderOptions::default() };
    let mut reader = LogReader::open(log.dir.path(), Position::START, options).unwrap();
    let (records, lost_ranges, stop) = drain(&mut reader);
    assert_eq!((data(&records).len(), stop), (2, Stop::Tail));
    assert_eq!(lost_ranges.len(), 1, "{lost_ranges:?}");
    assert_eq!(lost_ranges[0].reason, LostReason::Unreachable);
    // Two frames and the SEAL of segment 2.
    assert_eq!((lost_ranges[0].from, lost_ranges[0].to, lost_ranges[0].exact), (Seq::new(1, 2), Seq::new(1, 4), true));
}

#[test]
fn a_lost_disk_that_everybody_has_passed_is_reported_and_blocks_nothing() {
    let log = Spilled::new();
    let dir = log.dir.path();
    repair(dir).unwrap();
    let mut reader = LogReader::open(dir, Position::START, ReaderOptions::default()).unwrap();
    drain(&mut reader);
    let mut ack = AckFile::open(dir, "lake").unwrap();
    let position = Position { segment: SegmentId(3), offset: 4096, seq: Seq::new(1, 5) };
    let incarnation = support::build::INCARNATION;
    ack.store(&Ack { log_uuid: UUID, incarnation, position, generation: 0, note: String::new() }).unwrap();
    log.away(true);
    let list = list_segments(dir).unwrap();
    assert_eq!(list.iter().map(|s| s.state).collect::<Vec<_>>()[1], SegmentState::Unreachable);
    assert_eq!(find(&list, 2).spilled.as_deref(), Some(&*segment(log.other.path(), 2)));
    assert_eq!(SegmentDirs::new(dir).list().unwrap().len(), 3);
    let report = repair(dir).unwrap();
    assert!(report.failure_of(SegmentId(2)).is_some_and(|f| f.passed), "{report:?}");
    assert_eq!(report.needed().count(), 0);
    assert_eq!(support::retire_for(dir, &["lake"]).unwrap(), [SegmentId(1)], "what is left behind it goes");
    assert!(segment(dir, 2).symlink_metadata().is_ok(), "a link to a lost disk is never deleted");
    let mut reader = LogReader::open(dir, position, ReaderOptions::default()).unwrap();
    assert_eq!(data(&drain(&mut reader).0), [b"d"]);
}

#[test]
fn a_disk_that_answers_no_read_makes_a_segment_neither_lost_nor_quarantined() {
    let dir = tempfile::tempdir().unwrap();
    let one = SegmentBuilder::new(1, 1, 0).with(&["a"]).sealed(2);
    one.write(dir.path());
    // A regular file whose first page can never be read: EIO.
    symlink("/proc/self/mem", segment(dir.path(), 2)).unwrap();
    SegmentBuilder::new(3, 1, 9).with(&["z"]).write(dir.path());
    let mut reader = LogReader::open(dir.path(), Position::START, ReaderOptions::default()).unwrap();
    let mut last = None;
    for _ in 0..4 {
        last = Some(reader.next().map(|step| format!("{step:?}")));
    }
    assert!(matches!(&last, Some(Err(error)) if error.is_unreachable()), "{last:?}");
    let report = repair(dir.path()).unwrap();
    assert!(report.quarantined.is_empty(), "{report:?}");
    assert!(report.failure_of(SegmentId(2)).is_some_and(|f| !f.passed), "{report:?}");
    assert!(segment(dir.path(), 2).symlink_metadata().is_ok());
}

#[test]
fn a_file_of_any_length_with_a_segments_name_costs_no_more_than_the_longest_segment() {
    let dir = tempfile::tempdir().unwrap();
    SegmentBuilder::new(1, 1, 0).with(&["a"]).write(dir.path());
    // 8 TiB of zeros would take for ever.
    let vast = std::fs::File::create(segment(dir.path(), 2)).unwrap();
    vast.set_len(1 << 43).unwrap();
    repair(dir.path()).unwrap();
    verify_log(dir.path(), false, |_| {}).unwrap();
    assert_eq!(payloads(dir.path()), [b"a"]);
}
