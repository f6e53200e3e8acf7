//! Chunks keep the promises of a source, and say the same as the log that they were made of.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use fold::source::conformance::{MIDDLE, Made, RECORDS, Said, Wound, all, damage, ours, payload, read, written};
use fold::source::{LiveLog, RecordSource, RecordedLog};
use lake::{LakeStore, LocalStore};
use ops::shutdown::Shutdown;
use wal_format::{Append, Kind, LogOptions, LogWriter, Position, Run, SegmentDirs};

use super::*;
use crate::shipper::LogShipper;
use crate::stats::LogStats;

/// Three records of the conformance tests.
const CHUNK_BYTES: usize = 12 << 10;

/// Ships what is in `dir` to `store`, and ends.
fn ship(dir: &Path, store: &Arc<dyn LakeStore>) {
    let shutdown = Shutdown::new();
    let shipper = LogShipper {
        venue: "gate-spot".into(),
        dir: dir.to_owned(),
        store: Arc::clone(store),
        chunk_ns: 1,
        chunk_bytes: CHUNK_BYTES,
        level: 1,
        only: None,
        stats: Arc::new(LogStats::default()),
        shutdown: shutdown.clone(),
    };
    std::thread::scope(|scope| {
        let shipping = scope.spawn(|| shipper.run());
        // It ends at the log's end, having put all.
        let acked = || wal_format::log_state(dir).unwrap().acks.into_iter().find_map(|a| a.ack.unwrap());
        while acked().is_none() && !shipping.is_finished() {
            std::thread::sleep(Duration::from_millis(2));
        }
        shutdown.trigger();
        shipping.join().unwrap().unwrap();
    });
}

fn chunks(root: &Path) -> (Arc<dyn LakeStore>, Chunks) {
    let store: Arc<dyn LakeStore> = Arc::new(LocalStore::new(root));
    let logs = Chunks::of_venue(&store, "gate-spot").unwrap();
    assert_eq!(logs.len(), 1);
    (Arc::clone(&store), logs[0].clone())
}

/// The chunk with the record in the middle.
fn middle(chunks: &Chunks) -> ChunkName {
    let has = |name: &ChunkName| {
        let mut chunk = chunks.get(*name).unwrap().unwrap();
        std::iter::from_fn(|| match chunk.next()? {
            ChunkStep::Record(record) => Some(record.payload == payload(MIDDLE)),
            ChunkStep::Lost(..) => Some(false),
        })
        .any(|found| found)
    };
    chunks.list(Seq(0)).unwrap().into_iter().find(has).unwrap()
}

struct Shipped(tempfile::TempDir);

impl Made for Shipped {
    fn new(wound: Option<Wound>) -> Self {
        let (root, dir) = written(None);
        let store: Arc<dyn LakeStore> = Arc::new(LocalStore::new(root.path().join("store")));
        ship(&dir, &store);
        // The machine is lost.
        std::fs::remove_dir_all(&dir).unwrap();
        let (_, chunks) = chunks(&root.path().join("store"));
        assert!(chunks.list(Seq(0)).unwrap().len() > 10);
        let middle = middle(&chunks);
        match wound {
            None => {}
            Some(Wound::Gap) => chunks.delete(middle).unwrap(),
            Some(Wound::Damage) => damage(&chunks.place_of(middle), 200),
        }
        Self(root)
    }

    fn open(&self, from: Position) -> Box<dyn RecordSource> {
        Box::new(ChunkLog::recorded(chunks(&self.0.path().join("store")).1, from))
    }
}

#[test]
fn chunks_keep_the_promises_of_a_source() {
    all::<Shipped>();
}

struct Followed(Shipped);

impl Made for Followed {
    const GOES_ON: bool = true;

    fn new(wound: Option<Wound>) -> Self {
        Self(Shipped::new(wound))
    }

    fn open(&self, from: Position) -> Box<dyn RecordSource> {
        let mut log = ChunkLog::follow(chunks(&self.0.0.path().join("store")).1, from);
        // Its patience is over.
        log.patience_ns = 0;
        Box::new(log)
    }
}

#[test]
fn chunks_that_are_followed_keep_the_promises_of_a_source() {
    all::<Followed>();
}

/// With each step the position after it.
fn steps(source: &mut dyn RecordSource) -> Vec<(String, Position)> {
    let mut steps = Vec::new();
    loop {
        let step = match source.next().unwrap() {
            Step::Record(record) => format!("{record:?}"),
            Step::Lost(lost) => format!("{lost:?}"),
            Step::Tail | Step::End => return steps,
            Step::Blocked { why, .. } => panic!("{why}"),
        };
        steps.push((step, source.position()));
    }
}

