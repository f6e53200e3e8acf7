//! Section `[lake]`: where tables go, in which form, how long they are kept, how many rows wait in memory.

use std::path::{Path, PathBuf};

use super::reader::Reader;
use lake::LakeFormat;

/// Section `[lake]`.
#[derive(Clone, Debug)]
pub struct Lake {
    /// Where the tables are.
    pub dir: PathBuf,
    /// Hours a published hour is kept after its end; 0 = for ever.
    pub retention_hours: u64,
    /// GiB of all published files of the configured venues together; 0 = no limit.
    pub max_gib: u64,
    /// What is published.
    pub format: LakeFormat,
    /// True for exact decimals instead of doubles.
    pub decimal: bool,
    /// zstd level of Parquet pages.
    pub zstd_level: i32,
    /// Rows of one row group.
    pub row_group_rows: usize,
    /// Log records decoded between two looks at the clock and at the shutdown request.
    pub batch_rows: usize,
    /// Soft limit of tables that hold rows in memory.
    pub max_open_writers: usize,
    /// A table without new rows for this long is staged, s.
    pub idle_stage_s: u64,
    /// Everything in memory is staged this often, s.
    pub ack_interval_s: u64,
    /// Minutes of the hour after which a part is published: 60 or a divisor of it.
    pub part_minutes: u64,
}

/// Reads the section.
pub(super) fn read(r: &mut Reader<'_>, data_dir: &Path) -> Lake {
    let format = r.word("lake.format", &["parquet", "jsonl", "csv"]);
    let dir = r.text("lake.dir");
    if dir.contains("://") {
        r.problem("lake.dir", format!("{dir:?}: object stores are not in this version"), "name a local path".into());
    }
    Lake {
        dir: if dir.is_empty() { data_dir.join("lake") } else { PathBuf::from(dir) },
        retention_hours: r.int("lake.retention_hours", 0, 24 * 365 * 100),
        max_gib: r.int("lake.max_gib", 0, 1 << 30),
        format: match format.as_str() {
            "jsonl" => LakeFormat::Jsonl,
            "csv" => LakeFormat::Csv,
            _ => LakeFormat::Parquet,
        },
        decimal: r.word("lake.numeric", &["double", "decimal"]) == "decimal",
        zstd_level: i32::try_from(r.int("lake.zstd_level", 1, 19)).unwrap_or(3),
        row_group_rows: r.int("lake.row_group_rows", 1_000, 16_777_216) as usize,
        batch_rows: r.int("lake.batch_rows", 1, 1_000_000) as usize,
        max_open_writers: r.int("lake.max_open_writers", 1, 100_000) as usize,
        idle_stage_s: r.int("lake.idle_stage_s", 1, 86_400),
        ack_interval_s: r.int("lake.ack_interval_s", 1, 86_400),
        part_minutes: part_minutes(r),
    }
}

/// Parts of one length tile the hour: anything but a divisor of it is refused.
fn part_minutes(r: &mut Reader<'_>) -> u64 {
    const KEY: &str = "lake.part_minutes";
    let minutes = r.int(KEY, 1, 60);
    if 60 % minutes != 0 {
        let divisors = (1..=60).filter(|n| 60 % n == 0).map(|n: u64| n.to_string()).collect::<Vec<_>>().join(", ");
        r.problem(KEY, format!("{minutes} is no divisor of 60"), format!("write one of {divisors}"));
        return 60;
    }
    minutes
}
