//! Whose log it is: restored, cloned and mixed directories. No record of another log, or of another copy of this one,
//! is read, acknowledged past or deleted, no epoch is given out twice, and nothing of the log's own becomes foreign.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};

use crate::support::build::{INCARNATION, SegmentBuilder, UUID};
use crate::support::writer::{append, options};
use crate::support::{self, Stop, check_payload, copy_log, drain, retire_for};
use wal_format::{
    AckFile, Checkpoint, CheckpointError, Foreign, Incarnation, Kind, KnownRun, LineageError, LogReader, LogWriter,
    OpenError, Position, ReaderOptions, ResumeError, RetireError, Run, SegmentId, Seq, lineage, list_segments, repair,
};

const SMALL: u64 = 64 * 1024;
const LONGEST: u64 = 400;

/// Opens the log for a run that repairs nothing beside it, so that a test sees one thing at a time.
fn open(dir: &Path) -> LogWriter {
    let mut options = options(SMALL);
    options.repair_tails = false;
    LogWriter::open(dir, options).unwrap()
}

/// Waits until the writer prepares nothing more, so that its directory can be copied as it is.
fn settled(writer: &LogWriter) {
    let start = std::time::Instant::now();
    while writer.stats().ready.get() < 2 {
        assert!(start.elapsed().as_secs() < 60, "two segments are never ready");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// A run of its own that appends `numbers` and ends in order.
fn run(dir: &Path, numbers: std::ops::Range<u64>) -> Run {
    let mut writer = open(dir);
    let run = Run { epoch: writer.epoch(), incarnation: writer.incarnation() };
    numbers.for_each(|n| {
        append(&mut writer, n, LONGEST);
    });
    writer.close().unwrap();
    run
}

fn reader(dir: &Path, from: Position) -> LogReader {
    LogReader::open(dir, from, ReaderOptions::default()).unwrap()
}

/// The numbers of the data records that are left to read, and where reading is then.
fn numbers(reader: &mut LogReader) -> Vec<u64> {
    let (records, lost_ranges, stop) = drain(reader);
    assert!(lost_ranges.is_empty() && stop == Stop::Tail, "{lost_ranges:?}, {stop:?}");
    let data = records.iter().filter(|r| r.kind_raw == Kind::Data as u8);
    data.map(|r| check_payload(&r.payload, LONGEST).unwrap()).collect()
}

fn all(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

fn segment(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:020}.wal"))
}

/// Ids of the segments with records, and of those that are foreign.
fn ids(dir: &Path) -> (Vec<u64>, Vec<u64>) {
    let list = list_segments(dir).unwrap();
    let own = list.iter().filter(|s| s.foreign.is_none() && s.sealed).map(|s| s.id.0).collect();
    (own, list.iter().filter(|s| s.foreign.is_some()).map(|s| s.id.0).collect())
}

fn quarantine(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir.join("quarantine")) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whatever is in the directory of the log is taken away and replaced by `copy`.
fn restore(copy: &Path, dir: &Path) {
    std::fs::remove_dir_all(dir).unwrap();
    copy_log(copy, dir);
}

/// Run 1 is backed up in the middle, goes on, and is followed by run 2; both are read to the end. Then the backup is
/// put back. Returns where the reader was in run 1 and at the end, and the run that is gone.
struct Restored {
    root: tempfile::TempDir,
    in_run_1: Checkpoint,
    at_end: Checkpoint,
    gone: Run,
}

impl Restored {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("log");
        let mut first = open(&dir);
        (0..200).for_each(|n| {
            append(&mut first, n, LONGEST);
        });
        settled(&first);
        copy_log(&dir, &root.path().join("backup"));
        (200..800).for_each(|n| {
            append(&mut first, n, LONGEST);
        });
        first.close().unwrap();
        let mut reader = reader(&dir, Position::START);
        assert_eq!(numbers(&mut reader), all(0..800));
        let in_run_1 = reader.checkpoint().unwrap();
        let gone = run(&dir, 800..900);
        assert_eq!(numbers(&mut reader), all(800..900));
        let at_end = reader.checkpoint().unwrap();
        restore(&root.path().join("backup"), &dir);
        Restored { root, in_run_1, at_end, gone }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("log")
    }
}

#[test]
fn every_run_has_an_incarnation_that_header_epoch_record_reader_and_lineage_agree_on() {
    let dir = tempfile::tempdir().unwrap();
    let runs = [run(dir.path(), 0..5), run(dir.path(), 5..9)];
    assert_ne!(runs[0].incarnation, runs[1].incarnation);
    let lineage = lineage(dir.path()).unwrap().unwrap();
    assert_eq!(lineage.runs().collect::<Vec<_>>(), runs);
    let mut reader = reader(dir.path(), Position::START);
    let mut seen = Vec::new();
    let mut reported = Vec::new();
    while let wal_format::Step::Record(record) = reader.next().unwrap() {
        let epoch = record.seq.epoch();
        if record.kind() == Some(Kind::EpochStart) {
            reported.push(String::from_utf8(record.payload.to_vec()).unwrap());
        }
        seen.push(Run { epoch, incarnation: reader.incarnation() });
    }
    seen.dedup();
    assert_eq!(seen, runs);
    for (json, run) in reported.iter().zip(runs) {
        assert!(json.contains(&format!("\"incarnation\":\"{}\"", run.incarnation)), "{json}");
    }
    let headers: Vec<Run> = list_segments(dir.path()).unwrap().iter().filter_map(|s| s.run()).collect();
    assert!(runs.iter().all(|run| headers.contains(run)), "{headers:?}");
}

#[test]
fn a_checkpoint_of_a_run_that_a_restored_log_never_had_is_refused_by_name() {
    let bed = Restored::new();
    let refused = |checkpoint: &Checkpoint| match LogReader::resume(&bed.dir(), checkpoint, ReaderOptions::default()) {
        Err(ResumeError::Checkpoint { source, .. }) => source,
        other => panic!("{:?}", other.err()),
    };
    // Before anything was recorded again the run is beyond the log's newest one, afterwards it is another one.
    let expected = CheckpointError::OfAnotherRun { run: bed.gone, known: None, newest: 1 };
    assert_eq!(refused(&bed.at_end), expected);
    let again = run(&bed.dir(), 1000..1100);
    assert_eq!(again.epoch, bed.gone.epoch);
    let known = Some(again.incarnation);
    assert_eq!(refused(&bed.at_end), CheckpointError::OfAnotherRun { run: bed.gone, known, newest: 2 });
    let stranger = Checkpoint { log_uuid: [9; 16], ..bed.in_run_1 };
    assert!(matches!(refused(&stranger), CheckpointError::OfAnotherLog { .. }));
    let lineage = lineage(&bed.dir()).unwrap().unwrap();
    let published = [bed.in_run_1.run(), bed.gone];
    assert_eq!(lineage.last_common(&published), Some(bed.in_run_1.run()));
}

#[test]
fn after_a_restore_reading_goes_on_by_number_even_where_the_new_run_has_lower_segment_ids() {
    let bed = Restored::new();
    repair(&bed.dir()).unwrap();
    let first_new = ids(&bed.dir()).0.last().unwrap() + 1;
    assert!(bed.in_run_1.position.segment.0 > first_new, "{}", bed.in_run_1.position);
    run(&bed.dir(), 1000..1100);
    // A place in run 1 that the copy does not reach: what it holds of run 1 was read, all of run 2 was not.
    let mut reader = LogReader::resume(&bed.dir(), &bed.in_run_1, ReaderOptions::default()).unwrap();
    assert_eq!(numbers(&mut reader), all(1000..1100));
    // The same without knowing the run, as version 1 stored it.
    assert_eq!(numbers(&mut self::reader(&bed.dir(), bed.in_run_1.position)), all(1000..1100));
}

#[test]
fn a_reader_that_waits_at_the_end_of_a_restored_log_sees_the_new_run_when_it_comes() {
    let bed = Restored::new();
    repair(&bed.dir()).unwrap();
    let mut reader = LogReader::resume(&bed.dir(), &bed.in_run_1, ReaderOptions::default()).unwrap();
    assert_eq!(numbers(&mut reader), [0; 0]);
    run(&bed.dir(), 1000..1100);
    assert_eq!(numbers(&mut reader), all(1000..1100));
}

#[test]
fn a_log_that_is_replaced_under_a_waiting_reader_is_reported_and_never_waited_for_in_silence() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let mut first = open(&dir);
    append(&mut first, 0, LONGEST);
    settled(&first);
    copy_log(&dir, &root.path().join("backup"));
    (1..300).for_each(|n| {
        append(&mut first, n, LONGEST);
    });
    let mut inside = reader(&dir, Position::START);
    assert_eq!(numbers(&mut inside), all(0..300));
    first.close().unwrap();
    let mut behind = reader(&dir, Position::START);
    assert_eq!(numbers(&mut behind), all(0..300));
    run(&dir, 300..310);
    let mut later = reader(&dir, Position::START);
    assert_eq!(numbers(&mut later), all(0..310));

    let swap = |copy: &Path| {
        std::fs::rename(&dir, root.path().join("old")).unwrap();
        std::fs::rename(copy, &dir).unwrap();
    };
    swap(&root.path().join("backup"));
    repair(&dir).unwrap();
    run(&dir, 1000..1010);
    // After the end of run 1: the new run 2 is found although its ids are lower than those that were read.
    assert_eq!(numbers(&mut behind), all(1000..1010));
    // At the end of another run 2.
    assert!(matches!(later.next(), Err(wal_format::ReadError::Replaced { .. })));
}

