//! Candles as many readers see them while one writer changes them, without locks.
//!
//! ```text
//!  worker --every batch--> LatestSlots        one symbol, at once: a sequence lock per symbol
//!         --every swap---> DoubleBuffered     all symbols of one instant: two buffers, one flip
//!                             front <- readers pin and copy      back <- the writer, when nobody pins it
//! ```
//!
//! Everything is plain atomics: no unsafe, no torn value to reason about, only orders. The protocols are generic
//! over the atomic type, so the loom models in the tests check this very code.

mod double;
mod flat;
mod latest;
mod word;

pub use double::DoubleBufferedKlineStore;
pub(crate) use double::Swapper;
pub use flat::FlatKlineStore;
pub use latest::LatestSlots;

#[cfg(test)]
mod models;
