//! A writer on a storage that refuses: full disks and failing syncs, at open and while running.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering;

use crate::support::faulty::{Faulty, SMALL, T0, append, eventually, frames, options};
use wal_format::{Append, AppendError, CloseError, Duty, Kind, LogWriter, OpenError, SyncError, SyncPolicy};

#[test]
fn a_disk_full_at_the_first_open_is_a_typed_error_with_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faulty::default();
    // Once to have LOCK, EPOCH and CONTROL, as on a disk that filled up later.
    for name in ["first", "second"] {
        match LogWriter::open(dir.path(), options(&faults)) {
            Ok(writer) => {
                eventually("ready segments", || writer.stats().ready.get() == 2);
                writer.close().unwrap();
                for entry in std::fs::read_dir(dir.path()).unwrap() {
                    let path = entry.unwrap().path();
                    if path.extension().is_some_and(|e| e == "wal") {
                        std::fs::remove_file(path).unwrap();
                    }
                }
                faults.full.store(true, Ordering::Relaxed);
            }
            Err(OpenError::NoSpace { needed, available, .. }) => {
                assert_eq!(name, "second");
                assert_eq!((needed, available), (SMALL, Some(17)));
                return;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("a full disk went unnoticed");
}

#[test]
fn on_a_full_disk_appending_goes_on_as_long_as_segments_are_ready_and_resumes_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faulty::default();
    let mut writer = LogWriter::open(dir.path(), options(&faults)).unwrap();
    eventually("ready segments", || writer.stats().ready.get() == 2);
    faults.full.store(true, Ordering::Relaxed);
    let mut n = 0;
    let error = loop {
        match append(&mut writer, n) {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_retryable(), "{error}");
    match error {
        AppendError::OutOfSpace { needed, available, .. } => assert_eq!((needed, available), (SMALL, Some(17))),
        other => panic!("{other:?}"),
    }
    assert_eq!(writer.stats().rolls.get(), 2, "both ready segments were used");
    // What fits the rest of the segment is still taken.
    let small = Append { ts_recv_ns: T0 + n, conn: 1, kind: Kind::Event, flags: 0, payload: b"{}" };
    writer.append(&small).unwrap();
    assert!(append(&mut writer, n).is_err());
    let last = writer.last_seq();

    faults.full.store(false, Ordering::Relaxed);
    eventually("space is used again", || append(&mut writer, n).is_ok());
    assert!(writer.stats().out_of_space.get() >= 2);
    // SEAL, CLOCK and the record itself follow the last one before.
    assert_eq!(writer.last_seq().get(), last.get() + 3);
    writer.close().unwrap();
    assert_eq!(frames(dir.path()), (0..=n).collect::<Vec<_>>());
}

#[test]
fn a_restart_on_a_full_disk_takes_over_what_the_run_before_had_prepared() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faulty::default();
    let mut writer = LogWriter::open(dir.path(), options(&faults)).unwrap();
    eventually("ready segments", || writer.stats().ready.get() == 2);
    append(&mut writer, 0).unwrap();
    faults.full.store(true, Ordering::Relaxed);
    drop(writer);
    let mut writer = LogWriter::open(dir.path(), options(&faults)).unwrap();
    let mut n = 1;
    while append(&mut writer, n).is_ok() {
        n += 1;
    }
    assert_eq!(writer.stats().reused.get(), 2);
    assert_eq!(writer.stats().rolls.get(), 1);
    writer.close().unwrap();
    assert_eq!(frames(dir.path()), (0..n).collect::<Vec<_>>());
}

#[test]
fn after_a_failed_sync_the_segment_is_never_called_durable_and_appending_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faulty::default();
    let mut options = options(&faults);
    options.sync = SyncPolicy::Every;
    let mut writer = LogWriter::open(dir.path(), options).unwrap();
    let handle = writer.sync_handle();
    let good = append(&mut writer, 0).unwrap();
    handle.wait_durable(good).unwrap();
    let before = handle.durable();

    faults.sync_fails.store(true, Ordering::Relaxed);
    let bad = append(&mut writer, 1).unwrap();
    match handle.wait_durable(bad) {
        Err(SyncError::Frozen { from, message }) => {
            assert!(from > good && from <= bad);
            assert!(message.contains("the disk is gone"));
        }
        other => panic!("{other:?}"),
    }
    let frozen_segment = writer.segment();
    faults.sync_fails.store(false, Ordering::Relaxed);
    // The next append rolls; a record in a healthy segment is durable again.
    let later = append(&mut writer, 2).unwrap();
    assert!(writer.segment() > frozen_segment);
    handle.wait_durable(later).unwrap();
    assert!(handle.wait_durable(bad).is_err(), "a later success proves nothing for it");
    assert_eq!(handle.durable(), before, "the position below which all is durable stays");
    assert_eq!(writer.stats().sync_errors.get(), 1);
    eventually("the frozen segment is done with", || writer.stats().rolls.get() == 1);
    match writer.close() {
        Err(CloseError::Sync(SyncError::Frozen { .. })) => {}
        other => panic!("{other:?}"),
    }
    // Without a footer, recovery walks it.
    let infos = wal_format::list_segments(dir.path()).unwrap();
    let frozen = infos.iter().find(|s| s.id == frozen_segment).unwrap();
    assert!(frozen.footer.is_none());
    assert_eq!(frames(dir.path()), [0, 1, 2]);
}