#[test]
fn a_live_segment_that_another_file_takes_the_place_of_is_reported() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let mut writer = open(&dir);
    append(&mut writer, 0, LONGEST);
    settled(&writer);
    copy_log(&dir, &root.path().join("backup"));
    append(&mut writer, 1, LONGEST);
    let mut reader = reader(&dir, Position::START);
    assert_eq!(numbers(&mut reader), [0, 1]);
    drop(writer);
    std::fs::rename(&dir, root.path().join("old")).unwrap();
    std::fs::rename(root.path().join("backup"), &dir).unwrap();
    assert!(matches!(reader.next(), Err(wal_format::ReadError::Replaced { .. })));
}

#[test]
fn an_ack_of_another_run_deletes_nothing_and_one_of_a_shared_run_deletes_only_what_lies_before_it() {
    let bed = Restored::new();
    repair(&bed.dir()).unwrap();
    run(&bed.dir(), 1000..1600);
    let before = ids(&bed.dir()).0;
    let mut ack = AckFile::open(&bed.dir(), "lake").unwrap();
    let store = |ack: &mut AckFile, c: &Checkpoint| {
        let (log_uuid, incarnation, position) = (c.log_uuid, c.incarnation, c.position);
        ack.store(&wal_format::Ack { log_uuid, incarnation, position, generation: 0, note: String::new() }).unwrap();
    };
    store(&mut ack, &bed.at_end);
    match retire_for(&bed.dir(), &["lake"]) {
        Err(RetireError::AckOfAnotherRun { path, source }) => {
            assert!(path.ends_with("acks/lake.ack") && source.to_string().contains("restored"), "{source}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(ids(&bed.dir()).0, before);
    // Beyond the end of run 1 in this copy, in a segment whose id the new run uses too: a power cut, or a backup.
    store(&mut ack, &bed.in_run_1);
    let gone = retire_for(&bed.dir(), &["lake"]).unwrap();
    let mut reader = reader(&bed.dir(), Position::START);
    assert!(!gone.is_empty());
    assert_eq!(numbers(&mut reader), all(1000..1600), "{gone:?}");
}

#[test]
fn a_strangers_segment_is_reported_once_never_read_and_never_deleted_wherever_its_id_lies() {
    for id in [1, 2, 30, 40] {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), 0..1200);
        if id == 1 {
            std::fs::remove_file(segment(dir.path(), 1)).unwrap();
        }
        let own = ids(dir.path()).0;
        let there = own.contains(&id);
        if there {
            // Its name is taken: the own one lies in an archive.
            let own = segment(dir.path(), id);
            wal_format::archive::pack(&own, dir.path(), 1, &mut |_| {}).unwrap();
            std::fs::remove_file(own).unwrap();
        }
        let mut stranger = SegmentBuilder::new(id, 1, 0).with(&["not yours"]);
        stranger.seal(id + 1);
        let path = stranger.write(dir.path());

        let mut reader = reader(dir.path(), Position::START);
        let (records, lost_ranges, stop) = drain(&mut reader);
        assert_eq!(stop, Stop::Tail);
        assert!(records.iter().all(|r| r.payload != b"not yours"), "id {id}");
        assert!(lost_ranges.is_empty(), "id {id}: {lost_ranges:?}");
        let first = if id == 1 { check_payload(&support::data(&records)[0], LONGEST).unwrap() } else { 0 };
        assert_eq!(support::data(&records).len() as u64, 1200 - first, "id {id}");
        let reported = reader.take_foreign();
        if !there {
            assert_eq!(reported, [(path.clone(), Foreign::Log { uuid: UUID })], "id {id}");
        }
        drain(&mut reader);
        assert!(reader.take_foreign().is_empty());

        let at_end = reader.position();
        let uuid = reader.log_uuid().unwrap();
        AckFile::open(dir.path(), "lake").unwrap().acknowledge(uuid, at_end, "").unwrap();
        let gone = retire_for(dir.path(), &["lake"]).unwrap();
        assert!(!gone.contains(&SegmentId(id)) && gone.len() >= 2, "{gone:?}");
        assert!(path.exists());

        let report = repair(dir.path()).unwrap();
        assert_eq!((report.foreign.len(), path.exists()), (1, false), "id {id}: {report:?}");
        assert!(quarantine(dir.path())[0].starts_with("foreign-"), "{:?}", quarantine(dir.path()));
        assert!(report.foreign[0].0.exists());
    }
}

#[test]
fn a_writer_quarantines_a_strangers_segment_and_keeps_its_own_identity() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 0..100);
    let uuid = lineage(dir.path()).unwrap().unwrap().log_uuid();
    // Above every id that was ever given, and below.
    for id in [70, 71] {
        SegmentBuilder::new(id, 3, 0).with(&["not yours"]).sealed(id + 1).write(dir.path());
    }
    let writer = open(dir.path());
    assert_eq!((writer.log_uuid(), writer.epoch()), (uuid, 2));
    assert_eq!(writer.warnings().iter().filter(|w| w.contains("was moved to")).count(), 2, "{:?}", writer.warnings());
    assert!(writer.segment() < SegmentId(70));
    writer.close().unwrap();
    assert_eq!(quarantine(dir.path()).len(), 2);
    let mut with_repair = options(SMALL);
    with_repair.repair_tails = true;
    SegmentBuilder::new(1, 3, 0).with(&["not yours"]).sealed(2).write(&dir.path().join("quarantine"));
    std::fs::rename(segment(&dir.path().join("quarantine"), 1), segment(dir.path(), 1)).unwrap();
    drop(LogWriter::open(dir.path(), with_repair).unwrap());
    assert_eq!(quarantine(dir.path()).len(), 3);
}

