//! A segment truncated at any byte gives back exactly the records wholly before the cut, and a cut
//! that took records is reported (WAL.md claim 3). Recovery then seals what is left, and doing
//! it again changes nothing (claim 15).
#![allow(clippy::unwrap_used)]

use crate::support::writer::closed_log;
use crate::support::{self, Rng, Stop, assert_accounted, copy_log, read_all};
use wal_format::{Kind, repair};

#[test]
fn a_sealed_segment_cut_anywhere_keeps_what_lies_before_the_cut_and_reports_the_rest() {
    let seed = support::seed("truncate_anywhere");
    let mut rng = Rng(seed);
    let log = closed_log(64 * 1024, 60, 500);
    let path = log.segments().remove(0);
    let healthy = std::fs::read(&path).unwrap();
    let ends: Vec<u64> =
        log.records.iter().map(|r| r.position.offset + 32 + (r.payload.len() as u64).next_multiple_of(8)).collect();
    // Around each record's end, then anywhere.
    let mut cuts: Vec<u64> = ends.iter().take(6).flat_map(|end| end - 9..=end + 9).collect();
    cuts.extend((0..support::runs(80)).map(|_| rng.range(0, healthy.len() as u64)));
    for cut in cuts {
        let copy = tempfile::tempdir().unwrap();
        let dir = copy.path().join("log");
        copy_log(log.dir.path(), &dir);
        let target = dir.join(path.file_name().unwrap());
        std::fs::OpenOptions::new().write(true).open(&target).unwrap().set_len(cut).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count();
        repair(&dir).unwrap();
        let (records, lost_ranges, stop) = read_all(&dir);
        assert_eq!(stop, Stop::Tail, "cut at {cut}");
        let missing = assert_accounted(&log.records, &records, &lost_ranges);
        if cut < 4096 {
            continue; // Without a header nothing can be read; all of it was reported.
        }
        let got = records.iter().filter(|r| r.kind_raw != Kind::Seal as u8).count();
        let want = log.records[..whole].iter().filter(|r| r.kind_raw != Kind::Seal as u8).count();
        assert_eq!(got, want, "cut at {cut}, {missing} missing");

        let after = std::fs::read(&target).unwrap();
        repair(&dir).unwrap();
        assert!(after == std::fs::read(&target).unwrap(), "repair again, cut at {cut}");
    }
}
