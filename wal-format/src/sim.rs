//! A disk that can lose power: every file has a live image (what programs see) and a durable one
//! (what a power cut leaves), every directory entry likewise. Feature `sim`; for tests.
//!
//! ```text
//!  store, write ─▶ live ── sync ─▶ durable            crash P: live, as it is
//!  create, rename, unlink ── sync_dir ─▶ durable      crash W: durable + any subset of the rest
//!                                                     crash S: W in the middle of a sync
//! ```
//!
//! The unit of damage is a 512-byte sector. A sector that was never synced is lost, kept, or filled
//! with garbage, chosen by the seed; each directory operation that was not synced is kept or
//! lost on its own, and so is a length. That is harsher than any journaling file system.
//!
//! A crash does not stop the program under test: it takes an [`Image`] of the disk at that
//! moment, to be written to a real directory and recovered there. Planted lies ([`Lie`]) prove
//! that the tests would notice.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::LockError;
use crate::lock::Role;
use crate::record::ClockPair;
use crate::storage::{Entry, Storage, StorageFile};
use crate::sys::Window;

const SECTOR: usize = 512;
const PAGE: u64 = 4096;

/// What kind of crash an [`Image`] shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: the page cache, so everything, survives.
    Process,
    /// Power is lost: sectors that were not synced survive or not, each on its own.
    PowerLoss,
    /// As `PowerLoss`, and sectors that did not survive may hold garbage.
    PowerLossGarbage,
}

/// A planted fault of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Tells the truth.
    None,
    /// Syncs report success and do nothing.
    SyncDoesNothing,
    /// Directory syncs report success and do nothing.
    SyncDirDoesNothing,
}

/// A disk at one moment.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Path and content of every file.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// What the probe said just before the image was taken.
    pub noted: Vec<u64>,
}

impl Image {
    /// Writes the files below `root` of the simulated disk to the real directory `dir`.
    ///
    /// # Errors
    /// As the file system reports.
    pub fn write_to(&self, root: &Path, dir: &Path) -> io::Result<()> {
        for (path, bytes) in &self.files {
            let Ok(below) = path.strip_prefix(root) else {
                continue;
            };
            let target = dir.join(below);
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(target, bytes)?;
        }
        Ok(())
    }
}

/// Called just before an image is taken: what the owner knew to be returned, durable, ...
pub type Probe = Arc<dyn Fn() -> Vec<u64> + Send + Sync>;

/// The simulated disk.
#[derive(Clone)]
pub struct SimStorage {
    state: Arc<Mutex<State>>,
}

struct State {
    random: u64,
    lie: Lie,
    inodes: Vec<Inode>,
    /// Names as programs see them, and as a power cut would leave them at least.
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    /// Operations on names since their directory was last synced.
    pending: Vec<Change>,
    dirs: Vec<PathBuf>,
    held: Vec<PathBuf>,
    /// Operations until the armed crash, its kind and probe.
    armed: Option<(u64, Crash, Probe)>,
    /// The armed crash, and the same moment as a mere kill.
    taken: Option<(Image, Image)>,
    /// Operations so far.
    steps: u64,
}

#[derive(Clone)]
enum Change {
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

impl Change {
    fn dir(&self) -> Option<&Path> {
        match self {
            Change::Link(path, _) | Change::Rename(_, path) | Change::Unlink(path) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>, inode: Option<usize>) {
        match self {
            Change::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Change::Rename(from, to) => {
                let moved = names.remove(from).or(inode);
                if let Some(moved) = moved {
                    names.insert(to.clone(), moved);
                }
            }
            Change::Unlink(path) => {
                names.remove(path);
            }
        }
    }
}

struct Inode {
    window: Arc<Window>,
    len: u64,
    durable: Vec<u8>,
}

impl Inode {
    fn live_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(0)];
        // Within the window, whose length this is.
        let _ = self.window.copy_out(0, &mut bytes);
        bytes
    }

