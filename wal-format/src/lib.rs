//! A segmented, memory-mapped write-ahead log: one writer, any number of readers in other
//! processes, nothing appended is lost when the writer is killed, every lost record is accounted for.
//!
//! ```text
//!  LogWriter -- append --> segment N (mapped) --> SEAL --> segment N+1 ...
//!    |            one release store per record       |
//!    +- prepare   allocated segments ahead           +- sync: data on disk, then the footer
//!    +- repair    tails of earlier runs, beside the first append
//!  LogReader -- acquire load --> records, exact lost ranges, SEAL --> next segment
//!    +- ack       what a reader has safe elsewhere --> retire: segments nobody needs
//! ```
//!
//! `FORMAT.md` is the normative description of the bytes, `README.md` what is promised. The modules,
//! in the order of the flow:
//!
//! - plain bytes: [`layout`], [`record`], [`checksum`], `prelude`, [`header`], [`footer`]
//! - files: [`regular`] (what may be opened at all), [`storage`] (the seam to real or simulated ones), [`durable`],
//!   [`slots`], [`lock`],
//!   [`segment`], [`epoch`], [`control`]; `sys` holds all `unsafe`
//! - identity: [`incarnation`] of a run, [`mod@lineage`] of a log, `survey` by its next writer; `checkpoint`, a place in it
//! - writing: `open`, `append`, `prepare`, `sync`, `positions`, `stats`, `options`, [`receive`]
//! - reading: [`read`], [`step`], [`ack`], [`state`], [`verify`]; `segment_dirs` finds segments wherever they lie, `body` reads
//!   them plain or from an [`mod@archive`]
//! - after a crash: [`recover`] decides, [`mod@repair`] carries out; [`mod@retire`] deletes,
//!   [`hold`] keeps it from that
//! - for a person: [`mod@explain`] a byte, [`salvage`] what is left
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod ack;
mod append;
pub mod archive;
pub mod background;
pub mod bell;
mod body;
pub mod boot;
mod checkpoint;
pub mod checksum;
pub mod control;
mod directory;
pub mod durable;
pub mod epoch;
pub mod error;
pub mod explain;
pub mod footer;
pub mod header;
pub mod hold;
mod identity;
pub mod incarnation;
pub mod infer;
pub mod layout;
pub mod lineage;
pub mod lock;
mod open;
mod options;
pub mod plain;
#[cfg(loom)]
#[doc(hidden)]
pub mod positions;
#[cfg(not(loom))]
mod positions;
pub mod prelude;
mod prepare;
mod quarantine;
pub mod read;
pub mod read_error;
pub mod receive;
pub mod record;
pub mod recover;
pub mod regular;
pub mod repair;
pub mod retention;
mod retire;
pub mod salvage;
mod scan;
pub mod segment;
mod segment_dirs;
#[cfg(feature = "sim")]
pub mod sim;
pub mod slots;
mod source;
pub mod spill;
pub mod state;
mod stats;
pub mod step;
pub mod storage;
mod survey;
mod sync;
pub mod sys;
#[cfg(loom)]
#[doc(hidden)]
pub mod together;
#[cfg(not(loom))]
mod together;
pub mod verify;
mod walk;
mod watch;

pub use ack::{Ack, AckFile};
pub use append::{Append, LogWriter};
pub use background::{BackgroundError, Duty};
pub use bell::{Bell, Notifier, Ticket, Waiter};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use error::{AppendError, CloseError, LockError, OpenError, ResumeError, SyncError};
pub use footer::{FooterSummary, SealedBy};
pub use hold::{Hold, holds};
pub use incarnation::{Incarnation, Run};
pub use lineage::{Foreign, KnownRun, Lineage, lineage};
pub use options::{Clock, LogOptions, SyncPolicy};
pub use read::{Advance, LogReader, ReaderOptions};
pub use read_error::chain as error_chain;
pub use read_error::{AckError, LineageError, ReadError, RepairError, RetireError, StateError};
pub use receive::ReceiveClock;
pub use record::{ClockPair, Kind, Position, Seal, SegmentId, Seq, flags};
pub use repair::{RepairFailure, RepairReport, Repairs, repair};
pub use retention::Retention;
pub use retire::{Evidence, may_retire, retirable, retire};
pub use segment_dirs::SegmentDirs;
pub use state::{LogState, SegmentInfo, SegmentState, bytes_between, is_log_dir, list_segments, log_state};
pub use stats::{Count, WriterStats};
pub use step::{Backoff, LostRange, LostReason, OwnedRecord, Record, RecordRef, RestRef, Step};
pub use sync::SyncHandle;

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
