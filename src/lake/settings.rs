//! Section `[lake]`: where tables go, in which form, how long they are kept, how many rows wait in memory.

use std::path::{Path, PathBuf};

use ::settings::value::int;
use ::settings::{KeyProblem, Section};
use serde::Deserialize;

use crate::{LakeFormat, Numeric};

/// Section `[lake]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the tables are: a directory, or the URL of an object store ([`is_url`]).
    pub dir: PathBuf,
    /// Where files are made before they are in an object store; empty for a lake in a directory.
    pub staging_dir: PathBuf,
    /// Hours a published hour is kept after its end; 0 = for ever.
    #[serde(deserialize_with = "int::<0, { 24 * 365 * 100 }, _, _>")]
    pub retention_hours: u64,
    /// GiB of all published files of the configured venues together; 0 = no limit.
    #[serde(deserialize_with = "int::<0, { 1 << 30 }, _, _>")]
    pub max_gib: u64,
    /// What is published.
    pub format: LakeFormat,
    /// How numbers are written.
    pub numeric: Numeric,
    /// zstd level of Parquet pages.
    #[serde(deserialize_with = "int::<1, 19, _, _>")]
    pub zstd_level: i32,
    /// Rows of one row group.
    #[serde(deserialize_with = "int::<1_000, 16_777_216, _, _>")]
    pub row_group_rows: usize,
    /// Log records decoded between two looks at the clock and at the shutdown request.
    #[serde(deserialize_with = "int::<1, 1_000_000, _, _>")]
    pub batch_rows: usize,
    /// Soft limit of tables that hold rows in memory.
    #[serde(deserialize_with = "int::<1, 100_000, _, _>")]
    pub max_open_writers: usize,
    /// A table without new rows for this long is staged, s.
    #[serde(deserialize_with = "int::<1, 86_400, _, _>")]
    pub idle_stage_s: u64,
    /// Everything in memory is staged this often, s.
    #[serde(deserialize_with = "int::<1, 86_400, _, _>")]
    pub ack_interval_s: u64,
    /// Minutes of the hour after which a part is published: 60 or a divisor of it.
    #[serde(deserialize_with = "int::<1, 60, _, _>")]
    pub part_minutes: u64,
}

/// Whether a place names an object store and no directory.
pub fn is_url(place: &str) -> bool {
    place.contains("://")
}

impl Settings {
    /// The tables are in `lake/` below `data_dir`, and what is made for an object store in `staging/`, unless set.
    pub fn below(mut self, data_dir: &Path) -> Self {
        if self.dir.as_os_str().is_empty() {
            self.dir = data_dir.join("lake");
        }
        if self.is_remote() && self.staging_dir.as_os_str().is_empty() {
            self.staging_dir = data_dir.join("staging");
        }
        self
    }

    /// Where the tables are, for who opens them: `src/s3`.
    pub fn place(&self) -> &Path {
        &self.dir
    }

    /// Whether the tables are in an object store.
    pub fn is_remote(&self) -> bool {
        is_url(&self.dir.to_string_lossy())
    }

    /// The local directory in which files are made: that of the tables, or the staging directory.
    pub fn work_dir(&self) -> &Path {
        if self.is_remote() { &self.staging_dir } else { &self.dir }
    }
}

impl Section for Settings {
    fn validate(&mut self) -> Vec<KeyProblem> {
        let mut wrong = Vec::new();
        let dir = self.dir.display().to_string();
        if is_url(&dir) && !dir.starts_with("s3://") {
            let what = format!("{dir:?}: this store is not known");
            wrong.push(KeyProblem::new("dir", what, "name a local path, or s3://bucket/prefix"));
        }
        if !self.is_remote() && !self.staging_dir.as_os_str().is_empty() {
            let what = "is of a lake in an object store, and lake.dir is a directory, in which all of it is made";
            wrong.push(KeyProblem::new("staging_dir", what, "write \"\""));
        }
        if is_url(&self.staging_dir.to_string_lossy()) {
            let what = format!("{:?}: what is being made is on a disk of this machine", self.staging_dir);
            wrong.push(KeyProblem::new("staging_dir", what, "name a local path"));
        }
        // Parts of one length tile the hour.
        if 60 % self.part_minutes != 0 {
            let divisors = (1..=60).filter(|n| 60 % n == 0).map(|n: u64| n.to_string()).collect::<Vec<_>>().join(", ");
            let what = format!("{} is no divisor of 60", self.part_minutes);
            wrong.push(KeyProblem::new("part_minutes", what, format!("write one of {divisors}")));
        }
        wrong
    }
}
