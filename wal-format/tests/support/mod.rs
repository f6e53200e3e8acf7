//! Shared by the integration tests: seeds, a small random source, payloads that name themselves,
//! and child processes made from the test binary itself.
#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

pub mod build;
pub mod faulty;
pub mod writer;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wal_format::{
    Backoff, Evidence, Kind, LogReader, LostRange, Position, ReaderOptions, RetireError, SegmentId, Seq, Step,
};

/// The seed of this run: `TAPEDECK_SEED`, or a fresh one. Printed, so a failure can be replayed.
pub fn seed(test: &str) -> u64 {
    let seed = std::env::var("TAPEDECK_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_nanos() as u64 ^ u64::from(std::process::id()) << 40
    });
    println!("{test}: TAPEDECK_SEED={seed}");
    seed
}

/// Size of a campaign: `TAPEDECK_RUNS`, or what fits the ordinary suite.
pub fn runs(usual: u64) -> u64 {
    std::env::var("TAPEDECK_RUNS").ok().and_then(|s| s.parse().ok()).unwrap_or(usual)
}

/// SplitMix64: tiny, seeded, good enough to choose crash points.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform enough in `low..high`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }
}

/// The payload of data record `n` of a run: its number, then bytes that follow from it.
pub fn payload(n: u64, longest: u64) -> Vec<u8> {
    let mut rng = Rng(n ^ 0xABCD_EF01);
    let len = rng.range(0, longest + 1) as usize;
    let mut bytes = n.to_le_bytes().to_vec();
    while bytes.len() < 8 + len {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
    }
    bytes.truncate(8 + len);
    bytes
}

/// The number inside a payload made by [`payload`], if every byte of it is right.
pub fn check_payload(bytes: &[u8], longest: u64) -> Option<u64> {
    let n = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    (payload(n, longest) == bytes).then_some(n)
}

/// A record copied out of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub position: Position,
    pub seq: Seq,
    pub kind_raw: u8,
    pub payload: Vec<u8>,
}

/// Why [`drain`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Tail,
    AwaitRepair,
}

/// Reads all there is now.
pub fn drain(reader: &mut LogReader) -> (Vec<Owned>, Vec<LostRange>, Stop) {
    let (mut records, mut lost_ranges) = (Vec::new(), Vec::new());
    loop {
        match reader.next().unwrap() {
            Step::Record(r) => {
                records.push(Owned {
                    position: r.position,
                    seq: r.seq,
                    kind_raw: r.kind_raw,
                    payload: r.payload.to_vec(),
                });
            }
            Step::Lost(lost) => lost_ranges.push(lost),
            Step::Tail => return (records, lost_ranges, Stop::Tail),
            Step::AwaitRepair { .. } => return (records, lost_ranges, Stop::AwaitRepair),
        }
    }
}

pub fn read_all(dir: &Path) -> (Vec<Owned>, Vec<LostRange>, Stop) {
    let mut reader = LogReader::open(dir, Position::START, ReaderOptions::default()).unwrap();
    drain(&mut reader)
}

/// The payloads of the data records, in order.
pub fn data(records: &[Owned]) -> Vec<Vec<u8>> {
    records.iter().filter(|r| r.kind_raw == Kind::Data as u8).map(|r| r.payload.clone()).collect()
}

/// Each seq follows the one before it: +1 inside an epoch, counter 0 in a new one.
pub fn assert_contiguous(records: &[Owned]) {
    for pair in records.windows(2) {
        let (a, b) = (pair[0].seq, pair[1].seq);
        let follows = if a.epoch() == b.epoch() { b.0 == a.0 + 1 } else { b.epoch() > a.epoch() && b.counter() == 0 };
        assert!(follows, "{a} is followed by {b}");
    }
}

/// Starts this test binary again to run only `test` (an `#[ignore]`d one) with `env` set.
pub fn spawn_self(test: &str, env: &[(&str, String)]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    for (key, value) in env {
        command.env(key, value);
    }
    command.spawn().unwrap()
}

/// Reads until `done` says so; panics after 30 s without progress.
pub fn follow(reader: &mut LogReader, mut on: impl FnMut(Step<'_>) -> bool) {
    let mut backoff = Backoff::new();
    let mut last = Instant::now();
    loop {
        let step = reader.next().unwrap();
        if matches!(step, Step::Tail | Step::AwaitRepair { .. }) {
            assert!(last.elapsed() < Duration::from_secs(30), "no progress for 30 s");
            if on(step) {
                return;
            }
            backoff.wait();
        } else {
            last = Instant::now();
            backoff.reset();
            if on(step) {
                return;
            }
        }
    }
}

/// Checks a damaged reading against the healthy one: what is read is equal and in order, and
/// what is missing is exactly what `lost_ranges` says. Only the end of the log may be lost without
/// an exact range. Returns how many records are missing.
pub fn assert_accounted(healthy: &[Owned], got: &[Owned], lost_ranges: &[LostRange]) -> u64 {
    let mut lost: Vec<(u64, u64)> = lost_ranges.iter().filter(|l| l.exact).map(|l| (l.from.0, l.to.0)).collect();
    if let Some(open) = lost_ranges.iter().find(|l| !l.exact) {
        lost.push((open.from.0, u64::MAX));
    }
    lost.sort_unstable();
    for pair in lost.windows(2) {
        assert!(pair[0].1 < pair[1].0, "overlapping lost ranges {lost_ranges:?}");
    }
    let mut got = got.iter().peekable();
    let mut missing = 0;
    for record in healthy {
        let said_lost = lost.iter().any(|(from, to)| (*from..=*to).contains(&record.seq.0));
        if got.peek().is_some_and(|g| g.seq == record.seq) {
            let read = got.next().unwrap();
            assert_eq!(read.payload, record.payload, "payload of {}", record.seq);
            assert_eq!(read.kind_raw, record.kind_raw, "kind of {}", record.seq);
            assert!(!said_lost, "{} was read and reported lost", record.seq);
        } else {
            assert!(said_lost, "{} is missing without a report; lost ranges {lost_ranges:?}", record.seq);
            missing += 1;
        }
    }
    assert!(got.peek().is_none(), "invented {:?}", got.peek().unwrap().seq);
    missing
}

/// Deletes what the acks of `readers` let go; nothing is kept back.
pub fn retire_for(dir: &Path, readers: &[&str]) -> Result<Vec<SegmentId>, RetireError> {
    wal_format::retire(dir, &Evidence { readers, covered: &|_| true, keep: &|_| false })
}

/// Copies a log directory, as `cp -r` would.
pub fn copy_log(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_log(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
