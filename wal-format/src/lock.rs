//! Who is at work in a log: at most one writer, at most one repair, and both at once without waiting for each other.
//!
//! ```text
//!             LOCK      WRITER       REPAIR
//!  writer     shared    exclusive    -           for its whole life
//!  repair     shared    -            exclusive   while it repairs
//!  version 1  exclusive -            -           its writer and its repair alike: alone in the log
//! ```
//!
//! All are `flock`s: the kernel drops them when the process dies, whatever killed it, so there are no timeouts and no
//! guessing from process ids. What the files contain (pid, start time, what for) is only for messages.
//!
//! A repair touches segments of earlier runs alone: it lists them before it looks whether a writer lives, and a writer
//! takes no file for its own that was there before it ([`repair`](mod@crate::repair), `open`).

mod role;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use self::role::Role;
use crate::control;
use crate::error::LockError;
use crate::layout::{LOCK_FILE, REPAIR_LOCK_FILE, WRITER_LOCK_FILE};
use crate::record::ClockPair;
use crate::regular;

/// The text in a lock file is never longer.
const NOTE_BYTES_MAX: u64 = 256;

/// A query for the holder takes the lock for an instant; a writer that starts just then must not be turned away,
/// not even when the asking process was kept from its core meanwhile.
const ASKING_TRIES: u32 = 15;
const ASKING_PAUSE: Duration = Duration::from_millis(3);

/// A repair by version 1 excludes writers. It walks one segment at a time: a writer that comes back waits for it this
/// long before it gives up.
const OLD_REPAIR_MOST: Duration = Duration::from_secs(30);

/// Holds a lock until dropped.
#[derive(Debug)]
pub struct LogLock {
    file: File,
    path: PathBuf,
    /// LOCK, shared, which keeps processes of version 1 out.
    _shared: Option<File>,
}

impl LogLock {
    /// Takes the writer's lock of the log in `dir`.
    ///
    /// # Errors
    /// [`LockError::Held`] if a writer has it, or for too long a repair by version 1.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        Self::take_noting(dir, None)
    }

    /// As [`LogLock::take`], noting the time for the messages of others.
    ///
    /// # Errors
    /// As [`LogLock::take`].
    pub fn take_noting(dir: &Path, now: Option<ClockPair>) -> Result<Self, LockError> {
        let mut shared = share(dir, OLD_REPAIR_MOST)?;
        let mut lock = Self::take_role(&dir.join(WRITER_LOCK_FILE), Role::Writer, now)?;
        // For a person, and for version 1, who look here. Costs a better message, not the lock.
        let _ = write_note(&mut shared, Some(Role::Writer), now);
        lock._shared = Some(shared);
        Ok(lock)
    }

    /// Takes the lock of a repair, which works beside a writer. The caller has listed the segments that it is about
    /// to repair: a writer that starts from now on uses none of them.
    ///
    /// # Errors
    /// [`LockError::Held`] if a writer lives, which repairs by itself, or if another repair is at work.
    pub fn take_for_repair(dir: &Path) -> Result<Self, LockError> {
        let mut shared = share(dir, Duration::ZERO)?;
        let mut lock = Self::take_beside_writer(dir)?;
        if let Some(writer) = holder_of(dir, Role::Writer) {
            return Err(held(dir.join(LOCK_FILE), &writer));
        }
        // As above.
        let _ = write_note(&mut shared, Some(Role::Repair), None);
        lock._shared = Some(shared);
        Ok(lock)
    }

    /// Takes the lock of a repair for the writer's own one.
    ///
    /// # Errors
    /// [`LockError::Held`] while another repair is at work.
    pub(crate) fn take_beside_writer(dir: &Path) -> Result<Self, LockError> {
        Self::take_role(&dir.join(REPAIR_LOCK_FILE), Role::Repair, None)
    }

    /// Takes an exclusive lock on `path`, creating the file.
    ///
    /// # Errors
    /// [`LockError::Held`] if someone has it.
    pub fn take_file(path: &Path, now: Option<ClockPair>) -> Result<Self, LockError> {
        Self::take_as(path, None, now)
    }

    fn take_role(path: &Path, role: Role, now: Option<ClockPair>) -> Result<Self, LockError> {
        Self::take_as(path, Some(role), now)
    }

    fn take_as(path: &Path, role: Option<Role>, now: Option<ClockPair>) -> Result<Self, LockError> {
        let mut file = open_or_create(path)?;
        let mut tries = 0;
        let locked = loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) if tries < ASKING_TRIES => {
                    tries += 1;
                    std::thread::sleep(ASKING_PAUSE);
                }
                other => break other,
            }
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let found = read_note(&mut file);
                let role = role.or(found.role).unwrap_or(Role::Writer);
                // The file that a person knows says the same.
                let named = if role == Role::Writer && path.ends_with(WRITER_LOCK_FILE) {
                    path.with_file_name(LOCK_FILE)
                } else {
                    path.to_path_buf()
                };
                return Err(held(named, &LockHolder { role, ..found.into() }));
            }
            Err(TryLockError::Error(source)) => return Err(LockError::Io { path: path.to_path_buf(), source }),
        }
        // A note that cannot be written (full disk) costs a better message, not the lock.
        let _ = write_note(&mut file, role, now);
        Ok(LogLock { file, path: path.to_path_buf(), _shared: None })
    }

    /// Who is at work in the log in `dir`: the writer, if one lives, else a repair. Takes no lock that outlives the
    /// call; a missing file means nobody.
    #[must_use]
    pub fn holder(dir: &Path) -> Option<LockHolder> {
        holder_of(dir, Role::Writer).or_else(|| old_holder(dir)).or_else(|| holder_of(dir, Role::Repair))
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LogLock {
    fn drop(&mut self) {
        // Closing the file drops the lock anyway; a failure here changes nothing.
        let _ = self.file.unlock();
    }
}

/// Who holds a lock, as far as the lock file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// What for.
    pub role: Role,
    /// Process id.
    pub pid: Option<u32>,
    /// Since when, ns since 1970-01-01 UTC.
    pub since_wall_ns: Option<u64>,
}

