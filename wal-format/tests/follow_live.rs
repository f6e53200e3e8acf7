//! Readers that follow a live writer see each record once, in order, over many segment rolls
//! (WAL.md claims 20, 23, 25).
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::writer::{append, options};
use crate::support::{self, Rng, check_payload, spawn_self};
use wal_format::{
    AckFile, Kind, LogReader, LogWriter, Position, ReaderOptions, Seq, Step, SyncPolicy, list_segments, log_state,
};

const LONGEST: u64 = 600;

/// Follows from the start until data record `last` and returns how many were seen. Panics on a
/// gap, a repetition, a jump or a wrong byte.
fn follow_to(dir: &Path, last: u64) -> u64 {
    let mut reader = LogReader::open(dir, Position::START, ReaderOptions::default()).unwrap();
    let (mut expected_seq, mut next_n) = (None::<Seq>, 0_u64);
    support::follow(&mut reader, |step| match step {
        Step::Record(record) => {
            if let Some(expected) = expected_seq {
                assert_eq!(record.seq, expected);
            }
            expected_seq = Some(record.seq.next());
            if record.kind() == Some(Kind::Data) {
                assert_eq!(check_payload(record.payload, LONGEST), Some(next_n));
                next_n += 1;
            }
            next_n > last
        }
        Step::Lost(lost) => panic!("{lost}"),
        Step::Tail => false,
        Step::AwaitRepair { segment } => panic!("segment {segment} is being written, not damaged"),
    });
    next_n
}

#[test]
#[ignore = "child process of three_threads_and_two_processes_follow_a_writer_over_many_rolls"]
fn child_reader() {
    let Ok(dir) = std::env::var("TAPEDECK_CHILD_DIR") else {
        return;
    };
    let last: u64 = std::env::var("TAPEDECK_CHILD_LAST").unwrap().parse().unwrap();
    println!("child saw {} records.", follow_to(Path::new(&dir), last));
}

#[test]
fn three_threads_and_two_processes_follow_a_writer_over_many_rolls() {
    let seed = support::seed("follow_live");
    let dir = tempfile::tempdir().unwrap();
    let records = support::runs(60_000);
    let last = records - 1;
    let mut options = options(64 * 1024);
    options.sync = SyncPolicy::Interval { interval_ms: 3, bytes: 256 * 1024 };
    let mut writer = LogWriter::open(dir.path(), options).unwrap();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let dir = dir.path().to_path_buf();
            std::thread::spawn(move || follow_to(&dir, last))
        })
        .collect();
    let children: Vec<_> = (0..2)
        .map(|_| {
            spawn_self(
                "follow_live::child_reader",
                &[("TAPEDECK_CHILD_DIR", dir.path().display().to_string()), ("TAPEDECK_CHILD_LAST", last.to_string())],
            )
        })
        .collect();
    let mut rng = Rng(seed);
    for n in 0..records {
        append(&mut writer, n, LONGEST);
        // Bursts, so that readers are sometimes behind and sometimes at the tail.
        if rng.range(0, 400) == 0 {
            std::thread::sleep(std::time::Duration::from_micros(rng.range(1, 1500)));
        }
    }
    for thread in threads {
        assert_eq!(thread.join().unwrap(), records);
    }
    for mut child in children {
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert!(child.wait().unwrap().success(), "{out}");
        assert!(out.contains(&format!("child saw {records} records.")), "{out}");
    }
    writer.close().unwrap();
    let rolls = list_segments(dir.path()).unwrap().iter().filter(|s| s.sealed).count();
    assert!(rolls >= 50, "only {rolls} rolls");
}

#[test]
fn a_lone_record_is_seen_without_a_further_append() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), options(1 << 20)).unwrap();
    let mut reader = LogReader::open(dir.path(), Position::START, ReaderOptions::default()).unwrap();
    let (before, _, _) = support::drain(&mut reader);
    assert!(before.iter().all(|r| r.kind_raw != Kind::Data as u8));
    let seq = append(&mut writer, 0, 100);
    let mut got = None;
    support::follow(&mut reader, |step| {
        if let Step::Record(r) = step {
            got = Some(r.seq);
        }
        got == Some(seq)
    });
}

