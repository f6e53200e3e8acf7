//! The lake: what a row looks like on disk, how rows become Parquet, and how a file becomes visible.
//!
//! ```text
//!  rows in log order --> TableBuffer --take_first--> RowsChunk --write_piece--> .staging/...  (one row group each)
//!                                                                                  |
//!                        LakeStore::publish <-- file with full row groups <-- join_pieces
//! ```
//!
//! In the order the data flows: [`table`] (one file per table: columns and how a row is pushed), [`buffer`]
//! (rows of one table and hour part), `rows` (a chunk of them), `encode` (columns to Parquet pages), [`piece`]
//! (files out of row groups), [`path`] (names), [`LakeStore`] (where published files live), [`lock`] (who may change them),
//! [`SchemaVersion`] (which columns), [`manifest`] (the account of an hour), [`read`] and [`diff_trees`] (back again, for
//! replay and tests; `guard` holds the Parquet library off damage).
//!
//! The bytes of a file are a pure function of its rows, its settings and its key-values. Nothing here reads a
//! clock, and nothing here renames a file except through [`wal_format::durable`].

#![forbid(unsafe_code)]

pub mod buffer;
mod catalog;
pub mod column;
mod diff;
mod encode;
mod error;
pub mod find;
mod guard;
pub mod hash;
mod lake;
pub mod lock;
pub mod manifest;
mod object;
pub mod path;
pub mod piece;
pub mod read;
pub mod rows;
mod settings;
mod store;
pub mod table;
#[cfg(test)]
mod tests;
mod text;
mod texts;
mod version;
pub mod work;

pub use self::settings::{Settings, is_url};
pub use buffer::{Common, TableBuffer};
pub use catalog::CatalogSettings;
pub use diff::{Difference, diff_objects, diff_trees};
pub use error::LakeError;
pub use lake::Lake;
pub use lock::{LakeLock, LakeLockError};
pub use manifest::PartManifest;
pub use object::{Object, Ranges};
pub use path::{Hour, Part, StagedPiece, staged_path, staging_dir};
pub use piece::{FileInfo, PieceFile, PieceInfo, join_pieces, write_piece};
pub use rows::{Filled, GROUP_TEXT_BYTES, RowsChunk};

#[cfg(any(test, feature = "testing"))]
pub use store::conformance;
pub use store::{Body, LakeStore, LocalStore, Meta, RemoteStore, Version};
pub use table::Table;
pub use text::write_text;
pub use version::SchemaVersion;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bits of the column `flags`. Stored on disk: never renumber, never reuse.
pub mod flags {
    /// The row is part of a whole book, not of a change.
    pub const SNAPSHOT: i32 = 1;
    /// The row was fetched over REST to close a gap.
    pub const BACKFILLED: i32 = 2;
    /// Ids between the row before (same symbol) and this one had not come yet; the manifest says which never did.
    pub const GAP_BEFORE: i32 = 4;
    /// The event time is far behind the receive time.
    pub const LATE: i32 = 8;
    /// The id or event time is below the one before of the same symbol.
    pub const OUT_OF_ORDER: i32 = 16;
    /// At least one number of the row does not survive text -> double -> shortest text.
    pub const INEXACT: i32 = 32;
    /// The frame came over the second of two redundant lines.
    pub const SECOND_LINE: i32 = 64;
    /// The row comes from the exchange's archive; `ts_recv` is then when its CSV was packed.
    pub const ARCHIVE: i32 = 128;
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numeric {
    /// DOUBLE: the nearest double; a value that does not survive is flagged [`flags::INEXACT`] and counted.
    #[default]
    Double,
    /// DECIMAL(38, 18): always exact.
    Decimal,
}

impl Numeric {
    /// The name used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Double => "double",
            Self::Decimal => "decimal",
        }
    }
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Numeric {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "double" => Ok(Self::Double),
            "decimal" => Ok(Self::Decimal),
            other => Err(format!("unknown numeric {other:?}; known: double, decimal")),
        }
    }
}

/// File formats of the lake. Staged pieces are Parquet whatever is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LakeFormat {
    /// Apache Parquet.
    #[default]
    Parquet,
    /// One JSON object a line, zstd-compressed.
    Jsonl,
    /// Comma-separated values with a line of names, zstd-compressed.
    Csv,
}

impl LakeFormat {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Parquet, Self::Jsonl, Self::Csv];

    /// What file names end with, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl.zst",
            Self::Csv => "csv.zst",
        }
    }

    /// Whether it is the default, which old manifests do not name.
    fn is_parquet(&self) -> bool {
        *self == Self::Parquet
    }
}

/// Everything that shapes a part besides the log: where it ends, and the bytes of its files besides their rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteSettings {
    /// Rows of a full row group; text-heavy tables take less, see [`WriteSettings::group_rows`].
    pub row_group_rows: usize,
    /// Target rows of a data page. Pages end at a symbol's last row where one is near, so the rows of one
    /// symbol lie in few pages.
    pub page_rows: usize,
    /// Zstandard level, 1..=22.
    pub zstd_level: i32,
    /// How numbers are written.
    pub numeric: Numeric,
    /// What is published.
    #[serde(default, skip_serializing_if = "LakeFormat::is_parquet")]
    pub format: LakeFormat,
    /// Minutes of an hour after which a part ends: 60 or a divisor of it.
    #[serde(default = "whole_hour", skip_serializing_if = "is_whole_hour")]
    pub part_minutes: u64,
    /// Which columns the tables have: the version that was written when the part began.
    #[serde(default, skip_serializing_if = "SchemaVersion::is_first")]
    pub schema_version: SchemaVersion,
    /// Written as `tapedeck <version>` to `created_by`.
    pub version: String,
}

/// What manifests and states that do not name `part_minutes` were made with.
fn whole_hour() -> u64 {
    60
}

fn is_whole_hour(part_minutes: &u64) -> bool {
    *part_minutes == whole_hour()
}

impl Default for WriteSettings {
    fn default() -> Self {
        Self {
            row_group_rows: 131_072,
            // 16 pages a full row group: one of 400 symbols usually lies in one page. Twice as many rows
            // compress 1 % better, half as many 2 % worse.
            page_rows: 8_192,
            zstd_level: 3,
            numeric: Numeric::Double,
            format: LakeFormat::Parquet,
            part_minutes: whole_hour(),
            schema_version: SchemaVersion::WRITTEN,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl WriteSettings {
    /// Rows of a full row group of `table`, unless its texts reach [`GROUP_TEXT_BYTES`] before ([`TableBuffer::full`]).
    /// `frames` carries whole payloads, so its groups are small.
    pub fn group_rows(&self, table: Table) -> usize {
        let rows = self.row_group_rows.max(1);
        match table {
            Table::Frames | Table::Events => rows.min(8_192),
            _ => rows,
        }
    }

    /// The text stored in every file, so that a file says how it was made and a join knows whether a
    /// piece may be copied.
    pub fn fingerprint(&self, table: Table) -> String {
        // Pieces of before `side` could be null have other levels and are not copied.
        let schema = if table == Table::Liquidations { " schema=2" } else { "" };
        let version = match self.schema_version {
            SchemaVersion::FIRST => String::new(),
            later => format!(" schema_version={later}"),
        };
        format!(
            "row_group_rows={} page_rows={} zstd_level={}{schema}{version} numeric={}",
            self.group_rows(table),
            self.page_rows.max(1),
            self.zstd_level,
            self.numeric
        )
    }

    pub(crate) fn created_by(&self) -> String {
        format!("tapedeck {}", self.version)
    }
}