#[test]
fn a_file_in_quarantine_is_never_replaced_by_another_one() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 0..10);
    for round in 1..=3 {
        SegmentBuilder::new(70, 3, 0).with(&[&format!("round {round}")]).sealed(71).write(dir.path());
        repair(dir.path()).unwrap();
        assert_eq!(quarantine(dir.path()).len(), round);
    }
}

#[test]
fn a_segment_put_there_while_the_log_is_open_is_not_overwritten_by_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path());
    let stranger = SegmentBuilder::new(6, 3, 0).with(&["not yours"]).sealed(7);
    let path = stranger.write(dir.path());
    for n in 0..2000 {
        append(&mut writer, n, LONGEST);
    }
    assert!(writer.segment() > SegmentId(6));
    writer.close().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), stranger.bytes);
    assert_eq!(numbers(&mut reader(dir.path(), Position::START)), all(0..2000));
}

#[test]
fn a_strangers_segment_beside_a_live_writer_does_not_make_its_tail_a_crash_tail() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path());
    append(&mut writer, 0, LONGEST);
    SegmentBuilder::new(70, 3, 0).with(&["not yours"]).sealed(71).write(dir.path());
    let mut reader = reader(dir.path(), Position::START);
    assert_eq!(numbers(&mut reader), [0]);
    assert_eq!(reader.take_foreign().len(), 1);
    append(&mut writer, 1, LONGEST);
    assert_eq!(numbers(&mut reader), [1]);
}

