//! The states of a log that a reader has to tell apart, each made byte by byte: crash tails,
//! the roll race, prepared segments, jumps of epoch, positions that no longer exist.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use crate::support::build::{SEGMENT_BYTES, SegmentBuilder, UUID};
use crate::support::{self, Stop, data, drain, read_all};
use proptest::prelude::*;
use wal_format::{Kind, LogReader, LostReason, Position, ReaderOptions, SegmentId, Seq, Step, list_segments, repair};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn payloads(records: &[support::Owned]) -> Vec<String> {
    data(records).into_iter().map(|p| String::from_utf8(p).unwrap()).collect()
}

#[test]
fn a_reader_walks_from_seal_to_the_next_segment() {
    let dir = dir();
    let mut one = SegmentBuilder::new(1, 1, 0);
    one.data(b"a");
    one.seal(2);
    one.write(dir.path());
    SegmentBuilder::new(2, 1, one.counter).with(&["b"]).write(dir.path());
    let (records, lost_ranges, stop) = read_all(dir.path());
    assert_eq!(payloads(&records), ["a", "b"]);
    assert_eq!(records.len(), 3); // The writer's SEAL is a record with a seq of its own.
    assert!(lost_ranges.is_empty());
    assert_eq!(stop, Stop::Tail);
}

#[test]
fn prepared_segments_are_not_taken_for_the_continuation() {
    let dir = dir();
    let mut one = SegmentBuilder::new(1, 1, 0);
    one.data(b"a");
    one.write(dir.path());
    for id in 2..4 {
        SegmentBuilder::new(id, 1, 0).write(dir.path());
    }
    let mut reader = LogReader::open(dir.path(), Position::START, ReaderOptions::default()).unwrap();
    let (records, lost_ranges, stop) = drain(&mut reader);
    assert_eq!(payloads(&records), ["a"]);
    assert!(lost_ranges.is_empty());
    assert_eq!(stop, Stop::Tail);

    // The header of a prepared segment is replaced before its first record: only then it counts.
    one.seal(2);
    one.write(dir.path());
    assert_eq!(drain(&mut reader).0.len(), 1);
    SegmentBuilder::new(2, 2, 0).with(&["b"]).write(dir.path());
    let (records, lost_ranges, _) = drain(&mut reader);
    assert_eq!(payloads(&records), ["b"]);
    assert!(lost_ranges.is_empty());
    assert_eq!(reader.log_uuid(), Some(UUID));
}

#[test]
fn an_unsealed_tail_before_a_later_segment_waits_for_repair_and_then_loses_nothing() {
    let dir = dir();
    SegmentBuilder::new(1, 1, 0).with(&["a"]).write(dir.path());
    SegmentBuilder::new(2, 2, 0).with(&["b"]).write(dir.path());
    let mut reader = LogReader::open(dir.path(), Position::START, ReaderOptions::default()).unwrap();
    let (records, lost_ranges, stop) = drain(&mut reader);
    assert_eq!(payloads(&records), ["a"]);
    assert!(lost_ranges.is_empty());
    assert_eq!(stop, Stop::AwaitRepair);
    assert!(matches!(
        reader.next().unwrap(),
        Step::AwaitRepair { segment } if segment == SegmentId(1)
    ));

    let report = repair(dir.path()).unwrap();
    assert!(report.failures.is_empty(), "{report:?}");
    assert_eq!(report.repaired(), 2);
    let (records, lost_ranges, stop) = drain(&mut reader);
    assert_eq!(payloads(&records), ["b"]);
    assert!(lost_ranges.is_empty(), "{lost_ranges:?}");
    assert_eq!(stop, Stop::Tail);
}

#[test]
fn an_ephemeral_reader_steps_over_an_unsealed_tail() {
    let dir = dir();
    SegmentBuilder::new(1, 1, 0).with(&["a"]).write(dir.path());
    SegmentBuilder::new(2, 2, 0).with(&["b"]).write(dir.path());
    let options = ReaderOptions { follow_damaged: true, ..ReaderOptions::default() };
    let mut reader = LogReader::open(dir.path(), Position::START, options).unwrap();
    assert_eq!(payloads(&drain(&mut reader).0), ["a", "b"]);

    let mut reader = LogReader::open(dir.path(), Position::START, ReaderOptions::default()).unwrap();
    assert_eq!(drain(&mut reader).2, Stop::AwaitRepair);
    reader.skip_damaged();
    assert_eq!(payloads(&drain(&mut reader).0), ["b"]);
}

