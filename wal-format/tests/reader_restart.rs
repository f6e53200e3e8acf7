//! A reader that is killed and starts again from its durable position sees the rest of the log,
//! without a gap and without repeating what it had acknowledged (WAL.md claims 21, 22, 24, 39).
#![allow(clippy::unwrap_used)]

use crate::support::writer::{append, options};
use crate::support::{self, Rng, check_payload};
use wal_format::{
    Ack, AckError, AckFile, Evidence, Hold, Incarnation, Kind, LogReader, LogWriter, Position, ReaderOptions,
    RetireError, SegmentId, Step,
};

const LONGEST: u64 = 500;

#[test]
fn a_reader_restarted_many_times_from_its_ack_sees_everything_once() {
    let seed = support::seed("reader_restart");
    let mut rng = Rng(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), options(64 * 1024)).unwrap();
    let uuid = writer.log_uuid();
    let (mut written, mut next) = (0_u64, 0_u64);
    for run in 0..support::runs(60) {
        for _ in 0..rng.range(1, 120) {
            append(&mut writer, written, LONGEST);
            written += 1;
        }
        let mut ack = AckFile::open(dir.path(), "lake").unwrap();
        let from = ack.load().unwrap().map_or(Position::START, |a| a.position);
        let mut reader = LogReader::open(dir.path(), from, ReaderOptions::default()).unwrap();
        let mut acked = next;
        for step in 0..rng.range(1, 150) {
            match reader.next().unwrap() {
                Step::Record(r) => {
                    if r.kind() == Some(Kind::Data) {
                        let n = check_payload(r.payload, LONGEST).unwrap();
                        assert_eq!(n, acked, "run {run}, step {step}");
                        acked += 1;
                    }
                }
                Step::Tail => break,
                other => panic!("run {run}: {other:?}"),
            }
        }
        // Killed before the ack in one of three runs: then the same records come again.
        if rng.range(0, 3) != 0 {
            ack.acknowledge(uuid, reader.position(), &format!("run {run}")).unwrap();
            next = acked;
            if rng.range(0, 4) == 0 {
                support::retire_for(dir.path(), &["lake"]).unwrap();
            }
        }
    }
    assert!(next > 0 && next <= written);
}

#[test]
fn a_second_reader_of_the_same_name_is_refused_until_the_first_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    drop(LogWriter::open(dir.path(), options(64 * 1024)).unwrap());
    let first = AckFile::open(dir.path(), "lake").unwrap();
    assert!(matches!(AckFile::open(dir.path(), "lake"), Err(AckError::ReaderHeld { .. })));
    AckFile::open(dir.path(), "klines").unwrap();
    drop(first);
    AckFile::open(dir.path(), "lake").unwrap();
}

#[test]
fn a_reader_name_that_could_leave_the_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["", "../x", "a/b", ".hidden", "Lake", &"x".repeat(65)] {
        assert!(matches!(AckFile::open(dir.path(), name), Err(AckError::BadName { .. })), "{name:?}");
    }
}

#[test]
fn a_corrupt_or_missing_or_foreign_ack_deletes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), options(64 * 1024)).unwrap();
    for n in 0..2_000 {
        append(&mut writer, n, LONGEST);
    }
    let (log_uuid, incarnation) = (writer.log_uuid(), writer.incarnation());
    writer.close().unwrap();
    let segments = || wal_format::list_segments(dir.path()).unwrap().len();
    let all = segments();
    let (records, _, _) = support::read_all(dir.path());
    let end = records.last().unwrap().position;

    assert!(support::retire_for(dir.path(), &["lake"]).is_err());
    assert!(support::retire_for(dir.path(), &[]).unwrap().is_empty());
    let mut ack = AckFile::open(dir.path(), "lake").unwrap();
    let at_end = Ack { log_uuid, incarnation, position: end, generation: 0, note: String::new() };
    ack.store(&Ack { log_uuid: [9; 16], ..at_end.clone() }).unwrap();
    assert!(matches!(support::retire_for(dir.path(), &["lake"]), Err(RetireError::AckOfAnotherLog { .. })));
    ack.store(&Ack { incarnation: Incarnation(9), ..at_end.clone() }).unwrap();
    assert!(matches!(support::retire_for(dir.path(), &["lake"]), Err(RetireError::AckOfAnotherRun { .. })));
    ack.store(&at_end).unwrap();
    ack.store(&at_end).unwrap();
    drop(ack);

    let path = dir.path().join("acks/lake.ack");
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, vec![0xA5; good.len()]).unwrap();
    assert!(support::retire_for(dir.path(), &["lake"]).is_err());
    std::fs::write(&path, &good[..20]).unwrap();
    assert!(support::retire_for(dir.path(), &["lake"]).is_err());
    std::fs::write(&path, &good).unwrap();
    assert!(support::retire_for(dir.path(), &["klines", "lake"]).is_err());
    let kept = Evidence { readers: &["lake"], covered: &|_| true, keep: &|_| true };
    assert!(wal_format::retire(dir.path(), &kept).unwrap().is_empty());
    let unproven = Evidence { readers: &["lake"], covered: &|_| false, keep: &|_| false };
    assert!(wal_format::retire(dir.path(), &unproven).unwrap().is_empty());
    assert_eq!(segments(), all);
    assert!(!support::retire_for(dir.path(), &["lake"]).unwrap().is_empty());
}

#[test]
fn what_somebody_reads_again_stays_until_he_is_past_it_or_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), options(64 * 1024)).unwrap();
    for n in 0..1_500 {
        append(&mut writer, n, LONGEST);
    }
    let (uuid, incarnation) = (writer.log_uuid(), writer.incarnation());
    writer.close().unwrap();
    let (records, _, _) = support::read_all(dir.path());
    let mut ack = AckFile::open(dir.path(), "lake").unwrap();
    let position = records.last().unwrap().position;
    ack.store(&Ack { log_uuid: uuid, incarnation, position, generation: 0, note: String::new() }).unwrap();
    let ids: Vec<SegmentId> = wal_format::list_segments(dir.path()).unwrap().iter().map(|s| s.id).collect();
    assert!(ids.len() > 4, "{ids:?}");
    let gone = || support::retire_for(dir.path(), &["lake"]).unwrap();

    let hold = Hold::take(dir.path(), "replay-1", ids[0], "replay --rewrite").unwrap();
    assert_eq!(gone(), []);
    hold.advance(ids[2]).unwrap();
    assert_eq!(gone(), ids[..2]);
    drop(hold);
    assert!(gone().contains(&ids[2]));
}

#[test]
fn stores_survive_reopening_and_count_generations() {
    let dir = tempfile::tempdir().unwrap();
    let mut ack = AckFile::open(dir.path(), "lake").unwrap();
    assert_eq!(ack.load().unwrap(), None);
    for round in 1..=5_u64 {
        ack.store(&Ack {
            log_uuid: [1; 16],
            incarnation: Incarnation(7),
            position: Position { offset: round * 8, ..Position::START },
            generation: 0,
            note: "trades.parquet".into(),
        })
        .unwrap();
        drop(ack);
        ack = AckFile::open(dir.path(), "lake").unwrap();
        let got = ack.load().unwrap().unwrap();
        assert_eq!(got.position.offset, round * 8);
        assert_eq!(got.generation, round);
        assert_eq!(got.note, "trades.parquet");
    }
}
