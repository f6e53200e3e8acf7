//! A killed writer process loses nothing for which `append` returned (WAL.md claim 11), and the
//! next start succeeds at once (claim 24).
//!
//! A real child process appends and reports every returned append through a pipe, one write per
//! append. The parent sends SIGKILL at a random time, lets another child (or `repair`) take over,
//! and a reader that was there all along must see every reported record: byte-equal, in order,
//! once, and nothing lost.
//!
//! Replay with `TAPEDECK_SEED`, lengthen with `TAPEDECK_RUNS`.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::support::writer::{append, options};
use crate::support::{self, Rng, assert_contiguous, check_payload, data, drain, spawn_self};
use wal_format::{LogReader, LogWriter, Position, ReaderOptions, SyncPolicy, repair};

const LONGEST: u64 = 900;
/// Marks the start of a report in the pipe: the test harness prints lines of its own.
const MARK: [u8; 4] = *b"\x01APP";

#[test]
#[ignore = "child process of a_writer_killed_at_random_times_loses_nothing_it_had_returned"]
fn child_writer() {
    let Ok(dir) = std::env::var("TAPEDECK_CHILD_DIR") else {
        return;
    };
    let seed: u64 = std::env::var("TAPEDECK_CHILD_SEED").unwrap().parse().unwrap();
    let mut n: u64 = std::env::var("TAPEDECK_CHILD_FROM").unwrap().parse().unwrap();
    let mut rng = Rng(seed);
    let mut options = options(64 * 1024);
    options.sync = match rng.range(0, 4) {
        0 => SyncPolicy::Never,
        1 => SyncPolicy::Roll,
        2 => SyncPolicy::Every,
        _ => SyncPolicy::Interval { interval_ms: 5, bytes: 64 * 1024 },
    };
    let mut writer = LogWriter::open(&PathBuf::from(dir), options).unwrap();
    let mut pipe = std::io::stdout().lock();
    loop {
        let seq = append(&mut writer, n, LONGEST);
        let mut report = [0_u8; 20];
        report[..4].copy_from_slice(&MARK);
        report[4..12].copy_from_slice(&seq.0.to_le_bytes());
        report[12..].copy_from_slice(&n.to_le_bytes());
        pipe.write_all(&report).unwrap();
        pipe.flush().unwrap();
        n += 1;
    }
}

/// The (seq, n) pairs in what a child wrote before it died.
fn reports(bytes: &[u8]) -> Vec<(u64, u64)> {
    let Some(start) = bytes.windows(4).position(|w| w == MARK) else {
        return Vec::new();
    };
    bytes[start..]
        .chunks_exact(20)
        .map(|report| {
            assert_eq!(report[..4], MARK);
            (
                u64::from_le_bytes(report[4..12].try_into().unwrap()),
                u64::from_le_bytes(report[12..].try_into().unwrap()),
            )
        })
        .collect()
}

#[test]
fn a_writer_killed_at_random_times_loses_nothing_it_had_returned() {
    let seed = support::seed("kill_writer");
    let mut rng = Rng(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut reader: Option<LogReader> = None;
    let mut expected: VecDeque<(u64, u64)> = VecDeque::new();
    let mut position = Position::START;
    let (mut kills, mut next_n, mut seen) = (0, 0, 0_u64);
    let runs = support::runs(25);
    for run in 0..runs {
        let mut child = spawn_self(
            "kill_writer::child_writer",
            &[
                ("TAPEDECK_CHILD_DIR", dir.path().display().to_string()),
                ("TAPEDECK_CHILD_SEED", rng.next().to_string()),
                ("TAPEDECK_CHILD_FROM", next_n.to_string()),
            ],
        );
        let mut pipe = child.stdout.take().unwrap();
        let (began, begins) = std::sync::mpsc::channel();
        let listener = std::thread::spawn(move || {
            let (mut began, mut bytes, mut chunk) = (Some(began), Vec::new(), [0; 4_096]);
            loop {
                let n = pipe.read(&mut chunk).unwrap();
                if n == 0 {
                    return bytes;
                }
                bytes.extend_from_slice(&chunk[..n]);
                // Reported once, and requested in some runs only.
                if let Some(began) = began.take_if(|_| bytes.windows(4).any(|w| w == MARK)) {
                    let _ = began.send(());
                }
            }
        });
        // Some are killed among their appends however slow the machine is, the others anywhere from their start on.
        if run % 3 == 0 {
            begins.recv().expect("the child appends");
        }
        std::thread::sleep(Duration::from_micros(rng.range(2_000, 90_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let reported = reports(&listener.join().unwrap());
        // One append may have happened without its report.
        next_n = reported.last().map_or(next_n, |r| r.1 + 1) + 1;
        expected.extend(reported);

        // Sometimes nobody repairs before the next start, which must not mind.
        if rng.range(0, 3) != 0 || run + 1 == runs {
            let report = repair(dir.path()).unwrap();
            assert!(report.failures.is_empty(), "{report:?}");
            // Sometimes the reader starts again from its position instead of living on.
            if reader.is_none() || rng.range(0, 2) == 0 {
                reader = Some(LogReader::open(dir.path(), position, ReaderOptions::default()).unwrap());
            }
            let current = reader.as_mut().unwrap();
            let (records, lost_ranges, stop) = drain(current);
            position = current.position();
            assert!(lost_ranges.is_empty(), "run {run}: {lost_ranges:?}");
            assert_contiguous(&records);
            for record in records.iter().filter(|r| r.kind_raw == 1) {
                let n = check_payload(&record.payload, LONGEST).expect("payload as appended");
                seen += 1;
                match expected.front() {
                    Some(&(seq, reported)) if seq == record.seq.0 => {
                        assert_eq!(n, reported);
                        expected.pop_front();
                    }
                    // Committed, but killed before its report reached the pipe.
                    other => assert!(
                        other.is_none_or(|o| o.0 > record.seq.0),
                        "run {run}: {other:?} was skipped, got {}",
                        record.seq
                    ),
                }
            }
            assert!(
                expected.is_empty(),
                "run {run}: {} reported records are not in the log, stopped at {position} by {stop:?}, first {:?}",
                expected.len(),
                expected.front()
            );
        }
    }
    println!("kill_writer: {kills} kills, {seen} records, all there");
    assert!(seen > 0, "no child ever appended");

    // From the start, after everything: the same log, once.
    let (records, lost_ranges, _) = support::read_all(dir.path());
    assert!(lost_ranges.is_empty());
    assert_contiguous(&records);
    assert_eq!(data(&records).len() as u64, seen);
}
