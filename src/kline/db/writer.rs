//! What is done to stored candles: [`CandleDb`].

use super::bar::{NamedBar, Source};
use super::checkpoint::{Checkpoint, Committed};
use super::error::Result;
use super::reader::CandleReader;

/// What [`CandleDb::put_history`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Filled {
    /// Bars where there was none.
    pub inserted: u64,
    /// Bars in place of stored ones, revision + 1.
    pub replaced: u64,
    /// Bars left alone.
    pub kept: u64,
}

/// Reads and writes candles; one per feed or command.
pub trait CandleDb: CandleReader {
    /// Stores a checkpoint in one transaction: all of it, or nothing. After an error nobody knows which, and it may be
    /// decided later: the same checkpoint given again counts once, and one that goes on from what was stored before the
    /// first attempt is refused once that has been stored.
    ///
    /// # Errors
    /// When the database refuses, a symbol has no index, or the feed is not at [`Checkpoint::since`].
    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Committed>;

    /// Stores final bars of another source. Fills missing bars; stored bars of a less or equally trusted source are
    /// replaced when they differ, and bars of our own trades only where they have a gap or were never closed, and `replace_gaps` is set. Whoever
    /// gives them has waited until the venue's candle was settled.
    ///
    /// # Errors
    /// When the database refuses; nothing is stored then.
    fn put_history(&mut self, bars: &[NamedBar], source: Source, replace_gaps: bool) -> Result<Filled>;
}