fn held(path: PathBuf, holder: &LockHolder) -> LockError {
    LockError::Held { path, role: holder.role, pid: holder.pid, since_wall_ns: holder.since_wall_ns }
}

fn open_or_create(path: &Path) -> Result<File, LockError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    regular::open_as(&mut options, path).map_err(|source| LockError::Io { path: path.to_path_buf(), source })
}

/// Takes LOCK shared. A process of version 1 that repairs is waited for, at most `patience`.
fn share(dir: &Path, patience: Duration) -> Result<File, LockError> {
    let path = dir.join(LOCK_FILE);
    let mut file = open_or_create(&path)?;
    let begun = Instant::now();
    loop {
        match file.try_lock_shared() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(LockError::Io { path, source }),
            Err(TryLockError::WouldBlock) => {}
        }
        let holder = old_role(dir, read_note(&mut file));
        if begun.elapsed() >= if holder.role == Role::Repair { patience } else { Duration::ZERO } {
            return Err(held(path, &holder));
        }
        std::thread::sleep(ASKING_PAUSE);
    }
}

fn holder_of(dir: &Path, role: Role) -> Option<LockHolder> {
    let mut file = regular::open(&dir.join(role.file())).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(LockHolder { role, ..read_note(&mut file).into() }),
        _ => None,
    }
}

/// A process of version 1.
fn old_holder(dir: &Path) -> Option<LockHolder> {
    let mut file = regular::open(&dir.join(LOCK_FILE)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(old_role(dir, read_note(&mut file))),
        _ => None,
    }
}

/// Version 1 did not note what it held LOCK for. Its writer introduces itself in CONTROL.
fn old_role(dir: &Path, note: Note) -> LockHolder {
    let writes = control::read(dir).is_some_and(|control| Some(control.pid) == note.pid && !control.closed);
    LockHolder { role: if writes { Role::Writer } else { Role::Repair }, ..note.into() }
}

/// The content of a lock file.
#[derive(Clone, Copy, Default)]
struct Note {
    role: Option<Role>,
    pid: Option<u32>,
    since_wall_ns: Option<u64>,
}

impl From<Note> for LockHolder {
    fn from(note: Note) -> Self {
        let Note { role, pid, since_wall_ns } = note;
        LockHolder { role: role.unwrap_or(Role::Writer), pid, since_wall_ns }
    }
}

fn write_note(file: &mut File, role: Option<Role>, now: Option<ClockPair>) -> std::io::Result<()> {
    let mut note = format!("pid={}\n", std::process::id());
    if let Some(now) = now {
        note.push_str(&format!("since_wall_ns={}\n", now.wall_ns));
    }
    if let Some(role) = role {
        note.push_str(&format!("for={}\n", role.as_str()));
    }
    file.seek(SeekFrom::Start(0))?;
    file.write_all(note.as_bytes())?;
    file.set_len(note.len() as u64)
}