#[test]
fn an_island_after_a_hole_is_kept_and_the_lost_range_is_exact() {
    let dir = dir();
    let mut one = SegmentBuilder::new(1, 1, 0);
    one.data(b"a");
    one.lost(3, 4096);
    one.data(b"island");
    one.write(dir.path());
    let mut reader = LogReader::open(dir.path(), Position::START, ReaderOptions::default()).unwrap();
    // No writer, no later segment: it looks like a live tail until somebody repairs.
    assert_eq!(drain(&mut reader).2, Stop::Tail);
    let report = repair(dir.path()).unwrap();
    assert_eq!(report.segments[0].holes.len(), 1, "{report:?}");
    let (records, lost_ranges, _) = drain(&mut reader);
    assert_eq!(payloads(&records), ["island"]);
    assert_eq!(lost_ranges.len(), 1);
    assert_eq!(lost_ranges[0].reason, LostReason::Hole);
    assert_eq!((lost_ranges[0].from, lost_ranges[0].to), (Seq::new(1, 1), Seq::new(1, 3)));
    assert!(lost_ranges[0].exact);
    let footer = list_segments(dir.path()).unwrap().remove(0).footer.unwrap();
    assert_eq!(footer.holes_total, 1);
    assert_eq!((footer.holes[0].from, footer.holes[0].to), (Seq::new(1, 1).0, Seq::new(1, 3).0));
}

#[test]
fn a_lost_range_across_segments_of_one_epoch_is_exact() {
    let dir = dir();
    let mut one = SegmentBuilder::new(1, 1, 0);
    one.data(b"a");
    one.lost(5, 0);
    one.write(dir.path());
    SegmentBuilder::new(2, 1, one.counter).with(&["b"]).write(dir.path());
    repair(dir.path()).unwrap();
    let (records, lost_ranges, _) = read_all(dir.path());
    assert_eq!(payloads(&records), ["a", "b"]);
    assert_eq!(lost_ranges.len(), 1, "{lost_ranges:?}");
    assert_eq!((lost_ranges[0].from, lost_ranges[0].to), (Seq::new(1, 1), Seq::new(1, 5)));
    assert_eq!(lost_ranges[0].reason, LostReason::UncleanEnd);
}

#[test]
fn a_torn_append_of_a_killed_process_loses_nothing_and_a_torn_page_of_a_power_cut_does() {
    for (boot, lost) in [(wal_format::boot::boot_id(), 0), ([0xEE; 16], 1)] {
        let dir = dir();
        let mut one = SegmentBuilder::of_boot(1, 1, 0, boot);
        one.data(b"a");
        let torn = one.at;
        one.data(b"never committed");
        one.bytes[torn..torn + 4].fill(0);
        one.write(dir.path());
        repair(dir.path()).unwrap();
        let (records, lost_ranges, stop) = read_all(dir.path());
        assert_eq!(payloads(&records), ["a"]);
        assert_eq!(lost_ranges.len(), lost, "{lost_ranges:?}");
        assert!(lost_ranges.iter().all(|l| !l.exact && l.from == Seq::new(1, 1)));
        assert_eq!(stop, Stop::Tail);
    }
}

#[test]
fn a_position_beyond_the_recovered_end_goes_on_in_the_next_epoch() {
    let dir = dir();
    let mut one = SegmentBuilder::new(1, 1, 0);
    one.data(b"a");
    let end = one.at as u64;
    one.write(dir.path());
    repair(dir.path()).unwrap();
    SegmentBuilder::new(2, 2, 0).with(&["b"]).write(dir.path());
    for offset in [end, end + 8, end + 56, 30_000, SEGMENT_BYTES - 8, SEGMENT_BYTES + 4096] {
        let from = Position { segment: SegmentId(1), offset, seq: Seq::new(1, if offset == end { 1 } else { 700 }) };
        let mut reader = LogReader::open(dir.path(), from, ReaderOptions::default()).unwrap();
        let (records, lost_ranges, _) = drain(&mut reader);
        assert_eq!(payloads(&records), ["b"], "offset {offset}");
        assert!(lost_ranges.is_empty(), "offset {offset}: {lost_ranges:?}");
    }
}