    /// Makes `from..to` durable, or only the sectors for which `keep` says so.
    fn harden(&mut self, from: u64, to: u64, mut keep: impl FnMut() -> bool) {
        let live = self.live_bytes();
        self.durable.resize(live.len().max(self.durable.len()), 0);
        let first = usize::try_from(from / PAGE * PAGE).unwrap_or(0);
        let last = usize::try_from(to.next_multiple_of(PAGE)).unwrap_or(usize::MAX).min(live.len());
        for start in (first..last).step_by(SECTOR) {
            let end = (start + SECTOR).min(last);
            if keep()
                && let (Some(to), Some(from)) = (self.durable.get_mut(start..end), live.get(start..end))
            {
                to.copy_from_slice(from);
            }
        }
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

impl State {
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn step(&mut self) {
        self.steps += 1;
        if let Some((left, _, _)) = &mut self.armed {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.fire();
            }
        }
    }

    fn fire(&mut self) {
        if let Some((_, kind, probe)) = self.armed.take() {
            let noted = probe();
            let crash = self.image(kind, noted.clone());
            let kill = self.image(Crash::Process, noted);
            self.taken = Some((crash, kill));
        }
    }

    fn image(&mut self, kind: Crash, noted: Vec<u64>) -> Image {
        let mut names = if kind == Crash::Process { self.live.clone() } else { self.durable.clone() };
        if kind != Crash::Process {
            for change in self.pending.clone() {
                if self.random().is_multiple_of(2) {
                    let inode = match &change {
                        Change::Rename(_, to) => self.live.get(to).copied(),
                        _ => None,
                    };
                    change.apply(&mut names, inode);
                }
            }
        }
        let mut files = BTreeMap::new();
        // The owner may be in the middle of one append, which writes the segment, then what says so: CONTROL, the next
        // segment. What is written last is copied first, or the image would be one that no instant had.
        for (path, inode) in names.into_iter().rev() {
            let bytes = self.content(inode, kind);
            files.insert(path, bytes);
        }
        Image { files, noted }
    }

    fn content(&mut self, inode: usize, kind: Crash) -> Vec<u8> {
        let Some((live, durable)) = self.inodes.get(inode).map(|i| (i.live_bytes(), i.durable.clone())) else {
            return Vec::new();
        };
        if kind == Crash::Process {
            return live;
        }
        // One seed in three loses all, one keeps a prefix, one keeps any subset.
        let style = self.random() % 3;
        let prefix = usize::try_from(self.random()).unwrap_or(0) % (live.len() / SECTOR + 1);
        let mut bytes = durable.clone();
        if live.len() > durable.len() && self.random().is_multiple_of(2) {
            bytes.resize(live.len(), 0);
        }
        let len = bytes.len();
        for (sector, start) in (0..len).step_by(SECTOR).enumerate() {
            let end = (start + SECTOR).min(len);
            let new = live.get(start..end).unwrap_or(&[]);
            let old = durable.get(start..end).unwrap_or(&[]);
            if new == old {
                continue;
            }
            let keep = match style {
                0 => false,
                1 => sector < prefix,
                _ => self.random().is_multiple_of(2),
            };
            let virgin = old.iter().all(|byte| *byte == 0);
            let garbage = kind == Crash::PowerLossGarbage && virgin && !keep && self.random().is_multiple_of(2);
            let noise: Vec<u8> = if garbage { (start..end).map(|_| self.random() as u8).collect() } else { Vec::new() };
            if let Some(target) = bytes.get_mut(start..end) {
                if keep && new.len() == target.len() {
                    target.copy_from_slice(new);
                } else if garbage {
                    target.copy_from_slice(&noise);
                }
            }
        }
        bytes
    }
}

impl SimStorage {
    /// An empty disk. Everything it decides follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::lying(seed, Lie::None)
    }

    /// An empty disk with a planted fault.
    #[must_use]
    pub fn lying(seed: u64, lie: Lie) -> Self {
        SimStorage {
            state: Arc::new(Mutex::new(State {
                random: seed,
                lie,
                inodes: Vec::new(),
                live: BTreeMap::new(),
                durable: BTreeMap::new(),
                pending: Vec::new(),
                dirs: Vec::new(),
                held: Vec::new(),
                armed: None,
                taken: None,
                steps: 0,
            })),
        }
    }

