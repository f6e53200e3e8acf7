//! Real files on a disk that can be filled, lies about syncs, and notes what is done to its names.
#![allow(clippy::unwrap_used, dead_code)]

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wal_format::storage::{Entry, OsStorage, Storage, StorageFile};
use wal_format::sys::Window;
use wal_format::{
    Append, AppendError, ClockPair, Kind, LockError, LogOptions, LogReader, LogWriter, Position, ReaderOptions, Seq,
    Step, SyncPolicy,
};

pub const T0: u64 = 1_800_000_000_000_000_000;
pub const SMALL: u64 = 64 * 1024;
/// Files below a directory of this name lie on another disk, which is never full and keeps its promises.
pub const OTHER: &str = "other";

/// See the module.
#[derive(Clone, Default)]
pub struct Faulty {
    pub full: Arc<AtomicBool>,
    pub sync_fails: Arc<AtomicBool>,
    pub allocations: Arc<AtomicU64>,
    /// Links, renames and syncs of directories, by their last names.
    pub steps: Arc<Mutex<Vec<String>>>,
}

struct FaultyFile {
    inner: Arc<dyn StorageFile>,
    other: bool,
    faults: Faulty,
}

fn is_other(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == OTHER)
}

impl Faulty {
    fn wrap(&self, path: &Path, inner: io::Result<Arc<dyn StorageFile>>) -> io::Result<Arc<dyn StorageFile>> {
        // A name may lead to the other disk.
        let other = is_other(&std::fs::canonicalize(path)?);
        Ok(Arc::new(FaultyFile { inner: inner?, other, faults: self.clone() }))
    }

    fn note(&self, what: &str, path: &Path) {
        let disk = if is_other(path) { "other " } else { "" };
        let name = path.file_name().unwrap().to_string_lossy();
        self.steps.lock().unwrap().push(format!("{what} {disk}{name}"));
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
        self.wrap(path, OsStorage.open(path))
    }
    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        self.wrap(path, OsStorage.open_or_create(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note("rename", to);
        OsStorage.rename(from, to)
    }
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.note("link", name);
        OsStorage.link(file, name)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsStorage.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.note("sync", dir);
        OsStorage.sync_dir(dir)
    }
    fn available_bytes(&self, dir: &Path) -> Option<u64> {
        if self.full.load(Ordering::Relaxed) && !is_other(dir) { Some(17) } else { OsStorage.available_bytes(dir) }
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
        if !self.other && self.faults.full.load(Ordering::Relaxed) && self.inner.len()? < len {
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
        if !self.other && self.faults.sync_fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.inner.sync_range(window, from, to)
    }
}

pub fn options(faults: &Faulty) -> LogOptions {
    let mut options = LogOptions::new(Arc::new(|| ClockPair { wall_ns: T0, mono_ns: 1 }));
    options.segment_bytes = SMALL;
    options.sync = SyncPolicy::Never;
    options.storage = Arc::new(faults.clone());
    options
}

pub fn append(writer: &mut LogWriter, n: u64) -> Result<Seq, AppendError> {
    let mut payload = n.to_le_bytes().to_vec();
    payload.resize(1000, n as u8);
    writer.append(&Append { ts_recv_ns: T0 + n, conn: 1, kind: Kind::Data, flags: 0, payload: &payload })
}

pub fn frames(dir: &Path) -> Vec<u64> {
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

pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