#[test]
fn a_position_of_a_life_that_was_lost_starts_at_the_new_one() {
    let dir = dir();
    for (id, text) in [(5, "five"), (6, "six")] {
        let mut segment = SegmentBuilder::new(id, 2, if id == 5 { 0 } else { 2 });
        segment.data(text.as_bytes());
        if id == 5 {
            segment.seal(6);
        }
        segment.write(dir.path());
    }
    let from = Position { segment: SegmentId(6), offset: 9000, seq: Seq::new(1, 300) };
    let mut reader = LogReader::open(dir.path(), from, ReaderOptions::default()).unwrap();
    assert_eq!(payloads(&drain(&mut reader).0), ["five", "six"]);
}

#[test]
fn a_position_in_a_deleted_segment_goes_on_with_the_first_that_is_left() {
    let dir = dir();
    SegmentBuilder::new(5, 1, 100).with(&["five"]).write(dir.path());
    let at = |offset, counter| Position { segment: SegmentId(3), offset, seq: Seq::new(1, counter) };
    let open = |from| LogReader::open(dir.path(), from, ReaderOptions::default()).unwrap();
    let (records, lost_ranges, _) = drain(&mut open(at(8192, 40)));
    assert_eq!(payloads(&records), ["five"]);
    assert_eq!(lost_ranges.len(), 1);
    assert_eq!((lost_ranges[0].from, lost_ranges[0].to), (Seq::new(1, 40), Seq::new(1, 99)));
    assert_eq!(lost_ranges[0].reason, LostReason::MissingSegment);
    let (records, lost_ranges, _) = drain(&mut open(at(8192, 100)));
    assert_eq!(payloads(&records), ["five"]);
    assert!(lost_ranges.is_empty());
    let (records, lost_ranges, _) = drain(&mut open(Position::START));
    assert_eq!(payloads(&records), ["five"]);
    assert!(lost_ranges.is_empty(), "a fresh reader has lost nothing: {lost_ranges:?}");
}

#[test]
fn a_lost_range_at_the_start_of_an_epoch_is_that_epochs_and_not_the_one_before() {
    // Found by the crash model: the HOLE was counted against the end of epoch 1.
    let dir = dir();
    SegmentBuilder::new(1, 1, 0).with(&["a"]).write(dir.path());
    let mut two = SegmentBuilder::new(2, 2, 0);
    two.lost(4, 2048);
    two.data(b"b");
    two.write(dir.path());
    repair(dir.path()).unwrap();
    let (records, lost_ranges, _) = read_all(dir.path());
    assert_eq!(payloads(&records), ["a", "b"]);
    assert_eq!(lost_ranges.len(), 1, "{lost_ranges:?}");
    assert_eq!((lost_ranges[0].from, lost_ranges[0].to, lost_ranges[0].exact), (Seq::new(2, 0), Seq::new(2, 3), true));
}

#[test]
fn a_first_segment_that_is_lost_altogether_is_reported() {
    // Found by the crash model: nothing was said about 1:0 to 1:9.
    let dir = dir();
    SegmentBuilder::new(1, 1, 0).write(dir.path());
    SegmentBuilder::new(2, 1, 10).with(&["b"]).write(dir.path());
    repair(dir.path()).unwrap();
    let (records, lost_ranges, _) = read_all(dir.path());
    assert_eq!(payloads(&records), ["b"]);
    assert_eq!(lost_ranges.len(), 1, "{lost_ranges:?}");
    assert_eq!((lost_ranges[0].from, lost_ranges[0].to, lost_ranges[0].exact), (Seq::new(1, 0), Seq::new(1, 9), true));
}

#[test]
fn an_empty_segment_before_one_whose_first_sector_is_lost_is_sealed_in_one_repair() {
    // Found by the crash model: only a second repair noticed that the log went on.
    let dir = dir();
    SegmentBuilder::new(1, 1, 0).with(&["a"]).write(dir.path());
    SegmentBuilder::new(2, 1, 0).write(dir.path());
    let mut three = SegmentBuilder::new(3, 1, 5);
    three.lost(2, 1024);
    three.data(b"b");
    three.write(dir.path());
    repair(dir.path()).unwrap();
    let (records, lost_ranges, stop) = read_all(dir.path());
    assert_eq!(payloads(&records), ["a", "b"]);
    assert_eq!(lost_ranges.iter().filter_map(|l| l.count()).sum::<u64>(), 6, "{lost_ranges:?}");
    assert_eq!(stop, Stop::Tail);
}