    /// Copies the files of the real directory `dir` (one level of directories below it included)
    /// to `root` of this disk, all durable.
    ///
    /// # Errors
    /// As the file system reports.
    pub fn load(&self, dir: &Path, root: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.dirs.push(root.to_path_buf());
        let mut queue = vec![(dir.to_path_buf(), root.to_path_buf())];
        while let Some((from, to)) = queue.pop() {
            for entry in std::fs::read_dir(&from)? {
                let entry = entry?;
                let target = to.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    state.dirs.push(target.clone());
                    queue.push((entry.path(), target));
                    continue;
                }
                let bytes = std::fs::read(entry.path())?;
                let window = Arc::new(Window::memory(bytes.len() as u64));
                store(&window, 0, &bytes)?;
                let inode = state.inodes.len();
                state.inodes.push(Inode { window, len: bytes.len() as u64, durable: bytes });
                state.live.insert(target.clone(), inode);
                state.durable.insert(target, inode);
            }
        }
        Ok(())
    }

    /// Takes an image at the `steps`-th operation from now, before it happens; in the middle of
    /// it if it is a sync.
    pub fn crash_after(&self, steps: u64, kind: Crash, probe: Probe) {
        self.lock_state().armed = Some((steps.max(1), kind, probe));
    }

    /// Takes an image now.
    pub fn crash_now(&self, kind: Crash, probe: Probe) {
        let mut state = self.lock_state();
        if state.taken.is_none() {
            state.armed = Some((1, kind, probe));
            state.fire();
        }
    }

    /// Whether the crash has happened.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.lock_state().taken.is_some()
    }

    /// The image of the crash, and the same moment as if the process had only been killed.
    #[must_use]
    pub fn take(&self) -> Option<(Image, Image)> {
        self.lock_state().taken.take()
    }

    /// Operations so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.lock_state().steps
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, inode: usize) -> Arc<dyn StorageFile> {
        Arc::new(SimFile { disk: self.clone(), inode })
    }
}

/// Writes through the shared words of a memory window, as a file write would show in a mapping.
fn store(window: &Window, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    for (at, byte) in (start..).zip(bytes) {
        let word = window.word(at / 8 * 8).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut value = word.load(Ordering::Relaxed).to_ne_bytes();
        if let Some(slot) = value.get_mut(at % 8) {
            *slot = *byte;
        }
        word.store(u64::from_ne_bytes(value), Ordering::Release);
    }
    Ok(())
}

