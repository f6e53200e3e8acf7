//! Sections of the configuration file as types: what a crate needs to own its section, and nothing of any section.
//!
//! A section is a struct that derives `Deserialize`, each key with its range ([`value`]), and says as a [`Section`] which
//! keys do not go together. [`Source`] lays the user's file and the environment over the shipped file, which is compiled in
//! and *is* the default, and reads a section out of it. Reading never stops at the first problem: all of them are reported
//! at once, each with the key, where the value came from, and what would pass.
#![forbid(unsafe_code)]

mod problem;
mod secret;
mod section;
mod source;
pub mod value;

pub use problem::{ConfigErrors, Problem};
pub use secret::{DatabaseUrl, Secret, redact};
pub use section::{KeyProblem, Section, keys_of};
pub use source::{DEFAULT_TOML, Origin, Source, from_text};