#[test]
fn the_missing_end_of_a_log_that_was_closed_is_exact() {
    let dir = dir();
    SegmentBuilder::new(1, 1, 0).with(&["a"]).sealed(2).write(dir.path());
    // Segment 2 held 1:2 to 1:30 and is gone.
    let mut three = SegmentBuilder::new(3, 2, 0);
    let json = format!("{{\"previous_end\":\"clean\",\"previous_last_seq\":{},\"pid\":1}}", Seq::new(1, 30).get());
    three.record(Kind::EpochStart, json.as_bytes());
    three.data(b"b");
    three.write(dir.path());
    let (records, lost_ranges, _) = read_all(dir.path());
    assert_eq!(payloads(&records), ["a", "b"]);
    assert_eq!(lost_ranges.len(), 1, "{lost_ranges:?}");
    assert_eq!((lost_ranges[0].from, lost_ranges[0].to, lost_ranges[0].exact), (Seq::new(1, 2), Seq::new(1, 30), true));
}

#[test]
fn an_unused_segment_that_the_log_passed_by_is_sealed_empty() {
    let dir = dir();
    SegmentBuilder::new(1, 1, 0).with(&["a"]).sealed(2).write(dir.path());
    SegmentBuilder::new(2, 1, 0).write(dir.path());
    SegmentBuilder::new(3, 2, 0).with(&["b"]).write(dir.path());
    assert_eq!(read_all(dir.path()).2, Stop::AwaitRepair);
    repair(dir.path()).unwrap();
    let (records, lost_ranges, stop) = read_all(dir.path());
    assert_eq!(payloads(&records), ["a", "b"]);
    assert!(lost_ranges.is_empty(), "{lost_ranges:?}");
    assert_eq!(stop, Stop::Tail);
}

#[test]
fn a_lost_header_is_made_good_by_the_records_themselves() {
    let dir = dir();
    let mut one = SegmentBuilder::new(1, 1, 0);
    for text in ["a", "b", "c"] {
        one.data(text.as_bytes());
    }
    one.bytes[..4096].fill(0x55);
    one.write(dir.path());
    let (records, lost_ranges, _) = read_all(dir.path());
    assert_eq!(payloads(&records), ["a", "b", "c"]);
    assert!(lost_ranges.is_empty());
    repair(dir.path()).unwrap();
    assert_eq!(payloads(&read_all(dir.path()).0), ["a", "b", "c"]);
}

#[test]
fn an_unreadable_segment_is_quarantined_and_reported() {
    let dir = dir();
    SegmentBuilder::new(1, 1, 0).with(&["a"]).sealed(2).write(dir.path());
    let mut two = SegmentBuilder::new(2, 1, 2);
    two.bytes.fill(0xA5);
    two.write(dir.path());
    SegmentBuilder::new(3, 1, 50).with(&["b"]).write(dir.path());
    let check = || {
        let (records, lost_ranges, _) = read_all(dir.path());
        assert_eq!(payloads(&records), ["a", "b"]);
        assert_eq!(lost_ranges.len(), 1, "{lost_ranges:?}");
        assert_eq!((lost_ranges[0].from, lost_ranges[0].to), (Seq::new(1, 2), Seq::new(1, 49)));
        assert_eq!(lost_ranges[0].reason, LostReason::Unreadable);
    };
    check();
    let report = repair(dir.path()).unwrap();
    assert_eq!(report.quarantined.len(), 1);
    assert!(dir.path().join("quarantine/00000000000000000002.wal").exists());
    check();
}

#[test]
fn a_segment_of_a_newer_version_is_refused_in_plain_words() {
    let dir = dir();
    let mut one = SegmentBuilder::new(1, 1, 0);
    one.data(b"a");
    one.bytes[8] = 9;
    let path = one.write(dir.path());
    let mut reader = LogReader::open(dir.path(), Position::START, ReaderOptions::default()).unwrap();
    let text = reader.next().unwrap_err().to_string();
    assert!(text.contains("version 9") && text.contains("newer"), "{text}");
    assert!(repair(dir.path()).unwrap().failures.len() == 1);
    assert_eq!(std::fs::read(path).unwrap(), one.bytes, "nothing was changed");
}

