//! What is asked of every source and of every acknowledgement: see the promises in the module.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wal_format::{Append, Checkpoint, Kind, LogOptions, LogWriter, LostReason, Position, SegmentDirs, Seq};

use super::*;
use ops::clock;

/// Enough for several segments.
const RECORDS: u64 = 40;
/// One in the middle, in a segment that is neither the first nor the last.
const MIDDLE: u64 = 20;

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wound {
    /// The record in the middle was damaged.
    Damage,
    /// A part around the middle is gone.
    Gap,
}

/// A log of `RECORDS` records to which no more comes, and sources over it.
trait Made: Sized {
    fn new(wound: Option<Wound>) -> Self;
    fn open(&self, from: Position) -> Box<dyn RecordSource>;
    /// It may be written to again: its end is a tail for ever.
    const GOES_ON: bool = false;
}

/// Does not compress, and identifies the record.
fn payload(n: u64) -> Vec<u8> {
    let mut word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let random = (0..600).flat_map(|_| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()
    });
    n.to_le_bytes().into_iter().chain(random).collect()
}

fn append<'a>(n: u64, payload: &'a [u8]) -> Append<'a> {
    Append { ts_recv_ns: 1_723_070_000_000_000_000 + n, conn: 1, kind: Kind::Data, flags: 0, payload }
}

fn writer(dir: &Path) -> LogWriter {
    let mut options = LogOptions::new(Arc::new(clock::now));
    options.segment_bytes = 64 << 10;
    LogWriter::open(dir, options).unwrap()
}

/// A log of files in order, or with a wound.
fn written(wound: Option<Wound>) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let mut log = writer(&dir);
    for n in 0..RECORDS {
        log.append(&append(n, &payload(n))).unwrap();
    }
    log.close().unwrap();
    let bytes = payload(MIDDLE);
    let read = |path: &Path| wal_format::regular::read(path, u64::MAX).unwrap();
    let at = |path: &Path| read(path).windows(bytes.len()).position(|w| w == bytes);
    let segments = wal_format::list_segments(&dir).unwrap();
    let (path, at) = segments.iter().find_map(|s| Some((s.path.clone(), at(&s.path)?))).unwrap();
    assert!(path != segments[0].path && segments.iter().filter(|s| s.path > path).count() > 1);
    match wound {
        None => {}
        Some(Wound::Gap) => std::fs::remove_file(&path).unwrap(),
        Some(Wound::Damage) => damage(&path, at + 100),
    }
    (root, dir)
}

fn damage(path: &Path, at: usize) {
    let mut bytes = wal_format::regular::read(path, u64::MAX).unwrap();
    bytes[at] ^= 0x55;
    std::fs::write(path, bytes).unwrap();
}

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

/// What a source said, up to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    /// Seq, and which of our records it is.
    Record(Seq, Option<u64>),
    Lost(Seq, Seq),
}

/// Reads to the end; with each step the position after it.
fn read(source: &mut dyn RecordSource, goes_on: bool) -> Vec<(Said, Position)> {
    let mut said = Vec::new();
    let mut quiet = 0;
    loop {
        let now = match source.next().unwrap() {
            Step::Record(record) => {
                assert_eq!(record.seq, record.position.seq);
                let known = record.payload.first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
                let ours = known.filter(|n| record.kind() == Some(Kind::Data) && record.payload == payload(*n));
                let (step, next) = (Said::Record(record.seq, ours), record.next);
                assert_eq!(source.position(), next, "where the next one starts");
                step
            }
            Step::Lost(lost) => {
                assert!(lost.exact, "{lost}");
                Said::Lost(lost.from, lost.to)
            }
            Step::End => {
                assert!(!goes_on && matches!(source.next().unwrap(), Step::End), "an end is one for ever");
                return said;
            }
            Step::Tail => {
                assert!(goes_on, "whoever has nothing further says so");
                quiet += 1;
                if quiet > LOOKS {
                    return said;
                }
                source.wait(Duration::from_millis(1));
                continue;
            }
            Step::Blocked { why, .. } => panic!("{why}"),
        };
        quiet = 0;
        said.push((now, source.position()));
    }
}

/// From the first seq on each is returned or reported as lost, once and in order.
fn assert_whole(said: &[(Said, Position)]) {
    let mut next = None;
    for (said, position) in said {
        let (from, to) = match said {
            Said::Record(seq, _) => (*seq, *seq),
            Said::Lost(from, to) => (*from, *to),
        };
        assert_eq!(from, next.unwrap_or(from), "{said:?}");
        next = Some(to.next());
        assert_eq!(Some(position.seq), next, "{said:?}");
    }
}

fn ours(said: &[(Said, Position)]) -> Vec<u64> {
    said.iter().filter_map(|(said, _)| if let Said::Record(_, n) = said { *n } else { None }).collect()
}

fn all<M: Made>() {
    let made = M::new(None);
    let said = read(made.open(Position::START).as_mut(), M::GOES_ON);
    assert_whole(&said);
    assert_eq!(ours(&said), (0..RECORDS).collect::<Vec<_>>(), "each once, in order");
    assert!(said.iter().all(|(said, _)| matches!(said, Said::Record(..))), "nothing is lost: {said:?}");
    for (at, (_, position)) in said.iter().enumerate() {
        let again = read(made.open(*position).as_mut(), M::GOES_ON);
        assert_eq!(again, said[at + 1..], "from {position:?}");
        // The seq decides: a hint that leads to the wrong place costs a search.
        let hint = Position { seq: position.seq, ..Position::START };
        if at % 10 == 0 {
            assert_eq!(read(made.open(hint).as_mut(), M::GOES_ON), again, "from {hint:?}");
        }
    }
    for wound in [Wound::Damage, Wound::Gap] {
        let made = M::new(Some(wound));
        let said = read(made.open(Position::START).as_mut(), M::GOES_ON);
        assert_whole(&said);
        let lost: Vec<usize> =
            said.iter().enumerate().filter(|(_, (said, _))| matches!(said, Said::Lost(..))).map(|(at, _)| at).collect();
        assert_eq!(lost.len(), 1, "{wound:?} is reported once: {said:?}");
        let read_all = ours(&said);
        assert!(!read_all.contains(&MIDDLE) && read_all.len() >= 20, "{wound:?}: {read_all:?}");
        assert!(read_all.contains(&0) && read_all.contains(&(RECORDS - 1)), "reading goes on after it");
        // A second reader gets the same report.
        let before = said[lost[0] - 1].1;
        assert_eq!(read(made.open(before).as_mut(), M::GOES_ON), said[lost[0]..], "{wound:?}");
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
