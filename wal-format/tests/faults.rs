//! A writer on a storage that refuses: full disks and failing syncs, at open and while running.
#![allow(clippy::unwrap_used)]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wal_format::storage::{Entry, OsStorage, Storage, StorageFile};
use wal_format::sys::Window;
use wal_format::{
    Append, AppendError, ClockPair, CloseError, Kind, LockError, LogOptions, LogReader, LogWriter, OpenError, Position,
    ReaderOptions, Seq, Step, SyncError, SyncPolicy,
};

const T0: u64 = 1_800_000_000_000_000_000;
const SMALL: u64 = 64 * 1024;

/// Real files, with a disk that can be filled and a sync that can be made to fail.
#[derive(Clone, Default)]
struct Faulty {
    full: Arc<AtomicBool>,
    sync_fails: Arc<AtomicBool>,
    allocations: Arc<AtomicU64>,
}

struct FaultyFile {
    inner: Arc<dyn StorageFile>,
    faults: Faulty,
}

impl Faulty {
    fn wrap(&self, inner: io::Result<Arc<dyn StorageFile>>) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(FaultyFile { inner: inner?, faults: self.clone() }))
    }
}

impl Storage for Faulty {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        OsStorage.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        OsStorage.list(dir)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        self.wrap(OsStorage.open(path))
    }
    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        self.wrap(OsStorage.open_or_create(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsStorage.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsStorage.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsStorage.sync_dir(dir)
    }
    fn available_bytes(&self, dir: &Path) -> Option<u64> {
        if self.full.load(Ordering::Relaxed) { Some(17) } else { OsStorage.available_bytes(dir) }
    }
    fn lock(&self, dir: &Path, now: ClockPair) -> Result<Box<dyn Send>, LockError> {
        OsStorage.lock(dir, now)
    }
}

impl StorageFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(out, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_all_at(bytes, offset)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        // Space that a file has already costs nothing.
        if self.faults.full.load(Ordering::Relaxed) && self.inner.len()? < len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.faults.allocations.fetch_add(1, Ordering::Relaxed);
        self.inner.allocate(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }
    fn map(&self, len: u64) -> io::Result<Arc<Window>> {
        self.inner.map(len)
    }
    fn sync_range(&self, window: &Window, from: u64, to: u64) -> io::Result<()> {
        if self.faults.sync_fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.inner.sync_range(window, from, to)
    }
}

fn options(faults: &Faulty) -> LogOptions {
    let mut options = LogOptions::new(Arc::new(|| ClockPair { wall_ns: T0, mono_ns: 1 }));
    options.segment_bytes = SMALL;
    options.sync = SyncPolicy::Never;
    options.storage = Arc::new(faults.clone());
    options
}

fn append(writer: &mut LogWriter, n: u64) -> Result<Seq, AppendError> {
    let mut payload = n.to_le_bytes().to_vec();
    payload.resize(1000, n as u8);
    writer.append(&Append { ts_recv_ns: T0 + n, conn: 1, kind: Kind::Data, flags: 0, payload: &payload })
}

fn frames(dir: &Path) -> Vec<u64> {
    let mut reader = LogReader::open(dir, Position::START, ReaderOptions::default()).unwrap();
    let (mut got, mut tails) = (Vec::new(), 0);
    while tails < 4 {
        match reader.next().unwrap() {
            Step::Record(r) => {
                tails = 0;
                if r.kind() == Some(Kind::Data) {
                    got.push(u64::from_le_bytes(*r.payload.first_chunk().unwrap()));
                }
            }
            Step::Tail => tails += 1,
            other => panic!("{other:?}"),
        }
    }
    got
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

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