#[test]
fn unknown_kinds_are_carried() {
    let dir = dir();
    let mut one = SegmentBuilder::new(1, 1, 0);
    let at = one.data(b"from the future");
    let header = wal_format::record::RecordHeader {
        kind_raw: 77,
        ..wal_format::record::RecordHeader::decode(one.bytes[at..at + 32].first_chunk().unwrap())
    };
    let mut bytes = Vec::new();
    assert!(wal_format::record::encode_into(&mut bytes, one.initial, header, b"from the future"));
    one.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
    one.data(b"known");
    one.write(dir.path());
    let (records, lost_ranges, _) = read_all(dir.path());
    assert_eq!(records[0].kind_raw, 77);
    assert_eq!(Kind::from_raw(77), None);
    assert_eq!(payloads(&records), ["known"]);
    assert!(lost_ranges.is_empty());
}

#[test]
fn one_file_can_be_read_without_its_log() {
    let dir = dir();
    let mut two = SegmentBuilder::new(2, 1, 40);
    two.data(b"x");
    two.seal(3);
    let path = two.write(dir.path());
    let moved = dir.path().join("copy-of-something");
    std::fs::rename(path, &moved).unwrap();
    let mut reader = LogReader::open_file(&moved, ReaderOptions::default()).unwrap();
    let (records, lost_ranges, stop) = drain(&mut reader);
    assert_eq!(records.len(), 2);
    assert!(lost_ranges.is_empty());
    assert_eq!(stop, Stop::Tail);
    std::fs::write(&moved, b"hello").unwrap();
    let err = LogReader::open_file(&moved, ReaderOptions::default()).err().unwrap();
    assert!(err.to_string().contains("is not a segment"), "{err}");
}

#[test]
fn repair_is_refused_while_somebody_holds_the_lock() {
    let dir = dir();
    let lock = wal_format::lock::LogLock::take(dir.path()).unwrap();
    assert!(matches!(
        repair(dir.path()),
        Err(wal_format::RepairError::LockHeld { pid: Some(pid), .. }) if pid == std::process::id()
    ));
    drop(lock);
    repair(dir.path()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn hostile_bytes_neither_panic_nor_invent_records_nor_stop_a_repair(
        patches in proptest::collection::vec((0_usize..SEGMENT_BYTES as usize, proptest::collection::vec(any::<u8>(), 1..600)), 1..12),
        cut in proptest::option::of(0_usize..SEGMENT_BYTES as usize),
    ) {
        let dir = dir();
        let mut one = SegmentBuilder::new(1, 1, 0);
        for n in 0..200_u64 {
            one.data(&support::payload(n, 150));
        }
        one.seal(2);
        let mut two = SegmentBuilder::new(2, 1, one.counter);
        two.data(&support::payload(200, 150));
        two.write(dir.path());
        for (at, bytes) in &patches {
            let end = (at + bytes.len()).min(one.bytes.len());
            one.bytes[*at..end].copy_from_slice(&bytes[..end - at]);
        }
        if let Some(cut) = cut {
            one.bytes.truncate(cut);
        }
        one.write(dir.path());
        let check = || {
            let options = ReaderOptions { follow_damaged: true, ..ReaderOptions::default() };
            let mut reader = LogReader::open(dir.path(), Position::START, options).unwrap();
            let (records, _, _) = drain(&mut reader);
            let mut last = None;
            for payload in data(&records) {
                let n = support::check_payload(&payload, 150);
                prop_assert!(n.is_some() && n > last, "{:?} after {:?}", n, last);
                last = n;
            }
            prop_assert_eq!(last, Some(200));
            Ok(())
        };
        check()?;
        repair(dir.path()).unwrap();
        check()?;
        let before = std::fs::read_dir(dir.path()).unwrap().count();
        repair(dir.path()).unwrap();
        prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before);
        let (_, _, stop) = read_all(dir.path());
        prop_assert_eq!(stop, Stop::Tail);
    }
}
