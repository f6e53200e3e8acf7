//! A lost range is reported once to each reader, with exact ends where anything knows them: when a tail was cut, when the
//! repair died at any of its steps, when a reader was restarted in between.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use crate::support::build::SegmentBuilder;
use crate::support::writer;
use crate::support::{Owned, Stop, assert_accounted, copy_log, drain, read_all};
use wal_format::layout::{DATA_START, RECORD_HEADER_BYTES};
use wal_format::repair::die_after;
use wal_format::verify::{Severity, verify_log};
use wal_format::{
    LogReader, LogWriter, LostRange, LostReason, Position, ReaderOptions, SegmentId, Seq, SyncPolicy, control, record,
    repair,
};

/// A log of a writer that was killed, in one segment, and the records it had.
fn killed(count: u64, sync: SyncPolicy) -> (tempfile::TempDir, Vec<Owned>) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = writer::options(64 << 10);
    options.sync = sync;
    let mut log = LogWriter::open(dir.path(), options).unwrap();
    for n in 0..count {
        let seq = writer::append(&mut log, n, 200);
        if sync == SyncPolicy::Every {
            log.sync_handle().wait_durable(seq).unwrap();
        }
    }
    drop(log);
    let (records, lost_ranges, stop) = read_all(dir.path());
    assert!(lost_ranges.is_empty() && stop == Stop::Tail);
    (dir, records)
}

fn first_segment(dir: &Path) -> std::path::PathBuf {
    dir.join(format!("{:020}.wal", 1))
}

/// Cuts the file off in the middle of record number `at`.
fn cut(dir: &Path, records: &[Owned], at: usize) {
    let file = std::fs::File::options().write(true).open(first_segment(dir)).unwrap();
    file.set_len(records[at].position.offset + 40).unwrap();
}

/// Flips a bit of the payload of record number `at`.
fn flip(dir: &Path, records: &[Owned], at: usize) {
    let mut bytes = std::fs::read(first_segment(dir)).unwrap();
    bytes[records[at].position.offset as usize + RECORD_HEADER_BYTES] ^= 1;
    std::fs::write(first_segment(dir), bytes).unwrap();
}

/// Zeros the whole of the file from record number `at` on: pages that a power cut took.
fn forget(dir: &Path, records: &[Owned], at: usize) {
    let mut bytes = std::fs::read(first_segment(dir)).unwrap();
    bytes[records[at].position.offset as usize..].fill(0);
    std::fs::write(first_segment(dir), bytes).unwrap();
}

type Damage = fn(&Path, &[Owned], usize);

const DAMAGE: [(&str, Damage); 3] = [("cut", cut), ("flipped", flip), ("forgotten", forget)];

#[test]
fn a_tail_that_was_cut_is_reported_up_to_the_last_record_that_is_known_to_have_been_there() {
    for (name, damage) in [("cut", cut as Damage), ("forgotten", forget)] {
        for sync in [SyncPolicy::Never, SyncPolicy::Every] {
            let (dir, records) = killed(40, sync);
            damage(dir.path(), &records, 30);
            let report = repair(dir.path()).unwrap();
            let (got, lost_ranges, _) = read_all(dir.path());
            assert_eq!(lost_ranges.len(), 1, "{name}: {lost_ranges:?}");
            let last = records.last().unwrap().seq;
            assert_eq!(
                (lost_ranges[0].from, lost_ranges[0].to, lost_ranges[0].exact),
                (records[30].seq, last, true),
                "{name}"
            );
            assert_accounted(&records, &got, &lost_ranges);
            let vouched = sync == SyncPolicy::Every;
            assert_eq!(lost_ranges[0].below_durable, vouched, "{name}: {lost_ranges:?}");
            let durable = control::read(dir.path()).unwrap().durable;
            assert_eq!(report.lost_below_durable, vouched.then_some((durable, records[30].seq)), "{name}");
            let mut worst = None;
            verify_log(dir.path(), true, |r| worst = worst.max(r.worst())).unwrap();
            assert_eq!(worst, Some(if vouched { Severity::DurableLost } else { Severity::Damage }), "{name}");
        }
    }
}

