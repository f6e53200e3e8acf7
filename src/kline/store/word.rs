//! What the protocols need of an atomic word, so that the models can run them on loom's.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A 64-bit atomic.
pub trait Word: Send + Sync {
    /// With this value.
    fn with(value: u64) -> Self;
    /// As [`AtomicU64::load`].
    fn get(&self, order: Ordering) -> u64;
    /// As [`AtomicU64::store`].
    fn set(&self, value: u64, order: Ordering);
    /// As [`AtomicU64::fetch_add`]; wraps, so it subtracts too.
    fn add(&self, value: u64, order: Ordering);
    /// As [`fence`].
    fn barrier(order: Ordering);
}

impl Word for AtomicU64 {
    fn with(value: u64) -> Self {
        AtomicU64::new(value)
    }

    #[inline]
    fn get(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline]
    fn set(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    #[inline]
    fn add(&self, value: u64, order: Ordering) {
        self.fetch_add(value, order);
    }

    #[inline]
    fn barrier(order: Ordering) {
        fence(order);
    }
}
