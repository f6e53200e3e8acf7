//! Where records are read from: the seam between those who make something of records and what holds them.
//!
//! ```text
//!  LiveLog      a log that is being written: follows it, and waits at its end        the compactor, candles
//!  RecordedLog  what is left of a log, retained or archived: as it is, with an end   replay, playback
//!  MemoryLog    records given by value                                               tests
//! ```
//! What each of them promises, as `conformance` asks of all:
//! - each record once, in log order; each lost seq in one [`Step::Lost`], before the record after it;
//! - [`RecordSource::position`] is where the next record starts, and a source that is opened there goes on there. The seq of
//!   a position decides, segment and offset are hints: they need not be places in files;
//! - damage is a [`Step::Lost`] and never an error, unless it may heal;
//! - a record is borrowed until the next call. None is copied on its way.
//!
//! An acknowledgement is not the reader's business alone: candles are stored by another thread than the one that reads. So
//! it is a trait of its own, [`AckStore`]: what one consumer has safe elsewhere.
//!
//! Who reads every record of a live log is generic over the source; replay and playback take a `Box<dyn RecordSource>`,
//! whose call per record is lost in the work that they do on it.

mod acks;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod live;
mod memory;
mod recorded;
mod seam;

pub use self::acks::{AckStore, LocalAck, MemoryAck};
pub use self::live::LiveLog;
pub use self::memory::{MemoryLog, MemoryWriter};
pub use self::recorded::RecordedLog;
pub use self::seam::{LOOKS, PassedBy, RecordSource, Settled, SourceError, Step};
