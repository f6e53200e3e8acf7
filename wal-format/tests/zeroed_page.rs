//! One lost sector or page costs the records that lie in it and no other; the lost numbers are
//! reported exactly (WAL.md claims 4 and 5). Zeros and garbage are both tried, at every position
//! of a log, header and footer blocks included.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::FileExt;

use crate::support::writer::closed_log;
use crate::support::{self, Rng, assert_accounted, read_all};

/// Overwrites every `block`-sized piece of every sealed segment in turn and reads the log.
fn every_block(block: usize, garbage: Option<u64>, step: usize) {
    let log = closed_log(64 * 1024, 330, 500);
    let mut rng = Rng(garbage.unwrap_or(0));
    let (mut tried, mut lost_most) = (0, 0);
    for path in log.segments() {
        let healthy = std::fs::read(&path).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        for start in (0..healthy.len()).step_by(block * step) {
            let piece = &healthy[start..(start + block).min(healthy.len())];
            let bytes: Vec<u8> = piece.iter().map(|_| garbage.map_or(0, |_| rng.next() as u8)).collect();
            if bytes == piece {
                continue;
            }
            file.write_all_at(&bytes, start as u64).unwrap();
            let (records, lost_ranges, _) = read_all(log.dir.path());
            let place = format!("{} at {start}", path.display());
            let missing = std::panic::catch_unwind(|| assert_accounted(&log.records, &records, &lost_ranges))
                .unwrap_or_else(|_| panic!("{place}: {lost_ranges:?}"));
            // A block cannot touch more records than fit in it, plus the two at its edges.
            assert!(missing <= block as u64 / 40 + 2, "{place}: {missing} lost");
            lost_most = lost_most.max(missing);
            tried += 1;
            file.write_all_at(piece, start as u64).unwrap();
        }
    }
    assert!(tried > 20 && lost_most > 0, "{tried} tried, {lost_most} lost");
}

#[test]
fn one_zeroed_sector_costs_only_its_own_records_and_they_are_named() {
    every_block(512, None, 1);
}

#[test]
fn one_zeroed_page_costs_only_its_own_records_and_they_are_named() {
    every_block(4096, None, 1);
}

#[test]
fn one_sector_of_garbage_costs_only_its_own_records_and_they_are_named() {
    let seed = support::seed("zeroed_page");
    every_block(512, Some(seed), 2);
}

#[test]
fn one_page_of_garbage_costs_only_its_own_records_and_they_are_named() {
    let seed = support::seed("zeroed_page");
    every_block(4096, Some(seed), 1);
}
