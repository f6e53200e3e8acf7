//! A segment that is truncated while a process has it mapped ends that process with a code of its own, which says where
//! (WAL.md claim 33), and the next start goes on.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::writer::{append, options};
use crate::support::{data, drain};
use wal_format::{LogReader, LogWriter, Position, ReaderOptions};

/// The code of this test; `tapedeck` has its own.
const CODE: u8 = 77;
const SEGMENT: u64 = 1 << 20;

#[test]
#[ignore = "child process of the test below"]
fn child() {
    let Ok(dir) = std::env::var("TAPEDECK_CHILD_DIR") else {
        return;
    };
    wal_format::sys::bus::report_and_exit(CODE);
    let mut options = options(SEGMENT);
    options.prefault_bytes = 0;
    let mut writer = LogWriter::open(&PathBuf::from(dir), options).unwrap();
    for n in 0.. {
        append(&mut writer, n, 900);
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Waits until the child has ended by itself and returns what it left on stderr.
fn ended(child: std::process::Child) -> String {
    let done = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(i32::from(CODE)), "{:?}: {stderr}", done.status);
    stderr
}

fn active(dir: &Path) -> Option<PathBuf> {
    let state = wal_format::control::read(dir)?;
    (state.committed.offset > 64 * 1024).then(|| wal_format::segment::path(dir, state.committed.segment))
}

#[test]
fn a_live_segment_that_is_cut_ends_the_writer_with_its_code_and_place_and_the_next_start_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "truncated_live::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env("TAPEDECK_CHILD_DIR", dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let path = loop {
        match active(dir.path()) {
            Some(path) => break path,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    std::fs::File::options().write(true).open(&path).unwrap().set_len(16 * 1024).unwrap();
    let said = ended(child);
    assert!(said.contains(path.file_name().unwrap().to_str().unwrap()) && said.contains("offset"), "{said}");

    let mut writer = LogWriter::open(dir.path(), options(SEGMENT)).unwrap();
    append(&mut writer, 1, 900);
    writer.close().unwrap();
    let mut reader = LogReader::open(dir.path(), Position::START, ReaderOptions::default()).unwrap();
    let (got, ..) = drain(&mut reader);
    assert!(data(&got).len() >= 2, "what was before the cut, and what came after the restart");
}
