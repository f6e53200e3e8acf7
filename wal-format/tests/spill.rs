//! A log whose disk is full, or fails, goes on on another one: written, read, repaired, deleted as if it lay in one place.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::support::faulty::{self, Faulty, OTHER, append, eventually, frames, options};
use wal_format::{
    AckFile, Evidence, LogOptions, LogReader, LogWriter, Position, ReaderOptions, SyncPolicy, list_segments, spill,
};

/// A log, another disk, and options that name it.
struct Bed {
    root: tempfile::TempDir,
    faults: Faulty,
}

impl Bed {
    fn new() -> Self {
        Bed { root: tempfile::tempdir().unwrap(), faults: Faulty::default() }
    }

    fn log(&self) -> PathBuf {
        self.root.path().join("log")
    }

    fn other(&self) -> PathBuf {
        self.root.path().join(OTHER)
    }

    fn options(&self) -> LogOptions {
        let mut options = options(&self.faults);
        options.spill_dirs = vec![self.other()];
        options
    }

    fn writer(&self) -> LogWriter {
        let writer = LogWriter::open(&self.log(), self.options()).unwrap();
        eventually("ready segments", || writer.stats().ready.get() == 2);
        writer
    }

    fn full(&self, full: bool) {
        self.faults.full.store(full, Ordering::Relaxed);
    }

    /// Files on the other disk.
    fn files(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, files) } else { files.push(path) }
            }
        }
        let mut files = Vec::new();
        walk(&self.other(), &mut files);
        files.sort();
        files
    }
}

/// Appends `count` frames numbered from `from` on; returns the next number.
fn fill(writer: &mut LogWriter, from: u64, count: u64) -> u64 {
    for n in from..from + count {
        append(writer, n).unwrap();
    }
    from + count
}

#[test]
fn a_full_disk_costs_no_frame_while_another_one_has_room_and_readers_need_not_know() {
    let bed = Bed::new();
    let mut writer = bed.writer();
    bed.full(true);
    let n = fill(&mut writer, 0, 600);
    assert!(writer.stats().spilled.get() >= 6, "{:?}", writer.stats());
    assert_eq!(writer.stats().out_of_space.get(), 0);
    bed.full(false);
    // What is ready over there is used, then the log is at home again.
    let n = fill(&mut writer, n, 400);
    writer.close().unwrap();
    assert_eq!(frames(&bed.log()), (0..n).collect::<Vec<_>>());
    let segments = list_segments(&bed.log()).unwrap();
    let there: Vec<bool> = segments.iter().map(|s| s.spilled.is_some()).collect();
    assert!(!there[0] && there.contains(&true) && !there[there.len() - 1], "{there:?}");
    assert!(segments.iter().all(|s| s.bytes == faulty::SMALL));
    assert_eq!(bed.files().len(), there.iter().filter(|t| **t).count());
}

#[test]
fn the_file_is_whole_and_durable_before_the_link_names_it() {
    let bed = Bed::new();
    let mut writer = bed.writer();
    bed.full(true);
    bed.faults.steps.lock().unwrap().clear();
    fill(&mut writer, 0, 150);
    eventually("a segment over there", || writer.stats().spilled.get() > 0);
    drop(writer);
    let steps = bed.faults.steps.lock().unwrap().clone();
    let linked = steps.iter().position(|s| s.starts_with("link ")).unwrap();
    let id = steps[linked].trim_start_matches("link ").trim_end_matches(".tmp").to_owned();
    let uuid = bed.files()[0].parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(steps[linked - 2..linked], [format!("rename other {id}"), format!("sync other {uuid}")], "{steps:?}");
    assert_eq!(steps[linked + 1..linked + 3], [format!("rename {id}"), "sync log".to_owned()], "{steps:?}");
}

#[test]
fn what_every_reader_has_passed_goes_from_both_disks() {
    let bed = Bed::new();
    let mut writer = bed.writer();
    bed.full(true);
    fill(&mut writer, 0, 400);
    writer.close().unwrap();
    let before = bed.files().len();
    let last =
        list_segments(&bed.log()).unwrap().iter().rev().find_map(|s| s.footer.clone().map(|f| (s.id, f))).unwrap();
    let mut ack = AckFile::open(&bed.log(), "lake").unwrap();
    let log_uuid = list_segments(&bed.log()).unwrap()[0].log_uuid.unwrap();
    let end = Position { segment: last.0, offset: last.1.end_offset, seq: last.1.last_seq.unwrap() };
    ack.acknowledge(log_uuid, end, "").unwrap();
    let evidence = Evidence { readers: &["lake"], covered: &|_| true, keep: &|_| false };
    let gone = wal_format::retire(&bed.log(), &evidence).unwrap();
    let left: Vec<PathBuf> = list_segments(&bed.log()).unwrap().into_iter().filter_map(|s| s.spilled).collect();
    assert!(gone.len() > 4 && before > left.len() + 3, "{gone:?}");
    assert_eq!(bed.files(), left.iter().map(|p| std::fs::canonicalize(p).unwrap()).collect::<Vec<_>>());
}