#[test]
fn chunks_of_a_log_with_losses_say_what_the_log_says_position_for_position() {
    for wound in [None, Some(Wound::Damage), Some(Wound::Gap)] {
        let (root, dir) = written(wound);
        let place = root.path().join("store");
        let store: Arc<dyn LakeStore> = Arc::new(LocalStore::new(&place));
        // A second run, which is killed in the middle of a segment, and a third one.
        for run in 0..2_u64 {
            let mut options = LogOptions::new(Arc::new(clock::now));
            options.segment_bytes = 64 << 10;
            let mut log = LogWriter::open(&dir, options).unwrap();
            for n in 0..9 {
                let payload = payload(RECORDS + run * 9 + n);
                let ts_recv_ns = 1_823_070_000_000_000_000 + n;
                log.append(&Append { ts_recv_ns, conn: 2, kind: Kind::Data, flags: 1, payload: &payload }).unwrap();
            }
            if run == 1 { log.close().unwrap() } else { drop(log) }
        }
        // What is damaged in a sealed segment is told by who waits for nothing, so the archive's reader is asked.
        let told = steps(&mut LiveLog::open(&dir, Position::START).unwrap());
        ship(&dir, &store);
        let (_, chunks) = chunks(&place);
        let shipped = steps(&mut ChunkLog::recorded(chunks.clone(), Position::START));
        assert_eq!(shipped, told, "{wound:?}");
        let said = read(&mut ChunkLog::recorded(chunks.clone(), Position::START), false);
        assert_eq!(ours(&said).len() as u64, ours(&read(&mut recorded(&dir), false)).len() as u64);
        assert_eq!(said.iter().any(|(said, _)| matches!(said, Said::Lost(..))), wound.is_some());
        let lineage = wal_format::lineage(&dir).unwrap().unwrap();
        let runs = chunks.learn().unwrap();
        assert_eq!(runs.runs().collect::<Vec<_>>(), lineage.runs().collect::<Vec<_>>());
        // Each chunk is of one run, and they follow each other.
        let mut start = Seq(0);
        for name in chunks.list(Seq(0)).unwrap() {
            let chunk = chunks.get(name).unwrap().unwrap();
            assert_eq!(chunk.header().start.seq, start);
            assert_eq!(lineage.incarnation_of(name.last.epoch()), Some(chunk.header().run.incarnation));
            start = chunk.end().seq;
        }
    }
}

fn recorded(dir: &Path) -> RecordedLog {
    RecordedLog::open(&SegmentDirs::new(dir), Position::START).unwrap()
}

#[test]
fn a_chunk_of_another_copy_of_the_log_stops_the_reader_and_one_that_is_missing_is_waited_for() {
    let shipped = Shipped::new(None);
    let (store, chunks) = chunks(&shipped.0.path().join("store"));
    let middle = middle(&chunks);
    let path = chunks.place_of(middle);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut log = ChunkLog::follow(chunks.clone(), Position::START);
    let blocked = loop {
        match log.next().unwrap() {
            Step::Record(_) => {}
            Step::Blocked { why, stuck } => break (why, stuck),
            step => panic!("{step:?}"),
        }
    };
    assert!(blocked.0.contains("missing") && !blocked.1, "{blocked:?}");
    assert_eq!(log.position().seq, middle.first);
    // It comes after all.
    std::fs::write(&path, &bytes).unwrap();
    log.look_ns = 0;
    assert!(matches!(log.next().unwrap(), Step::Record(record) if record.seq == middle.first));
    // The run was another one.
    let run = path.parent().unwrap().join("runs/00000001");
    std::fs::write(run, format!("{}\n", Incarnation(5 << 48))).unwrap();
    let again = Chunks::of_venue(&store, "gate-spot").unwrap().remove(0);
    let mut log = ChunkLog::follow(again, Position::START);
    let Step::Blocked { why, stuck } = log.next().unwrap() else { panic!("it was read") };
    assert!(stuck && why.contains("another copy"), "{why}");
}

/// `position` of a reader, and a chunk that begins at `first` where `start` was expected: what is lost, and the seq after it.
fn missing(position: (u32, u64), start: (u32, u64), first: (u32, u64)) -> Option<(Seq, Seq, bool, Seq)> {
    let at = |(epoch, n)| Position { seq: Seq::new(epoch, n), ..Position::START };
    let header = ChunkHeader {
        venue: String::new(),
        log_uuid: [0; 16],
        run: Run { epoch: first.0, incarnation: Incarnation(1) },
        first: at(first).seq,
        last: at(first).seq,
        start: at(start),
        ts_ns: None,
        records: 1,
        lost: 0,
        body_bytes: 0,
        body_crc: 0,
    };
    missing_before(at(position), &header).map(|(lost, next)| (lost.from, lost.to, lost.exact, next))
}

#[test]
fn a_missing_chunk_is_noticed_inside_a_run_at_its_end_and_where_whole_runs_are_missing() {
    let seq = Seq::new;
    assert_eq!(missing((0, 0), (1, 5), (1, 5)), None, "from the beginning it begins where it begins");
    assert_eq!(missing((1, 5), (1, 5), (1, 5)), None);
    assert_eq!(missing((1, 7), (1, 5), (1, 5)), None, "begun in the middle");
    assert_eq!(missing((1, 5), (1, 9), (1, 9)), Some((seq(1, 5), seq(1, 8), true, seq(1, 9))));
    assert_eq!(missing((1, 5), (0, 0), (1, 9)), Some((seq(1, 5), seq(1, 8), true, seq(1, 9))), "shipped from there on");
    assert_eq!(missing((1, 5), (1, 5), (2, 0)), None, "the run ended there");
    assert_eq!(missing((1, 9), (1, 5), (2, 0)), None, "a power cut took what this reader had");
    assert_eq!(missing((1, 5), (1, 9), (2, 0)), Some((seq(1, 5), seq(1, 8), true, seq(1, 9))));
    assert_eq!(missing((1, 5), (2, 9), (3, 0)), Some((seq(1, 5), seq(1, 5), false, seq(2, 0))), "and then 2:0 to 2:8");
    assert_eq!(missing((1, 5), (2, 9), (2, 9)), Some((seq(1, 5), seq(1, 5), false, seq(2, 0))));
    assert_eq!(missing((1, 5), (0, 0), (2, 0)), Some((seq(1, 5), seq(1, 5), false, seq(2, 0))));
}
