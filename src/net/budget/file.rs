//! The ledger as the processes of one machine share it: a small file of fixed size, locked for the moment of each change.
//!
//! ```text
//! byte 0        "<seq> <bytes> <crc32>\n{json}"     slot 0, SLOT_BYTES, zeros after it
//! byte 131072   the same                            slot 1: each change is written to the older slot
//! ```
//! Written in place and all of it allocated at once, so that a full disk does not end the sharing; a process that is killed
//! while it writes leaves the other slot, one change older. Times are of the monotonic clock; the boot they are of stands
//! beside them, and after another one they are moved by the wall clock.
//!
//! Never waits long: a lock that is not to be had for [`PATIENCE`] (its owner was stopped) is an error, and the caller goes on
//! with what it knows. Nothing is synced: what a power cut takes is a minute old anyway.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wal_format::regular;

use super::ledger::{Ledger, Owner};
use ops::{clock, host};

const SLOT_BYTES: usize = 128 << 10;
const HEAD_BYTES: usize = 64;
const VERSION: u32 = 1;
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// Which boot the times are of.
    boot: String,
    /// Both clocks when it was written, ns.
    mono_ns: i64,
    wall_ns: i64,
    #[serde(flatten)]
    ledger: Ledger,
}

/// What became of a change.
#[derive(Debug)]
pub(super) struct Changed<T> {
    pub result: T,
    pub ledger: Ledger,
    /// Others do not know of it.
    pub unwritten: Option<io::Error>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct SharedFile {
    path: PathBuf,
    file: Option<File>,
    boot: String,
    owner: Owner,
}

impl SharedFile {
    pub(super) fn new(path: PathBuf) -> Self {
        let boot = format!("{:032x}", u128::from_be_bytes(wal_format::boot::boot_id()));
        Self { path, file: None, boot, owner: own() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Changes the ledger, alone among all processes.
    ///
    /// # Errors
    /// As the file system says, with `work`, which was not done.
    pub(super) fn change<T, W: FnOnce(&mut Ledger, i64) -> T>(
        &mut self,
        work: W,
    ) -> Result<Changed<T>, (io::Error, W)> {
        let read = |this: &mut Self| -> io::Result<(File, u64, Option<Stored>)> {
            let file = this.locked()?;
            let (seq, stored) = read(&file)?;
            Ok((file, seq, stored))
        };
        let (file, seq, stored) = match read(self) {
            Ok(read) => read,
            Err(error) => return Err((error, work)),
        };
        let (now_ns, wall_ns) = now();
        let mut ledger = stored.map_or_else(Ledger::default, |stored| self.of_this_boot(stored, now_ns, wall_ns));
        ledger.tidy(now_ns);
        ledger.owner = self.owner;
        ledger.forget_dead(|owner| owner == self.owner || host::process_began(owner.0) == Some(owner.1));
        let result = work(&mut ledger, now_ns);
        let stored = Stored { version: VERSION, boot: self.boot.clone(), mono_ns: now_ns, wall_ns, ledger };
        let unwritten = write(&file, seq + 1, &stored).err();
        // Closing it would do as well.
        let _ = file.unlock();
        self.file = unwritten.is_none().then_some(file);
        Ok(Changed { result, ledger: stored.ledger, unwritten })
    }

    fn of_this_boot(&self, stored: Stored, now_ns: i64, wall_ns: i64) -> Ledger {
        let mut ledger = stored.ledger;
        if stored.boot != self.boot || stored.mono_ns > now_ns {
            let passed = wall_ns.saturating_sub(stored.wall_ns).max(0);
            ledger.shift(now_ns.saturating_sub(stored.mono_ns).saturating_sub(passed));
        }
        ledger
    }

    /// The file, open and locked; made where there is none.
    fn locked(&mut self) -> io::Result<File> {
        let until = Instant::now() + PATIENCE;
        loop {
            let file = match self.file.take() {
                Some(file) => file,
                None => self.open()?,
            };
            loop {
                match file.try_lock() {
                    Ok(()) => break,
                    Err(TryLockError::WouldBlock) if Instant::now() < until => {
                        std::thread::sleep(Duration::from_millis(1))
                    }
                    Err(TryLockError::WouldBlock) => {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds its lock"));
                    }
                    Err(TryLockError::Error(err)) => return Err(err),
                }
            }
            // It was removed: other processes share a new one by now.
            if file.metadata()?.nlink() > 0 {
                return Ok(file);
            }
        }
    }

    fn open(&self) -> io::Result<File> {
        if let Some(dir) = self.path.parent() {
            wal_format::durable::create_dir_all(dir)?;
        }
        let file =
            regular::open_as(OpenOptions::new().read(true).write(true).create(true).truncate(false), &self.path)?;
        if file.metadata()?.len() < 2 * SLOT_BYTES as u64 {
            let bytes = 2 * SLOT_BYTES as u64;
            // Where the file system cannot allocate, its length is enough until the disk is full.
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
                .or_else(|_| file.set_len(bytes).map_err(|_| rustix::io::Errno::IO))?;
        }
        Ok(file)
    }
}

/// This process.
fn own() -> Owner {
    let pid = std::process::id();
    Owner(pid, host::process_began(pid).unwrap_or(0))
}

/// The monotonic and the wall clock, ns.
fn now() -> (i64, i64) {
    let pair = clock::now();
    let signed = |ns| i64::try_from(ns).unwrap_or(i64::MAX);
    (signed(pair.mono_ns), signed(pair.wall_ns))
}

/// The newer of the two slots that are whole.
fn read(file: &File) -> io::Result<(u64, Option<Stored>)> {
    let mut heads = Vec::new();
    for slot in 0..2_u64 {
        let mut head = [0; HEAD_BYTES];
        file.read_exact_at(&mut head, slot * SLOT_BYTES as u64)?;
        heads.extend(head_of(&head).map(|head| (head, slot)));
    }
    heads.sort_unstable_by_key(|((seq, ..), _)| std::cmp::Reverse(*seq));
    let newest = heads.first().map_or(0, |((seq, ..), _)| *seq);
    for ((_, bytes, crc, at), slot) in heads {
        let mut text = vec![0; bytes];
        file.read_exact_at(&mut text, slot * SLOT_BYTES as u64 + at as u64)?;
        if crc32fast::hash(&text) != crc {
            continue;
        }
        let stored: Stored = serde_json::from_slice(&text).map_err(io::Error::other)?;
        if stored.version != VERSION {
            return Err(io::Error::other(format!("it is of version {}, this program knows {VERSION}", stored.version)));
        }
        return Ok((newest, Some(stored)));
    }
    Ok((newest, None))
}

/// Sequence, bytes, checksum, and where the text begins.
fn head_of(head: &[u8]) -> Option<(u64, usize, u32, usize)> {
    let end = head.iter().position(|b| *b == b'\n')?;
    let mut words = std::str::from_utf8(head.get(..end)?).ok()?.split(' ');
    let (seq, bytes, crc) = (words.next()?, words.next()?, words.next()?);
    let (seq, bytes, crc) = (seq.parse().ok()?, bytes.parse().ok()?, u32::from_str_radix(crc, 16).ok()?);
    (seq < u64::MAX && bytes <= SLOT_BYTES - HEAD_BYTES).then_some((seq, bytes, crc, end + 1))
}

fn write(file: &File, seq: u64, stored: &Stored) -> io::Result<()> {
    let text = serde_json::to_vec(stored).map_err(io::Error::other)?;
    let mut slot = format!("{seq} {} {:08x}\n", text.len(), crc32fast::hash(&text)).into_bytes();
    slot.extend_from_slice(&text);
    if text.len() > SLOT_BYTES - HEAD_BYTES {
        return Err(io::Error::other(format!("{} bytes of ledger do not fit", text.len())));
    }
    file.write_all_at(&slot, (seq % 2) * SLOT_BYTES as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::ledger::{Class, Grant, Quota, What};
    use super::*;

    fn done<T>(file: &mut SharedFile, work: impl FnOnce(&mut Ledger, i64) -> T) -> T {
        let changed = file.change(work).map_err(|(error, _)| error).unwrap();
        assert!(changed.unwritten.is_none());
        changed.result
    }

    fn error(file: &mut SharedFile) -> io::Error {
        file.change(|_, _| ()).map_err(|(error, _)| error).unwrap_err()
    }

    const QUOTA: Quota = Quota { limit: 100, background: 50, per_ns: 60_000_000_000, gap_ns: 0 };

    fn spend(file: &mut SharedFile, weight: u64) -> bool {
        let ask = |l: &mut Ledger, now| (l.ask(now, What::Rest(weight, Class::Live), &QUOTA), now);
        let (grant, now) = done(file, ask);
        matches!(grant, Grant::At(slot) if slot.at_ns == now)
    }

    fn two() -> (tempfile::TempDir, SharedFile, SharedFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("budget/x.direct");
        let (a, b) = (SharedFile::new(path.clone()), SharedFile::new(path));
        (dir, a, b)
    }

    #[test]
    fn what_one_process_spends_the_other_does_not_have() {
        let (_dir, mut a, mut b) = two();
        assert!(spend(&mut a, 60));
        assert!(spend(&mut b, 40));
        assert!(!spend(&mut a, 1));
        assert!(!spend(&mut b, 1));
    }

    #[test]
    fn a_process_that_is_killed_while_it_writes_costs_the_last_change_only() {
        let (_dir, mut a, mut b) = two();
        done(&mut a, |l, now| l.ban(now, now + 60_000_000_000, "418"));
        assert!(done(&mut a, |l, now| l.banned(now).is_some()));
        // The third change is in slot 1, torn.
        done(&mut a, |_, _| ());
        let file = std::fs::OpenOptions::new().write(true).open(a.path()).unwrap();
        file.write_all_at(b"torn", SLOT_BYTES as u64 + 80).unwrap();
        assert!(done(&mut b, |l, now| l.banned(now).is_some()));
        // Both torn: a new ledger, not an error for ever.
        for slot in 0..2 {
            file.write_all_at(b"torn", slot * SLOT_BYTES as u64 + 80).unwrap();
        }
        assert!(!done(&mut b, |l, now| l.banned(now).is_some()));
        file.write_all_at(&[0xff; 64], 0).unwrap();
        file.write_all_at(&[0xff; 64], SLOT_BYTES as u64).unwrap();
        assert!(spend(&mut b, 1));
    }

    #[test]
    fn a_file_that_was_removed_is_made_again_and_shared_again() {
        let (_dir, mut a, mut b) = two();
        assert!(spend(&mut a, 1) && spend(&mut b, 1));
        std::fs::remove_file(a.path()).unwrap();
        assert!(spend(&mut b, 60));
        assert!(!spend(&mut a, 60), "not by the removed one");
    }

    #[test]
    fn a_lock_that_nobody_gives_back_and_a_name_under_which_there_is_no_file_are_errors_soon() {
        let (dir, mut a, b) = two();
        assert!(spend(&mut a, 1));
        let held = std::fs::File::open(b.path()).unwrap();
        held.lock().unwrap();
        assert_eq!(error(&mut a).kind(), io::ErrorKind::TimedOut);
        held.unlock().unwrap();
        assert!(spend(&mut a, 1));
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(regular::is_refused(&error(&mut SharedFile::new(fifo))));
    }

    #[test]
    fn a_ban_outlives_a_reboot_and_a_later_version_is_left_alone() {
        let (_dir, mut a, _) = two();
        let (now_ns, wall_ns) = now();
        done(&mut a, |_, _| ());
        let mut ledger = Ledger::default();
        ledger.ban(500, 100_000_000_000, "418");
        let before = Stored {
            version: VERSION,
            boot: "another".into(),
            mono_ns: 500,
            wall_ns: wall_ns - 40_000_000_000,
            ledger,
        };
        write(a.file.as_ref().unwrap(), 7, &before).unwrap();
        let left = done(&mut a, |l, now| l.banned(now).unwrap().until_ns) - now_ns;
        assert!((59_000_000_000..61_000_000_000).contains(&left), "{left}");
        write(a.file.as_ref().unwrap(), 99, &Stored { version: 2, ..before }).unwrap();
        assert!(error(&mut a).to_string().contains("version 2"));
    }
}