#[test]
fn a_disk_that_refuses_every_sync_takes_two_segments_and_not_one_per_try_is_reported_and_believed_again() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faulty::default();
    let mut options = options(&faults);
    options.segment_bytes = 4 << 20;
    options.sync = SyncPolicy::Every;
    let mut writer = LogWriter::open(dir.path(), options).unwrap();
    let (handle, stats) = (writer.sync_handle(), writer.stats());
    let first = writer.segment();
    let good = append(&mut writer, 0).unwrap();
    handle.wait_durable(good).unwrap();
    assert!(stats.background_errors().is_empty());

    faults.sync_fails.store(true, Ordering::Relaxed);
    for n in 1..200 {
        let bad = append(&mut writer, n).unwrap();
        assert!(matches!(handle.wait_durable(bad), Err(SyncError::Frozen { .. })), "an answer, at once");
        writer.tick().unwrap();
    }
    assert_eq!(stats.rolls.get(), 1, "the fresh segment is refused as well, and kept");
    assert!(writer.segment().0 <= first.0 + 1);
    let [trouble] = &stats.background_errors()[..] else { panic!("{:?}", stats.background_errors()) };
    assert_eq!(trouble.duty, Duty::Sync);
    assert!(trouble.failures >= 2 && trouble.message.contains("the disk is gone"), "{trouble:?}");
    let control = wal_format::control::read(dir.path()).unwrap();
    assert_eq!(control.sync_failing_since_ns, Some(trouble.since_wall_ns));

    faults.sync_fails.store(false, Ordering::Relaxed);
    let mut n = 200;
    eventually("the disk is tried again and believed", || {
        let seq = append(&mut writer, n).unwrap();
        n += 1;
        handle.wait_durable(seq).is_ok()
    });
    assert!(stats.background_errors().is_empty());
    assert_eq!(wal_format::control::read(dir.path()).unwrap().sync_failing_since_ns, None);
    assert_eq!(stats.rolls.get(), 2);
    writer.close().unwrap_err();
    assert_eq!(frames(dir.path()), (0..n).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_made_ahead_of_need_is_reported_while_recording_goes_on_and_no_longer_when_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faulty::default();
    let mut writer = LogWriter::open(dir.path(), options(&faults)).unwrap();
    let stats = writer.stats();
    eventually("segments are ready", || stats.ready.get() >= 1);
    faults.full.store(true, Ordering::Relaxed);
    let mut n = 0;
    eventually("it is reported", || {
        append(&mut writer, n).unwrap();
        n += 1;
        stats.background_errors().first().is_some_and(|trouble| trouble.duty == Duty::Prepare)
    });
    faults.full.store(false, Ordering::Relaxed);
    eventually("it is over", || stats.background_errors().is_empty());
    writer.close().unwrap();
}
