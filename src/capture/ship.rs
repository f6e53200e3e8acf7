//! Section `[ship]`: where chunks of the logs go, how large they are, how long they stay; and `[source.<venue>]`: where they come from.

use serde::Deserialize;
use settings::value::{bytes, int};
use settings::{KeyProblem, Section};

/// Section `[ship]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ship {
    /// A directory or the URL of an object store; chunks lie below `wal/` there. Empty = nothing is shipped.
    pub dir: String,
    /// A chunk is put when its first record is this old, s.
    #[serde(deserialize_with = "int::<1, 3_600, _, _>")]
    pub chunk_s: u64,
    /// A chunk is put when its records have so many bytes.
    #[serde(rename = "chunk_mib", deserialize_with = "bytes::<1, 64, 20, _, _>")]
    pub chunk_bytes: u64,
    /// zstd level of chunks.
    #[serde(deserialize_with = "int::<1, 19, _, _>")]
    pub zstd_level: i32,
    /// Hours a chunk is kept after the end of the published hour that covers it.
    #[serde(deserialize_with = "int::<0, { 24 * 365 * 100 }, _, _>")]
    pub keep_h: u64,
    /// Nobody else reads the logs of this machine: a segment goes when the store has it.
    pub only: bool,
}

impl Ship {
    /// Whether anything is shipped.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.dir.is_empty()
    }
}

impl Section for Ship {
    fn validate(&mut self) -> Vec<KeyProblem> {
        let alone = self.only && !self.is_on();
        let what = "nothing is shipped, and nobody else may read the logs: no segment could ever go";
        alone.then(|| KeyProblem::new("only", what, "name a dir, or write only = false")).into_iter().collect()
    }
}

/// A section `[source.<venue>]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogSource {
    /// What `[ship] dir` of the machine that writes the log is.
    pub(crate) dir: String,
}

impl Section for LogSource {
    fn validate(&mut self) -> Vec<KeyProblem> {
        let none = self.dir.is_empty();
        none.then(|| KeyProblem::new("dir", "is empty", "write what [ship] dir of the collector's machine is"))
            .into_iter()
            .collect()
    }
}