#[test]
fn a_clones_segment_of_a_run_that_was_another_one_here_is_foreign() {
    let root = tempfile::tempdir().unwrap();
    let (ours, theirs) = (root.path().join("a"), root.path().join("b"));
    run(&ours, 0..100);
    copy_log(&ours, &theirs);
    let own = run(&ours, 100..200);
    let other = run(&theirs, 500..900);
    assert_eq!(own.epoch, other.epoch);
    let newest = *ids(&theirs).0.last().unwrap();
    std::fs::copy(segment(&theirs, newest), segment(&ours, newest)).unwrap();
    assert_eq!(ids(&ours).1, [newest]);
    let foreign = list_segments(&ours).unwrap().into_iter().find_map(|s| s.foreign).unwrap();
    assert_eq!(foreign, Foreign::Run { run: other, known: own.incarnation });
    assert_eq!(numbers(&mut reader(&ours, Position::START)), all(0..200));
}

#[test]
fn a_renamed_segment_is_foreign_under_its_new_name() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 0..100);
    std::fs::copy(segment(dir.path(), 1), segment(dir.path(), 50)).unwrap();
    let listed = list_segments(dir.path()).unwrap().into_iter().find(|s| s.id == SegmentId(50)).unwrap();
    assert_eq!(listed.foreign, Some(Foreign::Name { segment: SegmentId(1) }));
    assert_eq!(numbers(&mut reader(dir.path(), Position::START)), all(0..100));
}

