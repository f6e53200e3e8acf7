//! The kinds of records, and the bits of their flags byte.

use std::fmt;

/// Kind of a record. Stored on disk: never renumber, never reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// One WebSocket message, byte for byte.
    Data = 1,
    /// A connection opened; JSON.
    ConnOpen = 2,
    /// A connection closed; JSON.
    ConnClose = 3,
    /// A subscribe request or its reply; JSON.
    Subscribe = 4,
    /// Wall and monotonic time read together; 16 bytes.
    Clock = 5,
    /// First record of an epoch; JSON.
    EpochStart = 6,
    /// Everything up to a seq is on disk; 8 bytes.
    Sync = 7,
    /// Frames known to be missing by our own doing; JSON.
    Gap = 8,
    /// Written by recovery over bytes that cannot be read.
    Hole = 9,
    /// Last record of a segment; 24 bytes, see [`Seal`](super::Seal).
    Seal = 10,
    /// One REST response: meta length u32, meta JSON, body byte for byte.
    Rest = 11,
    /// Anything else worth recording; JSON.
    Event = 12,
}

impl Kind {
    /// Every kind of this version, in order of number.
    pub const ALL: [Kind; 12] = [
        Kind::Data,
        Kind::ConnOpen,
        Kind::ConnClose,
        Kind::Subscribe,
        Kind::Clock,
        Kind::EpochStart,
        Kind::Sync,
        Kind::Gap,
        Kind::Hole,
        Kind::Seal,
        Kind::Rest,
        Kind::Event,
    ];

    /// The kind with this number, or `None` for one that a newer version wrote.
    #[must_use]
    pub fn from_raw(raw: u8) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| *kind as u8 == raw)
    }

    /// The word used by tools.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Data => "data",
            Kind::ConnOpen => "conn_open",
            Kind::ConnClose => "conn_close",
            Kind::Subscribe => "subscribe",
            Kind::Clock => "clock",
            Kind::EpochStart => "epoch_start",
            Kind::Sync => "sync",
            Kind::Gap => "gap",
            Kind::Hole => "hole",
            Kind::Seal => "seal",
            Kind::Rest => "rest",
            Kind::Event => "event",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bits of a record's flags byte.
pub mod flags {
    /// The WebSocket message was binary, not text.
    pub const BINARY: u8 = 1;
    /// The receive time was earlier than the record before and was raised to it.
    pub const CLAMPED: u8 = 2;
    /// Received on the second of two redundant lines.
    pub const SECOND_LINE: u8 = 4;
    /// HOLE only: records lost from this seq on had already been reported durable.
    pub const DURABLE_LOST: u8 = 8;
}
