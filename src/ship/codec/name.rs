//! How chunks are called in the store.

use std::fmt;
use std::str::FromStr;

use wal_format::Seq;

/// Ending of a chunk's name.
const SUFFIX: &str = ".tdc";

/// The name of a chunk: what it holds. In the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkName {
    /// Its first seq.
    pub first: Seq,
    /// Its last seq, inclusive.
    pub last: Seq,
}

impl fmt::Display for ChunkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}{SUFFIX}", self.first.0, self.last.0)
    }
}

/// The text is no name of a chunk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is not the name of a chunk: expected <first seq, 16 hex>-<last seq, 16 hex>{SUFFIX}")]
pub struct NotAName {
    /// As given.
    got: String,
}

impl FromStr for ChunkName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let parse = || {
            let (first, last) = text.strip_suffix(SUFFIX)?.split_once('-')?;
            let name = ChunkName { first: seq(first)?, last: seq(last)? };
            (name.first <= name.last).then_some(name)
        };
        parse().ok_or_else(|| NotAName { got: text.to_owned() })
    }
}

fn seq(hex: &str) -> Option<Seq> {
    let good = hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    good.then(|| u64::from_str_radix(hex, 16).ok().map(Seq)).flatten()
}

/// The folder with the chunks of a log.
#[must_use]
pub fn folder(venue: &str, log_uuid: &[u8; 16]) -> String {
    let hex: String = log_uuid.iter().map(|b| format!("{b:02x}")).collect();
    format!("wal/{venue}/{hex}")
}

/// Where it is said which run an epoch of the log was; see [`folder`].
#[must_use]
pub fn run_key(folder: &str, epoch: u32) -> String {
    format!("{folder}/runs/{epoch:08x}")
}
