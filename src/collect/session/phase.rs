//! Where a session is, as three small machines whose states exclude each other.
//!
//! ```text
//!  what the venue granted        Welcome --welcome--> Subscribing --everything answered--> Live
//!                                   \--not in time--> the session ends: lost
//!
//!  whether it is to be replaced  Keep --its time, a notice, silence--> Wanted --the slot took note--> Reported
//!                                                                         ^--it took over meanwhile-----/
//!
//!  its end                       Open --finish(cause)--> Closing(cause) --ConnClose appended--> Written
//! ```
//! The three are independent: a session may be replaced while it subscribes, and may end in any state. Dropped before
//! `Written`, it appends its ConnClose record all the same.

use tokio::time::Instant;

/// Why a connection ended; the word is in its ConnClose record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The server sent a close frame.
    Server,
    /// The socket broke or ended without one.
    Lost,
    /// Nothing arrived for too long.
    Stale,
    /// A replacement took over.
    Rotate,
    /// The process stops.
    Shutdown,
    /// The log does not take records.
    Log,
}

impl Cause {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Cause::Server => "server",
            Cause::Lost => "lost",
            Cause::Stale => "stale",
            Cause::Rotate => "rotate",
            Cause::Shutdown => "shutdown",
            Cause::Log => "log",
        }
    }
}

/// What the venue granted so far.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// Nothing is asked before the venue's welcome, which is due by then.
    Welcome { by: Instant },
    /// Subscriptions are requested, not all of the first ones are answered.
    Subscribing,
    /// Everything that it began with was answered, since then.
    Live(Live),
}

impl Phase {
    /// Since when everything is answered.
    pub(super) fn live(self) -> Option<Live> {
        match self {
            Phase::Live(live) => Some(live),
            Phase::Welcome { .. } | Phase::Subscribing => None,
        }
    }

    /// By when the venue's welcome is due.
    pub(super) fn welcome_by(self) -> Option<Instant> {
        match self {
            Phase::Welcome { by } => Some(by),
            Phase::Subscribing | Phase::Live(_) => None,
        }
    }
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) at: Instant,
    pub(super) ns: u64,
}

/// Whether a replacement is wanted, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotation {
    Keep,
    Wanted(&'static str),
    /// The slot knows; it decides when the replacement is good.
    Reported(&'static str),
}

/// How far its end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Open,
    /// The closing handshake: only the socket's own end counts, not a close frame.
    Closing(Cause),
    /// The ConnClose record is appended.
    Written,
}
