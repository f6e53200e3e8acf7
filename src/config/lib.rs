//! One TOML file for both services, checked before anything starts.
//!
//! `config/tapedeck.toml` is compiled in and *is* the default: every key that may be set stands there. A user's
//! file and `TAPEDECK__SECTION__KEY` variables override single keys. Reading never stops at the first problem:
//! all of them are reported at once, each with the key, where the value came from, and what would pass.
//! Nothing behind [`Config`] checks a value again.

mod api;
mod change;
pub mod check;
mod collector;
mod config;
mod history;
mod klines;
mod lake;
mod memory;
mod network;
pub mod pacing;
pub mod places;
mod problem;
mod proxy;
mod read;
mod reader;
pub mod room;
mod secret;
mod source;
mod venues;
mod wal;

pub use self::lake::Lake;
pub use api::Api;
pub use collector::Collector;
pub use config::{Config, KLINES_READER, LAKE_READER};
pub use history::History;
pub use klines::Klines;
pub use network::Tls;
pub use ops::memory::Settings as Memory;
pub use ops::telemetry::Log;
pub use pacing::Warning;
pub use problem::{ConfigErrors, Problem};
pub use proxy::{Credentials, Proxy, ProxyKind};
pub use secret::{DatabaseUrl, Secret, redact};
pub use source::{DEFAULT_TOML, Origin};
pub use venues::VenueConfig;
pub use wal::Wal;

#[cfg(test)]
mod tests;