#[test]
fn an_epoch_file_put_back_alone_makes_nothing_of_the_log_foreign() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 0..100);
    let old = std::fs::read(dir.path().join("EPOCH")).unwrap();
    let later = [run(dir.path(), 100..500), run(dir.path(), 500..600)];
    std::fs::write(dir.path().join("EPOCH"), old).unwrap();
    assert_eq!(ids(dir.path()).1, [0; 0]);
    assert_eq!(numbers(&mut reader(dir.path(), Position::START)), all(0..600));
    let lineage = lineage(dir.path()).unwrap().unwrap();
    assert!(later.iter().all(|run| lineage.knows(*run) == KnownRun::Yes));
    let next = run(dir.path(), 600..700);
    assert_eq!(next.epoch, 4, "above what the headers say");
    assert_eq!(numbers(&mut reader(dir.path(), Position::START)), all(0..700));
    let lineage = wal_format::lineage(dir.path()).unwrap().unwrap();
    assert!(later.iter().all(|run| lineage.knows(*run) == KnownRun::Yes), "and they are remembered");
    // A later run under an id that this log passed over can only have come from elsewhere.
    let mut clone = SegmentBuilder::new(1, 9, 0).with(&["not yours"]);
    clone.seal(2);
    let header = wal_format::header::SegmentHeader::decode(&clone.bytes).unwrap();
    let header = wal_format::header::SegmentHeader { log_uuid: lineage.log_uuid(), ..header };
    clone.bytes[..4096].copy_from_slice(&header.encode());
    clone.write(dir.path());
    assert!(matches!(list_segments(dir.path()).unwrap()[0].foreign, Some(Foreign::Later { .. })));
}

