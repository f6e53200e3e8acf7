//! What every service needs to be operated: the clock, the stop, tasks and what becomes of those that panic, log lines,
//! health and memory. Decides nothing for another crate.
#![forbid(unsafe_code)]

pub mod backoff;
mod boxed;
mod chain;
pub mod chore;
pub mod clock;
pub mod compactor;
pub mod exposition;
pub mod failpoint;
pub mod hangup;
pub mod health;
pub mod hist;
pub mod host;
pub mod log_repairs;
pub mod memory;
pub mod notify;
mod rehearsal;
pub mod shutdown;
mod signals;
pub mod status;
pub mod supervise;
pub mod telemetry;

pub use boxed::BoxFuture;
pub use chain::chain;
