//! The folder of a mirror: its name, what lies where, and who writes into it: one download alone, or several that share
//! a manifest and keep out of each other's way by its leases.
//!
//! A mirror has a name of its own (`.mirror` in its folder), for several machines may see the folder under paths of
//! their own. Never touches the files of the archive.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wal_format::{durable, regular};

use super::error::{HistoryError, Result};
use super::manifest::{self, Queue};
use super::path::ArchivePath;
use crate::settings::Settings;
use ops::host;

/// Held by the process that downloads into the mirror; together by those who share a manifest.
const LOCK: &str = ".download.lock";
/// Number of the file itself, and the name of the mirror: a copy of the folder has another number, and is no such mirror.
const NAME: &str = ".mirror";
/// Between two looks whether the mirror is free.
const PAUSE: Duration = Duration::from_millis(50);
/// A process that is being started inherits every lock for an instant: one look is not enough.
const LOOKS: u32 = 20;
/// The first of those who share a mirror has it alone for as long as its database takes to answer.
const LOOKS_SHARED: u32 = 400;

/// A mirror on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Its folder, absolute.
    pub dir: PathBuf,
    /// Names the mirror among all that share a manifest: `node:folder` of the process that filled it first.
    pub name: String,
    /// `node:folder` of this machine.
    pub who: String,
    /// This machine.
    pub node: String,
}

/// The right to download into a mirror, until it is dropped.
#[derive(Debug)]
pub struct Hold {
    file: File,
    /// Not shared.
    pub alone: bool,
}

impl Hold {
    /// Lets others in who share the manifest.
    ///
    /// # Errors
    /// As the file system reports.
    pub fn share(&mut self) -> std::io::Result<()> {
        self.file.lock_shared()?;
        self.alone = false;
        Ok(())
    }
}

impl Mirror {
    /// The configured mirror; its folder is made where it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(config: &Settings) -> Result<Mirror> {
        durable::create_dir_all(&config.dir).map_err(HistoryError::file("make", &config.dir))?;
        let dir = config.dir.canonicalize().map_err(HistoryError::file("find", &config.dir))?;
        let node = config.node.clone().unwrap_or_else(host::name);
        let who = format!("{node}:{}", dir.display());
        Ok(Mirror { name: name_of(&dir).unwrap_or_else(|| who.clone()), dir, who, node })
    }

    /// The manifest of the mirror.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn manifest(&self, config: &Settings) -> Result<Box<dyn Queue>> {
        manifest::open(config.manifest.reveal(), &self.dir).map_err(HistoryError::step("the manifest of the archive"))
    }

    /// Where a file lies, here or not yet.
    pub fn file(&self, path: &ArchivePath) -> PathBuf {
        path.in_mirror(&self.dir)
    }

    /// Free bytes of the disk.
    ///
    /// # Errors
    /// As the file system reports.
    pub fn free_bytes(&self) -> Result<u64> {
        free_bytes(&self.dir)
    }

    /// The right to download into the mirror. Its exclusive holder gives the mirror its name where it has none; with
    /// `may_share` others may have it at the same time.
    ///
    /// # Errors
    /// When another process has it, and as the file system reports.
    pub fn lock(&mut self, may_share: bool) -> Result<Hold> {
        let path = self.dir.join(LOCK);
        let file = regular::open_as(File::options().create(true).truncate(false).write(true).read(true), &path);
        let file = file.map_err(HistoryError::file("make", &path))?;
        for _ in 0..if may_share { LOOKS_SHARED } else { LOOKS } {
            let alone = file.try_lock();
            let shared =
                if may_share && alone.is_err() { file.try_lock_shared() } else { Err(TryLockError::WouldBlock) };
            match (alone, shared) {
                (Ok(()), _) => {
                    self.name = self.named().map_err(HistoryError::file("name", &self.dir))?;
                    return Ok(Hold { file, alone: true });
                }
                (_, Ok(())) => {
                    self.name = name_of(&self.dir).unwrap_or_else(|| self.who.clone());
                    return Ok(Hold { file, alone: false });
                }
                (Err(TryLockError::Error(err)), _) | (_, Err(TryLockError::Error(err))) => {
                    return Err(HistoryError::file("lock", &path)(err));
                }
                (Err(TryLockError::WouldBlock), Err(TryLockError::WouldBlock)) => std::thread::sleep(PAUSE),
            }
        }
        Err(HistoryError::MirrorTaken { dir: self.dir.clone() })
    }

    /// The name of the mirror; given now where there is none.
    fn named(&self) -> std::io::Result<String> {
        if let Some(name) = name_of(&self.dir) {
            return Ok(name);
        }
        let tmp = self.dir.join(format!("{NAME}.tmp"));
        let mut file = File::create(&tmp)?;
        let number = file.metadata()?.ino();
        writeln!(file, "{number} {}", self.who)?;
        durable::publish_file(&tmp, &self.dir.join(NAME))?;
        Ok(self.who.clone())
    }

    /// Writes a small file of the mirror as a whole, beside others who may do the same; `by` distinguishes them.
    ///
    /// # Errors
    /// As the file system reports.
    pub fn publish(&self, dest: &Path, bytes: &[u8], by: &str) -> std::io::Result<()> {
        let name = dest.file_name().unwrap_or_default().to_string_lossy();
        let tmp = dest.with_file_name(format!(".{name}.{by}.tmp"));
        File::create(&tmp)?.write_all(bytes)?;
        durable::publish_file(&tmp, dest)
    }
}

