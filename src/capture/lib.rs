//! What is recorded and where it lies: sections `[data]`, `[wal]`, `[ship]` and `[venues]`, which every service reads.
//!
//! They are a crate of their own, for no lower one may name what they are made of: a venue's table has the venue's limits
//! (`venue`, which knows no network) and its proxies (`net`, which knows no venue). Opens nothing.
#![forbid(unsafe_code)]

mod capture;
mod documented;
mod exchange;
pub mod pacing;
mod ship;
mod venues;
mod wal;

pub use capture::{Capture, KLINES_READER, LAKE_READER, SHIP_READER};
pub use documented::is_simulator;
pub use pacing::Warning;
pub use ship::Ship;
pub use venues::{Table, VenueConfig};
pub use wal::{Archive, Sync, Wal};

#[cfg(test)]
mod tests;