#[test]
fn a_cut_tail_is_reported_as_exactly_when_a_new_writer_has_the_page_by_then() {
    let (dir, records) = killed(40, SyncPolicy::Never);
    cut(dir.path(), &records, 30);
    let mut log = LogWriter::open(dir.path(), writer::options(64 << 10)).unwrap();
    writer::append(&mut log, 0, 10);
    let repairs = log.repairs().unwrap();
    while repairs.last().is_none() {
        std::thread::yield_now();
    }
    let (_, lost_ranges, _) = read_all(dir.path());
    assert_eq!(lost_ranges.len(), 1, "{lost_ranges:?}");
    assert_eq!((lost_ranges[0].from, lost_ranges[0].to), (records[30].seq, records.last().unwrap().seq));
    log.close().unwrap();
    assert_eq!(read_all(dir.path()).1, lost_ranges);
}

#[test]
fn a_page_that_names_more_records_than_fit_is_not_believed() {
    let (dir, records) = killed(40, SyncPolicy::Never);
    cut(dir.path(), &records, 30);
    let mut page = std::fs::read(dir.path().join("CONTROL")).unwrap();
    // The word of the last committed seq.
    page[7 * 8..8 * 8].copy_from_slice(&(records[30].seq.0 + (1 << 30)).to_le_bytes());
    std::fs::write(dir.path().join("CONTROL"), page).unwrap();
    assert_eq!(control::read(dir.path()).unwrap().committed.seq.0, records[30].seq.0 + (1 << 30));
    repair(dir.path()).unwrap();
    let (_, lost_ranges, _) = read_all(dir.path());
    assert_eq!(lost_ranges.len(), 1, "{lost_ranges:?}");
    assert_eq!((lost_ranges[0].from, lost_ranges[0].exact), (records[30].seq, false));
}

/// What every reader finds in the end, and what one that was there before found on its way.
fn reported(dir: &Path, early: &mut LogReader) -> (Vec<LostRange>, Vec<LostRange>) {
    let (_, fresh, stop) = read_all(dir);
    assert_eq!(stop, Stop::Tail);
    (fresh, drain(early).1)
}

#[test]
fn a_repair_that_dies_at_any_step_leaves_the_lost_range_as_exact_and_reported_once_to_every_reader() {
    for (name, damage) in DAMAGE {
        for at in [20, 39] {
            let (dir, records) = killed(38, SyncPolicy::Never);
            assert_eq!(records.len(), 40, "EPOCH_START, CLOCK and the frames");
            damage(dir.path(), &records, at);
            let whole = tempfile::tempdir().unwrap();
            copy_log(dir.path(), whole.path());
            repair(whole.path()).unwrap();
            let (reference, expected, _) = read_all(whole.path());
            assert_eq!(expected.len(), 1, "{name}: {expected:?}");
            assert!(expected[0].exact, "{name}: {expected:?}");
            let mut steps = 0;
            loop {
                let copy = tempfile::tempdir().unwrap();
                copy_log(dir.path(), copy.path());
                // One who read before the repair, one who looks between its two attempts and is started again there.
                let mut early = LogReader::open(copy.path(), Position::START, ReaderOptions::default()).unwrap();
                let mut seen = drain(&mut early).1;
                die_after(Some(steps));
                let report = repair(copy.path()).unwrap();
                die_after(None);
                seen.extend(drain(&mut early).1);
                let mut restarted = LogReader::open(copy.path(), early.position(), ReaderOptions::default()).unwrap();
                repair(copy.path()).unwrap();
                let (fresh, late) = reported(copy.path(), &mut early);
                let what = format!("{name} at {at}, killed after {steps} steps");
                let ranges =
                    |lost_ranges: &[LostRange]| lost_ranges.iter().map(|l| (l.from, l.to, l.exact)).collect::<Vec<_>>();
                assert_eq!(ranges(&fresh), ranges(&expected), "{what}");
                assert_eq!(read_all(copy.path()).0, reference, "{what}");
                let again = drain(&mut restarted).1;
                assert_eq!(ranges(&[seen.clone(), again].concat()), ranges(&expected), "restarted, {what}");
                seen.extend(late);
                assert_eq!(ranges(&seen), ranges(&expected), "{what}");
                if report.failures.is_empty() {
                    break;
                }
                steps += 1;
            }
            assert!(steps >= 4, "{name}: SEAL, footer and syncs are steps, there were {steps}");
        }
    }
}