#[test]
fn without_an_epoch_file_the_segments_and_acks_say_whose_log_it_is_and_never_by_number() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    let own = run(&dir, 0..100);
    let uuid = lineage(&dir).unwrap().unwrap().log_uuid();
    std::fs::remove_file(dir.join("EPOCH")).unwrap();
    let alone = lineage(&dir).unwrap().unwrap();
    assert_eq!((alone.log_uuid(), alone.knows(own)), (uuid, KnownRun::Yes));

    // More segments of a stranger than own ones.
    for id in 60..70 {
        SegmentBuilder::new(id, 3, 0).with(&["not yours"]).sealed(id + 1).write(&dir);
    }
    let mixed = root.path().join("mixed");
    copy_log(&dir, &mixed);
    assert!(matches!(lineage(&mixed), Err(LineageError::Unsettled { .. })));
    match LogWriter::open(&mixed, options(SMALL)) {
        Err(OpenError::Lineage(err)) => {
            let text = err.to_string();
            assert!(text.contains("EPOCH") && text.contains("00060.wal") && text.contains("move the files"), "{text}");
        }
        other => panic!("{:?}", other.err()),
    }
    assert!(LogReader::open(&mixed, Position::START, ReaderOptions::default()).unwrap().next().is_err());
    assert!(repair(&mixed).is_err());
    assert!(quarantine(&mixed).is_empty());

    // An ack decides, if a segment agrees.
    let position = Position { segment: SegmentId(1), offset: 4096, seq: Seq::new(1, 0) };
    let ack = |dir: &Path, log_uuid: [u8; 16]| {
        let ack =
            wal_format::Ack { log_uuid, incarnation: own.incarnation, position, generation: 0, note: String::new() };
        AckFile::open(dir, "lake").unwrap().store(&ack).unwrap();
    };
    ack(&dir, uuid);
    let writer = open(&dir);
    assert_eq!(
        (writer.log_uuid(), writer.epoch()),
        (uuid, 3),
        "one epoch is left out: EPOCH may have known a later run"
    );
    drop(writer);
    assert_eq!(quarantine(&dir).len(), 10);
    assert_eq!(numbers(&mut reader(&dir, Position::START)), all(0..100));
    ack(&mixed, [0x55; 16]);
    assert!(matches!(lineage(&mixed), Err(LineageError::Unsettled { .. })), "an ack that no segment agrees with");
}

#[test]
fn no_epoch_is_given_out_twice_whichever_slot_is_damaged_after_whichever_store() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    // After each store of EPOCH as the writer makes them: open, further segments, close; three runs.
    let mut states: Vec<(Vec<Run>, PathBuf)> = Vec::new();
    let mut runs = Vec::new();
    let mut keep = |runs: &[Run]| {
        let copy = root.path().join(format!("copy-{}", states.len()));
        copy_log(&dir, &copy);
        states.push((runs.to_vec(), copy));
    };
    for round in 0..3 {
        let mut writer = open(&dir);
        runs.push(Run { epoch: writer.epoch(), incarnation: writer.incarnation() });
        settled(&writer);
        keep(&runs);
        for n in 0..180 {
            append(&mut writer, n, LONGEST);
            if n % 90 == 89 {
                settled(&writer);
                keep(&runs);
            }
        }
        if round == 1 {
            drop(writer);
        } else {
            writer.close().unwrap();
        }
        keep(&runs);
    }
    for (runs, dir) in states {
        let good = std::fs::read(dir.join("EPOCH")).unwrap();
        for slot in 0..2 {
            for keep_headers in [true, false] {
                let copy = root.path().join("damaged");
                copy_log(&dir, &copy);
                let mut bytes = good.clone();
                bytes[slot * 4096 + 40] ^= 0x10;
                std::fs::write(copy.join("EPOCH"), bytes).unwrap();
                if !keep_headers {
                    // The newest run's segments are gone too: only the slot could say.
                    let newest = runs.last().unwrap().epoch;
                    for s in list_segments(&copy).unwrap().iter().filter(|s| s.epoch == Some(newest)) {
                        std::fs::remove_file(&s.path).unwrap();
                    }
                    std::fs::remove_file(copy.join("CONTROL")).unwrap();
                }
                let writer = open(&copy);
                let newest = runs.last().unwrap().epoch;
                let lost_all = !keep_headers && runs.len() == 1;
                assert!(lost_all || writer.epoch() > newest, "{} after {newest}: slot {slot}", writer.epoch());
                drop(writer);
                std::fs::remove_dir_all(&copy).unwrap();
            }
        }
    }
}

