//! The command line of Tapedeck: starts things. What they do is the business of the crates; see `src/README.md`.
#![forbid(unsafe_code)]

pub mod cli;
