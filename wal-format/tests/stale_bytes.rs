//! Bytes of an earlier life never come back as records: not from a recovered tail, not from
//! another segment, log, epoch or salt (WAL.md claims 6 and 7).
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::FileExt;

use crate::support::writer::{append, closed_log, options};
use crate::support::{self, assert_accounted, assert_contiguous, data, read_all};
use wal_format::{Kind, LogWriter, repair};

#[test]
fn records_of_equal_length_after_a_recovery_never_uncover_old_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for life in 0..6_u64 {
        let mut writer = LogWriter::open(dir.path(), options(64 * 1024)).unwrap();
        for n in 0..5 + life {
            let n = life * 1000 + n;
            append(&mut writer, n, 0);
            expected.push(support::payload(n, 0));
        }
        // Dropped without close: an unclean end.
        drop(writer);
        repair(dir.path()).unwrap();
        let (records, lost_ranges, _) = read_all(dir.path());
        assert!(lost_ranges.is_empty(), "{lost_ranges:?}");
        assert_contiguous(&records);
        assert_eq!(data(&records), expected);
    }
}

#[test]
fn records_spliced_in_from_another_segment_or_log_are_refused() {
    let log = closed_log(64 * 1024, 330, 500);
    let other = closed_log(64 * 1024, 330, 500);
    let ours = log.segments().remove(0);
    for donor in [log.segments().remove(1), other.segments().remove(0)] {
        let healthy = std::fs::read(&ours).unwrap();
        let foreign = std::fs::read(&donor).unwrap();
        let mut spliced = healthy.clone();
        spliced[8192..24 * 1024].copy_from_slice(&foreign[8192..24 * 1024]);
        std::fs::write(&ours, &spliced).unwrap();
        let (records, lost_ranges, _) = read_all(log.dir.path());
        assert!(assert_accounted(&log.records, &records, &lost_ranges) > 0);
        std::fs::write(&ours, &healthy).unwrap();
    }
}

#[test]
fn segments_that_were_swapped_duplicated_or_deleted_are_named() {
    let log = closed_log(64 * 1024, 600, 500);
    let paths = log.segments();
    assert!(paths.len() >= 4);
    let bytes: Vec<Vec<u8>> = paths.iter().map(|p| std::fs::read(p).unwrap()).collect();
    let restore = || {
        for (path, bytes) in paths.iter().zip(&bytes) {
            std::fs::write(path, bytes).unwrap();
        }
    };
    // Swapped.
    std::fs::write(&paths[1], &bytes[2]).unwrap();
    std::fs::write(&paths[2], &bytes[1]).unwrap();
    let (records, lost_ranges, _) = read_all(log.dir.path());
    assert!(assert_accounted(&log.records, &records, &lost_ranges) > 0);
    restore();
    // Duplicated over its neighbour.
    std::fs::write(&paths[2], &bytes[1]).unwrap();
    let (records, lost_ranges, _) = read_all(log.dir.path());
    assert!(assert_accounted(&log.records, &records, &lost_ranges) > 0);
    restore();
    // Deleted.
    std::fs::remove_file(&paths[1]).unwrap();
    let (records, lost_ranges, _) = read_all(log.dir.path());
    assert!(assert_accounted(&log.records, &records, &lost_ranges) > 0);
    assert_eq!(lost_ranges.len(), 1, "{lost_ranges:?}");
    assert!(lost_ranges[0].exact);
    restore();
    let (records, lost_ranges, _) = read_all(log.dir.path());
    assert_eq!(records, log.records);
    assert!(lost_ranges.is_empty());
}

#[test]
fn a_commit_word_of_any_size_costs_one_record_and_no_memory() {
    let log = closed_log(64 * 1024, 60, 300);
    let path = log.segments().remove(0);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let victims: Vec<_> = log.records.iter().filter(|r| r.kind_raw == Kind::Data as u8).collect();
    let victim = victims[20].position.offset;
    let healthy = std::fs::read(&path).unwrap();
    let words = (0..32).map(|bit| 1_u32 << bit).chain([u32::MAX, 0x8000_0000, 0xFFFF_FF00]);
    for word in words {
        for value in [word, word | 0x8000_0000] {
            file.write_all_at(&value.to_le_bytes(), victim).unwrap();
            let (records, lost_ranges, _) = read_all(log.dir.path());
            let missing = assert_accounted(&log.records, &records, &lost_ranges);
            assert_eq!(missing, 1, "word {value:#x}");
        }
    }
    file.write_all_at(&healthy[victim as usize..][..4], victim).unwrap();
}
