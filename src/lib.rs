//! Tapedeck records the public market-data tape of crypto exchanges, loses nothing, and plays it back.
//!
//! ```text
//!  venues --> collect --append--> wal-format --tail--> compact --> lake --> hourly Parquet
//!               ^                                         |
//!               +-- venue: symbols, subscriptions         +-- venue: decode (one decoder for live, replay, tests)
//! ```
//!
//! The rooms, in the order the data flows:
//!
//! - [`config`]: one TOML file, checked before anything starts.
//! - [`venue`]: what an exchange speaks. No sockets, no clocks: bytes in, rows out.
//! - `budget`: what one address may ask of an exchange, over all processes.
//! - [`collect`]: sockets into the log. Never decodes a row.
//! - [`compact`]: log into the lake. The only owner of deletion.
//! - [`lake`]: tables, Parquet, publishing.
//! - [`history`]: the exchange's archive, mirrored and cleaned.
//! - [`api`]: status, health and metrics of the compactor.
//! - [`hangup`]: SIGHUP, the request to read the configuration anew.
//! - [`health`]: disks that fill up, logs that nobody reads off.
//! - [`supervise`]: every task and thread of both services, and what becomes of one that panics.
//! - [`quality`]: how complete the recording is, summed from manifests.
//! - [`memory`]: how tight it is, and what is given up for it.
//! - [`log_repairs`]: what a repair of a log says, told once.
//! - [`playback`]: the log as an exchange again, for unmodified clients.
//! - [`cli`]: one file per subcommand.
#![forbid(unsafe_code)]

pub mod api;
mod backoff;
mod budget;
mod chore;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod compact;
pub mod config;
pub mod hangup;
pub mod health;
pub mod history;
pub mod host;
mod http_server;
pub mod kline;
pub mod lake;
pub mod log_repairs;
pub mod memory;
pub mod notify;
pub mod outside;
pub mod playback;
pub mod quality;
pub mod repair;
pub mod shutdown;
mod sql;
pub mod supervise;
pub mod telemetry;
pub mod venue;
mod words;