impl Storage for SimStorage {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.step();
        state.dirs.push(dir.to_path_buf());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.lock_state();
        let mut entries: Vec<Entry> = Vec::new();
        for (path, inode) in &state.live {
            if path.parent() == Some(dir)
                && let Some(name) = path.file_name()
            {
                let bytes = state.inodes.get(*inode).map_or(0, |i| i.len);
                entries.push(Entry { name: name.to_string_lossy().into_owned(), bytes, is_dir: false });
            }
        }
        for sub in &state.dirs {
            if sub.parent() == Some(dir)
                && let Some(name) = sub.file_name()
            {
                entries.push(Entry { name: name.to_string_lossy().into_owned(), bytes: 0, is_dir: true });
            }
        }
        entries.sort();
        entries.dedup();
        Ok(entries)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let inode = self.lock_state().live.get(path).copied();
        inode.map(|inode| self.file(inode)).ok_or_else(|| not_found(path))
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        if let Ok(file) = self.open(path) {
            return Ok(file);
        }
        let mut state = self.lock_state();
        state.step();
        let inode = state.inodes.len();
        state.inodes.push(Inode { window: Arc::new(Window::memory(0)), len: 0, durable: Vec::new() });
        state.live.insert(path.to_path_buf(), inode);
        state.pending.push(Change::Link(path.to_path_buf(), inode));
        drop(state);
        Ok(self.file(inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.step();
        let inode = state.live.remove(from).ok_or_else(|| not_found(from))?;
        state.live.insert(to.to_path_buf(), inode);
        state.pending.push(Change::Rename(from.to_path_buf(), to.to_path_buf()));
        Ok(())
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.step();
        let inode = state.live.get(file).copied().ok_or_else(|| not_found(file))?;
        state.live.insert(name.to_path_buf(), inode);
        state.pending.push(Change::Link(name.to_path_buf(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.step();
        state.live.remove(path);
        state.pending.push(Change::Unlink(path.to_path_buf()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.step();
        if state.lie == Lie::SyncDirDoesNothing {
            return Ok(());
        }
        let (done, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.pending).into_iter().partition(|change| change.dir() == Some(dir));
        state.pending = rest;
        for change in done {
            let inode = match &change {
                Change::Rename(_, to) => state.live.get(to).copied(),
                _ => None,
            };
            change.apply(&mut state.durable, inode);
        }
        Ok(())
    }

    fn available_bytes(&self, _dir: &Path) -> Option<u64> {
        None
    }

    fn lock(&self, dir: &Path, _now: ClockPair) -> Result<Box<dyn Send>, LockError> {
        let mut state = self.lock_state();
        if state.held.iter().any(|held| held == dir) {
            return Err(LockError::Held {
                path: dir.to_path_buf(),
                role: Role::Writer,
                pid: None,
                since_wall_ns: None,
            });
        }
        state.held.push(dir.to_path_buf());
        drop(state);
        Ok(Box::new(SimLock { disk: self.clone(), dir: dir.to_path_buf() }))
    }
}

struct SimLock {
    disk: SimStorage,
    dir: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.lock_state().held.retain(|held| *held != self.dir);
    }
}

struct SimFile {
    disk: SimStorage,
    inode: usize,
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut Inode) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.lock_state();
        state.inodes.get_mut(self.inode).ok_or(io::ErrorKind::NotFound.into()).and_then(act)
    }

    fn sync(&self, from: u64, to: u64) -> io::Result<()> {
        let mut state = self.disk.lock_state();
        let lie = state.lie == Lie::SyncDoesNothing;
        let mut random = state.random();
        if state.armed.as_ref().is_some_and(|(left, _, _)| *left == 1) && !lie {
            // The crash comes in the middle: some sectors have made it.
            if let Some(inode) = state.inodes.get_mut(self.inode) {
                inode.harden(from, to, || {
                    random = random.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    random.is_multiple_of(2)
                });
            }
        }
        state.step();
        if !lie && let Some(inode) = state.inodes.get_mut(self.inode) {
            inode.harden(from, to, || true);
        }
        Ok(())
    }
}

impl StorageFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|inode| Ok(inode.len))
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|inode| {
            if offset.saturating_add(out.len() as u64) > inode.len || !inode.window.copy_out(offset, out) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(())
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.lock_state().step();
        let end = offset + bytes.len() as u64;
        self.with(|inode| {
            grow(inode, end)?;
            store(&inode.window, offset, bytes)
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.lock_state().step();
        self.with(|inode| grow(inode, len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(0, u64::MAX / 2)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(0, u64::MAX / 2)
    }

    fn map(&self, len: u64) -> io::Result<Arc<Window>> {
        self.with(|inode| {
            if inode.len < len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(Arc::clone(&inode.window))
        })
    }

    fn sync_range(&self, _window: &Window, from: u64, to: u64) -> io::Result<()> {
        self.sync(from, to)
    }
}

/// Files are sized before they are mapped, so a window that is shared never has to grow.
fn grow(inode: &mut Inode, len: u64) -> io::Result<()> {
    if len > inode.window.len() as u64 || (inode.len == 0 && len > 0) {
        let bytes = inode.live_bytes();
        inode.window = Arc::new(Window::memory(len));
        store(&inode.window, 0, &bytes)?;
    }
    inode.len = inode.len.max(len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Probe {
        Arc::new(Vec::new)
    }

    fn content(disk: &SimStorage, path: &str) -> Option<Vec<u8>> {
        disk.take().unwrap().0.files.remove(Path::new(path))
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_may_go() {
        let (mut kept, mut lost) = (0, 0);
        for seed in 0..64 {
            let disk = SimStorage::new(seed);
            let file = disk.open_or_create(Path::new("/d/f")).unwrap();
            file.write_all_at(&[1; 512], 0).unwrap();
            file.sync_all().unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            file.write_all_at(&[2; 512], 0).unwrap();
            disk.crash_now(Crash::PowerLoss, none());
            match content(&disk, "/d/f").unwrap()[0] {
                1 => lost += 1,
                2 => kept += 1,
                other => panic!("{other}"),
            }
        }
        assert!(kept > 5 && lost > 5, "{kept} kept, {lost} lost");
    }

    #[test]
    fn names_that_were_not_synced_come_and_go_on_their_own() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let disk = SimStorage::new(seed);
            let file = disk.open_or_create(Path::new("/d/tmp")).unwrap();
            file.write_all_at(&[1; 512], 0).unwrap();
            file.sync_all().unwrap();
            disk.rename(Path::new("/d/tmp"), Path::new("/d/f")).unwrap();
            disk.crash_now(Crash::PowerLoss, none());
            let names: Vec<_> = disk.take().unwrap().0.files.into_keys().collect();
            seen.insert(names);
        }
        assert!(seen.len() >= 3, "{seen:?}");
    }

    #[test]
    fn a_kill_keeps_everything_and_a_lie_keeps_nothing() {
        let disk = SimStorage::lying(1, Lie::SyncDoesNothing);
        let file = disk.open_or_create(Path::new("/d/f")).unwrap();
        file.write_all_at(&[1; 512], 0).unwrap();
        file.sync_all().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.crash_now(Crash::PowerLoss, none());
        let (crash, kill) = disk.take().unwrap();
        assert_eq!(kill.files[Path::new("/d/f")], [1; 512]);
        assert!(crash.files[Path::new("/d/f")].len() <= 512);
    }
}