#[test]
fn acks_control_and_quarantine_remember_epochs_that_epoch_forgot() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    run(&dir, 0..10);
    let uuid = lineage(&dir).unwrap().unwrap().log_uuid();
    let next = |prepare: &dyn Fn(&Path)| {
        let copy = root.path().join("copy");
        copy_log(&dir, &copy);
        prepare(&copy);
        let epoch = open(&copy).epoch();
        std::fs::remove_dir_all(&copy).unwrap();
        epoch
    };
    assert_eq!(next(&|_| {}), 2);
    let of_ack = next(&|dir| {
        let position = Position { segment: SegmentId(9), offset: 4096, seq: Seq::new(7, 3) };
        let ack = wal_format::Ack {
            log_uuid: uuid,
            incarnation: Incarnation(7),
            position,
            generation: 0,
            note: String::new(),
        };
        AckFile::open(dir, "lake").unwrap().store(&ack).unwrap();
    });
    assert_eq!(of_ack, 8);
    let control = |epoch: u64| {
        next(&move |dir: &Path| {
            let path = dir.join("CONTROL");
            let mut page = std::fs::read(&path).unwrap();
            page[32..40].copy_from_slice(&epoch.to_le_bytes());
            std::fs::write(path, page).unwrap();
        })
    };
    assert_eq!(control(5), 6);
    assert_eq!(control(1 << 23), 2, "a hint that is far ahead of everything is damage");
    let of_quarantine = next(&|dir| {
        let segment = SegmentBuilder::new(3, 4, 0).with(&["of a run that is gone"]).sealed(4);
        let header = wal_format::header::SegmentHeader::decode(&segment.bytes).unwrap();
        let header = wal_format::header::SegmentHeader { log_uuid: uuid, ..header };
        std::fs::create_dir(dir.join("quarantine")).unwrap();
        std::fs::write(dir.join("quarantine/x"), header.encode()).unwrap();
    });
    assert_eq!(of_quarantine, 5);
}

#[test]
fn runs_of_version_1_are_known_without_incarnation_and_contradict_those_that_have_one() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("log");
    copy_log(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1"), &dir);
    std::fs::remove_file(dir.join("expected.txt")).unwrap();
    let old = |epoch| Run { epoch, incarnation: Incarnation::VERSION_1 };
    let before = lineage(&dir).unwrap().unwrap();
    assert_eq!(
        (before.knows(old(1)), before.knows(old(2)), before.knows(old(3))),
        (KnownRun::Unknown, KnownRun::Yes, KnownRun::No)
    );
    let new = run(&dir, 0..10);
    assert_eq!(new.epoch, 3);
    let after = lineage(&dir).unwrap().unwrap();
    assert_eq!(
        (after.knows(old(2)), after.knows(new), after.knows(old(3))),
        (KnownRun::Yes, KnownRun::Yes, KnownRun::No)
    );
    assert_eq!(after.knows(Run { epoch: 2, incarnation: INCARNATION }), KnownRun::No);
    // The run of version 1 that was killed is repaired, and all three are read as one log.
    repair(&dir).unwrap();
    let (records, lost_ranges, stop) = drain(&mut reader(&dir, Position::START));
    assert!(lost_ranges.is_empty() && stop == Stop::Tail, "{lost_ranges:?}");
    let epochs: std::collections::BTreeSet<u32> = records.iter().map(|r| r.seq.epoch()).collect();
    assert_eq!(epochs.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
}
