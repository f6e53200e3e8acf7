//! The one way from records to rows: decode, route, de-duplicate, ids and gaps, hour, part. Used by all readers of a log
//! and wants rows: the compactor, candles, replay.
//!
//! ```text
//!  log --tail--> record --decode--> rows --route--> table buffers of an open part
//!                   |                 +-- dedupe: what another line brought already
//!                   +-- account       +-- ids: what is missing between them
//! ```
//! All of it is a fold over the log: what comes out depends on the records alone, and its memory can be stored and taken
//! up again ([`gather::Gatherer`]).
#![forbid(unsafe_code)]

pub mod account;
pub mod candles;
pub mod decode;
pub mod dedupe;
pub mod gather;
mod hold;
mod hour;
mod ids;
mod kind;
pub mod part;
mod records;
mod route;
pub mod source;
pub mod stored_logs;

pub use hold::hold;

/// How long to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Until asked to stop.
    Follow,
    /// To the present end of the logs, the open hour published too.
    Drain,
}
