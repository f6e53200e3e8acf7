//! Who holds how much: every part of the process that keeps memory says an estimate, without locks.
//!
//! A [`Part`] is one owner's number, written with a relaxed store; parts of one name are summed, and one that is
//! dropped is gone. What can be computed when asked is a probe instead. Estimates are of the values held, not of
//! what the allocator made of them: what is left between their sum and the process is shown as unaccounted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::{Deserialize, Serialize};

/// Where the bytes of a part are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// Heap: the process's own.
    #[default]
    Own,
    /// A mapped file: page cache.
    Mapped,
}

impl Held {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Held::Own => "own",
            Held::Mapped => "mapped",
        }
    }
}

/// One owner's number.
#[derive(Clone, Debug, Default)]
pub struct Part(Arc<AtomicU64>);

impl Part {
    /// Holds `bytes` now.
    #[inline]
    pub fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// What was said last, bytes.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What all parts of one name hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Estimate, bytes.
    pub bytes: u64,
    /// Where.
    pub held: Held,
}

type Probe = Box<dyn Fn() -> u64 + Send + Sync>;

enum Entry {
    Part(Weak<AtomicU64>),
    Probe(Probe),
}

/// All parts of a process.
#[derive(Default)]
pub(crate) struct Parts {
    entries: Mutex<Vec<(&'static str, Held, Entry)>>,
}

impl Parts {
    fn add(&self, name: &'static str, held: Held, entry: Entry) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push((name, held, entry));
    }

    /// A new part of this name, which holds nothing yet.
    pub fn part(&self, name: &'static str, held: Held) -> Part {
        let part = Part::default();
        self.add(name, held, Entry::Part(Arc::downgrade(&part.0)));
        part
    }

    /// `probe` is called for each report; it must not block.
    pub fn probe(&self, name: &'static str, held: Held, probe: impl Fn() -> u64 + Send + Sync + 'static) {
        self.add(name, held, Entry::Probe(Box::new(probe)));
    }

    /// By name.
    pub fn totals(&self) -> BTreeMap<String, Holding> {
        let mut totals: BTreeMap<String, Holding> = BTreeMap::new();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(name, held, entry)| {
            let bytes = match entry {
                Entry::Part(part) => match part.upgrade() {
                    Some(part) => part.load(Ordering::Relaxed),
                    None => return false,
                },
                Entry::Probe(probe) => probe(),
            };
            let total = totals.entry((*name).to_owned()).or_insert(Holding { bytes: 0, held: *held });
            total.bytes = total.bytes.saturating_add(bytes);
            true
        });
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_name_are_summed_and_a_dropped_one_is_gone() {
        let parts = Parts::default();
        let (a, b) = (parts.part("rows", Held::Own), parts.part("rows", Held::Own));
        parts.probe("log", Held::Mapped, || 7);
        a.set(10);
        b.set(5);
        let bytes = || parts.totals().into_iter().map(|(n, t)| (n, t.bytes)).collect::<Vec<_>>();
        assert_eq!(bytes(), [("log".to_owned(), 7), ("rows".to_owned(), 15)]);
        drop(a);
        assert_eq!(bytes(), [("log".to_owned(), 7), ("rows".to_owned(), 5)]);
        drop(b);
        assert_eq!(bytes(), [("log".to_owned(), 7)]);
        assert_eq!(parts.totals()["log"].held, Held::Mapped);
    }
}
