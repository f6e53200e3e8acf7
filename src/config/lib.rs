//! One TOML file for both services, checked before anything starts.
//!
//! `config/tapedeck.toml` is compiled in and *is* the default: every key that may be set stands there. A user's
//! file and `TAPEDECK__SECTION__KEY` variables override single keys. Reading never stops at the first problem:
//! all of them are reported at once, each with the key, where the value came from, and what would pass.
//! Nothing downstream of [`Config`] checks a value again.

mod change;
pub mod check;
mod config;
pub mod places;
mod read;
pub mod room;

pub use config::Config;
pub use settings::{ConfigErrors, DEFAULT_TOML, Origin, Problem};

#[cfg(test)]
mod tests;
