//! Segments stay until a second reading of the log (a proof, a rewrite, a playback) is done.
//!
//! ```text
//!  acks/<name>.hold     one line: the first segment that is needed, who holds it and why;
//!                       exclusive flock while a Hold is alive
//!  acks/.holds.lock     exclusive flock for an instant: while a hold is taken, and while segments are chosen and
//!                       unlinked, so that nobody lists a log of which segments are just going
//! ```
//!
//! [`crate::retire()`] keeps every segment from the lowest held one on. The kernel drops a hold when its process dies,
//! whatever killed it; its file is removed by the next retirement. A file appears under its name only when it is
//! locked, so one that can be locked is not held. A hold whose line cannot be read holds everything.
//!
//! Never an ack: it says nothing about what is safe elsewhere and does not outlive its process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::durable;
use crate::layout::ACKS_DIR;
use crate::record::SegmentId;
use crate::regular;

const SUFFIX: &str = ".hold";
const LOCK: &str = ".holds.lock";
/// The line is never longer and always padded to this, so that it is replaced by one write.
const LINE_BYTES: usize = 256;

/// Looks whether nobody else chooses segments: 10 s in all, for an unlink can be slow.
const CHOOSING_LOOKS: u32 = 1_000;
const CHOOSING_PAUSE: Duration = Duration::from_millis(10);

/// Segments of a log stay while it is alive.
#[derive(Debug)]
pub struct Hold {
    file: File,
    path: PathBuf,
    purpose: String,
}

/// A hold that is alive, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The first segment that stays.
    pub from: SegmentId,
    /// Who has it and why, in plain words.
    pub who: String,
}

impl Hold {
    /// Keeps the segments of the log in `dir` from `from` on. `name` (a file name without suffix) has to be one that
    /// nobody else ever uses; `purpose` is shown to others.
    ///
    /// # Errors
    /// When the file cannot be written or locked, or the name is taken.
    pub fn take(dir: &Path, name: &str, from: SegmentId, purpose: &str) -> io::Result<Hold> {
        let acks = dir.join(ACKS_DIR);
        durable::create_dir_all(&acks)?;
        let _choosing = choosing(&acks)?;
        let tmp = acks.join(format!(".{name}{SUFFIX}.tmp"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&tmp)?;
        file.lock()?;
        let hold = Hold { file, path: acks.join(format!("{name}{SUFFIX}")), purpose: purpose.to_owned() };
        hold.advance(from)?;
        durable::rename(&tmp, &hold.path)?;
        Ok(hold)
    }

    /// Segments before `from` are needed no longer.
    ///
    /// # Errors
    /// As the file system reports; what was held before stays held.
    pub fn advance(&self, from: SegmentId) -> io::Result<()> {
        let text = format!("segment={} pid={} why={}", from.0, std::process::id(), self.purpose.replace('\n', " "));
        let mut line = vec![b' '; LINE_BYTES];
        for (to, byte) in line.iter_mut().zip(text.bytes()) {
            *to = byte;
        }
        if let Some(last) = line.last_mut() {
            *last = b'\n';
        }
        self.file.write_all_at(&line, 0)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Whoever retires next removes what stays; its lock is gone with the process at the latest.
        let _ = fs::remove_file(&self.path);
    }
}

/// Nobody takes a hold and nobody deletes segments while the answer is alive.
///
/// # Errors
/// When the file cannot be made or locked, or whoever has it was stopped in the middle.
pub(crate) fn choosing(acks: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = regular::open_as(options.read(true).write(true).create(true).truncate(false), &acks.join(LOCK))?;
    for _ in 0..CHOOSING_LOOKS {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(CHOOSING_PAUSE),
            Err(TryLockError::Error(err)) => return Err(err),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "another process chooses segments to delete and does not end"))
}

/// The holds of the log in `dir` that are alive. Removes files of those that are not.
///
/// # Errors
/// When the directory or a file in it cannot be read: then nothing may be deleted.
pub fn holds(dir: &Path) -> io::Result<Vec<Held>> {
    let entries = match fs::read_dir(dir.join(ACKS_DIR)) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "hold") {
            continue;
        }
        let file = match regular::open(&path) {
            // Let go just now.
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => found.push(read(&file)?),
            // Its process died. One that cannot be removed is looked at again, that is all.
            Ok(()) => drop(fs::remove_file(&path)),
            Err(TryLockError::Error(err)) => return Err(err),
        }
    }
    Ok(found)
}

fn read(file: &File) -> io::Result<Held> {
    let mut line = [0; LINE_BYTES];
    let read = file.read_at(&mut line, 0)?;
    let text = String::from_utf8_lossy(line.get(..read).unwrap_or_default()).trim_end().to_owned();
    let parsed = text.strip_prefix("segment=").and_then(|rest| rest.split_once(' '));
    Ok(match parsed.and_then(|(id, who)| Some((id.parse().ok()?, who.to_owned()))) {
        Some((id, who)) => Held { from: SegmentId(id), who },
        None => Held { from: SegmentId(0), who: "a process whose note cannot be read".to_owned() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_seen_while_it_lives_moves_on_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(holds(dir.path()).unwrap(), []);
        let hold = Hold::take(dir.path(), "replay-1", SegmentId(7), "replay --verify").unwrap();
        let other = Hold::take(dir.path(), "replay-2", SegmentId(3), "rewrite").unwrap();
        let mut from: Vec<u64> = holds(dir.path()).unwrap().iter().map(|h| h.from.0).collect();
        from.sort_unstable();
        assert_eq!(from, [3, 7]);
        drop(other);
        hold.advance(SegmentId(12)).unwrap();
        let held = holds(dir.path()).unwrap();
        assert_eq!((held.len(), held[0].from), (1, SegmentId(12)));
        assert!(held[0].who.contains(&format!("pid={} why=replay --verify", std::process::id())), "{held:?}");
        drop(hold);
        assert_eq!(holds(dir.path()).unwrap(), []);
        let left: Vec<_> = fs::read_dir(dir.path().join(ACKS_DIR)).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, [LOCK]);
    }

    #[test]
    fn a_hold_of_a_dead_process_holds_nothing_and_one_that_cannot_be_read_holds_all() {
        let dir = tempfile::tempdir().unwrap();
        let acks = dir.path().join(ACKS_DIR);
        let hold = Hold::take(dir.path(), "a", SegmentId(7), "replay").unwrap();
        fs::write(acks.join("b.hold"), "segment=3 pid=1 why=killed").unwrap();
        hold.file.write_all_at(b"?", 0).unwrap();
        let held = holds(dir.path()).unwrap();
        assert_eq!((held.len(), held[0].from), (1, SegmentId(0)));
        assert!(!acks.join("b.hold").exists());
    }
}
