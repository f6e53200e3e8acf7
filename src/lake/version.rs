//! Versions of the tables' schemas, and which one a part is written in.
//!
//! A version only adds columns, after those that were there, and null is a value of each: so the columns of a version
//! are the first ones of every later version, and a row of an older file is a row of the table as it is now with nulls at
//! its end ([`crate::RowsChunk::of_version`]). Which column came when is in its line (`since`, [`crate::column`]);
//! a column that breaks this does not compile.
//!
//! A part is of one version from its first row to its manifest ([`crate::WriteSettings::schema_version`]): what was staged
//! is finished as it was begun, whatever program goes on with it. The version is in the settings of its state and of
//! its manifest and in the key-values of its files; where none is it is the first one.
//!
//! What a newer program wrote is [`crate::LakeError::Newer`]: never taken for damaged, repaired or removed.

use std::fmt;
use std::num::ParseIntError;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::LakeError;

/// A version of the schemas of all tables, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SchemaVersion(pub(crate) u32);

impl SchemaVersion {
    /// That of every file, state and manifest that names none.
    pub const FIRST: Self = Self(1);
    /// Adds `ts`, `instrument` and `venue` to every table and `base_amount` to the trade tables.
    pub const SECOND: Self = Self(2);
    /// The newest that this program reads and writes.
    pub const NEWEST: Self = Self::SECOND;
    /// What parts that begin now are written in. Not the newest yet: nothing fills `instrument`, `venue` and `base_amount` of
    /// version 2 so far.
    pub const WRITTEN: Self = Self::FIRST;

    /// [`SchemaVersion::WRITTEN`]; in debug builds and with the feature `failpoints` what `TAPEDECK_SCHEMA_VERSION` says, so
    /// that tests are the program of another version.
    pub fn to_write() -> Self {
        #[cfg(any(debug_assertions, feature = "failpoints"))]
        if let Some(asked) = std::env::var("TAPEDECK_SCHEMA_VERSION").ok().and_then(|text| text.parse::<Self>().ok()) {
            return asked.clamp(Self::FIRST, Self::NEWEST);
        }
        Self::WRITTEN
    }

    /// The first version up to this one, in order.
    pub(crate) fn all(self) -> impl Iterator<Item = u32> {
        1..=self.0
    }

    /// Of a file of this version, which is newer than the newest one.
    pub(crate) fn newer(self, path: &Path) -> LakeError {
        LakeError::Newer { path: path.to_owned(), what: "schema", found: self.0, known: Self::NEWEST.0 }
    }

    /// True for version 1, which files, states and manifests leave unstated.
    pub(crate) fn is_first(&self) -> bool {
        *self == Self::FIRST
    }
}

/// [`SchemaVersion::FIRST`]: the version where none is written.
impl Default for SchemaVersion {
    fn default() -> Self {
        Self::FIRST
    }
}

impl FromStr for SchemaVersion {
    type Err = ParseIntError;
    fn from_str(s: &str) -> Result<Self, ParseIntError> {
        s.parse().map(Self)
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
