//! A row that arrives: over which connection, whether it came before, and how long that is checked.

/// A key is forgotten after this time of the log, ns: lines differ by less.
pub(super) const KEEP_NS: u64 = 20_000_000_000;

/// How a data frame came.
#[derive(Clone, Copy, Debug)]
pub struct Carrier {
    /// Connection number.
    pub conn: u32,
    /// 0, or 1 for the second of two lines.
    pub line: u8,
}

/// What a window says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// No such row.
    New,
    /// A row with this id and other content is there: this one is another row.
    Conflict,
    /// The repeat of one that stays.
    Again(Again),
}

/// A row came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again {
    /// The line that was first.
    pub(super) line: u8,
    /// When, ns.
    pub(super) at_ns: u64,
}
