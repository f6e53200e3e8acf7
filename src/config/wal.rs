//! Section `[wal]`: segments, when they are forced to disk, how long they and their archives are kept.

use std::path::PathBuf;

use super::reader::Reader;

/// Section `[wal]`.
#[derive(Clone, Debug)]
pub struct Wal {
    /// Segment size, MiB.
    pub segment_mib: u64,
    /// When the log is forced to disk.
    pub sync: wal_format::SyncPolicy,
    /// Segments kept allocated ahead of need.
    pub ready_segments: usize,
    /// Directories on other disks for segments that the log's own cannot hold, in order of preference.
    pub spill_dirs: Vec<PathBuf>,
    /// Hours a segment is kept after every consumer acked it.
    pub retention_hours: u64,
    /// zstd level at which sealed, acked segments are archived; `None` = they are deleted.
    pub archive: Option<i32>,
    /// Hours an archived segment is kept after its last record; 0 = for ever.
    pub archive_retention_hours: u64,
    /// GiB of all archived segments together; 0 = no limit.
    pub archive_max_gib: u64,
}

/// Reads the section.
pub(super) fn read(r: &mut Reader<'_>) -> Wal {
    let word = r.word("wal.sync", &["never", "roll", "interval", "every"]);
    let interval_ms = r.int("wal.sync_interval_ms", 1, 60_000);
    let bytes = r.int("wal.sync_bytes_mib", 1, 1024) << 20;
    let sync = match word.as_str() {
        "never" => wal_format::SyncPolicy::Never,
        "roll" => wal_format::SyncPolicy::Roll,
        "every" => wal_format::SyncPolicy::Every,
        _ => wal_format::SyncPolicy::Interval { interval_ms, bytes },
    };
    let archive = r.word("wal.archive", &["none", "zstd"]);
    let archive_level = i32::try_from(r.int("wal.archive_level", 1, 19)).unwrap_or(1);
    let spill_dirs: Vec<PathBuf> = r.texts("wal.spill_dirs").into_iter().map(PathBuf::from).collect();
    for dir in spill_dirs.iter().filter(|dir| !dir.is_absolute()) {
        // A link of the log leads there, wherever a service was started.
        r.problem(
            "wal.spill_dirs",
            format!("{:?} does not begin with a slash", dir.display().to_string()),
            "write the whole path".into(),
        );
    }
    Wal {
        segment_mib: r.int("wal.segment_mib", 1, 1024),
        sync,
        ready_segments: r.int("wal.ready_segments", 1, 64) as usize,
        spill_dirs,
        retention_hours: r.int("wal.retention_hours", 0, 24 * 365),
        archive: (archive == "zstd").then_some(archive_level),
        archive_retention_hours: r.int("wal.archive_retention_hours", 0, 24 * 365 * 100),
        archive_max_gib: r.int("wal.archive_max_gib", 0, 1 << 30),
    }
}
