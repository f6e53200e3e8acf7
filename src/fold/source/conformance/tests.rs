//! The sources and acknowledgements that are here.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wal_format::{Checkpoint, Kind, LogOptions, LogWriter, LostReason, Position, SegmentDirs};

use super::{MIDDLE, Made, RECORDS, Wound, all, append, damage, ours, payload, read, writer, written};
use crate::source::*;
use ops::clock;

struct Live {
    _root: tempfile::TempDir,
    dir: PathBuf,
}

impl Made for Live {
    const GOES_ON: bool = true;

    fn new(wound: Option<Wound>) -> Self {
        let (_root, dir) = written(wound);
        Self { _root, dir }
    }

    fn open(&self, from: Position) -> Box<dyn RecordSource> {
        Box::new(LiveLog::open(&self.dir, from).unwrap())
    }
}

struct Retained {
    _root: tempfile::TempDir,
    dir: PathBuf,
}

impl Made for Retained {
    fn new(wound: Option<Wound>) -> Self {
        let (_root, dir) = written(wound);
        Self { _root, dir }
    }

    fn open(&self, from: Position) -> Box<dyn RecordSource> {
        Box::new(RecordedLog::open(&SegmentDirs::new(&self.dir), from).unwrap())
    }
}

/// Sealed segments, compressed, in another directory; the log's own has nothing left.
struct Archived(tempfile::TempDir, PathBuf);

impl Made for Archived {
    fn new(wound: Option<Wound>) -> Self {
        let (root, dir) = written(wound.filter(|wound| *wound == Wound::Gap));
        let archive = root.path().join("archive");
        for segment in wal_format::list_segments(&dir).unwrap() {
            if segment.sealed {
                wal_format::archive::pack(&segment.path, &archive, 1, &mut |_| {}).unwrap();
            }
            std::fs::remove_file(&segment.path).unwrap();
        }
        if wound == Some(Wound::Damage) {
            let stored = SegmentDirs::with_archive(&dir, Some(&archive));
            let held = |s: &&wal_format::SegmentInfo| {
                let one = Position { segment: s.id, ..Position::START };
                let mut log = RecordedLog::open(&stored, one).unwrap();
                std::iter::from_fn(|| match log.next().unwrap() {
                    Step::Record(record) if record.position.segment == s.id => Some(record.payload == payload(MIDDLE)),
                    _ => None,
                })
                .any(|found| found)
            };
            let path = stored.list().unwrap().iter().find(held).unwrap().path.clone();
            let middle = std::fs::metadata(&path).unwrap().len() / 2;
            damage(&path, usize::try_from(middle).unwrap());
        }
        Self(root, dir)
    }

    fn open(&self, from: Position) -> Box<dyn RecordSource> {
        let archive = self.0.path().join("archive");
        Box::new(RecordedLog::open(&SegmentDirs::with_archive(&self.1, Some(&archive)), from).unwrap())
    }
}

struct InMemory(MemoryWriter);

impl Made for InMemory {
    fn new(wound: Option<Wound>) -> Self {
        let mut log = MemoryWriter::default();
        for n in 0..RECORDS {
            match wound {
                Some(Wound::Damage) if n == MIDDLE => log.lose(1, LostReason::Damage),
                Some(Wound::Gap) if n == MIDDLE => log.lose(3, LostReason::MissingSegment),
                Some(Wound::Gap) if (MIDDLE..MIDDLE + 3).contains(&n) => {}
                _ => {
                    log.append(&append(n, &payload(n)));
                }
            }
        }
        log.end();
        Self(log)
    }

    fn open(&self, from: Position) -> Box<dyn RecordSource> {
        Box::new(self.0.read(from))
    }
}

#[test]
fn a_live_log_keeps_the_promises_of_a_source() {
    all::<Live>();
}

#[test]
fn retained_segments_keep_the_promises_of_a_source() {
    all::<Retained>();
}

#[test]
fn an_archive_keeps_the_promises_of_a_source() {
    all::<Archived>();
}

#[test]
fn memory_keeps_the_promises_of_a_source() {
    all::<InMemory>();
}

/// Waits for a step that is no tail. The wait alone is longer than a test may take.
fn awaited<T>(source: &mut dyn RecordSource, take: impl Fn(Step<'_>) -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        match source.next().unwrap() {
            Step::Tail => source.wait(Duration::from_secs(3_600)),
            step => {
                assert!(began.elapsed() < Duration::from_secs(600));
                if let Some(taken) = take(step) {
                    return taken;
                }
            }
        }
    }
}

fn is_ours(step: Step<'_>) -> Option<Vec<u8>> {
    match step {
        Step::Record(record) if record.kind() == Some(Kind::Data) => Some(record.payload.to_vec()),
        _ => None,
    }
}

#[test]
fn who_waits_at_the_tail_of_a_live_log_is_woken_by_the_next_record() {
    let root = tempfile::tempdir().unwrap();
    let mut log = writer(root.path());
    let mut source = LiveLog::open(root.path(), Position::START).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            log.append(&append(1, b"woken")).unwrap();
            log.notifier().notify();
        });
        assert_eq!(awaited(&mut source, is_ours), b"woken");
    });
    let place = |at: Position| (at.segment, at.offset);
    assert_eq!(source.committed().map(place), Some(place(source.position())));
}