fn read_note(file: &mut File) -> Note {
    let mut text = String::new();
    if file.seek(SeekFrom::Start(0)).and_then(|_| file.take(NOTE_BYTES_MAX).read_to_string(&mut text)).is_err() {
        return Note::default();
    }
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let role = [Role::Writer, Role::Repair].into_iter().find(|role| field("for") == Some(role.as_str()));
    let number = |name| field(name).and_then(|v| v.parse().ok());
    Note { role, pid: field("pid").and_then(|v| v.parse().ok()), since_wall_ns: number("since_wall_ns") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Control;
    use crate::storage::OsStorage;

    const NOW: ClockPair = ClockPair { wall_ns: 123, mono_ns: 0 };

    #[test]
    fn a_second_writer_is_refused_with_the_pid_of_the_first_until_that_one_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = LogLock::take_noting(dir.path(), Some(NOW)).unwrap();
        match LogLock::take(dir.path()) {
            Err(LockError::Held { role: Role::Writer, pid, since_wall_ns, .. }) => {
                assert_eq!(pid, Some(std::process::id()));
                assert_eq!(since_wall_ns, Some(123));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(LogLock::holder(dir.path()).map(|h| h.role), Some(Role::Writer));
        let lock = std::fs::read_to_string(dir.path().join(LOCK_FILE)).unwrap();
        assert_eq!(lock, format!("pid={}\nsince_wall_ns=123\nfor=writer\n", std::process::id()));
        drop(first);
        assert_eq!(LogLock::holder(dir.path()), None);
        LogLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_writer_takes_its_lock_while_a_repair_is_at_work_and_a_repair_leaves_a_writer_alone() {
        let dir = tempfile::tempdir().unwrap();
        let repair = LogLock::take_for_repair(dir.path()).unwrap();
        assert_eq!(LogLock::holder(dir.path()).map(|h| h.role), Some(Role::Repair));
        let lock = std::fs::read_to_string(dir.path().join(LOCK_FILE)).unwrap();
        assert_eq!(lock, format!("pid={}\nfor=repair\n", std::process::id()));
        assert!(matches!(
            LogLock::take_for_repair(dir.path()),
            Err(LockError::Held { role: Role::Repair, pid: Some(_), .. })
        ));
        let writer = LogLock::take(dir.path()).unwrap();
        assert_eq!(LogLock::holder(dir.path()).map(|h| h.role), Some(Role::Writer));
        assert!(matches!(LogLock::take_beside_writer(dir.path()), Err(LockError::Held { role: Role::Repair, .. })));
        drop(repair);
        let own = LogLock::take_beside_writer(dir.path()).unwrap();
        drop(own);
        assert!(matches!(
            LogLock::take_for_repair(dir.path()),
            Err(LockError::Held { role: Role::Writer, pid: Some(_), .. })
        ));
        drop(writer);
        LogLock::take_for_repair(dir.path()).unwrap();
    }

    /// Version 1 takes LOCK alone and exclusively, for its writer and its repair alike.
    #[test]
    fn a_process_of_version_1_is_respected_its_writer_at_once_and_its_repair_until_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let old = LogLock::take_file(&dir.path().join(LOCK_FILE), Some(NOW)).unwrap();
        assert_eq!(LogLock::holder(dir.path()).map(|h| h.role), Some(Role::Repair));
        assert!(matches!(LogLock::take_for_repair(dir.path()), Err(LockError::Held { .. })));
        let (control, _) = Control::open(&OsStorage, dir.path(), 1, [0; 16], NOW);
        assert_eq!(LogLock::holder(dir.path()).map(|h| h.role), Some(Role::Writer));
        assert!(matches!(LogLock::take(dir.path()), Err(LockError::Held { role: Role::Writer, .. })));
        control.closed();
        std::thread::scope(|s| {
            s.spawn(|| {
                std::thread::sleep(ASKING_PAUSE * 3);
                drop(old);
            });
            LogLock::take(dir.path()).unwrap();
        });
        // And it is kept out, whoever of the others is at work.
        let old = || LogLock::take_file(&dir.path().join(LOCK_FILE), None);
        let writer = LogLock::take(dir.path()).unwrap();
        assert!(old().is_err());
        drop(writer);
        let repair = LogLock::take_for_repair(dir.path()).unwrap();
        assert!(old().is_err());
        drop(repair);
        old().unwrap();
    }

    #[test]
    fn asking_for_the_holder_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(LogLock::holder(dir.path()), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
