//! What one transaction of the candle database stores: changed bars, the feed's state, and how far each log is read.

use wal_format::{Incarnation, Position};

use crate::message::{Mark, OldTrade};
use crate::registry::Registered;
use model::interval::Interval;
use model::kline::KlineData;

/// How far a feed has read one of its logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedPosition {
    /// Name of the log inside the feed (`main`, `repair`).
    pub log: String,
    /// The log's own id: a position means nothing in another log.
    pub log_uuid: [u8; 16],
    /// That of the run that the position is of: it means nothing in another copy of the log either. 0 = of version 1.
    pub incarnation: Incarnation,
    /// The first record that is not in the candles yet.
    pub position: Position,
}

impl SavedPosition {
    /// As the log's library checks and finds it.
    pub fn checkpoint(&self) -> wal_format::Checkpoint {
        wal_format::Checkpoint { log_uuid: self.log_uuid, incarnation: self.incarnation, position: self.position }
    }
}

/// What a feed needs to go on where it stopped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedFeed {
    /// One entry per log, by name.
    pub logs: Vec<SavedPosition>,
    /// The feed's own state: JSON, empty when there is none. As text, for it holds thousands of recent keys.
    pub state: String,
    /// Number of the checkpoint; 0 when there is no row of the feed.
    pub serial: i64,
}

/// Everything that changed since the checkpoint before, and the places in the logs that it reaches to.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// Name of the feed (the venue's name).
    pub feed: String,
    /// Number of the checkpoint that this one goes on from; any when `None`.
    pub since: Option<i64>,
    /// How far each log is read.
    pub logs: Vec<SavedPosition>,
    /// The feed's own state: JSON, empty when there is none. As text, for it holds thousands of recent keys.
    pub state: String,
    /// Symbols that got an index since.
    pub registry: Vec<(u32, Registered)>,
    /// Changed bars in the order of their changes; the last state of a bar is stored.
    pub bars: Vec<(u32, Interval, KlineData)>,
    /// Late trades of bars that are stored already, in order. Each is added to its bar (revision + 1); flat bars after it take
    /// the new close (revision + 1 where it differs). Applied after `bars`.
    pub old: Vec<OldTrade>,
    /// Gap flags of stored bars; applied last.
    pub marks: Vec<Mark>,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Number of the checkpoint.
    pub serial: i64,
    /// Bars stored.
    pub bars: u64,
    /// Bars revised by trades that came after they left the memory.
    pub revised: u64,
    /// Late trades that no bar can hold, or that a candle of the venue contains already.
    pub refused: u64,
    /// Bars whose gap flag changed by a [`Mark`].
    pub marked: u64,
}