#[test]
fn a_killed_writer_leaves_nothing_that_the_next_one_does_not_find() {
    let bed = Bed::new();
    let mut writer = bed.writer();
    bed.full(true);
    let n = fill(&mut writer, 0, 300);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while writer.stats().ready.get() == 0 {
        assert!(std::time::Instant::now() < end, "ten minutes later still: writer.stats().ready.get() == 0");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // As after a kill: no seal, no footer, ready segments over there.
    drop(writer);
    let place = bed.files()[0].parent().unwrap().to_path_buf();
    // A kill between the file and its link leaves the first of these, one in the middle of a deletion the second.
    let never_named = place.join("00000000000000000998.wal");
    std::fs::copy(bed.files().last().unwrap(), &never_named).unwrap();
    let unlinked = place.join("00000000000000000999.wal");
    std::fs::copy(&bed.files()[0], &unlinked).unwrap();
    std::fs::write(place.join("00000000000000001000.wal.tmp"), b"half").unwrap();
    let mut writer = bed.writer();
    assert!(!never_named.exists() && unlinked.exists(), "only what was never written goes");
    assert!(!place.join("00000000000000001000.wal.tmp").exists());
    let reported: Vec<&String> = writer.warnings().iter().filter(|w| w.contains("no name")).collect();
    assert!(reported.len() == 1 && reported[0].contains("00000000000000000999.wal"), "{reported:?}");
    assert!(writer.stats().reused.get() > 0, "ready segments are taken over");
    let n = fill(&mut writer, n, 300);
    writer.close().unwrap();
    assert_eq!(frames(&bed.log()), (0..n).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_is_not_there_is_named_and_not_taken_for_a_deletion_and_recording_goes_on() {
    let bed = Bed::new();
    let mut writer = bed.writer();
    bed.full(true);
    let n = fill(&mut writer, 0, 300);
    writer.close().unwrap();
    bed.full(false);
    let away = bed.root.path().join("unplugged");
    std::fs::rename(bed.other(), &away).unwrap();
    let mut reader = LogReader::open(&bed.log(), Position::START, ReaderOptions::default()).unwrap();
    let error = loop {
        if let Err(error) = reader.next() {
            break error;
        }
    };
    let mut said = error.to_string();
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    while let Some(s) = source {
        said = format!("{said}: {s}");
        source = s.source();
    }
    assert!(said.contains("is that disk mounted?") && said.contains(OTHER), "{said}");
    // The collector is not harmed.
    let mut writer = LogWriter::open(&bed.log(), bed.options()).unwrap();
    let n = fill(&mut writer, n, 10);
    writer.close().unwrap();
    std::fs::remove_dir_all(bed.other()).unwrap_or_default();
    std::fs::rename(&away, bed.other()).unwrap();
    // What was ready over there was passed by: a repair closes it, as the next start does by itself.
    wal_format::repair(&bed.log()).unwrap();
    assert_eq!(frames(&bed.log()), (0..n).collect::<Vec<_>>());
}

#[test]
fn behind_a_failed_sync_the_log_moves_to_the_other_disk() {
    let bed = Bed::new();
    let mut options = bed.options();
    options.sync = SyncPolicy::Every;
    let mut writer = LogWriter::open(&bed.log(), options).unwrap();
    eventually("ready segments", || writer.stats().ready.get() == 2);
    bed.faults.sync_fails.store(true, Ordering::Relaxed);
    let bad = append(&mut writer, 0).unwrap();
    assert!(writer.sync_handle().wait_durable(bad).is_err());
    // The two that were ready lie on the bad disk; what is made from now on does not.
    let n = fill(&mut writer, 1, 400);
    eventually("a segment over there", || writer.stats().spilled.get() > 2);
    assert!(writer.close().is_err(), "a frozen segment stays frozen");
    assert_eq!(frames(&bed.log()), (0..n).collect::<Vec<_>>());
    assert!(list_segments(&bed.log()).unwrap().last().unwrap().spilled.is_some());
}

#[test]
fn without_room_anywhere_the_error_names_every_place() {
    let bed = Bed::new();
    let mut options = bed.options();
    // A file is where the directory must be.
    std::fs::write(bed.other(), b"").unwrap();
    options.ready_segments = 1;
    let mut writer = LogWriter::open(&bed.log(), options).unwrap();
    eventually("a ready segment", || writer.stats().ready.get() == 1);
    bed.full(true);
    let mut n = 0;
    let error = loop {
        match append(&mut writer, n) {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_retryable() && error.to_string().contains("no space"), "{error}");
    bed.full(false);
    eventually("space is used again", || append(&mut writer, n).is_ok());
    assert_eq!(spill::target(&list_segments(&bed.log()).unwrap()[0].path), None);
}
