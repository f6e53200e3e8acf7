//! The part of the support that needs a real writer.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wal_format::{Append, ClockPair, Kind, LogOptions, LogWriter, Seq};

use crate::support::{Owned, Stop, assert_contiguous, data, payload, read_all};

/// A clock for tests: 1 ms per reading, from a fixed instant.
pub fn test_clock() -> Arc<dyn Fn() -> ClockPair + Send + Sync> {
    let ticks = AtomicU64::new(0);
    Arc::new(move || {
        let ms = ticks.fetch_add(1, Ordering::Relaxed);
        ClockPair { wall_ns: 1_800_000_000_000_000_000 + ms * 1_000_000, mono_ns: 5_000_000_000 + ms * 1_000_000 }
    })
}

pub fn options(segment_bytes: u64) -> LogOptions {
    let mut options = LogOptions::new(test_clock());
    options.segment_bytes = segment_bytes;
    options
}

pub fn append(writer: &mut LogWriter, n: u64, longest: u64) -> Seq {
    let bytes = payload(n, longest);
    writer
        .append(&Append {
            ts_recv_ns: 1_800_000_000_000_000_000 + n * 1000,
            conn: (n % 7) as u32,
            kind: Kind::Data,
            flags: 0,
            payload: &bytes,
        })
        .unwrap()
}

/// A closed log of several small segments, and what a healthy reader gets out of it.
pub struct Fixture {
    pub dir: tempfile::TempDir,
    pub records: Vec<Owned>,
}

pub fn closed_log(segment_bytes: u64, count: u64, longest: u64) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(dir.path(), options(segment_bytes)).unwrap();
    for n in 0..count {
        append(&mut writer, n, longest);
    }
    writer.close().unwrap();
    let (records, lost_ranges, stop) = read_all(dir.path());
    assert!(lost_ranges.is_empty() && stop == Stop::Tail);
    assert_contiguous(&records);
    assert_eq!(data(&records).len() as u64, count);
    Fixture { dir, records }
}

impl Fixture {
    /// Paths of the segments that hold records, oldest first.
    pub fn segments(&self) -> Vec<std::path::PathBuf> {
        wal_format::list_segments(self.dir.path()).unwrap().into_iter().filter(|s| s.sealed).map(|s| s.path).collect()
    }
}
