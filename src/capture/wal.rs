//! Section `[wal]`: segments, when they are forced to disk, how long they and their archives are kept.

use std::path::PathBuf;

use serde::Deserialize;
use settings::value::{bytes, int};
use settings::{KeyProblem, Section};
use wal_format::SyncPolicy;

/// When the log is forced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// When the kernel likes.
    Never,
    /// When a segment is full.
    Roll,
    /// After a time, or so many bytes.
    Interval,
    /// With every record.
    Every,
}

/// What becomes of sealed segments that every consumer acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Archive {
    /// They are deleted.
    None,
    /// They are compressed.
    Zstd,
    /// They are deleted, and their chunks in the object store are kept for ever.
    S3,
}

/// Section `[wal]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wal {
    /// Segment size, MiB.
    #[serde(deserialize_with = "int::<1, 1024, _, _>")]
    pub segment_mib: u64,
    /// When the log is forced to disk.
    pub sync: Sync,
    /// For [`Sync::Interval`], ms.
    #[serde(deserialize_with = "int::<1, 60_000, _, _>")]
    pub sync_interval_ms: u64,
    /// For [`Sync::Interval`], bytes.
    #[serde(rename = "sync_bytes_mib", deserialize_with = "bytes::<1, 1024, 20, _, _>")]
    pub sync_bytes: u64,
    /// Segments kept allocated ahead of need.
    #[serde(deserialize_with = "int::<1, 64, _, _>")]
    pub ready_segments: usize,
    /// Directories on other disks for segments that the log's own cannot hold, in order of preference.
    pub spill_dirs: Vec<PathBuf>,
    /// Hours a segment is kept after every consumer acked it.
    #[serde(deserialize_with = "int::<0, { 24 * 365 }, _, _>")]
    pub retention_hours: u64,
    /// What becomes of segments afterwards.
    pub archive: Archive,
    /// zstd level of archives.
    #[serde(deserialize_with = "int::<1, 19, _, _>")]
    pub archive_level: i32,
    /// Hours an archived segment is kept after its last record; 0 = for ever.
    #[serde(deserialize_with = "int::<0, { 24 * 365 * 100 }, _, _>")]
    pub archive_retention_hours: u64,
    /// GiB of all archived segments together; 0 = no limit.
    #[serde(deserialize_with = "int::<0, { 1 << 30 }, _, _>")]
    pub archive_max_gib: u64,
}

impl Wal {
    /// When the log is forced to disk, for its writer.
    pub fn sync_policy(&self) -> SyncPolicy {
        match self.sync {
            Sync::Never => SyncPolicy::Never,
            Sync::Roll => SyncPolicy::Roll,
            Sync::Every => SyncPolicy::Every,
            Sync::Interval => SyncPolicy::Interval { interval_ms: self.sync_interval_ms, bytes: self.sync_bytes },
        }
    }

    /// zstd level at which segments are archived; `None` = they are deleted.
    pub fn archive_level(&self) -> Option<i32> {
        (self.archive == Archive::Zstd).then_some(self.archive_level)
    }
}

impl Section for Wal {
    fn validate(&mut self) -> Vec<KeyProblem> {
        // Symlinks in the log point there: a relative path would depend on the working directory.
        let partial = self.spill_dirs.iter().filter(|dir| !dir.is_absolute());
        let what = |dir: &PathBuf| format!("{:?} is not an absolute path", dir.display().to_string());
        partial.map(|dir| KeyProblem::new("spill_dirs", what(dir), "write an absolute path")).collect()
    }
}
