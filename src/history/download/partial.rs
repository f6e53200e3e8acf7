//! A download that is not whole yet: bytes that only this attempt writes, and how it takes over what an earlier one
//! left.
//!
//! An attempt may be taken for dead and wake up again, its file still open. So nobody writes into a file that somebody
//! else may have open: what was left on this machine, and whose lock says that nobody has it, is taken as it is; all
//! else is copied, which costs no more than reading it, as its hash needs anyway.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wal_format::{durable, regular};

use super::checksum::hash_prefix;
use super::mark::{self, Left, Mark};

/// Bytes copied at once.
const PIECE: usize = 256 << 10;

/// An open partial file, its length and the hash of what is in it.
pub(super) struct Partial {
    pub path: PathBuf,
    file: File,
    hash: Sha256,
    pub len: u64,
}

impl Partial {
    /// Opens the file of an attempt at `dest`: with what earlier ones left of the same upload where `again` says that
    /// there may be something, empty otherwise. What they left is gone afterwards.
    pub(super) fn open(dest: &Path, etag: Option<&str>, mark: &Mark, again: bool) -> io::Result<Self> {
        let path = mark::partial(dest, etag, mark);
        let mut part = None;
        if again {
            let found =
                etag.map_or(Ok(Vec::new()), |e| Ok::<_, io::Error>(mark::to_resume(mark::left_of(dest)?, e, mark)));
            for left in found? {
                part = take_over(&left, &path, mark)?;
                if part.is_some() {
                    break;
                }
            }
            mark::sweep(dest, Some(mark), Some(&path))?;
        }
        match part {
            Some(part) => Ok(part),
            None => Ok(Self { file: create(&path)?, path, hash: Sha256::new(), len: 0 }),
        }
    }

    /// Throws away what is there.
    pub(super) fn start_over(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.hash = Sha256::new();
        self.len = 0;
        Ok(())
    }

    /// Adds bytes at the end.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// SHA-256 of all bytes, as lower-case hex.
    pub(super) fn sha256(&self) -> String {
        lake::hash::hex(&self.hash.clone().finalize())
    }
}

/// A new file that nobody else has, locked as long as it is open.
fn create(path: &Path) -> io::Result<File> {
    let file = regular::open_as(File::options().create(true).append(true), path)?;
    file.set_len(0)?;
    // Where there are no locks, what is left is copied.
    let _ = file.try_lock();
    Ok(file)
}

/// What an earlier attempt left, under our own name; `None` when it is gone.
fn take_over(left: &Left, own: &Path, mark: &Mark) -> io::Result<Option<Partial>> {
    let file = match regular::open_as(File::options().read(true).append(true), &left.path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let ours = left.mark.as_ref().is_some_and(|m| m.same_node(mark));
    match if ours { file.try_lock() } else { Err(TryLockError::WouldBlock) } {
        Ok(()) => match durable::publish_file(&left.path, own) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            done => {
                done?;
                let (hash, len) = hash_prefix(own, u64::MAX)?;
                Ok(Some(Partial { path: own.to_owned(), file, hash, len }))
            }
        },
        Err(_) => copy(file, own).map(Some),
    }
}

fn copy(mut from: File, own: &Path) -> io::Result<Partial> {
    let mut part = Partial { path: own.to_owned(), file: create(own)?, hash: Sha256::new(), len: 0 };
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(part),
            Ok(n) => part.append(piece.get(..n).unwrap_or_default())?,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::mark::DownloadWorker;
    use super::*;

    fn mark(node: &str, attempt: u64) -> Mark {
        Mark { worker: DownloadWorker::new(node, 7), attempt }
    }

    fn inode(file: &File) -> u64 {
        use std::os::unix::fs::MetadataExt;
        file.metadata().unwrap().ino()
    }

    #[test]
    fn what_a_dead_attempt_of_this_machine_left_is_taken_as_it_is_and_of_another_one_copied() {
        for (node, same) in [("a", true), ("b", false)] {
            let dir = tempfile::tempdir().unwrap();
            let dest = dir.path().join("A-trades-2024-01-01.zip");
            let mut one = Partial::open(&dest, Some("abc-2"), &mark("a", 1), false).unwrap();
            one.append(b"abc").unwrap();
            let was = inode(&one.file);
            drop(one);
            let two = Partial::open(&dest, Some("abc-2"), &mark(node, 2), true).unwrap();
            assert_eq!((two.len, inode(&two.file) == was), (3, same));
            assert!(two.sha256().starts_with("ba7816bf"));
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
            drop(two);
            let other = Partial::open(&dest, Some("abd"), &mark(node, 3), true).unwrap();
            assert_eq!(other.len, 0, "another upload is not continued");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn an_attempt_that_wakes_up_after_it_was_taken_over_can_neither_spoil_nor_publish() {
        for node in ["a", "b"] {
            let dir = tempfile::tempdir().unwrap();
            let dest = dir.path().join("A-trades-2024-01-01.zip");
            let mut asleep = Partial::open(&dest, Some("t"), &mark("a", 1), false).unwrap();
            asleep.append(b"one ").unwrap();
            let mut heir = Partial::open(&dest, Some("t"), &mark(node, 2), true).unwrap();
            assert_eq!(heir.len, 4);
            asleep.append(b"from the dead").unwrap();
            heir.append(b"two").unwrap();
            asleep.start_over().unwrap();
            assert_eq!(std::fs::read(&heir.path).unwrap(), b"one two");
            assert!(heir.sha256() == lake::hash::sha256_hex(b"one two"));
            let late = durable::publish_file(&asleep.path, &dest).unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::NotFound);
            durable::publish_file(&heir.path, &dest).unwrap();
            // Neither can it take the file back: its attempt is the earlier one.
            let again = Partial::open(&dest, Some("t"), &mark("a", 1), true).unwrap();
            assert_eq!((again.len, std::fs::read(&dest).unwrap()), (0, b"one two".to_vec()));
        }
    }
}
