//! Any flipped bit of a sealed segment is found: header, records, padding, SEAL, footer and the
//! zeros in between (WAL.md claims 1 and 2).
//!
//! By default one bit of every 16th byte and of every byte of the first records and the footer;
//! `TAPEDECK_RUNS=1` takes one bit of every byte, `TAPEDECK_RUNS=8` all of them.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::FileExt;

use crate::support::writer::closed_log;
use crate::support::{self, Rng};
use wal_format::layout::footer_offset;
use wal_format::verify::verify_file;

#[test]
fn every_flipped_bit_of_a_sealed_segment_is_found() {
    let seed = support::seed("bit_flip");
    let mut rng = Rng(seed);
    let log = closed_log(64 * 1024, 100, 300);
    let path = log.segments().remove(0);
    let healthy = std::fs::read(&path).unwrap();
    let report = verify_file(&path, true).unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let footer = footer_offset(healthy.len() as u64) as usize;
    let runs = support::runs(0);
    let mut tried = 0;
    for (at, byte) in healthy.iter().enumerate() {
        let dense = at < 64 || (4096..4700).contains(&at) || (footer..footer + 600).contains(&at);
        if runs == 0 && !dense && !at.is_multiple_of(16) {
            continue;
        }
        let bits: Vec<u64> = if runs >= 8 { (0..8).collect() } else { vec![rng.range(0, 8)] };
        for bit in bits {
            file.write_all_at(&[byte ^ (1 << bit)], at as u64).unwrap();
            let found = match verify_file(&path, true) {
                Ok(report) => !report.faults.is_empty(),
                // A version that reads as newer is refused outright.
                Err(wal_format::ReadError::NewerVersion { .. }) => true,
                Err(err) => panic!("byte {at} bit {bit}: {err}"),
            };
            assert!(found, "byte {at} bit {bit} was not noticed");
            tried += 1;
        }
        file.write_all_at(&[*byte], at as u64).unwrap();
    }
    println!("bit_flip: {tried} flips, all found");
    assert!(verify_file(&path, true).unwrap().faults.is_empty());
}

#[test]
fn bursts_of_up_to_four_bytes_and_pairs_of_bits_are_found() {
    let seed = support::seed("bit_flip_bursts");
    let mut rng = Rng(seed);
    let log = closed_log(64 * 1024, 100, 300);
    let path = log.segments().remove(0);
    let healthy = std::fs::read(&path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for _ in 0..support::runs(1_500) {
        let mut bytes = healthy.clone();
        if rng.range(0, 2) == 0 {
            for _ in 0..2 {
                let bit = rng.range(0, bytes.len() as u64 * 8);
                bytes[bit as usize / 8] ^= 1 << (bit % 8);
            }
        } else {
            let at = rng.range(0, bytes.len() as u64 - 4) as usize;
            let burst = rng.next() as u32 | 1;
            for (byte, change) in bytes[at..at + 4].iter_mut().zip(burst.to_le_bytes()) {
                *byte ^= change;
            }
        }
        if bytes == healthy {
            continue;
        }
        file.write_all_at(&bytes, 0).unwrap();
        let found = verify_file(&path, true).map_or(true, |report| !report.faults.is_empty());
        let first = bytes.iter().zip(&healthy).position(|(a, b)| a != b);
        assert!(found, "a change at byte {first:?} was not noticed");
    }
}
