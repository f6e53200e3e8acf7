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
mod exchange;
mod history;
mod klines;
pub mod pacing;
pub mod places;
mod read;
pub mod room;
mod venues;
mod wal;

pub use api::Api;
pub use collector::Collector;
pub use config::{Config, KLINES_READER, LAKE_READER};
pub use history::{FilePer, History};
pub use klines::Klines;
pub use ops::memory::Settings as Memory;
pub use ops::telemetry::Log;
pub use pacing::Warning;
pub use settings::{ConfigErrors, DEFAULT_TOML, DatabaseUrl, Origin, Problem, Secret, redact};
pub use venues::VenueConfig;
pub use wal::{Archive, Sync, Wal};

#[cfg(test)]
mod tests;
