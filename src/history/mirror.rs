//! The folder of a mirror: who holds it, what lies where, and that only one download at a time writes into it.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wal_format::durable;

use super::manifest::{self, Queue};
use super::path::ArchivePath;
use crate::config::History;

/// Held by whoever downloads into the mirror.
const LOCK: &str = ".download.lock";

/// A mirror on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Its folder, absolute.
    pub dir: PathBuf,
    /// `node:folder`: names the mirror among all that share a manifest.
    pub holder: String,
}

impl Mirror {
    /// The configured mirror; its folder is made where it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(config: &History) -> Result<Mirror> {
        durable::create_dir_all(&config.dir).with_context(|| format!("make {}", config.dir.display()))?;
        let dir = config.dir.canonicalize().with_context(|| format!("find {}", config.dir.display()))?;
        let node = config.node.clone().unwrap_or_else(host_name);
        Ok(Mirror { holder: format!("{node}:{}", dir.display()), dir })
    }

    /// The manifest of the mirror.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn manifest(&self, config: &History) -> Result<Box<dyn Queue>> {
        manifest::open(&config.manifest, &self.dir).context("the manifest of the archive")
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

    /// The right to download into the mirror, until the answer is dropped.
    ///
    /// # Errors
    /// When another process has it.
    pub fn lock(&self) -> Result<File> {
        let path = self.dir.join(LOCK);
        let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        // A process that is being started inherits every lock for an instant: one look is not enough.
        for _ in 0..20 {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(std::time::Duration::from_millis(50)),
                Err(std::fs::TryLockError::Error(err)) => {
                    return Err(err).with_context(|| format!("lock {}", path.display()));
                }
            }
        }
        bail!(
            "another download works in {}: wait for it, or give this one a history.dir of its own (they may share a \
             manifest on Postgres)",
            self.dir.display()
        )
    }
}

fn free_bytes(dir: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(dir).with_context(|| format!("ask for the free space of {}", dir.display()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_download_at_a_time_has_the_mirror_and_its_end_gives_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = crate::config::Config::load(None, []).unwrap().history;
        config.dir = dir.path().join("deep/mirror");
        let mirror = Mirror::open(&config).unwrap();
        assert!(mirror.holder.ends_with("deep/mirror") && mirror.free_bytes().unwrap() > 0);
        let lock = mirror.lock().unwrap();
        let refused = mirror.lock().unwrap_err().to_string();
        assert!(refused.contains("another download"), "{refused}");
        drop(lock);
        mirror.lock().unwrap();
        config.node = Some("n1".into());
        assert!(Mirror::open(&config).unwrap().holder.starts_with("n1:/"));
    }
}