#[test]
fn who_waits_at_the_tail_of_memory_is_woken_by_the_next_record_and_by_the_end() {
    let mut log = MemoryWriter::default();
    let mut source = log.read(Position::START);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            log.append(&append(1, b"woken"));
            std::thread::sleep(Duration::from_millis(30));
            log.end();
        });
        assert_eq!(awaited(&mut source, is_ours), b"woken");
        awaited(&mut source, |step| matches!(step, Step::End).then_some(()));
    });
}

#[test]
fn a_crash_tail_is_repaired_by_who_may_and_blocks_who_may_not() {
    let root = tempfile::tempdir().unwrap();
    let mut log = writer(root.path());
    for n in 0..3 {
        log.append(&append(n, &payload(n))).unwrap();
    }
    // As a kill leaves it: nothing is sealed, the lock is free, and a later run goes on after it.
    let copied = tempfile::tempdir().unwrap();
    let copy = copied.path().to_owned();
    for entry in std::fs::read_dir(root.path()).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    log.close().unwrap();
    let mut options = LogOptions::new(Arc::new(clock::now));
    (options.segment_bytes, options.repair_tails) = (64 << 10, false);
    let mut log = LogWriter::open(&copy, options).unwrap();
    log.append(&append(3, &payload(3))).unwrap();
    log.close().unwrap();
    let mut looking = LiveLog::only_reading(&copy, Position::START).unwrap();
    let blocked = awaited(&mut looking, |step| match step {
        Step::Blocked { why, stuck } => Some((why, stuck)),
        _ => None,
    });
    assert!(blocked.0.contains("crash tail") && !blocked.1, "{blocked:?}");
    let mut source = LiveLog::open(&copy, Position::START).unwrap();
    let said = read(&mut source, true);
    assert_eq!(ours(&said), [0, 1, 2, 3]);
    assert_eq!(source.unrepaired(), None);
    assert_eq!(LiveLog::open(&copy, Position::START).unwrap().settle(), Settled::Done, "nobody writes it");
}

/// `open` gives the same store each time.
fn remembers(open: impl Fn() -> Box<dyn AckStore>, log_uuid: [u8; 16], places: [Position; 3]) {
    let [early, middle, late] = places.map(|position| open().checkpoint(log_uuid, position).unwrap());
    let stored = || open().acked().unwrap().map(|ack| (Checkpoint::from(&ack), ack.note));
    assert_eq!(stored(), None, "nothing was acknowledged");
    open().ack(&middle, "middle").unwrap();
    assert_eq!(stored(), Some((middle, "middle".to_owned())), "it is remembered");
    open().ack(&early, "early").unwrap();
    assert_eq!(stored(), Some((middle, "early".to_owned())), "it never goes back");
    open().ack(&late, "late").unwrap();
    assert_eq!(stored(), Some((late, "late".to_owned())));
    open().take_back(&early, "less").unwrap();
    assert_eq!(stored(), Some((early, "less".to_owned())), "unless it is taken back");
    // One of another log says nothing about this one.
    let other = Checkpoint { log_uuid: [0xee; 16], ..late };
    open().take_back(&other, "other").unwrap();
    open().ack(&early, "ours").unwrap();
    assert_eq!(stored(), Some((early, "ours".to_owned())));
}

#[test]
fn what_was_acknowledged_of_a_log_of_files_is_remembered_and_never_goes_back() {
    let made = Live::new(None);
    let said = read(made.open(Position::START).as_mut(), true);
    let places = [said[2].1, said[20].1, said[30].1];
    let lineage = wal_format::lineage(&made.dir).unwrap().unwrap();
    remembers(|| Box::new(LocalAck::open(&made.dir, "lake").unwrap()), lineage.log_uuid(), places);
    let acked = LocalAck::open(&made.dir, "lake").unwrap().acked().unwrap().unwrap();
    assert_eq!(Some(acked.incarnation), lineage.incarnation_of(places[0].seq.epoch()), "with the run that wrote it");
    // What another copy of this log acknowledged is no measure: this one never had that run.
    let mut ack = LocalAck::open(&made.dir, "lake").unwrap();
    let of_a_copy = Checkpoint { incarnation: wal_format::Incarnation(7 << 48), ..Checkpoint::from(&acked) };
    let beyond = Checkpoint { position: places[2], ..of_a_copy };
    ack.take_back(&beyond, "a copy").unwrap();
    ack.ack(&Checkpoint::from(&acked), "ours").unwrap();
    assert_eq!(ack.acked().unwrap().unwrap().position, acked.position);
}

#[test]
fn what_was_acknowledged_in_memory_is_remembered_and_never_goes_back() {
    let made = InMemory::new(None);
    let said = read(made.open(Position::START).as_mut(), false);
    let store = MemoryAck::default();
    remembers(|| Box::new(store.clone()), [7; 16], [said[2].1, said[20].1, said[30].1]);
}