#[test]
fn a_lost_range_that_waits_for_its_end_is_reported_by_whoever_reads_on_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = SegmentBuilder::new(1, 1, 0).with(&["a", "b"]);
    // A repair that died after its HOLE: nothing says where the lost range ends.
    let hole = record::encode_hole(one.initial, one.seq(), 0, 0, 64).unwrap();
    one.bytes[one.at..one.at + hole.len()].copy_from_slice(&hole);
    one.write(dir.path());
    let mut reader = LogReader::open(dir.path(), Position::START, ReaderOptions::default()).unwrap();
    let (records, lost_ranges, stop) = drain(&mut reader);
    assert_eq!((records.len(), lost_ranges.len(), stop), (2, 0, Stop::Tail));
    let position = reader.position();
    assert_eq!((position.segment, position.offset, position.seq), (SegmentId(1), one.at as u64, Seq::new(1, 2)));
    let mut second = LogReader::open(dir.path(), position, ReaderOptions::default()).unwrap();
    assert_eq!(drain(&mut second).1.len(), 0);
    // The next run.
    SegmentBuilder::new(2, 2, 0).with(&["c"]).write(dir.path());
    repair(dir.path()).unwrap();
    let third = LogReader::open(dir.path(), position, ReaderOptions::default()).unwrap();
    for mut reader in [reader, second, third] {
        let (records, lost_ranges, _) = drain(&mut reader);
        assert_eq!((records.len(), lost_ranges.len()), (1, 1), "{lost_ranges:?}");
        assert_eq!((lost_ranges[0].from, lost_ranges[0].reason), (Seq::new(1, 2), LostReason::Hole));
    }
}

#[test]
fn a_segment_that_a_repair_quarantined_is_reported_by_the_numbers_of_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let one = SegmentBuilder::new(1, 1, 0).with(&["a"]).sealed(2);
    one.write(dir.path());
    let two = SegmentBuilder::new(2, 1, one.counter).with(&["b", "c", "d"]).sealed(3);
    let path = two.write(dir.path());
    std::fs::write(&path, vec![0x5A; 64 << 10]).unwrap();
    let three = SegmentBuilder::new(3, 1, two.counter).with(&["e"]).sealed(4);
    three.write(dir.path());
    let mut before = LogReader::open(dir.path(), Position::START, ReaderOptions::default()).unwrap();
    let mut seen = drain(&mut before).1;
    let report = repair(dir.path()).unwrap();
    assert_eq!(report.quarantined.len(), 1, "{report:?}");
    seen.extend(drain(&mut before).1);
    let lost = (Seq::new(1, one.counter), Seq::new(1, two.counter - 1), true);
    for lost_ranges in [seen, read_all(dir.path()).1] {
        let ranges: Vec<_> = lost_ranges.iter().map(|l| (l.from, l.to, l.exact)).collect();
        assert_eq!(ranges, [lost], "{lost_ranges:?}");
    }
}

#[test]
fn a_tail_that_nobody_can_repair_is_passed_only_if_nothing_can_be_lost_by_it() {
    for (noise, passes) in [(0, true), (1, false)] {
        let dir = tempfile::tempdir().unwrap();
        let mut one = SegmentBuilder::new(1, 1, 0).with(&["a"]);
        one.bytes[one.at + 200] = noise;
        one.write(dir.path());
        let mut reader = LogReader::open(dir.path(), Position::START, ReaderOptions::default()).unwrap();
        assert_eq!(drain(&mut reader).2, Stop::Tail);
        assert!(!reader.pass_whole_tail().unwrap(), "nothing says that the log goes on");
        SegmentBuilder::new(2, 2, 0).with(&["b"]).write(dir.path());
        assert_eq!(drain(&mut reader).2, Stop::AwaitRepair);
        assert_eq!(reader.pass_whole_tail().unwrap(), passes);
        let (records, lost_ranges, _) = drain(&mut reader);
        assert_eq!((records.len(), lost_ranges.len()), (usize::from(passes), 0));
        if passes {
            repair(dir.path()).unwrap();
            assert_eq!(read_all(dir.path()).1, [], "the repair finds the same");
        }
        assert!(reader.position().offset >= DATA_START);
    }
}