#[test]
fn a_reader_paused_over_the_deletion_of_its_segment_finishes_it_and_lets_go_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), options(64 * 1024)).unwrap();
    let mut reader = LogReader::open(dir.path(), Position::START, ReaderOptions::default()).unwrap();
    append(&mut writer, 0, LONGEST);
    while !matches!(reader.next().unwrap(), Step::Record(r) if r.kind() == Some(Kind::Data)) {}
    let mut n = 1;
    while list_segments(dir.path()).unwrap().iter().filter(|s| s.sealed).count() < 4 {
        append(&mut writer, n, LONGEST);
        n += 1;
    }
    let mut ack = AckFile::open(dir.path(), "lake").unwrap();
    let end = list_segments(dir.path()).unwrap().iter().filter(|s| s.sealed).map(|s| s.id).max().unwrap();
    let before = list_segments(dir.path()).unwrap().into_iter().rfind(|s| s.id < end).unwrap();
    let position = Position { segment: end, offset: 4096, seq: before.last_seq().unwrap().next() };
    ack.acknowledge(writer.log_uuid(), position, "").unwrap();
    let gone = support::retire_for(dir.path(), &["lake"]).unwrap();
    assert!(gone.len() >= 3, "{gone:?}");

    // The open file is read to its end; what was deleted behind it is reported exactly.
    let (records, lost_ranges, _) = support::drain(&mut reader);
    assert_eq!(check_payload(&records[0].payload, LONGEST), Some(1));
    let lost: u64 = lost_ranges.iter().map(|l| l.count().unwrap()).sum();
    let seen = records.len() as u64;
    let (first, last) = (records[0].seq, records[records.len() - 1].seq);
    assert_eq!(lost + seen, last.0 - first.0 + 1);
    assert!(lost > 0);
    // The writer's own threads may still hold the last one that was deleted.
    writer.close().unwrap();
    let deleted_but_open: Vec<PathBuf> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|e| std::fs::read_link(e.unwrap().path()).ok())
        .filter(|p| p.starts_with(dir.path()) && p.to_string_lossy().contains("(deleted)"))
        .collect();
    assert_eq!(deleted_but_open, Vec::<PathBuf>::new());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let name = dir.path().display().to_string();
    assert!(!maps.lines().any(|l| l.contains(&name) && l.contains("(deleted)")));
    drop(reader);
}

#[test]
fn a_reader_at_the_end_of_a_closed_log_can_know_that_it_ends_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), options(1 << 20)).unwrap();
    append(&mut writer, 0, 100);
    assert!(log_state(dir.path()).unwrap().writer_alive);
    writer.close().unwrap();
    let (records, lost_ranges, stop) = support::read_all(dir.path());
    assert_eq!(support::data(&records).len(), 1);
    assert!(lost_ranges.is_empty());
    assert_eq!(stop, support::Stop::Tail);
    assert!(!log_state(dir.path()).unwrap().writer_alive);
}

#[test]
fn a_reader_opened_before_the_log_exists_starts_when_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let mut reader = LogReader::open(dir.path(), Position::START, ReaderOptions::default()).unwrap();
    assert!(matches!(reader.next().unwrap(), Step::Tail));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = LogWriter::open(dir.path(), options(1 << 20)).unwrap();
            append(&mut writer, 0, 100);
            while !stop.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        });
        support::follow(&mut reader, |step| matches!(step, Step::Record(r) if r.kind() == Some(Kind::Data)));
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn verify_beside_a_busy_writer_sees_an_open_end_and_nothing_worse() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), options(64 * 1024)).unwrap();
    let done = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // However slow the other thread is, two of its rounds begin and end beside this one.
            let mut n = 0;
            while n < support::runs(4_000) || rounds.load(Ordering::Relaxed) < 3 {
                append(&mut writer, n, LONGEST);
                if n % 8 == 0 {
                    std::thread::sleep(std::time::Duration::from_micros(200));
                }
                n += 1;
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut worst = None;
        while !done.load(Ordering::Relaxed) {
            wal_format::verify::verify_log(dir.path(), false, |report| {
                if report.worst() > Some(wal_format::verify::Severity::TornTail) {
                    worst = Some(report);
                }
            })
            .unwrap();
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        assert!(worst.is_none(), "{worst:?}");
        assert!(rounds.load(Ordering::Relaxed) > 1, "verify never overlapped the writer");
    });
}
