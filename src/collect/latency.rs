//! How long appends take, as the sockets feel it: the wait for the log's lock, and the append.
//!
//! One append in [`ONE_IN`] is measured: two readings of the clock cost as much as the append itself.

use std::ops::Deref;

use ops::hist::Hist;

/// One append of so many is measured; a power of two.
pub(super) const ONE_IN: u64 = 16;
/// Buckets from 256 ns to 17 s, each four times the one before.
const BOUNDS_NS: [u64; 14] = [
    1 << 8,
    1 << 10,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
    1 << 24,
    1 << 26,
    1 << 28,
    1 << 30,
    1 << 32,
    1 << 34,
];

/// See the module.
#[derive(Debug)]
pub(super) struct Appends(Hist);

impl Default for Appends {
    fn default() -> Self {
        Self(Hist::new(&BOUNDS_NS))
    }
}

impl Deref for Appends {
    type Target = Hist;

    fn deref(&self) -> &Hist {
        &self.0
    }
}
