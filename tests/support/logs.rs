//! Logs made without sockets: recorded frames appended through the real writer, over several hours of pretended time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wal_format::{Append, ClockPair, Kind, LogOptions, LogWriter};

/// 2026-11-20T09:30:00Z in ns.
pub const START_NS: u64 = 1_795_167_000_000_000_000;
const HOUR_NS: u64 = 3_600_000_000_000;

/// The text frames of a recording, without the recorder's own REST lines.
pub fn frames(name: &str) -> Vec<Vec<u8>> {
    let path = super::recordings().join(name);
    let bytes = zstd::decode_all(std::fs::File::open(&path).unwrap()).unwrap();
    bytes
        .split(|b| *b == b'\n')
        .filter_map(|line| line.splitn(2, |b| *b == b' ').nth(1))
        .filter(|frame| frame.starts_with(b"{\"stream\""))
        .map(<[u8]>::to_vec)
        .collect()
}

/// Appends `frames` to the log at `dir`, spread evenly over `hours` hours, in segments of `segment_bytes`, and closes it.
pub fn record(dir: &Path, frames: &[Vec<u8>], hours: u64, segment_bytes: u64) {
    let now = Arc::new(AtomicU64::new(START_NS));
    let clock = {
        let now = now.clone();
        Arc::new(move || {
            let wall_ns = now.load(Ordering::Relaxed);
            ClockPair { wall_ns, mono_ns: wall_ns - START_NS + 1 }
        })
    };
    let mut options = LogOptions::new(clock);
    options.segment_bytes = segment_bytes;
    let mut log = LogWriter::open(dir, options).unwrap();
    let step = hours * HOUR_NS / frames.len().max(1) as u64;
    let json = |log: &mut LogWriter, kind, text: &str, ts| {
        log.append(&Append { ts_recv_ns: ts, conn: 1, kind, flags: 0, payload: text.as_bytes() }).unwrap();
    };
    json(&mut log, Kind::ConnOpen, r#"{"url":"ws://recording/stream","streams":3}"#, START_NS);
    for (i, frame) in frames.iter().enumerate() {
        let ts = START_NS + i as u64 * step;
        now.store(ts, Ordering::Relaxed);
        log.append(&Append { ts_recv_ns: ts, conn: 1, kind: Kind::Data, flags: 0, payload: frame }).unwrap();
    }
    json(&mut log, Kind::ConnClose, r#"{"code":1000,"reason":"end of recording"}"#, START_NS + hours * HOUR_NS - 1);
    log.close().unwrap();
}

/// Copies a directory tree.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
