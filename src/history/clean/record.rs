//! The account of one cleaned month of one series: from which bytes, with which settings, to which files, and what
//! was met on the way. Lies under `_manifests/` of the lake and decides whether the month must be cleaned again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::input::InputCounts;
use super::tally::Tally;
use crate::Kind;

/// Grows whenever the same files would give other rows, bytes or findings. 2: candles are held against their grid.
pub(crate) fn revision(kind: Kind) -> u32 {
    if kind.has_intervals() { 2 } else { 1 }
}

/// A file of the archive, as it was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// Name in the archive.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes that were read.
    pub sha256: String,
    /// SHA-256 out of its `.CHECKSUM`, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub published_sha256: Option<String>,
    /// Earlier digests of the same name, oldest first: it was uploaded again.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub former_sha256: Vec<String>,
    /// Why none of its rows was used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<String>,
    /// What is unusual about the zip.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
    /// What its lines were.
    pub counts: InputCounts,
    /// Rows of it that are in the lake.
    pub used: u64,
}

/// A file of the lake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRecord {
    /// Below the lake.
    pub path: String,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: String,
    /// Values that a double cannot carry.
    pub inexact: u64,
}

/// See the module. Invariant: rows of the inputs used = rows written + duplicates + overlap + conflicts + those in two
/// months.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// See [`revision`].
    pub revision: u32,
    /// Everything else that shapes the bytes.
    pub settings: String,
    /// Market of the archive.
    pub market: String,
    /// Kind of file.
    pub kind: String,
    /// The exchange's own spelling.
    pub symbol: String,
    /// Interval of candles.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interval: Option<String>,
    /// `YYYY-MM`.
    pub month: String,
    /// Files of the archive, the monthly one first.
    pub inputs: Vec<InputRecord>,
    /// Files of the lake.
    pub outputs: Vec<OutputRecord>,
    /// Where lines that are no rows were put, below the lake.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub aside: Option<String>,
    /// How many, by reason; rows that contradict another one are among them.
    pub reasons: BTreeMap<String, u64>,
    /// The same row again, in one file.
    pub duplicates: u64,
    /// The same row in another file.
    pub overlap: u64,
    /// Another row with a key that was taken: rejected.
    pub conflicts: u64,
    /// Rows that the month before has: left out.
    #[serde(default, skip_serializing_if = "super::tally::is_none")]
    pub in_two_months: u64,
    /// Files of the month before that these rows were held against, in a word, where the rows of both meet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month_before: Option<String>,
    /// The files were not in order and had to be sorted.
    pub sorted: bool,
    /// The rows.
    pub tally: Tally,
}

impl Record {
    /// Checks that every line is accounted for.
    ///
    /// # Errors
    /// The two sides that differ.
    pub fn check(&self) -> Result<(), String> {
        let used = self.inputs.iter().filter(|i| i.refused.is_none());
        let mut rows = 0;
        for i in used {
            let c = &i.counts;
            if c.lines != c.rows.saturating_add(c.sentinels).saturating_add(c.rejected) {
                return Err(format!(
                    "{}: {} lines, but {} rows, {} sentinels and {} rejected",
                    i.path, c.lines, c.rows, c.sentinels, c.rejected
                ));
            }
            rows = c.rows.saturating_add(rows);
        }
        let sum = |all: &[u64]| all.iter().copied().fold(0, u64::saturating_add);
        let out = self.outputs.iter().map(|o| o.rows).fold(0, u64::saturating_add);
        let all = sum(&[out, self.duplicates, self.overlap, self.conflicts, self.in_two_months]);
        if rows != all || out != self.tally.rows {
            return Err(format!(
                "{} {} {}: {rows} rows read, but {out} written ({} counted), {} duplicates, {} in two files, {} in two months, \
                 {} conflicts",
                self.symbol,
                self.kind,
                self.month,
                self.tally.rows,
                self.duplicates,
                self.overlap,
                self.in_two_months,
                self.conflicts
            ));
        }
        Ok(())
    }

    /// Lines that were rejected, rows that contradict another one included.
    pub fn quarantined(&self) -> u64 {
        self.reasons.values().copied().fold(0, u64::saturating_add)
    }
}