/// The name in a mirror's folder, if it was given to this folder.
fn name_of(dir: &Path) -> Option<String> {
    let path = dir.join(NAME);
    let text = regular::read_to_string(&path, regular::SMALL_BYTES_MAX).ok()?;
    let (number, name) = text.strip_suffix('\n')?.split_once(' ')?;
    (number.parse() == Ok(std::fs::metadata(&path).ok()?.ino())).then(|| name.to_owned())
}

fn free_bytes(dir: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(dir).map_err(io::Error::from);
    let stat = stat.map_err(HistoryError::file("get the free space of", dir))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(dir: &Path) -> Settings {
        let text = format!("[history]\ndir = {:?}\n", dir.display().to_string());
        settings::from_text(&text, |s, p| s.section("history", p)).unwrap()
    }

    #[test]
    fn one_download_at_a_time_has_the_mirror_and_its_end_gives_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir.path().join("deep/mirror"));
        let mut mirror = Mirror::open(&config).unwrap();
        assert!(mirror.who.ends_with("deep/mirror") && mirror.free_bytes().unwrap() > 0);
        let lock = mirror.lock(false).unwrap();
        assert!(lock.alone);
        let refused = mirror.lock(false).unwrap_err().to_string();
        assert!(refused.contains("another download"), "{refused}");
        drop(lock);
        mirror.lock(false).unwrap();
    }

    #[test]
    fn those_who_share_a_manifest_share_a_mirror_and_its_name_and_a_copy_is_another_mirror() {
        let dir = tempfile::tempdir().unwrap();
        let open = |node: &str, folder: &str| {
            let mut config = config(&dir.path().join(folder));
            config.node = Some(node.to_owned());
            Mirror::open(&config).unwrap()
        };
        let (mut a, mut b) = (open("a", "m"), open("b", "m"));
        let mut first = a.lock(true).unwrap();
        assert!(first.alone && a.name.starts_with("a:/"));
        first.share().unwrap();
        let second = b.lock(true).unwrap();
        assert!(!second.alone);
        assert_eq!((&b.name, b.who.starts_with("b:/")), (&a.name, true), "one mirror has one name");
        assert!(open("c", "m").lock(false).is_err(), "one who does not share stays out");
        drop((first, second));
        assert!(b.lock(true).unwrap().alone);
        assert_eq!(open("c", "m").name, a.name);
        let copy = dir.path().join("copy");
        std::fs::create_dir(&copy).unwrap();
        std::fs::copy(a.dir.join(NAME), copy.join(NAME)).unwrap();
        let mut c = open("c", "copy");
        assert_eq!(c.name, c.who);
        let _hold = c.lock(true).unwrap();
        assert_eq!(open("d", "copy").name, c.who);
    }
}
