//! One writer per log: an exclusive flock on `LOCK` for as long as the holder lives.
//!
//! The kernel drops the lock when the process dies, whatever killed it, so there are no timeouts
//! and no guessing from process ids. What stands in the file (pid and start time) is only for
//! messages.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::LockError;
use crate::record::ClockPair;
use crate::storage::lock_path;

/// The text in a lock file is never longer.
const NOTE_BYTES_MAX: u64 = 256;

/// A status tool that asks for the holder takes the lock for an instant; a writer that starts
/// just then must not be turned away.
const ASKING_TRIES: u32 = 3;
const ASKING_PAUSE: Duration = Duration::from_millis(3);

/// Holds the lock until dropped.
#[derive(Debug)]
pub struct LogLock {
    file: File,
    path: PathBuf,
}

impl LogLock {
    /// Takes the lock of the log in `dir`.
    ///
    /// # Errors
    /// [`LockError::Held`] if a writer or a repair has it.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        Self::take_noting(dir, None)
    }

    /// As [`LogLock::take`], noting the time for the messages of others.
    ///
    /// # Errors
    /// As [`LogLock::take`].
    pub fn take_noting(dir: &Path, now: Option<ClockPair>) -> Result<Self, LockError> {
        Self::take_file(&lock_path(dir), now)
    }

    /// Takes an exclusive lock on `path`, creating the file.
    ///
    /// # Errors
    /// [`LockError::Held`] if someone has it.
    pub fn take_file(path: &Path, now: Option<ClockPair>) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: path.to_path_buf(), source };
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
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
                let (pid, since_wall_ns) = read_note(&mut file);
                return Err(LockError::Held { path: path.to_path_buf(), pid, since_wall_ns });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        // A note that cannot be written (full disk) costs a better message, not the lock.
        let _ = write_note(&mut file, now);
        Ok(LogLock { file, path: path.to_path_buf() })
    }

    /// Whether somebody holds the lock of the log in `dir`, and with which pid. Takes no lock
    /// that outlives the call; a missing file means nobody.
    #[must_use]
    pub fn holder(dir: &Path) -> Option<LockHolder> {
        let mut file = File::open(lock_path(dir)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {
                let (pid, since_wall_ns) = read_note(&mut file);
                Some(LockHolder { pid, since_wall_ns })
            }
            _ => None,
        }
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

/// Whether a writer or a repair holds the lock of the log in `dir`; see [`LogLock::holder`].
#[must_use]
pub fn is_held(dir: &Path) -> bool {
    LogLock::holder(dir).is_some()
}

/// Who holds a lock, as far as the lock file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Process id.
    pub pid: Option<u32>,
    /// Since when, ns since 1970-01-01 UTC.
    pub since_wall_ns: Option<u64>,
}

fn write_note(file: &mut File, now: Option<ClockPair>) -> std::io::Result<()> {
    let mut note = format!("pid={}\n", std::process::id());
    if let Some(now) = now {
        note.push_str(&format!("since_wall_ns={}\n", now.wall_ns));
    }
    file.seek(SeekFrom::Start(0))?;
    file.write_all(note.as_bytes())?;
    file.set_len(note.len() as u64)
}

fn read_note(file: &mut File) -> (Option<u32>, Option<u64>) {
    let mut note = String::new();
    if file.take(NOTE_BYTES_MAX).read_to_string(&mut note).is_err() {
        return (None, None);
    }
    let field = |name: &str| note.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    (field("pid").and_then(|v| v.parse().ok()), field("since_wall_ns").and_then(|v| v.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_with_the_pid_of_the_first_until_that_one_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let now = ClockPair { wall_ns: 123, mono_ns: 0 };
        let first = LogLock::take_noting(dir.path(), Some(now)).unwrap();
        match LogLock::take(dir.path()) {
            Err(LockError::Held { pid, since_wall_ns, .. }) => {
                assert_eq!(pid, Some(std::process::id()));
                assert_eq!(since_wall_ns, Some(123));
            }
            other => panic!("{other:?}"),
        }
        assert!(LogLock::holder(dir.path()).is_some());
        drop(first);
        assert_eq!(LogLock::holder(dir.path()), None);
        LogLock::take(dir.path()).unwrap();
    }

    #[test]
    fn asking_for_the_holder_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(LogLock::holder(dir.path()), None);
        assert!(!dir.path().join("LOCK").exists());
    }
}
