//! Logs on other machines: what a log holds goes into an object store in *chunks*, and is read there like the log itself.
//!
//! ```text
//!  wal/<venue>  --LogShipper-->  chunk --PUT, create only-->  wal/<venue>/<log>/<first>-<last>.tdc  --ChunkLog-->  steps
//!     ^                                        |
//!     +------- acks/ship.ack <--- answered ----+
//! ```
//! The shipper is a third consumer of a log, beside the lake and the candles: with `[ship] dir` set a segment goes only
//! when the store has it too. What was in a chunk survives the loss of the machine.
#![forbid(unsafe_code)]

#[cfg(feature = "store")]
mod chunks;
pub mod codec;
#[cfg(feature = "store")]
mod retire;
#[cfg(feature = "store")]
mod service;
#[cfg(feature = "store")]
mod shipper;
#[cfg(feature = "store")]
mod source;
#[cfg(feature = "store")]
mod stats;

#[cfg(feature = "store")]
pub use chunks::{Chunks, ClaimError, GetError};
#[cfg(feature = "store")]
pub use service::{ShipStartError, start};
#[cfg(feature = "store")]
pub use shipper::{FAILPOINTS, LogShipper, ShipError};
#[cfg(feature = "store")]
pub use source::ChunkLog;
#[cfg(feature = "store")]
pub use stats::{LogStats, ShipStats};
